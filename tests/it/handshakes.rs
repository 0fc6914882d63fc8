//! Endpoints that have to prove themselves: held before, delivered after, and never again trusted blindly.

mod asked;
mod changed;
mod listened;
mod repeated;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{
    server::{Answer, Server, wait_for},
    sink::{Received, Sink},
};

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

/// An answer with a body and further header lines, each ended by CRLF.
fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

fn ok(body: &str) -> String {
    answer(200, "", body)
}

fn body(got: &Received) -> Value {
    serde_json::from_slice(&got.body).unwrap_or_default()
}

/// What Zoom's receivers answer to the challenge in a request.
fn zoom_proof(got: &Received, secret: &str) -> String {
    let document = body(got);
    let plain = document["payload"]["plainToken"].as_str().unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(plain.as_bytes());
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({"plainToken": plain, "encryptedToken": digest}).to_string()
}

fn is_zoom_challenge(got: &Received) -> bool {
    body(got)["event"] == "endpoint.url_validation"
}

fn show(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/endpoints/{id}"))
}

fn verify(server: &Server, id: &str, document: &Value) -> Answer {
    server.post(&format!("/v1/endpoints/{id}/verify"), document)
}

fn in_state(server: &Server, id: &str, state: &str) -> Value {
    wait_for(&format!("an endpoint that is {state}"), || {
        Some(show(server, id)).filter(|endpoint| endpoint["state"] == state)
    })
}

/// Waits until a handshake has come to this, and answers the endpoint.
fn verification_in(server: &Server, id: &str, state: &str) -> Value {
    wait_for(&format!("a verification that is {state}"), || {
        Some(show(server, id)).filter(|endpoint| endpoint["verification"]["state"] == state)
    })
}

/// A receiver that does as it should once it is told to; until then `wrong` is its answer.
fn learning(
    wrong: impl Fn(&Received) -> String + Send + Sync + 'static,
    right: impl Fn(&Received) -> String + Send + Sync + 'static,
) -> (Sink, Arc<AtomicBool>) {
    let told = Arc::new(AtomicBool::new(false));
    let knows = told.clone();
    let sink = Sink::deciding(move |got, _| {
        if knows.load(Ordering::SeqCst) {
            right(got)
        } else {
            wrong(got)
        }
    });
    (sink, told)
}

/// Creates the endpoint while its receiver answers wrongly, sees its events held, and sees them delivered once it has
/// been told how to prove itself and is asked again. Answers the endpoint's id and the reason of the first failure.
fn held_before_and_delivered_after(
    server: &Server,
    document: &Value,
    sink: &Sink,
    told: &AtomicBool,
) -> (String, Value) {
    let created = server.post("/v1/endpoints", document);
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(
        (
            &created.json()["state"],
            &created.json()["verification"]["method"]
        ),
        (&json!("unverified"), &show_handshake(&created.json()))
    );
    let id = created.json()["id"].as_str().unwrap().to_owned();
    let failed = verification_in(server, &id, "failed");
    assert_eq!(failed["state"], "unverified");
    let event = server.event(&json!({"type": "a.b", "data": {"n": 1}}));
    let held = server.delivery_in(&event, "held");
    assert_eq!(
        (&held["held_because"], &held["attempts"]),
        (&json!("unverified"), &json!(0))
    );
    let enable = server.post(&format!("/v1/endpoints/{id}/enable"), &json!({}));
    assert_eq!(enable.problem().0, 409);
    assert!(enable.text().contains("/verify"), "{}", enable.text());
    let again = verify(server, &id, &json!({})).json();
    assert_eq!(
        (&again["state"], &again["verification"]["state"]),
        (&json!("unverified"), &json!("failed"))
    );
    told.store(true, Ordering::SeqCst);
    let sent_before = sink.count();
    let verified = verify(server, &id, &json!({})).json();
    assert_eq!(
        (&verified["state"], &verified["verification"]["state"]),
        (&json!("active"), &json!("verified")),
        "{verified}"
    );
    assert!(verified["verification"]["verified_at"].is_string(), "{verified}");
    server.delivery_in(&event, "delivered");
    let carries = |got: &Received| got.headers.get("webhook-id").is_some_and(|id| *id == event);
    let received = sink.received();
    assert!(
        !received[..sent_before].iter().any(carries),
        "delivered before it was proved"
    );
    assert_eq!(received.iter().filter(|got| carries(got)).count(), 1);
    let error = failed["verification"]["last_error"].clone();
    assert!(
        error["detail"].as_str().is_some_and(|text| !text.is_empty()),
        "{error}"
    );
    (id, error["reason"].clone())
}

