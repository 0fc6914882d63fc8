//! From records to rows. Deterministic and idempotent: a record at or below the applied sequence number is skipped.

use std::collections::HashMap;

use super::{
    Placed, Store, StoreError,
    draft::Draft,
    keys, marks,
    rows::{Applied, AttemptRow, EventRow, EventTypeRow, Row, Slot},
};
use crate::domain::{
    configuration::{ConfigChange, EndpointFact},
    delivery::{Delivery, Stage},
    endpoint::StateChange,
    id::{DeliveryKey, EndpointId, Lsn},
    ordering::Strand,
    record::{
        AttemptSettled, DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed, KeyRevoked, Record,
    },
    time::Timestamp,
    transition::place_after_attempt,
};
use crate::storage::{Changes, Effect, stored::StoredEndpoint};

impl Store {
    /// Applies records in their order, as one atomic batch.
    ///
    /// # Errors
    /// When sled fails; then nothing of the batch is applied.
    pub fn apply(&self, journal: [u8; 16], records: &[Placed]) -> Result<Changes, StoreError> {
        let applied = self.applied()?;
        let mut writer = Writer::new(self)?;
        writer.changes.effects.reserve(records.len() * 2);
        let mut last = applied.lsn;
        for placed in records.iter().filter(|placed| placed.lsn > applied.lsn) {
            writer.record(placed)?;
            last = placed.lsn;
        }
        writer.draft.commit(&Applied { lsn: last, journal })?;
        Ok(writer.changes)
    }
}

pub(super) struct Writer<'a> {
    pub draft: Draft<'a>,
    pub changes: Changes,
    /// What was asked of endpoints; forgotten when any of them changes.
    known: HashMap<EndpointId, Known>,
}

/// What deliveries have to know of their endpoint.
#[derive(Copy, Clone, Debug)]
struct Known {
    deleted: bool,
    /// Since when it is in its present state.
    since: Timestamp,
}

impl<'a> Writer<'a> {
    pub fn new(store: &'a Store) -> Result<Self, StoreError> {
        Ok(Self {
            draft: Draft::new(store)?,
            changes: Changes::default(),
            known: HashMap::new(),
        })
    }
}

