//! One event as it is handed over: the project's own JSON document.
//!
//! `data` is kept byte for byte: it is cut out of the document, and neither parsed nor written again. That is why
//! numbers of any size, members of any order and escapes of any form reach the receiver as they were.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    json,
    problem::{Kind, Problem},
};
use crate::domain::{
    cloud_event as ce,
    event::{EventType, Label, NewEvent, Payload},
    id::EventId,
    limits,
    time::Timestamp,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an event, which is an object")]
struct Document<'a> {
    #[serde(rename = "type")]
    event_type: Option<EventType>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
    content_type: Option<String>,
    id: Option<EventId>,
    tenant: Option<Label>,
    channel: Option<Label>,
    ordering_key: Option<Label>,
    occurred_at: Option<Timestamp>,
    deliver_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    attributes: Option<Attributes>,
}

/// Tells `"data": null`, which is a payload, from no `data`.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one event. The payload shares the body's memory.
///
/// # Errors
/// [`Kind::MalformedDocument`] when it is not JSON, [`Kind::Invalid`] naming the member and the rule otherwise.
pub fn read(body: &Bytes) -> Result<NewEvent, Problem> {
    let text = json::checked_text(body)?;
    if text.trim_start().starts_with('[') {
        return Err(Problem::new(
            Kind::Invalid,
            "one event is an object; for several send one a line as application/x-ndjson",
        ));
    }
    let document: Document<'_> = json::read(text)?;
    let payload = payload(&document, body)?;
    let attributes = document.attributes.unwrap_or_default().0;
    refuse_kept(&attributes)?;
    let event_type = document
        .event_type
        .ok_or_else(|| invalid("type", "is missing; name the event's type"))?;
    Ok(NewEvent {
        id: document.id,
        event_type,
        tenant: document.tenant,
        channel: document.channel,
        ordering_key: document.ordering_key,
        occurred_at: document.occurred_at,
        deliver_at: document.deliver_at,
        expires_at: document.expires_at,
        attributes,
        payload,
    })
}

/// What the server keeps of a CloudEvent is for CloudEvents alone: it would change what others are sent as.
fn refuse_kept(attributes: &BTreeMap<String, String>) -> Result<(), Problem> {
    match attributes.keys().find(|name| name.starts_with(ce::KEPT_PREFIX)) {
        None => Ok(()),
        Some(name) => Err(invalid(
            &format!("attributes.{name}"),
            "is reserved: names that begin with ce- are what the server keeps of a CloudEvent; choose another \
             name, or send the event as a CloudEvent",
        )),
    }
}

fn payload(document: &Document<'_>, body: &Bytes) -> Result<Payload, Problem> {
    match (document.data, &document.data_base64, &document.content_type) {
        (Some(_), Some(_), _) => Err(invalid("data_base64", "goes without data; give one of the two")),
        (Some(_), None, Some(_)) => Err(invalid("content_type", "goes with data_base64; data is JSON")),
        (Some(data), None, None) => Ok(Payload {
            content_type: None,
            bytes: body.slice_ref(data.get().as_bytes()),
        }),
        (None, Some(_), None) => Err(invalid(
            "content_type",
            "is missing; data_base64 needs its media type",
        )),
        (None, Some(data), Some(content_type)) => opaque(data, content_type),
        (None, None, _) => Err(invalid(
            "data",
            "is missing; give any JSON, null included, or data_base64",
        )),
    }
}

fn opaque(data: &str, content_type: &str) -> Result<Payload, Problem> {
    if !is_media_type(content_type) {
        return Err(invalid(
            "content_type",
            "is not a media type such as text/plain; charset=utf-8",
        ));
    }
    let decoded = STANDARD.decode(data);
    let bytes = decoded.map_err(|_| {
        invalid(
            "data_base64",
            "is not standard base64 with padding (RFC 4648, section 4)",
        )
    })?;
    Ok(Payload {
        content_type: Some(content_type.to_owned()),
        bytes: bytes.into(),
    })
}

/// Whether a text may be sent as `Content-Type`: `type/subtype` and parameters, in visible ASCII and spaces.
pub(super) fn is_media_type(text: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let names = essence
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    names && text.len() <= limits::LABEL_BYTES && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn invalid(field: &str, rule: &str) -> Problem {
    Problem::of_field(Kind::Invalid, field, rule)
}

/// Texts by name. A name that is there twice is refused: which one counts would be a guess.
#[derive(Default)]
struct Attributes(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Attributes, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some((name, value)) = access.next_entry::<String, String>()? {
            if attributes.len() == limits::ATTRIBUTES {
                return Err(A::Error::custom("more than 64 entries"));
            }
            if attributes.insert(name, value).is_some() {
                return Err(A::Error::custom("a name is there twice"));
            }
        }
        Ok(Attributes(attributes))
    }
}

#[cfg(test)]
mod tests;
