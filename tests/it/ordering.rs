//! Endpoints that keep an order: what goes out beside, behind and past what, over failures, restarts and crashes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::support::{
    gate::Gate,
    server::{Server, in_millis, millis, wait_for},
    sink::{Received, Sink, answer},
};

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

/// The name that an event's data gives it.
fn name(request: &Received) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["data"].as_str().unwrap().to_owned()
}

fn names(sink: &Sink) -> Vec<String> {
    sink.received().iter().map(name).collect()
}

/// The names that came which start so, in the order of their coming.
fn of(sink: &Sink, start: &str) -> Vec<String> {
    names(sink)
        .into_iter()
        .filter(|name| name.starts_with(start))
        .collect()
}

/// An event with a name; its ordering key is the name's first letter, unless that is a dash.
fn event(server: &Server, name: &str) -> String {
    server.event(&document(name))
}

fn document(name: &str) -> Value {
    match &name[..1] {
        "-" => json!({"type": "a", "data": name}),
        key => json!({"type": "a", "data": name, "ordering_key": key}),
    }
}

/// A receiver that refuses the event `a0` until it is told to take it.
fn refusing_a0() -> (Sink, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let told = well.clone();
    let sink = Sink::deciding(move |request, _| {
        let refused = name(request) == "a0" && !told.load(Ordering::SeqCst);
        answer(if refused { 503 } else { 200 }, "")
    });
    (sink, well)
}

/// An endpoint that tries again after an hour, which is when a person asks for it.
fn patient(server: &Server, sink: &Sink, ordering: Value) -> String {
    server
        .endpoint(&json!({"url": sink.url(), "ordering": ordering, "retry": {"delays": ["1h", "1h", "1h"]}}))
}

/// Waits until the delivery of an event was tried and waits for its retry.
fn refused(server: &Server, event: &str) -> Value {
    wait_for("a refusal", || {
        let delivery = server.delivery_in(event, "scheduled");
        (delivery["attempts"] == 1).then_some(delivery)
    })
}

fn retry(server: &Server, delivery: &Value) {
    let path = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().unwrap());
    assert_eq!(server.post(&path, &json!({})).status, 200);
}

#[test]
fn strict_order_is_the_order_of_acceptance_with_each_failure_waited_out() {
    let (_dir, server) = started();
    let failures = [("-03", 2), ("-07", 3), ("-08", 1)];
    let left = failures.map(|(name, times)| (name, AtomicUsize::new(times)));
    let sink = Sink::deciding(move |request, _| {
        let name = name(request);
        let fails = left.iter().any(|(failing, left)| {
            *failing == name
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok()
        });
        answer(if fails { 500 } else { 200 }, "")
    });
    server.endpoint(&json!({
        "url": sink.url(), "ordering": "strict", "retry": {"retries": 5, "delay": "100ms"}, "concurrency": 32,
    }));
    let events: Vec<String> = (0..20).map(|n| event(&server, &format!("-{n:02}"))).collect();
    for event in &events {
        server.delivery_in(event, "delivered");
    }
    let expected: Vec<String> = (0..20)
        .map(|n| format!("-{n:02}"))
        .flat_map(|name| {
            let failed = failures.iter().find(|(failing, _)| *failing == name);
            vec![name; 1 + failed.map_or(0, |(_, times)| *times)]
        })
        .collect();
    assert_eq!(names(&sink), expected);
}

