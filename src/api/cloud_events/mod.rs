//! CloudEvents 1.0 as they are handed over: structured, in a batch, or binary.
//!
//! Both ways of reading ([`structured`], [`binary`]) gather the attributes as texts, and one place ([`Context`]) makes an
//! event of them: `source`, `subject`, `dataschema` and extensions become its attributes, so that it can go out as the same
//! CloudEvent. Booleans and integers become their texts; what type they had is not kept. An id that ours cannot be is
//! derived from source and id, and kept beside it. What our events have and CloudEvents have not (tenant, channel, times)
//! comes in the query; the extension `partitionkey` is the ordering key unless the query gives one.

pub mod binary;
pub mod structured;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    params::Params,
    problem::{Kind, Problem},
};
use crate::domain::{
    cloud_event as ce,
    event::{EventType, Label, NewEvent, Payload, is_unsafe},
    id::EventId,
    limits,
    time::Timestamp,
};

/// Attributes of one CloudEvent: a few of an event's own are left for what is kept beside them.
const ATTRIBUTES: usize = limits::ATTRIBUTES - 4;

const PARTITION_KEY: &str = "partitionkey";
const JSON: &str = "application/json";

/// What a request says of all its CloudEvents in the query.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    pub tenant: Option<Label>,
    channel: Option<Label>,
    ordering_key: Option<Label>,
    deliver_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl Labels {
    /// # Errors
    /// [`Kind::InvalidQuery`] naming the parameter.
    pub fn take(mut params: Params) -> Result<Self, Problem> {
        let labels = Self {
            tenant: params.take("tenant")?,
            channel: params.take("channel")?,
            ordering_key: params.take("ordering_key")?,
            deliver_at: params.take("deliver_at")?,
            expires_at: params.take("expires_at")?,
        };
        params.finish()?;
        Ok(labels)
    }
}

/// The attributes of a CloudEvent as texts, and what stands before their names where they came from.
struct Context {
    prefix: &'static str,
    attributes: BTreeMap<String, String>,
}

/// A CloudEvent's data.
enum Data {
    None,
    /// With its media type as it was written.
    Json(Bytes, Option<String>),
    Other(Bytes, String),
}

