//! What people look up and list: [`Queries`] over the index, and the journal for what the index does not hold.
//!
//! Each call reads on a thread of its own kind: lists on one kind, single things on another, so that a look-up does not
//! wait for a list. It holds the index for as long as it reads and no longer.

use async_trait::async_trait;

use super::{
    LocalStorage, Readers, by_event,
    index::{
        Store, StoreError,
        rows::{AttemptRow, EventRow},
    },
    pages::page,
    schedule::entries,
};
use crate::{
    domain::{
        delivery::Delivery,
        event::Label,
        id::{DeliveryKey, EndpointId, EventId, Lsn},
        record::{EventAccepted, Place},
    },
    storage::{
        StorageError,
        queries::{
            AttemptFilter, ByEventFilter, ByEventPage, DeliveryFilter, EventFilter, FoundEvent, ListPage,
            ListRange, MissingFilter, Queries,
        },
        schedule::{EntryPage, Portion},
        stored::{
            AttemptFacts, Erased, EventDetails, EventFacts, MissingEvent, StoredAttempt, StoredDelivery,
            StoredEvent, Tally, Totals,
        },
    },
};

#[async_trait]
impl Queries for LocalStorage {
    async fn find_event(&self, id: &EventId, tenant: Option<&Label>) -> Result<FoundEvent, StorageError> {
        let (id, tenant) = (id.clone(), tenant.cloned());
        self.query(&self.readers, move |_, store| find(store, &id, tenant.as_ref()))
            .await
    }

    async fn list_events(
        &self,
        filter: EventFilter,
        range: ListRange,
    ) -> Result<ListPage<StoredEvent>, StorageError> {
        self.query(&self.list_readers, move |storage, store| {
            let plan = |store: &Store| store.plan_events(&filter);
            page(store, plan, range, weight_of_event, |at, row| {
                Ok(storage.listed_event(&filter, at.lsn, row))
            })
        })
        .await
    }

