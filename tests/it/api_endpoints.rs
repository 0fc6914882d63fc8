//! Endpoints over the API: created, changed, hidden, deleted, listed; and what is refused about them.

mod lists;
mod refused;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    server::{Answer, Server, wait_for},
    sink::Sink,
};

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

fn create(server: &Server, document: &Value) -> Answer {
    server.post("/v1/endpoints", document)
}

fn patch(server: &Server, id: &str, document: &Value) -> Answer {
    let kind = Some("application/merge-patch+json");
    server.request(
        "PATCH",
        &format!("/v1/endpoints/{id}"),
        kind,
        document.to_string().as_bytes(),
    )
}

fn ask(server: &Server, method: &str, path: &str) -> Answer {
    server.request(method, path, None, b"")
}

/// Asserts that a document is refused with 422 for this field.
fn refused(server: &Server, document: &Value, field: &str) {
    let (status, fields) = create(server, document).problem();
    assert_eq!((status, fields), (422, vec![field.to_owned()]), "{document}");
}

#[test]
fn secrets_are_shown_at_creation_and_on_demand_and_hidden_everywhere_else() {
    let (dir, server) = started();
    let answer = create(
        &server,
        &json!({
            "url": "http://127.0.0.1:9/hook", "name": "n", "headers": {"X-Token": "header-secret"},
            "auth": {"type": "basic", "username": "u", "password": "auth-secret"}, "metadata": {"plan": "gold"},
        }),
    );
    let created = answer.json();
    let id = created["id"].as_str().unwrap();
    assert_eq!(answer.status, 201);
    assert!(
        answer.head.contains(&format!("location: /v1/endpoints/{id}\r\n")),
        "{}",
        answer.head
    );
    let secret = created["signatures"][0]["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{created}");
    let shown = server.get(&format!("/v1/endpoints/{id}"));
    assert_eq!(
        (
            &shown["signatures"],
            &shown["headers"],
            &shown["auth"],
            &shown["state"],
            &shown["metadata"]
        ),
        (
            &json!([{"scheme": "standard", "secret": "***"}]),
            &json!({"X-Token": "***"}),
            &json!({"type": "basic", "username": "u", "password": "***"}),
            &json!("active"),
            &json!({"plan": "gold"}),
        )
    );
    assert_eq!(server.list("/v1/endpoints"), std::slice::from_ref(&shown));
    assert_eq!(
        server.get(&format!("/v1/endpoints/{id}/secret")),
        json!({"signatures": [{"scheme": "standard", "secret": secret}], "retired": []})
    );
    // Nor do they stand in the log or, as they are, on the disk.
    server.event(&json!({"type": "a", "data": 1}));
    let written = files(dir.path());
    for hidden in [secret, "header-secret", "auth-secret"] {
        assert!(!server.log().contains(hidden), "{hidden} is in the log");
        let found = written
            .iter()
            .find(|(_, bytes)| contains(bytes, hidden.as_bytes()));
        assert!(found.is_none(), "{hidden} is in {}", found.unwrap().0);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Every file below a folder, with its path.
fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            found.push((entry.path().display().to_string(), bytes));
        }
    }
    found
}

#[test]
fn hidden_secrets_that_are_patched_back_stay_as_they_are() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let id = server.endpoint(&json!({
        "url": sink.url(), "headers": {"X-Token": "keep", "X-Old": "drop"},
        "auth": {"type": "bearer", "token": "tok"},
    }));
    let secret = server.get(&format!("/v1/endpoints/{id}/secret"));
    let shown = server.get(&format!("/v1/endpoints/{id}"));
    let back = json!({
        "headers": {"X-Token": shown["headers"]["X-Token"], "X-Old": null, "X-New": "new"},
        "auth": shown["auth"], "signatures": shown["signatures"], "name": "changed",
    });
    let patched = patch(&server, &id, &back);
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(patched.json()["name"], "changed");
    assert_eq!(server.get(&format!("/v1/endpoints/{id}/secret")), secret);
    server.event(&json!({"type": "a", "data": 1}));
    wait_for("the delivery", || (sink.count() == 1).then_some(()));
    let got = &sink.received()[0].headers;
    assert_eq!(
        (
            got["x-token"].as_str(),
            got["x-new"].as_str(),
            got["authorization"].as_str(),
            got.get("x-old")
        ),
        ("keep", "new", "Bearer tok", None)
    );
}

