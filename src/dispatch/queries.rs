//! Questions: lists and single things, as they are shown.
//!
//! A question sees everything that was durable before it was asked. Lists are windows over the store; a page whose
//! filter is rare may be short and still have a `next`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    codec,
    engine::{Engine, Shared},
    error::EngineError,
    view::{
        AttemptFilter, AttemptView, DeliveryFilter, DeliveryView, ErasedView, EventFilter, EventView,
        LastOutcome, Listed, Page,
    },
    weight,
};
use crate::{
    domain::{
        delivery::{Delivery, LastAttempt, Stage},
        event::Label,
        id::{AttemptId, DeliveryId, DeliveryKey, EndpointId, EventId, Lsn},
        limits,
        outcome::Reason,
        record::{AttemptSettled, EventAccepted, Record},
        time::Timestamp,
    },
    runtime::{
        hex,
        work_pool::{Pace, pass},
    },
    storage::Unread,
    storage::local::index::{
        Store, StoreError, keys,
        query::{Rows, Window},
        rows::{AttemptRow, EventRow, Row},
    },
    storage::local::journal::Entry,
};

/// What to do about a cursor that is none of ours.
pub(super) fn bad_cursor() -> EngineError {
    EngineError::Invalid {
        field: "cursor".to_owned(),
        rule: "is not one that a list answered with; leave it out to begin anew".to_owned(),
    }
}

impl Engine {
    pub async fn events(&self, filter: &EventFilter, page: &Page) -> Result<Listed<EventView>, EngineError> {
        let shared = &self.0;
        let store = shared.everything().await?;
        let past = |at: Option<Timestamp>| at.map(|at| shared.clock.past(at));
        let (since, until) = (past(filter.since), past(filter.until));
        let wanted = |row: &EventRow| {
            filter
                .event_type
                .as_ref()
                .is_none_or(|wanted| *wanted == row.event_type)
                && filter
                    .tenant
                    .as_ref()
                    .is_none_or(|wanted| row.tenant.as_ref() == Some(wanted))
                && since.is_none_or(|since| row.accepted_at >= since)
                && until.is_none_or(|until| row.accepted_at <= until)
        };
        let rows = shared.list(&store, keys::EVENT, page, wanted).await?;
        Ok(listed(rows, |key, row| {
            Some(shared.event_view(keys::lsn_in(key), row, false))
        })
        .await)
    }

