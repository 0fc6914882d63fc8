//! The signals that end a command, and those that a server gets.

use std::{future::poll_fn, task::Poll, thread, time::Duration};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// How long a server that was asked twice to stop may still take: its disk may hang.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Begins to listen for the signals that ask for an end; from then on they do not end the process by themselves.
///
/// # Errors
/// When they cannot be received.
pub fn signals() -> anyhow::Result<Vec<Signal>> {
    listen(&[
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ])
}

fn listen(kinds: &[SignalKind]) -> anyhow::Result<Vec<Signal>> {
    let kinds = kinds.iter();
    kinds
        .map(|kind| signal(*kind).context("cannot receive signals"))
        .collect()
}

/// Ends when one of the signals comes.
pub async fn first(signals: &mut [Signal]) {
    poll_fn(|context| {
        let came = signals
            .iter_mut()
            .any(|signal| signal.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// What a server was asked by SIGTERM and SIGINT.
#[derive(Clone, Default)]
pub struct Asked {
    /// To stop.
    pub stop: CancellationToken,
    /// Again: attempts under way are given up at once.
    pub hurry: CancellationToken,
}

impl Asked {
    /// Listens from now on, for the rest of the process's life. On a thread of its own: threads of a runtime may all
    /// wait for a disk that hangs, and then a second signal still has to end the process.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub fn listen() -> anyhow::Result<Self> {
        let asked = Self::default();
        let told = asked.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime of signals")?;
        let entered = runtime.enter();
        let mut signals = listen(&[SignalKind::terminate(), SignalKind::interrupt()])?;
        drop(entered);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(told.follow(&mut signals)))
            .context("cannot start the thread of signals")?;
        Ok(asked)
    }

    async fn follow(self, signals: &mut [Signal]) {
        first(signals).await;
        self.stop.cancel();
        first(signals).await;
        self.hurry.cancel();
        tracing::info!("asked to stop a second time: attempts under way are given up");
        tokio::time::sleep(LAST_GRACE).await;
        end_now("the server does not come to its end");
    }
}

/// Ends the process although parts of it do not end: they wait for a disk that does not answer. What was acknowledged
/// is in the journal; the next start recovers as after a crash.
fn end_now(why: &str) -> ! {
    tracing::error!(
        "{why}: the disk does not answer; the process ends as it is, nothing acknowledged is lost"
    );
    drop(telemetry::FlushAtEnd);
    std::process::exit(1)
}

/// Ends the process if it is still there after so long. For a server that has failed: nobody may be there to ask it a
/// second time, and a service manager is to start it afresh.
pub fn end_after(patience: Duration) {
    let wait = move || {
        thread::sleep(patience);
        end_now("the server has failed and does not come to its end");
    };
    // Without this thread the process waits for its disk.
    _ = thread::Builder::new().name("end".to_owned()).spawn(wait);
}

/// Signals that do not end a server: what a service manager, a script or a closed terminal sends.
pub struct Notices {
    hangup: Signal,
    ignored: [(&'static str, Signal); 2],
}

/// Which of them came.
pub enum Noticed {
    /// SIGHUP: read again what can be.
    Reload,
    /// The name of one that means nothing here.
    Ignored(&'static str),
}

impl Notices {
    /// Listens from now on; before this, each of them ends the process.
    ///
    /// # Errors
    /// When they cannot be received.
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot receive signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            ignored: [
                ("SIGUSR1", listen(SignalKind::user_defined1())?),
                ("SIGUSR2", listen(SignalKind::user_defined2())?),
            ],
        })
    }

    /// The next one.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn next(&mut self) -> Noticed {
        poll_fn(|context| {
            if self.hangup.poll_recv(context).is_ready() {
                return Poll::Ready(Noticed::Reload);
            }
            for (name, signal) in &mut self.ignored {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(Noticed::Ignored(name));
                }
            }
            Poll::Pending
        })
        .await
    }
}
