//! What can happen, and what a receiver can say.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::reads::Pace;
use crate::domain::{
    duration::Span,
    outcome::{Fault, Observation, Outcome, RetryAfter, classify},
};

/// What can happen.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// `late_millis` is how long the event was under way between its acceptance and its place in the journal.
    Accept {
        to: u8,
        delay_secs: u16,
        expires_secs: Option<u16>,
        late_millis: u16,
        key: u8,
    },
    /// The endpoint is to keep another order.
    Order(u8, u8),
    /// Begin up to so many attempts.
    Begin(u8),
    /// An attempt that is out ends so.
    End(u8, u8),
    /// The store catches up by so many records.
    Apply(u8),
    Enable(u8),
    Pause(u8),
    Retry(u8),
    Cancel(u8),
    Wait(u16),
    /// Reads are answered, and come, at these times from now on.
    Reads(Pace),
    /// Reads that are on their way come, but so many of the last, which fail.
    Come(u8),
    /// The wall clock is set.
    Step(i32),
    /// The process dies; verdicts at the end of the journal may be lost, and the store is behind or gone.
    Crash {
        lose: u8,
        rebuild: bool,
    },
}

fn delay() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(0), 1 => 1..20u16]
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<u8>(), delay(), prop::option::weighted(0.2, 1..60u16), 0..50u16, 0..4u8)
            .prop_map(|(to, delay_secs, expires_secs, late_millis, key)| Op::Accept {
                to, delay_secs, expires_secs, late_millis, key,
            }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Op::Order(which, how)),
        6 => (1..8u8).prop_map(Op::Begin),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Op::End(which, how)),
        6 => (1..8u8).prop_map(Op::Apply),
        2 => any::<u8>().prop_map(Op::Enable),
        1 => any::<u8>().prop_map(Op::Pause),
        1 => any::<u8>().prop_map(Op::Retry),
        1 => any::<u8>().prop_map(Op::Cancel),
        4 => (1..30u16).prop_map(Op::Wait),
        1 => (0..3u8).prop_map(|pace| Op::Reads(match pace {
            0 => Pace::AtOnce,
            1 => Pace::Old,
            _ => Pace::Fresh,
        })),
        4 => (0..8u8).prop_map(|fail| Op::Come(fail.saturating_sub(5))),
        1 => (-7200..7200i32).prop_map(Op::Step),
        1 => (0..3u8, any::<bool>()).prop_map(|(lose, rebuild)| Op::Crash { lose, rebuild }),
    ]
}

pub(super) fn outcome(choice: u8) -> Outcome {
    let answer = |status, retry_after| Observation::Response {
        status,
        directive: None,
        retry_after,
        body_broken: false,
    };
    let seen = match choice % 10 {
        0 | 1 => answer(200, None),
        2..=4 => answer(503, None),
        5 => answer(429, Some(RetryAfter::Delay(Span::from_secs(30)))),
        6 => answer(410, None),
        7 => answer(422, None),
        8 => Observation::Fault(Fault::TlsExpired),
        _ => Observation::Fault(Fault::Descriptors),
    };
    classify(seen, &BTreeMap::new())
}
