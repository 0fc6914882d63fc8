//! Applying what is carried forward: rows made of the state that a record holds, as they are made of any record.
//!
//! In the store that lived through it they are what is there already. In one that is made from the rest of the journal
//! they are all that is left of records that are gone.

use super::{
    Placed, StoreError,
    apply::Writer,
    draft::decode,
    keys, marks,
    rows::{AttemptRow, EventRow, EventTypeRow, Forgotten, Slot, StoredEndpoint, Tally, Totals},
};
use crate::domain::{
    delivery::Stage,
    event::EventType,
    id::{EndpointId, Lsn},
    reclaim::{
        self, AttemptLink, Carried, Declaration, DeliveryFacts, EndpointFacts, EndpointTally, EventFacts,
        EventTypeFacts, Home, RowCopy, State,
    },
    record::{KeyPut, Place},
};

impl Writer<'_> {
    /// Makes the state be so. Where it is so already, only the place of what moved in changes.
    pub(super) fn carried(&mut self, placed: &Placed, carried: &Carried) -> Result<(), StoreError> {
        for part in &carried.state {
            self.part(placed, part, &carried.home)?;
        }
        match &carried.home {
            Home::None | Home::EventType(_) => Ok(()),
            Home::Event { lsn, .. } => self.move_event(*lsn, placed.place),
        }
    }

    fn part(&mut self, placed: &Placed, part: &State, home: &Home) -> Result<(), StoreError> {
        match part {
            State::Event(event) => self.carried_event(event, home),
            State::Delivery(delivery) => self.carried_delivery(delivery),
            State::Attempt(link) => self.carried_attempt(*link),
            State::Endpoint(endpoint) => {
                let row = StoredEndpoint::from(&**endpoint);
                self.draft.put(keys::endpoint(endpoint.id), &row)
            }
            State::ApiKey(key) => self.draft.put(keys::api_key(key.id), &**key),
            State::EventType(declared) => self.carried_event_type(placed, declared),
            State::Tally(tally) => {
                self.draft.set_tally(tally.endpoint, Tally::from(&**tally));
                Ok(())
            }
            State::Totals(totals) => {
                *self.draft.totals() = Totals::from(&**totals);
                Ok(())
            }
            State::Forgotten(gone) => {
                *self.draft.forgotten()? = Forgotten::from(&**gone);
                Ok(())
            }
            State::Rollups(whole) => self.carried_rollups(whole),
            State::Row(copy) => self.copied(copy, home),
        }
    }

    /// A row of version 1; the indexes follow from it.
    fn copied(&mut self, copy: &RowCopy, home: &Home) -> Result<(), StoreError> {
        let key = &copy.key[..];
        match key.first() {
            Some(&keys::EVENT) => {
                let mut row: EventRow = decode(key, &copy.row)?;
                let lsn = keys::lsn_in(key);
                if row.marks.is_empty() {
                    row.marks = self.carried_marks(lsn, false, home)?;
                }
                self.put_event(lsn, &row)
            }
            Some(&keys::DELIVERY) => self.put_delivery(&decode(key, &copy.row)?),
            Some(&keys::ATTEMPT) => self.put_attempt(keys::lsn_in(key), &decode(key, &copy.row)?),
            Some(&keys::FAILED) => Ok(()),
            _ => {
                self.draft.put_copy(copy);
                Ok(())
            }
        }
    }

    /// The marks of an event: its record has them, which is carried with it or known. With a lost record they are lost.
    fn carried_marks(&self, event: Lsn, lost: bool, home: &Home) -> Result<Vec<u64>, StoreError> {
        match home {
            Home::Event { lsn, event: accepted } if *lsn == event => Ok(marks::kept(accepted)),
            _ if lost => Ok(Vec::new()),
            Home::Event { .. } | Home::EventType(_) | Home::None => {
                let known: Option<EventRow> = self.draft.get(&keys::event(event))?;
                Ok(known.map(|row| row.marks).unwrap_or_default())
            }
        }
    }

    /// Its record is found where it was until a record says that it holds it.
    fn carried_event(&mut self, event: &EventFacts, home: &Home) -> Result<(), StoreError> {
        let key = keys::event(event.lsn);
        let known: Option<EventRow> = self.draft.get(&key)?;
        let row = EventRow {
            id: event.id.clone(),
            event_type: event.event_type.clone(),
            tenant: event.tenant.clone(),
            accepted_at: event.accepted_at,
            content_hash: event.content_hash,
            deliveries: event.deliveries,
            place: known
                .filter(|_| !event.lost)
                .map_or_else(Place::default, |row| row.place),
            key: event.strand,
            erased: event.erased.clone(),
            marks: self.carried_marks(event.lsn, event.lost, home)?,
        };
        self.put_event(event.lsn, &row)?;
        self.keep_names(event)
    }

    fn carried_delivery(&mut self, facts: &DeliveryFacts) -> Result<(), StoreError> {
        let delivery = &facts.delivery;
        let (endpoint, key) = (delivery.endpoint, delivery.key);
        if key.lsn != delivery.event {
            self.draft.put(keys::added(delivery.event, key), &())?;
        }
        self.put_delivery(delivery)?;
        match delivery.stage {
            Stage::Scheduled { due } => {
                let fresh = Slot::fresh(delivery, self.order_of(delivery.event)?);
                let since = facts.since;
                self.draft
                    .put(keys::due(endpoint, due, key), &Slot { since, ..fresh })
            }
            Stage::Delivered | Stage::Failed | Stage::Expired | Stage::Cancelled => Ok(()),
        }
    }

    /// The attempt's own record made its row, if it can be read: perhaps before anything was known of its delivery.
    fn carried_attempt(&mut self, link: AttemptLink) -> Result<(), StoreError> {
        let key = keys::attempt(link.lsn);
        let Some(row) = self.draft.get::<AttemptRow>(&key)? else {
            return Ok(());
        };
        let previous = link.previous;
        self.draft.put(key, &AttemptRow { previous, ..row })
    }

    fn carried_event_type(&mut self, placed: &Placed, declared: &EventTypeFacts) -> Result<(), StoreError> {
        let key = keys::event_type(&declared.name);
        let place = match declared.declaration {
            Declaration::Here => placed.place,
            Declaration::Elsewhere => {
                let known: Option<EventTypeRow> = self.draft.get(&key)?;
                known.map_or_else(Place::default, |row| row.place)
            }
            Declaration::Lost => Place::default(),
        };
        let row = EventTypeRow {
            created_at: declared.created_at,
            updated_at: declared.updated_at,
            place,
        };
        self.draft.put(key, &row)
    }

    fn move_event(&mut self, event: Lsn, place: Place) -> Result<(), StoreError> {
        let key = keys::event(event);
        match self.draft.get::<EventRow>(&key)? {
            None => Ok(()),
            Some(row) => self.draft.put(key, &EventRow { place, ..row }),
        }
    }
}

