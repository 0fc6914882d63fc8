//! Conditions and transforms: what an endpoint wants of an event, and what it is sent in place of the envelope.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    server::{Server, wait_for},
    sink::Sink,
};

fn started() -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    (dir, server)
}

fn metric(server: &Server, line_start: &str) -> Option<u64> {
    let answer = server.request("GET", "/metrics", None, b"");
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find(|line| line.starts_with(line_start))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn explained(server: &Server, event: &str, endpoint: &str) -> Value {
    let answer = server.get(&format!("/v1/events/{event}/explain?endpoint={endpoint}"));
    answer["data"][0].clone()
}

#[test]
fn an_endpoint_gets_only_what_its_condition_wants() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({
        "url": sink.url(), "events": ["video.*"],
        "condition": "'news' in data.tags && channel == 'eu' && attributes.source == 'cms'",
    }));
    let event = |id: &str, document: Value| {
        let mut whole =
            json!({"id": id, "type": "video.ready", "channel": "eu", "attributes": {"source": "cms"}});
        whole
            .as_object_mut()
            .unwrap()
            .extend(document.as_object().unwrap().clone());
        let answer = server.enqueue(&serde_json::to_vec(&whole).unwrap());
        assert_eq!(answer.status, 202);
        serde_json::from_slice::<Value>(&answer.body).unwrap()["deliveries"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(event("no-tag", json!({"data": {"tags": ["sport"]}})), 0);
    assert_eq!(event("no-member", json!({"data": {}})), 0);
    assert_eq!(
        event(
            "no-json",
            json!({"data_base64": "aGk=", "content_type": "text/plain"})
        ),
        0
    );
    assert_eq!(
        event(
            "other-channel",
            json!({"data": {"tags": ["news"]}, "channel": "us"})
        ),
        0
    );
    assert_eq!(event("wanted", json!({"data": {"tags": ["sport", "news"]}})), 1);
    server.delivery_in("wanted", "delivered");
    assert_eq!(sink.received()[0].event_id(), "wanted");
    assert_eq!(sink.count(), 1);

    let row = explained(&server, "wanted", &endpoint);
    assert_eq!((&row["matched"], &row["rule"]), (&json!(true), &json!("events")));
    assert!(
        row["why"].as_str().unwrap().contains("the condition holds"),
        "{row}"
    );
    let row = explained(&server, "no-tag", &endpoint);
    assert_eq!(
        (&row["matched"], &row["rule"]),
        (&json!(false), &json!("condition"))
    );
    assert!(row["why"].as_str().unwrap().contains("does not hold"), "{row}");
    let row = explained(&server, "no-member", &endpoint);
    assert!(
        row["why"].as_str().unwrap().contains("there is no member tags"),
        "{row}"
    );
    let failures = "posthaste_conditions_failed_total{reason=\"evaluation\"}";
    assert_eq!(metric(&server, failures), Some(2));
}

#[test]
fn a_condition_holds_after_a_restart_and_can_be_changed_and_dropped() {
    let (_dir, mut server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url(), "condition": "data.n > 1"}));
    server.restart();
    let deliveries = |n: u64| {
        let document = json!({"type": "a", "data": {"n": n}});
        let answer = server.enqueue(document.to_string().as_bytes());
        serde_json::from_slice::<Value>(&answer.body).unwrap()["deliveries"]
            .as_u64()
            .unwrap()
    };
    assert_eq!((deliveries(1), deliveries(2)), (0, 1));
    let path = format!("/v1/endpoints/{endpoint}");
    let patch = |document: Value| {
        server.request(
            "PATCH",
            &path,
            Some("application/json"),
            document.to_string().as_bytes(),
        )
    };
    assert_eq!(patch(json!({"condition": "data.n < 2"})).status, 200);
    assert_eq!((deliveries(1), deliveries(2)), (1, 0));
    assert_eq!(
        patch(json!({"condition": "data.n <"})).problem(),
        (422, vec!["condition".to_owned()])
    );
    assert_eq!((deliveries(1), deliveries(2)), (1, 0));
    assert_eq!(patch(json!({"condition": null})).status, 200);
    assert_eq!((deliveries(1), deliveries(2)), (1, 1));
}

