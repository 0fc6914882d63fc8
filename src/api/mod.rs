//! HTTP in: the same routes over the unix socket and over TCP.
//!
//! # The cast
//!
//! [`listen`] accepts connections, says by which way each request came, and keeps deadlines. [`mod@router`] leads a request
//! through the gate ([`auth`]) to its handler. A handler extracts what it needs (`document`, `params`), converts it into
//! the domain's words (`event_document`, `cloud_events`), makes one call to the [`Engine`](crate::dispatch::engine::Engine), and
//! converts the answer. What goes wrong on the way is a [`problem`].
//!
//! # What it guarantees
//!
//! An event is answered with 202 only after the engine has said that it is durable. A payload reaches the engine
//! byte for byte. Everything that comes from outside is bounded while it is read: heads, bodies, depth, lines, time,
//! connections. Every refusal of a route is an RFC 9457 document that names the member or parameter and what to do; no
//! internals, tokens or payloads are in answers or logs.
//!
//! # What it does not
//!
//! Bytes that are no HTTP at all are answered by hyper with a bare status (400, 414, 431). A client that gets no answer
//! cannot know whether its event was accepted: it sends it again with the same id or `Idempotency-Key`.

pub mod audit;
pub mod auth;
mod backup;
mod batch;
mod body;
mod cloud_events;
mod deliveries;
mod document;
mod endpoints;
mod event_document;
mod event_types;
mod events;
mod json;
mod keys;
pub mod listen;
mod media;
mod meter;
mod params;
mod pooled;
pub mod problem;
mod rollups;
mod router;
mod secrets;
mod system;

#[cfg(any(test, fuzzing, feature = "bench-parts"))]
pub(crate) use event_document::read as read_event;
pub use router::{Api, ApiLimits, router};

/// Reads a CloudEvent in its structured form, without labels.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_cloud_event(
    document: &bytes::Bytes,
) -> Result<crate::domain::event::NewEvent, problem::Problem> {
    cloud_events::structured::read(document, &cloud_events::Labels::default())
}
