//! What the outside is shown: the JSON documents of the API, built from stored rows and what is in flight.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::damage::DamagedRange;
use crate::{
    domain::{
        delivery::Trigger,
        duration::Span,
        endpoint::EndpointState,
        event::{EventType, Label},
        format::{Algorithm, Scheme},
        id::{AttemptId, DeliveryId, EndpointId, EventId},
        outcome::Class,
        profile::ProfileName,
        secret::SigningSecret,
        signing::{Retired, SignatureSpec},
        subscription::Pattern,
        time::Timestamp,
    },
    storage::stored::EventFacts,
};

pub use crate::storage::queries::EventFilter;

/// Rows of a list and where the next page starts.
#[derive(Debug, Serialize)]
pub struct Listed<T> {
    pub data: Vec<T>,
    /// Pass as `cursor` for the rows after these; `None` at the end.
    pub next: Option<String>,
    /// Pass as `cursor` for the rows before these; `None` within at the beginning. Lists without it go onward alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Option<String>>,
}

impl<T> Listed<T> {
    pub const fn empty() -> Self {
        Self {
            data: Vec::new(),
            next: None,
            previous: None,
        }
    }
}

/// Which rows of a list are wanted.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub limit: usize,
    pub cursor: Option<String>,
    /// Oldest first; otherwise newest first.
    pub ascending: bool,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    pub id: EventId,
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// How many deliveries the event became.
    pub deliveries: u32,
    /// The same event had been accepted before; this is its first answer.
    pub duplicate: bool,
    /// Its type is declared as deprecated.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deprecated: bool,
}