impl StoredEndpoint {
    pub fn facts(self, id: EndpointId) -> EndpointFacts {
        EndpointFacts {
            id,
            created_at: self.created_at,
            updated_at: self.updated_at,
            deleted_at: self.deleted_at,
            standing: self.standing,
            sealed: self.sealed,
        }
    }
}

impl From<&EndpointFacts> for StoredEndpoint {
    fn from(facts: &EndpointFacts) -> Self {
        Self {
            created_at: facts.created_at,
            updated_at: facts.updated_at,
            deleted_at: facts.deleted_at,
            standing: facts.standing,
            sealed: facts.sealed.clone(),
        }
    }
}

impl EventTypeRow {
    pub const fn facts(&self, name: EventType, declaration: Declaration) -> EventTypeFacts {
        EventTypeFacts {
            name,
            created_at: self.created_at,
            updated_at: self.updated_at,
            declaration,
        }
    }
}

impl Tally {
    pub(super) fn state(self, endpoint: EndpointId) -> State {
        State::Tally(Box::new(EndpointTally {
            endpoint,
            deliveries: self.deliveries,
            health: self.health,
        }))
    }
}

impl From<&EndpointTally> for Tally {
    fn from(tally: &EndpointTally) -> Self {
        Self {
            deliveries: tally.deliveries,
            health: tally.health,
        }
    }
}

impl From<Totals> for State {
    fn from(totals: Totals) -> Self {
        Self::Totals(Box::new(reclaim::Totals {
            events: totals.events,
            unmatched: totals.unmatched,
            deliveries: totals.deliveries,
            accepted_at: totals.accepted_at,
        }))
    }
}

impl From<&reclaim::Totals> for Totals {
    fn from(totals: &reclaim::Totals) -> Self {
        Self {
            events: totals.events,
            unmatched: totals.unmatched,
            deliveries: totals.deliveries,
            accepted_at: totals.accepted_at,
        }
    }
}

impl From<Forgotten> for State {
    fn from(gone: Forgotten) -> Self {
        Self::Forgotten(Box::new(reclaim::Forgotten {
            events: gone.events,
            deliveries: gone.deliveries,
        }))
    }
}

