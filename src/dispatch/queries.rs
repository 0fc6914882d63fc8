//! Questions: single things, as they are shown; `lists` has the others.
//!
//! A question sees everything that was durable before it was asked.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    engine::{Engine, Shared},
    error::EngineError,
    view::{AttemptView, DeliveryView, ErasedView, EventView, LastOutcome, Listed, Page},
    weight,
};
use crate::{
    domain::{
        delivery::{Delivery, LastAttempt, Stage},
        event::Label,
        id::{AttemptId, DeliveryId, DeliveryKey, EndpointId, EventId, Lsn},
        limits,
        outcome::Reason,
        record::{AttemptSettled, EventAccepted},
    },
    runtime::work_pool::pass,
    storage::Unread,
    storage::local::index::{
        Store, StoreError,
        rows::{AttemptRow, EventRow},
    },
};

/// The media type of an event whose record cannot be read.
pub(super) const UNREADABLE: &str = "unreadable";

/// What to do about a cursor that is none of ours.
pub(super) fn bad_cursor() -> EngineError {
    EngineError::Invalid {
        field: "cursor".to_owned(),
        rule: "is not one that a list answered with; leave it out to begin anew".to_owned(),
    }
}

impl Engine {
    /// With its payload. Whose the event may be, [`Shared::event_row`] says.
    pub async fn event(&self, id: &EventId, tenant: Option<&Label>) -> Result<EventView, EngineError> {
        let store = self.0.everything().await?;
        let (lsn, row) = self.0.event_row(&store, id, tenant)?;
        Ok(self.0.event_view(lsn, &row, true))
    }

    pub async fn delivery(&self, id: &DeliveryId) -> Result<DeliveryView, EngineError> {
        let store = self.0.everything().await?;
        let delivery = self.0.delivery_row(&store, id)?;
        self.0
            .delivery_shown(&store, &delivery)
            .ok_or(EngineError::NotFound("delivery"))
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
    Ok(Listed {
        data,
        next,
        previous: None,
    })
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
        event_id: Some(attempt.event_id.clone()),
        event_type: attempt.event_type.clone(),
        tenant: attempt.tenant.clone(),
        endpoint_id: attempt.endpoint,
        number: Some(attempt.number),
        trigger: Some(attempt.trigger),
        outcome: attempt.class,
        reason: Reason::as_str(attempt.reason),
        explanation: attempt.reason.explanation().filter(|_| with_excerpt),
        status: attempt.status,
        started_at: attempt.started_at,
        duration_ms: Some(attempt.duration_millis),
        remote: attempt.remote.clone(),
        location: attempt.location.clone(),
        next_due: attempt.delivery.and(attempt.stage.due()),
        disabled_endpoint: attempt.disable.is_some(),
        body_broken: attempt.body_broken,
        response_excerpt: (with_excerpt && !attempt.excerpt.is_empty()).then(excerpt),
        damaged: false,
    }
}

/// What its row says of an attempt whose record cannot be read.
fn unread_attempt(
    id: AttemptId,
    delivery_id: Option<DeliveryId>,
    row: &AttemptRow,
    event_id: Option<EventId>,
    damaged: bool,
) -> AttemptView {
    AttemptView {
        id,
        delivery_id,
        event_id,
        event_type: row.event_type.clone(),
        tenant: row.tenant.clone(),
        endpoint_id: row.endpoint,
        number: None,
        trigger: None,
        outcome: row.class,
        reason: Reason::as_str(row.reason),
        explanation: None,
        status: row.status,
        started_at: row.started_at,
        duration_ms: None,
        remote: None,
        location: None,
        next_due: None,
        disabled_endpoint: false,
        body_broken: false,
        response_excerpt: None,
        damaged,
    }
}

impl Shared {
    /// The store with everything that is durable by now.
    pub(super) async fn everything(&self) -> Result<Store, EngineError> {
        Ok(self.storage.caught_up_with(self.journal.last_lsn()).await?)
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
                content_type: UNREADABLE.to_owned(),
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
    pub(super) fn state_of(&self, delivery: &Delivery) -> &'static str {
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
        self.delivery_of(delivery, Some(event))
    }

    /// What is known of a delivery, where its event may be lost.
    fn delivery_of(&self, delivery: &Delivery, event: Option<&EventRow>) -> DeliveryView {
        self.clock.show(DeliveryView {
            id: delivery.id(),
            event_id: event.map(|event| event.id.clone()),
            event_type: event.map(|event| event.event_type.clone()),
            tenant: event.and_then(|event| event.tenant.clone()),
            endpoint_id: delivery.endpoint,
            state: self.state_of(delivery),
            due: delivery.stage.due(),
            held_because: self.held_because(delivery),
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            expires_at: delivery.expires_at,
            settled_at: delivery.settled_at,
            last_outcome: delivery.last.map(last_outcome),
            damaged: event.is_none(),
        })
    }

    /// A delivery as it is shown; nothing when it was forgotten since its row was read.
    pub(super) fn delivery_shown(&self, store: &Store, delivery: &Delivery) -> Option<DeliveryView> {
        let event = store.event(delivery.event);
        match event.map_err(|error| self.storage.failure(error)) {
            Ok(Some(event)) => Some(self.delivery_view(delivery, &event)),
            Ok(None) if store.delivery(delivery.key).is_ok_and(|row| row.is_none()) => None,
            Ok(None) | Err(_) => Some(self.delivery_of(delivery, None)),
        }
    }

    /// An attempt as it is shown; nothing when it was forgotten since its row was read. Of one whose record cannot be read
    /// the row says what it has.
    pub(super) fn attempt_shown(
        &self,
        store: &Store,
        lsn: Lsn,
        row: &AttemptRow,
        with_excerpt: bool,
    ) -> Option<AttemptView> {
        let delivery = row.delivery.and_then(|key| store.delivery(key).ok().flatten());
        let of = delivery.map(|delivery| delivery.id());
        let id = AttemptId::new(row.started_at, DeliveryKey::new(lsn, 0));
        let view = match self.local.attempt_or_why(lsn, row.place) {
            Ok(attempt) => attempt_view(id, of, &attempt, with_excerpt),
            Err(None) => return None,
            Err(Some(why)) => {
                let event = delivery.and_then(|delivery| store.event(delivery.event).ok().flatten());
                let damaged = why == Unread::Damaged;
                unread_attempt(id, of, row, event.map(|event| event.id), damaged)
            }
        };
        Some(self.clock.show(view))
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
