//! Changes of configuration, and what one request changes of it.
//!
//! All changes of one request are one transaction, and one record of the journal: either all of them are there after a
//! crash or none is. Later changes of a transaction see the earlier ones.

use serde::{Deserialize, Serialize};

use super::{
    audit::AuditEntry,
    id::EndpointId,
    record::{
        AttemptSettled, DeliveriesEnded, EndpointChanged, EndpointDeleted, EndpointPut, EventTypeDeleted,
        EventTypePut, KeyPut, KeyRevoked, Record,
    },
};

/// One change of configuration. Ordinals are persisted: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigChange {
    EndpointPut(EndpointPut),
    EndpointChanged(EndpointChanged),
    EndpointDeleted(EndpointDeleted),
    KeyPut(KeyPut),
    KeyRevoked(KeyRevoked),
    EventTypePut(EventTypePut),
    EventTypeDeleted(EventTypeDeleted),
    /// Deliveries that end with the change: what an endpoint holds and is not to get when it is enabled.
    DeliveriesEnded(DeliveriesEnded),
    /// Who has asked for the other changes. Said again when the record that said it first is about to go.
    Audited(Box<AuditEntry>),
}

/// The changes of one transaction, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    pub changes: Vec<ConfigChange>,
}

impl From<ConfigChange> for Record {
    fn from(change: ConfigChange) -> Self {
        Self::Configured(Configured {
            changes: vec![change],
        })
    }
}

/// What changes the row of one endpoint.
#[derive(Copy, Clone, Debug)]
pub enum EndpointFact<'a> {
    Put(&'a EndpointPut),
    Changed(&'a EndpointChanged),
    Deleted(&'a EndpointDeleted),
    /// An attempt whose verdict disables the endpoint.
    Disabled(&'a AttemptSettled),
    /// The event that tells of its state is accepted.
    NoticeGiven(EndpointId),
}

impl EndpointFact<'_> {
    pub const fn endpoint(&self) -> EndpointId {
        match self {
            Self::Put(put) => put.id,
            Self::Changed(changed) => changed.id,
            Self::Deleted(deleted) => deleted.id,
            Self::Disabled(attempt) => attempt.endpoint,
            Self::NoticeGiven(id) => *id,
        }
    }
}

impl ConfigChange {
    /// What it says of an endpoint's row.
    pub const fn endpoint_fact(&self) -> Option<EndpointFact<'_>> {
        match self {
            Self::EndpointPut(put) => Some(EndpointFact::Put(put)),
            Self::EndpointChanged(changed) => Some(EndpointFact::Changed(changed)),
            Self::EndpointDeleted(deleted) => Some(EndpointFact::Deleted(deleted)),
            Self::KeyPut(_)
            | Self::KeyRevoked(_)
            | Self::EventTypePut(_)
            | Self::EventTypeDeleted(_)
            | Self::DeliveriesEnded(_)
            | Self::Audited(_) => None,
        }
    }
}
