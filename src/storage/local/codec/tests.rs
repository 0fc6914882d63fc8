//! What is written today, byte for byte, and what was written before.

mod attempts;

use std::collections::BTreeMap;

use self::attempts::{detailed, settled, unproven};
use super::*;
use crate::{
    domain::{
        audit::AuditEntry,
        delivery::{Counts, Delivery, LastAttempt, Progress, Stage},
        endpoint::{Standing, StateChange},
        event::Payload,
        health::Health,
        id::{AuditId, DeliveryKey, EndpointId, KeyId},
        ordering::Strand,
        outcome::{Class, Reason},
        reclaim::{
            AttemptLink, AttemptsForgotten, AuditForgotten, Declaration, DeliveryFacts, EndpointFacts,
            EndpointTally, EndpointsForgotten, Erasure, EventFacts, EventTypeFacts, EventsForgotten,
            FloorRaised, Forgotten, ForgottenEvent, IdempotencyClaim, IdempotencyForgotten, RollupsFolded,
            RowCopy, State, Totals,
        },
        record::{
            AttemptSettled, DeliveriesEnded, DeliveriesRetried, EndpointChanged, EndpointDeleted,
            EndpointPut, EventAccepted, EventReplayed, EventTypeDeleted, EventTypePut, KeyPut, KeyRevoked,
            Role,
        },
        rollup::{Interval, Rollup, Series, WholeInterval},
        time::Timestamp,
    },
    runtime::hex,
};

const AT: Timestamp = Timestamp::from_millis(1_614_265_330_120);
const ENDPOINT: EndpointId = EndpointId::from_bytes([3; 16]);
const KEY: DeliveryKey = DeliveryKey::new(5, 2);

fn accepted() -> Record {
    Record::EventAccepted(EventAccepted {
        id: "evt-1".parse().unwrap(),
        event_type: "user.created".parse().unwrap(),
        tenant: Some("t".parse().unwrap()),
        channel: None,
        ordering_key: Some("k".parse().unwrap()),
        accepted_at: AT,
        occurred_at: AT,
        due: AT,
        expires_at: Some(AT),
        attributes: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        content_hash: [9; 16],
        idempotency_key: Some("once".to_owned()),
        idempotency_until: AT,
        fan_out: vec![ENDPOINT],
        notice_for: Some(ENDPOINT),
        payload: Payload {
            content_type: None,
            bytes: Bytes::from_static(b"{\"a\": 1}"),
        },
    })
}

