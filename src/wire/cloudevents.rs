//! An event as a CloudEvent 1.0.2 over HTTP, in structured and in binary mode.
//!
//! `id`, `type` and `time` are the event's id, type and `occurred_at`; `source`, `subject`, `dataschema` and extensions are
//! its attributes of those names ([`cloud_event`](crate::domain::cloud_event)). Attributes with names that CloudEvents do
//! not allow are left out. Extensions are texts: whether one came in as a number or a boolean is not kept.
//!
//! Structured, data that is JSON is spliced in byte for byte, and other data is `data_base64`. Binary, the body is the
//! data whatever it is, and all else is in headers, percent-encoded as the HTTP binding says in 3.1.3.2.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::Value;

use super::envelope::{Document, EventParts, Payload};
use crate::domain::{cloud_event as ce, time::Timestamp};

const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
const JSON: &str = "application/json";

/// The whole event as one JSON document.
pub(super) fn structured(event: &EventParts<'_>) -> Document {
    let mut text = String::from("{");
    for (name, value) in members(event) {
        text.push_str(&format!("\"{name}\":{},", Value::from(value)));
    }
    if let Some(content_type) = content_type(event) {
        text.push_str(&format!("\"datacontenttype\":{},", Value::from(content_type)));
    }
    let body = match event.payload {
        Payload::Json(_) if has_no_data(event) => {
            text.pop();
            [text.as_bytes(), b"}"].concat()
        }
        Payload::Json(data) => [text.as_bytes(), b"\"data\":", data, b"}"].concat(),
        Payload::Bytes { bytes, .. } => {
            text.push_str(&format!("\"data_base64\":\"{}\"}}", STANDARD.encode(bytes)));
            text.into_bytes()
        }
    };
    Document {
        content_type: Some(STRUCTURED.to_owned()),
        headers: Vec::new(),
        body: Bytes::from(body),
    }
}

/// The data as it is, and all else in headers.
pub(super) fn binary(event: &EventParts<'_>) -> Document {
    let headers = members(event)
        .into_iter()
        .map(|(name, value)| (format!("ce-{name}"), percent_encoded(value)));
    Document {
        content_type: content_type(event).map(str::to_owned),
        headers: headers.collect(),
        body: match event.payload {
            Payload::Json(_) if has_no_data(event) => Bytes::new(),
            Payload::Json(data) => data.clone(),
            Payload::Bytes { bytes, .. } => bytes.clone(),
        },
    }
}

/// Every attribute but the data's media type, which each mode has in a place of its own.
fn members<'a>(event: &EventParts<'a>) -> Vec<(&'a str, String)> {
    let attribute = |name| event.attributes.get(name).map(String::as_str);
    let present = |text: &&str| !text.is_empty();
    let mut members = vec![
        ("specversion", ce::VERSION.to_owned()),
        (
            "id",
            attribute(ce::KEPT_ID)
                .filter(present)
                .unwrap_or(event.id)
                .to_owned(),
        ),
        (
            ce::SOURCE,
            attribute(ce::SOURCE)
                .filter(present)
                .unwrap_or(event.default_source)
                .to_owned(),
        ),
        ("type", event.event_type.to_owned()),
        ("time", time(event)),
    ];
    for name in [ce::SUBJECT, ce::DATA_SCHEMA] {
        members.extend(
            attribute(name)
                .filter(present)
                .map(|text| (name, text.to_owned())),
        );
    }
    let extensions = event.attributes.iter().filter(|(name, _)| ce::is_extension(name));
    members.extend(extensions.map(|(name, value)| (name.as_str(), value.clone())));
    members
}

/// As it was written when it came in as a CloudEvent and means the same.
fn time(event: &EventParts<'_>) -> String {
    let kept = event.attributes.get(ce::KEPT_TIME);
    let same = kept.filter(|text| text.parse::<Timestamp>().ok() == Some(event.occurred_at));
    same.cloned().unwrap_or_else(|| event.occurred_at.to_string())
}

/// `None` when there is no data.
fn content_type<'a>(event: &EventParts<'a>) -> Option<&'a str> {
    match event.payload {
        Payload::Bytes { content_type, .. } => Some(content_type),
        Payload::Json(_) if has_no_data(event) => None,
        Payload::Json(_) => {
            let kept = event.attributes.get(ce::KEPT_CONTENT_TYPE).map(String::as_str);
            Some(kept.filter(|text| ce::is_json(text)).unwrap_or(JSON))
        }
    }
}

fn has_no_data(event: &EventParts<'_>) -> bool {
    event.attributes.contains_key(ce::NO_DATA)
}

