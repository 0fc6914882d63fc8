//! Lists of events, deliveries and attempts, a page at a time.
//!
//! A page is full unless the list has ended; it may be short when the request has no more time, or when its rows fill
//! [`limits::PAGE_BYTES`]. Storage answers it in portions, each of which reads for a few milliseconds; between two of them
//! other requests have their turns. A page that goes back is read backwards from where it is to end.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    engine::{Engine, Shared},
    error::EngineError,
    queries::{Filling, bad_cursor},
    view::{AttemptFilter, AttemptView, DeliveryFilter, DeliveryView, EventFilter, EventView, Listed, Page},
};
use crate::{
    domain::{
        delivery::StageKind,
        event::Label,
        id::{DeliveryKey, EndpointId, EventId, Lsn},
        limits,
        time::Timestamp,
    },
    runtime::work_pool::{Pace, pass},
    storage::{
        StorageError,
        queries::{self, Cursor, Endpoints, List, ListPage, ListRange, next_to},
        stored,
    },
};

/// The time that a request has for reading, beside the CPU time that the work pool gives it.
pub(super) struct Patience(Instant);

impl Patience {
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Lets others have their turns; answers whether the request is to end with what it has.
    pub async fn is_over(&self) -> bool {
        pass().await == Pace::Finish || self.0.elapsed() >= limits::WORK_REQUEST
    }
}

/// A page that is asked for.
struct Turn {
    list: List,
    cursor: Option<Cursor>,
    /// In which direction it is shown.
    ascending: bool,
    limit: usize,
}

impl Turn {
    fn of(list: List, page: &Page) -> Result<Self, EngineError> {
        let cursor: Option<Cursor> = match &page.cursor {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| bad_cursor())?),
        };
        if cursor.is_some_and(|cursor| cursor.list != list) {
            return Err(bad_cursor());
        }
        Ok(Self {
            list,
            cursor,
            ascending: page.ascending,
            limit: page.limit,
        })
    }

    fn is_back(&self) -> bool {
        self.cursor.is_some_and(|cursor| cursor.back)
    }

    /// In which direction it is read.
    fn reads_up(&self) -> bool {
        self.ascending != self.is_back()
    }

    fn text(&self, back: bool, beyond: DeliveryKey) -> String {
        let list = self.list;
        Cursor { list, back, beyond }.to_string()
    }

    /// The cursor back to where the reading came from: in front of its first row, or of where that would have been.
    fn behind(&self, first: Option<DeliveryKey>) -> Option<String> {
        let cursor = self.cursor?;
        let beyond = first.or_else(|| next_to(cursor.beyond, self.reads_up()))?;
        Some(self.text(!cursor.back, beyond))
    }

    /// The page as it is answered.
    fn answer<V>(&self, read: Reading<V>, more: Option<DeliveryKey>) -> Listed<V> {
        let mut data = read.data;
        let onward = more.map(|beyond| self.text(self.is_back(), beyond));
        let behind = self.behind(read.first);
        let (next, previous) = if self.is_back() {
            data.reverse();
            (behind, onward)
        } else {
            (onward, behind)
        };
        Listed {
            data,
            next,
            previous: Some(previous),
        }
    }
}

/// Rows of a page, in the order in which they are read.
struct Reading<V> {
    data: Vec<V>,
    first: Option<DeliveryKey>,
    last: Option<DeliveryKey>,
    filling: Filling,
    is_full: bool,
}

impl<V: Serialize> Reading<V> {
    fn new() -> Self {
        Self {
            data: Vec::new(),
            first: None,
            last: None,
            filling: Filling::default(),
            is_full: false,
        }
    }

    fn take(&mut self, at: DeliveryKey, view: Option<V>, limit: usize) {
        self.first.get_or_insert(at);
        self.last = Some(at);
        if let Some(view) = view {
            self.is_full = self.filling.is_full_with(&view);
            self.data.push(view);
            self.is_full |= self.data.len() == limit;
        }
    }
}

