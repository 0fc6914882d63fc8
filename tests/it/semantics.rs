//! What delivery promises, seen from outside: retries, disabling, holding, pace, isolation.

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

#[test]
fn several_errors_in_a_row_may_be_asked_for_before_disabling() {
    let (_dir, server) = started();
    let sink = answering(&[404, 200, 404, 404, 404]);
    let mut document = fast(&sink, 5);
    document["disable_after"] = json!(3);
    document["concurrency"] = json!(1);
    let endpoint = server.endpoint(&document);
    let first = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&first, "delivered");
    let second = server.event(&json!({"type": "a", "data": 2}));
    let held = server.delivery_in(&second, "held");
    assert_eq!(
        (&held["attempts"], &held["held_because"]),
        (&json!(3), &json!("disabled"))
    );
    assert_eq!(state(&server, &endpoint), "disabled");
    assert_eq!(sink.count(), 5);
}

#[test]
fn a_paused_endpoint_holds_its_deliveries_and_sends_them_in_order_when_it_is_enabled() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url(), "concurrency": 1}));
    let path = format!("/v1/endpoints/{endpoint}");
    act(&server, &format!("{path}/pause"));
    let events: Vec<String> = (0..30)
        .map(|n| server.event(&json!({"type": "a", "data": n})))
        .collect();
    let held = server.list("/v1/deliveries?state=held");
    assert_eq!(
        columns(&held, &["held_because", "attempts"]),
        vec![vec![json!("paused"), json!(0)]; 30]
    );
    assert_eq!(sink.count(), 0);
    act(&server, &format!("{path}/enable"));
    wait_for("the release", || (sink.count() == 30).then_some(()));
    let order: Vec<String> = sink
        .received()
        .iter()
        .map(|got| got.event_id().to_owned())
        .collect();
    assert_eq!(order, events);
    // And what is held may be dropped instead.
    act(&server, &format!("{path}/pause"));
    let dropped = server.event(&json!({"type": "a", "data": 99}));
    act(&server, &format!("{path}/enable?discard=true"));
    server.delivery_in(&dropped, "cancelled");
    let sent = server.event(&json!({"type": "a", "data": 100}));
    server.delivery_in(&sent, "delivered");
    assert_eq!(sink.count(), 31);
}

#[test]
fn a_disabling_is_told_to_those_who_name_it_and_to_no_others() {
    let (_dir, server) = started();
    let (watcher, everyone, gone) = (Sink::accepting(), Sink::accepting(), answering(&[410]));
    server.endpoint(&json!({"url": watcher.url(), "events": ["endpoint.*"]}));
    server.endpoint(&json!({"url": everyone.url(), "events": ["*"]}));
    server.endpoint(&json!({"url": everyone.url(), "events": ["endpoint.*"], "tenant": "other"}));
    let endpoint = server.endpoint(&json!({"url": gone.url(), "events": ["a"], "name": "crm"}));
    let event = server.event(&json!({"type": "a", "data": 1}));
    wait_for("the news", || (watcher.count() == 1).then_some(()));
    let news: Value = serde_json::from_slice(&watcher.received()[0].body).unwrap();
    assert_eq!(news["type"], "endpoint.disabled");
    let data = &news["data"];
    assert_eq!(
        (
            &data["endpoint_id"],
            &data["name"],
            &data["state"],
            &data["disabled_reason"]["status"]
        ),
        (&json!(endpoint), &json!("crm"), &json!("disabled"), &json!(410))
    );
    let own = server.list(&format!("/v1/attempts?event={event}&endpoint={endpoint}"));
    assert_eq!(data["disabled_reason"]["attempt_id"], own[0]["id"]);
    // `everyone` got the event itself, and nothing of the news: its deliveries say so.
    let news = server.list("/v1/events?type=endpoint.disabled");
    assert_eq!(columns(&news, &["deliveries"]), [[json!(1)]]);
    wait_for("the event", || (everyone.count() == 1).then_some(()));
}