#[test]
fn expressions_that_cannot_be_are_refused_by_name_and_place() {
    let (_dir, server) = started();
    let bomb = format!("{}true{}", "data.all(x, ".repeat(60), ")".repeat(60));
    let doubling = format!("{{{{ {}1 }}}}", "-".repeat(9000));
    for (field, source, place) in [
        ("condition", "data.x ==", "line 1, column 10: "),
        (
            "condition",
            "type == 'a' &&\n  dta.x",
            "line 2, column 3: there is no dta",
        ),
        ("condition", "", "is empty"),
        ("condition", bomb.as_str(), "nested more than"),
        (
            "condition",
            "data.matches('(a{1000}){1000}')",
            "too large when compiled",
        ),
        (
            "transform",
            "{\n{{ data.x|nope }}",
            "line 2: there is no filter nope",
        ),
        ("transform", "{% for %}", "line 1: "),
        ("transform", "{% include 'a' %}", "no other templates"),
        ("transform", doubling.as_str(), "line 1: "),
    ] {
        let mut document = json!({"url": "http://127.0.0.1:9/"});
        document[field] = source.into();
        let answer = server.post("/v1/endpoints", &document);
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.problem(), (422, vec![field.to_owned()]), "{problem}");
        let rule = problem["errors"][0]["rule"].as_str().unwrap();
        assert!(rule.contains(place), "{rule}");
    }
}

#[test]
fn a_condition_that_runs_away_is_no_match_and_harms_nobody() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let bomb = server.endpoint(&json!({
        "url": sink.url(), "condition": "data.all(x, data.all(y, data.all(z, x + y + z > 0)))",
    }));
    let plain = server.endpoint(&json!({"url": sink.url()}));
    let event = server.event(&json!({"type": "a", "data": vec![1; 1000]}));
    server.delivery_in(&event, "delivered");
    let deliveries = server.list(&format!("/v1/events/{event}/deliveries"));
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0]["endpoint_id"], plain.as_str());
    let row = explained(&server, &event, &bomb);
    assert!(row["why"].as_str().unwrap().contains("too costly"), "{row}");
    assert!(metric(&server, "posthaste_conditions_failed_total{reason=\"budget\"}").is_some());
}

#[test]
fn a_transform_makes_the_body_that_is_signed_and_sent() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let transform =
        r#"{"text": {{ ("New: " ~ data.name)|tojson }}, "at": "{{ occurred_at }}", "tags": {{ data.tags }}}"#;
    let endpoint = server.endpoint(&json!({"url": sink.url(), "transform": transform}));
    let document = json!({
        "id": "e1", "type": "user.created", "occurred_at": "2026-11-21T05:30:00Z",
        "data": {"name": "Ada \"A\"", "tags": ["x"]},
    });
    server.event(&document);
    server.delivery_in("e1", "delivered");
    let received = sink.received().remove(0);
    let body = r#"{"text": "New: Ada \"A\"", "at": "2026-11-21T05:30:00.000Z", "tags": ["x"]}"#;
    assert_eq!(String::from_utf8(received.body).unwrap(), body);
    assert_eq!(received.headers["content-type"], "application/json");
    assert!(received.headers["webhook-signature"].starts_with("v1,"));
    let preview = server.post(&format!("/v1/endpoints/{endpoint}/preview"), &document);
    let preview: Value = serde_json::from_slice(&preview.body).unwrap();
    assert_eq!(preview["body"], body);
}

#[test]
fn an_event_that_becomes_no_json_fails_alone_and_the_endpoint_is_not_blamed() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({
        "url": sink.url(), "transform": "{\"n\": {{ data.n }}}", "disable_on": "any_non_transient",
    }));
    for (id, data) in [
        ("not-json", json!({"n": "x\""})),
        ("not-there", json!({})),
        ("good", json!({"n": 1})),
    ] {
        server.event(&json!({"id": id, "type": "a", "data": data}));
    }
    server.delivery_in("good", "delivered");
    for id in ["not-json", "not-there"] {
        let delivery = server.delivery_in(id, "failed");
        assert_eq!(delivery["last_outcome"]["outcome"], "event_error");
        assert_eq!(delivery["last_outcome"]["reason"], "transform");
    }
    assert_eq!(sink.count(), 1);
    assert_eq!(
        server.get(&format!("/v1/endpoints/{endpoint}"))["state"],
        "active"
    );
    let stats = server.get(&format!("/v1/endpoints/{endpoint}/stats"));
    assert_eq!(stats["failures_in_a_row"], 0);
    let preview = server.post(
        &format!("/v1/endpoints/{endpoint}/preview"),
        &json!({"type": "a", "data": {}}),
    );
    assert_eq!(preview.status, 422);
    let problem = String::from_utf8(preview.body).unwrap();
    assert!(problem.contains("line 1: a value that is not there"), "{problem}");
}