/// What a portion of a list is asked of.
type Portion<'a, T> = BoxFuture<'a, Result<ListPage<T>, StorageError>>;

impl Engine {
    /// # Errors
    /// `Invalid` names a cursor that is none; so for all lists.
    pub async fn events(&self, filter: &EventFilter, page: &Page) -> Result<Listed<EventView>, EngineError> {
        let shared = &self.0;
        let filter = &EventFilter {
            since: shared.past(filter.since),
            until: shared.past(filter.until),
            ..filter.clone()
        };
        let turn = Turn::of(List::Events, page)?;
        let read = |range| shared.data.list_events(filter.clone(), range);
        let show = |event: &stored::StoredEvent| Some(shared.event_view(&event.facts, &event.details, None));
        shared.list(&turn, filter.tenant.as_ref(), read, show).await
    }

    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page,
    ) -> Result<Listed<DeliveryView>, EngineError> {
        let shared = &self.0;
        let stored = &shared.stored_deliveries(filter).await?;
        let turn = Turn::of(List::Deliveries, page)?;
        let read = |range| shared.data.list_deliveries(stored.clone(), range);
        let show = |found: &stored::StoredDelivery| {
            let view = shared.delivery_view(found);
            // An attempt may have begun, or ended, since it was read.
            let is_in_state = filter.state.is_none_or(|state| state == view.state);
            is_in_state.then_some(view)
        };
        shared.list(&turn, filter.tenant.as_ref(), read, show).await
    }

    pub async fn attempts(
        &self,
        filter: &AttemptFilter,
        page: &Page,
    ) -> Result<Listed<AttemptView>, EngineError> {
        let shared = &self.0;
        let tenant = filter.tenant.as_ref();
        let event = shared.sequence_of(filter.event.as_ref(), tenant).await?;
        let delivery = match &filter.delivery {
            None => None,
            Some(id) => Some(shared.find_delivery(id).await?.delivery.key),
        };
        let stored = &queries::AttemptFilter {
            event,
            delivery,
            endpoints: shared.endpoints_for(filter.endpoint, tenant, None),
            outcome: filter.outcome,
            event_type: filter.event_type.clone(),
            tenant: filter.tenant.clone(),
            operational: shared.operational_for(tenant),
            status: filter.status,
            since: shared.past(filter.since),
            until: shared.past(filter.until),
        };
        let turn = Turn::of(List::Attempts, page)?;
        let with_excerpt = event.is_some() || delivery.is_some();
        let read = |range| shared.data.list_attempts(stored.clone(), range);
        let show = |attempt: &stored::StoredAttempt| Some(shared.attempt_shown(attempt, with_excerpt));
        shared.list(&turn, tenant, read, show).await
    }
}

impl Shared {
    pub(super) fn past(&self, at: Option<Timestamp>) -> Option<Timestamp> {
        at.map(|at| self.clock.past(at))
    }

    async fn sequence_of(
        &self,
        event: Option<&EventId>,
        tenant: Option<&Label>,
    ) -> Result<Option<Lsn>, EngineError> {
        match event {
            None => Ok(None),
            Some(id) => Ok(Some(self.find_event(id, tenant).await?.sequence)),
        }
    }