#[test]
fn after_five_transient_failures_only_probes_go_out_and_a_success_drains_the_backlog() {
    let (_dir, server) = started();
    let (sink, well) = failing(503);
    let endpoint = server.endpoint(&json!({
        "url": sink.url(), "concurrency": 1, "retry": {"retries": 100, "delay": "150ms"},
    }));
    let events: Vec<String> = (0..20)
        .map(|n| server.event(&json!({"type": "a", "data": n})))
        .collect();
    let path = format!("/v1/attempts?endpoint={endpoint}&order=asc");
    let is_probe = |attempt: &Value| attempt["trigger"] == "probe";
    wait_for("three probes", || {
        (server
            .list(&path)
            .iter()
            .filter(|attempt| is_probe(attempt))
            .count()
            >= 3)
            .then_some(())
    });
    well.store(true, Ordering::SeqCst);
    for event in &events {
        server.delivery_in(event, "delivered");
    }
    let attempts = server.list(&path);
    let failed: Vec<&Value> = attempts
        .iter()
        .filter(|attempt| attempt["outcome"] == "transient")
        .collect();
    assert!(failed.len() >= 8, "{failed:?}");
    let (before, after) = failed.split_at(5);
    assert!(!before.iter().any(|attempt| is_probe(attempt)), "{before:?}");
    assert!(after.iter().all(|attempt| is_probe(attempt)), "{after:?}");
    for pair in failed[4..].windows(2) {
        let gap = millis(&pair[1]["started_at"]) - millis(&pair[0]["started_at"]);
        assert!(gap >= 150, "a probe after {gap} ms");
    }
    let first_success = attempts
        .iter()
        .find(|attempt| attempt["outcome"] == "delivered")
        .unwrap();
    assert!(is_probe(first_success), "{first_success}");
    assert_eq!(attempts.len(), failed.len() + 20, "the others spent no attempts");
}

#[test]
fn an_endpoint_gets_no_more_attempts_in_a_second_than_its_rate() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let rate = json!({"per_second": 20, "burst": 3});
    let endpoint = server.endpoint(&json!({"url": sink.url(), "rate": rate, "enabled": false}));
    for n in 0..18 {
        server.event(&json!({"type": "a", "data": n}));
    }
    act(&server, &format!("/v1/endpoints/{endpoint}/enable"));
    let attempts = wait_for("all of them", || {
        Some(server.list("/v1/attempts?order=asc")).filter(|attempts| attempts.len() == 18)
    });
    let mut starts: Vec<i64> = attempts
        .iter()
        .map(|attempt| millis(&attempt["started_at"]))
        .collect();
    starts.sort_unstable();
    for from in 0..starts.len() {
        for to in from..starts.len() {
            // One token more for the rounding of times to milliseconds.
            let allowed = 3.0 + (starts[to] - starts[from] + 2) as f64 * 20.0 / 1000.0;
            assert!(
                (to - from + 1) as f64 <= allowed + 1e-9,
                "{from}..={to}: {starts:?}"
            );
        }
    }
}