fn others() -> Vec<Record> {
    let change = StateChange::Enable { discard: false };
    let [none, event_type, event] = homes();
    vec![
        ConfigChange::EndpointPut(EndpointPut {
            id: ENDPOINT,
            at: AT,
            initial: change,
            sealed: vec![1, 2],
        })
        .into(),
        ConfigChange::EndpointChanged(EndpointChanged {
            id: ENDPOINT,
            at: AT,
            change: StateChange::Pause,
        })
        .into(),
        ConfigChange::EndpointDeleted(EndpointDeleted { id: ENDPOINT, at: AT }).into(),
        Record::DeliveriesRetried(DeliveriesRetried {
            keys: vec![KEY],
            due: AT,
        }),
        Record::DeliveriesEnded(DeliveriesEnded {
            keys: vec![KEY],
            at: AT,
            stage: Stage::Cancelled,
        }),
        Record::EventReplayed(EventReplayed {
            event: 5,
            due: AT,
            fan_out: vec![ENDPOINT],
        }),
        ConfigChange::KeyPut(KeyPut {
            id: KeyId::from_bytes([4; 16]),
            name: "first".to_owned(),
            role: Role::Admin,
            tenant: None,
            created_at: AT,
            expires_at: None,
            hash: [8; 32],
        })
        .into(),
        ConfigChange::KeyRevoked(KeyRevoked {
            id: KeyId::from_bytes([4; 16]),
            at: AT,
        })
        .into(),
        ConfigChange::EventTypePut(EventTypePut {
            event_type: "user.created".parse().unwrap(),
            at: AT,
            description: Some("a user".to_owned()),
            schema: Some("{\"type\": \"object\"}".to_owned()),
            example: None,
            deprecated: true,
        })
        .into(),
        ConfigChange::EventTypeDeleted(EventTypeDeleted {
            event_type: "user.created".parse().unwrap(),
            at: AT,
        })
        .into(),
        ConfigChange::EndpointChanged(EndpointChanged {
            id: ENDPOINT,
            at: AT,
            change: StateChange::Lapse,
        })
        .into(),
        unproven(),
        carried(vec![row()], none.clone()),
        carried(vec![row()], event_type.clone()),
        carried(vec![row()], event.clone()),
        Record::EventsForgotten(EventsForgotten {
            events: vec![ForgottenEvent {
                event: 5,
                idempotency_key: Some("once".to_owned()),
                added: vec![KEY],
                attempts: vec![6, 7],
            }],
        }),
        Record::AttemptsForgotten(AttemptsForgotten { from: 2, before: 9 }),
        Record::IdempotencyForgotten(IdempotencyForgotten {
            keys: vec!["once".to_owned()],
            at: AT,
        }),
        Record::FloorRaised(FloorRaised {
            floor: 9,
            accepted_at: AT,
            // A row that does not read is of no use to a floor.
            deleted: Vec::new(),
        }),
        Record::EndpointsForgotten(EndpointsForgotten {
            endpoints: vec![ENDPOINT],
        }),
        erased(),
        configured(),
        settled(),
        unproven(),
        carried(state(), none),
        carried(state(), event_type),
        carried(state(), event.clone()),
        Record::FloorRaised(FloorRaised {
            floor: 9,
            accepted_at: AT,
            deleted: vec![endpoint()],
        }),
        audited(),
        Record::AuditForgotten(AuditForgotten { before: AT }),
        settled(),
        unproven(),
        detailed(),
        carried(rollups(), event),
        Record::RollupsFolded(RollupsFolded {
            minutes_before: AT,
            hours_before: AT,
        }),
    ]
}

fn rollups() -> Vec<State> {
    let whole = |interval: Interval, series| {
        State::Rollups(Box::new(WholeInterval {
            interval,
            at: interval.of(AT),
            series,
        }))
    };
    let rollup = |counts: &[(u8, u32)]| Rollup::from(counts.to_vec());
    let minute = vec![
        (Series::All, rollup(&[(0, 3), (8, 1), (9, 1), (31, 2)])),
        (Series::Tenant("t".parse().unwrap()), rollup(&[(0, 2)])),
        (Series::Endpoint(ENDPOINT), rollup(&[(6, u32::MAX)])),
    ];
    vec![
        whole(Interval::Minute, minute),
        whole(Interval::Hour, vec![(Series::All, Rollup::default())]),
    ]
}

fn audited() -> Record {
    Record::from(ConfigChange::Audited(Box::new(AuditEntry {
        id: AuditId::new(AT, 3),
        at: AT,
        actor: "key_1".to_owned(),
        action: "endpoint.updated".to_owned(),
        target: "ep_1".to_owned(),
        tenant: Some("t".parse().unwrap()),
        before: Some("{\"a\":1}".to_owned()),
        after: None,
        from: "tcp".to_owned(),
        reason: Some("so".to_owned()),
    })))
}

/// Each change of configuration, in one record.
fn configured() -> Record {
    let at = AT;
    let (id, change) = (ENDPOINT, StateChange::Pause);
    Record::Configured(Configured {
        changes: vec![
            ConfigChange::EndpointPut(EndpointPut {
                id,
                at,
                initial: change,
                sealed: vec![1, 2],
            }),
            ConfigChange::EndpointChanged(EndpointChanged { id, at, change }),
            ConfigChange::EndpointDeleted(EndpointDeleted { id, at }),
            ConfigChange::KeyPut(KeyPut {
                id: KeyId::from_bytes([4; 16]),
                name: "first".to_owned(),
                role: Role::Admin,
                tenant: None,
                created_at: at,
                expires_at: None,
                hash: [8; 32],
            }),
            ConfigChange::KeyRevoked(KeyRevoked {
                id: KeyId::from_bytes([4; 16]),
                at,
            }),
            ConfigChange::EventTypePut(EventTypePut {
                event_type: "user.created".parse().unwrap(),
                at,
                description: None,
                schema: None,
                example: Some("1".to_owned()),
                deprecated: false,
            }),
            ConfigChange::EventTypeDeleted(EventTypeDeleted {
                event_type: "user.created".parse().unwrap(),
                at,
            }),
            ConfigChange::DeliveriesEnded(DeliveriesEnded {
                keys: vec![KEY],
                at,
                stage: Stage::Cancelled,
            }),
        ],
    })
}

