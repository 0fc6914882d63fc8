//! The log, on stderr.

use std::{
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
};

use tracing_subscriber::{
    EnvFilter, fmt,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{Directives, Log, LogFormat, Raw, Setting};

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Directives of `EnvFilter`; what does not parse is as good as absent, so check them first.
    directives: String,
    format: LogFormat,
}

/// The log is already set up.
#[derive(Debug, thiserror::Error)]
#[error("the log is already set up")]
pub struct AlreadyInitialised;

impl From<&Log> for LogSettings {
    fn from(log: &Log) -> Self {
        Self {
            directives: log.level.as_str().to_owned(),
            format: log.format,
        }
    }
}

impl LogSettings {
    /// For commands that a person runs: warnings and worse, as text.
    pub fn quiet() -> Self {
        Self {
            directives: "warn".to_owned(),
            format: LogFormat::Text,
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
            format: self.format,
        })
    }
}

/// Sets the log up for the whole process and makes panics part of it.
///
/// # Errors
///
/// When it was already set up.
pub fn init(settings: &LogSettings) -> Result<(), AlreadyInitialised> {
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filter = EnvFilter::builder().parse_lossy(&settings.directives);
    install(settings.format, filter, colours).map_err(|_| AlreadyInitialised)?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

#[cfg(not(feature = "console"))]
fn install(format: LogFormat, filter: EnvFilter, colours: bool) -> Result<(), TryInitError> {
    let lines = fmt::Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours);
    match format {
        LogFormat::Text => lines.finish().try_init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .finish()
            .try_init(),
    }
}

/// The same lines, and beside them what tokio-console is told: it listens on 127.0.0.1:6669, or where
/// `TOKIO_CONSOLE_BIND` says. The filter is the lines' alone, since the console lives on spans that nobody logs.
#[cfg(feature = "console")]
fn install(format: LogFormat, filter: EnvFilter, colours: bool) -> Result<(), TryInitError> {
    use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};

    let lines = fmt::layer().with_writer(io::stderr).with_ansi(colours);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(console_subscriber::spawn())
        .with(lines.with_filter(filter))
        .try_init()
}

/// A panic as one log line. The process goes on or ends by whoever watches the thread.
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