    async fn list_deliveries(
        &self,
        filter: DeliveryFilter,
        range: ListRange,
    ) -> Result<ListPage<StoredDelivery>, StorageError> {
        self.query(&self.list_readers, move |_, store| {
            let plan = |store: &Store| store.plan_deliveries(&filter);
            page(
                store,
                plan,
                range,
                |_| ROW,
                |_, row| {
                    let found = filter.matches(&row).then(|| stored_delivery(store, row));
                    let found = found.transpose()?.flatten();
                    Ok(found.filter(|found| filter.covers(found)))
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
        self.query(&self.list_readers, move |storage, store| {
            let plan = |store: &Store| store.plan_attempts(&filter);
            page(store, plan, range, weight_of_attempt, |at, row: AttemptRow| {
                let place = row.place;
                let facts = AttemptFacts::from(row);
                if filter.matches(&facts) {
                    storage.stored_attempt(store, at.lsn, place, facts)
                } else {
                    Ok(None)
                }
            })
        })
        .await
    }

    async fn list_missing(
        &self,
        filter: MissingFilter,
        range: ListRange,
    ) -> Result<ListPage<MissingEvent>, StorageError> {
        self.query(&self.list_readers, move |storage, store| {
            let plan = |store: &Store| store.plan_events(&in_time(&filter));
            let weigh = |missing: &MissingEvent| missing.event.payload.bytes.len() + ROW;
            page(store, plan, range, weigh, |at, row| {
                storage.missing_event(store, &filter, at.lsn, &row)
            })
        })
        .await
    }

    async fn list_by_event(
        &self,
        filter: ByEventFilter,
        from: Lsn,
        limit: usize,
    ) -> Result<ByEventPage, StorageError> {
        self.query(&self.list_readers, move |_, store| {
            by_event::page(store, &filter, from, limit)
        })
        .await
    }

    async fn list_scheduled(&self, portion: Portion) -> Result<EntryPage, StorageError> {
        self.query(&self.list_readers, move |_, store| entries(store, &portion))
            .await
    }

    async fn deliveries(&self, keys: Vec<DeliveryKey>) -> Result<Vec<Option<StoredDelivery>>, StorageError> {
        self.query(&self.readers, move |_, store| {
            let one = |key| match store.delivery(key)? {
                Some(row) => stored_delivery(store, row),
                None => Ok(None),
            };
            keys.into_iter().map(one).collect()
        })
        .await
    }

    async fn deliveries_of(&self, event: Lsn) -> Result<Vec<(EndpointId, DeliveryKey)>, StorageError> {
        self.query(&self.list_readers, move |storage, store| {
            let Some(row) = store.event(event)? else {
                return Ok(Vec::new());
            };
            storage.deliveries_of_event(store, event, &row)
        })
        .await
    }

    async fn tallies(&self, endpoints: Vec<EndpointId>) -> Result<Vec<Tally>, StorageError> {
        self.query(&self.readers, move |_, store| {
            endpoints.into_iter().map(|id| store.tally(id)).collect()
        })
        .await
    }

    async fn totals(&self) -> Result<Totals, StorageError> {
        self.query(&self.readers, |_, store| store.totals()).await
    }
}

impl LocalStorage {
    /// Reads from an index that has everything that is durable by now.
    pub(super) async fn query<T: Send + 'static>(
        &self,
        readers: &Readers,
        read: impl FnOnce(&Self, &Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.served.caught_up_with(self.journal.last_lsn()).await?;
        self.run_on(readers, move |storage| {
            storage.served.read(|store| read(storage, store))
        })
        .await
    }

    fn listed_event(&self, filter: &EventFilter, sequence: Lsn, row: EventRow) -> Option<StoredEvent> {
        if !filter.matches(&row) {
            return None;
        }
        let event = self.event_or_why(sequence, row.place);
        let details = event.map(|event| EventDetails::of(&event));
        // Marks are hashes, and two texts may have one: the record tells.
        let has = |details: &EventDetails| {
            let mut wanted = filter.attributes.iter();
            wanted.all(|(name, value)| details.attributes.get(name) == Some(value))
        };
        details.as_ref().map_or(true, has).then(|| StoredEvent {
            facts: facts_of(sequence, row),
            details,
        })
    }

    /// Nothing when it was forgotten since its row was read.
    pub(super) fn stored_attempt(
        &self,
        store: &Store,
        sequence: Lsn,
        place: Place,
        facts: AttemptFacts,
    ) -> Result<Option<StoredAttempt>, StoreError> {
        let record = match self.attempt_or_why(sequence, place) {
            Err(None) => return Ok(None),
            Err(Some(why)) => Err(why),
            Ok(record) => Ok(record),
        };
        let delivery = facts
            .delivery
            .map(|key| store.delivery(key))
            .transpose()?
            .flatten();
        let event = match (&record, &delivery) {
            (Ok(record), _) => Some(record.event_id.clone()),
            (Err(_), Some(delivery)) => store.event(delivery.event)?.map(|event| event.id),
            (Err(_), None) => None,
        };
        Ok(Some(StoredAttempt {
            sequence,
            delivery: delivery.map(|delivery| delivery.id()),
            event,
            facts,
            record,
        }))
    }

    fn missing_event(
        &self,
        store: &Store,
        filter: &MissingFilter,
        sequence: Lsn,
        row: &EventRow,
    ) -> Result<Option<MissingEvent>, StoreError> {
        let is_in_time =
            row.accepted_at >= filter.since && filter.until.is_none_or(|until| row.accepted_at <= until);
        let wanted = |pattern: &crate::domain::subscription::Pattern| pattern.matches(&row.event_type);
        let may_be_sent = is_in_time && row.tenant == filter.tenant && row.erased.is_none();
        if !may_be_sent || !filter.event_types.iter().any(wanted) {
            return Ok(None);
        }
        let Ok(event) = self.event_or_why(sequence, row.place) else {
            return Ok(None);
        };
        let had = event.fan_out.contains(&filter.endpoint)
            || store
                .added_deliveries_of(sequence)?
                .iter()
                .any(|delivery| delivery.endpoint == filter.endpoint);
        Ok((!had).then_some(MissingEvent { sequence, event }))
    }

    /// An event's record tells of its fan-out, so that only deliveries that were added later are read, or all where the
    /// record is damaged.
    fn deliveries_of_event(
        &self,
        store: &Store,
        sequence: Lsn,
        row: &EventRow,
    ) -> Result<Vec<(EndpointId, DeliveryKey)>, StoreError> {
        let (mut found, rows) = match self.event_or_why(sequence, row.place) {
            Ok(EventAccepted { fan_out, .. }) => {
                let first = fan_out.into_iter().zip(0..);
                let first = first.map(|(endpoint, index)| (endpoint, DeliveryKey::new(sequence, index)));
                (first.collect(), store.added_deliveries_of(sequence)?)
            }
            Err(_) => (Vec::new(), store.deliveries_of(sequence, usize::MAX)?),
        };
        found.extend(rows.iter().map(|delivery| (delivery.endpoint, delivery.key)));
        Ok(found)
    }
}

fn find(store: &Store, id: &EventId, tenant: Option<&Label>) -> Result<FoundEvent, StoreError> {
    if tenant.is_some() {
        let found = store.event_of(tenant, id)?;
        return Ok(found.map_or(FoundEvent::None, one));
    }
    // Two tell that there are several.
    let mut found = store.events_named(id, 2)?.into_iter();
    Ok(match (found.next(), found.next()) {
        (None, _) => FoundEvent::None,
        (Some((_, EventRow { tenant: Some(_), .. })), Some(_)) => FoundEvent::Several,
        (Some(found), _) => one(found),
    })
}

fn one((sequence, row): (Lsn, EventRow)) -> FoundEvent {
    FoundEvent::One(facts_of(sequence, row))
}

fn facts_of(sequence: Lsn, row: EventRow) -> EventFacts {
    EventFacts {
        sequence,
        id: row.id,
        event_type: row.event_type,
        tenant: row.tenant,
        accepted_at: row.accepted_at,
        deliveries: row.deliveries,
        erased: row.erased.map(|erasure| Erased {
            at: erasure.at,
            by: erasure.by,
        }),
    }
}

/// A delivery with its event; nothing when it was forgotten since its row was read.
pub(super) fn stored_delivery(
    store: &Store,
    delivery: Delivery,
) -> Result<Option<StoredDelivery>, StoreError> {
    let event = store.event(delivery.event)?;
    if event.is_none() && store.delivery(delivery.key)?.is_none() {
        return Ok(None);
    }
    Ok(Some(StoredDelivery {
        event: event.map(|event| facts_of(delivery.event, event)),
        delivery,
    }))
}

/// The list of events of a range of time. What a filter of missing events names besides, several patterns and perhaps no
/// tenant, no index has.
fn in_time(filter: &MissingFilter) -> EventFilter {
    EventFilter {
        tenant: filter.tenant.clone(),
        since: Some(filter.since),
        until: filter.until,
        ..EventFilter::default()
    }
}

/// Bytes of a row without texts of any length, roughly.
const ROW: usize = 256;

fn weight_of_event(event: &StoredEvent) -> usize {
    let attributes = |details: &EventDetails| {
        let texts = details.attributes.iter();
        texts.map(|(name, value)| name.len() + value.len()).sum::<usize>()
    };
    ROW + event.details.as_ref().map_or(0, attributes)
}

fn weight_of_attempt(attempt: &StoredAttempt) -> usize {
    let record = attempt.record.as_ref();
    ROW + record.map_or(0, |record| record.excerpt.len())
}
