//! One attempt: read the event, make the request, send it, say what was seen.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    codec,
    engine::{EngineOptions, Shared},
    error::chain,
};
use crate::{
    domain::{
        delivery::Trigger,
        duration::Span,
        endpoint::Endpoint,
        event::{EventType, Label},
        id::EventId,
        outcome::{Class, Fault, Observation, Outcome, Reason, classify},
        record::{EventAccepted, Record},
        time::Timestamp,
    },
    journal::ReadError,
    sender::{AttemptLimits, Exchange, Way},
    store::DueRow,
    wire::{
        self,
        envelope::EventParts,
        request::{BuildError, EndpointParts, OutboundRequest, Signing},
    },
};

/// Before this, the present cannot be: 2026-11-01T00:00:00Z. A clock that says so is wrong.
const BUILT: Timestamp = Timestamp::from_millis(1_793_491_200_000);

/// An attempt that ended, and whose it was.
pub(super) struct Finished {
    pub endpoint: Arc<Endpoint>,
    pub row: DueRow,
    pub trigger: Trigger,
    pub started_at: Timestamp,
    pub seen: Seen,
}

/// What was seen of an attempt.
pub(super) struct Seen {
    pub about: Option<About>,
    pub outcome: Outcome,
    pub body_broken: bool,
    pub duration: Duration,
    pub remote: Option<String>,
    pub location: Option<String>,
    pub excerpt: Bytes,
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
            body_broken: false,
            duration: Duration::ZERO,
            remote: None,
            location: None,
            excerpt: Bytes::new(),
        }
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

/// Makes the attempt of a due delivery.
pub(super) async fn deliver(shared: &Shared, endpoint: &Endpoint, row: &DueRow) -> Seen {
    let accepted = match read(shared, row) {
        Ok(accepted) => accepted,
        Err(seen) => return *seen,
    };
    send(shared, endpoint, accepted).await
}

/// Sends an event to an endpoint.
pub(super) async fn send(shared: &Shared, endpoint: &Endpoint, event: EventAccepted) -> Seen {
    let about = About {
        event_id: event.id.clone(),
        event_type: event.event_type.clone(),
        tenant: event.tenant.clone(),
    };
    let (at, now) = (shared.clock.wall(), shared.clock.now());
    let request = match build(&shared.options, endpoint, event, at, now) {
        Ok(request) => request,
        Err(error @ BuildError::Encode(_)) => {
            tracing::warn!(error = %chain(&error), endpoint.id = %endpoint.id, event.id = %about.event_id, "an event cannot be sent to an endpoint");
            return Seen::nothing(Some(about), Fault::Encoding);
        }
        Err(error) => {
            tracing::error!(error = %chain(&error), endpoint.id = %endpoint.id, "cannot make a request");
            return Seen::nothing(Some(about), Fault::Signing);
        }
    };
    let exchange = exchange(shared, endpoint, request).await;
    judge(shared, endpoint, about, exchange)
}

/// Sends a request on an endpoint's own way: its certificates, its proxy, its token, its time.
pub(super) async fn exchange(shared: &Shared, endpoint: &Endpoint, request: OutboundRequest) -> Exchange {
    let total = endpoint
        .spec
        .timeout
        .map_or(shared.options.timeout, Span::as_duration);
    let way = Way::of(&endpoint.spec);
    shared.sender.send_by(request, way, AttemptLimits { total }).await
}

fn judge(shared: &Shared, endpoint: &Endpoint, about: About, exchange: Exchange) -> Seen {
    let clock_is_wrong = shared.clock.wall() < BUILT;
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
    Seen {
        about: Some(about),
        outcome: classify(observation, &endpoint.spec.treat_as),
        body_broken,
        duration: exchange.duration,
        remote: exchange.remote.map(|remote| remote.to_string()),
        location: exchange.location,
        excerpt: exchange.excerpt,
    }
}

/// Reads the event behind a due delivery. What is damaged for good ends the delivery; what may pass is ours.
fn read(shared: &Shared, row: &DueRow) -> Result<EventAccepted, Box<Seen>> {
    let entry = shared.journal.read(codec::location(row.place)).map_err(|error| {
        tracing::error!(error = %chain(&error), delivery.id = %row.delivery.id(), "cannot read an event");
        Box::new(match error {
            ReadError::Io { .. } => Seen::nothing(None, Fault::Disk),
            ReadError::Damaged(_) | ReadError::NoSegment { .. } => Seen::lost(None),
        })
    })?;
    match codec::decode(&entry) {
        Ok(Record::EventAccepted(accepted)) => Ok(accepted),
        Ok(_) => Err(Box::new(Seen::lost(None))),
        Err(error) => {
            tracing::error!(error = %chain(&error), delivery.id = %row.delivery.id(), "cannot decode an event");
            Err(Box::new(Seen::lost(None)))
        }
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
    let payload = match event.payload.content_type {
        None => wire::envelope::Payload::Json(event.payload.bytes),
        Some(content_type) => wire::envelope::Payload::Bytes {
            content_type,
            bytes: event.payload.bytes,
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
    let spec = &endpoint.spec;
    let signing = endpoint.signing(now);
    let signings: Vec<_> = signing
        .iter()
        .map(|(scheme, secrets)| Signing {
            scheme: *scheme,
            secrets,
        })
        .collect();
    let target = EndpointParts {
        url: &spec.url,
        headers: &spec.headers,
        auth: spec.auth.as_ref(),
        envelope: spec.envelope,
        encoding: spec.encoding,
        signatures: &signings,
    };
    OutboundRequest::build(&parts, &target, at)
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