impl From<&reclaim::Forgotten> for Forgotten {
    fn from(gone: &reclaim::Forgotten) -> Self {
        Self {
            events: gone.events,
            deliveries: gone.deliveries,
        }
    }
}

/// A row that version 1 of the record carried, as state; as it is where one row does not say enough, or does not decode.
/// `home` is what the record holds beside its rows.
pub fn state_of_row(copy: RowCopy, home: &Home) -> State {
    read(&copy, home).unwrap_or(State::Row(copy))
}

fn read(copy: &RowCopy, home: &Home) -> Option<State> {
    let (key, row) = (&copy.key[..], &copy.row[..]);
    if *key == *keys::totals() {
        return Some(decode::<Totals>(key, row).ok()?.into());
    }
    if *key == *keys::forgotten() {
        return Some(decode::<Forgotten>(key, row).ok()?.into());
    }
    Some(match *key.first()? {
        keys::ENDPOINT => State::Endpoint(Box::new(endpoint_of_row(copy)?)),
        keys::ENDPOINT_TALLY => decode::<Tally>(key, row).ok()?.state(keys::endpoint_in(key)?),
        keys::API_KEY => State::ApiKey(Box::new(decode::<KeyPut>(key, row).ok()?)),
        keys::EVENT_TYPE => {
            let name = keys::event_type_in(key)?;
            let declaration = match home {
                Home::EventType(put) if put.event_type == name => Declaration::Here,
                Home::None | Home::Event { .. } | Home::EventType(_) => Declaration::Elsewhere,
            };
            let row: EventTypeRow = decode(key, row).ok()?;
            State::EventType(Box::new(row.facts(name, declaration)))
        }
        _ => return None,
    })
}

