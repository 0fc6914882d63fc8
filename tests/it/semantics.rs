//! What delivery promises, seen from outside: retries, disabling, holding, pace, isolation.

mod aimed;
mod holding;
mod pace;

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    server::{Server, in_millis, millis, wait_for},
    sink::{Sink, answer},
};

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

/// Answers with these statuses in turn, and with the last of them from then on.
fn answering(statuses: &'static [u16]) -> Sink {
    Sink::deciding(move |_, before| answer(statuses[before.min(statuses.len() - 1)], ""))
}

/// A receiver that answers with this status until it is told to take everything.
fn failing(status: u16) -> (Sink, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let told = well.clone();
    let sink = Sink::deciding(move |_, _| answer(if told.load(Ordering::SeqCst) { 200 } else { status }, ""));
    (sink, well)
}

fn state(server: &Server, endpoint: &str) -> Value {
    server.get(&format!("/v1/endpoints/{endpoint}"))["state"].clone()
}

fn act(server: &Server, path: &str) -> Value {
    let answer = server.post(path, &json!({}));
    assert!(matches!(answer.status, 200 | 202), "{path}: {}", answer.text());
    answer.json()
}

/// Members of each row, as a table.
fn columns(rows: &[Value], names: &[&str]) -> Vec<Vec<Value>> {
    let row = |row: &Value| names.iter().map(|name| row[name].clone()).collect();
    rows.iter().map(row).collect()
}

fn fast(sink: &Sink, retries: usize) -> Value {
    json!({"url": sink.url(), "retry": {"delays": vec!["100ms"; retries]}})
}

#[test]
fn a_delivery_is_retried_after_its_delays_until_it_succeeds() {
    let (_dir, server) = started();
    let sink = answering(&[500, 503, 200]);
    server.endpoint(&json!({"url": sink.url(), "retry": {"delays": ["100ms", "300ms", "1h"]}}));
    let event = server.event(&json!({"type": "a", "data": {"n": 1}}));
    let delivery = server.delivery_in(&event, "delivered");
    assert_eq!(
        (&delivery["attempts"], &delivery["due"]),
        (&json!(3), &Value::Null)
    );
    assert_eq!(delivery["last_outcome"]["status"], 200);
    let attempts = server.attempts(&event);
    assert_eq!(
        columns(&attempts, &["number", "trigger", "outcome", "reason", "status"]),
        [
            [
                json!(1),
                json!("initial"),
                json!("transient"),
                json!("status"),
                json!(500)
            ],
            [
                json!(2),
                json!("retry"),
                json!("transient"),
                json!("status"),
                json!(503)
            ],
            [
                json!(3),
                json!("retry"),
                json!("delivered"),
                json!("status"),
                json!(200)
            ],
        ]
    );
    for (pair, least) in attempts.windows(2).zip([80, 240]) {
        assert!(
            millis(&pair[1]["started_at"]) >= millis(&pair[0]["next_due"]),
            "{pair:?}"
        );
        assert!(
            millis(&pair[0]["next_due"]) - millis(&pair[0]["started_at"]) >= least,
            "{pair:?}"
        );
    }
    let received = sink.received();
    for got in &received {
        assert_eq!((got.event_id(), &got.body), (event.as_str(), &received[0].body));
    }
}

#[test]
fn retry_after_is_a_lower_bound_in_seconds_and_as_a_date() {
    let (_dir, server) = started();
    let date = "Wed, 21 Oct 2099 07:28:00 GMT";
    let sink = Sink::deciding(move |got, before| match (got.path.as_str(), before) {
        ("/date", _) => answer(503, &format!("retry-after: {date}\r\n")),
        ("/hour", _) => answer(429, "retry-after: 3600\r\n"),
        ("/garbage", _) => answer(503, "retry-after: -1\r\n"),
        (_, 0) => answer(503, "retry-after: 1\r\n"),
        _ => answer(200, ""),
    });
    let add = |name: &str| {
        let url = format!("{}{name}", sink.url());
        server.endpoint(&json!({"url": url, "events": [name], "retry": {"delays": ["100ms", "1h"]}}))
    };
    add("second");
    let event = server.event(&json!({"type": "second", "data": 1}));
    server.delivery_in(&event, "delivered");
    let attempts = server.attempts(&event);
    assert_eq!(attempts.len(), 2);
    assert!(
        millis(&attempts[1]["started_at"]) - millis(&attempts[0]["started_at"]) >= 1000,
        "{attempts:?}"
    );
    let due_after = |name: &str| {
        add(name);
        let event = server.event(&json!({"type": name, "data": 1}));
        let attempt = wait_for("the attempt", || server.attempts(&event).into_iter().next());
        (millis(&attempt["next_due"]) - millis(&attempt["started_at"])) / 1000
    };
    // A date beyond the endpoint's own limit of a day counts as that limit.
    assert!((3600..3700).contains(&due_after("hour")));
    assert!((86_400..86_500).contains(&due_after("date")));
    assert!(due_after("garbage") < 60);
}