#[test]
fn a_template_that_runs_away_costs_its_own_delivery_only() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let doubling = format!(
        "{{% set a = id %}}{}\"{{{{ a }}}}\"",
        "{% set a = a ~ a %}".repeat(60)
    );
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
    for transform in [doubling.as_str(), loops] {
        server.endpoint(&json!({"url": sink.url(), "transform": transform}));
    }
    let plain = server.endpoint(&json!({"url": sink.url()}));
    let event = server.event(&json!({"type": "a", "data": 1}));
    let deliveries = wait_for("the ends", || {
        let all = server.list(&format!("/v1/events/{event}/deliveries"));
        all.iter()
            .all(|one| one["state"] == "failed" || one["state"] == "delivered")
            .then_some(all)
    });
    for delivery in deliveries {
        let delivered = delivery["endpoint_id"] == plain.as_str();
        assert_eq!(
            delivery["state"],
            if delivered { "delivered" } else { "failed" },
            "{delivery}"
        );
    }
}

#[test]
fn the_command_line_takes_both_from_files() {
    let (dir, server) = started();
    let sink = Sink::accepting();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("@{}", path.display())
    };
    let condition = file("wanted.cel", "data.n > 1\n");
    let transform = file("body.j2", "{\"twice\": {{ data.n * 2 }}}\n");
    let (said, status) = server.cli(&[
        "endpoint",
        "add",
        &sink.url(),
        "--condition",
        &condition,
        "--transform",
        &transform,
    ]);
    assert!(status.success(), "{said}");
    server.event(&json!({"id": "one", "type": "a", "data": {"n": 1}}));
    server.event(&json!({"id": "two", "type": "a", "data": {"n": 2}}));
    server.delivery_in("two", "delivered");
    let bodies: Vec<Vec<u8>> = sink.received().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"{\"twice\": 4}"]);
    let (said, status) = server.cli(&["endpoint", "add", &sink.url(), "--condition", "data."]);
    assert!(!status.success() && said.contains("condition"), "{said}");
}

/// Half an emoji, as a program makes it that cuts text by UTF-16 units, or a number beyond a double.
#[test]
fn an_odd_value_in_the_data_stops_only_the_endpoint_that_reads_it() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let url = |path: &str| format!("{}{path}", sink.url().trim_end_matches('/'));
    let wants = |path: &str, member: &str, text: &str| {
        server.endpoint(&json!({"url": url(path), "events": ["odd"], member: text}))
    };
    wants("/condition", "condition", "data.id == 7");
    let reading = wants("/reading", "condition", "data.text != 'x'");
    wants(
        "/transform",
        "transform",
        r#"{"id": {{ data.id }}, "all": {{ data }}}"#,
    );
    let data = r#"{"id":7,"text":"cut \ud83d","n":1e400}"#;
    let answer = server.enqueue(format!(r#"{{"id":"odd","type":"odd","data":{data}}}"#).as_bytes());
    assert_eq!((answer.status, &answer.json()["deliveries"]), (202, &json!(2)));
    let got = wait_for("both requests", || {
        let got = sink.received();
        (got.len() == 2).then_some(got)
    });
    let transformed = got.iter().find(|got| got.path.ends_with("/transform")).unwrap();
    assert_eq!(
        transformed.body,
        format!(r#"{{"id": 7, "all": {data}}}"#).as_bytes()
    );
    let row = explained(&server, "odd", &reading);
    assert!(
        row["why"].as_str().unwrap().contains("half a surrogate pair"),
        "{row}"
    );
}

#[test]
fn a_transform_copies_every_digit_and_a_condition_compares_every_digit() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    server.endpoint(&json!({
        "url": sink.url(), "condition": "data.v != data.w && data.v == data.v",
        "transform": r#"{"v": {{ data.v }}, "json": {{ data.v|tojson }}, "all": {{ data }}}"#,
    }));
    for (v, w) in [
        ("1.10", "1.11"),
        ("18446744073709551616", "18446744073709551617"),
        ("9007199254740993", "9007199254740992.0"),
        ("-9223372036854775809", "-9223372036854775808"),
        ("12345678.123456789012345", "12345678.123456789012346"),
        ("1e400", "1e401"),
    ] {
        let id = format!("n{}", sink.count());
        let document = format!(r#"{{"id":"{id}","type":"n","data":{{"v":{v},"w":{w}}}}}"#);
        let answer = server.enqueue(document.as_bytes());
        assert_eq!(answer.json()["deliveries"], 1, "{v} {w}");
        server.delivery_in(&id, "delivered");
        let got = sink.received().pop().unwrap();
        let sent = format!(r#"{{"v": {v}, "json": {v}, "all": {{"v":{v},"w":{w}}}}}"#);
        assert_eq!(String::from_utf8_lossy(&got.body), sent);
    }
    let same = r#"{"type":"n","data":{"v":1.10,"w":11e-1}}"#;
    assert_eq!(server.enqueue(same.as_bytes()).json()["deliveries"], 0);
}
