//! What storage answers: events, deliveries, attempts and endpoints as they are stored, and counts.
//!
//! Local storage has [`StoredEndpoint`], [`Totals`] and [`Tally`] as rows: their members are append-only, with a new version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Unread;
use crate::domain::{
    configuration::EndpointFact,
    delivery::{Counts, Delivery},
    endpoint::{EndpointState, Standing, StateChange},
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

/// An endpoint, or what is left of a deleted one. Its configuration is sealed: storage cannot read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEndpoint {
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    pub standing: Standing,
    pub sealed: Vec<u8>,
}

impl StoredEndpoint {
    /// The endpoint after something that was stored of it, as `lsn`; `None` when it changes nothing.
    pub fn after(row: Option<&Self>, lsn: Lsn, fact: EndpointFact<'_>) -> Option<Self> {
        match (row, fact) {
            (None, EndpointFact::Put(put)) => Some(Self {
                created_at: put.at,
                updated_at: put.at,
                deleted_at: None,
                standing: Standing::new(&put.initial, put.at),
                sealed: put.sealed.clone(),
            }),
            // Its earlier records are gone, or damaged: that it is deleted is all that matters from here on.
            (None, EndpointFact::Deleted(deleted)) => Some(Self {
                created_at: deleted.at,
                updated_at: deleted.at,
                deleted_at: Some(deleted.at),
                standing: Standing::new(&StateChange::Pause, deleted.at),
                sealed: Vec::new(),
            }),
            (None, _) => None,
            (Some(row), _) if row.deleted_at.is_some() => None,
            (Some(row), fact) => row.changed(lsn, fact),
        }
    }

    /// The newest time that it says.
    pub fn newest(&self) -> Timestamp {
        let stood = self.updated_at.max(self.standing.since);
        self.deleted_at.map_or(stood, |deleted| stood.max(deleted))
    }

    fn changed(&self, lsn: Lsn, fact: EndpointFact<'_>) -> Option<Self> {
        let mut row = self.clone();
        match fact {
            EndpointFact::Put(put) => {
                row.updated_at = put.at;
                row.sealed.clone_from(&put.sealed);
            }
            EndpointFact::Changed(changed) => row.standing = Standing::new(&changed.change, changed.at),
            EndpointFact::Deleted(deleted) => {
                row.deleted_at = Some(deleted.at);
                row.sealed = Vec::new();
            }
            EndpointFact::Disabled(attempt) => {
                let reason = attempt.disable?;
                let standing = &row.standing;
                if standing.state != EndpointState::Active || standing.since > attempt.started_at {
                    return None;
                }
                row.standing = Standing::disabled_by(reason, (attempt.started_at, lsn), attempt.ended_at());
            }
            EndpointFact::NoticeGiven(_) => row.standing.notice_due = false,
        }
        Some(row)
    }
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
