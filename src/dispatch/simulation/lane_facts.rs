//! What an endpoint's lane must be doing, kept from what was seen of it: its bucket, its breaker, how long it is still.

use super::super::engine::Shared;
use crate::domain::{
    delivery::Trigger,
    endpoint::{Endpoint, Rate},
    outcome::Class,
    record::AttemptSettled,
    retry::RetryPolicy,
    time::Timestamp,
};

/// How far the model's tokens may be wrong: it counts whole milliseconds.
const SLACK: f64 = 0.05;

/// What is known of the breaker. A lane without work is forgotten, and its breaker with it, so that it is not always
/// known.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Breaker {
    /// Not open, after so many failures in a row; or, when not `exact`, perhaps open for all that is known.
    Loose {
        failures: u32,
        exact: bool,
    },
    Open {
        /// `None` when that is not known.
        probes: Option<u32>,
        probing: bool,
        /// No probe goes out before.
        not_before: Timestamp,
    },
    Ramping {
        allowed: u16,
    },
}

#[derive(Clone, Debug)]
pub(super) struct LaneFacts {
    tokens: f64,
    filled_at: u64,
    rate: Option<Option<Rate>>,
    pub breaker: Breaker,
    /// When, by simulation time, a person's change made everything new.
    pub reset_at: Option<u64>,
    /// Asked by the receiver, or by our own trouble, to wait until then by engine time.
    pub quiet_until: Timestamp,
    /// The last attempt failed for reasons of our own.
    pub troubled: bool,
    /// Something could have been begun since then.
    pub idle_since: Option<u64>,
    /// Counted towards disabling.
    pub errors: u32,
}

impl LaneFacts {
    pub const fn new(errors: u32, exact: bool) -> Self {
        Self {
            tokens: 0.0,
            filled_at: 0,
            rate: None,
            breaker: Breaker::Loose { failures: 0, exact },
            reset_at: None,
            quiet_until: Timestamp::EPOCH,
            troubled: false,
            idle_since: None,
            errors,
        }
    }

    /// The endpoint's configuration was saved: its rate may be another.
    pub const fn saved(&mut self) {
        self.rate = None;
    }

    /// A person has changed the endpoint's state.
    pub const fn changed(&mut self, now: u64) {
        self.reset_at = Some(now);
        self.breaker = Breaker::Loose {
            failures: 0,
            exact: true,
        };
        self.quiet_until = Timestamp::EPOCH;
        self.idle_since = None;
        self.errors = 0;
    }

    /// There is no work: the lane may have been dropped, and begun anew later.
    pub fn may_be_gone(&mut self) {
        let untouched = Breaker::Loose {
            failures: 0,
            exact: true,
        };
        if self.breaker != untouched {
            self.breaker = Breaker::Loose {
                failures: 0,
                exact: false,
            };
        }
        self.troubled = false;
        self.idle_since = None;
    }

    /// Takes a token for an attempt that is begun; whether there was one.
    pub fn takes_token(&mut self, rate: Option<Rate>, now: u64) -> bool {
        let known = self.rate.replace(rate);
        let Some(rate) = rate else {
            return true;
        };
        let burst = f64::from(rate.burst);
        self.tokens = if known == Some(Some(rate)) {
            let passed = (now - self.filled_at) as f64 / 1000.0;
            (self.tokens + passed * rate.per_second).min(burst)
        } else {
            burst
        };
        self.filled_at = now;
        self.tokens -= 1.0;
        self.tokens > -SLACK
    }

