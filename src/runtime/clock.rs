//! The wall clock, injected. Sleeping is done on tokio's monotonic clock, never on this one.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::domain::time::Timestamp;

/// Tells the present wall-clock time.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's clock. Before 1970 it shows the epoch.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that goes with tokio's, also when that is paused, and can be stepped. For tests and simulations.
#[derive(Debug)]
pub struct SteppedClock {
    base: Timestamp,
    started: Instant,
    step_millis: AtomicI64,
}

impl SteppedClock {
    /// A clock that shows `base` now.
    pub fn new(base: Timestamp) -> Self {
        Self {
            base,
            started: Instant::now(),
            step_millis: AtomicI64::new(0),
        }
    }

    /// Sets the clock forward, or back when negative.
    pub fn step(&self, millis: i64) {
        self.step_millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        let shown = self.base.plus(self.started.elapsed()).as_millis();
        Timestamp::from_millis(shown.saturating_add_signed(self.step_millis.load(Ordering::SeqCst)))
    }
}
