//! Rows: a version byte, then the members in order (see `runtime::codec`). Members are append-only with a new version.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use super::event_row::EventRow;
pub use crate::storage::stored::{StoredEndpoint, Tally, Totals};

use crate::{
    domain::{
        audit::AuditEntry,
        delivery::{Counts, Delivery},
        event::{EventType, Label},
        id::{DeliveryKey, EndpointId, Lsn},
        ordering::Strand,
        outcome::{Class, Reason},
        record::{KeyPut, Place},
        time::Timestamp,
    },
    runtime::codec::{CodecError, decode_body},
    storage::{
        schedule::{Entry, Position},
        stored::AttemptFacts,
    },
};

/// What is kept as a row.
pub trait Row: Serialize + DeserializeOwned {
    /// The version that is written today.
    const VERSION: u8 = 1;

    /// Reads the body of a version that was written before.
    ///
    /// # Errors
    /// When there was none, or it does not decode.
    fn read_old(version: u8, _body: &[u8]) -> Result<Self, CodecError> {
        Err(CodecError::Version(version))
    }
}

impl Row for () {}
impl Row for Lsn {}
impl Row for Applied {}
impl Row for IdempotencyRow {}
impl Row for StoredEndpoint {}
impl Row for Tally {}
impl Row for AttemptRow {}
impl Row for Delivery {}
impl Row for KeyPut {}
impl Row for AuditEntry {}
impl Row for EventTypeRow {}
impl Row for FloorRow {}
impl Row for Forgotten {}

/// How far the store has come, in which journal.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub lsn: Lsn,
    pub journal: [u8; 16],
}

/// What a schedule entry says of its delivery, so that a lane can tell whose turn it is without reading further.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// What the event's ordering key makes of it.
    pub key: Option<Strand>,
    /// When it took its place, if it was tried since; one that was not has its place where it is due.
    pub since: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Version 1 said nothing: the delivery and its event have to be asked.
    #[serde(skip)]
    pub(super) unsaid: bool,
}

impl Row for Slot {
    const VERSION: u8 = 2;

    fn read_old(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        match version {
            1 => decode_body::<()>(body).map(|()| Self {
                unsaid: true,
                ..Self::default()
            }),
            other => Err(CodecError::Version(other)),
        }
    }
}

impl Slot {
    /// The slot of a delivery that takes its place where it is due.
    pub const fn fresh(delivery: &Delivery, key: Option<Strand>) -> Self {
        Self {
            key,
            since: None,
            expires_at: delivery.expires_at,
            unsaid: false,
        }
    }

    /// The entry in the domain's words.
    pub const fn entry(self, at: Position) -> Entry {
        Entry {
            at,
            strand: self.key,
            since: self.since,
            expires_at: self.expires_at,
        }
    }

    /// What version 1 left unsaid. A delayed delivery that was tried gets an earlier place than it had, which harms
    /// nobody: it is past it.
    pub(super) fn of_old(delivery: &Delivery, key: Option<Strand>) -> Self {
        Self {
            since: delivery.is_tried().then_some(delivery.created_at),
            ..Self::fresh(delivery, key)
        }
    }
}

/// What an idempotency key stands for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRow {
    pub event: Lsn,
    pub until: Timestamp,
}

/// A declared event type; the declaration itself is in the journal.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTypeRow {
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub place: Place,
}

impl EventTypeRow {
    /// The row after a declaration at `at`, whose record lies at `place`.
    pub fn after(row: Option<&Self>, at: Timestamp, place: Place) -> Self {
        Self {
            created_at: row.map_or(at, |row| row.created_at),
            updated_at: at,
            place,
        }
    }
}

#[derive(Deserialize)]
struct TotalsV1 {
    events: u64,
    unmatched: u64,
    deliveries: Counts,
}

impl Row for Totals {
    const VERSION: u8 = 2;

    fn read_old(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        if version != 1 {
            return Err(CodecError::Version(version));
        }
        let old: TotalsV1 = decode_body(body)?;
        Ok(Self {
            events: old.events,
            unmatched: old.unmatched,
            deliveries: old.deliveries,
            accepted_at: Timestamp::EPOCH,
        })
    }
}

/// The floor below which records are gone, and what a later one has to know of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorRow {
    pub floor: Lsn,
    /// The newest time at which an event below the floor was accepted.
    pub accepted_at: Timestamp,
    /// Endpoints that were deleted below the floor, and are remembered.
    pub deleted: Vec<EndpointId>,
}

/// What is counted, and has no row any more.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    pub events: u64,
    /// Deliveries by the state in which they ended, and attempts.
    pub deliveries: Counts,
}

/// An attempt, as far as lists filter by it; the rest is in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    pub place: Place,
    pub delivery: Option<DeliveryKey>,
    /// The delivery's attempt before this one.
    pub previous: Option<Lsn>,
    pub endpoint: EndpointId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub started_at: Timestamp,
    pub class: Class,
    pub reason: Reason,
    pub status: Option<u16>,
}

