//! What a body is, and its members by name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::xml;
use crate::cli::receiver::Call;

/// A body, read as far as its top members.
#[derive(Debug)]
pub struct Content<'a> {
    pub kind: Kind,
    members: Members<'a>,
}

/// What a body is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Json,
    /// UTF-8 of any other kind: a form, XML, plain text.
    Text,
    Bytes,
}

#[derive(Debug)]
enum Members<'a> {
    None,
    Json(BTreeMap<String, &'a RawValue>),
    /// Of a form or of XML.
    Texts(BTreeMap<String, String>),
}

const FORM: &str = "application/x-www-form-urlencoded";

impl<'a> Content<'a> {
    /// Reads a body. An object is JSON whatever it says it is; what says that it is a form or XML is that; the rest is JSON
    /// if it reads as that.
    pub fn of(call: &'a Call) -> Self {
        let content_type = call.headers.get(http::header::CONTENT_TYPE);
        let media = content_type.and_then(|value| value.to_str().ok()).unwrap_or("");
        let media = media.split(';').next().unwrap_or("").trim();
        let Ok(text) = std::str::from_utf8(&call.body) else {
            return Self {
                kind: Kind::Bytes,
                members: Members::None,
            };
        };
        if let Ok(members) = serde_json::from_str(text) {
            return Self {
                kind: Kind::Json,
                members: Members::Json(members),
            };
        }
        if let Some(members) = texts(media, text) {
            return Self {
                kind: Kind::Text,
                members: Members::Texts(members),
            };
        }
        let kind = match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => Kind::Json,
            Err(_) => Kind::Text,
        };
        Self {
            kind,
            members: Members::None,
        }
    }

    pub fn has(&self, name: &str) -> bool {
        match &self.members {
            Members::None => false,
            Members::Json(members) => members.contains_key(name),
            Members::Texts(members) => members.contains_key(name),
        }
    }

    /// A member that is text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.read(name)
    }

    /// A member that is no object and no list, as it is written; text without its quotes.
    pub fn scalar(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A member, whatever it is.
    pub fn value(&self, name: &str) -> Option<Value> {
        self.read(name)
    }

    /// A member as a `T`.
    pub fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        match &self.members {
            Members::None => None,
            Members::Json(members) => serde_json::from_str(members.get(name)?.get()).ok(),
            Members::Texts(members) => T::deserialize(Value::from(members.get(name)?.as_str())).ok(),
        }
    }
}

/// The members of a form or of XML.
fn texts(media: &str, text: &str) -> Option<BTreeMap<String, String>> {
    if media.eq_ignore_ascii_case(FORM) {
        return Some(
            url::form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        );
    }
    let media = media.to_ascii_lowercase();
    let is_xml = media.ends_with("/xml") || media.ends_with("+xml");
    is_xml.then(|| xml::members(text).unwrap_or_default())
}
