//! Applying the records of reclaim. Each is about rows that may be gone already, or were never there in a store that
//! is made from what is left of the journal; then it changes nothing.

use super::{
    Store, StoreError,
    apply::Writer,
    keys,
    rows::{Applied, AttemptRow, EventRow, FloorRow, IdempotencyRow, StoredEndpoint},
};
use crate::domain::{
    delivery::Delivery,
    id::{AuditId, DeliveryKey, Lsn},
    reclaim::{
        AttemptsForgotten, AuditForgotten, EndpointsForgotten, FloorRaised, ForgottenEvent,
        IdempotencyForgotten,
    },
};

impl Store {
    /// Makes an empty store the beginning of one whose records start at a floor.
    ///
    /// # Errors
    /// When sled fails; then nothing is changed.
    pub fn begin_at(&self, journal: [u8; 16], raised: &FloorRaised) -> Result<(), StoreError> {
        let mut writer = Writer::new(self)?;
        writer.draft.totals().accepted_at = raised.accepted_at;
        for endpoint in &raised.deleted {
            writer
                .draft
                .put(keys::endpoint(endpoint.id), &StoredEndpoint::from(endpoint))?;
        }
        writer.floor_raised(raised)?;
        let lsn = raised.floor.saturating_sub(1);
        writer.draft.commit(&Applied { lsn, journal })
    }
}

impl Writer<'_> {
    /// Takes an event away with all that belongs to it. What is not settled is never taken, whatever a record says.
    pub(super) fn event_forgotten(&mut self, gone: &ForgottenEvent) -> Result<(), StoreError> {
        let key = keys::event(gone.event);
        let row: Option<EventRow> = self.draft.get(&key)?;
        let own = row.as_ref().map_or(0, |row| row.deliveries);
        let own = (0..own).map(|index| DeliveryKey::new(gone.event, index));
        let mut deliveries: Vec<Delivery> = Vec::new();
        if row.is_some() {
            for key in own.chain(gone.added.iter().copied()) {
                deliveries.extend(self.draft.get::<Delivery>(&keys::delivery(key))?);
            }
        }
        if deliveries.iter().any(|delivery| !delivery.stage.is_final()) {
            tracing::error!(
                lsn = gone.event,
                "an event that is not settled was to be forgotten; it is kept"
            );
            return Ok(());
        }
        for lsn in &gone.attempts {
            self.forget_attempt(*lsn)?;
        }
        let Some(row) = row else { return Ok(()) };
        for delivery in &deliveries {
            self.forget_delivery(delivery)?;
        }
        for added in &gone.added {
            self.draft.remove(keys::added(gone.event, *added));
        }
        let name = (row.tenant.as_ref(), &row.id);
        self.release(gone.event, name, gone.idempotency_key.as_deref())?;
        self.remove_event(gone.event, &row)?;
        self.draft.forgotten()?.events += 1;
        Ok(())
    }

    fn forget_delivery(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        self.remove_delivery(delivery)?;
        *self.draft.forgotten()?.deliveries.of(delivery.stage) += 1;
        Ok(())
    }

    fn forget_attempt(&mut self, lsn: Lsn) -> Result<(), StoreError> {
        if let Some(row) = self.draft.get::<AttemptRow>(&keys::attempt(lsn))? {
            self.remove_attempt(lsn, &row)?;
            self.draft.forgotten()?.deliveries.attempts += 1;
        }
        Ok(())
    }

    pub(super) fn attempts_forgotten(&mut self, gone: &AttemptsForgotten) -> Result<(), StoreError> {
        let (low, high) = (keys::attempt(gone.from), keys::attempt(gone.before));
        if low >= high {
            return Ok(());
        }
        for key in self.draft.keys_between(&low, &high)? {
            self.forget_attempt(keys::lsn_in(&key))?;
        }
        Ok(())
    }

    pub(super) fn keys_forgotten(&mut self, gone: &IdempotencyForgotten) -> Result<(), StoreError> {
        for text in &gone.keys {
            let key = keys::idempotency_again(text);
            let found: Option<IdempotencyRow> = self.draft.get(&key)?;
            if found.is_some_and(|found| found.until <= gone.at) {
                self.draft.remove(key);
            }
        }
        Ok(())
    }

    pub(super) fn audit_forgotten(&mut self, gone: &AuditForgotten) -> Result<(), StoreError> {
        let high = keys::audit(AuditId::new(gone.before, 0));
        for key in self.draft.keys_between(&[keys::AUDIT], &high)? {
            self.draft.remove(key);
        }
        Ok(())
    }

    pub(super) fn floor_raised(&mut self, raised: &FloorRaised) -> Result<(), StoreError> {
        let row = FloorRow {
            floor: raised.floor,
            accepted_at: raised.accepted_at,
            deleted: raised.deleted.iter().map(|endpoint| endpoint.id).collect(),
        };
        self.draft.put(keys::floor(), &row)
    }

    /// Takes away what is left of deleted endpoints, their counts too.
    pub(super) fn endpoints_forgotten(&mut self, gone: &EndpointsForgotten) -> Result<(), StoreError> {
        for id in &gone.endpoints {
            let key = keys::endpoint(*id);
            let row: Option<StoredEndpoint> = self.draft.get(&key)?;
            if row.is_none_or(|row| row.deleted_at.is_some()) {
                self.draft.remove(key);
                self.draft.remove_tally(*id);
            }
        }
        Ok(())
    }
}
