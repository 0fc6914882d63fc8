//! Between records and what the journal holds: kind, version, flags, body.

use bytes::Bytes;

use crate::{
    domain::{
        configuration::{ConfigChange, Configured},
        event::EventType,
        id::Lsn,
        reclaim::{Carried, Home},
        record::{AttemptSettled, EventAccepted, EventTypePut, PayloadErased, Place, Record},
    },
    runtime::codec::{CodecError, decode_body, encode_body},
    storage::local::journal::{self, Draft, Entry, Location},
};

/// The journal's form of a record.
///
/// # Errors
/// When it is larger than a record may be.
pub fn encode(record: &Record) -> Result<Draft, CodecError> {
    let body = match record {
        Record::EventAccepted(body) => encode_body(body),
        Record::AttemptSettled(body) => encode_body(body),
        Record::DeliveriesRetried(body) => encode_body(body),
        Record::DeliveriesEnded(body) => encode_body(body),
        Record::EventReplayed(body) => encode_body(body),
        Record::Carried(body) => encode_body(body),
        Record::EventsForgotten(body) => encode_body(body),
        Record::AttemptsForgotten(body) => encode_body(body),
        Record::IdempotencyForgotten(body) => encode_body(body),
        Record::FloorRaised(body) => encode_body(body),
        Record::EndpointsForgotten(body) => encode_body(body),
        Record::PayloadErased(body) => encode_body(body),
        Record::Configured(body) => encode_body(body),
    }?;
    let flags = if record.is_configuration() {
        journal::CONFIG
    } else {
        0
    };
    Ok(Draft {
        kind: record.kind(),
        version: Record::version_of(record.kind()),
        flags,
        body: Bytes::from(body),
    })
}

/// Reads a record back.
///
/// # Errors
/// When its kind or version is unknown, or its body does not decode.
pub fn decode(entry: &Entry) -> Result<Record, CodecError> {
    let body = &entry.body[..];
    match (entry.kind, entry.version) {
        (2, 1) => {
            return Ok(Record::AttemptSettled(AttemptSettled {
                overrides_end: true,
                ..decode_body(body)?
            }));
        }
        (kind, version) if version != Record::version_of(kind) => return Err(CodecError::Version(version)),
        _ => {}
    }
    Ok(match entry.kind {
        1 => Record::EventAccepted(decode_body(body)?),
        2 => Record::AttemptSettled(decode_body(body)?),
        3 => ConfigChange::EndpointPut(decode_body(body)?).into(),
        4 => ConfigChange::EndpointChanged(decode_body(body)?).into(),
        5 => ConfigChange::EndpointDeleted(decode_body(body)?).into(),
        6 => Record::DeliveriesRetried(decode_body(body)?),
        7 => Record::DeliveriesEnded(decode_body(body)?),
        8 => Record::EventReplayed(decode_body(body)?),
        9 => ConfigChange::KeyPut(decode_body(body)?).into(),
        10 => ConfigChange::KeyRevoked(decode_body(body)?).into(),
        11 => ConfigChange::EventTypePut(decode_body(body)?).into(),
        12 => ConfigChange::EventTypeDeleted(decode_body(body)?).into(),
        13 => Record::Carried(decode_body(body)?),
        14 => Record::EventsForgotten(decode_body(body)?),
        15 => Record::AttemptsForgotten(decode_body(body)?),
        16 => Record::IdempotencyForgotten(decode_body(body)?),
        17 => Record::FloorRaised(decode_body(body)?),
        18 => Record::EndpointsForgotten(decode_body(body)?),
        19 => Record::PayloadErased(decode_body(body)?),
        20 => Record::Configured(decode_body(body)?),
        kind => return Err(CodecError::Kind(kind)),
    })
}

/// The event that a record accepted, carries, or erased the payload of; nothing when it is another record.
pub fn event(record: Record) -> Option<EventAccepted> {
    match record {
        Record::EventAccepted(accepted) => Some(accepted),
        Record::Carried(Carried {
            home: Home::Event { event, .. },
            ..
        })
        | Record::PayloadErased(PayloadErased { event, .. }) => Some(*event),
        _ => None,
    }
}

/// Whether a record holds the event that the one at `lsn` accepted: is that one, or carries it.
pub fn holds_event(entry: &Entry, lsn: Lsn) -> bool {
    match entry.kind {
        // What does not decode is told of where it is to be used.
        1 => entry.lsn == lsn,
        13 => matches!(
            decode(entry),
            Ok(Record::Carried(Carried { home: Home::Event { lsn: home, .. }, .. })) if home == lsn
        ),
        19 => matches!(decode(entry), Ok(Record::PayloadErased(erased)) if erased.lsn == lsn),
        _ => false,
    }
}

