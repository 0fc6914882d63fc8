//! An endpoint's deliveries in one stage, in the order of their events.
//!
//! The index has them in the order in which they were made. That is the order of their events for those that an event became
//! when it was accepted. Those that were added later stand in an index of their own, by their events. A page is
//! read from both.

use tokio::time::Instant;

use super::{
    index::{
        Store, StoreError,
        listing::{Look, Plan},
        rows::EventRow,
    },
    pages::SLICE,
    queries::stored_delivery,
};
use crate::{
    domain::{
        delivery::Delivery,
        id::{DeliveryKey, Lsn},
    },
    storage::{
        queries::{ByEventFilter, ByEventPage, DeliveryFilter, Endpoints, EventFilter, next_to},
        stored::StoredDelivery,
    },
};

/// Reads at least one event's deliveries, and then more until there are enough or its time is over.
pub(super) fn page(
    store: &Store,
    filter: &ByEventFilter,
    from: Lsn,
    limit: usize,
) -> Result<ByEventPage, StoreError> {
    let Some((first, last)) = events_in_time(store, filter)? else {
        return Ok(ByEventPage::default());
    };
    let from = from.max(first);
    let reading = Reading {
        store,
        filter,
        limit,
        until: Instant::now() + SLICE,
    };
    let (mut rows, mut end) = reading.first_ones(from)?;
    let before = end.unwrap_or(Lsn::MAX).min(last.saturating_add(1));
    let (added, stopped) = reading.added(from, before)?;
    end = stopped.or(end);
    rows.extend(added);
    rows.retain(|row| end.is_none_or(|end| row.delivery.event < end));
    rows.sort_unstable_by_key(|row| (row.delivery.event, row.delivery.key));
    Ok(ByEventPage { rows, next: end })
}

/// The first and the last event of the filter's time.
fn events_in_time(store: &Store, filter: &ByEventFilter) -> Result<Option<(Lsn, Lsn)>, StoreError> {
    let in_time = EventFilter {
        since: Some(filter.since),
        until: filter.until,
        ..EventFilter::default()
    };
    let plan = store.plan_events(&in_time)?;
    let first = first_match(store, &plan, &in_time, true)?;
    let last = first_match(store, &plan, &in_time, false)?;
    Ok(first.zip(last))
}

fn first_match(
    store: &Store,
    plan: &Plan,
    filter: &EventFilter,
    ascending: bool,
) -> Result<Option<Lsn>, StoreError> {
    let mut lister = store.lister::<EventRow>(plan, None, ascending);
    loop {
        match lister.look()? {
            Look::Row(at, row) if filter.matches(&row) => return Ok(Some(at.lsn)),
            Look::Row(..) | Look::Passed => {}
            Look::End => return Ok(None),
        }
    }
}

struct Reading<'a> {
    store: &'a Store,
    filter: &'a ByEventFilter,
    limit: usize,
    until: Instant,
}

/// Deliveries, and before which event the reading stopped, if it did not come to the end.
type Part = (Vec<StoredDelivery>, Option<Lsn>);

impl Reading<'_> {
    fn is_over(&self, found: usize) -> bool {
        found >= self.limit || Instant::now() >= self.until
    }

    /// Those that events became when they were accepted.
    fn first_ones(&self, from: Lsn) -> Result<Part, StoreError> {
        let plan = self.store.plan_deliveries(&DeliveryFilter {
            endpoints: Endpoints::Only([self.filter.endpoint].into()),
            stage: Some(self.filter.stage),
            since: Some(self.filter.since),
            until: self.filter.until,
            ..DeliveryFilter::default()
        })?;
        let beyond = next_to(DeliveryKey::new(from, 0), false);
        let mut lister = self.store.lister::<Delivery>(&plan, beyond, true);
        let (mut found, mut last) = (Vec::new(), from);
        loop {
            let (at, row) = match lister.look()? {
                Look::Row(at, row) => (at.lsn, Some(row)),
                Look::Passed => (lister.at().map_or(last, |at| at.lsn), None),
                Look::End => return Ok((found, None)),
            };
            // Between two events: all deliveries of the one before are found.
            if at > last && self.is_over(found.len()) {
                return Ok((found, Some(at)));
            }
            last = at;
            if let Some(row) = row.filter(|row| row.event == at) {
                found.extend(self.complete(row)?);
            }
        }
    }

    /// Those that were added to events later.
    fn added(&self, from: Lsn, before: Lsn) -> Result<Part, StoreError> {
        let (mut found, mut last) = (Vec::new(), from);
        for added in self.store.added_between(from, before) {
            let (event, key) = added?;
            if event > last && self.is_over(found.len()) {
                return Ok((found, Some(event)));
            }
            last = event;
            if let Some(row) = self.store.delivery(key)? {
                found.extend(self.complete(row)?);
            }
        }
        Ok((found, None))
    }

    fn complete(&self, row: Delivery) -> Result<Option<StoredDelivery>, StoreError> {
        if !self.filter.matches(&row) {
            return Ok(None);
        }
        let found = stored_delivery(self.store, row)?;
        let covered = |found: &StoredDelivery| {
            let event = found.event.as_ref();
            event.is_some_and(|event| self.filter.covers(event))
        };
        Ok(found.filter(covered))
    }
}
