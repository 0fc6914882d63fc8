//! The breaker of a lane: after several transient failures in a row, one probe at a time.
//!
//! Closed: attempts go out up to the endpoint's concurrency. Open: nothing goes out until the probe's time, then one
//! delivery does; its failure sets the next probe by the retry policy, its success lets the lane ramp up. Ramping:
//! the allowance doubles with each success until it reaches the concurrency.

use crate::domain::{retry::RetryPolicy, time::Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    Closed {
        failures: u32,
    },
    Open {
        probes: u32,
        probe_at: Timestamp,
        probing: bool,
    },
    Ramping {
        allowed: u16,
    },
}

/// Whether an attempt may begin now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    Go,
    /// Go, as the probe.
    Probe,
    /// Not before this time.
    At(Timestamp),
    /// Not before an attempt that is out has ended.
    Busy,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Whether one more attempt may begin while `out` are out.
    pub fn permit(&self, now: Timestamp, out: usize, concurrency: u16) -> Permit {
        let within = |limit: u16| {
            if out < usize::from(limit) {
                Permit::Go
            } else {
                Permit::Busy
            }
        };
        match *self {
            Self::Closed { .. } => within(concurrency),
            Self::Ramping { allowed } => within(allowed.min(concurrency)),
            Self::Open { probing: true, .. } => Permit::Busy,
            Self::Open {
                probe_at,
                probing: false,
                ..
            } if now < probe_at => Permit::At(probe_at),
            Self::Open { probing: false, .. } => Permit::Probe,
        }
    }

    pub const fn probe_began(&mut self) {
        if let Self::Open { probing, .. } = self {
            *probing = true;
        }
    }

    /// The probe came to nothing, for reasons of our own: another may go.
    pub const fn probe_ended(&mut self) {
        if let Self::Open { probing, .. } = self {
            *probing = false;
        }
    }

    pub fn succeeded(&mut self, concurrency: u16) {
        *self = match *self {
            Self::Closed { .. } => Self::Closed { failures: 0 },
            Self::Open { .. } => Self::Ramping { allowed: 2 },
            Self::Ramping { allowed } if allowed >= concurrency => Self::Closed { failures: 0 },
            Self::Ramping { allowed } => Self::Ramping {
                allowed: allowed.saturating_mul(2),
            },
        };
    }

    /// A transient failure. `probe` says that it was the probe's; others that were out when the lane opened do not
    /// move the probe's time.
    pub fn failed(&mut self, probe: bool, after: u32, policy: &RetryPolicy, now: Timestamp, random: f64) {
        let open = |probes| Self::Open {
            probes,
            probe_at: now.plus(policy.pace(probes, random)),
            probing: false,
        };
        *self = match self.clone() {
            Self::Closed { failures } if failures + 1 >= after => open(1),
            Self::Closed { failures } => Self::Closed {
                failures: failures + 1,
            },
            Self::Ramping { .. } => open(1),
            Self::Open { probes, .. } if probe => open(probes.saturating_add(1)),
            waiting @ Self::Open { .. } => waiting,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::duration::Span;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn policy() -> RetryPolicy {
        RetryPolicy::Fixed {
            retries: 3,
            delay: Span::from_secs(5),
        }
    }

    fn fail(breaker: &mut Breaker, probe: bool) {
        breaker.failed(probe, 5, &policy(), NOW, 0.5);
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            fail(&mut breaker, false);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_in_between_does_not() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            fail(&mut breaker, false);
        }
        breaker.succeeded(8);
        for _ in 0..4 {
            fail(&mut breaker, false);
        }
        assert!(!breaker.is_open());
        fail(&mut breaker, false);
        assert!(breaker.is_open());
    }

    #[test]
    fn one_probe_at_a_time_goes_out_on_the_retry_policy() {
        let mut breaker = opened();
        let at = NOW.plus(Duration::from_secs(5));
        assert_eq!(breaker.permit(NOW, 0, 8), Permit::At(at));
        assert_eq!(breaker.permit(at, 0, 8), Permit::Probe);
        breaker.probe_began();
        assert_eq!(breaker.permit(at, 1, 8), Permit::Busy);
        fail(&mut breaker, false);
        assert_eq!(
            breaker.permit(at, 1, 8),
            Permit::Busy,
            "a straggler does not end the probe"
        );
        breaker.failed(true, 5, &policy(), at, 0.5);
        assert_eq!(
            breaker.permit(at, 0, 8),
            Permit::At(at.plus(Duration::from_secs(5)))
        );
    }

    #[test]
    fn a_success_ramps_the_lane_up_by_doubling() {
        let mut breaker = opened();
        breaker.succeeded(8);
        assert_eq!(
            (breaker.permit(NOW, 1, 8), breaker.permit(NOW, 2, 8)),
            (Permit::Go, Permit::Busy)
        );
        breaker.succeeded(8);
        assert_eq!(
            (breaker.permit(NOW, 3, 8), breaker.permit(NOW, 4, 8)),
            (Permit::Go, Permit::Busy)
        );
        breaker.succeeded(8);
        breaker.succeeded(8);
        assert_eq!(breaker, Breaker::default());
    }
}
