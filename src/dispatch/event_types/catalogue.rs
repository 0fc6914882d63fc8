//! The declared event types in memory: read by every acceptance, written by the applier.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::schema::Schema;
use crate::domain::{event::EventType, record::EventTypePut, time::Timestamp};

/// An event type as it is declared.
#[derive(Debug)]
pub struct Declared {
    pub put: EventTypePut,
    pub created_at: Timestamp,
    /// Its schema, compiled; `None` when it has none, or one that this version does not take any more.
    pub schema: Option<Schema>,
}

/// All of them. Reading takes no lock.
#[derive(Default)]
pub struct Catalogue(ArcSwap<HashMap<EventType, Arc<Declared>>>);

impl Catalogue {
    pub fn get(&self, name: &EventType) -> Option<Arc<Declared>> {
        self.0.load().get(name).cloned()
    }

    pub fn is_deprecated(&self, name: &EventType) -> bool {
        self.0
            .load()
            .get(name)
            .is_some_and(|declared| declared.put.deprecated)
    }

    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<Declared>> {
        let mut all: Vec<_> = self.0.load().values().cloned().collect();
        all.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        all
    }

    /// Takes these and forgets those that are `gone`, all at once.
    pub fn change(&self, declared: Vec<Declared>, gone: &[EventType]) {
        let declared: Vec<_> = declared.into_iter().map(Arc::new).collect();
        self.0.rcu(|types| {
            let mut types = HashMap::clone(types);
            for declared in &declared {
                types.insert(declared.put.event_type.clone(), declared.clone());
            }
            for name in gone {
                types.remove(name);
            }
            types
        });
    }

    /// Forgets every type and takes these.
    pub fn replace(&self, types: Vec<Declared>) {
        let types = types
            .into_iter()
            .map(|declared| (declared.put.event_type.clone(), Arc::new(declared)));
        self.0.store(Arc::new(types.collect()));
    }
}

impl Declared {
    /// Where it stands among the others: types that were declared at once stand by their names.
    pub fn place(&self) -> (Timestamp, &EventType) {
        (self.created_at, &self.put.event_type)
    }
}
