//! Records of attempts.

use bytes::Bytes;

use super::{AT, ENDPOINT, KEY, decode, encode, entry, line};
use crate::domain::{
    delivery::{Progress, Stage, Trigger},
    endpoint::{DisableWhy, DisabledReason},
    health::Health,
    outcome::{Class, Fault, Reason},
    record::{AttemptSettled, Record},
};

pub fn settled() -> Record {
    Record::AttemptSettled(AttemptSettled {
        delivery: Some(KEY),
        endpoint: ENDPOINT,
        event_id: "evt-1".parse().unwrap(),
        event_type: "user.created".parse().unwrap(),
        tenant: None,
        number: 2,
        trigger: Trigger::Retry,
        started_at: AT,
        duration_millis: 12,
        class: Class::Transient,
        reason: Reason::Fault(Fault::Reset),
        status: Some(503),
        body_broken: true,
        remote: Some("127.0.0.1:80".to_owned()),
        stage: Stage::Scheduled { due: AT },
        progress: Progress {
            spent: 2,
            all_suspect: false,
        },
        health: Health {
            failures: 2,
            errors: 1,
            failing_millis: 5,
            last_failure_at: Some(AT),
            last_success_at: None,
        },
        disable: Some(DisabledReason {
            why: DisableWhy::EndpointError,
            reason: Some(Reason::Status),
            status: Some(410),
        }),
        location: Some("/elsewhere".to_owned()),
        excerpt: Bytes::from_static(b"no"),
        overrides_end: false,
        detail: Bytes::new(),
    })
}

/// An attempt with its details.
pub fn detailed() -> Record {
    let Record::AttemptSettled(settled) = settled() else {
        panic!("another kind");
    };
    Record::AttemptSettled(AttemptSettled {
        detail: Bytes::from_static(b"as it is kept"),
        ..settled
    })
}

/// A request of a handshake whose answer proved nothing.
pub fn unproven() -> Record {
    let Record::AttemptSettled(settled) = settled() else {
        panic!("another kind");
    };
    Record::AttemptSettled(AttemptSettled {
        delivery: None,
        trigger: Trigger::Test,
        class: Class::EndpointError,
        reason: Reason::Unproven,
        ..settled
    })
}

/// Neither the beginning of a record nor one with something behind it is taken for a whole one.
#[test]
fn an_attempt_with_its_details_is_read_whole_or_not_at_all() {
    let draft = encode(&detailed()).unwrap();
    let mut whole = entry(&line(&detailed()));
    for length in 0..draft.body.len() {
        whole.body = draft.body.slice(..length);
        assert!(decode(&whole).is_err(), "{length} bytes");
    }
    whole.body = [&draft.body[..], &[0]].concat().into();
    assert!(decode(&whole).is_err());
}
