//! The document around an event's data.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::cloudevents;

pub use crate::domain::format::Envelope;
use crate::domain::time::Timestamp;

/// An event's data as it was enqueued.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A valid JSON value, as its raw text.
    Json(Bytes),
    /// Anything else, with its media type.
    Bytes { content_type: String, bytes: Bytes },
}

/// What a request says of the event.
#[derive(Clone, Copy, Debug)]
pub struct EventParts<'a> {
    pub id: &'a str,
    pub event_type: &'a str,
    pub occurred_at: Timestamp,
    pub attributes: &'a BTreeMap<String, String>,
    /// The `source` of a CloudEvent whose event has none among its attributes.
    pub default_source: &'a str,
    pub payload: &'a Payload,
}

/// A body, its media type if it has one, and the headers that are part of its envelope: names in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub content_type: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

const JSON: &str = "application/json";

impl Document {
    /// A body that is JSON.
    pub fn json(body: Bytes) -> Self {
        Self {
            content_type: Some(JSON.to_owned()),
            headers: Vec::new(),
            body,
        }
    }
}

impl Envelope {
    /// Puts the data into its envelope. JSON is spliced in byte by byte: numbers, escapes and the order of
    /// members stay as the producer wrote them. What is not JSON has no place in a JSON document and is sent
    /// bare, under its own media type; a CloudEvent alone can hold it.
    pub fn wrap(self, event: &EventParts<'_>) -> Document {
        let document = |content_type: &str, body| Document {
            content_type: Some(content_type.to_owned()),
            headers: Vec::new(),
            body,
        };
        match (self, event.payload) {
            (Self::Cloudevents, _) => cloudevents::structured(event),
            (Self::CloudeventsBinary, _) => cloudevents::binary(event),
            (_, Payload::Bytes { content_type, bytes }) => document(content_type, bytes.clone()),
            (_, Payload::Json(data)) => document(JSON, self.json(event, data)),
        }
    }

    fn json(self, event: &EventParts<'_>, data: &Bytes) -> Bytes {
        let (id, event_type) = (Value::from(event.id), Value::from(event.event_type));
        let occurred_at = event.occurred_at;
        let head = match self {
            Self::Bare | Self::Cloudevents | Self::CloudeventsBinary => return data.clone(),
            Self::Standard => format!(r#"{{"type":{event_type},"timestamp":"{occurred_at}","data":"#),
            Self::Flowplayer => format!(
                r#"{{"event_type":{event_type},"event_id":{id},"created_at":"{occurred_at}","payload":"#
            ),
            Self::Ziggeo => format!(r#"{{"event_type":{event_type},"data":"#),
            Self::Zoom => {
                let millis = occurred_at.as_millis();
                format!(r#"{{"event":{event_type},"event_ts":{millis},"payload":"#)
            }
        };
        Bytes::from([head.as_bytes(), data, b"}"].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timestamp = Timestamp::from_millis(1_614_265_330_120);

    fn wrap(envelope: Envelope, event_type: &str, payload: &Payload) -> Document {
        envelope.wrap(&EventParts {
            id: "evt_1",
            event_type,
            occurred_at: TIME,
            attributes: &BTreeMap::new(),
            default_source: "/posthaste",
            payload,
        })
    }

    #[test]
    fn the_standard_envelope_keeps_the_data_byte_for_byte() {
        let data = Bytes::from_static(b"{\"b\": 1.0,\"a\":1e400 ,\"a\":\"\\u00e9\xc3\xa9\"}");
        let document = wrap(Envelope::Standard, "user.created", &Payload::Json(data.clone()));
        let head = br#"{"type":"user.created","timestamp":"2021-02-25T15:02:10.120Z","data":"#;
        assert_eq!(document.body, [&head[..], &data, b"}"].concat());
        assert_eq!(document.content_type.as_deref(), Some("application/json"));
    }

    #[test]
    fn bare_data_and_other_media_types_are_sent_as_they_came() {
        let data = Bytes::from_static(b"  [1]");
        let bare = wrap(Envelope::Bare, "t", &Payload::Json(data.clone()));
        assert_eq!(
            (bare.body, bare.content_type.as_deref()),
            (data, Some("application/json"))
        );
        let payload = Payload::Bytes {
            content_type: "image/png".into(),
            bytes: Bytes::from_static(b"\x89PNG"),
        };
        for envelope in [Envelope::Standard, Envelope::Bare] {
            let document = wrap(envelope, "t", &payload);
            assert_eq!(
                (&document.body[..], document.content_type.as_deref()),
                (&b"\x89PNG"[..], Some("image/png"))
            );
        }
    }

    #[test]
    fn each_vendor_has_its_own_names_around_the_same_bytes() {
        let body = |envelope| {
            let document = wrap(
                envelope,
                "video.ready",
                &Payload::Json(Bytes::from_static(b"{\"a\": 1.0}")),
            );
            String::from_utf8(document.body.to_vec()).unwrap()
        };
        let flowplayer = r#"{"event_type":"video.ready","event_id":"evt_1","created_at":"2021-02-25T15:02:10.120Z","payload":{"a": 1.0}}"#;
        assert_eq!(body(Envelope::Flowplayer), flowplayer);
        assert_eq!(
            body(Envelope::Ziggeo),
            r#"{"event_type":"video.ready","data":{"a": 1.0}}"#
        );
        assert_eq!(
            body(Envelope::Zoom),
            r#"{"event":"video.ready","event_ts":1614265330120,"payload":{"a": 1.0}}"#
        );
    }
}
