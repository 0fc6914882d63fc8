//! The log, on stderr.
//!
//! A server's lines go through a [`queue`](super::queue): nothing that happens to stderr may stop or end it. A command
//! that a person runs writes to stderr itself, and waits for whoever reads it.

use std::{
    cell::Cell,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    panic::{self, PanicHookInfo},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, MakeWriter},
    util::{SubscriberInitExt, TryInitError},
};

use super::queue::Queue;
use crate::config::{Directives, Log, LogFormat, Raw, Setting};

/// How long the end of the process waits for lines that are not written yet.
const FLUSH: Duration = Duration::from_millis(500);

static QUEUE: Queue = Queue::new();
/// Whether lines go through the queue.
static QUEUED: AtomicBool = AtomicBool::new(false);
/// Changes what is logged.
static FILTER: OnceLock<Box<dyn Fn(EnvFilter) -> bool + Send + Sync>> = OnceLock::new();

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Directives of `EnvFilter`; what does not parse is as good as absent, so check them first.
    directives: String,
    format: LogFormat,
    /// A server: its lines go through the queue.
    queued: bool,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("the log is already set up")]
    Already,
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
}

/// Writes out what is left of the log when it goes, within a bound.
#[derive(Debug)]
pub struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        QUEUE.flush(FLUSH);
    }
}

impl From<&Log> for LogSettings {
    fn from(log: &Log) -> Self {
        Self {
            directives: log.level.as_str().to_owned(),
            format: log.format,
            queued: true,
        }
    }
}

impl LogSettings {
    /// For commands that a person runs: warnings and worse, as text.
    pub fn quiet() -> Self {
        Self {
            directives: "warn".to_owned(),
            format: LogFormat::Text,
            queued: false,
        }
    }

    /// The same format at another level.
    ///
    /// # Errors
    ///
    /// None is returned when `level` is neither a level nor directives.
    #[must_use]
    pub fn at_level(&self, level: &str) -> Option<Self> {
        let level = Directives::read(&Raw::Untyped(level.to_owned())).ok()?;
        Some(Self {
            directives: level.as_str().to_owned(),
            ..self.clone()
        })
    }
}

/// Sets the log up for the whole process and makes panics part of it.
///
/// # Errors
///
/// When it was already set up, or its thread cannot be started.
pub fn init(settings: &LogSettings) -> Result<(), InitError> {
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    install(settings.format, filter(&settings.directives), colours).map_err(|_| InitError::Already)?;
    if settings.queued {
        start_writing().map_err(InitError::Thread)?;
    }
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Logs by other directives from now on; answers whether it does.
pub fn set_level(level: &Directives) -> bool {
    FILTER.get().is_some_and(|set| set(filter(level.as_str())))
}

/// Says something to the person as it is, the last line of a command; nobody is left to tell when that fails.
pub fn say(text: &str) {
    // Not `writeln!`, which would write it in pieces.
    _ = Stderr { waits: true }.write_all(format!("{text}\n").as_bytes());
}

/// Log lines that were lost: stderr did not take them, or not soon enough.
pub(super) fn lost() -> u64 {
    QUEUE.lost()
}

fn filter(directives: &str) -> EnvFilter {
    EnvFilter::builder().parse(directives).unwrap_or_default()
}

/// Lets lines go through the queue from now on.
fn start_writing() -> io::Result<()> {
    // A handle of its own: whoever holds std's while it blocks would hold up everybody who wants it.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let tell = |lost| {
        tracing::warn!(
            lines = lost,
            "log lines were lost: stderr did not take them, or not soon enough"
        );
    };
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        WRITES.set(true);
        QUEUE.run(out, tell);
    })?;
    QUEUED.store(true, Relaxed);
    Ok(())
}

thread_local! {
    /// This is the thread that writes the log: it cannot wait for itself.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// Makes what takes lines.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Stderr;

    fn make_writer(&'a self) -> Stderr {
        Stderr { waits: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Stderr {
        // What is logged of every request is not waited for.
        Stderr {
            waits: *meta.level() <= Level::INFO,
        }
    }
}

/// Takes lines, each in one piece, for stderr.
#[derive(Clone, Copy)]
struct Stderr {
    waits: bool,
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if QUEUED.load(Relaxed) {
            QUEUE.push(line, self.waits && !WRITES.get());
            Ok(line.len())
        } else {
            io::stderr().write(line)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line that cannot be written is not told of by `eprintln!`, which panics for the same reason.
const REPORT_ERRORS: bool = false;

#[cfg(not(feature = "console"))]
fn install(format: LogFormat, filter: EnvFilter, colours: bool) -> Result<(), TryInitError> {
    let lines = fmt::Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(Lines)
        .with_ansi(colours)
        .log_internal_errors(REPORT_ERRORS);
    match format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.finish().try_init()?;
            _ = FILTER.set(Box::new(move |filter| handle.reload(filter).is_ok()));
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.finish().try_init()?;
            _ = FILTER.set(Box::new(move |filter| handle.reload(filter).is_ok()));
        }
    }
    Ok(())
}

/// The same lines, and beside them what tokio-console is told: it listens on 127.0.0.1:6669, or where
/// `TOKIO_CONSOLE_BIND` says. The filter is the lines' alone, since the console lives on spans that nobody logs; it
/// stays as it is.
#[cfg(feature = "console")]
fn install(format: LogFormat, filter: EnvFilter, colours: bool) -> Result<(), TryInitError> {
    use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

    let lines = fmt::layer()
        .with_writer(Lines)
        .with_ansi(colours)
        .log_internal_errors(REPORT_ERRORS);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(console_subscriber::spawn())
        .with(lines.with_filter(filter))
        .try_init()
}

/// A panic as one log line. The process goes on or ends by whoever watches the thread. A panic in here would abort the
/// process: the line is only put into the queue, or written with errors ignored.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let text = info.payload().downcast_ref::<&str>().copied();
    let text = text.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(
        panic.location = place,
        panic.text = text.unwrap_or("a panic without a text"),
        thread.name = thread.name().unwrap_or("unnamed"),
        panic.backtrace = %backtrace,
        "a thread panicked; this is a defect in posthaste"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_not_taken() {
        let settings = LogSettings::quiet();
        assert!(settings.at_level("inof").is_none());
        assert_eq!(settings.at_level("debug").unwrap().directives, "debug");
    }
}
