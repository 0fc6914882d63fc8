//! What the journal says again, or says is gone, so that its oldest segments can be deleted.
//!
//! A [`Carried`] record holds rows of the store as they were at its place in the journal, exactly: nothing was appended
//! between the look at them and the record. Where the records before it are still there it says nothing new, where
//! they are gone it says all that is left of them. The others are about things that may be gone already, and then
//! change nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    id::{DeliveryKey, EndpointId, Lsn},
    record::{EventAccepted, EventTypePut},
    time::Timestamp,
};

/// A row of the store as it stands: key, and version with value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCopy {
    pub key: Bytes,
    pub row: Bytes,
}

impl RowCopy {
    /// What it takes in a record, in bytes.
    pub fn size(&self) -> usize {
        self.key.len() + self.row.len() + 16
    }
}

/// What else stood in the record that is about to be deleted, and now stands here. Ordinals are persisted: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Home {
    None,
    /// The event that the record at `lsn` accepted; its row points here from now on.
    Event {
        lsn: Lsn,
        event: Box<EventAccepted>,
    },
    /// A declaration, whose row points here from now on.
    EventType(Box<EventTypePut>),
}

/// Rows carried forward. Applying it puts them, whatever there was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    pub rows: Vec<RowCopy>,
    pub home: Home,
    /// Rows of endpoints, API keys or event types are among them.
    pub configuration: bool,
}

/// An event that is settled and past its time, with what belongs to it and cannot be told from its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenEvent {
    pub event: Lsn,
    pub idempotency_key: Option<String>,
    /// Its deliveries beyond its fan-out.
    pub added: Vec<DeliveryKey>,
    /// All attempts of its deliveries that are known.
    pub attempts: Vec<Lsn>,
}

/// Events are gone, with their deliveries and attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsForgotten {
    pub events: Vec<ForgottenEvent>,
}

/// Attempts are gone: those settled by records from `from` on and below `before`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptsForgotten {
    pub from: Lsn,
    pub before: Lsn,
}

/// Idempotency keys are free again, those whose time was over at `at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyForgotten {
    pub keys: Vec<String>,
    pub at: Timestamp,
}

/// The records below `floor` are about to be deleted. What is here is what applying later ones may depend on: a store
/// that is made from the rest of the journal begins with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorRaised {
    pub floor: Lsn,
    /// The newest time at which an event below the floor was accepted.
    pub accepted_at: Timestamp,
    /// Endpoints that were deleted below the floor.
    pub deleted: Vec<EndpointId>,
    /// Their rows.
    pub rows: Vec<RowCopy>,
}

impl FloorRaised {
    /// A floor of which nothing more is known.
    pub const fn bare(floor: Lsn) -> Self {
        Self {
            floor,
            accepted_at: Timestamp::EPOCH,
            deleted: Vec::new(),
            rows: Vec::new(),
        }
    }
}

/// Nothing is left to remember of these deleted endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointsForgotten {
    pub endpoints: Vec<EndpointId>,
}
