//! What people look up and list: every row is looked at.

use async_trait::async_trait;

use super::{
    MemoryStorage,
    state::{Event, State},
};
use crate::{
    domain::{
        delivery::Delivery,
        event::Label,
        id::{DeliveryKey, EndpointId, EventId, Lsn},
        record::AttemptSettled,
    },
    storage::{
        StorageError,
        queries::{
            AttemptFilter, ByEventFilter, ByEventPage, DeliveryFilter, EventFilter, FoundEvent, ListPage,
            ListRange, MissingFilter, Queries,
        },
        schedule::{EntryPage, Portion},
        stored::{
            AttemptFacts, EventDetails, EventFacts, MissingEvent, StoredAttempt, StoredDelivery, StoredEvent,
            Tally, Totals,
        },
    },
};

/// One call looks at so many rows at the most, so that pages are short now and then.
const MOST_LOOKS: usize = 100;

#[async_trait]
impl Queries for MemoryStorage {
    async fn find_event(&self, id: &EventId, tenant: Option<&Label>) -> Result<FoundEvent, StorageError> {
        self.read(|state| state.find(id, tenant)).await
    }

    async fn list_events(
        &self,
        filter: EventFilter,
        range: ListRange,
    ) -> Result<ListPage<StoredEvent>, StorageError> {
        self.read(|state| {
            let rows = state.events.iter();
            page(
                rows.map(|(sequence, event)| (at(*sequence), event)),
                range,
                |at, event| state.listed_event(&filter, at.lsn, event),
            )
        })
        .await
    }

    async fn list_deliveries(
        &self,
        filter: DeliveryFilter,
        range: ListRange,
    ) -> Result<ListPage<StoredDelivery>, StorageError> {
        self.read(|state| {
            let rows = state.deliveries.iter();
            page(
                rows.map(|(key, delivery)| (*key, delivery)),
                range,
                |_, delivery| {
                    let found = filter.matches(delivery).then(|| state.stored_delivery(*delivery));
                    found.filter(|found| filter.covers(found))
                },
            )
        })
        .await
    }

    async fn list_attempts(
        &self,
        filter: AttemptFilter,
        range: ListRange,
    ) -> Result<ListPage<StoredAttempt>, StorageError> {
        self.read(|state| {
            let rows = state.attempts.iter();
            page(
                rows.map(|(sequence, attempt)| (at(*sequence), attempt)),
                range,
                |at, attempt| {
                    let found = state.stored_attempt(at.lsn, attempt);
                    state.is_wanted(&filter, &found.facts).then_some(found)
                },
            )
        })
        .await
    }

    async fn list_missing(
        &self,
        filter: MissingFilter,
        range: ListRange,
    ) -> Result<ListPage<MissingEvent>, StorageError> {
        self.read(|state| {
            let rows = state.events.iter();
            page(
                rows.map(|(sequence, event)| (at(*sequence), event)),
                range,
                |at, event| {
                    state.is_missed(&filter, at.lsn, event).then(|| MissingEvent {
                        sequence: at.lsn,
                        event: event.accepted.clone(),
                    })
                },
            )
        })
        .await
    }

    async fn list_by_event(
        &self,
        filter: ByEventFilter,
        from: Lsn,
        limit: usize,
    ) -> Result<ByEventPage, StorageError> {
        self.read(|state| state.by_event(&filter, from, limit)).await
    }

    async fn list_scheduled(&self, portion: Portion) -> Result<EntryPage, StorageError> {
        self.read(|state| state.entries(&portion)).await
    }

    async fn deliveries(&self, keys: Vec<DeliveryKey>) -> Result<Vec<Option<StoredDelivery>>, StorageError> {
        self.read(|state| {
            let one = |key| {
                state
                    .deliveries
                    .get(&key)
                    .map(|found| state.stored_delivery(*found))
            };
            keys.into_iter().map(one).collect()
        })
        .await
    }

    async fn deliveries_of(&self, event: Lsn) -> Result<Vec<(EndpointId, DeliveryKey)>, StorageError> {
        self.read(|state| {
            let keys = state.events.get(&event).map(|found| found.deliveries(event));
            let keys = keys.into_iter().flatten();
            keys.filter_map(|key| Some((state.deliveries.get(&key)?.endpoint, key)))
                .collect()
        })
        .await
    }

    async fn tallies(&self, endpoints: Vec<EndpointId>) -> Result<Vec<Tally>, StorageError> {
        self.read(|state| {
            let tally = |id| state.tallies.get(&id).copied().unwrap_or_default();
            endpoints.into_iter().map(tally).collect()
        })
        .await
    }

    async fn totals(&self) -> Result<Totals, StorageError> {
        self.read(State::totals).await
    }
}

/// Where an event or an attempt stands.
const fn at(sequence: Lsn) -> DeliveryKey {
    DeliveryKey::new(sequence, 0)
}

fn page<T, V>(
    rows: impl DoubleEndedIterator<Item = (DeliveryKey, T)>,
    range: ListRange,
    mut make: impl FnMut(DeliveryKey, T) -> Option<V>,
) -> ListPage<V> {
    let rows: Box<dyn Iterator<Item = (DeliveryKey, T)>> = if range.ascending {
        Box::new(rows.skip_while(|(at, _)| range.beyond.is_some_and(|beyond| *at <= beyond)))
    } else {
        let rows = rows.rev();
        Box::new(rows.skip_while(|(at, _)| range.beyond.is_some_and(|beyond| *at >= beyond)))
    };
    let (mut rows, mut found, mut last) = (rows.peekable(), Vec::new(), None);
    for _ in 0..MOST_LOOKS {
        if found.len() == range.limit {
            break;
        }
        let Some((at, row)) = rows.next() else { break };
        last = Some(at);
        found.extend(make(at, row));
    }
    ListPage {
        rows: found,
        next: last.or(range.beyond).filter(|_| rows.peek().is_some()),
    }
}

