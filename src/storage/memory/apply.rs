//! How writes change the state. What becomes of a delivery or an endpoint is the domain's to say.

use bytes::Bytes;

use super::state::{Event, State};
use crate::{
    domain::{
        configuration::{ConfigChange, EndpointFact},
        delivery::{Delivery, Stage},
        endpoint::StateChange,
        id::{DeliveryKey, EndpointId, Lsn},
        ordering::Strand,
        record::{
            AttemptSettled, DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed, EventTypePut,
        },
        time::Timestamp,
        transition::place_after_attempt,
    },
    storage::{
        Changes, DeclaredType, Effect,
        schedule::Entry,
        stored::{Erased, StoredEndpoint},
    },
};

impl State {
    pub fn accept(&mut self, sequence: Lsn, event: EventAccepted, changes: &mut Changes) {
        let tenant = event.tenant.clone();
        self.ids.insert((tenant.clone(), event.id.clone()), sequence);
        if let Some(key) = event.idempotency_key.clone() {
            self.idempotency_keys.insert((tenant, key), sequence);
        }
        let due = self.first_due(&event);
        let strand = event.ordering_key.as_ref().map(Strand::of_key);
        for (endpoint, index) in event.fan_out.iter().zip(0..) {
            let key = DeliveryKey::new(sequence, index);
            self.create(Delivery::accepted(key, &event, *endpoint, due), strand, changes);
        }
        if let Some(id) = event.notice_for {
            self.change_endpoint(sequence, EndpointFact::NoticeGiven(id), changes);
        }
        let event = Event {
            accepted: event,
            added: Vec::new(),
            erased: None,
        };
        self.events.insert(sequence, event);
    }

    /// An event that is not delayed takes its place behind those that were accepted before it.
    fn first_due(&mut self, event: &EventAccepted) -> Timestamp {
        if event.due > event.accepted_at {
            return event.due;
        }
        self.accepted_at = self.accepted_at.max(event.accepted_at);
        self.accepted_at
    }

    pub fn replay(&mut self, sequence: Lsn, replayed: &EventReplayed, changes: &mut Changes) {
        let Some(event) = self.events.get_mut(&replayed.event) else {
            return;
        };
        if event.erased.is_some() {
            return;
        }
        let keys = (0..).map(|index| DeliveryKey::new(sequence, index));
        event.added.extend(keys.take(replayed.fan_out.len()));
        let strand = self.strand_of(replayed.event);
        for (endpoint, index) in replayed.fan_out.iter().zip(0..) {
            let key = DeliveryKey::new(sequence, index);
            self.create(Delivery::replayed(key, replayed, *endpoint), strand, changes);
        }
    }

    fn create(&mut self, mut delivery: Delivery, strand: Option<Strand>, changes: &mut Changes) {
        if self.is_deleted(delivery.endpoint) {
            delivery.cancel_at_birth();
        }
        let counts = &mut self.tallies.entry(delivery.endpoint).or_default().deliveries;
        *counts.of(delivery.stage) += 1;
        self.deliveries.insert(delivery.key, delivery);
        self.schedule_at(&delivery, strand, None, changes);
    }

    /// Gives a scheduled delivery its entry.
    fn schedule_at(
        &mut self,
        delivery: &Delivery,
        strand: Option<Strand>,
        since: Option<Timestamp>,
        changes: &mut Changes,
    ) {
        let Some(due) = delivery.stage.due() else { return };
        let entry = Entry {
            at: (due, delivery.key),
            strand,
            since,
            expires_at: delivery.expires_at,
        };
        let schedule = self.schedules.entry(delivery.endpoint).or_default();
        schedule.insert(entry.at, entry);
        changes.effects.push(Effect::Due {
            endpoint: delivery.endpoint,
            entry,
        });
    }

    /// Takes a delivery's entry away; answers since when it had its place.
    fn unschedule(&mut self, delivery: &Delivery) -> Option<Timestamp> {
        let due = delivery.stage.due()?;
        let schedule = self.schedules.get_mut(&delivery.endpoint)?;
        let entry = schedule.remove(&(due, delivery.key));
        if schedule.is_empty() {
            self.schedules.remove(&delivery.endpoint);
        }
        entry?.since
    }

    /// Writes a delivery that was as `old` says.
    fn replace(&mut self, old: &Delivery, new: Delivery, since: Option<Timestamp>, changes: &mut Changes) {
        let counts = &mut self.tallies.entry(new.endpoint).or_default().deliveries;
        *counts.of(old.stage) -= 1;
        *counts.of(new.stage) += 1;
        self.deliveries.insert(new.key, new);
        self.schedule_at(&new, self.strand_of(new.event), since, changes);
    }