#[test]
fn events_of_one_key_go_out_one_at_a_time_and_others_beside_them() {
    let (_dir, server) = started();
    let gate = Gate::default();
    let held = gate.clone();
    let sink = Sink::deciding(move |request, _| {
        if name(request) == "a0" {
            held.pass();
        }
        answer(200, "")
    });
    server.endpoint(&json!({"url": sink.url(), "ordering": "key"}));
    let first = event(&server, "a0");
    server.delivery_in(&first, "in_flight");
    let later: Vec<String> = (1..5).map(|n| event(&server, &format!("a{n}"))).collect();
    for other in ["b0", "c0", "-0", "b1", "-1", "c1", "b2"] {
        server.delivery_in(&event(&server, other), "delivered");
    }
    assert_eq!(of(&sink, "a"), ["a0"]);
    gate.open();
    for event in &later {
        server.delivery_in(event, "delivered");
    }
    assert_eq!(of(&sink, "a"), ["a0", "a1", "a2", "a3", "a4"]);
    assert_eq!(of(&sink, "b"), ["b0", "b1", "b2"]);
}

#[test]
fn a_key_that_waits_for_a_retry_goes_on_waiting_over_restarts_crashes_and_a_rebuild() {
    let (_dir, mut server) = started();
    let (sink, well) = refusing_a0();
    patient(&server, &sink, json!("key"));
    let head = event(&server, "a0");
    refused(&server, &head);
    let mut behind = Vec::new();
    for (ending, round) in ["kill", "stop", "power", "none"].into_iter().zip(1..) {
        behind.push(event(&server, &format!("a{round}")));
        match ending {
            "kill" => server.kill(),
            "stop" => _ = server.stop(),
            "power" => {
                server.kill();
                server.set_environment("POSTHASTE_BOOT_ID", "another");
            }
            _ => {}
        }
        if ending != "none" {
            server.restart();
        }
        // Those of other keys were accepted later, and have passed it.
        for name in [format!("b{round}"), format!("-{round}")] {
            server.delivery_in(&event(&server, &name), "delivered");
        }
        assert_eq!(of(&sink, "a"), ["a0"], "{ending}");
    }
    well.store(true, Ordering::SeqCst);
    let delivery = refused(&server, &head);
    retry(&server, &delivery);
    for event in behind.iter().chain([&head]) {
        server.delivery_in(event, "delivered");
    }
    assert_eq!(of(&sink, "a"), ["a0", "a0", "a1", "a2", "a3", "a4"]);
    assert_eq!(of(&sink, "b"), ["b1", "b2", "b3", "b4"]);
}

#[test]
fn with_skip_later_events_pass_one_that_waits_for_its_retry() {
    for (mode, ending) in [("strict", "none"), ("key", "none"), ("strict", "kill")] {
        let (_dir, mut server) = started();
        let (sink, well) = refusing_a0();
        patient(&server, &sink, json!({"mode": mode, "on_failure": "skip"}));
        let head = event(&server, "a0");
        let delivery = refused(&server, &head);
        if ending == "kill" {
            server.kill();
            server.restart();
        }
        let later: Vec<String> = (1..6).map(|n| event(&server, &format!("a{n}"))).collect();
        for event in &later {
            server.delivery_in(event, "delivered");
        }
        well.store(true, Ordering::SeqCst);
        retry(&server, &delivery);
        server.delivery_in(&head, "delivered");
        assert_eq!(
            names(&sink),
            ["a0", "a1", "a2", "a3", "a4", "a5", "a0"],
            "{mode} {ending}"
        );
    }
}

#[test]
fn a_head_that_ends_without_being_delivered_lets_the_others_go() {
    let (_dir, server) = started();
    let sink = Sink::deciding(|request, _| {
        let status = match name(request).as_str() {
            "a0" => 422,
            "a1" => 503,
            _ => 200,
        };
        answer(status, "")
    });
    server.endpoint(&json!({"url": sink.url(), "ordering": "strict", "retry": {"delays": ["100ms"]}}));
    let events: Vec<String> = (0..3).map(|n| event(&server, &format!("a{n}"))).collect();
    for (event, state) in events.iter().zip(["failed", "failed", "delivered"]) {
        server.delivery_in(event, state);
    }
    assert_eq!(names(&sink), ["a0", "a1", "a1", "a2"]);
    // Begun anew, they take their places at the end, in the order they had.
    let endpoint = server.list("/v1/endpoints")[0]["id"].as_str().unwrap().to_owned();
    let recover = json!({"since": "2026-01-01T00:00:00Z"});
    let path = format!("/v1/endpoints/{endpoint}/recover");
    assert_eq!(server.post(&path, &recover).json()["deliveries"], 2);
    wait_for("the second round", || (sink.count() == 7).then_some(()));
    assert_eq!(names(&sink)[4..], ["a0", "a1", "a1"]);
}

