//! One attempt: read the event, make the request, send it, say what was seen.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::HeaderValue;
use tokio::time::Instant;

use super::{
    detail::{self, Asked},
    engine::{EngineOptions, Shared},
    error::chain,
    slots::Slot,
    weight,
};
use crate::{
    domain::{
        delivery::{Progress, Stage, Trigger},
        duration::Span,
        endpoint::Endpoint,
        event::{EventType, Label},
        facts::Facts,
        handshake::Handshake,
        health::Health,
        id::{EndpointId, EventId},
        limits,
        outcome::{Class, Fault, Observation, Outcome, Reason, RetryAfter, classify},
        record::{AttemptSettled, EventAccepted},
        time::Timestamp,
    },
    runtime::{clock, memory::Lease, work_pool::Owner},
    sender::{AttemptLimits, Exchange, KeptHeaders, Unreached, Way},
    storage::{Unread, schedule::DueDelivery},
    wire::{
        self,
        encoding::Encoding,
        envelope::EventParts,
        request::{BuildError, EndpointParts, OutboundRequest, Signing},
    },
};

/// An attempt that ended, and whose it was.
pub(super) struct Finished {
    pub endpoint: Arc<Endpoint>,
    pub row: DueDelivery,
    pub trigger: Trigger,
    pub started_at: Timestamp,
    pub seen: Seen,
    /// What the attempt has of its slot; nothing if it broke down.
    pub slot: Option<Slot>,
}

/// What was seen of an attempt.
pub(super) struct Seen {
    pub about: Option<About>,
    pub outcome: Outcome,
    /// What did not answer where no connection was made.
    pub unreached: Option<Unreached>,
    pub body_broken: bool,
    pub duration: Duration,
    pub remote: Option<String>,
    pub location: Option<String>,
    pub excerpt: Bytes,
    pub headers: KeptHeaders,
    /// How the request went, as it is kept; empty if none was made.
    pub detail: Bytes,
}

/// What the record of an attempt says of its event.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub event_id: EventId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
}

impl Seen {
    /// Nothing was sent.
    pub fn nothing(about: Option<About>, fault: Fault) -> Self {
        let outcome = classify(Observation::Fault(fault), &Default::default());
        Self {
            about,
            outcome,
            unreached: None,
            body_broken: false,
            duration: Duration::ZERO,
            remote: None,
            location: None,
            excerpt: Bytes::new(),
            headers: KeptHeaders::default(),
            detail: Bytes::new(),
        }
    }

    /// Forgets what was sent, which the receiver alone is to see, and what it has answered.
    pub fn conceal(&mut self) {
        (self.excerpt, self.location) = (Bytes::new(), None);
        self.detail = Bytes::new();
    }

    /// The event's record is damaged: it can never be sent, and says so by failing.
    fn lost(about: Option<About>) -> Self {
        let nothing = Self::nothing(about, Fault::Disk);
        let outcome = Outcome {
            class: Class::EventError,
            ..nothing.outcome
        };
        Self { outcome, ..nothing }
    }
}

/// Makes the attempt of a due delivery. What its record says of the event is known also where the event cannot be read, or
/// the attempt panics; but for an event that storage knows nothing of.
pub(super) async fn deliver(
    shared: &Arc<Shared>,
    endpoint: &Arc<Endpoint>,
    row: &DueDelivery,
    slot: &mut Slot,
) -> Seen {
    let attempt = AssertUnwindSafe(deliver_event(shared, endpoint, row, slot)).catch_unwind();
    let mut seen = attempt.await.unwrap_or_else(|_| {
        tracing::error!(delivery.id = %row.delivery.id(), "an attempt panicked");
        Seen::nothing(None, Fault::Interrupted)
    });
    if seen.about.is_none() {
        seen.about = about(shared, row).await;
    }
    seen
}

