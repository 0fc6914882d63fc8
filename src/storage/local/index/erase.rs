//! Applying an erasure: the event points at what is left of it, and what was scheduled of it is cancelled.

use super::{Placed, StoreError, apply::Writer, keys, rows::EventRow};
use crate::domain::{
    delivery::{Delivery, Stage},
    id::DeliveryKey,
    reclaim::Erasure,
    record::{DeliveriesEnded, PayloadErased},
};

impl Writer<'_> {
    /// Once is enough: one that is erased stays as it was erased first. One that was forgotten stays forgotten.
    pub(super) fn payload_erased(
        &mut self,
        placed: &Placed,
        erased: &PayloadErased,
    ) -> Result<(), StoreError> {
        let key = keys::event(erased.lsn);
        let Some(row) = self
            .draft
            .get::<EventRow>(&key)?
            .filter(|row| row.erased.is_none())
        else {
            return Ok(());
        };
        let added = keys::added_to(erased.lsn);
        let added = self.draft.keys_between(&added, &keys::after(&added))?;
        let own = (0..row.deliveries).map(|index| DeliveryKey::new(erased.lsn, index));
        let ended = DeliveriesEnded {
            keys: own
                .chain(added.iter().map(|key| keys::delivery_in(key)))
                .collect(),
            at: erased.at,
            stage: Stage::Cancelled,
        };
        self.deliveries_ended(&ended)?;
        let row = EventRow {
            place: placed.place,
            erased: Some(Erasure {
                at: erased.at,
                by: erased.by.clone(),
                from: row.place,
            }),
            ..row
        };
        self.draft.put(key, &row)
    }

    /// Whether a delivery's event has nothing left to deliver.
    pub(super) fn is_erased(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let row: Option<EventRow> = self.draft.get(&keys::event(delivery.event))?;
        Ok(row.is_some_and(|row| row.erased.is_some()))
    }
}
