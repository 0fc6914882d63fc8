//! What the journal says: every change of state, as a record.
//!
//! A record carries decisions, not inputs to be decided again, so that applying it is deterministic. In the journal
//! it stands as a kind (the ordinals below), a version and a body; the body's encoding is named in
//! `runtime::codec`. **Kinds, versions and the order of members are append-only**: a member is added only with a new
//! version that still reads the old one.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    configuration::{ConfigChange, Configured, EndpointFact},
    delivery::{Progress, Stage, Trigger},
    endpoint::{DisabledReason, StateChange},
    event::{ContentHash, EventType, Label, Payload},
    health::Health,
    id::{DeliveryKey, EndpointId, EventId, KeyId, Lsn},
    outcome::{Class, Reason},
    reclaim::{
        AttemptsForgotten, AuditForgotten, Carried, EndpointsForgotten, EventsForgotten, FloorRaised,
        IdempotencyForgotten, RollupsFolded,
    },
    time::Timestamp,
};

/// Where a record stands in the journal: the segment's first sequence number, and the record's offset and length in
/// bytes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub segment: u64,
    pub offset: u64,
    pub len: u32,
}

/// An event was accepted, with its fan-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventAccepted {
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub channel: Option<Label>,
    pub ordering_key: Option<Label>,
    pub accepted_at: Timestamp,
    pub occurred_at: Timestamp,
    /// When its deliveries are first due: `accepted_at`, or later when it was delayed.
    pub due: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub attributes: BTreeMap<String, String>,
    pub content_hash: ContentHash,
    pub idempotency_key: Option<String>,
    pub idempotency_until: Timestamp,
    /// The endpoints whose subscriptions matched, in the order of their deliveries' index.
    pub fan_out: Vec<EndpointId>,
    /// This event tells that the endpoint was disabled; the endpoint's notice is thereby given.
    pub notice_for: Option<EndpointId>,
    pub payload: Payload,
}

/// An attempt ended, and this is what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptSettled {
    /// `None` for a test, which belongs to no delivery.
    pub delivery: Option<DeliveryKey>,
    pub endpoint: EndpointId,
    pub event_id: EventId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    /// 1 for a delivery's first attempt.
    pub number: u32,
    pub trigger: Trigger,
    pub started_at: Timestamp,
    pub duration_millis: u32,
    pub class: Class,
    pub reason: Reason,
    pub status: Option<u16>,
    /// The answer's body broke off after its head, or was longer than is read.
    pub body_broken: bool,
    /// The peer's address, as text.
    pub remote: Option<String>,
    pub stage: Stage,
    pub progress: Progress,
    pub health: Health,
    pub disable: Option<DisabledReason>,
    /// Where a redirect pointed, which is never followed.
    pub location: Option<String>,
    /// The head of the answer's body.
    pub excerpt: Bytes,
    /// A success makes the delivery `delivered` although it had ended before. So it is in records of version 1, which keep
    /// the meaning that they were applied with; in those that are written today the end that came first stands.
    #[serde(skip)]
    pub overrides_end: bool,
    /// How it went, as [`super::attempt_detail::AttemptDetail`] is kept: behind everything else in records of version 3, and
    /// in none of those before. Empty where no request was made, too.
    #[serde(skip)]
    pub detail: Bytes,
}

impl AttemptSettled {
    pub fn ended_at(&self) -> Timestamp {
        self.started_at
            .plus(std::time::Duration::from_millis(self.duration_millis.into()))
    }
}

/// An endpoint was created or its configuration replaced. Its state is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPut {
    pub id: EndpointId,
    pub at: Timestamp,
    /// The state of a new endpoint; ignored when it exists.
    pub initial: StateChange,
    /// The whole configuration with its secrets, sealed.
    pub sealed: Vec<u8>,
}

/// A person enabled, disabled or paused an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointChanged {
    pub id: EndpointId,
    pub at: Timestamp,
    pub change: StateChange,
}

/// An endpoint was deleted; what it still had scheduled is cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointDeleted {
    pub id: EndpointId,
    pub at: Timestamp,
}

/// Deliveries are due again, now: a person asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveriesRetried {
    pub keys: Vec<DeliveryKey>,
    pub due: Timestamp,
}

/// Deliveries ended without an attempt: cancelled by a person, or expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveriesEnded {
    pub keys: Vec<DeliveryKey>,
    pub at: Timestamp,
    /// `Expired` or `Cancelled`.
    pub stage: Stage,
}

/// An event gets new deliveries: to endpoints it had, or to endpoints created later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReplayed {
    pub event: Lsn,
    pub due: Timestamp,
    pub fan_out: Vec<EndpointId>,
}