#[test]
fn an_endpoint_gets_no_more_attempts_at_once_than_its_concurrency() {
    let (_dir, server) = started();
    let (out, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, peak) = (out.clone(), most.clone());
    let sink = Sink::deciding(move |_, _| {
        let now = counter.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        // A slow receiver: long enough that others would overlap.
        std::thread::sleep(Duration::from_millis(20));
        counter.fetch_sub(1, Ordering::SeqCst);
        answer(200, "")
    });
    server.endpoint(&json!({"url": sink.url(), "concurrency": 3}));
    for n in 0..30 {
        server.event(&json!({"type": "a", "data": n}));
    }
    wait_for("all of them", || {
        (server.list("/v1/deliveries?state=delivered").len() == 30).then_some(())
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(out.load(Ordering::SeqCst), 0);
}

#[test]
fn an_endpoint_that_hangs_holds_up_no_other() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    // Connections are made by the kernel; nobody ever answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let stuck = server.endpoint(&json!({"url": url, "events": ["stuck"], "timeout": "300s"}));
    server.endpoint(&json!({"url": sink.url(), "events": ["well"]}));
    let lines: Vec<String> = (0..200)
        .map(|n| json!({"type": "stuck", "data": n}).to_string())
        .collect();
    let batch = lines.join("\n");
    let answer = server.request(
        "POST",
        "/v1/events",
        Some("application/x-ndjson"),
        batch.as_bytes(),
    );
    assert_eq!(answer.json()["accepted"], 200);
    let events: Vec<String> = (0..50)
        .map(|n| server.event(&json!({"type": "well", "data": n})))
        .collect();
    for event in &events {
        server.delivery_in(event, "delivered");
    }
    let own = format!("/v1/deliveries?endpoint={stuck}");
    let states = columns(&server.list(&own), &["state"]);
    let count = |wanted: &str| states.iter().filter(|row| row[0] == wanted).count();
    assert_eq!((count("in_flight"), count("scheduled")), (8, 192));
    assert_eq!(server.list(&format!("/v1/attempts?endpoint={stuck}")).len(), 0);
}

#[test]
fn a_test_event_goes_out_at_once_whatever_the_endpoints_state_and_changes_nothing() {
    let (_dir, server) = started();
    let sink = answering(&[200, 410, 500, 200]);
    let endpoint = server.endpoint(&json!({"url": sink.url(), "enabled": false}));
    let path = format!("/v1/endpoints/{endpoint}");
    let answer = server.post(
        &format!("{path}/test"),
        &json!({"type": "video.ready", "data": {"a": 1}}),
    );
    let attempt = answer.json();
    assert_eq!(
        columns(
            &[attempt.clone()],
            &[
                "trigger",
                "outcome",
                "status",
                "number",
                "delivery_id",
                "event_type"
            ]
        ),
        [[
            json!("test"),
            json!("delivered"),
            json!(200),
            json!(1),
            Value::Null,
            json!("video.ready")
        ]]
    );
    assert_eq!(attempt["response_excerpt"], "ok");
    let got: Value = serde_json::from_slice(&sink.received()[0].body).unwrap();
    assert_eq!(
        (&got["type"], &got["data"]),
        (&json!("video.ready"), &json!({"a": 1}))
    );
    for status in [410, 500] {
        let attempt = act(&server, &format!("{path}/test"));
        assert_eq!(
            (&attempt["status"], &attempt["event_type"]),
            (&json!(status), &json!("endpoint.test"))
        );
    }
    assert_eq!(state(&server, &endpoint), "paused");
    assert_eq!(server.list("/v1/attempts").len(), 3);
    assert_eq!(
        (
            server.list("/v1/events").len(),
            server.list("/v1/deliveries").len()
        ),
        (0, 0)
    );
    let (status, fields) = server
        .post(&format!("{path}/test"), &json!({"type": "a b"}))
        .problem();
    assert_eq!((status, fields), (422, vec!["type".to_owned()]));
}

#[test]
fn an_event_that_matched_nothing_is_kept_and_can_be_replayed_to_a_later_endpoint() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let accepted = server.post("/v1/events", &json!({"type": "a", "data": {"n": 1}}));
    assert_eq!(
        (accepted.status, &accepted.json()["deliveries"]),
        (202, &json!(0))
    );
    let event = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        columns(&server.list("/v1/events"), &["id", "deliveries"]),
        [[json!(event), json!(0)]]
    );
    assert_eq!(server.get("/v1/status")["events_unmatched"], 1);
    let replay = format!("/v1/events/{event}/replay");
    assert_eq!(server.post(&replay, &json!({})).problem().0, 409);
    let other = server.endpoint(&json!({"url": sink.url(), "events": ["b"], "tenant": "t"}));
    let later = server.endpoint(&json!({"url": sink.url(), "events": ["b"]}));
    assert_eq!(
        server.post(&replay, &json!({"endpoint": other})).problem(),
        (422, vec!["endpoint".to_owned()])
    );
    let unknown = json!({"endpoint": "ep_01h455vb4pex5vsknk084sn02q"});
    assert_eq!(server.post(&replay, &unknown).problem().0, 404);
    let answer = server.post(&replay, &json!({"endpoint": later}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(
        columns(answer.json()["data"].as_array().unwrap(), &["endpoint_id"]),
        [[json!(later)]]
    );
    server.delivery_in(&event, "delivered");
    // Again: to where it went before.
    act(&server, &replay);
    wait_for("the replay", || (sink.count() == 2).then_some(()));
    assert_eq!(server.list(&format!("/v1/events/{event}/deliveries")).len(), 2);
    assert!(sink.received().iter().all(|got| got.event_id() == event));
}

#[test]
fn a_delivery_can_be_cancelled_until_it_is_out() {
    let (_dir, server) = started();
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    server.endpoint(&json!({"url": url}));
    let later = server.event(&json!({"type": "a", "data": 1, "deliver_at": in_millis(3_600_000)}));
    let waiting = server.delivery_in(&later, "scheduled");
    let path = format!("/v1/deliveries/{}", waiting["id"].as_str().unwrap());
    assert_eq!(act(&server, &format!("{path}/cancel"))["state"], "cancelled");
    let again = server.post(&format!("{path}/cancel"), &json!({}));
    assert_eq!(again.problem().0, 409);
    assert_eq!(server.get(&path)["due"], Value::Null);
    let out = server.event(&json!({"type": "a", "data": 2}));
    let flying = server.delivery_in(&out, "in_flight");
    let path = format!("/v1/deliveries/{}", flying["id"].as_str().unwrap());
    for verb in ["cancel", "retry"] {
        assert_eq!(
            server.post(&format!("{path}/{verb}"), &json!({})).problem().0,
            409,
            "{verb}"
        );
    }
}

#[test]
fn deleting_an_endpoint_cancels_what_it_has_scheduled() {
    let (_dir, mut server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url()}));
    let done = server.event(&json!({"type": "a", "data": 0}));
    server.delivery_in(&done, "delivered");
    let at = in_millis(3_600_000);
    let events: Vec<String> = (0..5)
        .map(|n| server.event(&json!({"type": "a", "data": n, "deliver_at": at})))
        .collect();
    let answer = server.request("DELETE", &format!("/v1/endpoints/{endpoint}"), None, b"");
    assert_eq!(answer.status, 204);
    for again in [false, true] {
        if again {
            server.kill();
            server.restart();
        }
        for event in &events {
            let delivery = server.delivery_in(event, "cancelled");
            let retry = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().unwrap());
            assert_eq!(server.post(&retry, &json!({})).problem().0, 410);
        }
        server.delivery_in(&done, "delivered");
    }
    assert_eq!(sink.count(), 1);
}