fn erased() -> Record {
    let Record::EventAccepted(mut event) = accepted() else {
        unreachable!("it is one");
    };
    event.payload.bytes = Bytes::new();
    Record::PayloadErased(PayloadErased {
        lsn: 5,
        at: AT,
        by: "unix socket".to_owned(),
        event: Box::new(event),
    })
}

fn key() -> KeyPut {
    KeyPut {
        id: KeyId::from_bytes([4; 16]),
        name: "first".to_owned(),
        role: Role::Admin,
        tenant: None,
        created_at: AT,
        expires_at: None,
        hash: [8; 32],
    }
}

/// A row of version 1 that does not read as state.
fn row() -> State {
    State::Row(RowCopy {
        key: Bytes::from_static(&[0x10, 1]),
        row: Bytes::from_static(&[1, 2, 3]),
    })
}

fn carried(state: Vec<State>, home: Home) -> Record {
    Record::Carried(Carried {
        state,
        configuration: matches!(home, Home::EventType(_)),
        home,
    })
}

fn homes() -> [Home; 3] {
    let Record::EventAccepted(event) = accepted() else {
        unreachable!("it is one");
    };
    let declared = EventTypePut {
        event_type: "user.created".parse().unwrap(),
        at: AT,
        description: None,
        schema: None,
        example: None,
        deprecated: false,
    };
    [
        Home::None,
        Home::EventType(Box::new(declared)),
        Home::Event {
            lsn: 5,
            event: Box::new(event),
        },
    ]
}

fn endpoint() -> EndpointFacts {
    EndpointFacts {
        id: ENDPOINT,
        created_at: AT,
        updated_at: AT,
        deleted_at: Some(AT),
        standing: Standing::new(&StateChange::Pause, AT),
        sealed: vec![1, 2, 3],
    }
}

/// What version 2 carries: every part of the state.
fn state() -> Vec<State> {
    let deliveries = Counts {
        scheduled: 1,
        delivered: 2,
        failed: 3,
        expired: 4,
        cancelled: 5,
        attempts: 6,
    };
    vec![
        State::Event(Box::new(EventFacts {
            lsn: 5,
            id: "evt-1".parse().unwrap(),
            event_type: "user.created".parse().unwrap(),
            tenant: Some("t".parse().unwrap()),
            accepted_at: AT,
            content_hash: [9; 16],
            deliveries: 3,
            strand: Some(Strand::of_key(&"k".parse().unwrap())),
            idempotency: Some(IdempotencyClaim {
                key: "once".to_owned(),
                until: AT,
            }),
            erased: Some(Erasure {
                at: AT,
                by: "unix socket".to_owned(),
                from: Place {
                    segment: 1,
                    offset: 64,
                    len: 99,
                },
            }),
            lost: false,
        })),
        State::Delivery(Box::new(DeliveryFacts {
            delivery: Delivery {
                key: KEY,
                event: 5,
                endpoint: ENDPOINT,
                created_at: AT,
                expires_at: Some(AT),
                stage: Stage::Scheduled { due: AT },
                progress: Progress {
                    spent: 2,
                    all_suspect: false,
                },
                attempts: 3,
                replay: true,
                last: Some(LastAttempt {
                    lsn: 8,
                    at: AT,
                    class: Class::Transient,
                    reason: Reason::Status,
                    status: Some(503),
                }),
                settled_at: None,
            },
            since: Some(AT),
        })),
        State::Attempt(AttemptLink {
            lsn: 8,
            previous: Some(7),
        }),
        State::Endpoint(Box::new(endpoint())),
        State::ApiKey(Box::new(key())),
        State::EventType(Box::new(EventTypeFacts {
            name: "user.created".parse().unwrap(),
            created_at: AT,
            updated_at: AT,
            declaration: Declaration::Here,
        })),
        State::Tally(Box::new(EndpointTally {
            endpoint: ENDPOINT,
            deliveries,
            health: Health::default(),
        })),
        State::Totals(Box::new(Totals {
            events: 9,
            unmatched: 1,
            deliveries,
            accepted_at: AT,
        })),
        State::Forgotten(Box::new(Forgotten {
            events: 4,
            deliveries,
        })),
    ]
}