    /// With its payload. Whose the event may be, [`Shared::event_row`] says.
    pub async fn event(&self, id: &EventId, tenant: Option<&Label>) -> Result<EventView, EngineError> {
        let store = self.0.everything().await?;
        let (lsn, row) = self.0.event_row(&store, id, tenant)?;
        Ok(self.0.event_view(lsn, &row, true))
    }

    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &Page,
    ) -> Result<Listed<DeliveryView>, EngineError> {
        let shared = &self.0;
        let store = shared.everything().await?;
        let wanted = |delivery: &Delivery| {
            filter
                .endpoint
                .is_none_or(|endpoint| endpoint == delivery.endpoint)
                && filter
                    .state
                    .is_none_or(|state| state == shared.state_of(delivery))
                && filter
                    .tenant
                    .as_ref()
                    .is_none_or(|tenant| shared.is_delivery_of(&store, tenant, delivery))
        };
        if let Some(id) = &filter.event {
            let (lsn, row) = shared.event_row(&store, id, filter.tenant.as_ref())?;
            let failure = |error| shared.storage.failure(error);
            let mut found = store
                .deliveries_of(lsn, shared.options.max_endpoints)
                .map_err(failure)?;
            found.retain(wanted);
            if !page.ascending {
                found.reverse();
            }
            let rows = rows_of(&found, page)?;
            let cursor = |(place, _): &(usize, &Delivery)| place.to_string();
            return Ok(filled(rows, page.limit, cursor, |(_, delivery)| {
                Some(shared.delivery_view(delivery, &row))
            }));
        }
        let rows = shared.list(&store, keys::DELIVERY, page, wanted).await?;
        Ok(listed(rows, |_, delivery| shared.shown(&store, delivery)).await)
    }

    pub async fn delivery(&self, id: &DeliveryId) -> Result<DeliveryView, EngineError> {
        let store = self.0.everything().await?;
        let delivery = self.0.delivery_row(&store, id)?;
        self.0
            .shown(&store, &delivery)
            .ok_or(EngineError::NotFound("delivery"))
    }

    pub async fn attempts(
        &self,
        filter: &AttemptFilter,
        page: &Page,
    ) -> Result<Listed<AttemptView>, EngineError> {
        let shared = &self.0;
        let store = shared.everything().await?;
        let past = |at: Option<Timestamp>| at.map(|at| shared.clock.past(at));
        let filter = &AttemptFilter {
            since: past(filter.since),
            until: past(filter.until),
            ..filter.clone()
        };
        let wanted = |row: &AttemptRow| {
            let is_own = |tenant| shared.goes_to_own(tenant, row.endpoint, &row.event_type);
            matches_attempt(filter, row) && filter.tenant.as_ref().is_none_or(is_own)
        };
        let deliveries = match (&filter.delivery, &filter.event) {
            (Some(id), _) => Some(vec![shared.delivery_row(&store, id)?]),
            (None, Some(id)) => {
                let (lsn, _) = shared.event_row(&store, id, filter.tenant.as_ref())?;
                let found = store.deliveries_of(lsn, shared.options.max_endpoints);
                Some(found.map_err(|error| shared.storage.failure(error))?)
            }
            (None, None) => None,
        };
        let Some(deliveries) = deliveries else {
            let rows = shared.list(&store, keys::ATTEMPT, page, wanted).await?;
            let show =
                |key: &[u8], row: &AttemptRow| shared.attempt_shown(&store, keys::lsn_in(key), row, false);
            return Ok(listed(rows, show).await);
        };
        let found = shared.history(&store, &deliveries).await;
        let mut found = found.map_err(|error| shared.storage.failure(error))?;
        found.retain(|(_, row)| wanted(row));
        found.sort_unstable_by_key(|(lsn, _)| *lsn);
        if !page.ascending {
            found.reverse();
        }
        let rows = rows_of(&found, page)?;
        let cursor = |(place, _): &(usize, &(Lsn, AttemptRow))| place.to_string();
        Ok(filled_in_time(rows, page.limit, cursor, |(_, (lsn, row))| {
            shared.attempt_shown(&store, *lsn, row, true)
        })
        .await)
    }
}

fn matches_attempt(filter: &AttemptFilter, row: &AttemptRow) -> bool {
    filter.endpoint.is_none_or(|endpoint| endpoint == row.endpoint)
        && filter
            .event_type
            .as_ref()
            .is_none_or(|wanted| *wanted == row.event_type)
        && filter
            .tenant
            .as_ref()
            .is_none_or(|wanted| row.tenant.as_ref() == Some(wanted))
        && filter.outcome.is_none_or(|outcome| outcome == row.class)
        && filter.status.is_none_or(|status| row.status == Some(status))
        && filter.since.is_none_or(|since| row.started_at >= since)
        && filter.until.is_none_or(|until| row.started_at <= until)
}

/// Shows rows, as many as the request has time for and a page may hold.
async fn listed<T, V: Serialize>(rows: Rows<T>, show: impl Fn(&[u8], &T) -> Option<V>) -> Listed<V> {
    let stopped_at = rows.stopped_at.map(|key| hex::encode(&key));
    let cursor = |(key, _): &(Vec<u8>, T)| hex::encode(key);
    let page = filled_in_time(rows.found, usize::MAX, cursor, |(key, row)| show(key, row)).await;
    Listed {
        next: page.next.or(stopped_at),
        ..page
    }
}

/// How much of a page's bytes its rows have filled.
#[derive(Default)]
pub(super) struct Filling(usize);

impl Filling {
    /// Whether the page ends with this row, which would be its next one.
    pub fn is_full_with(&mut self, row: &impl Serialize) -> bool {
        self.0 += weight::of_json(row);
        self.0 >= limits::PAGE_BYTES
    }
}

