//! Structured mode: the whole CloudEvent as one JSON document.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Context, Data, Labels};
use crate::{
    api::{
        event_document::is_media_type,
        json,
        problem::{Kind, Problem},
    },
    domain::{cloud_event as ce, event::NewEvent},
};

/// Attributes that CloudEvents itself has: each is a text.
const TEXTS: [&str; 7] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "dataschema",
];

const OCTETS: &str = "application/octet-stream";

/// Reads one CloudEvent. JSON data shares the document's memory.
///
/// # Errors
/// [`Kind::MalformedDocument`] when it is not JSON, [`Kind::Invalid`] naming the member and the rule otherwise.
pub fn read(document: &Bytes, labels: &Labels) -> Result<NewEvent, Problem> {
    let text = json::checked_text(document)?;
    let Members(mut members) = json::read(text)?;
    let data = data(&mut members, document)?;
    let mut context = Context::new("");
    for (name, value) in members {
        if let Some(text) = attribute(&name, value)? {
            context.put(&name, text)?;
        }
    }
    context.into_event(data, labels)
}

/// An attribute's value as text; a null is an attribute left out.
fn attribute(name: &str, value: &RawValue) -> Result<Option<String>, Problem> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') => text(name, value).map(Some),
        Some(b'n') => Ok(None),
        Some(b't' | b'f') if !TEXTS.contains(&name) => Ok(Some(raw.to_owned())),
        Some(b'-' | b'0'..=b'9') if !TEXTS.contains(&name) => match raw.parse::<i32>() {
            Ok(_) => Ok(Some(raw.to_owned())),
            Err(_) => Err(invalid(
                name,
                "is not an integer of 32 bits, which is all that CloudEvents know; write it as a text",
            )),
        },
        _ if TEXTS.contains(&name) => Err(invalid(name, "is not a text")),
        _ => Err(invalid(
            name,
            "is an object or a list; attributes are texts, integers and booleans",
        )),
    }
}

fn text(name: &str, value: &RawValue) -> Result<String, Problem> {
    serde_json::from_str(value.get()).map_err(|_| invalid(name, "is not a text of whole characters"))
}

fn data(members: &mut BTreeMap<String, &RawValue>, document: &Bytes) -> Result<Data, Problem> {
    // A null is an attribute left out, and data of its own.
    let mut given = |name: &str| members.remove(name).filter(|value| value.get() != "null");
    let content_type = given("datacontenttype")
        .map(|value| text("datacontenttype", value))
        .transpose()?;
    let base64 = given("data_base64")
        .map(|value| text("data_base64", value))
        .transpose()?;
    let plain = members.remove("data");
    if content_type.as_deref().is_some_and(|text| !is_media_type(text)) {
        return Err(invalid(
            "datacontenttype",
            "is not a media type such as text/plain; charset=utf-8",
        ));
    }
    let is_json = content_type.as_deref().is_none_or(ce::is_json);
    match (plain, base64, content_type) {
        (Some(_), Some(_), _) => Err(invalid("data_base64", "goes without data; give one of the two")),
        (None, None, _) => Ok(Data::None),
        (Some(value), None, content_type) if is_json => Ok(Data::Json(
            document.slice_ref(value.get().as_bytes()),
            content_type,
        )),
        (Some(value), None, content_type) => {
            let text: String = serde_json::from_str(value.get()).map_err(|_| {
                invalid(
                    "data",
                    "is not a text, and datacontenttype is not JSON; give data_base64",
                )
            })?;
            Ok(Data::Other(
                text.into(),
                content_type.unwrap_or_else(|| OCTETS.to_owned()),
            ))
        }
        (None, Some(base64), content_type) => decoded(&base64, content_type),
    }
}

fn decoded(base64: &str, content_type: Option<String>) -> Result<Data, Problem> {
    let bytes: Bytes = STANDARD
        .decode(base64)
        .map_err(|_| {
            invalid(
                "data_base64",
                "is not standard base64 with padding (RFC 4648, section 4)",
            )
        })?
        .into();
    match content_type {
        Some(content_type) if ce::is_json(&content_type) => {
            let json = json::check(&bytes)
                .map_err(|_| invalid("data_base64", "is not JSON, and datacontenttype says that it is"))?;
            Ok(Data::Json(json, Some(content_type)))
        }
        other => Ok(Data::Other(bytes, other.unwrap_or_else(|| OCTETS.to_owned()))),
    }
}

fn invalid(field: &str, rule: &str) -> Problem {
    Problem::of_field(Kind::Invalid, field, rule)
}

/// The members of a CloudEvent by name, each there once.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = BTreeMap<String, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = access.next_entry()? {
            if members.insert(name, value).is_some() {
                // `json::read` finds out which.
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(members)
    }
}
