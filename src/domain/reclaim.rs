//! What the journal says again, or says is gone, so that its oldest segments can be deleted.
//!
//! A [`Carried`] record holds state as it was at its place in the journal, exactly: nothing was appended between the look
//! at it and the record. Where the records before it are still there it says nothing new, where they are gone it says all
//! that is left of them. The others are about things that may be gone already, and then change nothing.
//!
//! The state is the domain's, not a storage engine's: an index makes rows of it as it makes them of any record. Version 1 of
//! these records held rows of the index; see [`State::Row`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    delivery::{Counts, Delivery},
    endpoint::Standing,
    event::{ContentHash, EventType, Label},
    health::Health,
    id::{DeliveryKey, EndpointId, EventId, Lsn},
    ordering::Strand,
    record::{EventAccepted, EventTypePut, KeyPut, Place},
    rollup::{Rollup, Series, WholeInterval},
    time::Timestamp,
};

/// A part of the state. Ordinals are persisted: append only, before `Row`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Event(Box<EventFacts>),
    Delivery(Box<DeliveryFacts>),
    Attempt(AttemptLink),
    Endpoint(Box<EndpointFacts>),
    ApiKey(Box<KeyPut>),
    EventType(Box<EventTypeFacts>),
    Tally(Box<EndpointTally>),
    Totals(Box<Totals>),
    Forgotten(Box<Forgotten>),
    /// The rollups of one interval, all of them.
    Rollups(Box<WholeInterval>),
    /// A row of the index as version 1 carried it, where a single row does not say enough to be read as state. It is
    /// applied as it is, and never written.
    #[serde(skip)]
    Row(RowCopy),
}

/// What is known of an event beside its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFacts {
    /// The record that accepted it.
    pub lsn: Lsn,
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub accepted_at: Timestamp,
    pub content_hash: ContentHash,
    /// Deliveries of its fan-out.
    pub deliveries: u32,
    /// What its ordering key makes of it.
    pub strand: Option<Strand>,
    /// Its idempotency key, if that still stands for it.
    pub idempotency: Option<IdempotencyClaim>,
    pub erased: Option<Erasure>,
    /// Its record could not be read, and goes: nothing is left of the event but this.
    pub lost: bool,
}

/// An idempotency key that stands for an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyClaim {
    /// As the event's record has it.
    pub key: String,
    pub until: Timestamp,
}

/// When an event's payload was erased, who asked for it, and where in the journal it stood: there it is overwritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub at: Timestamp,
    pub by: String,
    pub from: Place,
}

/// A delivery of an event that was carried before it. One that the event's own record did not make was added by a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFacts {
    pub delivery: Delivery,
    /// When it took its place in line, if it is scheduled and was tried since.
    pub since: Option<Timestamp>,
}

/// Which attempt of a delivery came before one whose own record stays.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLink {
    /// The record that settled the attempt.
    pub lsn: Lsn,
    pub previous: Option<Lsn>,
}

/// An endpoint, or what is left of a deleted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointFacts {
    pub id: EndpointId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    pub standing: Standing,
    /// The whole configuration with its secrets, sealed.
    pub sealed: Vec<u8>,
}

/// A declared event type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTypeFacts {
    pub name: EventType,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub declaration: Declaration,
}

/// Where an event type's declaration is. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Declaration {
    /// In the record that carries this.
    Here,
    /// In a record that stays.
    Elsewhere,
    /// It could not be read, and goes.
    Lost,
}

/// One endpoint's counts and health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointTally {
    pub endpoint: EndpointId,
    pub deliveries: Counts,
    pub health: Health,
}

/// Counts over everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub events: u64,
    /// Events whose fan-out was empty.
    pub unmatched: u64,
    pub deliveries: Counts,
    /// The newest time at which an event was accepted.
    pub accepted_at: Timestamp,
}

/// What is counted, and is not there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    pub events: u64,
    /// Deliveries by the state in which they ended, and attempts.
    pub deliveries: Counts,
}

/// A row of the index as it stood: key, and version with value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCopy {
    pub key: Bytes,
    pub row: Bytes,
}

impl State {
    /// About what it takes in a record, in bytes; never less.
    pub fn size(&self) -> usize {
        let texts = match self {
            Self::Event(event) => {
                let claim = event.idempotency.as_ref().map_or(0, |claim| claim.key.len());
                let tenant = event.tenant.as_ref().map_or(0, |tenant| tenant.as_str().len());
                let erased = event.erased.as_ref().map_or(0, |erased| erased.by.len());
                event.id.as_str().len() + event.event_type.as_str().len() + tenant + claim + erased
            }
            Self::Endpoint(endpoint) => endpoint.sealed.len(),
            Self::ApiKey(key) => {
                key.name.len() + key.tenant.as_ref().map_or(0, |tenant| tenant.as_str().len())
            }
            Self::EventType(declared) => declared.name.as_str().len(),
            Self::Row(copy) => copy.key.len() + copy.row.len(),
            Self::Rollups(whole) => whole.series.iter().map(rollup_size).sum(),
            Self::Attempt(_) => return 24,
            Self::Delivery(_) | Self::Tally(_) | Self::Totals(_) | Self::Forgotten(_) => 0,
        };
        texts + FIXED
    }
}

/// A series as an ordinal and what names it, and the counts of its rollup.
fn rollup_size((series, rollup): &(Series, Rollup)) -> usize {
    let name = match series {
        Series::All => 0,
        Series::Tenant(tenant) => 8 + tenant.as_str().len(),
        Series::Endpoint(_) => 16,
    };
    4 + name + rollup.size()
}

/// More than what a part of the state takes beside its texts.
const FIXED: usize = 192;

/// What else stood in the record that is about to be deleted, and now stands here. Ordinals are persisted: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Home {
    None,
    /// The event that the record at `lsn` accepted; it is read from here from now on.
    Event {
        lsn: Lsn,
        event: Box<EventAccepted>,
    },
    /// A declaration, which is read from here from now on.
    EventType(Box<EventTypePut>),
}

/// State carried forward. Applying it makes the state be so, whatever it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    pub state: Vec<State>,
    pub home: Home,
    /// Endpoints, API keys or event types are among it.
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

/// The minutes that begin before a time are gone, with their rollups added to those of their hours; and the hours that
/// begin before another time are gone.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupsFolded {
    pub minutes_before: Timestamp,
    pub hours_before: Timestamp,
}

/// Entries of the audit log from before this time are gone.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditForgotten {
    pub before: Timestamp,
}

/// The records below `floor` are about to be deleted. What is here is what applying later ones may depend on: a store
/// that is made from the rest of the journal begins with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorRaised {
    pub floor: Lsn,
    /// The newest time at which an event below the floor was accepted.
    pub accepted_at: Timestamp,
    /// Endpoints that were deleted below the floor.
    pub deleted: Vec<EndpointFacts>,
}

impl FloorRaised {
    /// A floor of which nothing more is known.
    pub const fn bare(floor: Lsn) -> Self {
        Self {
            floor,
            accepted_at: Timestamp::EPOCH,
            deleted: Vec::new(),
        }
    }
}

/// Nothing is left to remember of these deleted endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointsForgotten {
    pub endpoints: Vec<EndpointId>,
}