#[test]
fn cancelling_a_head_that_waits_lets_the_others_go() {
    let (_dir, server) = started();
    let (sink, _well) = refusing_a0();
    patient(&server, &sink, json!("strict"));
    let head = event(&server, "a0");
    let delivery = refused(&server, &head);
    let next = event(&server, "a1");
    let path = format!("/v1/deliveries/{}/cancel", delivery["id"].as_str().unwrap());
    assert_eq!(server.post(&path, &json!({})).status, 200);
    server.delivery_in(&next, "delivered");
    assert_eq!(names(&sink), ["a0", "a1"]);
}

#[test]
fn a_delayed_event_takes_its_place_when_it_is_due_and_holds_up_nothing_before() {
    let (_dir, server) = started();
    let (sink, well) = refusing_a0();
    patient(&server, &sink, json!("strict"));
    let at = in_millis(1_500);
    let delayed = server.event(&json!({"type": "a", "data": "-delayed", "deliver_at": at}));
    let before = event(&server, "-before");
    server.delivery_in(&before, "delivered");
    assert_eq!(names(&sink), ["-before"]);
    let head = event(&server, "a0");
    let delivery = refused(&server, &head);
    wait_for("its time", || (jiff_now() > millis(&json!(at))).then_some(()));
    let after = event(&server, "-after");
    well.store(true, Ordering::SeqCst);
    retry(&server, &delivery);
    for event in [&delayed, &after] {
        server.delivery_in(event, "delivered");
    }
    assert_eq!(names(&sink), ["-before", "a0", "a0", "-delayed", "-after"]);
}

fn jiff_now() -> i64 {
    millis(&json!(in_millis(0)))
}

#[test]
fn an_event_expires_in_line_while_another_is_waited_for() {
    let (_dir, mut server) = started();
    let (sink, well) = refusing_a0();
    patient(&server, &sink, json!("key"));
    let head = event(&server, "a0");
    refused(&server, &head);
    let mut brief = document("a1");
    brief["expires_at"] = json!(in_millis(1_000));
    let brief = server.event(&brief);
    let next = event(&server, "a2");
    server.delivery_in(&brief, "expired");
    // And when nobody had seen it before.
    let mut second = document("a3");
    second["expires_at"] = json!(in_millis(1_000));
    let second = server.event(&second);
    server.kill();
    server.restart();
    server.delivery_in(&second, "expired");
    well.store(true, Ordering::SeqCst);
    let delivery = refused(&server, &head);
    retry(&server, &delivery);
    server.delivery_in(&next, "delivered");
    assert_eq!(names(&sink), ["a0", "a0", "a2"]);
}

#[test]
fn another_order_holds_from_when_it_is_set_also_for_what_is_scheduled() {
    let (_dir, server) = started();
    let (sink, well) = refusing_a0();
    let endpoint = patient(&server, &sink, json!("none"));
    let path = format!("/v1/endpoints/{endpoint}");
    let set = |ordering: Value| {
        let patch = json!({"ordering": ordering}).to_string();
        let answer = server.request("PATCH", &path, Some("application/json"), patch.as_bytes());
        assert_eq!(
            (answer.status, &answer.json()["ordering"]),
            (200, &ordering),
            "{}",
            answer.text()
        );
    };
    let head = event(&server, "a0");
    let delivery = refused(&server, &head);
    set(json!("key"));
    let first = event(&server, "a1");
    server.delivery_in(&event(&server, "b0"), "delivered");
    set(json!("strict"));
    let second = event(&server, "b1");
    set(json!({"mode": "key", "on_failure": "block"}));
    server.delivery_in(&second, "delivered");
    assert_eq!(of(&sink, "a"), ["a0"]);
    set(json!("none"));
    server.delivery_in(&first, "delivered");
    set(json!({"mode": "strict", "on_failure": "block"}));
    let last = event(&server, "c0");
    well.store(true, Ordering::SeqCst);
    retry(&server, &delivery);
    server.delivery_in(&last, "delivered");
    assert_eq!(names(&sink), ["a0", "b0", "b1", "a1", "a0", "c0"]);
}