/// Space, `"`, `%` and all that is not visible ASCII as the percent-encoded bytes of its UTF-8.
fn percent_encoded(text: String) -> String {
    let plain = |byte: u8| (b'!'..=b'~').contains(&byte) && byte != b'"' && byte != b'%';
    if text.bytes().all(plain) {
        return text;
    }
    text.bytes()
        .fold(String::new(), |encoded, byte| match plain(byte) {
            true => encoded + char::from(byte).encode_utf8(&mut [0; 4]),
            false => encoded + &format!("%{byte:02X}"),
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::format::Envelope;

    fn wrap(envelope: Envelope, attributes: &[(&str, &str)], payload: &Payload) -> Document {
        let attributes: BTreeMap<String, String> = attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        envelope.wrap(&EventParts {
            id: "evt_1",
            event_type: "user.created",
            occurred_at: Timestamp::from_millis(1_614_265_330_120),
            attributes: &attributes,
            default_source: "/posthaste",
            payload,
        })
    }

    fn json(data: &'static str) -> Payload {
        Payload::Json(Bytes::from_static(data.as_bytes()))
    }

    fn text(document: &Document) -> &str {
        std::str::from_utf8(&document.body).unwrap()
    }

    #[test]
    fn a_structured_event_holds_its_data_byte_for_byte() {
        let document = wrap(Envelope::Cloudevents, &[], &json("{ \"a\": 1.0,\"a\":1e400}"));
        assert_eq!(
            text(&document),
            "{\"specversion\":\"1.0\",\"id\":\"evt_1\",\"source\":\"/posthaste\",\"type\":\"user.created\",\
             \"time\":\"2021-02-25T15:02:10.120Z\",\"datacontenttype\":\"application/json\",\"data\":{ \"a\": 1.0,\"a\":1e400}}"
        );
        assert_eq!(
            document.content_type.as_deref(),
            Some("application/cloudevents+json; charset=utf-8")
        );
        assert!(document.headers.is_empty());
    }

    #[test]
    fn attributes_become_what_cloudevents_call_so() {
        let attributes = [
            ("source", "/shop"),
            ("subject", "a \"b\""),
            ("dataschema", "https://example.com/s"),
            ("traceparent", "00-1"),
            ("Not-A-Name", "x"),
            ("id", "forged"),
            ("time", "forged"),
            ("data", "forged"),
            ("ce-id", "a.b"),
            ("ce-time", "2021-02-25T16:02:10.120456+01:00"),
            ("ce-datacontenttype", "application/vnd.a+json"),
        ];
        let document = wrap(Envelope::Cloudevents, &attributes, &json("1"));
        assert_eq!(
            text(&document),
            "{\"specversion\":\"1.0\",\"id\":\"a.b\",\"source\":\"/shop\",\"type\":\"user.created\",\
             \"time\":\"2021-02-25T16:02:10.120456+01:00\",\"subject\":\"a \\\"b\\\"\",\"dataschema\":\"https://example.com/s\",\
             \"traceparent\":\"00-1\",\"datacontenttype\":\"application/vnd.a+json\",\"data\":1}"
        );
    }

    #[test]
    fn what_was_kept_and_does_not_hold_is_not_said() {
        let attributes = [
            ("ce-time", "2021-02-25T16:02:10.121Z"),
            ("ce-datacontenttype", "text/html"),
            ("source", ""),
            ("ce-id", ""),
        ];
        let document = wrap(Envelope::Cloudevents, &attributes, &json("1"));
        assert_eq!(document, wrap(Envelope::Cloudevents, &[], &json("1")));
    }

    #[test]
    fn other_data_is_base64_and_no_data_is_left_out() {
        let image = Payload::Bytes {
            content_type: "image/png".into(),
            bytes: Bytes::from_static(b"\x89PNG"),
        };
        let document = wrap(Envelope::Cloudevents, &[], &image);
        assert!(
            text(&document).ends_with(r#","datacontenttype":"image/png","data_base64":"iVBORw=="}"#),
            "{}",
            text(&document)
        );
        let without = [("ce-nodata", "true")];
        let document = wrap(Envelope::Cloudevents, &without, &json("null"));
        assert!(text(&document).ends_with(r#""time":"2021-02-25T15:02:10.120Z"}"#));
        let document = wrap(Envelope::CloudeventsBinary, &without, &json("null"));
        assert_eq!((document.content_type, document.body), (None, Bytes::new()));
    }

    #[test]
    fn a_binary_event_has_everything_but_the_data_in_headers() {
        let image = Payload::Bytes {
            content_type: "image/png".into(),
            bytes: Bytes::from_static(b"\x89PNG"),
        };
        let attributes = [("subject", "Euro € 😀"), ("x", "100% \"sure\"~!\u{7f}")];
        let document = wrap(Envelope::CloudeventsBinary, &attributes, &image);
        let headers: Vec<(&str, &str)> = document
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("ce-specversion", "1.0"),
            ("ce-id", "evt_1"),
            ("ce-source", "/posthaste"),
            ("ce-type", "user.created"),
            ("ce-time", "2021-02-25T15:02:10.120Z"),
            ("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("ce-x", "100%25%20%22sure%22~!%7F"),
        ];
        assert_eq!(headers, expected);
        assert_eq!(document.content_type.as_deref(), Some("image/png"));
        assert_eq!(&document.body[..], b"\x89PNG");
    }
}
