//! The answers to validation requests: what senders ask before they deliver.
//!
//! Who answers Zoom hands out an HMAC, under its own secret, of a text that the request chooses; anyone who could ask
//! for that could sign what they like. So it is answered only to requests whose own signature fits. The others are
//! echoes that prove nothing but that somebody listens.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{args::Trust, content::Content, limits::CHALLENGE_BYTES};
use crate::{
    cli::receiver::{Call, Reply},
    domain::secret::SigningSecret,
    runtime::hex,
    wire::signature::Scheme,
};

/// A validation request, answered.
#[derive(Debug)]
pub struct Handshake {
    pub name: &'static str,
    pub reply: Reply,
    /// Why it is answered otherwise than the sender hopes.
    pub why: Option<&'static str>,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const ORIGIN: &str = "webhook-request-origin";

impl Handshake {
    /// Answers the validation requests that no sender signs: those of CloudEvents and Microsoft Graph.
    pub fn unsigned(call: &Call) -> Option<Self> {
        cloudevents(call).or_else(|| microsoft_graph(call))
    }

    /// Answers the others. The call has been verified if it can be.
    pub fn verified(call: &Call, content: &Content<'_>, trust: &Trust) -> Option<Self> {
        zoom(call, content, trust)
            .or_else(|| slack(content))
            .or_else(|| ziggeo(content))
    }

    fn new(name: &'static str, reply: Reply) -> Self {
        Self {
            name,
            reply,
            why: None,
        }
    }