/// An endpoint's row that version 1 of a record carried.
pub fn endpoint_of_row(copy: &RowCopy) -> Option<EndpointFacts> {
    let key = &copy.key[..];
    let id = keys::endpoint_in(key).filter(|_| key.first() == Some(&keys::ENDPOINT))?;
    let row: StoredEndpoint = decode(key, &copy.row).ok()?;
    Some(row.facts(id))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde::Serialize;

    use super::*;
    use crate::{
        domain::{
            configuration::ConfigChange,
            endpoint::StateChange,
            id::KeyId,
            record::{
                DeliveriesEnded, EndpointDeleted, EndpointPut, EventAccepted, EventTypePut, Record, Role,
            },
            time::Timestamp,
        },
        runtime::codec::encode_body,
        storage::local::{
            codec,
            index::{Row, Store, TableOptions, open::open_as_is},
            journal::{Entry, Location},
        },
    };

    const AT: Timestamp = Timestamp::from_millis(9_000);
    const JOURNAL: [u8; 16] = [7; 16];

    /// The bodies of version 1.
    #[derive(Serialize)]
    struct CarriedRows {
        rows: Vec<RowCopy>,
        home: Home,
        configuration: bool,
    }

    #[derive(Serialize)]
    struct FloorWithRows {
        floor: Lsn,
        accepted_at: Timestamp,
        deleted: Vec<EndpointId>,
        rows: Vec<RowCopy>,
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let options = TableOptions {
            cache_bytes: 1024 * 1024,
            buffer_bytes: 1024,
            indexes: crate::storage::local::index::Indexes::All,
        };
        let store = open_as_is(dir.path(), options).unwrap();
        (dir, store)
    }

    fn apply(store: &Store, lsn: Lsn, record: Record) {
        let place = Place::default();
        store.apply(JOURNAL, &[Placed { lsn, place, record }]).unwrap();
    }

    fn endpoint(number: u8) -> EndpointId {
        EndpointId::from_bytes([number; 16])
    }

    /// A store with a row of most kinds, among them an endpoint that was deleted.
    fn filled() -> (tempfile::TempDir, Store) {
        let (dir, store) = store();
        let put = |number| {
            Record::from(ConfigChange::EndpointPut(EndpointPut {
                id: endpoint(number),
                at: AT,
                initial: StateChange::Enable { discard: false },
                sealed: vec![number; 40],
            }))
        };
        let event = Record::EventAccepted(EventAccepted {
            id: "e".parse().unwrap(),
            event_type: "a.b".parse().unwrap(),
            tenant: Some("t".parse().unwrap()),
            channel: None,
            ordering_key: Some("k".parse().unwrap()),
            accepted_at: AT,
            occurred_at: AT,
            due: AT,
            expires_at: None,
            attributes: Default::default(),
            content_hash: [1; 16],
            idempotency_key: Some("once".to_owned()),
            idempotency_until: AT,
            fan_out: vec![endpoint(1), endpoint(1)],
            notice_for: None,
            payload: crate::domain::event::Payload {
                content_type: None,
                bytes: Bytes::from_static(b"1"),
            },
        });
        let records = [
            put(1),
            put(2),
            ConfigChange::EndpointDeleted(EndpointDeleted {
                id: endpoint(2),
                at: AT,
            })
            .into(),
            ConfigChange::KeyPut(KeyPut {
                id: KeyId::from_bytes([3; 16]),
                name: "a key".to_owned(),
                role: Role::Sender,
                tenant: None,
                created_at: AT,
                expires_at: None,
                hash: [4; 32],
            })
            .into(),
            ConfigChange::EventTypePut(event_type()).into(),
            event,
            Record::DeliveriesEnded(DeliveriesEnded {
                keys: vec![crate::domain::id::DeliveryKey::new(6, 1)],
                at: AT,
                stage: Stage::Failed,
            }),
        ];
        for (record, lsn) in records.into_iter().zip(1..) {
            apply(&store, lsn, record);
        }
        (dir, store)
    }

    fn event_type() -> EventTypePut {
        EventTypePut {
            event_type: "a.b".parse().unwrap(),
            at: AT,
            description: None,
            schema: None,
            example: None,
            deprecated: false,
        }
    }

    fn first_version(kind: u8, body: &impl Serialize) -> Record {
        let entry = Entry {
            lsn: 8,
            kind,
            version: 1,
            flags: 0,
            body: encode_body(body).unwrap().into(),
            location: Location {
                segment: 0,
                offset: 0,
                len: 0,
            },
        };
        codec::decode(&entry).unwrap()
    }

    fn without_applied(store: &Store) -> Vec<Row> {
        let rows = store.dump().unwrap().into_iter();
        rows.filter(|(key, _)| key[..] != *keys::applied()).collect()
    }

    fn copies(rows: &[Row]) -> Vec<RowCopy> {
        let copy = |(key, row): &Row| RowCopy {
            key: Bytes::copy_from_slice(key),
            row: Bytes::copy_from_slice(row),
        };
        rows.iter().map(copy).collect()
    }

    #[test]
    fn what_version_1_carried_becomes_the_rows_that_it_was_copied_from() {
        let (_dir, filled) = filled();
        let mut rows = without_applied(&filled);
        // Version 1 carried none.
        rows.retain(|(key, _)| key[0] != keys::ROLLUP);
        assert!(rows.len() > 11, "{rows:?}");
        let derived = [keys::TYPE_COUNT, keys::MARKED, keys::STAGED, keys::ZONE];
        let of_version_1 = rows.iter().filter(|(key, _)| !derived.contains(&key[0]));
        let of_version_1: Vec<Row> = of_version_1.cloned().collect();
        let record = first_version(
            13,
            &CarriedRows {
                rows: copies(&of_version_1),
                home: Home::EventType(Box::new(event_type())),
                configuration: true,
            },
        );
        let Record::Carried(carried) = &record else {
            panic!("{record:?}");
        };
        // Deliveries and what belongs to events are in several rows each.
        let kinds = [
            keys::EVENT,
            keys::EVENT_ID,
            keys::IDEMPOTENCY,
            keys::DELIVERY,
            keys::DUE,
        ];
        for part in &carried.state {
            if let State::Row(copy) = part {
                assert!(kinds.contains(&copy.key[0]), "{copy:?}");
            }
        }
        let (_dir, empty) = store();
        apply(&empty, 8, record);
        assert_eq!(without_applied(&empty), rows);
    }

    #[test]
    fn a_floor_of_version_1_begins_a_store_with_the_deleted_endpoints() {
        let (_dir, filled) = filled();
        let mut rows = without_applied(&filled);
        rows.retain(|(key, _)| key[..] == *keys::endpoint(endpoint(2)));
        let record = first_version(
            17,
            &FloorWithRows {
                floor: 5,
                accepted_at: AT,
                deleted: vec![endpoint(2)],
                rows: copies(&rows),
            },
        );
        let Record::FloorRaised(raised) = record else {
            panic!("{record:?}");
        };
        let (_dir, empty) = store();
        empty.begin_at(JOURNAL, &raised).unwrap();
        assert_eq!(
            empty.endpoint(endpoint(2)).unwrap(),
            filled.endpoint(endpoint(2)).unwrap()
        );
        assert_eq!(empty.floor().unwrap().deleted, [endpoint(2)]);
        assert_eq!(empty.applied().unwrap().lsn, 4);
    }
}
