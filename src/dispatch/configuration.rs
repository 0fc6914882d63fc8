//! Endpoints, keys and event types out of the journal alone, while the store is behind.

use std::collections::HashMap;

use super::{codec, engine::Shared, error::chain, event_types::Gathered};
use crate::{
    domain::{
        configuration::ConfigChange,
        id::{EndpointId, KeyId, Lsn},
        reclaim::{Carried, Home},
        record::{KeyPut, Record},
    },
    storage::local::index::{CarriedRow, rows::EndpointRow},
    storage::local::journal::ReadError,
};

/// What configuration records say, in the order of the journal.
#[derive(Default)]
struct Configuration {
    endpoints: HashMap<EndpointId, EndpointRow>,
    keys: HashMap<KeyId, KeyPut>,
    types: Gathered,
}

impl Shared {
    /// Endpoints, keys and event types from the journal's configuration records alone, so that events can be matched
    /// while the store is behind.
    ///
    /// # Errors
    /// When the file system refuses to read. What is damaged is passed over.
    pub(super) fn load_configuration(&self) -> Result<(), ReadError> {
        let mut found = Configuration::default();
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
        self.register_all(found.endpoints.into_iter().collect());
        self.registry.set_keys(found.keys.into_values().collect());
        self.register_event_types(found.types);
        Ok(())
    }
}

impl Configuration {
    fn record(&mut self, lsn: Lsn, record: &Record) {
        for fact in record.endpoint_facts() {
            let id = fact.endpoint();
            if let Some(row) = EndpointRow::after(self.endpoints.get(&id), lsn, fact) {
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
            ConfigChange::EventTypePut(put) => self.types.put(put),
            ConfigChange::EventTypeDeleted(deleted) => self.types.delete(&deleted.event_type),
            // Endpoints are told of as facts.
            ConfigChange::EndpointPut(_)
            | ConfigChange::EndpointChanged(_)
            | ConfigChange::EndpointDeleted(_)
            | ConfigChange::DeliveriesEnded(_) => {}
        }
    }

    /// Rows as they stood then, whatever was known before.
    fn carried(&mut self, carried: &Carried) {
        for copy in &carried.rows {
            match CarriedRow::read(copy) {
                Some(CarriedRow::Endpoint(id, row)) => _ = self.endpoints.insert(id, *row),
                Some(CarriedRow::ApiKey(key)) => _ = self.keys.insert(key.id, *key),
                Some(CarriedRow::EventType(name, row)) => match &carried.home {
                    Home::EventType(put) if put.event_type == name => self.types.carry(row, (**put).clone()),
                    Home::None | Home::Event { .. } | Home::EventType(_) => {
                        self.types.amend(&name, row);
                    }
                },
                None => {}
            }
        }
    }
}
