//! The audit log: who has changed what, by what way, and why.

use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

fn entries(server: &Server) -> Vec<Value> {
    server.list("/v1/audit?order=asc")
}

/// What was done to what, in order.
fn told(entries: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pair = |entry: &Value| (text(&entry["action"]), text(&entry["target"]));
    entries.iter().map(pair).collect()
}

#[test]
fn every_change_of_configuration_is_told_with_what_it_was_before_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let id = server.endpoint(&json!({
        "url": "http://127.0.0.1:9/a", "name": "one", "headers": {"x-token": "a header secret"}, "tenant": "acme",
    }));
    let secret = server.get(&format!("/v1/endpoints/{id}/secret"))["signatures"][0]["secret"].clone();
    let path = format!("/v1/endpoints/{id}");
    let patch = json!({"name": "two", "enabled": false, "headers": {"x-token": "another secret"}});
    let headers = "content-type: application/json\r\nposthaste-reason: the receiver moves\r\n";
    let answer = server.ask("PATCH", &path, headers, patch.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let nothing = json!({});
    assert_eq!(server.post(&format!("{path}/enable"), &nothing).status, 200);
    assert_eq!(
        server.post(&format!("{path}/secret/rotate"), &nothing).status,
        200
    );
    let put = json!({"description": "a user"});
    let put = server.request(
        "PUT",
        "/v1/event-types/user.created",
        Some("application/json"),
        put.to_string().as_bytes(),
    );
    assert_eq!(put.status, 201, "{}", put.text());
    let key = server
        .post("/v1/keys", &json!({"role": "viewer", "name": "ci"}))
        .json();
    let key_id = key["id"].as_str().unwrap().to_owned();
    assert_eq!(server.request("DELETE", &path, None, b"").status, 204);
    let entries = entries(&server);
    let action = |action: &str, target: &str| (action.to_owned(), target.to_owned());
    assert_eq!(
        told(&entries),
        [
            action("endpoint.created", &id),
            action("endpoint.updated", &id),
            action("endpoint.enabled", &id),
            action("endpoint.updated", &id),
            action("event_type.created", "user.created"),
            action("key.created", &key_id),
            action("endpoint.deleted", &id),
        ]
    );
    let [created, patched, enabled, ..] = &entries[..] else {
        panic!("{entries:?}");
    };
    assert_eq!(
        (&created["before"], &created["after"]["name"]),
        (&Value::Null, &json!("one"))
    );
    assert_eq!(
        (&created["actor"], &created["from"]),
        (&json!("unix socket"), &json!("unix socket"))
    );
    assert_eq!(
        (&created["tenant"], &created["reason"]),
        (&json!("acme"), &Value::Null)
    );
    assert_eq!(patched["before"]["name"], "one");
    assert_eq!(
        (&patched["after"]["name"], &patched["after"]["state"]),
        (&json!("two"), &json!("paused"))
    );
    assert_eq!(patched["reason"], "the receiver moves");
    assert_eq!(enabled["before"], json!({"state": "paused"}));
    assert_eq!(enabled["after"], json!({"state": "active"}));
    let text = serde_json::to_string(&entries).unwrap();
    for hidden in [
        "a header secret",
        "another secret",
        secret.as_str().unwrap(),
        key["key"].as_str().unwrap(),
    ] {
        assert!(!text.contains(hidden), "{hidden} is told");
    }
    // It is a part of what the changes are written as, and there after a rebuild.
    server.kill();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    server.restart();
    assert_eq!(self::entries(&server), entries);
    let (listed, status) = server.cli(&["audit", "list", "--limit", "2"]);
    assert!(
        status.success() && listed.contains("endpoint.deleted"),
        "{listed}"
    );
}

#[test]
fn a_change_that_is_refused_or_changes_nothing_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let document = json!({"endpoints": [{"name": "one", "url": "http://127.0.0.1:9/a"}]}).to_string();
    let apply = || {
        server.request(
            "PUT",
            "/v1/endpoints",
            Some("application/json"),
            document.as_bytes(),
        )
    };
    assert_eq!((apply().status, apply().status), (200, 200));
    assert_eq!(
        server
            .post("/v1/endpoints", &json!({"url": "no url"}))
            .problem()
            .0,
        422
    );
    assert_eq!(told(&entries(&server)).len(), 1);
    let headers = "content-type: application/json\r\nposthaste-reason: a\u{1}b\r\n";
    let answer = server.ask(
        "POST",
        "/v1/endpoints",
        headers,
        b"{\"url\":\"http://127.0.0.1:9/b\"}",
    );
    assert!(matches!(answer.status, 400 | 422), "{}", answer.text());
    assert_eq!(told(&entries(&server)).len(), 1);
}