fn show_handshake(endpoint: &Value) -> Value {
    endpoint["handshake"].clone()
}

#[test]
fn a_vidizmo_endpoint_is_pinged_with_its_credentials_before_it_is_sent_to() {
    let (_dir, server) = started();
    let (sink, told) = learning(|_| answer(401, "", ""), |_| ok("fine"));
    let (id, reason) = held_before_and_delivered_after(
        &server,
        &json!({
            "url": sink.url(), "profile": "vidizmo", "headers": {"X-App": "7"},
            "auth": {"type": "basic", "username": "u", "password": "p"},
        }),
        &sink,
        &told,
    );
    assert_eq!(reason, "status");
    let ping = &sink.received()[0];
    let document = body(ping);
    assert_eq!(
        (
            &document["type"],
            &document["data"],
            ping.headers["authorization"].as_str()
        ),
        (&json!("endpoint.ping"), &json!({"endpoint_id": id}), "Basic dTpw")
    );
    assert_eq!(ping.headers["x-app"], "7");
    let settings = show(&server, &id);
    assert_eq!(
        (
            &settings["retry"],
            &settings["disable_on"],
            &settings["signatures"]
        ),
        (
            &json!({"retries": 3, "delay": "5s"}),
            &json!("any_non_transient"),
            &json!([])
        )
    );
    let attempts = server.list(&format!(
        "/v1/attempts?endpoint={id}&type=endpoint.ping&order=asc"
    ));
    let column: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (
                attempt["trigger"].as_str(),
                attempt["outcome"].as_str(),
                attempt["status"].as_u64(),
            )
        })
        .collect();
    let (test, error) = (Some("test"), Some("endpoint_error"));
    assert_eq!(
        column,
        [
            (test, error, Some(401)),
            (test, error, Some(401)),
            (test, Some("delivered"), Some(200))
        ]
    );
}

#[test]
fn a_ping_is_signed_as_deliveries_are() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let created = server
        .post("/v1/endpoints", &json!({"url": sink.url(), "handshake": "ping"}))
        .json();
    let id = created["id"].as_str().unwrap();
    in_state(&server, id, "active");
    let secret = created["signatures"][0]["secret"].as_str().unwrap();
    let ping = &sink.received()[0];
    let headers: http::HeaderMap = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .into_iter()
        .map(|name| (name.parse().unwrap(), ping.headers[name].parse().unwrap()))
        .collect();
    let webhook = standardwebhooks::Webhook::new(secret).unwrap();
    webhook.verify(&ping.body, &headers).unwrap();
}

