//! Bodies that are not JSON: forms and XML, as receivers get them.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use posthaste::{domain::time::Timestamp, wire::signature::Scheme};
use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::{Received, Sink},
};

const OCCURRED: &str = "2022-03-01T12:00:00.000Z";

struct Receiver {
    _dir: tempfile::TempDir,
    server: Server,
    sink: Sink,
    endpoint: String,
}

impl Receiver {
    fn new(settings: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"));
        let sink = Sink::accepting();
        let mut document = json!({"url": sink.url()});
        let members = settings.as_object().unwrap().clone();
        document.as_object_mut().unwrap().extend(members);
        let endpoint = server.endpoint(&document);
        Self {
            _dir: dir,
            server,
            sink,
            endpoint,
        }
    }

    /// What the endpoint gets of an event.
    fn gets(&self, members: &str) -> Received {
        let before = self.sink.count();
        let document = format!(r#"{{"type":"video_ready","occurred_at":"{OCCURRED}",{members}}}"#);
        let answer = self.server.enqueue(document.as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text());
        wait_for("the request", || self.sink.received().get(before).cloned())
    }
}

fn text(received: &Received) -> &str {
    std::str::from_utf8(&received.body).unwrap()
}

#[test]
fn a_form_has_brackets_and_every_digit_and_is_what_is_signed() {
    let receiver = Receiver::new(&json!({"envelope": "ziggeo", "encoding": "form"}));
    let got = receiver.gets(
        r#""data":{"video":{"token":"a b","approved":null,"tags":["x","ä&"]},"size":1e400,"count":12345678901234567890,"ok":true}"#,
    );
    assert_eq!(got.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(
        text(&got),
        "event_type=video_ready&data[video][token]=a+b&data[video][approved]=&data[video][tags][0]=x\
         &data[video][tags][1]=%C3%A4%26&data[size]=1e400&data[count]=12345678901234567890&data[ok]=true"
    );
    let path = format!("/v1/endpoints/{}/secret", receiver.endpoint);
    let secret = receiver.server.get(&path)["signatures"][0]["secret"].clone();
    let secret = Scheme::Standard
        .secret(secret.as_str().unwrap().to_owned())
        .unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in &got.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let verified = |body: &[u8]| {
        let sent_at: u64 = got.headers["webhook-timestamp"].parse().unwrap();
        let now = Timestamp::from_millis(sent_at * 1000);
        Scheme::Standard.verify(
            std::slice::from_ref(&secret),
            &headers,
            body,
            now,
            Duration::from_secs(300),
        )
    };
    assert_eq!(verified(&got.body), Ok(()));
    assert!(verified(b"event_type=video_ready").is_err());
}

#[test]
fn xml_has_an_element_for_every_member() {
    let receiver = Receiver::new(&json!({"profile": "ziwo", "encoding": "xml"}));
    let got = receiver.gets(
        r#""data":{"type":"ringing","startedAtEpoch":"1581838555122651","a b":1.0,"list":["<",null],"x":"\u0000"}"#,
    );
    assert_eq!(got.headers["content-type"], "application/xml");
    assert_eq!(
        text(&got),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><event><type>ringing</type><startedAtEpoch>1581838555122651</startedAtEpoch>\
         <entry name=\"a b\">1.0</entry><list><item>&lt;</item><item/></list><x>\u{fffd}</x></event>"
    );
}

#[test]
fn what_is_not_json_is_sent_as_it_is_under_any_encoding() {
    for encoding in ["json", "form", "xml"] {
        let receiver = Receiver::new(&json!({"encoding": encoding}));
        let got = receiver.gets(r#""content_type":"text/csv","data_base64":"YSxiCg==""#);
        assert_eq!(
            (got.headers["content-type"].as_str(), text(&got)),
            ("text/csv", "a,b\n"),
            "{encoding}"
        );
    }
}

#[test]
fn an_event_that_an_encoding_would_blow_up_fails_alone() {
    let receiver = Receiver::new(&json!({"encoding": "form", "disable_on": "endpoint_errors"}));
    let data = json!({"x".repeat(100_000): vec![0; 50_000]});
    let bomb = receiver.server.event(&json!({"type": "a", "data": data}));
    receiver.server.delivery_in(&bomb, "failed");
    let attempt = &receiver.server.attempts(&bomb)[0];
    assert_eq!(
        (&attempt["outcome"], &attempt["reason"]),
        (&json!("event_error"), &json!("encoding"))
    );
    let shown = receiver
        .server
        .get(&format!("/v1/endpoints/{}", receiver.endpoint));
    assert_eq!(
        (&shown["state"], &shown["encoding"]),
        (&json!("active"), &json!("form"))
    );
    assert_eq!(receiver.sink.count(), 0);
}

#[test]
fn an_encoding_that_cannot_be_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let url = "http://127.0.0.1:9/";
    for document in [
        json!({"url": url, "encoding": "yaml"}),
        json!({"url": url, "encoding": "form", "envelope": "cloudevents"}),
        json!({"url": url, "encoding": "xml", "envelope": "cloudevents-binary"}),
        json!({"url": url, "encoding": "xml", "profile": "cloudevents"}),
    ] {
        let problem = server.post("/v1/endpoints", &document).problem();
        assert_eq!(problem, (422, vec!["encoding".to_owned()]), "{document}");
    }
    let wrong = server.post("/v1/endpoints", &json!({"url": url, "envelope": "cloud"}));
    assert_eq!(wrong.problem(), (422, vec!["envelope".to_owned()]));
    let id = server.endpoint(&json!({"url": url, "encoding": "form"}));
    let path = format!("/v1/endpoints/{id}");
    let patch = |body: Value| {
        server.request(
            "PATCH",
            &path,
            Some("application/json"),
            body.to_string().as_bytes(),
        )
    };
    assert_eq!(
        patch(json!({"envelope": "cloudevents"})).problem(),
        (422, vec!["encoding".to_owned()])
    );
    assert_eq!(
        patch(json!({"envelope": "cloudevents", "encoding": null})).status,
        200
    );
    let shown = server.get(&path);
    assert_eq!(
        (&shown["envelope"], &shown["encoding"]),
        (&json!("cloudevents"), &json!("json"))
    );
}