/// An endpoint whose receiver refuses everything, and an event whose delivery has failed there.
fn failed(server: &Server, sink: &Sink, id: &str) -> (String, Value) {
    let endpoint = server.endpoint(&json!({"url": sink.url(), "events": [id], "tenant": "acme"}));
    let event = server.event(&json!({"type": id, "id": id, "tenant": "acme", "data": 1}));
    (endpoint, server.delivery_in(&event, "failed"))
}

#[test]
fn what_is_asked_of_deliveries_and_events_is_told_with_counts_and_survives_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let sink = Sink::deciding(|_, _| answer(422, ""));
    let (endpoint, delivery) = failed(&server, &sink, "e1");
    let delivery = delivery["id"].as_str().unwrap().to_owned();
    let pause = server.post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({}));
    assert_eq!(pause.status, 200);
    let ask = |path: &str, body: Value, reason: &str| {
        let headers = format!("content-type: application/json\r\nposthaste-reason: {reason}\r\n");
        let answer = server.ask("POST", path, &headers, body.to_string().as_bytes());
        assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
        answer.json()
    };
    ask(&format!("/v1/deliveries/{delivery}/retry"), json!({}), "one");
    ask(&format!("/v1/deliveries/{delivery}/cancel"), json!({}), "two");
    // What is refused is not told.
    let again = server.post(&format!("/v1/deliveries/{delivery}/cancel"), &json!({}));
    assert_eq!(again.status, 409);
    ask("/v1/events/e1/replay", json!({"endpoint": endpoint}), "three");
    for (dry_run, reason) in [(true, "no"), (false, "four")] {
        let recover = json!({"since": "2026-01-01T00:00:00Z", "what": "all", "dry_run": dry_run});
        ask(&format!("/v1/endpoints/{endpoint}/recover"), recover, reason);
    }
    assert!(
        told(&entries(&server))
            .iter()
            .all(|(action, _)| action != "endpoint.recovered"),
        "a recovery that found nothing is no change"
    );
    let (other, _) = failed(&server, &sink, "e2");
    server.event(&json!({"type": "e2", "id": "e3", "tenant": "acme", "data": 1}));
    server.delivery_in("e3", "failed");
    let recover = json!({"since": "2026-01-01T00:00:00Z", "what": "failed", "status": 422});
    ask(&format!("/v1/endpoints/{other}/recover"), recover, "five");
    let erase = server.request(
        "DELETE",
        "/v1/events/e1/payload?cancel=true&tenant=acme",
        None,
        b"",
    );
    assert_eq!(erase.status, 200, "{}", erase.text());

    let entries = entries(&server);
    let by_hand: Vec<&Value> = entries
        .iter()
        .filter(|entry| {
            !matches!(
                entry["action"].as_str().unwrap(),
                "endpoint.created" | "endpoint.paused"
            )
        })
        .collect();
    let shown: Vec<Value> = by_hand
        .iter()
        .map(|entry| json!([entry["action"], entry["target"], entry["tenant"], entry["reason"]]))
        .collect();
    assert_eq!(
        json!(shown),
        json!([
            ["delivery.retried", delivery, "acme", "one"],
            ["delivery.cancelled", delivery, "acme", "two"],
            ["event.replayed", "e1", "acme", "three"],
            ["endpoint.recovered", other, "acme", "five"],
            ["event.erased", "e1", "acme", null],
        ])
    );
    let [retried, cancelled, replayed, recovered, erased] = by_hand[..] else {
        panic!("{by_hand:?}");
    };
    assert_eq!(
        (&retried["before"], &retried["after"]),
        (&json!({"state": "failed"}), &json!({"state": "scheduled"}))
    );
    assert_eq!(
        (&cancelled["before"], &cancelled["after"]),
        (&json!({"state": "held"}), &json!({"state": "cancelled"}))
    );
    assert_eq!(replayed["after"], json!({"deliveries": 1, "endpoint": endpoint}));
    assert_eq!(
        recovered["after"],
        json!({
            "what": "failed", "since": "2026-01-01T00:00:00.000Z", "until": null, "status": 422,
            "failed": 2, "delivered": 0, "missing": 0,
        })
    );
    assert_eq!(erased["after"], json!({"cancel": true}));
    server.kill();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    server.restart();
    assert_eq!(self::entries(&server), entries);
}