/// An event's payload was erased before its time. What was still to be delivered of it is cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadErased {
    /// The record that accepted the event.
    pub lsn: Lsn,
    pub at: Timestamp,
    /// Who asked for it: an API key's id, or the unix socket.
    pub by: String,
    /// What was accepted, but for the payload's bytes.
    pub event: Box<EventAccepted>,
}

/// What a key allows. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Sender,
    Manager,
    Admin,
}

/// An API key was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPut {
    pub id: KeyId,
    pub name: String,
    pub role: Role,
    pub tenant: Option<Label>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the key, which itself is not kept.
    pub hash: [u8; 32],
}

/// An API key was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevoked {
    pub id: KeyId,
    pub at: Timestamp,
}

/// An event type was declared, or its declaration replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTypePut {
    pub event_type: EventType,
    pub at: Timestamp,
    pub description: Option<String>,
    /// The JSON Schema that its events' data must meet, as it was written.
    pub schema: Option<String>,
    /// JSON, as it was written.
    pub example: Option<String>,
    pub deprecated: bool,
}

/// An event type's declaration was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTypeDeleted {
    pub event_type: EventType,
    pub at: Timestamp,
}

/// Any record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    EventAccepted(EventAccepted),
    AttemptSettled(AttemptSettled),
    DeliveriesRetried(DeliveriesRetried),
    DeliveriesEnded(DeliveriesEnded),
    EventReplayed(EventReplayed),
    Carried(Carried),
    EventsForgotten(EventsForgotten),
    AttemptsForgotten(AttemptsForgotten),
    IdempotencyForgotten(IdempotencyForgotten),
    FloorRaised(FloorRaised),
    EndpointsForgotten(EndpointsForgotten),
    PayloadErased(PayloadErased),
    Configured(Configured),
    AuditForgotten(AuditForgotten),
    RollupsFolded(RollupsFolded),
}

impl Record {
    /// The version of a kind that is written today.
    pub const fn version_of(kind: u8) -> u8 {
        match kind {
            // AttemptSettled: in version 1 a success ended also what had ended before, with the same body. Version 2 had no
            // detail.
            2 => 3,
            // Carried and FloorRaised: version 1 held rows of the index.
            13 | 17 => 2,
            _ => 1,
        }
    }

    /// The kind's ordinal in the journal. 3 to 5 and 9 to 12 are changes of configuration from before all changes of a
    /// request were one record; they are read, and not written any more.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::EventAccepted(_) => 1,
            Self::AttemptSettled(_) => 2,
            Self::DeliveriesRetried(_) => 6,
            Self::DeliveriesEnded(_) => 7,
            Self::EventReplayed(_) => 8,
            Self::Carried(_) => 13,
            Self::EventsForgotten(_) => 14,
            Self::AttemptsForgotten(_) => 15,
            Self::IdempotencyForgotten(_) => 16,
            Self::FloorRaised(_) => 17,
            Self::EndpointsForgotten(_) => 18,
            Self::PayloadErased(_) => 19,
            Self::Configured(_) => 20,
            Self::AuditForgotten(_) => 21,
            Self::RollupsFolded(_) => 22,
        }
    }

    /// What it says of endpoints' rows, in order.
    pub fn endpoint_facts(&self) -> impl Iterator<Item = EndpointFact<'_>> {
        let changes = match self {
            Self::Configured(configured) => &configured.changes[..],
            _ => &[],
        };
        let by_itself = match self {
            Self::AttemptSettled(attempt) if attempt.disable.is_some() => {
                Some(EndpointFact::Disabled(attempt))
            }
            Self::EventAccepted(accepted) => accepted.notice_for.map(EndpointFact::NoticeGiven),
            _ => None,
        };
        let configured = changes.iter().filter_map(ConfigChange::endpoint_fact);
        by_itself.into_iter().chain(configured)
    }

    /// Whether the record changes what endpoints, keys and event types there are and how they stand. A rebuild reads
    /// these first.
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::Configured(_) | Self::FloorRaised(_) => true,
            Self::Carried(carried) => carried.configuration,
            Self::AttemptSettled(settled) => settled.disable.is_some(),
            Self::EventAccepted(accepted) => accepted.notice_for.is_some(),
            Self::DeliveriesRetried(_)
            | Self::DeliveriesEnded(_)
            | Self::EventReplayed(_)
            | Self::EventsForgotten(_)
            | Self::AttemptsForgotten(_)
            | Self::IdempotencyForgotten(_)
            | Self::EndpointsForgotten(_)
            | Self::PayloadErased(_)
            | Self::AuditForgotten(_)
            | Self::RollupsFolded(_) => false,
        }
    }
}
