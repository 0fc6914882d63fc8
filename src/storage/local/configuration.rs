//! Endpoints, API keys and event types: out of the index, or out of the journal alone while the index is behind.

use std::collections::HashMap;

use super::{LocalStorage, codec};
use crate::{
    domain::{
        configuration::ConfigChange,
        event::EventType,
        id::{EndpointId, KeyId, Lsn},
        reclaim::{Carried, EventTypeFacts, Home, State},
        record::{EventTypePut, KeyPut, Place, Record},
        time::Timestamp,
    },
    runtime::chain::chain,
    storage::local::index::{
        Store, StoreError,
        rows::{EventTypeRow, StoredEndpoint},
    },
    storage::local::journal::{Entry, ReadError},
    storage::{Configuration, DeclaredType},
};

/// What configuration records say, in the order of the journal.
#[derive(Default)]
struct Gathered {
    endpoints: HashMap<EndpointId, StoredEndpoint>,
    keys: HashMap<KeyId, KeyPut>,
    types: HashMap<EventType, (EventTypeRow, EventTypePut)>,
}

impl LocalStorage {
    /// All there is in the index.
    pub(super) fn configuration_in(&self, store: &Store) -> Result<Configuration, StoreError> {
        Ok(Configuration {
            endpoints: store.endpoints()?,
            api_keys: store.api_keys()?,
            event_types: self.declared(store.event_types()?),
            newest: store.newest()?,
        })
    }

    /// What the journal's configuration records say, so that events can be matched while the index is behind.
    ///
    /// # Errors
    /// When the file system refuses to read. What is damaged is passed over.
    pub(super) fn configuration_in_journal(&self) -> Result<Configuration, ReadError> {
        let mut found = Gathered::default();
        for entry in self.journal.config_entries() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error @ ReadError::Io { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(error = %chain(&error), "a configuration record is damaged; it is passed over");
                    continue;
                }
            };
            match codec::decode(&entry) {
                Ok(record) => found.record(entry.lsn, &record),
                Err(error) => {
                    tracing::error!(lsn = entry.lsn, error = %chain(&error), "a journal record does not decode");
                }
            }
        }
        let event_types = found.types.into_values();
        Ok(Configuration {
            endpoints: found.endpoints.into_iter().collect(),
            api_keys: found.keys.into_values().collect(),
            event_types: event_types
                .map(|(row, declaration)| DeclaredType {
                    created_at: row.created_at,
                    declaration,
                })
                .collect(),
            newest: Timestamp::EPOCH,
        })
    }

    /// What rows point to. A record may hold many declarations, and is read once for those that are asked for together.
    pub(super) fn declared(&self, mut rows: Vec<(EventType, EventTypeRow)>) -> Vec<DeclaredType> {
        rows.sort_by_key(|(_, row)| (row.place.segment, row.place.offset));
        let mut last: Option<(Place, Record)> = None;
        let mut found = Vec::with_capacity(rows.len());
        for (name, row) in rows {
            if last.as_ref().is_none_or(|(place, _)| *place != row.place) {
                last = self.declaring(&name, &row).map(|record| (row.place, record));
            }
            let put = last
                .as_ref()
                .and_then(|(_, record)| codec::event_type(record, &name));
            match put {
                Some(put) => found.push(DeclaredType {
                    created_at: row.created_at,
                    declaration: put.clone(),
                }),
                None => {
                    tracing::error!(event.type = %name, "the record of an event type's row does not declare it")
                }
            }
        }
        found
    }

    /// The record of a declaration. One that is damaged is as good as none: its type is accepted unchecked.
    fn declaring(&self, name: &EventType, row: &EventTypeRow) -> Option<Record> {
        let damaged = |error: &dyn std::error::Error| {
            tracing::error!(event.type = %name, error = %chain(error), "an event type's declaration cannot be read");
        };
        let is_it = |entry: &Entry| {
            codec::decode(entry).is_ok_and(|record| codec::event_type(&record, name).is_some())
        };
        let entry = self.journal.read_where(codec::location(row.place), is_it);
        let entry = entry.inspect_err(|error| damaged(error)).ok()?;
        codec::decode(&entry).inspect_err(|error| damaged(error)).ok()
    }
}

impl Gathered {
    fn record(&mut self, lsn: Lsn, record: &Record) {
        for fact in record.endpoint_facts() {
            let id = fact.endpoint();
            if let Some(row) = StoredEndpoint::after(self.endpoints.get(&id), lsn, fact) {
                self.endpoints.insert(id, row);
            }
        }
        match record {
            Record::Configured(configured) => {
                configured.changes.iter().for_each(|change| self.changed(change))
            }
            Record::Carried(carried) => self.carried(carried),
            _ => {}
        }
    }

    fn changed(&mut self, change: &ConfigChange) {
        match change {
            ConfigChange::KeyPut(key) => _ = self.keys.insert(key.id, key.clone()),
            ConfigChange::KeyRevoked(revoked) => _ = self.keys.remove(&revoked.id),
            ConfigChange::EventTypePut(put) => {
                let before = self.types.get(&put.event_type).map(|(row, _)| row);
                let row = EventTypeRow::after(before, put.at, Place::default());
                self.types.insert(put.event_type.clone(), (row, put.clone()));
            }
            ConfigChange::EventTypeDeleted(deleted) => _ = self.types.remove(&deleted.event_type),
            // Endpoints are told of as facts.
            ConfigChange::EndpointPut(_)
            | ConfigChange::EndpointChanged(_)
            | ConfigChange::EndpointDeleted(_)
            | ConfigChange::DeliveriesEnded(_)
            | ConfigChange::Audited(_) => {}
        }
    }

    /// State as it was then, whatever was known before.
    fn carried(&mut self, carried: &Carried) {
        for part in &carried.state {
            match part {
                State::Endpoint(facts) => {
                    self.endpoints.insert(facts.id, StoredEndpoint::from(&**facts));
                }
                State::ApiKey(key) => _ = self.keys.insert(key.id, (**key).clone()),
                State::EventType(declared) => self.carried_type(declared, &carried.home),
                State::Event(_)
                | State::Delivery(_)
                | State::Attempt(_)
                | State::Tally(_)
                | State::Totals(_)
                | State::Forgotten(_)
                | State::Rollups(_)
                | State::Row(_) => {}
            }
        }
    }

    fn carried_type(&mut self, declared: &EventTypeFacts, home: &Home) {
        let row = EventTypeRow {
            created_at: declared.created_at,
            updated_at: declared.updated_at,
            place: Place::default(),
        };
        match home {
            Home::EventType(put) if put.event_type == declared.name => {
                self.types.insert(declared.name.clone(), (row, (**put).clone()));
            }
            Home::None | Home::Event { .. } | Home::EventType(_) => {
                // The declaration lies elsewhere; this says since when it is declared.
                if let Some((known, _)) = self.types.get_mut(&declared.name) {
                    *known = row;
                }
            }
        }
    }
}
