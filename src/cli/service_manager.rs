//! What a service manager is told (systemd's `Type=notify`): ready, stopping, and, where it asks for it, that the server is alive.
//!
//! The watchdog is fed only while nothing is stuck: a part that does not move any more is helped by nothing but a fresh start of
//! the process, and that is what the service manager does when it is not fed.

use std::{io, time::Duration};

use sd_notify::NotifyState;
use tokio::task::{JoinError, JoinHandle};

use crate::dispatch::engine::Engine;

/// Events are accepted from now on. Without a service manager this does nothing.
pub async fn ready() {
    tell(Word::Ready).await;
}

/// The server is told to stop, or stops.
pub async fn stopping() {
    tell(Word::Stopping).await;
}

/// Feeds the watchdog, if there is one, for as long as the engine runs.
pub async fn feed_watchdog(engine: Engine) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    // Half the time, as sd_watchdog_enabled(3) advises.
    let every = (limit / 2).max(Duration::from_millis(10));
    let mut hungry = false;
    loop {
        let stuck = engine.stuck();
        if stuck.is_empty() {
            report(begin(Word::Alive).await);
        } else if !hungry {
            let what = stuck.join("; ");
            tracing::error!("the service manager's watchdog is not fed any more: {what}");
            report(begin(Word::Stuck(what)).await);
        }
        hungry = !stuck.is_empty();
        tokio::time::sleep(every).await;
    }
}

/// What there is to tell.
enum Word {
    Ready,
    Alive,
    Stuck(String),
    Stopping,
}

/// A service manager that does not listen must not hold anybody up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells, and waits for it no longer than that.
async fn tell(word: Word) {
    match tokio::time::timeout(PATIENCE, begin(word)).await {
        Ok(told) => report(told),
        Err(_) => tracing::warn!("the service manager does not listen"),
    }
}

/// Sends on a thread of its own: the socket blocks while the manager does not read.
fn begin(word: Word) -> JoinHandle<io::Result<()>> {
    tokio::task::spawn_blocking(move || match &word {
        Word::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Word::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        Word::Stuck(what) => sd_notify::notify(&[NotifyState::Status(what)]),
        Word::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    })
}

fn report(told: Result<io::Result<()>, JoinError>) {
    if let Ok(Err(error)) = told {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
