//! Lists of events, deliveries and attempts, a page at a time.
//!
//! A page is full unless the list has ended; it may be short when the request has no more time, or when its rows fill
//! [`limits::PAGE_BYTES`]. A page that goes back is read backwards from where it is to end.

use serde::Serialize;

use super::{
    engine::{Engine, Shared},
    error::EngineError,
    queries::{Filling, bad_cursor},
    view::{AttemptFilter, AttemptView, DeliveryFilter, DeliveryView, EventFilter, EventView, Listed, Page},
};
use crate::{
    domain::{
        delivery::{Delivery, StageKind},
        event::Label,
        id::{DeliveryKey, EndpointId},
        limits,
        time::Timestamp,
    },
    runtime::work_pool::{Pace, pass},
    storage::{
        local::index::{
            Store,
            listing::{self, Look, Plan},
            rows::{AttemptRow, EventRow},
        },
        queries::{self, Cursor, Endpoints, List, next_to},
    },
};

/// Rows of a page, in the order in which they were read.
struct Read<T> {
    rows: Vec<(DeliveryKey, T)>,
    /// The list goes on beyond this position.
    more: Option<DeliveryKey>,
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
}

impl Engine {
    /// # Errors
    /// `Invalid` names a cursor that is none; so for all lists.
    pub async fn events(&self, filter: &EventFilter, page: &Page) -> Result<Listed<EventView>, EngineError> {
        let shared = &self.0;
        let store = shared.everything().await?;
        let filter = &EventFilter {
            since: shared.past(filter.since),
            until: shared.past(filter.until),
            ..filter.clone()
        };
        let plan = store.plan_events(filter);
        let plan = plan.map_err(|error| shared.storage.failure(error))?;
        let turn = Turn::of(List::Events, page)?;
        let wanted = |row: &EventRow| filter.matches(row);
        let read = shared.read(&store, &plan, &turn, wanted).await?;
        // Marks are hashes, and two texts may have one: the record tells.
        let is_it = |view: &EventView| {
            view.content_type == super::queries::UNREADABLE
                || filter
                    .attributes
                    .iter()
                    .all(|(name, value)| view.attributes.get(name) == Some(value))
        };
        Ok(shown(&turn, read, |at, row| {
            Some(shared.event_view(at.lsn, row, false)).filter(is_it)
        })
        .await)
    }

    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page,
    ) -> Result<Listed<DeliveryView>, EngineError> {
        let shared = &self.0;
        let store = shared.everything().await?;
        let tenant = filter.tenant.as_ref();
        let event = match &filter.event {
            None => None,
            Some(id) => Some(shared.event_row(&store, id, tenant)?.0),
        };
        let (stage, among) = match filter.state {
            Some("in_flight") => (Some(StageKind::Scheduled), Some(shared.in_flight.all())),
            Some("scheduled" | "held") => (Some(StageKind::Scheduled), None),
            state => (
                StageKind::ALL
                    .into_iter()
                    .find(|stage| Some(stage.as_str()) == state),
                None,
            ),
        };
        let stored = queries::DeliveryFilter {
            event,
            endpoints: shared.endpoints_for(filter.endpoint, tenant, filter.state),
            stage,
            among,
            since: shared.past(filter.since),
            until: shared.past(filter.until),
        };
        let wanted = |row: &Delivery| {
            stored.matches(row)
                && filter.state.is_none_or(|state| state == shared.state_of(row))
                && tenant.is_none_or(|tenant| shared.is_delivery_of(&store, tenant, row))
        };
        let plan = store.plan_deliveries(&stored);
        let plan = plan.map_err(|error| shared.storage.failure(error))?;
        let turn = Turn::of(List::Deliveries, page)?;
        let read = shared.read(&store, &plan, &turn, wanted).await?;
        Ok(shown(&turn, read, |_, row| shared.delivery_shown(&store, row)).await)
    }

    pub async fn attempts(
        &self,
        filter: &AttemptFilter,
        page: &Page,
    ) -> Result<Listed<AttemptView>, EngineError> {
        let shared = &self.0;
        let store = shared.everything().await?;
        let tenant = filter.tenant.as_ref();
        let event = match &filter.event {
            None => None,
            Some(id) => Some(shared.event_row(&store, id, tenant)?.0),
        };
        let delivery = match &filter.delivery {
            None => None,
            Some(id) => Some(shared.delivery_row(&store, id)?.key),
        };
        let stored = queries::AttemptFilter {
            event,
            delivery,
            endpoints: shared.endpoints_for(filter.endpoint, tenant, None),
            outcome: filter.outcome,
            event_type: filter.event_type.clone(),
            tenant: filter.tenant.clone(),
            status: filter.status,
            since: shared.past(filter.since),
            until: shared.past(filter.until),
        };
        let wanted = |row: &AttemptRow| {
            stored.matches(row)
                && tenant.is_none_or(|tenant| shared.goes_to_own(tenant, row.endpoint, &row.event_type))
        };
        let plan = store.plan_attempts(&stored);
        let plan = plan.map_err(|error| shared.storage.failure(error))?;
        let turn = Turn::of(List::Attempts, page)?;
        let read = shared.read(&store, &plan, &turn, wanted).await?;
        let with_excerpt = event.is_some() || delivery.is_some();
        Ok(shown(&turn, read, |at, row| {
            shared.attempt_shown(&store, at.lsn, row, with_excerpt)
        })
        .await)
    }
}