#[test]
fn what_was_held_goes_out_in_order_when_the_endpoint_is_enabled() {
    let (_dir, mut server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url(), "ordering": "strict", "enabled": false}));
    let lines: Vec<String> = (0..300)
        .map(|n| document(&format!("-{n:03}")).to_string())
        .collect();
    let batch = lines.join("\n");
    let answer = server.request(
        "POST",
        "/v1/events",
        Some("application/x-ndjson"),
        batch.as_bytes(),
    );
    assert_eq!(answer.json()["accepted"], 300);
    server.kill();
    server.restart();
    assert_eq!(
        server
            .post(&format!("/v1/endpoints/{endpoint}/enable"), &json!({}))
            .status,
        200
    );
    wait_for("all of them", || (sink.count() == 300).then_some(()));
    let expected: Vec<String> = (0..300).map(|n| format!("-{n:03}")).collect();
    assert_eq!(names(&sink), expected);
}

#[test]
fn an_order_that_is_none_is_refused_by_name() {
    let (_dir, server) = started();
    for (ordering, field) in [
        (json!("fifo"), "ordering"),
        (json!(7), "ordering"),
        (json!({"on_failure": "skip"}), "ordering"),
        (json!({"mode": "fast"}), "ordering.mode"),
        (
            json!({"mode": "key", "on_failure": "stop"}),
            "ordering.on_failure",
        ),
        (json!({"mode": "key", "by": "user"}), "ordering.by"),
    ] {
        let answer = server.post(
            "/v1/endpoints",
            &json!({"url": "http://127.0.0.1/", "ordering": ordering}),
        );
        assert_eq!(
            answer.problem(),
            (422, vec![field.to_owned()]),
            "{ordering}: {}",
            answer.text()
        );
    }
}

#[test]
fn the_command_line_sets_an_order_and_gives_events_their_keys() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let run = |words: &[&str]| {
        let (text, status) = server.cli(words);
        assert!(status.success(), "{words:?}: {text}");
        text
    };
    run(&["endpoint", "add", &sink.url(), "--ordering", "key"]);
    let endpoint = &server.list("/v1/endpoints")[0];
    assert_eq!(endpoint["ordering"], "key");
    let id = endpoint["id"].as_str().unwrap();
    run(&[
        "endpoint",
        "set",
        id,
        "--ordering",
        "strict",
        "--on-failure",
        "skip",
    ]);
    let shown = server.get(&format!("/v1/endpoints/{id}"));
    assert_eq!(shown["ordering"], json!({"mode": "strict", "on_failure": "skip"}));
    run(&["endpoint", "set", id, "--unset", "ordering"]);
    assert_eq!(server.get(&format!("/v1/endpoints/{id}"))["ordering"], "none");
    run(&["send", "a", "1", "--ordering-key", "order-7"]);
    let event = server.list("/v1/events")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        server.get(&format!("/v1/events/{event}"))["ordering_key"],
        "order-7"
    );
    for words in [&["--on-failure", "skip"][..], &["--ordering", "fifo"]] {
        let (_, status) = server.cli(&[&["endpoint", "set", id], words].concat());
        assert_eq!(status.code(), Some(2), "{words:?}");
    }
}