#[test]
fn a_patch_replaces_removes_and_leaves_what_it_does_not_name() {
    let (_dir, mut server) = started();
    let id = server.endpoint(&json!({
        "url": "http://127.0.0.1:9/", "name": "n", "events": ["user.*"], "retry": {"delays": ["5s"]},
        "metadata": {"a": "1", "b": "2"}, "timeout": "5s", "concurrency": 3,
    }));
    let answer = patch(
        &server,
        &id,
        &json!({
            "name": null, "events": ["order.**"], "retry": {"retries": 3, "delay": "1s"},
            "metadata": {"a": null, "c": "3"}, "timeout": null,
        }),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let path = format!("/v1/endpoints/{id}");
    let check = |server: &Server| {
        let shown = server.get(&path);
        assert_eq!((shown.get("name"), shown.get("timeout")), (None, None), "{shown}");
        assert_eq!(
            (
                &shown["events"],
                &shown["retry"],
                &shown["metadata"],
                &shown["concurrency"],
                &shown["url"]
            ),
            (
                &json!(["order.**"]),
                &json!({"retries": 3, "delay": "1s"}),
                &json!({"b": "2", "c": "3"}),
                &json!(3),
                &json!("http://127.0.0.1:9/"),
            )
        );
    };
    check(&server);
    for (document, field) in [
        (json!({"url": "ftp://h/"}), "url"),
        (json!({"timeout": "1000s"}), "timeout"),
        (json!({"events": ["a..b"]}), "events[0]"),
        (json!({"tenant": "other"}), "tenant"),
        (json!({"evnts": ["a"]}), "evnts"),
        (json!({"state": "active"}), "state"),
    ] {
        let (status, fields) = patch(&server, &id, &document).problem();
        assert_eq!((status, fields), (422, vec![field.to_owned()]), "{document}");
    }
    assert_eq!(patch(&server, &id, &json!({"url": null})).problem().0, 422);
    assert_eq!(patch(&server, &id, &json!([])).problem().0, 422);
    check(&server);
    server.kill();
    server.restart();
    check(&server);
}

#[test]
fn an_endpoint_is_enabled_disabled_and_paused_by_hand() {
    let (_dir, server) = started();
    let id = server.endpoint(&json!({"url": "http://127.0.0.1:9/", "enabled": false}));
    let path = format!("/v1/endpoints/{id}");
    assert_eq!(server.get(&path)["state"], "paused");
    for (verb, state, why) in [
        ("enable", "active", Value::Null),
        ("disable", "disabled", json!("manual")),
        ("pause", "paused", Value::Null),
        ("enable?discard=true", "active", Value::Null),
    ] {
        let answer = ask(&server, "POST", &format!("{path}/{verb}"));
        assert_eq!(
            (answer.status, &answer.json()["state"]),
            (200, &json!(state)),
            "{verb}"
        );
        let shown = server.get(&path);
        assert_eq!(
            (&shown["state"], &shown["disabled_reason"]["why"]),
            (&json!(state), &why),
            "{verb}"
        );
    }
    for (enabled, state) in [(false, "paused"), (true, "active")] {
        let patched = patch(&server, &id, &json!({"enabled": enabled})).json();
        assert_eq!(patched["state"], state);
    }
    let (status, fields) = ask(&server, "POST", &format!("{path}/enable?discard=yes")).problem();
    assert_eq!((status, fields), (400, vec!["discard".to_owned()]));
}

#[test]
fn a_deleted_endpoint_is_gone_for_every_route_also_after_a_restart() {
    let (_dir, mut server) = started();
    let id = server.endpoint(&json!({"url": "http://127.0.0.1:9/"}));
    let path = format!("/v1/endpoints/{id}");
    assert_eq!(ask(&server, "DELETE", &path).status, 204);
    let check = |server: &Server| {
        for (method, route) in [
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/stats"),
            ("GET", "/secret"),
            ("POST", "/enable"),
            ("POST", "/disable"),
            ("POST", "/pause"),
            ("POST", "/test"),
        ] {
            let answer = ask(server, method, &format!("{path}{route}"));
            assert_eq!(answer.problem().0, 410, "{method} {route}");
        }
        assert_eq!(patch(server, &id, &json!({"name": "n"})).problem().0, 410);
        let since = json!({"since": "2026-01-01T00:00:00Z"});
        assert_eq!(server.post(&format!("{path}/recover"), &since).problem().0, 410);
        assert_eq!(server.list("/v1/endpoints").len(), 0);
        let event = server.post("/v1/events", &json!({"type": "a", "data": 1}));
        assert_eq!(event.json()["deliveries"], 0);
    };
    check(&server);
    server.kill();
    server.restart();
    check(&server);
}

#[test]
fn stats_count_what_became_of_deliveries() {
    let (_dir, server) = started();
    let sink = Sink::deciding(|got, _| {
        let status = if got.body.windows(3).any(|part| part == b"bad") {
            422
        } else {
            200
        };
        crate::support::sink::answer(status, "")
    });
    let id = server.endpoint(&json!({"url": sink.url()}));
    for data in ["good", "bad", "good"] {
        server.event(&json!({"type": "a", "data": data}));
    }
    let later = crate::support::server::in_millis(3_600_000);
    server.event(&json!({"type": "a", "data": 1, "deliver_at": later}));
    let stats = wait_for("the counts", || {
        let stats = server.get(&format!("/v1/endpoints/{id}/stats"));
        (stats["deliveries"]["attempts"] == 3).then_some(stats)
    });
    let deliveries = &stats["deliveries"];
    assert_eq!(
        (
            &deliveries["delivered"],
            &deliveries["failed"],
            &deliveries["scheduled"],
            &deliveries["held"]
        ),
        (&json!(2), &json!(1), &json!(1), &json!(0))
    );
    assert!(
        stats["last_success_at"].is_string() && stats["last_failure_at"].is_string(),
        "{stats}"
    );
    assert_eq!(
        ask(&server, "POST", &format!("/v1/endpoints/{id}/pause")).status,
        200
    );
    let held = server.get(&format!("/v1/endpoints/{id}/stats"));
    assert_eq!(
        (&held["deliveries"]["held"], &held["state"]),
        (&json!(1), &json!("paused"))
    );
}

#[test]
fn the_number_of_endpoints_has_a_limit_and_a_deleted_one_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let limit = [("POSTHASTE_LIMITS__ENDPOINTS", "2")];
    let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &limit);
    let document = json!({"url": "http://127.0.0.1:9/"});
    let first = server.endpoint(&document);
    server.endpoint(&document);
    let answer = create(&server, &document);
    assert_eq!(answer.problem().0, 422);
    assert_eq!(answer.json()["type"], "/problems/limit-reached");
    assert_eq!(
        ask(&server, "DELETE", &format!("/v1/endpoints/{first}")).status,
        204
    );
    server.endpoint(&document);
}
