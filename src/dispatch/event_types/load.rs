//! From records to the catalogue: at the start, and when the applier has applied one.

use std::collections::HashMap;

use super::{
    catalogue::Declared,
    schema::{Schema, on_a_deep_stack},
};
use crate::{
    dispatch::{codec, engine::Shared, error::chain},
    domain::{
        event::EventType,
        record::{EventTypePut, Place},
        time::Timestamp,
    },
    storage::local::index::{Store, StoreError, rows::EventTypeRow},
    storage::local::journal::Entry,
};

/// Declarations gathered from configuration records, in the order of the journal.
#[derive(Default)]
pub struct Gathered(HashMap<EventType, (EventTypeRow, EventTypePut)>);

impl Gathered {
    pub fn put(&mut self, put: &EventTypePut) {
        let before = self.0.get(&put.event_type).map(|(row, _)| row);
        let row = EventTypeRow::after(before, put.at, Place::default());
        self.0.insert(put.event_type.clone(), (row, put.clone()));
    }

    /// A declaration that was carried forward, with its row.
    pub fn carry(&mut self, row: EventTypeRow, put: EventTypePut) {
        self.0.insert(put.event_type.clone(), (row, put));
    }

    /// The row of one whose declaration lies elsewhere: since when it is declared.
    pub fn amend(&mut self, name: &EventType, row: EventTypeRow) {
        if let Some((known, _)) = self.0.get_mut(name) {
            *known = row;
        }
    }

    pub fn delete(&mut self, name: &EventType) {
        self.0.remove(name);
    }
}

impl Shared {
    /// Takes what was gathered from the journal as all there is.
    pub(in crate::dispatch) fn register_event_types(&self, gathered: Gathered) {
        let all = gathered.0.into_values();
        self.event_types
            .replace(compiled(all.map(|(row, put)| (row.created_at, put)).collect()));
    }

    /// Takes every declaration that the store knows of, all at once.
    pub(in crate::dispatch) fn load_event_types(&self, store: &Store) -> Result<(), StoreError> {
        let rows = store.event_types()?;
        let read =
            |(name, row): (EventType, EventTypeRow)| Some((row.created_at, self.declaration(&name, &row)?));
        self.event_types
            .replace(compiled(rows.into_iter().filter_map(read).collect()));
        Ok(())
    }

    /// Takes one declaration from the store.
    pub(in crate::dispatch) fn refresh_event_type(
        &self,
        store: &Store,
        name: &EventType,
    ) -> Result<(), StoreError> {
        match store.event_type(name)? {
            None => self.event_types.remove(name),
            Some(row) => {
                let read = self.declaration(name, &row);
                let read = read.map(|put| (row.created_at, put));
                for declared in compiled(read.into_iter().collect()) {
                    self.event_types.put(declared);
                }
            }
        }
        Ok(())
    }

    /// The record of a declaration. One that is damaged is as good as none: its type is accepted unchecked.
    fn declaration(&self, name: &EventType, row: &EventTypeRow) -> Option<EventTypePut> {
        let damaged = |error: &dyn std::error::Error| {
            tracing::error!(event.type = %name, error = %chain(error), "an event type's declaration cannot be read");
        };
        let is_it = |entry: &Entry| {
            let put = codec::decode(entry).ok().and_then(codec::event_type);
            put.is_some_and(|put| put.event_type == *name)
        };
        let entry = self.journal.read_where(codec::location(row.place), is_it);
        let entry = entry.inspect_err(|error| damaged(error)).ok()?;
        let record = codec::decode(&entry).inspect_err(|error| damaged(error)).ok()?;
        match codec::event_type(record) {
            Some(put) if put.event_type == *name => Some(put),
            _ => {
                tracing::error!(event.type = %name, "an event type's row points to another record");
                None
            }
        }
    }
}

/// Compiles what schemas there are. One that does not compile any more is said so and left out: refusing every event of
/// its type would be worse.
fn compiled(puts: Vec<(Timestamp, EventTypePut)>) -> Vec<Declared> {
    let compile = |(created_at, put): (Timestamp, EventTypePut)| {
        let schema = put.schema.as_deref().and_then(|text| {
            Schema::compile(text)
                .inspect_err(|error| {
                    tracing::error!(
                        event.type = %put.event_type,
                        %error,
                        "an event type's schema does not compile; its events are not checked"
                    );
                })
                .ok()
        });
        Declared {
            put,
            created_at,
            schema,
        }
    };
    if puts.iter().all(|(_, put)| put.schema.is_none()) {
        return puts.into_iter().map(compile).collect();
    }
    on_a_deep_stack(|| puts.into_iter().map(compile).collect()).unwrap_or_else(|error| {
        tracing::error!(%error, "no thread to compile schemas; event types are not known");
        Vec::new()
    })
}
