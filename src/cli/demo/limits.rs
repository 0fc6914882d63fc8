//! The demo's bounds and paces, each with its why.

use std::time::Duration;

/// How long anything may take that is waited for: slow disks and busy machines included.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(3);
/// A pause before each chapter on a terminal, so that it can be read along.
pub const BEAT: Duration = Duration::from_millis(1300);
/// How long ops takes to answer a `stock.*` event: long enough for attempts to be out when the server is killed.
pub const OPS_DELAY: Duration = Duration::from_millis(40);
/// Attempts to ops at once.
pub const OPS_CONCURRENCY: usize = 8;
/// Senders of `stock.*` events, beside the one of `order.*` events.
pub const STOCK_SENDERS: usize = 3;
/// The server is killed when this many events of the burst are accepted.
pub const BURST: usize = 60;
