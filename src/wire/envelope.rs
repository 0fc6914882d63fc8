//! The document around an event's data.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// The shape of the body. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// `{"type":T,"timestamp":OCCURRED_AT,"data":DATA}` (Standard Webhooks 1.0).
    #[default]
    Standard,
    /// The data alone, the bytes as they were enqueued.
    Bare,
}

/// An event's data as it was enqueued.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A valid JSON value, as its raw text.
    Json(Bytes),
    /// Anything else, with its media type.
    Bytes { content_type: String, bytes: Bytes },
}

/// A body and its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub content_type: String,
    pub body: Bytes,
}

const JSON: &str = "application/json";

impl Envelope {
    /// Puts the data into its envelope. JSON is spliced in byte by byte: numbers, escapes and the order of
    /// members stay as the producer wrote them. What is not JSON has no place in a JSON document and is sent
    /// bare, under its own media type.
    pub fn wrap(self, event_type: &str, occurred_at: Timestamp, payload: &Payload) -> Document {
        match payload {
            Payload::Bytes { content_type, bytes } => Document {
                content_type: content_type.clone(),
                body: bytes.clone(),
            },
            Payload::Json(data) => {
                let body = match self {
                    Self::Bare => data.clone(),
                    Self::Standard => standard(event_type, occurred_at, data),
                };
                Document {
                    content_type: JSON.to_owned(),
                    body,
                }
            }
        }
    }
}

fn standard(event_type: &str, occurred_at: Timestamp, data: &[u8]) -> Bytes {
    let event_type = serde_json::Value::from(event_type);
    let head = format!(r#"{{"type":{event_type},"timestamp":"{occurred_at}","data":"#);
    Bytes::from([head.as_bytes(), data, b"}"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timestamp = Timestamp::from_millis(1_614_265_330_120);

    #[test]
    fn the_standard_envelope_keeps_the_data_byte_for_byte() {
        let data = Bytes::from_static(b"{\"b\": 1.0,\"a\":1e400 ,\"a\":\"\\u00e9\xc3\xa9\"}");
        let document = Envelope::Standard.wrap("user.created", TIME, &Payload::Json(data.clone()));
        let head = br#"{"type":"user.created","timestamp":"2021-02-25T15:02:10.120Z","data":"#;
        assert_eq!(document.body, [&head[..], &data, b"}"].concat());
        assert_eq!(document.content_type, "application/json");
    }

    #[test]
    fn bare_data_and_other_media_types_are_sent_as_they_came() {
        let data = Bytes::from_static(b"  [1]");
        let bare = Envelope::Bare.wrap("t", TIME, &Payload::Json(data.clone()));
        assert_eq!(
            (bare.body, bare.content_type.as_str()),
            (data, "application/json")
        );
        let payload = Payload::Bytes {
            content_type: "image/png".into(),
            bytes: Bytes::from_static(b"\x89PNG"),
        };
        for envelope in [Envelope::Standard, Envelope::Bare] {
            let document = envelope.wrap("t", TIME, &payload);
            assert_eq!(
                (&document.body[..], document.content_type.as_str()),
                (&b"\x89PNG"[..], "image/png")
            );
        }
    }
}