impl Context {
    const fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            attributes: BTreeMap::new(),
        }
    }

    fn invalid(&self, name: &str, rule: &str) -> Problem {
        Problem::of_field(Kind::Invalid, format!("{}{name}", self.prefix), rule)
    }

    /// Takes one attribute.
    fn put(&mut self, name: &str, value: String) -> Result<(), Problem> {
        if !ce::is_attribute_name(name) {
            return Err(self.invalid(
                name,
                "is no name of a CloudEvents attribute; use 1 to 20 of a-z and 0-9",
            ));
        }
        if value.len() > limits::ATTRIBUTE_BYTES {
            return Err(self.invalid(name, "has more than 1024 bytes; shorten it"));
        }
        if value.chars().any(is_unsafe) {
            return Err(self.invalid(name, "holds control characters; remove them"));
        }
        if self.attributes.len() == ATTRIBUTES {
            return Err(self.invalid(name, "is one attribute too many; at most 60 are taken"));
        }
        match self.attributes.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(self.invalid(name, "is there twice; give it once")),
        }
    }

    fn required(&self, name: &str) -> Result<&str, Problem> {
        match self.attributes.get(name).map(String::as_str) {
            None => Err(self.invalid(
                name,
                "is missing; a CloudEvent has specversion, id, source and type",
            )),
            Some("") => Err(self.invalid(name, "is empty")),
            Some(text) => Ok(text),
        }
    }

    /// Makes the event.
    fn into_event(mut self, data: Data, labels: &Labels) -> Result<NewEvent, Problem> {
        let version = self.required("specversion")?;
        if version != ce::VERSION {
            let rule = format!("is {version:?}; only 1.0 is taken");
            return Err(self.invalid("specversion", &rule));
        }
        let event_type: EventType = self.parsed("type")?;
        let (id, kept_id) = self.id()?;
        let (occurred_at, kept_time) = self.time()?;
        for name in [ce::SUBJECT, ce::DATA_SCHEMA] {
            if self.attributes.contains_key(name) {
                self.required(name)?;
            }
        }
        let ordering_key = match &labels.ordering_key {
            None if self.attributes.contains_key(PARTITION_KEY) => Some(self.parsed(PARTITION_KEY)?),
            given => given.clone(),
        };
        for name in ["specversion", "id", "type", "time"] {
            self.attributes.remove(name);
        }
        let (payload, kept_data) = payload(data);
        let kept = [(ce::KEPT_ID, kept_id), (ce::KEPT_TIME, kept_time)];
        let kept = kept.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let kept = kept.chain(kept_data);
        self.attributes
            .extend(kept.map(|(name, text)| (name.to_owned(), text)));
        Ok(NewEvent {
            id: Some(id),
            event_type,
            tenant: labels.tenant.clone(),
            channel: labels.channel.clone(),
            ordering_key,
            occurred_at,
            deliver_at: labels.deliver_at,
            expires_at: labels.expires_at,
            attributes: self.attributes,
            payload,
        })
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, Problem> {
        let parsed = self.required(name)?.parse();
        parsed.map_err(|error: T::Err| self.invalid(name, &error.to_string()))
    }

    /// The event's id, and the CloudEvent's own when that is another one.
    fn id(&self) -> Result<(EventId, Option<String>), Problem> {
        let (source, id) = (self.required(ce::SOURCE)?, self.required("id")?);
        Ok(match id.parse() {
            Ok(own) => (own, None),
            Err(_) => (ce::derived_id(source, id), Some(id.to_owned())),
        })
    }

    /// The time, and its text when that says more.
    fn time(&self) -> Result<(Option<Timestamp>, Option<String>), Problem> {
        let Some(text) = self.attributes.get("time") else {
            return Ok((None, None));
        };
        if !is_rfc3339(text) {
            return Err(self.invalid("time", "is not a time such as 2026-11-21T05:30:00Z (RFC 3339)"));
        }
        let time: Timestamp = self.parsed("time")?;
        let kept = Some(text.clone()).filter(|text| *text != time.to_string());
        Ok((Some(time), kept))
    }
}

fn payload(data: Data) -> (Payload, Option<(&'static str, String)>) {
    let json = |bytes| Payload {
        content_type: None,
        bytes,
    };
    match data {
        Data::None => (
            json(Bytes::from_static(b"null")),
            Some((ce::NO_DATA, "true".to_owned())),
        ),
        Data::Json(bytes, content_type) => {
            let special = content_type.filter(|text| text != JSON);
            (json(bytes), special.map(|text| (ce::KEPT_CONTENT_TYPE, text)))
        }
        Data::Other(bytes, content_type) => {
            let content_type = Some(content_type);
            (Payload { content_type, bytes }, None)
        }
    }
}

/// Whether a text has the form of RFC 3339; that it is a day of the calendar is not its question.
fn is_rfc3339(text: &str) -> bool {
    const SECONDS: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let like = |pattern: &[u8], text: &[u8]| {
        pattern.len() == text.len()
            && pattern.iter().zip(text).all(|(pattern, byte)| match pattern {
                b'0' => byte.is_ascii_digit(),
                other => byte.eq_ignore_ascii_case(other),
            })
    };
    let Some((head, rest)) = bytes.split_at_checked(SECONDS.len()) else {
        return false;
    };
    let digits = rest.get(1..).unwrap_or_default();
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let zone = match rest.first() {
        Some(b'.') if digits > 0 => &rest[1 + digits..],
        _ => rest,
    };
    let offset = zone.first().is_some_and(|sign| b"+-".contains(sign)) && like(b"00:00", &zone[1..]);
    like(SECONDS, head) && (like(b"Z", zone) || offset)
}