    fn json(name: &'static str, body: &Value) -> Self {
        Self::new(name, Reply::new(StatusCode::OK).saying(JSON, body.to_string()))
    }
}

/// `OPTIONS` with the origin that wants to deliver (CloudEvents 1.0, webhooks, section 4). It may, as fast as it likes.
fn cloudevents(call: &Call) -> Option<Handshake> {
    if call.method != Method::OPTIONS {
        return None;
    }
    let origin = call.headers.get(ORIGIN)?;
    let mut reply = Reply::new(StatusCode::OK);
    reply.headers.insert("webhook-allowed-origin", origin.clone());
    if let Some(rate) = call.headers.get("webhook-request-rate") {
        reply.headers.insert("webhook-allowed-rate", rate.clone());
    }
    reply
        .headers
        .insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    Some(Handshake::new("cloudevents", reply))
}

/// `POST ?validationToken=…` without a body; wants the token, decoded, as text.
fn microsoft_graph(call: &Call) -> Option<Handshake> {
    if call.method != Method::POST || !call.body.is_empty() {
        return None;
    }
    let mut pairs = url::form_urlencoded::parse(call.query.as_deref()?.as_bytes());
    let (_, token) = pairs.find(|(name, _)| name == "validationToken")?;
    if token.len() > CHALLENGE_BYTES {
        return None;
    }
    let mut reply = Reply::new(StatusCode::OK).saying(TEXT, token.into_owned());
    // It is the caller's text: nothing is to take it for a page.
    reply.headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    Some(Handshake::new("microsoft-graph", reply))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ZoomPayload {
    plain_token: String,
}

/// `endpoint.url_validation`; wants the token and its HMAC-SHA256 under the secret.
fn zoom(call: &Call, content: &Content<'_>, trust: &Trust) -> Option<Handshake> {
    const NAME: &str = "zoom";
    if trust.scheme != Some(Scheme::Zoom) || content.text("event")? != "endpoint.url_validation" {
        return None;
    }
    let token = content.read::<ZoomPayload>("payload")?.plain_token;
    if token.len() > CHALLENGE_BYTES {
        return None;
    }
    // Of several secrets the one that the request was signed with.
    let fits = |secret: &&SigningSecret| call.verify(Scheme::Zoom, std::slice::from_ref(*secret)).is_ok();
    let Some(secret) = trust.secrets.iter().find(fits) else {
        let reply = Reply::new(StatusCode::UNAUTHORIZED);
        return Some(Handshake {
            why: Some("answering needs the secret: give it with --secret"),
            ..Handshake::new(NAME, reply)
        });
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(token.as_bytes());
    let encrypted = hex::encode(&mac.finalize().into_bytes());
    let body = json!({"plainToken": token, "encryptedToken": encrypted});
    Some(Handshake::json(NAME, &body))
}

/// `url_verification`; wants the challenge back.
fn slack(content: &Content<'_>) -> Option<Handshake> {
    if content.text("type")? != "url_verification" {
        return None;
    }
    let challenge = content.text("challenge")?;
    (challenge.len() <= CHALLENGE_BYTES).then(|| Handshake::json("slack", &json!({ "challenge": challenge })))
}

/// First the question whether anyone is there, then a code that comes back with the webhook's id.
fn ziggeo(content: &Content<'_>) -> Option<Handshake> {
    const NAME: &str = "ziggeo";
    if content.scalar("ziggeo_validation")? != "true" {
        return None;
    }
    let (Some(webhook), Some(code)) = (content.value("webhook_id"), content.value("validation_code")) else {
        return Some(Handshake::json(NAME, &json!({"ziggeo_validation": true})));
    };
    let body = json!({"webhook_id": webhook, "validation_code": code});
    let long = body.to_string().len() > CHALLENGE_BYTES;
    (!long).then(|| Handshake::json(NAME, &body))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::{domain::time::Timestamp, wire::signature::Signable};

    const NOW: Timestamp = Timestamp::from_millis(1_614_265_330_000);

    fn call(method: Method, query: Option<&str>, headers: &[(&'static str, &str)], body: &str) -> Call {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Call {
            at: NOW,
            method,
            path: "/".to_owned(),
            query: query.map(str::to_owned),
            headers: map,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn post(content_type: &str, body: &str) -> Call {
        call(Method::POST, None, &[("content-type", content_type)], body)
    }

    fn answer(call: &Call, trust: &Trust) -> Option<(StatusCode, Value)> {
        let handshake = Handshake::verified(call, &Content::of(call), trust)?;
        let body = serde_json::from_slice(&handshake.reply.body).unwrap_or(Value::Null);
        Some((handshake.reply.status, body))
    }

    const NOBODY: Trust = Trust {
        scheme: None,
        secrets: Vec::new(),
    };

    fn zoom_trust(secrets: &[&str]) -> Trust {
        let secret = |text: &&str| SigningSecret::raw((*text).to_owned()).unwrap();
        Trust {
            scheme: Some(Scheme::Zoom),
            secrets: secrets.iter().map(secret).collect(),
        }
    }

    fn zoom_request(secret: &str, token: &str) -> Call {
        let body =
            json!({"event": "endpoint.url_validation", "payload": {"plainToken": token}, "event_ts": 1});
        let mut call = post(JSON, &body.to_string());
        let what = Signable {
            id: "",
            event_type: "",
            at: NOW,
            body: &call.body,
        };
        let secret = SigningSecret::raw(secret.to_owned()).unwrap();
        Scheme::Zoom.sign(&[secret], &what, &mut call.headers).unwrap();
        call
    }

    #[test]
    fn zooms_token_comes_back_with_its_hmac_under_the_secret_that_signed() {
        let call = zoom_request("secret", "qgg8vlvZRS6UYooatFL8Aw");
        let (status, body) = answer(&call, &zoom_trust(&["newer", "secret"])).unwrap();
        assert_eq!(status, 200);
        let expected = "72cef096bfd47c0b8664df30d07721641e4abd7e885ba432204260db477a9a3e";
        assert_eq!(
            body,
            json!({"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": expected})
        );
    }

    #[test]
    fn nobody_gets_an_hmac_for_a_request_that_does_not_fit() {
        // The text that a forged event would have to be signed by.
        let forged = zoom_request("other", "v0:1614265330:{}");
        for trust in [zoom_trust(&["secret"]), zoom_trust(&[])] {
            let (status, body) = answer(&forged, &trust).unwrap();
            assert_eq!((status, body), (StatusCode::UNAUTHORIZED, Value::Null));
        }
        assert_eq!(
            answer(&forged, &NOBODY),
            None,
            "for another scheme it is an event"
        );
    }

    #[test]
    fn slacks_challenge_comes_back() {
        let call = post(
            JSON,
            r#"{"token":"t","challenge":"3eZ\"b","type":"url_verification"}"#,
        );
        assert_eq!(answer(&call, &NOBODY).unwrap().1, json!({"challenge": "3eZ\"b"}));
        let event = post(JSON, r#"{"type":"url_verification","data":{}}"#);
        assert_eq!(
            answer(&event, &NOBODY),
            None,
            "without a challenge it is an event"
        );
    }

    #[test]
    fn ziggeos_code_comes_back_with_the_webhooks_id_from_either_encoding() {
        let first = r#"{"ziggeo_validation":true,"message":"Hi!"}"#;
        assert_eq!(answer(&post(JSON, first), &NOBODY).unwrap().0, 200);
        let json_form = r#"{"ziggeo_validation":true,"validation_code":123456,"webhook_id":"w1"}"#;
        assert_eq!(
            answer(&post(JSON, json_form), &NOBODY).unwrap().1,
            json!({"webhook_id": "w1", "validation_code": 123_456})
        );
        let form = "ziggeo_validation=true&validation_code=012345&webhook_id=w%201";
        let call = post("application/x-www-form-urlencoded; charset=utf-8", form);
        assert_eq!(
            answer(&call, &NOBODY).unwrap().1,
            json!({"webhook_id": "w 1", "validation_code": "012345"})
        );
        let event = post(JSON, r#"{"ziggeo_validation":false,"event_type":"a"}"#);
        assert_eq!(answer(&event, &NOBODY), None);
    }

    #[test]
    fn cloudevents_get_leave_for_their_origin_and_rate() {
        let asked = [(ORIGIN, "eventemitter.example"), ("webhook-request-rate", "120")];
        let handshake = Handshake::unsigned(&call(Method::OPTIONS, None, &asked, "")).unwrap();
        let headers = &handshake.reply.headers;
        assert_eq!(headers["webhook-allowed-origin"], "eventemitter.example");
        assert_eq!(headers["webhook-allowed-rate"], "120");
        let handshake = Handshake::unsigned(&call(Method::OPTIONS, None, &asked[..1], "")).unwrap();
        assert!(!handshake.reply.headers.contains_key("webhook-allowed-rate"));
        assert!(Handshake::unsigned(&call(Method::OPTIONS, None, &[], "")).is_none());
        assert!(Handshake::unsigned(&call(Method::POST, None, &asked, "{}")).is_none());
    }

    #[test]
    fn graphs_token_comes_back_decoded_as_text() {
        let request = call(Method::POST, Some("a=1&validationToken=Val%3A+%3Cb%3E"), &[], "");
        let reply = Handshake::unsigned(&request).unwrap().reply;
        assert_eq!(&reply.body[..], b"Val: <b>");
        assert_eq!(reply.headers["content-type"], TEXT);
        assert_eq!(reply.headers["x-content-type-options"], "nosniff");
        let event = call(Method::POST, Some("validationToken=a"), &[], "{}");
        assert!(
            Handshake::unsigned(&event).is_none(),
            "with a body it is an event"
        );
    }
}
