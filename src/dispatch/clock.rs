//! The engine's time: the wall clock's, made never to run backward.
//!
//! Due times are wall-clock milliseconds, and wall clocks are set. Set forward, what was due in between is due at
//! once, early by no more than the correction. Set back, plain wall time would make everything late by the
//! correction; so engine time goes on by the monotonic clock until the wall clock has caught up. Meanwhile it goes
//! slower by one part in two thousand, so that small corrections heal in hours and a day's delay is late by less
//! than a minute.
//!
//! Across a restart it starts no earlier than the newest time that is recorded. Signatures carry the wall clock's
//! own time, which is what receivers compare with theirs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::{domain::time::Timestamp, runtime::clock::Clock};

/// Engine time loses one part in this many while it is ahead of the wall clock.
const HEALING: u64 = 2000;

/// Tells engine time.
pub(super) struct EngineClock {
    wall: Arc<dyn Clock>,
    shown: Mutex<Shown>,
}

struct Shown {
    /// What was shown at `at`; what is shown later is reckoned from here, so that asking often does not slow it.
    micros: u64,
    at: Instant,
}

impl EngineClock {
    /// A clock that shows `newest` or the wall clock's time, whichever is later.
    pub fn new(wall: Arc<dyn Clock>, newest: Timestamp) -> Self {
        let start = wall.now().max(newest);
        let shown = Shown {
            micros: start.as_millis() * 1000,
            at: Instant::now(),
        };
        Self {
            wall,
            shown: Mutex::new(shown),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.at_least(self.wall.now())
    }

    /// Never shows less than `newest` from now on: a time that was found recorded.
    pub fn raise(&self, newest: Timestamp) {
        self.at_least(newest);
    }

    fn at_least(&self, time: Timestamp) -> Timestamp {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let passed = u64::try_from((at - shown.at).as_micros()).unwrap_or(u64::MAX);
        let steady = shown.micros.saturating_add(passed - passed / HEALING);
        let wanted = time.as_millis().saturating_mul(1000);
        if wanted < steady {
            return Timestamp::from_millis(steady / 1000);
        }
        *shown = Shown { micros: wanted, at };
        time
    }

    /// The wall clock's own time.
    pub fn wall(&self) -> Timestamp {
        self.wall.now()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::clock::SteppedClock;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[tokio::test(start_paused = true)]
    async fn a_step_forward_is_followed_and_a_step_back_is_walked_off() {
        let wall = Arc::new(SteppedClock::new(START));
        let clock = EngineClock::new(wall.clone(), Timestamp::EPOCH);
        assert_eq!(clock.now(), START);
        wall.step(3_600_000);
        assert_eq!(clock.now().since(START), Duration::from_secs(3600));
        wall.step(-3_600_000);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        let late = Duration::from_secs(86_400 + 3600).saturating_sub(clock.now().since(START));
        assert!(late < Duration::from_secs(60), "{late:?}");
        tokio::time::advance(Duration::from_secs(100 * 86_400)).await;
        assert_eq!(clock.now(), clock.wall());
    }

    #[tokio::test(start_paused = true)]
    async fn asking_often_does_not_slow_it() {
        let wall = Arc::new(SteppedClock::new(START));
        let clock = EngineClock::new(wall.clone(), Timestamp::EPOCH);
        wall.step(-3_600_000);
        for _ in 0..20_000 {
            tokio::time::advance(Duration::from_micros(500)).await;
            clock.now();
        }
        assert!(
            clock.now().since(START) >= Duration::from_millis(9_990),
            "{}",
            clock.now()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_wakes_in_1970_goes_on_where_it_was() {
        let wall = Arc::new(SteppedClock::new(Timestamp::EPOCH));
        let clock = EngineClock::new(wall, START);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(clock.now().since(START) > Duration::from_millis(9990));
    }
}
