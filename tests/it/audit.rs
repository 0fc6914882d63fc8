//! The audit log: who has changed what, by what way, and why.

use serde_json::{Value, json};

use crate::support::server::Server;

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
