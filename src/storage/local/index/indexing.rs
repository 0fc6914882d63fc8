//! What indexes events, deliveries and attempts for lists. Every row of theirs is written and removed here, with the rows of
//! the indexes that follow from it.

use std::collections::HashMap;

use super::{
    StoreError,
    apply::Writer,
    keys, marks,
    rows::{AttemptRow, EventRow},
    zones::Timed,
};
use crate::domain::{
    delivery::{Delivery, StageKind},
    event::EventType,
    id::Lsn,
};

/// Which indexes for lists are kept. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Indexes {
    /// One for every filter.
    #[default]
    All,
    /// What the server itself needs: an endpoint's failed deliveries. Other filters look through all rows.
    Essential,
}

impl Indexes {
    pub(super) const fn ordinal(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Essential => 1,
        }
    }

    pub(super) const fn from_ordinal(ordinal: u8) -> Option<Self> {
        match ordinal {
            0 => Some(Self::All),
            1 => Some(Self::Essential),
            _ => None,
        }
    }

    pub(super) fn has_stage(self, stage: StageKind) -> bool {
        self == Self::All || stage == StageKind::Failed
    }
}

/// How many events a batch adds to each type, and takes from it.
pub(super) type TypeChanges = HashMap<EventType, i64>;

impl Writer<'_> {
    fn has_all(&self) -> bool {
        self.draft.indexes() == Indexes::All
    }

    /// An event of which there was no row.
    pub(super) fn new_event(&mut self, lsn: Lsn, row: &EventRow) -> Result<(), StoreError> {
        self.draft.put_new(keys::event(lsn), row)?;
        self.index_event(lsn, row)
    }

    fn index_event(&mut self, lsn: Lsn, row: &EventRow) -> Result<(), StoreError> {
        self.draft.add_time(Timed::Event, lsn, row.accepted_at)?;
        if !self.has_all() {
            return Ok(());
        }
        self.draft.count_type(&row.event_type, 1);
        for mark in marks_of(row) {
            self.draft.put_bare(keys::marked(mark, lsn));
        }
        Ok(())
    }

    pub(super) fn remove_event(&mut self, lsn: Lsn, row: &EventRow) -> Result<(), StoreError> {
        self.draft.remove(keys::event(lsn));
        self.draft.take_time(Timed::Event, lsn, row.accepted_at)?;
        if !self.has_all() {
            return Ok(());
        }
        self.draft.count_type(&row.event_type, -1);
        for mark in marks_of(row) {
            self.draft.remove(keys::marked(mark, lsn));
        }
        Ok(())
    }

    /// A delivery of which there was no row.
    pub(super) fn new_delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        self.draft.put_new(keys::delivery(delivery.key), delivery)?;
        self.index_delivery(delivery)
    }

    fn index_delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        if delivery.key.lsn != delivery.event {
            self.draft
                .add_time(Timed::Added, delivery.key.lsn, delivery.created_at)?;
        }
        self.index_stage(delivery);
        Ok(())
    }

    pub(super) fn remove_delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        self.draft.remove(keys::delivery(delivery.key));
        if delivery.key.lsn != delivery.event {
            self.draft
                .take_time(Timed::Added, delivery.key.lsn, delivery.created_at)?;
        }
        self.unindex_stage(delivery, delivery.stage.kind());
        Ok(())
    }

    /// Writes a delivery that was in the stage `old`.
    pub(super) fn move_delivery(&mut self, delivery: &Delivery, old: StageKind) -> Result<(), StoreError> {
        self.draft.put(keys::delivery(delivery.key), delivery)?;
        if old != delivery.stage.kind() {
            self.unindex_stage(delivery, old);
            self.index_stage(delivery);
        }
        Ok(())
    }

    fn index_stage(&mut self, delivery: &Delivery) {
        let stage = delivery.stage.kind();
        if self.draft.indexes().has_stage(stage) {
            self.draft
                .put_bare(keys::staged(delivery.endpoint, stage, delivery.key));
        }
    }

    fn unindex_stage(&mut self, delivery: &Delivery, stage: StageKind) {
        if self.draft.indexes().has_stage(stage) {
            self.draft
                .remove(keys::staged(delivery.endpoint, stage, delivery.key));
        }
    }

    /// An attempt of which there was no row.
    pub(super) fn new_attempt(&mut self, lsn: Lsn, row: &AttemptRow) -> Result<(), StoreError> {
        self.draft.put_new(keys::attempt(lsn), row)?;
        self.index_attempt(lsn, row)
    }

    fn index_attempt(&mut self, lsn: Lsn, row: &AttemptRow) -> Result<(), StoreError> {
        self.draft.add_time(Timed::Attempt, lsn, row.started_at)?;
        if self.has_all() {
            self.draft.put_bare(keys::judged(row.endpoint, row.class, lsn));
            if let Some(delivery) = row.delivery {
                self.draft.put_bare(keys::tried(delivery.lsn, lsn));
            }
        }
        Ok(())
    }

    pub(super) fn remove_attempt(&mut self, lsn: Lsn, row: &AttemptRow) -> Result<(), StoreError> {
        self.draft.remove(keys::attempt(lsn));
        self.draft.take_time(Timed::Attempt, lsn, row.started_at)?;
        if self.has_all() {
            self.draft.remove(keys::judged(row.endpoint, row.class, lsn));
            if let Some(delivery) = row.delivery {
                self.draft.remove(keys::tried(delivery.lsn, lsn));
            }
        }
        Ok(())
    }
}

/// Rows that were carried: what there is gives way to them.
impl Writer<'_> {
    pub(super) fn put_event(&mut self, lsn: Lsn, row: &EventRow) -> Result<(), StoreError> {
        let key = keys::event(lsn);
        if let Some(old) = self.draft.get::<EventRow>(&key)? {
            self.remove_event(lsn, &old)?;
        }
        self.draft.put(key, row)?;
        self.index_event(lsn, row)
    }

    pub(super) fn put_delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        let key = keys::delivery(delivery.key);
        if let Some(old) = self.draft.get::<Delivery>(&key)? {
            self.remove_delivery(&old)?;
        }
        self.draft.put(key, delivery)?;
        self.index_delivery(delivery)
    }

    pub(super) fn put_attempt(&mut self, lsn: Lsn, row: &AttemptRow) -> Result<(), StoreError> {
        let key = keys::attempt(lsn);
        if let Some(old) = self.draft.get::<AttemptRow>(&key)? {
            self.remove_attempt(lsn, &old)?;
        }
        self.draft.put(key, row)?;
        self.index_attempt(lsn, row)
    }
}

/// All marks of an event.
pub(super) fn marks_of(row: &EventRow) -> impl Iterator<Item = u64> {
    let tenant = row.tenant.as_ref().map(marks::of_tenant);
    std::iter::once(marks::of_type(&row.event_type))
        .chain(tenant)
        .chain(row.marks.iter().copied())
}
