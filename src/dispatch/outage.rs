//! No way out at all: when every endpoint that is tried cannot even be connected to, it is our network that is down,
//! and nobody is blamed.
//!
//! Within a window, connections that fail (no answer, unreachable, no name server) to at least [`ENOUGH`] different
//! endpoints, while nothing at all could be reached, make further such failures ours. A refusal or a reset counts
//! as reached: something answered. That an endpoint's own proxy cannot be used says nothing either way.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::{
    id::EndpointId,
    outcome::{Class, Fault, Outcome, Reason},
};

/// Within this time everything must have failed.
const WINDOW: Duration = Duration::from_secs(60);
/// Different endpoints that must have failed; with fewer, it may well be them.
const ENOUGH: usize = 3;
/// Endpoints that are remembered; more say nothing new.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
struct Outage {
    failed: HashMap<EndpointId, Instant>,
}

/// The one that all who send tell of what they meet.
#[derive(Debug, Default)]
pub(super) struct SharedOutage(Mutex<Outage>);

impl SharedOutage {
    /// Takes note of an outcome at the present, and gives it back as it is to be judged.
    pub fn judge(&self, endpoint: EndpointId, outcome: Outcome) -> Outcome {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outage.judge(endpoint, outcome, Instant::now())
    }
}

impl Outage {
    /// Takes note of an attempt's outcome, and gives it back as it is to be judged.
    fn judge(&mut self, endpoint: EndpointId, outcome: Outcome, now: Instant) -> Outcome {
        if !is_unreached(&outcome) {
            if outcome.class != Class::Ours && outcome.reason != Reason::Fault(Fault::ProxyUnreachable) {
                self.failed.clear();
            }
            return outcome;
        }
        self.failed
            .retain(|_, at| now.saturating_duration_since(*at) < WINDOW);
        if self.failed.len() < REMEMBERED || self.failed.contains_key(&endpoint) {
            self.failed.insert(endpoint, now);
        }
        if self.failed.len() < ENOUGH {
            return outcome;
        }
        Outcome {
            class: Class::Ours,
            reason: Reason::Fault(Fault::NoRoute),
            suspect: false,
            ..outcome
        }
    }
}

/// Whether the attempt failed before anything answered.
fn is_unreached(outcome: &Outcome) -> bool {
    matches!(
        outcome.reason,
        Reason::Fault(
            Fault::TimeoutConnect
                | Fault::Unreachable
                | Fault::Dns
                | Fault::NoRoute
                | Fault::TokenUnreachable
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        outcome::{Observation, classify},
        time::Timestamp,
    };

    fn id(number: u128) -> EndpointId {
        EndpointId::new(Timestamp::EPOCH, number)
    }

    fn fault(fault: Fault) -> Outcome {
        classify(Observation::Fault(fault), &Default::default())
    }

    #[tokio::test(start_paused = true)]
    async fn when_nothing_can_be_reached_nobody_is_blamed() {
        let mut outage = Outage::default();
        let now = Instant::now();
        let class = |outage: &mut Outage, number, kind| outage.judge(id(number), fault(kind), now).class;
        assert_eq!(class(&mut outage, 1, Fault::TimeoutConnect), Class::Transient);
        assert_eq!(class(&mut outage, 1, Fault::TimeoutConnect), Class::Transient);
        assert_eq!(class(&mut outage, 2, Fault::Dns), Class::Transient);
        assert_eq!(class(&mut outage, 3, Fault::Unreachable), Class::Ours);
        assert_eq!(class(&mut outage, 1, Fault::Dns), Class::Ours);
        assert_eq!(
            class(&mut outage, 4, Fault::Refused),
            Class::Transient,
            "someone answered"
        );
        assert_eq!(class(&mut outage, 1, Fault::Dns), Class::Transient);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_long_ago_do_not_count() {
        let mut outage = Outage::default();
        let start = Instant::now();
        for number in 0..2 {
            outage.judge(id(number), fault(Fault::Dns), start);
        }
        let later = outage.judge(id(2), fault(Fault::Dns), start + WINDOW);
        assert_eq!(later.class, Class::Transient);
    }
}