impl State {
    fn find(&self, id: &EventId, tenant: Option<&Label>) -> FoundEvent {
        let one = |sequence: &Lsn| FoundEvent::One(self.facts(*sequence, &self.events[sequence]));
        let exact = self.ids.get(&(tenant.cloned(), id.clone()));
        if exact.is_some() || tenant.is_some() {
            return exact.map_or(FoundEvent::None, one);
        }
        let of_tenants: Vec<&Lsn> = self
            .ids
            .iter()
            .filter_map(|((_, name), sequence)| (name == id).then_some(sequence))
            .collect();
        match of_tenants[..] {
            [] => FoundEvent::None,
            [only] => one(only),
            _ => FoundEvent::Several,
        }
    }

    fn facts(&self, sequence: Lsn, event: &Event) -> EventFacts {
        let accepted = &event.accepted;
        EventFacts {
            sequence,
            id: accepted.id.clone(),
            event_type: accepted.event_type.clone(),
            tenant: accepted.tenant.clone(),
            accepted_at: accepted.accepted_at,
            deliveries: u32::try_from(accepted.fan_out.len()).unwrap_or(u32::MAX),
            erased: event.erased.clone(),
        }
    }

    fn listed_event(&self, filter: &EventFilter, sequence: Lsn, event: &Event) -> Option<StoredEvent> {
        let accepted = &event.accepted;
        let mut attributes = filter.attributes.iter();
        let wanted = filter.is_type(&accepted.event_type)
            && (filter.tenant.is_none() || filter.tenant == accepted.tenant)
            && (filter.idempotency_key.is_none() || filter.idempotency_key == accepted.idempotency_key)
            && filter.since.is_none_or(|since| accepted.accepted_at >= since)
            && filter.until.is_none_or(|until| accepted.accepted_at <= until)
            && attributes.all(|(name, value)| accepted.attributes.get(name) == Some(value));
        wanted.then(|| StoredEvent {
            facts: self.facts(sequence, event),
            details: Ok(EventDetails::of(accepted)),
        })
    }

    fn by_event(&self, filter: &ByEventFilter, from: Lsn, limit: usize) -> ByEventPage {
        let mut page = ByEventPage {
            rows: Vec::new(),
            next: None,
        };
        for (looks, (sequence, event)) in self.events.range(from..).enumerate() {
            if page.rows.len() >= limit || looks == MOST_LOOKS {
                page.next = Some(*sequence);
                break;
            }
            let found = event.deliveries(*sequence).into_iter();
            let found = found.filter_map(|key| self.deliveries.get(&key));
            let wanted = filter.covers(&self.facts(*sequence, event));
            let found = found.filter(|delivery| wanted && filter.matches(delivery));
            page.rows
                .extend(found.map(|delivery| self.stored_delivery(*delivery)));
        }
        page
    }

    fn stored_delivery(&self, delivery: Delivery) -> StoredDelivery {
        let event = self.events.get(&delivery.event);
        StoredDelivery {
            event: event.map(|event| self.facts(delivery.event, event)),
            delivery,
        }
    }

    pub(super) fn stored_attempt(&self, sequence: Lsn, attempt: &AttemptSettled) -> StoredAttempt {
        let delivery = attempt.delivery.and_then(|key| self.deliveries.get(&key));
        StoredAttempt {
            sequence,
            facts: AttemptFacts {
                delivery: attempt.delivery,
                endpoint: attempt.endpoint,
                event_type: attempt.event_type.clone(),
                tenant: attempt.tenant.clone(),
                started_at: attempt.started_at,
                class: attempt.class,
                reason: attempt.reason,
                status: attempt.status,
            },
            delivery: delivery.map(Delivery::id),
            event: Some(attempt.event_id.clone()),
            record: Ok(attempt.clone()),
        }
    }

    fn is_wanted(&self, filter: &AttemptFilter, facts: &AttemptFacts) -> bool {
        let delivery = facts.delivery.and_then(|key| self.deliveries.get(&key));
        (filter.event.is_none() || filter.event == delivery.map(|delivery| delivery.event))
            && filter.matches(facts)
    }

    fn is_missed(&self, filter: &MissingFilter, sequence: Lsn, event: &Event) -> bool {
        let accepted = &event.accepted;
        let mut types = filter.event_types.iter();
        let had = |key: &DeliveryKey| self.deliveries[key].endpoint == filter.endpoint;
        filter.tenant == accepted.tenant
            && types.any(|types| types.matches(&accepted.event_type))
            && accepted.accepted_at >= filter.since
            && filter.until.is_none_or(|until| accepted.accepted_at <= until)
            && event.erased.is_none()
            && !event.deliveries(sequence).iter().any(had)
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals {
            events: self.events.len() as u64,
            accepted_at: self.accepted_at,
            ..Totals::default()
        };
        let unmatched = |event: &&Event| event.accepted.fan_out.is_empty();
        totals.unmatched = self.events.values().filter(unmatched).count() as u64;
        for delivery in self.deliveries.values() {
            *totals.deliveries.of(delivery.stage) += 1;
        }
        totals.deliveries.attempts = self.attempts.len() as u64;
        totals
    }
}