/// A page of rows, which ends early once they have [`limits::PAGE_BYTES`] as JSON. `rows` has one more than `limit` where
/// there is more.
pub(super) fn filled<T, V: Serialize>(
    rows: Vec<T>,
    limit: usize,
    cursor: impl Fn(&T) -> String,
    show: impl Fn(&T) -> Option<V>,
) -> Listed<V> {
    let (mut page, mut filling) = (Listed::empty(), Filling::default());
    for (row, place) in rows.iter().zip(1..) {
        let view = show(row);
        let is_full = view.as_ref().is_some_and(|view| filling.is_full_with(view));
        page.data.extend(view);
        if (is_full || place == limit) && place < rows.len() {
            page.next = Some(cursor(row));
            break;
        }
    }
    page
}

/// The same, which also ends when the request has no more time.
async fn filled_in_time<T, V: Serialize>(
    rows: Vec<T>,
    limit: usize,
    cursor: impl Fn(&T) -> String,
    show: impl Fn(&T) -> Option<V>,
) -> Listed<V> {
    let (mut page, mut filling) = (Listed::empty(), Filling::default());
    for (row, place) in rows.iter().zip(1..) {
        let view = show(row);
        let is_full = view.as_ref().is_some_and(|view| filling.is_full_with(view));
        page.data.extend(view);
        if (pass().await == Pace::Finish || is_full || place == limit) && place < rows.len() {
            page.next = Some(cursor(row));
            break;
        }
    }
    page
}

/// The rows of a page of what is held in memory, by their number, which is the cursor; one more than the page has, where
/// there is more.
fn rows_of<'a, T>(all: &'a [T], page: &Page) -> Result<Vec<(usize, &'a T)>, EngineError> {
    let skip: usize = match &page.cursor {
        None => 0,
        Some(text) => text.parse().map_err(|_| bad_cursor())?,
    };
    let more = page.limit.saturating_add(1);
    Ok((1..).zip(all).skip(skip).take(more).collect())
}

/// A page of ids, which are given in ascending order; its cursor is the last id.
pub(super) fn page_after(mut all: Vec<EndpointId>, page: &Page) -> Result<Listed<EndpointId>, EngineError> {
    let beyond: Option<EndpointId> = match &page.cursor {
        None => None,
        Some(cursor) => Some(cursor.parse().map_err(|_| bad_cursor())?),
    };
    if !page.ascending {
        all.reverse();
    }
    let passed = |id: &EndpointId| match (beyond, page.ascending) {
        (None, _) => false,
        (Some(beyond), true) => *id <= beyond,
        (Some(beyond), false) => *id >= beyond,
    };
    let mut rest = all.into_iter().skip_while(passed);
    let data: Vec<EndpointId> = rest.by_ref().take(page.limit).collect();
    let next = rest.next().and(data.last()).map(ToString::to_string);
    Ok(Listed { data, next })
}

/// An attempt as it is shown.
pub(super) fn attempt_view(
    id: AttemptId,
    delivery_id: Option<DeliveryId>,
    attempt: &AttemptSettled,
    with_excerpt: bool,
) -> AttemptView {
    let excerpt = || String::from_utf8_lossy(&attempt.excerpt).into_owned();
    AttemptView {
        id,
        delivery_id,
        event_id: attempt.event_id.clone(),
        event_type: attempt.event_type.clone(),
        tenant: attempt.tenant.clone(),
        endpoint_id: attempt.endpoint,
        number: attempt.number,
        trigger: attempt.trigger,
        outcome: attempt.class,
        reason: Reason::as_str(attempt.reason),
        explanation: attempt.reason.explanation().filter(|_| with_excerpt),
        status: attempt.status,
        started_at: attempt.started_at,
        duration_ms: attempt.duration_millis,
        remote: attempt.remote.clone(),
        location: attempt.location.clone(),
        next_due: attempt.delivery.and(attempt.stage.due()),
        disabled_endpoint: attempt.disable.is_some(),
        body_broken: attempt.body_broken,
        response_excerpt: (with_excerpt && !attempt.excerpt.is_empty()).then(excerpt),
    }
}

impl Shared {
    /// The store with everything that is durable by now.
    pub(super) async fn everything(&self) -> Result<Store, EngineError> {
        Ok(self.storage.caught_up_with(self.journal.last_lsn()).await?)
    }