    /// A filter as storage knows it. Which deliveries are out, and which endpoints hold theirs, the engine knows alone.
    async fn stored_deliveries(
        &self,
        filter: &DeliveryFilter,
    ) -> Result<queries::DeliveryFilter, EngineError> {
        let tenant = filter.tenant.as_ref();
        let is_scheduled = matches!(filter.state, Some("in_flight" | "scheduled" | "held"));
        let is_stage = |stage: &StageKind| Some(stage.as_str()) == filter.state;
        let (among, except) = match filter.state {
            Some("in_flight") => (Some(self.in_flight.all()), BTreeSet::new()),
            Some("scheduled" | "held") => (None, self.in_flight.all()),
            _ => (None, BTreeSet::new()),
        };
        Ok(queries::DeliveryFilter {
            event: self.sequence_of(filter.event.as_ref(), tenant).await?,
            endpoints: self.endpoints_for(filter.endpoint, tenant, filter.state),
            stage: match is_scheduled {
                true => Some(StageKind::Scheduled),
                false => StageKind::ALL.into_iter().find(is_stage),
            },
            among,
            except,
            status: None,
            tenant: filter.tenant.clone(),
            operational: self.operational_for(tenant),
            since: self.past(filter.since),
            until: self.past(filter.until),
        })
    }

    /// The endpoints that a filter leaves. Whose a deleted one was nothing says but its rows; one whose configuration cannot
    /// be read holds what it has.
    fn endpoints_for(
        &self,
        only: Option<EndpointId>,
        tenant: Option<&Label>,
        state: Option<&str>,
    ) -> Endpoints {
        let is_another_s = |id: EndpointId| tenant.is_some_and(|own| self.tenant_has(own, id) == Some(false));
        let is_held = |id: EndpointId| match self.registry.get(id) {
            Some(endpoint) => !endpoint.is_active(),
            None => !self.registry.is_deleted(id),
        };
        let is_out = |id: EndpointId| {
            let in_state = match state {
                Some("held") => is_held(id),
                Some("scheduled") => !is_held(id),
                _ => true,
            };
            is_another_s(id) || !in_state
        };
        if let Some(only) = only {
            return Endpoints::Only(Some(only).filter(|id| !is_out(*id)).into_iter().collect());
        }
        if tenant.is_none() && !matches!(state, Some("held" | "scheduled")) {
            return Endpoints::All;
        }
        let known = self.registry.all();
        let known = known.iter().map(|endpoint| endpoint.id);
        let known = known.chain(self.registry.deleted());
        // What nothing is known of is held.
        if state == Some("scheduled") {
            Endpoints::Only(known.filter(|id| !is_out(*id)).collect())
        } else {
            Endpoints::Except(known.filter(|id| is_out(*id)).collect())
        }
    }

    /// Where operational events are a tenant's to see: at its own endpoints.
    fn operational_for(&self, tenant: Option<&Label>) -> Endpoints {
        let Some(tenant) = tenant else {
            return Endpoints::All;
        };
        let all = self.registry.all();
        let own = all
            .iter()
            .filter(|endpoint| endpoint.spec.tenant.as_ref() == Some(tenant));
        Endpoints::Only(own.map(|endpoint| endpoint.id).collect())
    }

    /// Reads a page, or as much of it as the request has time for. One that is full is known to be the last one only when
    /// nothing is found beyond it.
    async fn list<'a, T: stored::Listed + Send, V: Serialize + Send>(
        &self,
        turn: &Turn,
        tenant: Option<&Label>,
        read: impl Fn(ListRange) -> Portion<'a, T> + Send,
        show: impl Fn(&T) -> Option<V> + Send,
    ) -> Result<Listed<V>, EngineError> {
        let patience = Patience::begin();
        let mut reading = Reading::new();
        let mut beyond = turn.cursor.map(|cursor| cursor.beyond);
        loop {
            let range = ListRange {
                beyond,
                ascending: turn.reads_up(),
                limit: turn.limit + 1 - reading.data.len(),
            };
            let portion = {
                let _one_of_a_tenant = self.listing_of(tenant).await;
                read(range).await?
            };
            for row in portion.rows {
                if reading.is_full {
                    let more = reading.last;
                    return Ok(turn.answer(reading, more));
                }
                reading.take(row.position(), show(&row), turn.limit);
            }
            beyond = portion.next;
            if beyond.is_none() || patience.is_over().await {
                return Ok(turn.answer(reading, beyond));
            }
        }
    }
}
