//! What conditions and transforms may know of an event.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{event::Payload, record::EventAccepted, time::Timestamp};

/// An event as an expression sees it. Every member but the payload's bytes is known by the name it has here; the
/// payload is `data`, which is null when it is not JSON.
#[derive(Copy, Clone, Debug)]
pub struct Facts<'a> {
    pub id: &'a str,
    pub event_type: &'a str,
    pub tenant: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub attributes: &'a BTreeMap<String, String>,
    pub occurred_at: Timestamp,
    /// JSON text; `None` for any other media type.
    pub data: Option<&'a Bytes>,
}

/// The names by which expressions know them.
pub const NAMES: [&str; 7] = [
    "id",
    "type",
    "data",
    "tenant",
    "channel",
    "attributes",
    "occurred_at",
];

impl Payload {
    /// The bytes, when they are JSON.
    pub fn json(&self) -> Option<&Bytes> {
        self.content_type.is_none().then_some(&self.bytes)
    }
}

impl<'a> From<&'a EventAccepted> for Facts<'a> {
    fn from(event: &'a EventAccepted) -> Self {
        Self {
            id: event.id.as_str(),
            event_type: event.event_type.as_str(),
            tenant: event.tenant.as_ref().map(|label| label.as_str()),
            channel: event.channel.as_ref().map(|label| label.as_str()),
            attributes: &event.attributes,
            occurred_at: event.occurred_at,
            data: event.payload.json(),
        }
    }
}
