//! What the journal's records mean, in plain terms of its own: what the store and the lanes are held against.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::domain::{
    configuration::ConfigChange,
    delivery::Stage,
    endpoint::{EndpointState, StateChange},
    id::{DeliveryKey, EndpointId, Lsn},
    ordering::Strand,
    outcome::Class,
    record::{AttemptSettled, DeliveriesEnded, EventAccepted, Record},
    time::Timestamp,
};

/// One delivery.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub endpoint: EndpointId,
    pub event: Lsn,
    pub created_at: Timestamp,
    pub due: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// How it ended.
    pub ended: Option<&'static str>,
    pub spent: u32,
    pub all_suspect: bool,
    pub attempts: u32,
    /// What its event's ordering key makes of it.
    pub key: Option<Strand>,
    /// When it took its place in line, and then its place in the journal.
    pub rank: (Timestamp, DeliveryKey),
    /// It was tried since it took its place.
    pub tried: bool,
    /// When, in the simulation's own time, something else than its own attempt changed it.
    pub changed_at: u64,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct KnownEndpoint {
    /// The how-manieth to be created: its name in the log.
    pub ordinal: usize,
    pub state: EndpointState,
    pub since: Timestamp,
    pub deleted: bool,
    pub notice_due: bool,
    pub changed_at: u64,
    /// What its records say it has seen since its last success, or since it was last enabled.
    pub errors: u32,
}

/// The state after some record.
#[derive(Default)]
pub(super) struct Model {
    pub deliveries: BTreeMap<DeliveryKey, Known>,
    pub endpoints: BTreeMap<EndpointId, KnownEndpoint>,
    pub events: BTreeMap<Lsn, EventAccepted>,
    ids: HashMap<String, Lsn>,
    accepted_at: Timestamp,
    pub attempts: u64,
    pub disablings: u64,
    pub notices: u64,
    /// Notices that became pointless, since a person came first.
    pub notices_spared: u64,
    /// The newest engine time that any record carries.
    pub newest: Timestamp,
    pub wrong: Vec<String>,
    /// Scheduled, by endpoint.
    pub open: BTreeMap<EndpointId, HashSet<DeliveryKey>>,
}

impl Model {
    pub fn apply(&mut self, lsn: Lsn, record: &Record, now: u64) {
        match record {
            Record::EventAccepted(event) => self.accepted(lsn, event, now),
            Record::AttemptSettled(attempt) => self.settled(attempt, now),
            Record::Configured(configured) => {
                configured.changes.iter().for_each(|change| self.configured(change, now));
            }
            Record::DeliveriesRetried(retried) => {
                self.newest = self.newest.max(retried.due);
                retried
                    .keys
                    .iter()
                    .for_each(|key| self.retried(*key, retried.due, now));
            }
            Record::DeliveriesEnded(ended) => self.deliveries_ended(ended, now),
            Record::EventReplayed(replayed) => {
                self.newest = self.newest.max(replayed.due);
                let Some(event) = self.events.get(&replayed.event).cloned() else {
                    self.wrong
                        .push(format!("replay of an unknown event {}", replayed.event));
                    return;
                };
                for (endpoint, index) in replayed.fan_out.iter().zip(0..) {
                    let key = DeliveryKey::new(lsn, index);
                    self.create(key, *endpoint, replayed.event, &event, replayed.due, None, now);
                    if let Some(known) = self.deliveries.get_mut(&key) {
                        known.created_at = replayed.due;
                    }
                }
            }
            // The reclaimer does not run here.
            Record::Carried(_)
            | Record::EventsForgotten(_)
            | Record::AttemptsForgotten(_)
            | Record::IdempotencyForgotten(_)
            | Record::FloorRaised(_)
            | Record::EndpointsForgotten(_)
            | Record::AuditForgotten(_)
            | Record::RollupsFolded(_)
            // Nobody erases here.
            | Record::PayloadErased(_) => {}
        }
    }

    fn configured(&mut self, change: &ConfigChange, now: u64) {
        match change {
            ConfigChange::EndpointPut(put) => {
                self.newest = self.newest.max(put.at);
                let ordinal = self.endpoints.len();
                let known = self.endpoints.entry(put.id).or_insert_with(|| KnownEndpoint {
                    ordinal,
                    state: put.initial.state(),
                    since: put.at,
                    deleted: false,
                    notice_due: false,
                    changed_at: now,
                    errors: 0,
                });
                known.changed_at = now;
            }
            ConfigChange::EndpointChanged(changed) => {
                self.newest = self.newest.max(changed.at);
                let Some(known) = self.endpoints.get_mut(&changed.id).filter(|known| !known.deleted) else {
                    return;
                };
                self.notices_spared += u64::from(known.notice_due);
                known.notice_due = matches!(changed.change, StateChange::Lapse);
                known.state = changed.change.state();
                known.since = changed.at;
                known.changed_at = now;
                if known.state == EndpointState::Active {
                    known.errors = 0;
                }
            }
            ConfigChange::EndpointDeleted(deleted) => {
                self.newest = self.newest.max(deleted.at);
                if let Some(known) = self.endpoints.get_mut(&deleted.id) {
                    self.notices_spared += u64::from(known.notice_due);
                    known.notice_due = false;
                    known.deleted = true;
                    known.changed_at = now;
                }
            }
            ConfigChange::DeliveriesEnded(ended) => self.deliveries_ended(ended, now),
            ConfigChange::KeyPut(_)
            | ConfigChange::KeyRevoked(_)
            | ConfigChange::EventTypePut(_)
            | ConfigChange::EventTypeDeleted(_)
            | ConfigChange::Audited(_) => {}
        }
    }