#[test]
fn a_recovery_in_many_portions_has_one_entry_with_all_its_counts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for n in 0..600 {
        server.event(&json!({"type": "a", "id": format!("e{n}"), "data": n}));
    }
    let endpoint = server.endpoint(&json!({"url": "http://127.0.0.1:9/a", "enabled": false}));
    let recover = json!({"since": "2026-01-01T00:00:00Z", "what": "missing"});
    let answer = server.post(&format!("/v1/endpoints/{endpoint}/recover"), &recover);
    assert_eq!(answer.json()["missing"], 600, "{}", answer.text());
    let entries = server.list("/v1/audit?action=endpoint.recovered");
    let counts: Vec<&Value> = entries.iter().map(|entry| &entry["after"]["missing"]).collect();
    assert_eq!(counts, [&json!(600)]);
}

#[test]
fn the_log_is_filtered_by_actor_action_target_and_time_and_the_command_line_gives_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let url = "http://127.0.0.1:9/a";
    let run = |arguments: &[&str]| {
        let (text, status) = server.cli(arguments);
        assert!(status.success(), "{arguments:?}: {text}");
        text
    };
    let lines = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let added = run(&[
        "endpoint",
        "add",
        url,
        "--reason",
        "für den Laden",
        "--output",
        "json",
    ]);
    let id = lines(&added)[0]["id"].as_str().unwrap().to_owned();
    run(&["endpoint", "set", &id, "--name", "shop", "--reason", "a name"]);
    run(&["endpoint", "pause", &id, "--reason", "they move"]);
    run(&[
        "key", "create", "--role", "viewer", "--name", "ci", "--reason", "for ci",
    ]);
    run(&[
        "event-type",
        "set",
        "a.b",
        "--description",
        "d",
        "--reason",
        "declared",
    ]);
    let all = entries(&server);
    let reasons: Vec<&str> = all
        .iter()
        .map(|entry| entry["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        ["für den Laden", "a name", "they move", "for ci", "declared"]
    );

    let found = |query: &str| told(&server.list(&format!("/v1/audit?order=asc&{query}"))).len();
    assert_eq!(found("action=endpoint.*"), 3);
    assert_eq!(found("action=endpoint.paused"), 1);
    assert_eq!(found("target=a.b"), 1);
    assert_eq!(found(&format!("target={id}&action=endpoint.updated")), 1);
    assert_eq!(found("actor=unix%20socket"), 5);
    assert_eq!(found("actor=key_1"), 0);
    let at = |n: usize| all[n]["at"].as_str().unwrap();
    assert_eq!(found(&format!("since={}&until={}", at(0), at(4))), 5);
    assert_eq!(found("until=2026-01-01T00:00:00Z"), 0);
    let in_time = |entry: &Value| entry["at"].as_str().unwrap() <= at(2);
    let expected = all.iter().filter(|entry| in_time(entry)).count();
    assert_eq!(found(&format!("until={}", at(2))), expected);
    let page = server.get("/v1/audit?limit=1&action=endpoint.*");
    let cursor = page["next"].as_str().unwrap();
    let next = server.get(&format!("/v1/audit?limit=5&action=endpoint.*&cursor={cursor}"));
    let pages = [
        page["data"].as_array().unwrap().clone(),
        next["data"].as_array().unwrap().clone(),
    ]
    .concat();
    let newest_first: Vec<Value> = all[..3].iter().rev().cloned().collect();
    assert_eq!((pages, &next["next"]), (newest_first, &Value::Null));
    let refused = server.request("GET", "/v1/audit?action=endpoint.painted", None, b"");
    assert_eq!(refused.problem(), (400, vec!["action".to_owned()]));
    let listed = run(&[
        "audit",
        "list",
        "--action",
        "endpoint.*",
        "--target",
        &id,
        "--actor",
        "unix socket",
        "--since",
        at(0),
        "--until",
        at(4),
        "--order",
        "asc",
        "--output",
        "json",
    ]);
    assert_eq!(lines(&listed), all[..3]);
}

#[test]
fn the_first_admin_key_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--listen", "127.0.0.1:0"], &[]);
    let entry = wait_for("the entry", || entries(&server).pop());
    assert_eq!(
        (&entry["action"], &entry["actor"], &entry["from"]),
        (&json!("key.created"), &json!("posthaste serve"), &json!("start"))
    );
    assert_eq!(
        entry["after"],
        json!({"name": "first", "role": "admin", "tenant": null})
    );
}
