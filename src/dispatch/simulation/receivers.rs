//! Receivers, slow and lying ones among them: what each would answer, drawn from the seed.

use std::{collections::BTreeMap, time::Duration};

use crate::domain::{
    duration::Span,
    id::EndpointId,
    outcome::{Directive, Fault, Observation, RetryAfter},
    time::Timestamp,
};

/// How a receiver behaves until it is told otherwise.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Well,
    /// So many in a hundred fail with 503.
    Flaky(u8),
    /// Always this status.
    Status(u16),
    /// Takes the request and says nothing until our patience ends.
    Hangs,
    /// Answers well, about when our patience ends.
    Slow,
    /// A good head at once, then its body byte by byte.
    Drips,
    /// Takes the request and closes before it answers.
    ClosesEarly,
    /// A good head, and then closes.
    ClosesInBody,
    Refuses,
    /// Cannot be connected to; the connect limit passes.
    Silent,
    /// Asks to be left alone, for sensible and absurd times.
    Busy,
    /// By turns well and gone.
    TwoFaced,
    /// A certificate out of date.
    Expired,
    /// Asks for this in its answer's header.
    Directs(bool),
    /// Trouble of our own whenever it is to be sent to.
    OursToBlame,
    /// Anything of the above, each time anew.
    Fickle,
}

const MANNERS: [Manner; 21] = [
    Manner::Well,
    Manner::Flaky(30),
    Manner::Flaky(80),
    Manner::Status(503),
    Manner::Status(410),
    Manner::Status(422),
    Manner::Status(302),
    Manner::Status(999),
    Manner::Hangs,
    Manner::Slow,
    Manner::Drips,
    Manner::ClosesEarly,
    Manner::ClosesInBody,
    Manner::Refuses,
    Manner::Silent,
    Manner::Busy,
    Manner::TwoFaced,
    Manner::Expired,
    Manner::Directs(true),
    Manner::Directs(false),
    Manner::OursToBlame,
];

impl Manner {
    pub fn any(rng: &mut fastrand::Rng) -> Self {
        match rng.usize(..MANNERS.len() + 4) {
            0..4 => Self::Well,
            4 => Self::Fickle,
            other => MANNERS[other % MANNERS.len()],
        }
    }
}

/// What comes of one request.
pub(super) struct Plan {
    pub after: Duration,
    pub observation: Observation,
    /// The receiver has the event, whatever it answers.
    pub taken: bool,
}

pub(super) struct Receivers {
    rng: fastrand::Rng,
    manners: BTreeMap<EndpointId, Manner>,
    asked: BTreeMap<EndpointId, u64>,
    /// Nobody can be reached.
    pub partition: bool,
}

fn status(status: u16) -> Observation {
    answer(status, None, None, false)
}

fn answer(
    status: u16,
    retry_after: Option<RetryAfter>,
    directive: Option<Directive>,
    body_broken: bool,
) -> Observation {
    Observation::Response {
        status,
        directive,
        retry_after,
        body_broken,
    }
}

impl Receivers {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            manners: BTreeMap::new(),
            asked: BTreeMap::new(),
            partition: false,
        }
    }

    pub fn set(&mut self, endpoint: EndpointId, manner: Manner) {
        self.manners.insert(endpoint, manner);
    }

    /// Everyone behaves from now on.
    pub fn heal(&mut self) {
        self.partition = false;
        self.manners
            .values_mut()
            .for_each(|manner| *manner = Manner::Well);
    }

    pub fn plan(&mut self, endpoint: EndpointId, total: Duration, wall: Timestamp) -> Plan {
        let count = self.asked.entry(endpoint).or_default();
        *count += 1;
        let count = *count;
        if self.partition {
            return self.unreached(total);
        }
        let mut manner = *self.manners.entry(endpoint).or_insert(Manner::Well);
        if manner == Manner::Fickle {
            manner = MANNERS[self.rng.usize(..MANNERS.len())];
        }
        self.by(manner, count, total, wall)
    }

    fn unreached(&mut self, total: Duration) -> Plan {
        let (after, fault) = match self.rng.u8(..3) {
            0 => (5000, Fault::TimeoutConnect),
            1 => (self.rng.u64(1..50), Fault::Unreachable),
            _ => (self.rng.u64(1..5000), Fault::Dns),
        };
        Plan {
            after: Duration::from_millis(after).min(total),
            observation: Observation::Fault(fault),
            taken: false,
        }
    }

    fn by(&mut self, manner: Manner, count: u64, total: Duration, wall: Timestamp) -> Plan {
        let soon = Duration::from_millis(self.rng.u64(1..300)).min(total);
        let faulted = |after, fault, taken| Plan {
            after,
            observation: Observation::Fault(fault),
            taken,
        };
        let answered = |after, observation| Plan {
            after,
            observation,
            taken: true,
        };
        match manner {
            Manner::Well | Manner::Fickle => answered(soon, status(self.rng.u16(200..207))),
            Manner::Flaky(percent) if self.rng.u8(..100) < percent => answered(soon, status(503)),
            Manner::Flaky(_) => answered(soon, status(200)),
            Manner::Status(code) => answered(soon, status(code)),
            Manner::Hangs => faulted(total, Fault::TimeoutTotal, true),
            Manner::Slow => {
                let after = total.mul_f64(0.5 + 0.7 * self.rng.f64());
                if after < total {
                    answered(after, status(200))
                } else {
                    faulted(total, Fault::TimeoutTotal, true)
                }
            }
            Manner::Drips => answered(total, answer(200, None, None, true)),
            Manner::ClosesEarly => faulted(soon, Fault::ClosedEarly, true),
            Manner::ClosesInBody => answered(soon, answer(204, None, None, true)),
            Manner::Refuses => faulted(soon, Fault::Refused, false),
            Manner::Silent => faulted(total.min(Duration::from_secs(5)), Fault::TimeoutConnect, false),
            Manner::Busy => {
                let code = if self.rng.bool() { 429 } else { 503 };
                let asked = self.retry_after(wall);
                answered(soon, answer(code, Some(asked), None, false))
            }
            Manner::TwoFaced => answered(soon, status(if count.is_multiple_of(2) { 410 } else { 200 })),
            Manner::Expired => faulted(soon, Fault::TlsExpired, false),
            Manner::Directs(disable) => {
                let directive = if disable {
                    Directive::Disable
                } else {
                    Directive::AbortMessage
                };
                answered(soon, answer(200, None, Some(directive), false))
            }
            Manner::OursToBlame => faulted(Duration::ZERO, Fault::Descriptors, false),
        }
    }

    fn retry_after(&mut self, wall: Timestamp) -> RetryAfter {
        match self.rng.u8(..6) {
            0 => RetryAfter::Delay(Span::from_secs(self.rng.u64(0..100))),
            1 => RetryAfter::Delay(Span::from_secs(self.rng.u64(100..20_000))),
            2 => RetryAfter::Delay(Span::from_secs(10 * 366 * 86_400)),
            3 => RetryAfter::At(Timestamp::EPOCH),
            4 => RetryAfter::At(wall.plus(Duration::from_secs(self.rng.u64(0..3600)))),
            _ => RetryAfter::At(Timestamp::from_millis(u64::MAX)),
        }
    }
}