impl Writer<'_> {
    fn record(&mut self, placed: &Placed) -> Result<(), StoreError> {
        let lsn = placed.lsn;
        match &placed.record {
            Record::EventAccepted(event) => self.event_accepted(placed, event),
            Record::AttemptSettled(attempt) => self.attempt_settled(placed, attempt),
            Record::DeliveriesRetried(retried) => self.deliveries_retried(retried),
            Record::DeliveriesEnded(ended) => self.deliveries_ended(ended),
            Record::EventReplayed(replayed) => self.event_replayed(lsn, replayed),
            Record::Configured(configured) => configured
                .changes
                .iter()
                .try_for_each(|change| self.configured(placed, change)),
            Record::Carried(carried) => {
                self.known.clear();
                self.carried(placed, carried)
            }
            Record::EventsForgotten(gone) => {
                gone.events.iter().try_for_each(|gone| self.event_forgotten(gone))
            }
            Record::AttemptsForgotten(gone) => self.attempts_forgotten(gone),
            Record::IdempotencyForgotten(gone) => self.keys_forgotten(gone),
            Record::FloorRaised(raised) => self.floor_raised(raised),
            Record::PayloadErased(erased) => self.payload_erased(placed, erased),
            Record::AuditForgotten(gone) => self.audit_forgotten(gone),
            Record::RollupsFolded(folded) => self.rollups_folded(folded),
            Record::EndpointsForgotten(gone) => {
                self.known.clear();
                self.endpoints_forgotten(gone)
            }
        }
    }

    /// What a deleted endpoint still has scheduled is ended by records of its own, in bounded portions.
    fn configured(&mut self, placed: &Placed, change: &ConfigChange) -> Result<(), StoreError> {
        if let Some(fact) = change.endpoint_fact() {
            self.change_endpoint(placed.lsn, fact)?;
        }
        match change {
            ConfigChange::EndpointPut(_) | ConfigChange::EndpointDeleted(_) => Ok(()),
            ConfigChange::EndpointChanged(changed) => {
                if matches!(changed.change, StateChange::Enable { .. }) {
                    let tally = self.draft.tally(changed.id)?;
                    tally.health = tally.health.forgiven();
                }
                Ok(())
            }
            ConfigChange::KeyPut(key) => {
                self.changes.api_keys = true;
                self.draft.put(keys::api_key(key.id), key)
            }
            ConfigChange::KeyRevoked(KeyRevoked { id, at: _ }) => {
                self.changes.api_keys = true;
                self.draft.remove(keys::api_key(*id));
                Ok(())
            }
            ConfigChange::EventTypePut(put) => {
                let key = keys::event_type(&put.event_type);
                let row: Option<EventTypeRow> = self.draft.get(&key)?;
                self.changes.event_types.insert(put.event_type.clone());
                self.draft
                    .put(key, &EventTypeRow::after(row.as_ref(), put.at, placed.place))
            }
            ConfigChange::EventTypeDeleted(deleted) => {
                self.changes.event_types.insert(deleted.event_type.clone());
                self.draft.remove(keys::event_type(&deleted.event_type));
                Ok(())
            }
            ConfigChange::DeliveriesEnded(ended) => self.deliveries_ended(ended),
            ConfigChange::Audited(entry) => self.draft.put(keys::audit(entry.id), &**entry),
        }
    }

    fn event_accepted(&mut self, placed: &Placed, event: &EventAccepted) -> Result<(), StoreError> {
        if !self.take_id(placed.lsn, event)? {
            return Ok(());
        }
        let row = EventRow {
            id: event.id.clone(),
            event_type: event.event_type.clone(),
            tenant: event.tenant.clone(),
            accepted_at: event.accepted_at,
            content_hash: event.content_hash,
            deliveries: u32::try_from(event.fan_out.len()).unwrap_or(u32::MAX),
            place: placed.place,
            key: event.ordering_key.as_ref().map(Strand::of_key),
            erased: None,
            marks: marks::kept(event),
        };
        self.new_event(placed.lsn, &row)?;
        self.take_key(placed.lsn, event)?;
        self.draft.totals().events += 1;
        self.draft.totals().unmatched += u64::from(event.fan_out.is_empty());
        self.roll_event(event);
        let due = self.first_due(event);
        for (endpoint, index) in event.fan_out.iter().zip(0..) {
            let key = DeliveryKey::new(placed.lsn, index);
            let delivery = Delivery::accepted(key, event, *endpoint, due);
            self.create(delivery, row.key)?;
        }
        self.change_endpoints(placed)
    }

    /// When an event's deliveries are first due. Events that are accepted at the same time may stand in the journal a
    /// little out of their times' order; due times follow the journal, so that the schedule is in its order.
    fn first_due(&mut self, event: &EventAccepted) -> Timestamp {
        if event.due > event.accepted_at {
            return event.due;
        }
        let totals = self.draft.totals();
        totals.accepted_at = totals.accepted_at.max(event.accepted_at);
        totals.accepted_at
    }

    fn event_replayed(&mut self, lsn: Lsn, replayed: &EventReplayed) -> Result<(), StoreError> {
        let event: Option<EventRow> = self.draft.get(&keys::event(replayed.event))?;
        // One that was forgotten, or erased, while somebody asked for its replay stays so.
        let Some(EventRow {
            key: order,
            erased: None,
            ..
        }) = event
        else {
            return Ok(());
        };
        for (endpoint, index) in replayed.fan_out.iter().zip(0..) {
            let key = DeliveryKey::new(lsn, index);
            self.draft.put_new(keys::added(replayed.event, key), &())?;
            let delivery = Delivery::replayed(key, replayed, *endpoint);
            self.create(delivery, order)?;
        }
        Ok(())
    }

    /// Writes a new delivery; one to an endpoint that was deleted meanwhile is cancelled from the start. One to an
    /// endpoint of which nothing is known, since its record is damaged, stays scheduled: it is not ours to drop.
    fn create(&mut self, mut delivery: Delivery, order: Option<Strand>) -> Result<(), StoreError> {
        if self.known(delivery.endpoint)?.deleted {
            delivery.cancel_at_birth();
        }
        let stage = delivery.stage;
        self.draft
            .count(delivery.endpoint, |counts| *counts.of(stage) += 1)?;
        self.new_delivery(&delivery)?;
        self.schedule(&delivery, Slot::fresh(&delivery, order))
    }

    /// One of which nothing is known is not deleted, and stands since the beginning of time.
    fn known(&mut self, endpoint: EndpointId) -> Result<Known, StoreError> {
        if let Some(known) = self.known.get(&endpoint) {
            return Ok(*known);
        }
        let row: Option<StoredEndpoint> = self.draft.get(&keys::endpoint(endpoint))?;
        let known = Known {
            deleted: row.as_ref().is_some_and(|row| row.deleted_at.is_some()),
            since: row.map_or(Timestamp::EPOCH, |row| row.standing.since),
        };
        self.known.insert(endpoint, known);
        Ok(known)
    }

    /// What an event's ordering key makes of its deliveries.
    pub(super) fn order_of(&self, event: Lsn) -> Result<Option<Strand>, StoreError> {
        let row: Option<EventRow> = self.draft.get(&keys::event(event))?;
        Ok(row.and_then(|row| row.key))
    }

    /// What the schedule says of a delivery.
    fn slot(&self, delivery: &Delivery, due: Timestamp) -> Result<Slot, StoreError> {
        match self
            .draft
            .get::<Slot>(&keys::due(delivery.endpoint, due, delivery.key))?
        {
            Some(slot) if !slot.unsaid => Ok(slot),
            _ => Ok(Slot::of_old(delivery, self.order_of(delivery.event)?)),
        }
    }

    /// Writes the schedule entry of a delivery that is scheduled, where there is none yet.
    fn schedule(&mut self, delivery: &Delivery, slot: Slot) -> Result<(), StoreError> {
        let Delivery {
            key, endpoint, stage, ..
        } = *delivery;
        let Some(due) = stage.due() else { return Ok(()) };
        self.changes.effects.push(Effect::Due {
            endpoint,
            entry: slot.entry((due, key)),
        });
        self.draft.put_new(keys::due(endpoint, due, key), &slot)
    }

    /// Writes a delivery that was in the stage `old`, keeping counts and indexes true.
    fn restage(&mut self, delivery: &Delivery, old: Stage, slot: Slot) -> Result<(), StoreError> {
        let Delivery {
            key, endpoint, stage, ..
        } = *delivery;
        if let Some(due) = old.due() {
            self.draft.remove(keys::due(endpoint, due, key));
        }
        self.draft.count(endpoint, |counts| {
            *counts.of(old) = counts.of(old).saturating_sub(1);
            *counts.of(stage) += 1;
        })?;
        self.move_delivery(delivery, old.kind())?;
        self.schedule(delivery, slot)
    }

    fn attempt_settled(&mut self, placed: &Placed, attempt: &AttemptSettled) -> Result<(), StoreError> {
        let lsn = placed.lsn;
        let delivery: Option<Delivery> = match attempt.delivery {
            None => None,
            Some(key) => self.draft.get(&keys::delivery(key))?,
        };
        let row = AttemptRow {
            place: placed.place,
            delivery: attempt.delivery,
            previous: delivery.and_then(|delivery| delivery.last).map(|last| last.lsn),
            endpoint: attempt.endpoint,
            event_type: attempt.event_type.clone(),
            tenant: attempt.tenant.clone(),
            started_at: attempt.started_at,
            class: attempt.class,
            reason: attempt.reason,
            status: attempt.status,
        };
        self.new_attempt(lsn, &row)?;
        self.draft
            .count(attempt.endpoint, |counts| counts.attempts += 1)?;
        self.roll_attempt(attempt);
        if let Some(delivery) = delivery {
            self.settle_delivery(lsn, attempt, delivery)?;
        }
        self.change_endpoints(placed)
    }

    fn settle_delivery(
        &mut self,
        lsn: Lsn,
        attempt: &AttemptSettled,
        mut delivery: Delivery,
    ) -> Result<(), StoreError> {
        let slot = match (attempt.stage, delivery.stage) {
            (Stage::Scheduled { .. }, Stage::Scheduled { due }) => {
                let slot = self.slot(&delivery, due)?;
                Slot {
                    since: Some(place_after_attempt(due, slot.since)),
                    ..slot
                }
            }
            _ => Slot::default(),
        };
        let (old, known) = (delivery.stage, self.known(delivery.endpoint)?);
        delivery.settle(lsn, attempt, known.deleted);
        if attempt.sets_health(self.known(attempt.endpoint)?.since) {
            self.draft.tally(attempt.endpoint)?.health = attempt.health;
        }
        self.changes.effects.push(Effect::Settled {
            endpoint: delivery.endpoint,
            key: delivery.key,
            number: attempt.number,
        });
        self.restage(&delivery, old, slot)
    }

    /// Changes the rows of endpoints that the record is about.
    fn change_endpoints(&mut self, placed: &Placed) -> Result<(), StoreError> {
        let mut facts = placed.record.endpoint_facts();
        facts.try_for_each(|fact| self.change_endpoint(placed.lsn, fact))
    }

    fn change_endpoint(&mut self, lsn: Lsn, fact: EndpointFact<'_>) -> Result<(), StoreError> {
        let id = fact.endpoint();
        let key = keys::endpoint(id);
        let row: Option<StoredEndpoint> = self.draft.get(&key)?;
        match StoredEndpoint::after(row.as_ref(), lsn, fact) {
            None => Ok(()),
            Some(row) => {
                self.known.clear();
                self.changes.effects.push(Effect::Endpoint(id));
                self.draft.put(key, &row)
            }
        }
    }

    fn deliveries_retried(&mut self, retried: &DeliveriesRetried) -> Result<(), StoreError> {
        for &key in &retried.keys {
            let Some(mut delivery) = self.draft.get::<Delivery>(&keys::delivery(key))? else {
                continue;
            };
            if self.known(delivery.endpoint)?.deleted || self.is_erased(&delivery)? {
                continue;
            }
            let slot = match delivery.stage {
                Stage::Scheduled { due } => self.slot(&delivery, due)?,
                Stage::Delivered | Stage::Failed | Stage::Expired | Stage::Cancelled => Slot {
                    key: self.order_of(delivery.event)?,
                    ..Slot::default()
                },
            };
            let old = delivery.stage;
            delivery.retry(retried);
            self.changes.effects.push(Effect::Moved {
                endpoint: delivery.endpoint,
                key,
            });
            self.restage(&delivery, old, slot)?;
        }
        Ok(())
    }

    pub(super) fn deliveries_ended(&mut self, ended: &DeliveriesEnded) -> Result<(), StoreError> {
        for &key in &ended.keys {
            let Some(mut delivery) = self.draft.get::<Delivery>(&keys::delivery(key))? else {
                continue;
            };
            let old = delivery.stage;
            if !delivery.end(ended) {
                continue;
            }
            self.changes.effects.push(Effect::Moved {
                endpoint: delivery.endpoint,
                key,
            });
            self.restage(&delivery, old, Slot::default())?;
        }
        Ok(())
    }
}

impl Store {
    /// Reads one row.
    pub(super) fn row<T: Row>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let row = self.table.get(key)?;
        row.map(|row| super::draft::decode(key, &row)).transpose()
    }
}