#[test]
fn a_zoom_endpoint_proves_that_it_knows_its_secret() {
    let (_dir, server) = started();
    let wrong = |got: &Received| ok(&zoom_proof(got, "another secret"));
    let right = |got: &Received| ok(&zoom_proof(got, "the secret"));
    let (sink, told) = learning(wrong, right);
    let (id, reason) = held_before_and_delivered_after(
        &server,
        &json!({
            "url": sink.url(), "profile": "zoom",
            // Beside its own, so that the test can tell whose a request is.
            "signatures": [{"scheme": "zoom", "secret": "the secret"}, {"scheme": "standard"}],
        }),
        &sink,
        &told,
    );
    assert_eq!(reason, "unproven");
    let challenge = &sink.received()[0];
    let (at, signature) = (
        &challenge.headers["x-zm-request-timestamp"],
        &challenge.headers["x-zm-signature"],
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(b"the secret").unwrap();
    mac.update(format!("v0:{at}:{}", String::from_utf8_lossy(&challenge.body)).as_bytes());
    let digest: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(*signature, format!("v0={digest}"));
    let repeated = &show(&server, &id)["verification"]["next_attempt_at"];
    assert!(repeated.is_string(), "it is repeated");
    let without = json!({"url": sink.url(), "handshake": "zoom"});
    let refused = server.post("/v1/endpoints", &without).problem();
    assert_eq!(refused, (422, vec!["handshake".to_owned()]));
}

#[test]
fn a_slack_endpoint_echoes_the_challenge() {
    let (_dir, server) = started();
    let echo = |got: &Received| ok(body(got)["challenge"].as_str().unwrap_or("ok"));
    let (sink, told) = learning(|_| ok("challenge"), echo);
    let document = json!({
        "url": sink.url(), "profile": "slack",
        "signatures": [{"scheme": "slack", "secret": "a shared secret"}, {"scheme": "standard"}],
    });
    let (id, reason) = held_before_and_delivered_after(&server, &document, &sink, &told);
    assert_eq!(reason, "unproven");
    assert_eq!(body(&sink.received()[0])["type"], "url_verification");
    assert_eq!(
        show(&server, &id)["retry"],
        json!({"delays": ["100ms", "1m", "5m"]})
    );
}

#[test]
fn a_cloudevents_endpoint_grants_our_origin_and_how_often_we_may_send() {
    let dir = tempfile::tempdir().unwrap();
    let origin = [("POSTHASTE_DELIVERY__ORIGIN", "events.example.com")];
    let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &origin);
    // Many servers answer OPTIONS with 200 that have never heard of this.
    let grant = |got: &Received| {
        let origin = got.headers["webhook-request-origin"].clone();
        answer(
            405,
            &format!("WebHook-Allowed-Origin: {origin}\r\nWebHook-Allowed-Rate: 6000\r\n"),
            "",
        )
    };
    let (sink, told) = learning(
        |_| ok(""),
        move |got| {
            if got.method == "OPTIONS" {
                grant(got)
            } else {
                ok("")
            }
        },
    );
    let document = json!({"url": sink.url(), "handshake": "cloudevents", "rate": {"per_second": 1000}});
    let (id, reason) = held_before_and_delivered_after(&server, &document, &sink, &told);
    assert_eq!(reason, "unproven");
    assert_eq!(show(&server, &id)["verification"]["allowed_per_minute"], 6000);
    let received = sink.received();
    assert_eq!(
        (
            received[0].method.as_str(),
            &received[0].headers["webhook-request-rate"]
        ),
        ("OPTIONS", &"60000".to_owned())
    );
    assert!(received[0].body.is_empty());
    for got in &received {
        assert_eq!(got.headers["webhook-request-origin"], "events.example.com");
    }
    assert_eq!(received.last().unwrap().method, "POST");
}

#[test]
fn a_granted_rate_holds_back_what_is_sent() {
    let (_dir, server) = started();
    let grant = "WebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: 1\r\n";
    let sink = Sink::deciding(move |_, _| answer(200, grant, ""));
    let id = server.endpoint(&json!({"url": sink.url(), "handshake": "cloudevents"}));
    in_state(&server, &id, "active");
    let first = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&first, "delivered");
    let second = server.event(&json!({"type": "a", "data": 2}));
    server.delivery_in(&second, "scheduled");
    // One a minute: whatever else happens meanwhile, the second waits.
    let other = server.endpoint(&json!({"url": sink.url(), "events": ["b"]}));
    let passing = server.event(&json!({"type": "b", "data": 3}));
    wait_for("the other endpoint's", || {
        let own = server.list(&format!("/v1/deliveries?endpoint={other}&event={passing}"));
        own.first()
            .filter(|delivery| delivery["state"] == "delivered")
            .cloned()
    });
    let own = server.list(&format!("/v1/deliveries?endpoint={id}&event={second}"));
    assert_eq!(own[0]["state"], "scheduled");
}

