//! What has to be there, in plain terms.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::id::{DeliveryKey, Lsn};

/// A delivery: to whom, when it is due if it has not ended, how often it was tried.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub event: Lsn,
    pub endpoint: u8,
    /// Seconds after the start.
    pub due: Option<u64>,
    pub attempts: u32,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// By the names that they came with.
    pub events: BTreeMap<u8, Lsn>,
    pub erased: BTreeSet<Lsn>,
    pub deliveries: BTreeMap<DeliveryKey, Fact>,
    pub deleted: BTreeSet<u8>,
}

impl Model {
    pub fn created(&mut self, key: DeliveryKey, event: Lsn, endpoint: u8, due: u64) {
        let due = (!self.deleted.contains(&endpoint)).then_some(due);
        let fact = Fact {
            event,
            endpoint,
            due,
            attempts: 0,
        };
        self.deliveries.insert(key, fact);
    }

    /// An attempt ended; `due` says when the next is to be made.
    pub fn settled(&mut self, key: DeliveryKey, due: Option<u64>) {
        let Self {
            deliveries, deleted, ..
        } = self;
        let fact = deliveries.get_mut(&key).unwrap();
        fact.attempts += 1;
        if fact.due.is_some() {
            fact.due = due.filter(|_| !deleted.contains(&fact.endpoint));
        }
    }

    pub fn retried(&mut self, key: DeliveryKey, due: u64) {
        let fact = self.deliveries.get_mut(&key).unwrap();
        if !self.deleted.contains(&fact.endpoint) && !self.erased.contains(&fact.event) {
            fact.due = Some(due);
        }
    }

    pub fn ended(&mut self, key: DeliveryKey) {
        self.deliveries.get_mut(&key).unwrap().due = None;
    }

    pub fn erased(&mut self, event: Lsn) {
        self.erased.insert(event);
        let of_it = self.deliveries.values_mut().filter(|fact| fact.event == event);
        of_it.for_each(|fact| fact.due = None);
    }

    /// An endpoint's schedule: when each delivery is due.
    pub fn schedule(&self, endpoint: u8) -> Vec<(u64, DeliveryKey)> {
        let of_it = self
            .deliveries
            .iter()
            .filter(|(_, fact)| fact.endpoint == endpoint);
        let mut schedule: Vec<_> = of_it.filter_map(|(key, fact)| Some((fact.due?, *key))).collect();
        schedule.sort_unstable();
        schedule
    }

    /// Some delivery, scheduled or not.
    pub fn some(&self, choice: u8) -> Option<DeliveryKey> {
        let count = self.deliveries.len();
        self.deliveries
            .keys()
            .nth(usize::from(choice) % count.max(1))
            .copied()
    }

    /// Some scheduled delivery.
    pub fn scheduled(&self, choice: u8) -> Option<DeliveryKey> {
        let scheduled = self.deliveries.iter().filter(|(_, fact)| fact.due.is_some());
        let keys: Vec<DeliveryKey> = scheduled.map(|(key, _)| *key).collect();
        keys.get(usize::from(choice) % keys.len().max(1)).copied()
    }

    pub fn event(&self, choice: u8) -> Option<Lsn> {
        let count = self.events.len();
        self.events
            .values()
            .nth(usize::from(choice) % count.max(1))
            .copied()
    }
}
