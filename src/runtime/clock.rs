//! The wall clock, injected, and how long the machine has been running. Sleeping is done on tokio's monotonic clock,
//! never on this one.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::domain::time::Timestamp;

/// Tells the present wall-clock time, and counts time that passes.
pub trait Clock: Send + Sync {
    /// What the wall clock shows. People and time servers set it.
    fn now(&self) -> Timestamp;

    /// Time since a fixed moment of this boot. Nobody sets it, and it counts the time that the machine is suspended.
    fn running(&self) -> Duration;
}

/// When this program was built. A clock that shows an earlier time is wrong.
pub fn built_at() -> Timestamp {
    let seconds: u64 = env!("POSTHASTE_BUILT_AT")
        .parse()
        .unwrap_or_else(|_| unreachable!("the build script writes a number"));
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

/// The machine's clocks. Before 1970 the wall clock shows the epoch.
#[derive(Debug, Default)]
pub struct SystemClock;

/// The monotonic clock that goes on while the machine is suspended: tokio's does not on Linux.
#[cfg(any(target_os = "linux", target_os = "android"))]
const RUNNING: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const RUNNING: ClockId = ClockId::Monotonic;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn running(&self) -> Duration {
        Duration::try_from(clock_gettime(RUNNING)).unwrap_or_default()
    }
}

/// A clock that goes with tokio's, also when that is paused, and can be stepped. For tests and simulations.
#[derive(Debug)]
pub struct SteppedClock {
    base: Timestamp,
    started: Instant,
    step_millis: AtomicI64,
    suspended_millis: AtomicU64,
}

impl SteppedClock {
    /// A clock that shows `base` now.
    pub fn new(base: Timestamp) -> Self {
        Self {
            base,
            started: Instant::now(),
            step_millis: AtomicI64::new(0),
            suspended_millis: AtomicU64::new(0),
        }
    }

    /// Sets the clock forward, or back when negative.
    pub fn step(&self, millis: i64) {
        self.step_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Lets time pass without tokio's clock, as while a machine is suspended.
    pub fn suspend(&self, millis: u64) {
        self.suspended_millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        let shown = self.base.plus(self.running()).as_millis();
        Timestamp::from_millis(shown.saturating_add_signed(self.step_millis.load(Ordering::SeqCst)))
    }

    fn running(&self) -> Duration {
        let suspended = Duration::from_millis(self.suspended_millis.load(Ordering::SeqCst));
        self.started.elapsed() + suspended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_was_built_in_the_past() {
        assert!(built_at() <= SystemClock.now(), "{}", built_at());
    }
}