#[test]
fn channels_tenants_and_patterns_decide_who_gets_an_event() {
    let (_dir, server) = started();
    let add = |document: Value| {
        let mut document = document;
        document["url"] = json!("http://127.0.0.1:9/");
        document["enabled"] = json!(false);
        server.endpoint(&document)
    };
    let all = add(json!({}));
    let user = add(json!({"events": ["user.*"]}));
    let deep = add(json!({"events": ["user.**"]}));
    let europe = add(json!({"channels": ["eu", "uk"]}));
    let acme = add(json!({"tenant": "acme"}));
    let acme_user = add(json!({"tenant": "acme", "events": ["user.created", "order.*"]}));
    let names = [
        (&all, "all"),
        (&user, "user"),
        (&deep, "deep"),
        (&europe, "europe"),
        (&acme, "acme"),
        (&acme_user, "acme_user"),
    ];
    let got_by = |event: Value| {
        let id = server.event(&event);
        let deliveries = server.list(&format!("/v1/events/{id}/deliveries?state=held&order=asc"));
        let name = |delivery: &Value| {
            names
                .iter()
                .find(|(id, _)| delivery["endpoint_id"] == **id)
                .unwrap()
                .1
        };
        let mut got: Vec<&str> = deliveries.iter().map(name).collect();
        got.sort_unstable();
        got
    };
    assert_eq!(
        got_by(json!({"type": "user.created", "data": 1})),
        ["all", "deep", "user"]
    );
    assert_eq!(
        got_by(json!({"type": "user.email.changed", "data": 1})),
        ["all", "deep"]
    );
    assert_eq!(got_by(json!({"type": "userx.created", "data": 1})), ["all"]);
    assert_eq!(
        got_by(json!({"type": "x", "data": 1, "channel": "eu"})),
        ["all", "europe"]
    );
    assert_eq!(got_by(json!({"type": "x", "data": 1, "channel": "us"})), ["all"]);
    assert_eq!(
        got_by(json!({"type": "user.created", "data": 1, "tenant": "acme"})),
        ["acme", "acme_user"]
    );
    assert_eq!(
        got_by(json!({"type": "x", "data": 1, "tenant": "acme"})),
        ["acme"]
    );
    assert_eq!(
        got_by(json!({"type": "x", "data": 1, "tenant": "other"})),
        Vec::<&str>::new()
    );
    let of_acme = server.list("/v1/events?tenant=acme");
    assert_eq!(columns(&of_acme, &["tenant"]), vec![vec![json!("acme")]; 2]);
    assert_eq!(server.list("/v1/endpoints?tenant=acme").len(), 2);
}