#[test]
fn a_microsoft_graph_endpoint_echoes_the_token_of_the_query() {
    let (_dir, server) = started();
    let echo = |got: &Received| {
        let query = got
            .path
            .split_once('?')
            .map(|(_, query)| query)
            .unwrap_or_default();
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let token = pairs
            .find(|(name, _)| name == "validationToken")
            .map(|(_, token)| token.into_owned());
        answer(200, "content-type: text/plain\r\n", &token.unwrap_or_default())
    };
    // The token as it stands in the query: what was never decoded.
    let raw = |got: &Received| {
        let token = got
            .path
            .split_once("validationToken=")
            .map(|(_, token)| token)
            .unwrap_or_default();
        answer(200, "content-type: text/plain\r\n", token)
    };
    let (sink, told) = learning(raw, echo);
    let document = json!({"url": format!("{}hook?tenant=7", sink.url()), "handshake": "microsoft-graph"});
    let (_, reason) = held_before_and_delivered_after(&server, &document, &sink, &told);
    assert_eq!(reason, "unproven");
    let received = sink.received();
    assert!(
        received[0]
            .path
            .starts_with("/hook?tenant=7&validationToken=Validation"),
        "{}",
        received[0].path
    );
    assert!(received[0].body.is_empty());
    assert_eq!(received.last().unwrap().path, "/hook?tenant=7");
}

/// A code that a receiver was sent, and the other member of the same document.
type Seen = Arc<Mutex<Option<(u64, String)>>>;

/// The members of a document in either encoding, as texts.
fn members(got: &Received) -> HashMap<String, String> {
    match serde_json::from_slice(&got.body) {
        Ok(Value::Object(members)) => {
            let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            members
                .into_iter()
                .map(|(name, value)| (name, text(value)))
                .collect()
        }
        _ => url::form_urlencoded::parse(&got.body).into_owned().collect(),
    }
}

/// A receiver of Ziggeo's handshake that keeps the code, and answers with `echo` of it.
fn ziggeo(echo: impl Fn(u64, &str) -> String + Send + Sync + 'static) -> (Sink, Seen) {
    let seen = Seen::default();
    let keeps = seen.clone();
    let sink = Sink::deciding(move |got, _| {
        let members = members(got);
        let (Some(code), Some(id)) = (members.get("validation_code"), members.get("webhook_id")) else {
            return ok("ok");
        };
        let code = code.parse().unwrap();
        *keeps.lock().unwrap() = Some((code, id.clone()));
        echo(code, id)
    });
    (sink, seen)
}

#[test]
fn a_ziggeo_endpoint_that_echoes_code_and_id_is_verified_at_once() {
    let (_dir, server) = started();
    let echoes: [fn(u64, &str) -> String; 2] = [
        |code, id| ok(&json!({"webhook_id": id, "validation_code": code}).to_string()),
        |code, id| ok(&format!("validation_code={code}&webhook_id={id}")),
    ];
    for (echo, encoding) in echoes.into_iter().zip(["form", "json"]) {
        let (sink, seen) = ziggeo(echo);
        let mut document = json!({"url": sink.url(), "profile": "ziggeo"});
        if encoding == "json" {
            document["encoding"] = json!("json");
        }
        let id = server.endpoint(&document);
        let verified = in_state(&server, &id, "active");
        assert_eq!(
            (&verified["verification"]["state"], &verified["encoding"]),
            (&json!("verified"), &json!(encoding))
        );
        let (code, sent_id) = seen.lock().unwrap().clone().unwrap();
        assert_eq!(sent_id, id);
        assert!((100_000..1_000_000).contains(&code));
        let received = sink.received();
        let sent: Vec<String> = received
            .iter()
            .map(|got| String::from_utf8(got.body.clone()).unwrap())
            .collect();
        if encoding == "json" {
            assert_eq!(
                sent,
                [
                    r#"{"ziggeo_validation":true,"message":"Hi! We're just verifying that the url exists."}"#
                        .to_owned(),
                    format!(r#"{{"ziggeo_validation":true,"validation_code":{code},"webhook_id":"{id}"}}"#),
                ]
            );
        } else {
            assert_eq!(
                members(&received[0])["message"],
                "Hi! We're just verifying that the url exists."
            );
            assert_eq!(
                sent[1],
                format!("ziggeo_validation=true&validation_code={code}&webhook_id={id}")
            );
            assert_eq!(
                received[1].headers["content-type"],
                "application/x-www-form-urlencoded"
            );
        }
        assert!(
            !received[0].headers.contains_key("webhook-signature"),
            "Ziggeo signs nothing"
        );
    }
}