async fn about(shared: &Shared, row: &DueDelivery) -> Option<About> {
    let found = shared.data.deliveries(vec![row.delivery.key]).await.ok()?;
    let event = found.into_iter().flatten().next()?.event?;
    Some(About {
        event_id: event.id,
        event_type: event.event_type,
        tenant: event.tenant,
    })
}

async fn deliver_event(
    shared: &Arc<Shared>,
    endpoint: &Arc<Endpoint>,
    row: &DueDelivery,
    slot: &mut Slot,
) -> Seen {
    if shared.erasures.has(row.delivery.event) {
        // Its delivery is being cancelled; what comes of this one changes nothing any more.
        return Seen::nothing(None, Fault::Interrupted);
    }
    // Before the event is read: attempts that wait for memory hold none.
    let Some(lease) = lease(shared, endpoint, row.event.bytes()).await else {
        return Seen::nothing(None, Fault::Memory);
    };
    let accepted = match shared.data.event_at_hand(row.event) {
        Some(accepted) => accepted,
        None => match shared.data.due_event(row.event).await {
            Ok(accepted) => accepted,
            // What may pass is ours; what is damaged for good ends the delivery.
            Err(Unread::NotNow) => return Seen::nothing(None, Fault::Disk),
            Err(Unread::Damaged) => return Seen::lost(None),
        },
    };
    send(shared, endpoint, accepted, lease, slot).await
}

/// The memory for an attempt whose event has so many bytes, once its tenant may have it; `None` when it is still not
/// there after a while.
pub(super) async fn lease(shared: &Shared, endpoint: &Endpoint, event: usize) -> Option<Lease> {
    let spec = &endpoint.spec;
    let bytes = weight::of_attempt(spec, event, shared.options.encoded_limit);
    let until = Instant::now() + limits::MEMORY_PATIENCE;
    shared.memory.take(&spec.tenant, bytes, until).await
}

/// Sends an event to an endpoint.
pub(super) async fn send(
    shared: &Arc<Shared>,
    endpoint: &Arc<Endpoint>,
    event: EventAccepted,
    mut lease: Lease,
    slot: &mut Slot,
) -> Seen {
    let about = About {
        event_id: event.id.clone(),
        event_type: event.event_type.clone(),
        tenant: event.tenant.clone(),
    };
    let request = if takes_time(endpoint, &event) {
        let (owner, pool) = (Owner::attempt(endpoint.spec.tenant.clone()), &shared.work);
        let (shared, endpoint) = (shared.clone(), endpoint.clone());
        let building = async move { build_now(&shared, &endpoint, event) };
        // Rare, and large: it is not to be a part of every attempt.
        match Box::pin(pool.run(owner, building)).await {
            Ok(request) => request,
            // The server stops.
            Err(_) => return Seen::nothing(Some(about), Fault::Interrupted),
        }
    } else {
        build_now(shared, endpoint, event)
    };
    let body = request.as_ref().map_or(0, |request| request.body.len());
    lease.shrink_to(limits::ATTEMPT_BYTES + body);
    transmit(shared, endpoint, about, request, Until::HeadDecides(slot)).await
}

/// Whether a request is made in the work pool: a template may take a tenth of a second, and another encoding makes much of
/// a large document. All others are made where they are sent.
fn takes_time(endpoint: &Endpoint, event: &EventAccepted) -> bool {
    let is_encoded = endpoint.spec.encoding != Encoding::Json && event.payload.content_type.is_none();
    endpoint.spec.transform.is_some()
        || (is_encoded && event.payload.bytes.len() > limits::INLINE_ENCODED_BYTES)
}

/// Makes the request of an attempt that is made now.
fn build_now(
    shared: &Shared,
    endpoint: &Endpoint,
    event: EventAccepted,
) -> Result<OutboundRequest, BuildError> {
    let (at, now) = (shared.clock.wall(), shared.clock.now());
    build(&shared.options, endpoint, event, at, now)
}

