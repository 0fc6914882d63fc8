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
        record::{EventTypePut, Place, Record},
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
        self.event_types.replace(compiled(self.declarations(rows)));
        Ok(())
    }

    /// Takes some declarations from the store, all at once: nobody sees half of an import.
    pub(in crate::dispatch) fn refresh_event_types(
        &self,
        store: &Store,
        names: Vec<EventType>,
    ) -> Result<(), StoreError> {
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        for name in names {
            match store.event_type(&name)? {
                None => gone.push(name),
                Some(row) => rows.push((name, row)),
            }
        }
        self.event_types.change(compiled(self.declarations(rows)), &gone);
        Ok(())
    }

    /// What rows point to. A record may hold many declarations, and is read once for those that are asked for together.
    fn declarations(&self, mut rows: Vec<(EventType, EventTypeRow)>) -> Vec<(Timestamp, EventTypePut)> {
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
                Some(put) => found.push((row.created_at, put.clone())),
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
