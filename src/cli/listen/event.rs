//! What a call says of its event: the id, which tells a repeat, and the type.
//!
//! # The id
//!
//! The first of these that there is:
//!
//! 1. the id header of the scheme (`webhook-id`, `svix-id`, `x-github-delivery`);
//! 2. any such header of another system, or `ce-id`;
//! 3. the body's own: `event_id`, or an `id` beside the event's type and its data. An `id` alone is mostly that of
//!    the thing the event is about, and two events about one thing are no repeats;
//! 4. `sha256:` and the hash of the address and the body: two calls to the same address with the same body are one event.
//!
//! Where signatures are checked and cover the body but no id, the body (3) goes before a header that anyone may have
//! set (2).

use http::HeaderMap;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{args::Trust, content::Content, limits::NAME_BYTES};
use crate::{cli::receiver::Call, runtime::hex};

/// What is known of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub event_type: Option<String>,
}

const ID_HEADERS: [&str; 5] = [
    "webhook-id",
    "svix-id",
    "x-github-delivery",
    "x-shopify-webhook-id",
    "ce-id",
];
const TYPE_HEADERS: [&str; 3] = ["ce-type", "x-github-event", "x-shopify-topic"];
const TYPE_MEMBERS: [&str; 3] = ["event_type", "type", "event"];
/// What an envelope calls the data.
const DATA_MEMBERS: [&str; 3] = ["data", "payload", "data_base64"];

#[derive(Deserialize)]
struct Inner {
    #[serde(rename = "type")]
    event_type: String,
}

impl Event {
    pub fn of(call: &Call, content: &Content<'_>, trust: &Trust) -> Self {
        let own = trust.scheme.and_then(|scheme| scheme.id_header());
        let own = own.and_then(|name| header(&call.headers, name));
        let headers = || first_header(&call.headers, &ID_HEADERS);
        let body = || body_id(content);
        let id = own.or_else(|| match trust.verifies() {
            true => body().or_else(headers),
            false => headers().or_else(body),
        });
        Self {
            id: id.unwrap_or_else(|| hash(call)),
            event_type: event_type(call, content),
        }
    }
}

fn body_id(content: &Content<'_>) -> Option<String> {
    let own = || {
        let is_envelope = TYPE_MEMBERS.iter().any(|name| content.text(name).is_some())
            && DATA_MEMBERS.iter().any(|name| content.has(name));
        // A CloudEvent needs no data.
        (is_envelope || content.has("specversion")).then(|| content.text("id"))?
    };
    content
        .text("event_id")
        .and_then(fit)
        .or_else(|| own().and_then(fit))
}

fn event_type(call: &Call, content: &Content<'_>) -> Option<String> {
    let member = |name: &&str| {
        // Slack puts the event, and its type, inside.
        if *name == "type" && content.text(name)? == "event_callback" {
            return Some(content.read::<Inner>("event")?.event_type);
        }
        content.text(name)
    };
    first_header(&call.headers, &TYPE_HEADERS).or_else(|| TYPE_MEMBERS.iter().find_map(member).and_then(fit))
}

/// Two calls are the same when address and body are: some systems tell their events apart by the address alone.
fn hash(call: &Call) -> String {
    let mut hasher = Sha256::new();
    hasher.update(call.path.as_bytes());
    hasher.update(b"?");
    hasher.update(call.query.as_deref().unwrap_or("").as_bytes());
    hasher.update(b"\0");
    hasher.update(&call.body);
    format!("sha256:{}", hex::encode(&hasher.finalize()))
}

fn first_header(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| header(headers, name))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    fit(headers.get(name)?.to_str().ok()?.to_owned())
}

