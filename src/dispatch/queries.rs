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
        event::{Label, Payload},
        id::{AttemptId, DeliveryId, DeliveryKey, EndpointId, EventId, Lsn},
        limits,
        outcome::Reason,
        record::{AttemptSettled, EventAccepted},
    },
    storage::{
        StorageError, Unread,
        queries::FoundEvent,
        stored::{EventDetails, EventFacts, StoredAttempt, StoredDelivery},
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
    /// With its payload. Whose the event may be, [`Shared::find_event`] says.
    pub async fn event(&self, id: &EventId, tenant: Option<&Label>) -> Result<EventView, EngineError> {
        let facts = self.0.find_event(id, tenant).await?;
        self.0.event_shown(&facts).await
    }

    pub async fn delivery(&self, id: &DeliveryId) -> Result<DeliveryView, EngineError> {
        let found = self.0.find_delivery(id).await?;
        Ok(self.0.delivery_view(&found))
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

/// What is known of an attempt whose record cannot be read.
fn unread_attempt(id: AttemptId, attempt: &StoredAttempt, why: Unread) -> AttemptView {
    let facts = &attempt.facts;
    AttemptView {
        id,
        delivery_id: attempt.delivery,
        event_id: attempt.event.clone(),
        event_type: facts.event_type.clone(),
        tenant: facts.tenant.clone(),
        endpoint_id: facts.endpoint,
        number: None,
        trigger: None,
        outcome: facts.class,
        reason: Reason::as_str(facts.reason),
        explanation: None,
        status: facts.status,
        started_at: facts.started_at,
        duration_ms: None,
        remote: None,
        location: None,
        next_due: None,
        disabled_endpoint: false,
        body_broken: false,
        response_excerpt: None,
        damaged: why == Unread::Damaged,
    }
}

impl Shared {
    /// The event of an id: within a tenant, if one is given. Otherwise the one without a tenant, or else the only one that
    /// any tenant has.
    ///
    /// # Errors
    /// `NotFound`; `Ambiguous` when several tenants have one.
    pub(super) async fn find_event(
        &self,
        id: &EventId,
        tenant: Option<&Label>,
    ) -> Result<EventFacts, EngineError> {
        match self.data.find_event(id, tenant).await? {
            FoundEvent::None => Err(EngineError::NotFound("event")),
            FoundEvent::One(facts) => Ok(facts),
            FoundEvent::Several => Err(EngineError::Ambiguous),
        }
    }

    pub(super) async fn find_delivery(&self, id: &DeliveryId) -> Result<StoredDelivery, EngineError> {
        let found = self.data.deliveries(vec![id.key]).await?;
        let found = found.into_iter().flatten().next();
        found
            .filter(|found| found.delivery.id() == *id)
            .ok_or(EngineError::NotFound("delivery"))
    }

    /// The whole of an event, or why it cannot be read.
    ///
    /// # Errors
    /// `NotFound` when it has gone with its time.
    pub(super) async fn whole_event(
        &self,
        sequence: Lsn,
    ) -> Result<Result<EventAccepted, Unread>, EngineError> {
        match self.data.event(sequence).await {
            Ok(event) => event.map(Ok).ok_or(EngineError::NotFound("event")),
            Err(StorageError::Damaged) => Ok(Err(Unread::Damaged)),
            Err(StorageError::TimedOut) => Ok(Err(Unread::NotNow)),
            Err(error) => Err(error.into()),
        }
    }

    /// An event with its payload.
    pub(super) async fn event_shown(&self, facts: &EventFacts) -> Result<EventView, EngineError> {
        let event = self.whole_event(facts.sequence).await?;
        let details = event.as_ref().map(EventDetails::of).map_err(|why| *why);
        let payload = event.as_ref().ok().map(|event| &event.payload);
        Ok(self.event_view(facts, &details, payload))
    }

    pub(super) fn event_view(
        &self,
        facts: &EventFacts,
        details: &Result<EventDetails, Unread>,
        payload: Option<&Payload>,
    ) -> EventView {
        let view = match details {
            Ok(details) => event_view(facts, details, payload),
            // What storage knows besides is what there is.
            Err(why) => EventView {
                id: facts.id.clone(),
                event_type: facts.event_type.clone(),
                tenant: facts.tenant.clone(),
                channel: None,
                ordering_key: None,
                accepted_at: facts.accepted_at,
                occurred_at: self.clock.shown(facts.accepted_at),
                deliver_at: None,
                expires_at: None,
                attributes: Default::default(),
                content_type: UNREADABLE.to_owned(),
                size_bytes: 0,
                deliveries: facts.deliveries,
                damaged: *why == Unread::Damaged,
                erased: ErasedView::of(facts),
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

    /// What is known of a delivery, where its event may be lost.
    pub(super) fn delivery_view(&self, found: &StoredDelivery) -> DeliveryView {
        let StoredDelivery { delivery, event } = found;
        let event = event.as_ref();
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

    pub(super) fn attempt_shown(&self, attempt: &StoredAttempt, with_excerpt: bool) -> AttemptView {
        let at = DeliveryKey::new(attempt.sequence, 0);
        let id = AttemptId::new(attempt.facts.started_at, at);
        let view = match &attempt.record {
            Ok(record) => attempt_view(id, attempt.delivery, record, with_excerpt),
            Err(why) => unread_attempt(id, attempt, *why),
        };
        self.clock.show(view)
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

fn event_view(facts: &EventFacts, details: &EventDetails, payload: Option<&Payload>) -> EventView {
    let is_json = details.content_type.is_none();
    let payload = payload.filter(|_| facts.erased.is_none());
    let text = |payload: &Payload| String::from_utf8(payload.bytes.to_vec()).ok();
    EventView {
        id: facts.id.clone(),
        event_type: facts.event_type.clone(),
        tenant: facts.tenant.clone(),
        channel: details.channel.clone(),
        ordering_key: details.ordering_key.clone(),
        accepted_at: facts.accepted_at,
        occurred_at: details.occurred_at,
        deliver_at: (details.due > facts.accepted_at).then_some(details.due),
        expires_at: details.expires_at,
        attributes: details.attributes.clone(),
        content_type: details
            .content_type
            .clone()
            .unwrap_or_else(|| "application/json".to_owned()),
        size_bytes: details.payload_bytes,
        deliveries: facts.deliveries,
        damaged: false,
        erased: ErasedView::of(facts),
        data: payload
            .filter(|_| is_json)
            .and_then(text)
            .and_then(|text| RawValue::from_string(text).ok()),
        data_base64: payload
            .filter(|_| !is_json)
            .map(|payload| STANDARD.encode(&payload.bytes)),
    }
}