impl From<AttemptRow> for AttemptFacts {
    fn from(row: AttemptRow) -> Self {
        Self {
            delivery: row.delivery,
            endpoint: row.endpoint,
            event_type: row.event_type,
            tenant: row.tenant,
            started_at: row.started_at,
            class: row.class,
            reason: row.reason,
            status: row.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::{
        domain::{
            configuration::ConfigChange,
            delivery::Stage,
            endpoint::StateChange,
            record::{EndpointChanged, EndpointPut, Record},
        },
        runtime::{codec::encode_row, hex},
        storage::local::index::{
            Placed, TableOptions,
            draft::decode,
            keys,
            open::{Options, Trust, open, open_as_is},
            query::Walk,
            table::Change,
        },
    };

    const OPTIONS: TableOptions = TableOptions {
        cache_bytes: 1024 * 1024,
        buffer_bytes: 1024,
        indexes: crate::storage::local::index::Indexes::All,
    };

    /// What version 1 wrote, and what is read of it.
    #[test]
    fn rows_of_the_first_version_still_read() {
        let fixture = include_str!("fixtures/rows_v1.txt");
        let row = |name: &str| {
            let line = fixture.lines().find_map(|line| line.strip_prefix(name));
            hex::decode(line.unwrap().trim()).unwrap()
        };
        let event: EventRow = decode(b"", &row("event")).unwrap();
        assert_eq!(
            (event.id.as_str(), event.deliveries, event.place.len, event.key),
            ("evt-1", 3, 77, None)
        );
        // Version 2 had an ordering key at its end, here none.
        let second = [&[2], &row("event")[1..], &[0]].concat();
        assert_eq!(decode::<EventRow>(b"", &second).unwrap(), event);
        let totals: Totals = decode(b"", &row("totals")).unwrap();
        assert_eq!(
            (totals.events, totals.unmatched, totals.deliveries.attempts),
            (9, 1, 6)
        );
        assert_eq!(totals.accepted_at, Timestamp::EPOCH);
        let slot: Slot = decode(b"", &row("due")).unwrap();
        assert!(slot.unsaid && slot.since.is_none());
    }

    /// An entry that says nothing is completed from its delivery, and replaced by one that speaks when it moves.
    #[test]
    fn a_schedule_entry_of_the_first_version_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let store = open_as_is(dir.path(), OPTIONS).unwrap();
        let put = |key: keys::Key, row: Vec<u8>| {
            store
                .table
                .apply([(key, Change::Put(row.into()))].into())
                .unwrap();
        };
        let endpoint = EndpointId::from_bytes([1; 16]);
        let (key, at) = (DeliveryKey::new(7, 0), Timestamp::from_millis(1_000));
        let mut delivery = Delivery {
            key,
            event: 7,
            endpoint,
            created_at: at,
            expires_at: Some(Timestamp::from_millis(9_000)),
            stage: Stage::Scheduled {
                due: Timestamp::from_millis(5_000),
            },
            progress: Default::default(),
            attempts: 1,
            replay: false,
            last: None,
            settled_at: None,
        };
        let event = hex::decode(
            include_str!("fixtures/rows_v1.txt")
                .lines()
                .next()
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap(),
        );
        put(keys::event(7), event.unwrap());
        let slot = |delivery: &Delivery| {
            let due = delivery.stage.due().unwrap();
            put(keys::delivery(key), encode_row(1, delivery).unwrap());
            put(keys::due(endpoint, due, key), vec![1]);
            let mut found = None;
            let walk = store.walk(endpoint, (Timestamp::EPOCH, DeliveryKey::MIN), 10, |at, slot| {
                found = Some((at, slot));
                ControlFlow::Continue(())
            });
            assert_eq!(walk.unwrap(), Walk::End);
            assert_eq!(found.unwrap().0, (due, key));
            found.unwrap().1
        };
        let tried = slot(&delivery);
        assert_eq!(
            (tried.since, tried.expires_at, tried.key),
            (Some(at), delivery.expires_at, None)
        );
        delivery.attempts = 0;
        assert_eq!(slot(&delivery).since, None);
        delivery.attempts = 1;
        delivery.replay = true;
        assert_eq!(slot(&delivery).since, None);
    }

    /// A machine that wakes in the past must not send from before its endpoints were created: what such an attempt
    /// meets would be forgiven, as if someone had changed the endpoint since.
    #[test]
    fn the_newest_time_is_known_without_an_event() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&Options {
            data: dir.path().to_owned(),
            table: OPTIONS,
            journal: [7; 16],
            last_lsn: 0,
            first_lsn: 1,
            trust: Trust::No,
            check_bytes: 0,
        });
        let (store, id) = (store.unwrap().store, EndpointId::from_bytes([1; 16]));
        let [created, paused] = [5_000, 9_000].map(Timestamp::from_millis);
        let put = Record::from(ConfigChange::EndpointPut(EndpointPut {
            id,
            at: created,
            initial: StateChange::Enable { discard: false },
            sealed: Vec::new(),
        }));
        let changed = Record::from(ConfigChange::EndpointChanged(EndpointChanged {
            id,
            at: paused,
            change: StateChange::Pause,
        }));
        for (record, lsn, newest) in [(put, 1, created), (changed, 2, paused)] {
            let place = Place::default();
            store.apply([7; 16], &[Placed { lsn, place, record }]).unwrap();
            assert_eq!(store.newest().unwrap(), newest);
        }
    }

    #[test]
    fn a_version_from_the_future_is_refused() {
        for version in [3, 255] {
            let row = encode_row(version, &Totals::default()).unwrap();
            assert!(decode::<Totals>(b"", &row).is_err());
            let row = encode_row(version, &Slot::default()).unwrap();
            assert!(decode::<Slot>(b"", &row).is_err());
        }
    }
}