    fn deliveries_ended(&mut self, ended: &DeliveriesEnded, now: u64) {
        self.newest = self.newest.max(ended.at);
        for key in &ended.keys {
            if let Some(known) = self.deliveries.get_mut(key)
                && known.ended.is_none()
            {
                known.changed_at = now;
                self.end(*key, ended.stage.as_str());
            }
        }
    }

    fn accepted(&mut self, lsn: Lsn, event: &EventAccepted, now: u64) {
        self.newest = self.newest.max(event.accepted_at);
        if let Some(id) = event.notice_for {
            self.notices += 1;
            match self.endpoints.get_mut(&id) {
                Some(known) if known.notice_due => known.notice_due = false,
                _ => self
                    .wrong
                    .push(format!("record {lsn} gives a notice that is not due")),
            }
        }
        if let Some(first) = self.ids.insert(event.id.as_str().to_owned(), lsn) {
            self.wrong
                .push(format!("event {} stands twice: {first} and {lsn}", event.id));
        }
        let due = if event.due > event.accepted_at {
            event.due
        } else {
            self.accepted_at = self.accepted_at.max(event.accepted_at);
            self.accepted_at
        };
        for (endpoint, index) in event.fan_out.iter().zip(0..) {
            let key = DeliveryKey::new(lsn, index);
            self.create(key, *endpoint, lsn, event, due, event.expires_at, now);
        }
        self.events.insert(lsn, event.clone());
    }

    #[expect(clippy::too_many_arguments, reason = "a delivery's parts")]
    fn create(
        &mut self,
        key: DeliveryKey,
        endpoint: EndpointId,
        lsn: Lsn,
        event: &EventAccepted,
        due: Timestamp,
        expires_at: Option<Timestamp>,
        now: u64,
    ) {
        let deleted = self.endpoints.get(&endpoint).is_some_and(|known| known.deleted);
        self.deliveries.insert(
            key,
            Known {
                endpoint,
                event: lsn,
                created_at: event.accepted_at,
                due,
                expires_at,
                ended: deleted.then_some("cancelled"),
                spent: 0,
                all_suspect: true,
                attempts: 0,
                key: event.ordering_key.as_ref().map(Strand::of_key),
                rank: (due, key),
                tried: false,
                changed_at: now,
            },
        );
        if !deleted {
            self.open.entry(endpoint).or_default().insert(key);
        }
    }

    fn end(&mut self, key: DeliveryKey, how: &'static str) {
        if let Some(known) = self.deliveries.get_mut(&key) {
            known.ended = Some(how);
            if let Some(open) = self.open.get_mut(&known.endpoint) {
                open.remove(&key);
            }
        }
    }

    fn retried(&mut self, key: DeliveryKey, due: Timestamp, now: u64) {
        let Some(known) = self.deliveries.get_mut(&key) else {
            return;
        };
        if self.endpoints.get(&known.endpoint).is_some_and(|at| at.deleted) {
            return;
        }
        if known.ended.take().is_some() {
            known.spent = 0;
            known.all_suspect = true;
            known.expires_at = None;
            known.tried = false;
            self.open.entry(known.endpoint).or_default().insert(key);
        }
        if !known.tried {
            known.rank.0 = due;
        }
        known.due = due;
        known.changed_at = now;
    }

    fn settled(&mut self, attempt: &AttemptSettled, now: u64) {
        self.newest = self.newest.max(attempt.started_at);
        self.attempts += 1;
        let deleted = self
            .endpoints
            .get(&attempt.endpoint)
            .is_some_and(|known| known.deleted);
        if let Some((key, known)) = attempt
            .delivery
            .and_then(|key| Some((key, self.deliveries.get_mut(&key)?)))
        {
            known.attempts += 1;
            known.spent = attempt.progress.spent;
            known.all_suspect = attempt.progress.all_suspect;
            known.tried = true;
            match (attempt.stage, known.ended) {
                (_, Some(_)) => {}
                (Stage::Delivered, None) => self.end(key, "delivered"),
                (Stage::Scheduled { .. }, None) if deleted => self.end(key, "cancelled"),
                (Stage::Scheduled { due }, None) => known.due = due,
                (stage, None) => self.end(key, stage.as_str()),
            }
        }
        self.endpoint_settled(attempt, now);
    }

    fn endpoint_settled(&mut self, attempt: &AttemptSettled, now: u64) {
        let Some(known) = self.endpoints.get_mut(&attempt.endpoint).filter(|at| !at.deleted) else {
            return;
        };
        if attempt.class == Class::Delivered {
            known.errors = 0;
        } else if attempt.started_at >= known.since {
            known.errors = attempt.health.errors;
        }
        if attempt.disable.is_some()
            && known.state == EndpointState::Active
            && known.since <= attempt.started_at
        {
            known.state = EndpointState::Disabled;
            known.since = attempt.ended_at();
            known.notice_due = true;
            known.changed_at = now;
            self.disablings += 1;
        }
    }

    /// Where an event with this id stands.
    pub fn event_by_id(&self, id: &str) -> Option<Lsn> {
        self.ids.get(id).copied()
    }

    pub fn ordinal(&self, id: EndpointId) -> usize {
        self.endpoints.get(&id).map_or(usize::MAX, |known| known.ordinal)
    }
}
