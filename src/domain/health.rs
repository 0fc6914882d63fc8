//! How an endpoint has been doing: what the disabling rules count.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// Counts over an endpoint's attempts. Persisted with each attempt: append members only with a new row version.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Failed attempts since the last delivered one.
    pub failures: u32,
    /// Failed attempts that the endpoint's rule counts towards disabling, since the last delivered one.
    pub errors: u32,
    /// For how long, in milliseconds, there has been nothing but failures. Added up from the gaps between
    /// failures, each counted as [`LONGEST_GAP`] at most, so that a clock set forward disables nothing.
    pub failing_millis: u64,
    pub last_failure_at: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
}

/// A little more than the longest delay of the default retry policy with its jitter.
const LONGEST_GAP: Duration = Duration::from_secs(30 * 3600);

impl Health {
    #[must_use]
    pub fn delivered(self, now: Timestamp) -> Self {
        Self {
            last_success_at: Some(now),
            last_failure_at: self.last_failure_at,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn failed(self, now: Timestamp, counts: bool) -> Self {
        let since_last = match (self.failures, self.last_failure_at) {
            (0, _) | (_, None) => Duration::ZERO,
            (_, Some(last)) => now.since(last).min(LONGEST_GAP),
        };
        Self {
            failures: self.failures.saturating_add(1),
            errors: self.errors.saturating_add(u32::from(counts)),
            failing_millis: self.failing_millis.saturating_add(since_last.as_millis() as u64),
            last_failure_at: Some(now),
            last_success_at: self.last_success_at,
        }
    }

    /// A clean slate for an endpoint that a person has enabled again.
    #[must_use]
    pub fn forgiven(self) -> Self {
        Self {
            last_success_at: self.last_success_at,
            last_failure_at: self.last_failure_at,
            ..Self::default()
        }
    }

    pub const fn failing_for(&self) -> Duration {
        Duration::from_millis(self.failing_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_millis(hours * 3_600_000)
    }

    #[test]
    fn failing_time_adds_up_until_a_success() {
        let health = Health::default()
            .failed(at(0), false)
            .failed(at(5), true)
            .failed(at(20), false);
        assert_eq!((health.failures, health.errors), (3, 1));
        assert_eq!(health.failing_for(), Duration::from_secs(20 * 3600));
        let well = health.delivered(at(21));
        assert_eq!((well.failures, well.errors, well.failing_millis), (0, 0, 0));
    }

    #[test]
    fn a_clock_step_adds_one_gap_forward_and_nothing_back() {
        let forward = Health::default()
            .failed(at(0), false)
            .failed(at(24 * 3650), false);
        assert_eq!(forward.failing_for(), LONGEST_GAP);
        let back = Health::default().failed(at(24), false).failed(at(0), false);
        assert_eq!(back.failing_for(), Duration::ZERO);
    }
}
