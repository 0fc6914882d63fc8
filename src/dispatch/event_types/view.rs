//! The documents of the registry.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{catalogue::Declared, text_of};
use crate::domain::{event::EventType, record::EventTypePut, time::Timestamp};

/// A declaration as it is handed over; its name is in the path.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEventType {
    /// May be repeated here, for a document that is put as it was shown.
    #[serde(rename = "type")]
    pub event_type: Option<EventType>,
    pub description: Option<String>,
    pub schema: Option<Box<RawValue>>,
    pub example: Option<Box<RawValue>>,
    pub deprecated: Option<bool>,
    /// Shown, and the server's to set: passed over.
    #[serde(rename = "created_at")]
    _created_at: Option<IgnoredAny>,
    #[serde(rename = "updated_at")]
    _updated_at: Option<IgnoredAny>,
    #[serde(rename = "validated")]
    _validated: Option<IgnoredAny>,
}

impl NewEventType {
    pub(super) fn into_record(self, event_type: EventType, at: Timestamp) -> EventTypePut {
        EventTypePut {
            event_type,
            at,
            description: self.description,
            schema: text_of(self.schema),
            example: text_of(self.example),
            deprecated: self.deprecated.unwrap_or(false),
        }
    }
}

/// A declared event type.
#[derive(Debug, Serialize)]
pub struct EventTypeView {
    #[serde(rename = "type")]
    pub event_type: EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When one is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Box<RawValue>>,
    /// When one is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<Box<RawValue>>,
    pub deprecated: bool,
    /// Whether events are held against a schema.
    pub validated: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What an import did, or would do.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    pub dry_run: bool,
    pub created: Vec<EventType>,
    pub changed: Vec<EventType>,
    pub unchanged: Vec<EventType>,
    pub refused: Vec<Refused>,
}

/// A webhook that was not imported.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The webhook's name.
    #[serde(rename = "type")]
    pub name: String,
    /// The place in the description, as a JSON pointer.
    pub pointer: String,
    pub rule: String,
}

pub(super) fn listed(declared: &Declared) -> EventTypeView {
    EventTypeView {
        event_type: declared.put.event_type.clone(),
        description: declared.put.description.clone(),
        schema: None,
        example: None,
        deprecated: declared.put.deprecated,
        validated: declared.schema.is_some(),
        created_at: declared.created_at,
        updated_at: declared.put.at,
    }
}

pub(super) fn show(declared: &Declared) -> EventTypeView {
    let raw = |text: &Option<String>| text.clone().and_then(|text| RawValue::from_string(text).ok());
    EventTypeView {
        schema: raw(&declared.put.schema),
        example: raw(&declared.put.example),
        ..listed(declared)
    }
}