impl Shared {
    fn past(&self, at: Option<Timestamp>) -> Option<Timestamp> {
        at.map(|at| self.clock.past(at))
    }

    /// The endpoints that a filter leaves. Whose a deleted one was nothing says but its rows.
    fn endpoints_for(
        &self,
        only: Option<EndpointId>,
        tenant: Option<&Label>,
        state: Option<&str>,
    ) -> Endpoints {
        let is_out = |id: EndpointId| {
            let endpoint = self.registry.get(id);
            endpoint.is_some_and(|endpoint| {
                let is_held = !endpoint.is_active();
                tenant.is_some_and(|tenant| endpoint.spec.tenant.as_ref() != Some(tenant))
                    || (state == Some("held") && !is_held)
                    || (state == Some("scheduled") && is_held)
            })
        };
        if let Some(only) = only {
            return Endpoints::Only(Some(only).filter(|id| !is_out(*id)).into_iter().collect());
        }
        if tenant.is_none() && !matches!(state, Some("held" | "scheduled")) {
            return Endpoints::All;
        }
        let all = self.registry.all();
        let ids = all.iter().map(|endpoint| endpoint.id);
        Endpoints::Except(ids.filter(|id| is_out(*id)).collect())
    }

    /// Reads a page, or as much of it as the request has time for.
    async fn read<T: listing::Listed + Send>(
        &self,
        store: &Store,
        plan: &Plan,
        turn: &Turn,
        keep: impl Fn(&T) -> bool,
    ) -> Result<Read<T>, EngineError> {
        let beyond = turn.cursor.map(|cursor| cursor.beyond);
        let mut lister = store.lister::<T>(plan, beyond, turn.reads_up());
        let (mut rows, mut looks) = (Vec::new(), 0_usize);
        loop {
            match lister.look().map_err(|error| self.storage.failure(error))? {
                Look::End => return Ok(Read { rows, more: None }),
                Look::Row(at, row) if keep(&row) => {
                    if rows.len() == turn.limit {
                        let more = rows.last().map(|(at, _)| *at);
                        return Ok(Read { rows, more });
                    }
                    rows.push((at, row));
                }
                Look::Row(..) | Look::Passed => {}
            }
            looks += 1;
            if looks.is_multiple_of(limits::WORK_LOOKS) && pass().await == Pace::Finish {
                let more = lister.at().and_then(|at| next_to(at, !turn.reads_up()));
                return Ok(Read { rows, more });
            }
        }
    }
}

/// Shows what was read, as much as the request has time for and a page may hold.
async fn shown<T, V: Serialize>(
    turn: &Turn,
    read: Read<T>,
    show: impl Fn(DeliveryKey, &T) -> Option<V>,
) -> Listed<V> {
    let (mut data, mut filling, mut more) = (Vec::new(), Filling::default(), read.more);
    let first = read.rows.first().map(|(at, _)| *at);
    for ((at, row), place) in read.rows.iter().zip(1..) {
        let view = show(*at, row);
        let is_full = view.as_ref().is_some_and(|view| filling.is_full_with(view));
        data.extend(view);
        if (pass().await == Pace::Finish || is_full) && place < read.rows.len() {
            more = Some(*at);
            break;
        }
    }
    let onward = more.map(|beyond| turn.text(turn.is_back(), beyond));
    let behind = turn.behind(first);
    let (next, previous) = if turn.is_back() {
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