    /// What the breaker has against an attempt that is begun while `out` others are.
    pub fn breaker_objects(&mut self, trigger: Trigger, now: Timestamp, out: usize) -> Option<&'static str> {
        let probe = trigger == Trigger::Probe;
        match &mut self.breaker {
            Breaker::Loose { exact: true, .. } if probe => Some("probes although its breaker is closed"),
            Breaker::Loose { exact: false, .. } if probe => {
                self.breaker = Breaker::Open {
                    probes: None,
                    probing: true,
                    not_before: Timestamp::EPOCH,
                };
                None
            }
            Breaker::Loose { .. } => None,
            Breaker::Open { .. } if !probe => Some("goes out although its breaker is open"),
            Breaker::Open { probing: true, .. } => Some("probes beside another probe"),
            Breaker::Open { not_before, .. } if now < *not_before => Some("probes too early"),
            Breaker::Open { probing, .. } => {
                *probing = true;
                None
            }
            Breaker::Ramping { .. } if probe => Some("probes although its breaker is closed"),
            Breaker::Ramping { allowed } if out >= usize::from(*allowed) => {
                Some("goes out although its lane is ramping up")
            }
            Breaker::Ramping { .. } => None,
        }
    }

    /// How many may be out at once, as far as the breaker is known.
    pub fn allows(&self, concurrency: u16) -> usize {
        let allowed = match self.breaker {
            Breaker::Loose { exact: true, .. } => concurrency,
            Breaker::Loose { exact: false, .. } | Breaker::Open { .. } => 1,
            Breaker::Ramping { allowed } => allowed.min(concurrency),
        };
        usize::from(if self.troubled { 1 } else { allowed })
    }

    /// Draws its conclusions from an attempt that ended.
    pub fn learn(
        &mut self,
        shared: &Shared,
        endpoint: &Endpoint,
        record: &AttemptSettled,
        now: (Timestamp, u64),
    ) {
        let concurrency = endpoint.spec.concurrency.unwrap_or(shared.options.concurrency);
        let retry = endpoint.spec.policy().retry;
        self.troubled = record.class == Class::Ours;
        self.idle_since = None;
        match record.class {
            Class::Delivered | Class::EventError => self.succeeded(concurrency),
            Class::Transient | Class::EndpointError => {
                let probe = record.trigger == Trigger::Probe;
                self.failed(probe, shared.options.breaker_after, &retry, now.0);
                self.wait_for(record, endpoint, now.0);
            }
            Class::Ours => {
                if let (Breaker::Open { probing, .. }, Trigger::Probe) = (&mut self.breaker, record.trigger) {
                    *probing = false;
                }
                self.quiet(now.0, 300_000);
            }
        }
        if self.reset_at == Some(now.1) {
            // Whether the lane heard of the change before this or after it is not known.
            self.breaker = Breaker::Loose {
                failures: 0,
                exact: false,
            };
        }
    }

    fn succeeded(&mut self, concurrency: u16) {
        self.breaker = match self.breaker {
            Breaker::Loose { exact, .. } => Breaker::Loose { failures: 0, exact },
            Breaker::Open { .. } => Breaker::Ramping { allowed: 2 },
            Breaker::Ramping { allowed } if allowed >= concurrency => Breaker::Loose {
                failures: 0,
                exact: true,
            },
            Breaker::Ramping { allowed } => Breaker::Ramping {
                allowed: allowed.saturating_mul(2),
            },
        };
    }

    fn failed(&mut self, probe: bool, after: u32, retry: &RetryPolicy, now: Timestamp) {
        let open = |probes: Option<u32>| Breaker::Open {
            probes,
            probing: false,
            not_before: probes.map_or(Timestamp::EPOCH, |probes| now.plus(retry.pace(probes, 0.0))),
        };
        let longest = (1..=32)
            .map(|count| retry.pace(count, 1.0))
            .max()
            .unwrap_or_default();
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.breaker = match self.breaker.clone() {
            Breaker::Loose {
                failures,
                exact: true,
            } if failures + 1 >= after => open(Some(1)),
            // It may have been open for a while.
            Breaker::Loose { failures, .. } if failures + 1 >= after => open(None),
            Breaker::Loose { failures, exact } => Breaker::Loose {
                failures: failures + 1,
                exact,
            },
            Breaker::Ramping { .. } => open(Some(1)),
            Breaker::Open { probes, .. } if probe => open(probes.map(|probes| probes.saturating_add(1))),
            waiting @ Breaker::Open { .. } => waiting,
        };
        if !matches!(self.breaker, Breaker::Loose { exact: true, .. }) {
            self.quiet(now, longest);
        }
    }

    fn quiet(&mut self, now: Timestamp, millis: u64) {
        let until = now.plus(std::time::Duration::from_millis(millis));
        self.quiet_until = self.quiet_until.max(until);
    }

    fn wait_for(&mut self, record: &AttemptSettled, endpoint: &Endpoint, now: Timestamp) {
        let asked = asked(record, now).unwrap_or(now);
        let most = now.plus(endpoint.spec.retry_after_max.as_duration());
        self.quiet_until = self.quiet_until.max(asked.min(most));
    }
}

/// When the receiver asked to be tried again: its answer's body says so too.
pub(super) fn asked(record: &AttemptSettled, now: Timestamp) -> Option<Timestamp> {
    let text = std::str::from_utf8(&record.excerpt).ok()?;
    let (kind, millis) = text.split_once(' ')?;
    let millis: u64 = millis.parse().ok()?;
    Some(match kind {
        "after" => now.plus(std::time::Duration::from_millis(millis)),
        _ => Timestamp::from_millis(millis),
    })
}
