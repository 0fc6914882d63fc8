//! What queries answer: events, deliveries and attempts as they are stored, and counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Unread;
use crate::domain::{
    delivery::{Counts, Delivery},
    event::{EventType, Label},
    health::Health,
    id::{DeliveryId, DeliveryKey, EndpointId, EventId, Lsn},
    outcome::{Class, Reason},
    record::{AttemptSettled, EventAccepted},
    time::Timestamp,
};

/// An event, as far as it can be listed and found. It is known also when the event itself is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFacts {
    pub sequence: Lsn,
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub accepted_at: Timestamp,
    /// How many deliveries it became when it was accepted.
    pub deliveries: u32,
    /// Its payload was erased.
    pub erased: Option<Erased>,
}

/// When an event's payload was erased, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    pub at: Timestamp,
    pub by: String,
}

/// The rest of an event, but for its payload and its fan-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDetails {
    pub channel: Option<Label>,
    pub ordering_key: Option<Label>,
    pub occurred_at: Timestamp,
    /// When its deliveries were first due.
    pub due: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub attributes: BTreeMap<String, String>,
    /// `None` for JSON.
    pub content_type: Option<String>,
    pub payload_bytes: u64,
}

impl EventDetails {
    pub fn of(event: &EventAccepted) -> Self {
        Self {
            channel: event.channel.clone(),
            ordering_key: event.ordering_key.clone(),
            occurred_at: event.occurred_at,
            due: event.due,
            expires_at: event.expires_at,
            attributes: event.attributes.clone(),
            content_type: event.payload.content_type.clone(),
            payload_bytes: event.payload.bytes.len() as u64,
        }
    }
}

/// An event of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub facts: EventFacts,
    pub details: Result<EventDetails, Unread>,
}

/// A delivery, and its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDelivery {
    pub delivery: Delivery,
    /// `None` when nothing is known of the event: what said so is damaged.
    pub event: Option<EventFacts>,
}

/// An attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAttempt {
    pub sequence: Lsn,
    pub facts: AttemptFacts,
    /// `None` for a test or a handshake, which belong to no delivery, and when the delivery is not known any more.
    pub delivery: Option<DeliveryId>,
    /// `None` when neither the attempt nor the delivery's event tells.
    pub event: Option<EventId>,
    pub record: Result<AttemptSettled, Unread>,
}

/// An attempt, as far as it can be listed. It is known also when the attempt itself is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFacts {
    pub delivery: Option<DeliveryKey>,
    pub endpoint: EndpointId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub started_at: Timestamp,
    pub class: Class,
    pub reason: Reason,
    pub status: Option<u16>,
}

/// An event that an endpoint may have missed, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingEvent {
    pub sequence: Lsn,
    pub event: EventAccepted,
}

/// Counts over everything.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub events: u64,
    /// Events whose fan-out was empty.
    pub unmatched: u64,
    pub deliveries: Counts,
    /// The newest time at which an event was accepted; since version 2.
    pub accepted_at: Timestamp,
}

/// One endpoint's counts and health.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub deliveries: Counts,
    pub health: Health,
}

/// A row of a list.
pub trait Listed {
    /// Where it stands among all rows of its kind, in the order in which they were accepted, made or begun.
    fn position(&self) -> DeliveryKey;
}

impl Listed for StoredEvent {
    fn position(&self) -> DeliveryKey {
        DeliveryKey::new(self.facts.sequence, 0)
    }
}

impl Listed for StoredDelivery {
    fn position(&self) -> DeliveryKey {
        self.delivery.key
    }
}

impl Listed for StoredAttempt {
    fn position(&self) -> DeliveryKey {
        DeliveryKey::new(self.sequence, 0)
    }
}

impl Listed for MissingEvent {
    fn position(&self) -> DeliveryKey {
        DeliveryKey::new(self.sequence, 0)
    }
}
