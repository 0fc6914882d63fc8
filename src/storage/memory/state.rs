//! What is stored, in maps, and what is read of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    domain::{
        audit::AuditEntry,
        delivery::Delivery,
        event::{EventType, Label},
        id::{AuditId, DeliveryKey, EndpointId, EventId, KeyId, Lsn},
        ordering::Strand,
        record::{AttemptSettled, EventAccepted, KeyPut, Place},
        time::Timestamp,
    },
    storage::{
        Applied, Changes, Claimed, Configuration, DeclaredType, Effect, KnownEvent,
        schedule::{DueDelivery, DuePage, Entry, EntryPage, EventHandle, Portion, Position},
        stored::{Erased, StoredEndpoint, Tally},
    },
};

/// Everything that is stored.
#[derive(Default)]
pub(super) struct State {
    /// The greatest sequence that was given to anything.
    last: Lsn,
    pub events: BTreeMap<Lsn, Event>,
    pub ids: HashMap<(Option<Label>, EventId), Lsn>,
    pub idempotency_keys: HashMap<(Option<Label>, String), Lsn>,
    pub deliveries: BTreeMap<DeliveryKey, Delivery>,
    /// Each endpoint's schedule. An endpoint without work has none.
    pub schedules: BTreeMap<EndpointId, BTreeMap<Position, Entry>>,
    pub attempts: BTreeMap<Lsn, AttemptSettled>,
    pub endpoints: BTreeMap<EndpointId, StoredEndpoint>,
    pub tallies: HashMap<EndpointId, Tally>,
    pub api_keys: BTreeMap<KeyId, KeyPut>,
    pub event_types: BTreeMap<EventType, DeclaredType>,
    pub audit: BTreeMap<AuditId, AuditEntry>,
    /// The newest time at which an event was accepted.
    pub accepted_at: Timestamp,
}

/// An event, as it was accepted or as its erasure left it.
pub(super) struct Event {
    pub accepted: EventAccepted,
    /// Deliveries beyond the fan-out.
    pub added: Vec<DeliveryKey>,
    pub erased: Option<Erased>,
}

impl Event {
    /// Its deliveries, those of its fan-out first.
    pub fn deliveries(&self, sequence: Lsn) -> Vec<DeliveryKey> {
        let own = (0..).map(|index| DeliveryKey::new(sequence, index));
        let own = own.take(self.accepted.fan_out.len());
        own.chain(self.added.iter().copied()).collect()
    }
}

impl State {
    /// Takes the next sequences; answers the first.
    pub fn take_sequences(&mut self, count: usize) -> Lsn {
        let first = self.last + 1;
        self.last += count as u64;
        first
    }

    /// By which of the names that it comes with an event was accepted before, and how it was answered.
    pub fn known(
        &self,
        tenant: Option<&Label>,
        id: Option<&EventId>,
        key: Option<&str>,
        keys_over: Timestamp,
    ) -> Option<(Claimed, KnownEvent)> {
        let by_id = id.and_then(|id| self.ids.get(&(tenant.cloned(), id.clone())));
        if let Some(sequence) = by_id {
            return Some((Claimed::EventId, self.answered(*sequence)?));
        }
        let sequence = *self.idempotency_keys.get(&(tenant.cloned(), key?.to_owned()))?;
        let until = self.events.get(&sequence)?.accepted.idempotency_until;
        (until > keys_over).then_some((Claimed::IdempotencyKey, self.answered(sequence)?))
    }

    fn answered(&self, sequence: Lsn) -> Option<KnownEvent> {
        let event = &self.events.get(&sequence)?.accepted;
        Some(KnownEvent {
            sequence,
            id: event.id.clone(),
            event_type: event.event_type.clone(),
            content_hash: event.content_hash,
            deliveries: u32::try_from(event.fan_out.len()).unwrap_or(u32::MAX),
        })
    }

    pub fn strand_of(&self, event: Lsn) -> Option<Strand> {
        let event = self.events.get(&event)?;
        event.accepted.ordering_key.as_ref().map(Strand::of_key)
    }

    /// An endpoint of which nothing is known is not deleted.
    pub fn is_deleted(&self, endpoint: EndpointId) -> bool {
        let row = self.endpoints.get(&endpoint);
        row.is_some_and(|row| row.deleted_at.is_some())
    }

    pub fn configuration(&self) -> Configuration {
        let endpoints = self.endpoints.iter();
        Configuration {
            endpoints: endpoints.map(|(id, row)| (*id, row.clone())).collect(),
            api_keys: self.api_keys.values().cloned().collect(),
            event_types: self.event_types.values().cloned().collect(),
            newest: self.newest(),
        }
    }

    /// The newest time that anything records.
    fn newest(&self) -> Timestamp {
        let endpoints = self.endpoints.values().map(StoredEndpoint::newest);
        let attempts = self.attempts.values().map(|attempt| attempt.started_at);
        let deliveries = self.deliveries.values().map(|delivery| delivery.created_at);
        let events = self.events.values().map(|event| event.accepted.accepted_at);
        let all = endpoints.chain(attempts).chain(deliveries).chain(events);
        all.max().unwrap_or_default()
    }

    /// What changed, with the configuration that is concerned as it is now.
    pub fn applied(&self, changes: Changes) -> Applied {
        let Changes {
            effects,
            api_keys,
            event_types,
        } = changes;
        let mut applied = Applied {
            api_keys: api_keys.then(|| self.api_keys.values().cloned().collect()),
            ..Applied::default()
        };
        let changed = |effect: &Effect| match effect {
            Effect::Endpoint(id) => Some(*id),
            Effect::Due { .. } | Effect::Settled { .. } | Effect::Moved { .. } => None,
        };
        let endpoints: BTreeSet<EndpointId> = effects.iter().filter_map(changed).collect();
        let stored = |id: EndpointId| self.endpoints.get(&id).map(|stored| (id, stored.clone()));
        applied.endpoints = endpoints.into_iter().filter_map(stored).collect();
        for name in event_types {
            match self.event_types.get(&name) {
                Some(declared) => applied.event_types.push(declared.clone()),
                None => applied.undeclared.push(name),
            }
        }
        applied.effects = effects;
        applied
    }
}

/// What the scheduler reads.
impl State {
    fn schedule(&self, portion: &Portion) -> impl Iterator<Item = (&Position, &Entry)> {
        let schedule = self.schedules.get(&portion.endpoint);
        schedule
            .into_iter()
            .flat_map(|schedule| schedule.range(portion.from..))
    }

    pub fn due(&self, portion: &Portion, now: Timestamp) -> DuePage {
        let mut page = DuePage::default();
        for (at, _) in self.schedule(portion) {
            if at.0 > now || page.deliveries.len() == portion.limit {
                page.next = Some(*at);
                break;
            }
            page.deliveries.extend(self.due_at(portion.endpoint, *at));
        }
        page
    }

    pub fn entries(&self, portion: &Portion) -> EntryPage {
        let mut left = self.schedule(portion);
        let entries = left.by_ref().take(portion.limit);
        EntryPage {
            entries: entries.map(|(_, entry)| *entry).collect(),
            next: left.next().map(|(at, _)| *at),
        }
    }

    pub fn due_at(&self, endpoint: EndpointId, at: Position) -> Option<DueDelivery> {
        let entry = self.schedules.get(&endpoint)?.get(&at)?;
        let delivery = *self.deliveries.get(&at.1)?;
        Some(DueDelivery {
            due: at.0,
            delivery,
            event: EventHandle {
                sequence: delivery.event,
                place: Place::default(),
            },
            strand: entry.strand,
        })
    }
}