    pub fn settle(&mut self, sequence: Lsn, attempt: &AttemptSettled, changes: &mut Changes) {
        self.attempts.insert(sequence, attempt.clone());
        let tally = self.tallies.entry(attempt.endpoint).or_default();
        tally.deliveries.attempts += 1;
        let delivery = attempt.delivery.and_then(|key| self.deliveries.get(&key));
        if let Some(old) = delivery.copied() {
            let since = self.unschedule(&old);
            let since = match (old.stage, attempt.stage) {
                (Stage::Scheduled { due }, Stage::Scheduled { .. }) => Some(place_after_attempt(due, since)),
                _ => None,
            };
            let mut new = old;
            new.settle(sequence, attempt, self.is_deleted(old.endpoint));
            let stands_since = self.endpoints.get(&attempt.endpoint);
            let stands_since = stands_since.map_or(Timestamp::EPOCH, |row| row.standing.since);
            if attempt.sets_health(stands_since) {
                self.tallies.entry(attempt.endpoint).or_default().health = attempt.health;
            }
            changes.effects.push(Effect::Settled {
                endpoint: old.endpoint,
                key: old.key,
                number: attempt.number,
            });
            self.replace(&old, new, since, changes);
        }
        if attempt.disable.is_some() {
            self.change_endpoint(sequence, EndpointFact::Disabled(attempt), changes);
        }
    }

    pub fn retry(&mut self, retried: &DeliveriesRetried, changes: &mut Changes) {
        for key in &retried.keys {
            let Some(old) = self.deliveries.get(key).copied() else {
                continue;
            };
            let is_erased = self
                .events
                .get(&old.event)
                .is_some_and(|event| event.erased.is_some());
            if self.is_deleted(old.endpoint) || is_erased {
                continue;
            }
            let since = self.unschedule(&old);
            let mut new = old;
            new.retry(retried);
            moved(&new, changes);
            self.replace(&old, new, since, changes);
        }
    }

    pub fn end(&mut self, ended: &DeliveriesEnded, changes: &mut Changes) {
        for key in &ended.keys {
            let Some(old) = self.deliveries.get(key).copied() else {
                continue;
            };
            let mut new = old;
            if new.end(ended) {
                self.unschedule(&old);
                moved(&new, changes);
                self.replace(&old, new, None, changes);
            }
        }
    }

    /// Once is enough: one that is erased stays as it was erased first.
    pub fn erase(&mut self, sequence: Lsn, erased: Erased, changes: &mut Changes) {
        let Some(event) = self.events.get_mut(&sequence) else {
            return;
        };
        if event.erased.is_some() {
            return;
        }
        let ended = DeliveriesEnded {
            keys: event.deliveries(sequence),
            at: erased.at,
            stage: Stage::Cancelled,
        };
        event.erased = Some(erased);
        event.accepted.payload.bytes = Bytes::new();
        self.end(&ended, changes);
    }

    fn change_endpoint(&mut self, sequence: Lsn, fact: EndpointFact<'_>, changes: &mut Changes) {
        let id: EndpointId = fact.endpoint();
        if let Some(row) = StoredEndpoint::after(self.endpoints.get(&id), sequence, fact) {
            self.endpoints.insert(id, row);
            changes.effects.push(Effect::Endpoint(id));
        }
    }

    pub fn configure(&mut self, sequence: Lsn, change: ConfigChange, changes: &mut Changes) {
        if let Some(fact) = change.endpoint_fact() {
            self.change_endpoint(sequence, fact, changes);
        }
        match change {
            ConfigChange::EndpointPut(_) | ConfigChange::EndpointDeleted(_) => {}
            ConfigChange::EndpointChanged(changed) => {
                if matches!(changed.change, StateChange::Enable { .. }) {
                    let tally = self.tallies.entry(changed.id).or_default();
                    tally.health = tally.health.forgiven();
                }
            }
            ConfigChange::KeyPut(key) => {
                self.api_keys.insert(key.id, key);
                changes.api_keys = true;
            }
            ConfigChange::KeyRevoked(revoked) => {
                self.api_keys.remove(&revoked.id);
                changes.api_keys = true;
            }
            ConfigChange::EventTypePut(declaration) => self.declare(declaration, changes),
            ConfigChange::EventTypeDeleted(deleted) => {
                self.event_types.remove(&deleted.event_type);
                changes.event_types.insert(deleted.event_type);
            }
            ConfigChange::DeliveriesEnded(ended) => self.end(&ended, changes),
            ConfigChange::Audited(entry) => _ = self.audit.insert(entry.id, *entry),
        }
    }

    fn declare(&mut self, declaration: EventTypePut, changes: &mut Changes) {
        let name = declaration.event_type.clone();
        let before = self.event_types.get(&name);
        let declared = DeclaredType {
            created_at: before.map_or(declaration.at, |before| before.created_at),
            declaration,
        };
        self.event_types.insert(name.clone(), declared);
        changes.event_types.insert(name);
    }
}

fn moved(delivery: &Delivery, changes: &mut Changes) {
    changes.effects.push(Effect::Moved {
        endpoint: delivery.endpoint,
        key: delivery.key,
    });
}