/// What can stand in a line and in a database's key.
fn fit(text: String) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= NAME_BYTES && !text.chars().any(char::is_control);
    fits.then_some(text)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;

    use super::*;
    use crate::{
        domain::{secret::SigningSecret, time::Timestamp},
        wire::signature::Scheme,
    };

    fn call(path: &str, headers: &[(&'static str, &str)], body: &str) -> Call {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Call {
            at: Timestamp::EPOCH,
            method: Method::POST,
            path: path.to_owned(),
            query: None,
            headers: map,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn read(scheme: Option<Scheme>, verifies: bool, call: &Call) -> (String, Option<String>) {
        let secrets = match verifies {
            true => vec![SigningSecret::raw("s".to_owned()).unwrap()],
            false => Vec::new(),
        };
        let event = Event::of(call, &Content::of(call), &Trust { scheme, secrets });
        (event.id, event.event_type)
    }

    fn unsigned(headers: &[(&'static str, &str)], body: &str) -> (String, Option<String>) {
        read(None, false, &call("/", headers, body))
    }

    #[test]
    fn the_header_of_each_system_gives_the_id() {
        for (name, scheme) in [
            ("webhook-id", Some(Scheme::Standard)),
            ("svix-id", Some(Scheme::Svix)),
            ("x-github-delivery", Some(Scheme::Github)),
            ("ce-id", None),
            ("webhook-id", None),
        ] {
            let call = call("/", &[(name, "e1"), ("x-other-id", "no")], "{}");
            assert_eq!(read(scheme, false, &call).0, "e1", "{name}");
        }
    }

    #[test]
    fn what_is_signed_goes_before_a_header_that_is_not() {
        let call = call(
            "/",
            &[("webhook-id", "forged")],
            r#"{"event_id":"e1","event_type":"a"}"#,
        );
        assert_eq!(read(Some(Scheme::Flowplayer), true, &call).0, "e1");
        assert_eq!(read(Some(Scheme::Flowplayer), false, &call).0, "forged");
        assert_eq!(
            read(Some(Scheme::Standard), true, &call).0,
            "forged",
            "signed itself"
        );
    }

    #[test]
    fn an_id_in_the_body_counts_only_where_it_is_the_events() {
        let stripe = r#"{"id":"evt_1","object":"event","type":"a.b","data":{}}"#;
        assert_eq!(
            unsigned(&[], stripe),
            ("evt_1".to_owned(), Some("a.b".to_owned()))
        );
        let cloud = r#"{"specversion":"1.0","id":"c1","source":"/s","type":"t"}"#;
        assert_eq!(unsigned(&[], cloud).0, "c1");
        for thing in [
            r#"{"id":"user-7","name":"Ada"}"#,
            r#"{"id":"call-1","type":"ringing"}"#,
            r#"{"id":7,"type":"a","data":{}}"#,
            r#"{"event_id":"","a":1}"#,
            r#"{"event_id":"a\u0000b"}"#,
            r#"["event_id"]"#,
        ] {
            assert!(unsigned(&[], thing).0.starts_with("sha256:"), "{thing}");
        }
    }

    #[test]
    fn without_an_id_address_and_body_tell_a_repeat() {
        let id = |path, body| read(None, false, &call(path, &[], body)).0;
        assert_eq!(id("/ended", "{\"a\":1}"), id("/ended", "{\"a\":1}"));
        assert_ne!(id("/ended", "{\"a\":1}"), id("/answered", "{\"a\":1}"));
        assert_ne!(id("/ended", "{\"a\":1}"), id("/ended", "{\"a\":2}"));
    }

    #[test]
    fn the_type_is_found_where_each_system_puts_it() {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let xml = [("content-type", "application/xml; charset=utf-8")];
        for (headers, body, expected) in [
            (
                &[("x-github-event", "push")][..],
                "{\"type\":\"no\"}",
                Some("push"),
            ),
            (&[("ce-type", "a.b")], "{}", Some("a.b")),
            (
                &[],
                "{\"event\":\"meeting.started\",\"payload\":{}}",
                Some("meeting.started"),
            ),
            (&form, "event_type=video_ready&data[a]=1", Some("video_ready")),
            (
                &[],
                "{\"type\":\"event_callback\",\"event\":{\"type\":\"message\"}}",
                Some("message"),
            ),
            (&form, "{\"event_type\":\"curl\"}", Some("curl")),
            (&[], "{\"event\":{\"type\":\"x\"}}", None),
            (&xml, "<event><type>call.ended</type></event>", Some("call.ended")),
            (&xml, "<event><type>a</event>", None),
        ] {
            assert_eq!(unsigned(headers, body).1.as_deref(), expected, "{body}");
        }
    }
}