/// How much of an answer an attempt waits for.
pub(super) enum Until<'a> {
    /// Its head decides. What comes of the body within a short time is kept; the slot is free meanwhile.
    HeadDecides(&'a mut Slot),
    /// The body counts: all of it is waited for, so long at the most.
    BodyEnds(Duration),
}

/// Sends a request to an endpoint, within the endpoint's time for an attempt.
pub(super) async fn transmit(
    shared: &Shared,
    endpoint: &Endpoint,
    about: About,
    request: Result<OutboundRequest, BuildError>,
    until: Until<'_>,
) -> Seen {
    let request = match request {
        Ok(request) => request,
        Err(error @ BuildError::Encode(_)) => {
            tracing::warn!(error = %chain(&error), endpoint.id = %endpoint.id, event.id = %about.event_id, "an event cannot be sent to an endpoint");
            return Seen::nothing(Some(about), Fault::Encoding);
        }
        Err(error @ BuildError::Transform(_)) => {
            tracing::warn!(error = %chain(&error), endpoint.id = %endpoint.id, event.id = %about.event_id, "an event cannot be transformed for an endpoint");
            return Seen::nothing(Some(about), Fault::Transform);
        }
        Err(error) => {
            tracing::error!(error = %chain(&error), endpoint.id = %endpoint.id, "cannot make a request");
            return Seen::nothing(Some(about), Fault::Signing);
        }
    };
    let asked = Asked::of(&request);
    let mut exchange = exchange(shared, endpoint, request, until).await;
    let detail = detail::detail(shared, endpoint.id, asked, &mut exchange);
    Seen {
        detail,
        ..judge(shared, endpoint, about, exchange)
    }
}

/// Sends a request on an endpoint's own way: its certificates, its proxy, its token, its time.
async fn exchange(
    shared: &Shared,
    endpoint: &Endpoint,
    request: OutboundRequest,
    until: Until<'_>,
) -> Exchange {
    let own = endpoint
        .spec
        .timeout
        .map_or(shared.options.timeout, Span::as_duration);
    let total = match until {
        Until::HeadDecides(_) => own,
        Until::BodyEnds(most) => most.min(own),
    };
    #[cfg(test)]
    if let Some(stage) = shared.stage.get() {
        return stage.exchange(endpoint, &request, total).await;
    }
    let way = Way::of(&endpoint.spec);
    let limits = AttemptLimits { total };
    match until {
        Until::HeadDecides(slot) => {
            let mut decided = |_status| slot.linger();
            shared
                .sender
                .send_by(request, way, limits, Some(&mut decided))
                .await
        }
        Until::BodyEnds(_) => shared.sender.send_by(request, way, limits, None).await,
    }
}

/// The record of a request that belongs to no delivery: a test, or a step of a handshake.
pub(super) fn standalone(
    options: &EngineOptions,
    endpoint: EndpointId,
    about: About,
    started_at: Timestamp,
    number: u32,
    seen: Seen,
) -> AttemptSettled {
    AttemptSettled {
        delivery: None,
        endpoint,
        event_id: about.event_id,
        event_type: about.event_type,
        tenant: about.tenant,
        number,
        trigger: Trigger::Test,
        started_at,
        duration_millis: u32::try_from(seen.duration.as_millis()).unwrap_or(u32::MAX),
        class: seen.outcome.class,
        reason: seen.outcome.reason,
        status: seen.outcome.status,
        body_broken: seen.body_broken,
        remote: seen.remote,
        stage: Stage::Cancelled,
        progress: Progress::default(),
        health: Health::default(),
        disable: None,
        location: seen.location,
        excerpt: options.attempt_detail.excerpt(seen.excerpt),
        overrides_end: false,
        detail: seen.detail,
    }
}