#[test]
fn a_delivery_that_has_failed_is_delivered_when_it_is_retried_or_recovered() {
    let (_dir, server) = started();
    let (sink, well) = failing(500);
    let endpoint = server.endpoint(&fast(&sink, 1));
    let before = in_millis(0);
    let events: Vec<String> = (0..2)
        .map(|n| server.event(&json!({"type": "a", "data": n})))
        .collect();
    let failed: Vec<Value> = events
        .iter()
        .map(|event| server.delivery_in(event, "failed"))
        .collect();
    assert_eq!(
        columns(&failed, &["attempts", "due"]),
        vec![vec![json!(2), Value::Null]; 2]
    );
    assert_eq!(state(&server, &endpoint), "active");
    let after = in_millis(0);
    well.store(true, Ordering::SeqCst);
    act(
        &server,
        &format!("/v1/deliveries/{}/retry", failed[0]["id"].as_str().unwrap()),
    );
    server.delivery_in(&events[0], "delivered");
    let attempts = server.attempts(&events[0]);
    assert_eq!(
        columns(&attempts, &["number", "trigger"]),
        [
            [json!(1), json!("initial")],
            [json!(2), json!("retry")],
            [json!(3), json!("replay")]
        ]
    );
    let recover = |document: Value| {
        let answer = server.post(&format!("/v1/endpoints/{endpoint}/recover"), &document);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["deliveries"].clone()
    };
    assert_eq!(recover(json!({"since": after})), 0);
    assert_eq!(recover(json!({"since": before, "status": 404})), 0);
    assert_eq!(
        recover(json!({"since": in_millis(-9_000), "until": in_millis(-8_000)})),
        0
    );
    assert_eq!(
        recover(json!({"since": before, "until": after, "status": 500})),
        1
    );
    for event in &events[1..] {
        server.delivery_in(event, "delivered");
        assert_eq!(server.attempts(event).last().unwrap()["trigger"], "replay");
    }
    assert_eq!(recover(json!({"since": before})), 0);
}

#[test]
fn an_event_error_fails_its_delivery_and_spares_the_endpoint() {
    let (_dir, server) = started();
    let sink = answering(&[422, 200]);
    let endpoint = server.endpoint(&fast(&sink, 3));
    let refused = server.event(&json!({"type": "a", "data": 1}));
    let delivery = server.delivery_in(&refused, "failed");
    assert_eq!(
        (&delivery["attempts"], &delivery["last_outcome"]["outcome"]),
        (&json!(1), &json!("event_error"))
    );
    assert_eq!(state(&server, &endpoint), "active");
    let taken = server.event(&json!({"type": "a", "data": 2}));
    server.delivery_in(&taken, "delivered");
}

#[test]
fn any_non_transient_error_disables_where_the_endpoint_says_so() {
    let (_dir, server) = started();
    let sink = answering(&[422]);
    let mut document = fast(&sink, 3);
    document["disable_on"] = json!("any_non_transient");
    let endpoint = server.endpoint(&document);
    let event = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&event, "failed");
    let shown = wait_for("the disabling", || {
        Some(server.get(&format!("/v1/endpoints/{endpoint}"))).filter(|shown| shown["state"] == "disabled")
    });
    let reason = &shown["disabled_reason"];
    assert_eq!(
        (&reason["why"], &reason["status"]),
        (&json!("event_error"), &json!(422))
    );
    assert_eq!(reason["attempt_id"], server.attempts(&event)[0]["id"]);
}

#[test]
fn an_endpoint_may_judge_statuses_in_its_own_way() {
    let (_dir, server) = started();
    let sink = answering(&[410, 404, 404]);
    let mut document = fast(&sink, 3);
    document["treat_as"] = json!({"410": "transient", "404": "delivered"});
    let endpoint = server.endpoint(&document);
    let event = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&event, "delivered");
    assert_eq!(
        columns(&server.attempts(&event), &["outcome", "status"]),
        [[json!("transient"), json!(410)], [json!("delivered"), json!(404)]]
    );
    assert_eq!(state(&server, &endpoint), "active");
}

#[test]
fn an_endpoint_that_is_never_to_be_disabled_is_retried_to_the_end() {
    let (_dir, server) = started();
    let sink = answering(&[410]);
    let mut document = fast(&sink, 2);
    document["disable_on"] = json!("never");
    let endpoint = server.endpoint(&document);
    let event = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&event, "failed");
    assert_eq!(
        columns(&server.attempts(&event), &["outcome", "status"]),
        vec![vec![json!("endpoint_error"), json!(410)]; 3]
    );
    assert_eq!(state(&server, &endpoint), "active");
}