/// An event.
#[derive(Debug, Serialize)]
pub struct EventView {
    pub id: EventId,
    #[serde(rename = "type")]
    pub event_type: EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<Label>,
    pub accepted_at: Timestamp,
    pub occurred_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    pub content_type: String,
    pub size_bytes: u64,
    pub deliveries: u32,
    /// The event's record cannot be read: what stands here is all that is known, and it cannot be sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// Its payload was erased before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erased: Option<ErasedView>,
    /// The payload, when one event is asked for and it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The payload, when one event is asked for and it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

/// When an event's payload was erased, and who asked for it: an API key's id, or the unix socket.
#[derive(Debug, Serialize)]
pub struct ErasedView {
    pub at: Timestamp,
    pub by: String,
}

impl ErasedView {
    pub fn of(facts: &EventFacts) -> Option<Self> {
        facts.erased.as_ref().map(|erased| Self {
            at: erased.at,
            by: erased.by.clone(),
        })
    }
}

/// The newest attempt of a delivery.
#[derive(Debug, Serialize)]
pub struct LastOutcome {
    pub attempt_id: AttemptId,
    pub at: Timestamp,
    pub outcome: Class,
    pub reason: &'static str,
    pub status: Option<u16>,
}

/// A delivery.
#[derive(Debug, Serialize)]
pub struct DeliveryView {
    pub id: DeliveryId,
    /// `None` when the event is lost to damage.
    pub event_id: Option<EventId>,
    pub event_type: Option<EventType>,
    /// The event's, within which its id is to be looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Label>,
    pub endpoint_id: EndpointId,
    /// `scheduled`, `in_flight`, `held`, `delivered`, `failed`, `expired` or `cancelled`.
    pub state: &'static str,
    /// From when the next attempt may be made; `None` once the state is final.
    pub due: Option<Timestamp>,
    /// Why a held delivery is held: its endpoint's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_because: Option<EndpointState>,
    pub attempts: u32,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub settled_at: Option<Timestamp>,
    pub last_outcome: Option<LastOutcome>,
    /// Its event is lost to damage: what stands here is all that is known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

/// One HTTP request made for a delivery, or for a test.
#[derive(Debug, Serialize)]
pub struct AttemptView {
    pub id: AttemptId,
    pub delivery_id: Option<DeliveryId>,
    pub event_id: Option<EventId>,
    pub event_type: EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Label>,
    pub endpoint_id: EndpointId,
    pub number: Option<u32>,
    pub trigger: Option<Trigger>,
    pub outcome: Class,
    pub reason: &'static str,
    /// What the reason means where there was no answer, when one delivery's attempts or a test are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<&'static str>,
    pub status: Option<u16>,
    pub started_at: Timestamp,
    pub duration_ms: Option<u32>,
    /// The address that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Where a redirect pointed; it is not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The delivery's next due time after this attempt.
    pub next_due: Option<Timestamp>,
    pub disabled_endpoint: bool,
    pub body_broken: bool,
    /// The head of the answer's body, when one delivery's attempts or a test are asked for; bytes that are not
    /// UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_excerpt: Option<String>,
    /// The attempt's record cannot be read: what stands here is all that is known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

/// Why an endpoint is disabled.
#[derive(Debug, Serialize)]
pub struct DisabledView {
    pub why: &'static str,
    pub reason: Option<&'static str>,
    pub status: Option<u16>,
    pub attempt_id: Option<AttemptId>,
    pub at: Timestamp,
}

/// How far an endpoint's handshake has come.
#[derive(Debug, Serialize)]
pub struct VerificationView {
    /// `pending`, `verified` or `failed`.
    pub state: &'static str,
    /// The handshake.
    pub method: &'static str,
    /// What the newest try fell short of, if it did.
    pub last_error: Option<ShortfallView>,
    pub last_attempt_at: Option<Timestamp>,
    pub verified_at: Option<Timestamp>,
    /// When it is tried by itself.
    pub next_attempt_at: Option<Timestamp>,
    /// How often a code may still be submitted, while one waits for it.
    pub tries_left: Option<u8>,
    /// Requests a minute that the receiver has granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_per_minute: Option<u32>,
}

/// Why a handshake proved nothing.
#[derive(Debug, Serialize)]
pub struct ShortfallView {
    pub reason: String,
    pub status: Option<u16>,
    pub detail: String,
}

/// An endpoint without its secrets.
#[derive(Debug, Serialize)]
pub struct EndpointView {
    pub id: EndpointId,
    pub url: String,
    pub state: EndpointState,
    pub disabled_reason: Option<DisabledView>,
    /// `None` without a handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationView>,
    pub state_since: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub profile: ProfileName,
    /// What is to be known of what was saved: in the answer to a creation or a change alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The other members of the configuration, header values and secrets replaced by `"***"`.
    #[serde(flatten)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// A new secret for one of an endpoint's schemes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// May be left out when there is only one.
    pub scheme: Option<Scheme>,
    /// Of what kind a secret is made; as it was when left out.
    pub algorithm: Option<Algorithm>,
    /// Made when left out.
    pub secret: Option<SigningSecret>,
    /// How long the old secret signs as well.
    pub grace: Option<Span>,
}

/// What a rotation did. Its own new secret is shown; the others are hidden.
#[derive(Debug, Serialize)]
pub struct RotatedView {
    pub scheme: Scheme,
    pub secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    pub signatures: Vec<serde_json::Value>,
    /// The scheme's old secrets that still sign, newest first, with the end of their grace.
    pub retired: Vec<serde_json::Value>,
}

/// An endpoint's secrets: those it has, and the old ones that still sign.
#[derive(Debug, Serialize)]
pub struct SecretsView {
    pub signatures: Vec<SignatureSpec>,
    pub retired: Vec<Retired>,
}

/// What verifies an endpoint's requests without a secret.
#[derive(Debug, Serialize)]
pub struct PublicKeyView {
    pub scheme: Scheme,
    /// `whpk_…`.
    pub public_key: String,
    /// The end of an old key's grace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Counts over deliveries: of one endpoint, or of all.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CountsView {
    pub scheduled: u64,
    pub held: u64,
    pub in_flight: u64,
    pub delivered: u64,
    pub failed: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub attempts: u64,
}

/// How one endpoint is doing.
#[derive(Debug, Serialize)]
pub struct StatsView {
    pub endpoint_id: EndpointId,
    pub state: EndpointState,
    pub deliveries: CountsView,
    pub failures_in_a_row: u32,
    pub failing_for: Span,
    pub last_success_at: Option<Timestamp>,
    pub last_failure_at: Option<Timestamp>,
}

/// The server at a glance.
#[derive(Debug, Serialize)]
pub struct StatusView {
    pub version: &'static str,
    pub started_at: Timestamp,
    pub now: Timestamp,
    pub clock: ClockView,
    /// `fsync` or `os`.
    pub durability: &'static str,
    /// `ready`, `rebuilding` or `stopping`.
    pub state: &'static str,
    /// What stands in the way of being ready, a suspicious clock, and what was found damaged; empty when all is well.
    pub warnings: Vec<String>,
    pub events: u64,
    /// Events that matched no endpoint.
    pub events_unmatched: u64,
    pub deliveries: CountsView,
    pub endpoints: BTreeMap<&'static str, u64>,
    /// Active endpoints with deliveries that have been due for longer than `delivery.overdue_after`.
    pub endpoints_overdue: u64,
    pub journal: JournalView,
    pub store: StoreView,
}

/// The wall clock, and whether it is believed.
#[derive(Debug, Serialize)]
pub struct ClockView {
    /// `followed`, or `suspicious` while it has jumped and its new time is not confirmed.
    pub state: &'static str,
    /// What it shows.
    pub wall: Timestamp,
    /// How far it is ahead of the expected time, which `now` shows; negative when behind, 0 while it is followed.
    pub ahead_ms: i64,
}

#[derive(Debug, Serialize)]
pub struct JournalView {
    /// Where it begins: what was below has been reclaimed.
    pub first_lsn: u64,
    pub last_lsn: u64,
    pub synced_lsn: u64,
    pub segments: u64,
    pub bytes: u64,
    /// Damaged ranges met since the start.
    pub damaged_ranges: u64,
    /// Segments deleted since the start, and their bytes.
    pub reclaimed_segments: u64,
    pub reclaimed_bytes: u64,
    /// Some of them, with what is known of what stood in them.
    pub damaged: Vec<DamagedRange>,
    /// Events whose records were found damaged when they were to be read, since the start.
    pub damaged_events: u64,
    /// The same of attempts.
    pub damaged_attempts: u64,
}

#[derive(Debug, Serialize)]
pub struct StoreView {
    pub applied_lsn: u64,
    pub rebuilds: u64,
    pub bytes: u64,
}

/// Which deliveries are wanted.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub event: Option<EventId>,
    pub endpoint: Option<EndpointId>,
    /// The tenant of their event and endpoint.
    pub tenant: Option<Label>,
    /// One of the states of [`DeliveryView`].
    pub state: Option<&'static str>,
    /// When they were created.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// Which attempts are wanted.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    pub event: Option<EventId>,
    pub delivery: Option<DeliveryId>,
    pub endpoint: Option<EndpointId>,
    pub event_type: Option<Pattern>,
    /// The tenant of their event and endpoint.
    pub tenant: Option<Label>,
    pub outcome: Option<Class>,
    pub status: Option<u16>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// A test event for one endpoint.
#[derive(Clone, Debug)]
pub struct TestRequest {
    pub event_type: EventType,
    /// JSON.
    pub data: Bytes,
}
