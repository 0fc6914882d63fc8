//! The signals that end a command.

use std::{future::poll_fn, task::Poll};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Begins to listen for the signals that ask for an end; from then on they do not end the process by themselves.
///
/// # Errors
/// When they cannot be received.
pub fn signals() -> anyhow::Result<Vec<Signal>> {
    [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ]
    .into_iter()
    .map(|kind| signal(kind).context("cannot receive signals"))
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