fn line(record: &Record) -> String {
    let draft = encode(record).unwrap();
    let body = hex::encode(&draft.body);
    format!("{} {} {} {body}", draft.kind, draft.version, draft.flags)
}

fn entry(line: &str) -> Entry {
    let mut parts = line.split(' ');
    let mut number = || parts.next().unwrap().parse::<u8>().unwrap();
    let (kind, version, flags) = (number(), number(), number());
    Entry {
        lsn: 1,
        kind,
        version,
        flags,
        body: Bytes::from(hex::decode(parts.next().unwrap()).unwrap()),
        location: Location {
            segment: 0,
            offset: 0,
            len: 0,
        },
    }
}

/// How lines begin that are read, and not written any more: a kind and a version.
const OLD: [&str; 11] = [
    "2 1 ", "2 2 ", "3 1 ", "4 1 ", "5 1 ", "9 1 ", "10 1 ", "11 1 ", "12 1 ", "13 1 ", "17 1 ",
];

/// The record as it is read from such a line.
fn read_as(line: &str, record: Record) -> Record {
    match record {
        Record::AttemptSettled(settled) => Record::AttemptSettled(AttemptSettled {
            overrides_end: line.starts_with("2 1 "),
            ..settled
        }),
        other => other,
    }
}

/// What was ever written must be read for ever: this file may grow, its lines may not change.
const WRITTEN: &str = include_str!("../fixtures/records_v1.txt");

#[test]
fn every_kind_reads_and_writes_the_same_bytes_for_ever() {
    let records: Vec<Record> = [accepted(), settled()].into_iter().chain(others()).collect();
    assert_eq!(WRITTEN.lines().count(), records.len());
    for (old, record) in WRITTEN.lines().zip(&records) {
        if !OLD.iter().any(|begin| old.starts_with(begin)) {
            let written = line(record);
            assert_eq!(written, old, "the format changed: it needs a new version");
        }
        assert_eq!(decode(&entry(old)).unwrap(), read_as(old, record.clone()));
    }
}

#[test]
fn a_row_of_the_index_is_never_written() {
    for home in homes() {
        assert!(encode(&carried(vec![row()], home)).is_err());
    }
}

/// Whichever version wrote the record, and whatever stands before the payload.
#[test]
fn a_payload_is_blanked_in_its_place_and_nothing_else() {
    let holding = ["1 1 ", "13 1 ", "13 2 "].map(|begin| {
        let mut lines = WRITTEN.lines();
        lines.rfind(|line| line.starts_with(begin)).unwrap()
    });
    for line in holding {
        let entry = entry(line);
        let payload = event(decode(&entry).unwrap()).unwrap().payload.bytes;
        let body = blanked(&entry).unwrap();
        assert_eq!(body.len(), entry.body.len());
        let differing = body.iter().zip(&entry.body).filter(|(new, old)| new != old);
        assert_eq!(differing.count(), payload.len());
        let blank = Entry { body, ..entry };
        let read = event(decode(&blank).unwrap()).unwrap();
        assert_eq!(read.payload.bytes, vec![0; payload.len()]);
    }
    for line in WRITTEN
        .lines()
        .filter(|line| !line.starts_with("1 ") && !line.starts_with("13 "))
    {
        assert_eq!(blanked(&entry(line)), None, "{line}");
    }
}

#[test]
fn unknown_kinds_and_versions_are_named() {
    let draft = encode(&settled()).unwrap();
    let location = Location {
        segment: 0,
        offset: 0,
        len: 0,
    };
    let entry = |kind, version| Entry {
        lsn: 1,
        kind,
        version,
        flags: 0,
        body: draft.body.clone(),
        location,
    };
    assert!(matches!(decode(&entry(99, 1)), Err(CodecError::Kind(99))));
    assert!(matches!(decode(&entry(2, 9)), Err(CodecError::Version(9))));
    assert!(matches!(decode(&entry(1, 2)), Err(CodecError::Version(2))));
    assert!(matches!(decode(&entry(1, 1)), Err(CodecError::Body(_))));
}