fn judge(shared: &Shared, endpoint: &Endpoint, about: About, exchange: Exchange) -> Seen {
    let clock_is_wrong = shared.clock.wall() < clock::built_at();
    let observation = match exchange.observation {
        Observation::Fault(Fault::TlsNotYetValid) if clock_is_wrong => Observation::Fault(Fault::Clock),
        other => other,
    };
    let body_broken = matches!(
        observation,
        Observation::Response {
            body_broken: true,
            ..
        }
    );
    let mut outcome = classify(observation, &endpoint.spec.treat_as);
    if let Some(RetryAfter::At(at)) = &mut outcome.retry_after {
        *at = shared.clock.to_come(*at);
    }
    Seen {
        about: Some(about),
        outcome,
        unreached: exchange.unreached,
        body_broken,
        duration: exchange.duration,
        remote: exchange.remote.map(|remote| remote.to_string()),
        location: exchange.location,
        excerpt: exchange.excerpt,
        headers: exchange.headers,
        detail: Bytes::new(),
    }
}

/// Makes the request of an attempt at `at`, signed with what signs at `now`: a grace is measured in engine time, which
/// does not run back, and told to the receiver in the wall clock's.
pub(super) fn build(
    options: &EngineOptions,
    endpoint: &Endpoint,
    event: EventAccepted,
    at: Timestamp,
    now: Timestamp,
) -> Result<OutboundRequest, BuildError> {
    let payload = match event.payload.content_type.clone() {
        None => wire::envelope::Payload::Json(event.payload.bytes.clone()),
        Some(content_type) => wire::envelope::Payload::Bytes {
            content_type,
            bytes: event.payload.bytes.clone(),
        },
    };
    let parts = EventParts {
        id: event.id.as_str(),
        event_type: event.event_type.as_str(),
        occurred_at: event.occurred_at,
        attributes: &event.attributes,
        default_source: &options.cloudevents_source,
        payload: &payload,
    };
    let limit = options.encoded_limit;
    let mut request = with_parts(endpoint, now, limit, |target| match &endpoint.spec.transform {
        None => OutboundRequest::build(&parts, target, at),
        Some(transform) => OutboundRequest::transformed(transform, &Facts::from(&event), &parts, target, at),
    })?;
    if endpoint.spec.handshake == Handshake::Cloudevents {
        // Who was granted says who it is on every delivery.
        request.headers.insert(
            wire::handshake::ORIGIN_HEADER,
            HeaderValue::from_str(&options.origin)?,
        );
    }
    Ok(request)
}

/// Makes something out of what an endpoint wants of a request, with what signs at `now`, its body within a limit where it
/// is not JSON.
pub(super) fn with_parts<T>(
    endpoint: &Endpoint,
    now: Timestamp,
    encoded_limit: usize,
    make: impl FnOnce(&EndpointParts<'_>) -> T,
) -> T {
    let spec = &endpoint.spec;
    let signing = endpoint.signing(now);
    let signings: Vec<_> = signing
        .iter()
        .map(|(scheme, secrets)| Signing {
            scheme: *scheme,
            secrets,
        })
        .collect();
    make(&EndpointParts {
        url: &spec.url,
        headers: &spec.headers,
        auth: spec.auth.as_ref(),
        envelope: spec.envelope,
        encoding: spec.encoding,
        encoded_limit,
        signatures: &signings,
    })
}

/// One line for an attempt: ids and what came of it, never a URL, a header or a payload.
pub(super) fn log_outcome(finished: &Finished) {
    let Finished {
        endpoint,
        row,
        trigger,
        seen,
        ..
    } = finished;
    let about = seen
        .about
        .as_ref()
        .map(|about| about.event_id.as_str())
        .unwrap_or_default();
    tracing::debug!(
        event.id = about,
        delivery.id = %row.delivery.id(),
        endpoint.id = %endpoint.id,
        attempt.number = row.delivery.attempts + 1,
        attempt.trigger = trigger.as_str(),
        outcome = seen.outcome.class.as_str(),
        reason = Reason::as_str(seen.outcome.reason),
        status = seen.outcome.status,
        duration_ms = u64::try_from(seen.duration.as_millis()).unwrap_or(u64::MAX),
        "attempt ended"
    );
}