    /// Rows of a kind, up to a page of them, or as many as the request has time to look at.
    async fn list<T: Row + Send>(
        &self,
        store: &Store,
        kind: u8,
        page: &Page,
        keep: impl Fn(&T) -> bool,
    ) -> Result<Rows<T>, EngineError> {
        let beyond = match &page.cursor {
            None => None,
            Some(text) => Some(
                hex::decode(text)
                    .filter(|key| key.first() == Some(&kind))
                    .ok_or_else(bad_cursor)?,
            ),
        };
        let mut window = Window {
            prefix: vec![kind],
            beyond,
            ascending: page.ascending,
            limit: page.limit,
            looks: limits::WORK_LOOKS,
        };
        let (mut found, mut looked) = (Vec::new(), 0);
        loop {
            let rows = store
                .window(&window, |_, row| keep(row))
                .map_err(|error| self.storage.failure(error))?;
            found.extend(rows.found);
            looked += limits::WORK_LOOKS;
            let finish = pass().await == Pace::Finish;
            let stopped_at = rows.stopped_at;
            if finish || stopped_at.is_none() || found.len() >= page.limit || looked >= limits::PAGE_SCAN {
                return Ok(Rows { found, stopped_at });
            }
            window.limit = page.limit - found.len();
            window.beyond = stopped_at;
        }
    }

    /// The event of an id: within a tenant, if one is given. Otherwise the one without a tenant, or else the only one that
    /// any tenant has.
    ///
    /// # Errors
    /// `NotFound`; `Ambiguous` when several tenants have one.
    pub(super) fn event_row(
        &self,
        store: &Store,
        id: &EventId,
        tenant: Option<&Label>,
    ) -> Result<(Lsn, EventRow), EngineError> {
        let failure = |error| self.storage.failure(error);
        if tenant.is_some() {
            let found = store.event_of(tenant, id).map_err(failure)?;
            return found.ok_or(EngineError::NotFound("event"));
        }
        // Two tell that there are several.
        let mut found = store.events_named(id, 2).map_err(failure)?.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Err(EngineError::NotFound("event")),
            (Some((_, EventRow { tenant: Some(_), .. })), Some(_)) => Err(EngineError::Ambiguous),
            (Some(found), _) => Ok(found),
        }
    }

    pub(super) fn delivery_row(&self, store: &Store, id: &DeliveryId) -> Result<Delivery, EngineError> {
        let found = store
            .delivery(id.key)
            .map_err(|error| self.storage.failure(error))?;
        found
            .filter(|delivery| delivery.id() == *id)
            .ok_or(EngineError::NotFound("delivery"))
    }

    pub(super) fn event_view(&self, lsn: Lsn, row: &EventRow, with_payload: bool) -> EventView {
        let view = match self.event_or_why(lsn, row.place) {
            Ok(accepted) => event_view(row, &accepted, with_payload),
            // What the store knows is what there is.
            Err(why) => EventView {
                id: row.id.clone(),
                event_type: row.event_type.clone(),
                tenant: row.tenant.clone(),
                channel: None,
                ordering_key: None,
                accepted_at: row.accepted_at,
                occurred_at: self.clock.shown(row.accepted_at),
                deliver_at: None,
                expires_at: None,
                attributes: Default::default(),
                content_type: "unreadable".to_owned(),
                size_bytes: 0,
                deliveries: row.deliveries,
                damaged: why == Unread::Damaged,
                erased: ErasedView::of(row),
                data: None,
                data_base64: None,
            },
        };
        self.clock.show(view)
    }

    /// `scheduled`, `in_flight`, `held`, or how it ended.
    fn state_of(&self, delivery: &Delivery) -> &'static str {
        match delivery.stage {
            Stage::Scheduled { .. } if self.in_flight.contains(delivery.key) => "in_flight",
            Stage::Scheduled { .. } if self.is_held(delivery) => "held",
            stage => stage.as_str(),
        }
    }

    /// What is for an endpoint of which nothing can be read stays until a person ends it.
    fn is_held(&self, delivery: &Delivery) -> bool {
        let is_unknown = || {
            let id = delivery.endpoint;
            self.registry.get(id).is_none() && !self.registry.is_deleted(id)
        };
        self.held_because(delivery).is_some() || is_unknown()
    }

    fn held_because(&self, delivery: &Delivery) -> Option<crate::domain::endpoint::EndpointState> {
        let endpoint = self.registry.get(delivery.endpoint)?;
        (!endpoint.is_active() && !delivery.stage.is_final()).then_some(endpoint.standing.state)
    }

    pub(super) fn delivery_view(&self, delivery: &Delivery, event: &EventRow) -> DeliveryView {
        self.clock.show(DeliveryView {
            id: delivery.id(),
            event_id: event.id.clone(),
            event_type: event.event_type.clone(),
            tenant: event.tenant.clone(),
            endpoint_id: delivery.endpoint,
            state: self.state_of(delivery),
            due: delivery.stage.due(),
            held_because: self.held_because(delivery),
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            expires_at: delivery.expires_at,
            settled_at: delivery.settled_at,
            last_outcome: delivery.last.map(last_outcome),
        })
    }

    fn shown(&self, store: &Store, delivery: &Delivery) -> Option<DeliveryView> {
        let event = store
            .event(delivery.event)
            .map_err(|error| self.storage.failure(error))
            .ok()??;
        Some(self.delivery_view(delivery, &event))
    }

    pub(super) fn attempt_shown(
        &self,
        store: &Store,
        lsn: Lsn,
        row: &AttemptRow,
        with_excerpt: bool,
    ) -> Option<AttemptView> {
        let is_it = |entry: &Entry| entry.lsn == lsn;
        let entry = self.journal.read_where(codec::location(row.place), is_it).ok()?;
        let Ok(Record::AttemptSettled(attempt)) = codec::decode(&entry) else {
            return None;
        };
        let delivery = row.delivery.and_then(|key| store.delivery(key).ok().flatten());
        let id = AttemptId::new(row.started_at, DeliveryKey::new(lsn, 0));
        let of = delivery.map(|delivery| delivery.id());
        Some(self.clock.show(attempt_view(id, of, &attempt, with_excerpt)))
    }

    /// All attempts of some deliveries, found from each delivery's newest one.
    pub(super) async fn history(
        &self,
        store: &Store,
        deliveries: &[Delivery],
    ) -> Result<Vec<(Lsn, AttemptRow)>, StoreError> {
        let mut found = Vec::new();
        for delivery in deliveries {
            let mut next = delivery.last.map(|last| last.lsn);
            while let Some(lsn) = next.take() {
                let Some(row) = store.attempt(lsn)? else {
                    break;
                };
                next = row.previous;
                found.push((lsn, row));
                pass().await;
            }
        }
        Ok(found)
    }
}

