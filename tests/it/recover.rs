//! Recovering a range of time for an endpoint: what is sent once more, in which order, and what is left alone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    server::{Server, in_millis, wait_for},
    sink::{Sink, answer},
};

const LONG_AGO: &str = "2026-01-01T00:00:00Z";

fn started() -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

/// An event whose time no other event has.
fn event(server: &Server, event_type: &str, id: &str) -> String {
    let event = server.event(&json!({"type": event_type, "id": id, "data": 1}));
    wait_for("another millisecond", || {
        (in_millis(0).as_str() > accepted_at(server, id).as_str()).then_some(())
    });
    event
}

fn accepted_at(server: &Server, event: &str) -> String {
    let event = server.get(&format!("/v1/events/{event}"));
    event["accepted_at"].as_str().unwrap().to_owned()
}

fn ids(sink: &Sink) -> Vec<String> {
    let received = sink.received();
    received
        .iter()
        .map(|request| request.event_id().to_owned())
        .collect()
}

fn recover(server: &Server, endpoint: &str, document: &Value) -> Value {
    let answer = server.post(&format!("/v1/endpoints/{endpoint}/recover"), document);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// How many, and of them failed, delivered and missing ones.
fn counts(recovered: &Value) -> [u64; 4] {
    ["deliveries", "failed", "delivered", "missing"].map(|name| recovered[name].as_u64().unwrap())
}

fn set_state(server: &Server, endpoint: &str, verb: &str) {
    let answer = server.post(&format!("/v1/endpoints/{endpoint}/{verb}"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// An endpoint that keeps the order, to which `e0` and `e2` were delivered, then `e1` by a replay, and then `e0` once more.
fn delivered_out_of_order(server: &Server, sink: &Sink) -> String {
    let endpoint = server.endpoint(&json!({"url": sink.url(), "events": ["a"], "ordering": "strict"}));
    event(server, "a", "e0");
    event(server, "b", "e1");
    event(server, "a", "e2");
    for id in ["e1", "e0"] {
        let answer = server.post(&format!("/v1/events/{id}/replay"), &json!({"endpoint": endpoint}));
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    settled(server, sink, 4);
    assert_eq!(ids(sink), ["e0", "e2", "e1", "e0"]);
    endpoint
}

/// Waits until so many requests have come and their deliveries are recorded.
fn settled(server: &Server, sink: &Sink, requests: usize) {
    wait_for("the deliveries", || {
        // One list: between two of them a delivery could go from what the second has to what the first had.
        let deliveries = server.list("/v1/deliveries");
        let is_final = |delivery: &Value| !delivery["settled_at"].is_null();
        (sink.count() == requests && deliveries.iter().all(is_final)).then_some(())
    });
}

#[test]
fn delivered_events_are_sent_once_more_each_once_and_in_the_order_of_their_acceptance() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoint = delivered_out_of_order(&server, &sink);
    let lacking = recover(&server, &endpoint, &json!({"since": LONG_AGO, "what": "all"}));
    assert_eq!(counts(&lacking), [0; 4], "all is all that the endpoint lacks");
    let delivered = json!({"since": LONG_AGO, "what": "delivered"});
    set_state(&server, &endpoint, "pause");
    assert_eq!(counts(&recover(&server, &endpoint, &delivered)), [3, 0, 3, 0]);
    // What is on its way is not delivered: but for e0, whose other delivery still is.
    assert_eq!(counts(&recover(&server, &endpoint, &delivered)), [1, 0, 1, 0]);
    assert_eq!(counts(&recover(&server, &endpoint, &delivered)), [0; 4]);
    set_state(&server, &endpoint, "enable");
    settled(&server, &sink, 8);
    assert_eq!(ids(&sink)[4..7], ["e0", "e1", "e2"]);
    let newest = &server.attempts("e2")[1];
    assert_eq!(newest["trigger"], "replay");
    assert_eq!(counts(&recover(&server, &endpoint, &delivered)), [3, 0, 3, 0]);
    settled(&server, &sink, 11);
    assert_eq!(ids(&sink)[8..], ["e0", "e1", "e2"]);
}

#[test]
fn the_bounds_are_of_the_events_and_a_dry_run_changes_nothing() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoint = delivered_out_of_order(&server, &sink);
    let [first, second, third] = ["e0", "e1", "e2"].map(|id| accepted_at(&server, id));
    let deliveries = || server.list("/v1/deliveries?order=asc");
    let before = deliveries();
    let count = |since: &str, until: Option<&str>, status: Option<u16>| {
        let document = json!({
            "since": since, "until": until, "status": status, "what": "delivered", "dry_run": true,
        });
        let recovered = recover(&server, &endpoint, &document);
        assert_eq!(
            (&recovered["dry_run"], &recovered["next"]),
            (&json!(true), &Value::Null)
        );
        counts(&recovered)[2]
    };
    assert_eq!(count(&first, None, None), 3);
    assert_eq!(count(&second, None, None), 2);
    // Its delivery was made by a replay, later than the last event was accepted.
    assert_eq!(count(&second, Some(&second), None), 1);
    assert_eq!(count(&first, Some(&second), None), 2);
    assert_eq!(count(&third, Some(&third), Some(200)), 1);
    assert_eq!(count(&first, None, Some(201)), 0);
    assert_eq!(count(&in_millis(60_000), None, None), 0);
    assert_eq!(deliveries(), before);
    assert_eq!(sink.count(), 4);
    let refused = server.post(
        &format!("/v1/endpoints/{endpoint}/recover"),
        &json!({"since": first, "what": "all", "status": 200}),
    );
    assert_eq!(refused.problem(), (422, vec!["status".to_owned()]));

    let (text, status) = server.cli(&[
        "endpoint",
        "recover",
        &endpoint,
        "--what",
        "delivered",
        "--since",
        &second,
        "--until",
        &third,
        "--dry-run",
        "--output",
        "json",
    ]);
    assert!(status.success(), "{text}");
    let counted: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (counts(&counted), &counted["dry_run"]),
        ([2, 0, 2, 0], &json!(true))
    );
    assert_eq!(deliveries(), before);
}

#[test]
fn failed_and_missing_ones_go_together_in_the_order_of_their_events_portion_by_portion() {
    let (_dir, server) = started();
    let well = Arc::new(AtomicBool::new(false));
    let told = well.clone();
    let sink = Sink::deciding(move |_, _| answer(if told.load(Ordering::SeqCst) { 200 } else { 422 }, ""));
    let endpoint = server.endpoint(&json!({"url": sink.url(), "events": ["a"], "ordering": "strict"}));
    for (event_type, id) in [("a", "f0"), ("b", "m1"), ("a", "f2"), ("b", "m3"), ("a", "f4")] {
        event(&server, event_type, id);
    }
    for id in ["f0", "f2", "f4"] {
        server.delivery_in(id, "failed");
    }
    let patch = json!({"events": ["a", "b"]}).to_string();
    let answer = server.request(
        "PATCH",
        &format!("/v1/endpoints/{endpoint}"),
        Some("application/json"),
        patch.as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    well.store(true, Ordering::SeqCst);
    set_state(&server, &endpoint, "pause");
    let (mut found, mut cursor) = ([0; 4], Value::Null);
    loop {
        let document = json!({"since": LONG_AGO, "what": "all", "limit": 1, "cursor": cursor});
        let portion = recover(&server, &endpoint, &document);
        let counted = counts(&portion);
        assert!(counted[0] <= 2, "{portion}");
        found = std::array::from_fn(|of| found[of] + counted[of]);
        cursor = portion["next"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(found, [5, 3, 0, 2]);
    set_state(&server, &endpoint, "enable");
    settled(&server, &sink, 8);
    assert_eq!(ids(&sink)[3..], ["f0", "m1", "f2", "m3", "f4"]);
    let again = recover(&server, &endpoint, &json!({"since": LONG_AGO, "what": "all"}));
    assert_eq!(counts(&again), [0; 4]);
}