/// What a record leaves an event type declared as, or carries; nothing when it says nothing of it.
pub fn event_type<'a>(record: &'a Record, name: &EventType) -> Option<&'a EventTypePut> {
    let put = match record {
        Record::Configured(Configured { changes }) => changes.iter().rev().find_map(|change| match change {
            ConfigChange::EventTypePut(put) if put.event_type == *name => Some(put),
            _ => None,
        }),
        Record::Carried(Carried {
            home: Home::EventType(put),
            ..
        }) => Some(&**put),
        _ => None,
    };
    put.filter(|put| put.event_type == *name)
}

/// The store's form of a location.
pub fn place(location: Location) -> Place {
    Place {
        segment: location.segment,
        offset: location.offset,
        len: location.len,
    }
}

/// The journal's form of a place.
pub fn location(place: Place) -> Location {
    Location {
        segment: place.segment,
        offset: place.offset,
        len: place.len,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        domain::{
            delivery::{Progress, Stage, Trigger},
            endpoint::{DisableWhy, DisabledReason, StateChange},
            event::Payload,
            health::Health,
            id::{DeliveryKey, EndpointId, KeyId},
            outcome::{Class, Fault, Reason},
            reclaim::{
                AttemptsForgotten, EndpointsForgotten, EventsForgotten, FloorRaised, ForgottenEvent,
                IdempotencyForgotten, RowCopy,
            },
            record::{
                AttemptSettled, DeliveriesEnded, DeliveriesRetried, EndpointChanged, EndpointDeleted,
                EndpointPut, EventAccepted, EventReplayed, EventTypeDeleted, EventTypePut, KeyPut,
                KeyRevoked, Role,
            },
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

    fn settled() -> Record {
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
        })
    }

    /// A request of a handshake whose answer proved nothing.
    fn unproven() -> Record {
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

    fn others() -> Vec<Record> {
        let change = StateChange::Enable { discard: false };
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
            carried(Home::None),
            carried(Home::EventType(Box::new(EventTypePut {
                event_type: "user.created".parse().unwrap(),
                at: AT,
                description: None,
                schema: None,
                example: None,
                deprecated: false,
            }))),
            carried(match accepted() {
                Record::EventAccepted(event) => Home::Event {
                    lsn: 5,
                    event: Box::new(event),
                },
                _ => Home::None,
            }),
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
                deleted: vec![ENDPOINT],
                rows: vec![row()],
            }),
            Record::EndpointsForgotten(EndpointsForgotten {
                endpoints: vec![ENDPOINT],
            }),
            erased(),
            configured(),
            settled(),
            unproven(),
        ]
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

    fn row() -> RowCopy {
        RowCopy {
            key: Bytes::from_static(&[0x10, 1]),
            row: Bytes::from_static(&[1, 2, 3]),
        }
    }

    fn carried(home: Home) -> Record {
        Record::Carried(Carried {
            rows: vec![row()],
            configuration: matches!(home, Home::EventType(_)),
            home,
        })
    }

    /// How lines begin that are read, and not written any more: a kind and a version.
    const OLD: [&str; 8] = ["2 1 ", "3 1 ", "4 1 ", "5 1 ", "9 1 ", "10 1 ", "11 1 ", "12 1 "];

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
    #[test]
    fn every_kind_reads_and_writes_the_same_bytes_for_ever() {
        let records: Vec<Record> = [accepted(), settled()].into_iter().chain(others()).collect();
        let fixture = include_str!("fixtures/records_v1.txt");
        assert_eq!(fixture.lines().count(), records.len());
        for (line, record) in fixture.lines().zip(&records) {
            let draft = encode(record).unwrap();
            let body = hex::encode(&draft.body);
            let written = format!("{} {} {} {body}", draft.kind, draft.version, draft.flags);
            assert!(
                written == line || OLD.iter().any(|old| line.starts_with(old)),
                "the format changed: it needs a new version\n{written}"
            );
        }
        for (line, record) in fixture.lines().zip(&records) {
            let mut parts = line.split(' ');
            let mut number = || parts.next().unwrap().parse::<u8>().unwrap();
            let (kind, version, flags) = (number(), number(), number());
            let body = Bytes::from(hex::decode(parts.next().unwrap()).unwrap());
            let location = Location {
                segment: 0,
                offset: 0,
                len: 0,
            };
            let read = decode(&Entry {
                lsn: 1,
                kind,
                version,
                flags,
                body,
                location,
            })
            .unwrap();
            assert_eq!(read, read_as(line, record.clone()));
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
}