fn last_outcome(last: LastAttempt) -> LastOutcome {
    LastOutcome {
        attempt_id: AttemptId::new(last.at, DeliveryKey::new(last.lsn, 0)),
        at: last.at,
        outcome: last.class,
        reason: Reason::as_str(last.reason),
        status: last.status,
    }
}

fn event_view(row: &EventRow, accepted: &EventAccepted, with_payload: bool) -> EventView {
    let payload = &accepted.payload;
    let is_json = payload.content_type.is_none();
    let with_payload = with_payload && row.erased.is_none();
    let text = || String::from_utf8(payload.bytes.to_vec()).ok();
    EventView {
        id: row.id.clone(),
        event_type: row.event_type.clone(),
        tenant: row.tenant.clone(),
        channel: accepted.channel.clone(),
        ordering_key: accepted.ordering_key.clone(),
        accepted_at: row.accepted_at,
        occurred_at: accepted.occurred_at,
        deliver_at: (accepted.due > accepted.accepted_at).then_some(accepted.due),
        expires_at: accepted.expires_at,
        attributes: accepted.attributes.clone(),
        content_type: payload
            .content_type
            .clone()
            .unwrap_or_else(|| "application/json".to_owned()),
        size_bytes: payload.bytes.len() as u64,
        deliveries: row.deliveries,
        damaged: false,
        erased: ErasedView::of(row),
        data: (with_payload && is_json)
            .then(text)
            .flatten()
            .and_then(|text| RawValue::from_string(text).ok()),
        data_base64: (with_payload && !is_json).then(|| STANDARD.encode(&payload.bytes)),
    }
}
