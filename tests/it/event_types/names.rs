//! Names as senders have them, and patterns over them: from the request to the receiver and back.

use super::*;
use crate::support::sink::Sink;

const NAMES: [&str; 5] = [
    "orders/create",
    "/ACCOUNT_CLOSED",
    "urn:example:user.created",
    "Report available.v 2",
    "http://example.com/x",
];

/// A name as a segment of a path.
fn encoded(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'/' | b':' | b' ' => format!("%{byte:02X}"),
        byte => char::from(byte).to_string(),
    };
    name.bytes().map(byte).collect()
}

#[test]
fn names_with_slashes_colons_and_spaces_are_names() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    for (name, envelope) in NAMES
        .iter()
        .zip(["standard", "cloudevents-binary"].iter().cycle())
    {
        server.endpoint(&json!({"url": sink.url(), "events": [name], "envelope": envelope}));
        declare(&server, &encoded(name), &json!({"schema": user()}));
        let shown = server.get(&format!("/v1/event-types/{}", encoded(name)));
        assert_eq!(shown["type"], *name);
        let event = server.event(&json!({"type": name, "data": {"id": 1}}));
        let got = wait_for("its request", || {
            sink.received().into_iter().find(|got| got.event_id() == event)
        });
        match *envelope {
            "standard" => {
                let body: Value = serde_json::from_slice(&got.body).unwrap();
                assert_eq!(body["type"], *name);
            }
            // Spaces are percent-encoded in its headers.
            _ => assert_eq!(got.headers["ce-type"], name.replace(' ', "%20")),
        }
        let listed = server.list(&format!("/v1/events?type={}", encoded(name)));
        assert_eq!(listed.len(), 1, "{name}");
        let (said, status) = server.cli(&["event-type", "show", name]);
        assert!(status.success() && said.contains(name), "{said}");
    }
    assert_eq!(sink.count(), NAMES.len());
    let gone = format!("/v1/event-types/{}", encoded(NAMES[0]));
    assert_eq!(server.request("DELETE", &gone, None, b"").status, 204);
    assert_eq!(server.request("GET", &gone, None, b"").status, 404);
}

#[test]
fn stars_stand_anywhere_in_a_pattern_within_the_endpoints_tenant() {
    let (_dir, server) = started();
    let (created, done, other) = (Sink::accepting(), Sink::accepting(), Sink::accepting());
    server.endpoint(&json!({"url": created.url(), "events": ["*.created"]}));
    let changing = server.endpoint(&json!({"url": done.url(), "events": ["user.*.done", "*.*.x.**"]}));
    server.endpoint(&json!({"url": other.url(), "events": ["*.created"], "tenant": "acme"}));
    for name in [
        "user.created",
        "orders/x.created",
        "user.import.done",
        "a.b.x.y.z",
        "created",
        "user.done",
        "a.b.x",
    ] {
        server.event(&json!({"type": name, "data": 1}));
    }
    wait_for("all that is wanted", || {
        (created.count() == 2 && done.count() == 2).then_some(())
    });
    let explained = server.list("/v1/events?type=a.b.x");
    let id = explained[0]["id"].as_str().unwrap();
    let rows = server.list(&format!("/v1/events/{id}/explain"));
    assert!(rows.iter().all(|row| row["matched"] == false), "{rows:?}");
    // A pattern that is taken away is not matched any more.
    let path = format!("/v1/endpoints/{changing}");
    let changed = server.request(
        "PATCH",
        &path,
        Some("application/merge-patch+json"),
        br#"{"events":["other"]}"#,
    );
    assert_eq!(changed.status, 200, "{}", changed.text());
    server.event(&json!({"type": "user.import.done", "data": 1}));
    server.event(&json!({"type": "user.created", "data": 1}));
    wait_for("the last", || (created.count() == 3).then_some(()));
    assert_eq!((done.count(), other.count()), (2, 0));
    for bad in ["a*", "**.a", "orders/*", "*.b.c.d.e.f.g.h.i"] {
        let refused = server.post("/v1/endpoints", &json!({"url": created.url(), "events": [bad]}));
        assert_eq!(refused.problem(), (422, vec!["events[0]".to_owned()]), "{bad}");
    }
}
