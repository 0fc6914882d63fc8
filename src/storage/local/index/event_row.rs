//! The row of an event, in all its versions.

use serde::{Deserialize, Serialize};

use super::rows::Row;
use crate::{
    domain::{
        event::{ContentHash, EventType, Label},
        id::EventId,
        ordering::Strand,
        reclaim::Erasure,
        record::Place,
        time::Timestamp,
    },
    runtime::codec::{CodecError, decode_body},
};

/// An event; the rest of it is in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub accepted_at: Timestamp,
    pub content_hash: ContentHash,
    pub deliveries: u32,
    pub place: Place,
    /// What its ordering key makes of it; since version 2.
    pub key: Option<Strand>,
    /// Its payload was erased; since version 3.
    pub erased: Option<Erasure>,
    /// The marks of its attributes and its idempotency key (see `marks`); since version 4.
    pub marks: Vec<u64>,
}

/// Versions 1 to 3 lacked what stands at the end.
#[derive(Deserialize)]
struct EventRowV1 {
    id: EventId,
    event_type: EventType,
    tenant: Option<Label>,
    accepted_at: Timestamp,
    content_hash: ContentHash,
    deliveries: u32,
    place: Place,
}

#[derive(Deserialize)]
struct EventRowV2 {
    first: EventRowV1,
    key: Option<Strand>,
}

#[derive(Deserialize)]
struct EventRowV3 {
    second: EventRowV2,
    erased: Option<Erasure>,
}

impl Row for EventRow {
    const VERSION: u8 = 4;

    /// Version 1 knew no ordering keys: its events are in order with nothing by theirs. Version 2 knew no erasures,
    /// version 3 no marks.
    fn read_old(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        match version {
            1 => decode_body::<EventRowV1>(body).map(Into::into),
            2 => decode_body::<EventRowV2>(body).map(Into::into),
            3 => decode_body::<EventRowV3>(body).map(Into::into),
            other => Err(CodecError::Version(other)),
        }
    }
}

impl From<EventRowV1> for EventRow {
    fn from(old: EventRowV1) -> Self {
        Self {
            id: old.id,
            event_type: old.event_type,
            tenant: old.tenant,
            accepted_at: old.accepted_at,
            content_hash: old.content_hash,
            deliveries: old.deliveries,
            place: old.place,
            key: None,
            erased: None,
            marks: Vec::new(),
        }
    }
}

impl From<EventRowV2> for EventRow {
    fn from(old: EventRowV2) -> Self {
        Self {
            key: old.key,
            ..old.first.into()
        }
    }
}

impl From<EventRowV3> for EventRow {
    fn from(old: EventRowV3) -> Self {
        Self {
            erased: old.erased,
            ..old.second.into()
        }
    }
}
