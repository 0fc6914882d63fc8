//! What a service manager is told (systemd's `Type=notify`): ready, stopping, and, where it asks for it, that the server is alive.
//!
//! The watchdog is fed only while nothing is stuck: a part that does not move any more is helped by nothing but a fresh start of
//! the process, and that is what the service manager does when it is not fed.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::dispatch::engine::Engine;

/// Events are accepted from now on. Without a service manager this does nothing.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The server is told to stop, or stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
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
            tell(&[NotifyState::Watchdog]);
        } else if !hungry {
            let what = stuck.join("; ");
            tracing::error!("the service manager's watchdog is not fed any more: {what}");
            tell(&[NotifyState::Status(&what)]);
        }
        hungry = !stuck.is_empty();
        tokio::time::sleep(every).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
