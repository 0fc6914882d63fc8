//! Erasing an event's payload before its time: what is left of it, and where.

use std::{fs, path::Path};

use super::*;

/// A text that stands nowhere else.
const PRIVATE: &str = "Wilhelmina-Quarles-1987";

/// Whether any file of the journal has the text.
fn is_on_disk(data: &Path) -> bool {
    let files = fs::read_dir(data.join("journal")).unwrap();
    let paths = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file());
    let has = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        bytes
            .windows(PRIVATE.len())
            .any(|part| part == PRIVATE.as_bytes())
    };
    paths.into_iter().any(|path| has(&path))
}

fn event(id: &str) -> Value {
    json!({"type": "user.created", "id": id, "data": {"name": PRIVATE}, "attributes": {"a": "b"}})
}

fn erase(server: &Server, id: &str, query: &str) -> Answer {
    server.request("DELETE", &format!("/v1/events/{id}/payload{query}"), None, b"")
}

/// What holds of an erased event, however often the server was started.
fn assert_erased(server: &Server, id: &str) {
    let shown = server.get(&format!("/v1/events/{id}"));
    assert_eq!(shown["erased"]["by"], "unix socket", "{shown}");
    assert!(
        shown["erased"]["at"].is_string() && shown.get("data").is_none(),
        "{shown}"
    );
    assert_eq!(shown["attributes"], json!({"a": "b"}));
    assert_eq!(server.list("/v1/events")[0]["erased"]["by"], "unix socket");
    let payload = server.request("GET", &format!("/v1/events/{id}/payload"), None, b"");
    assert_eq!(payload.problem().0, 410);
    let replay = server.post(&format!("/v1/events/{id}/replay"), &json!({}));
    assert_eq!(replay.problem().0, 410, "{}", replay.text());
    let delivery = server.list(&format!("/v1/events/{id}/deliveries"))[0].clone();
    let retry = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().unwrap());
    assert_eq!(server.request("POST", &retry, None, b"").problem().0, 410);
    // It is known as the one that it was.
    assert_eq!(server.enqueue(event(id).to_string().as_bytes()).status, 200);
}

#[test]
fn an_erased_payload_is_gone_from_answers_and_from_the_journal() {
    let (dir, mut server, sink) = started();
    let data = dir.path().join("data");
    server.event(&event("a"));
    server.event(&json!({"type": "user.created", "id": "other", "data": {"n": 1}}));
    server.delivery_in("a", "delivered");
    server.delivery_in("other", "delivered");
    let payload = server.request("GET", "/v1/events/a/payload", None, b"");
    assert_eq!(payload.json(), json!({"name": PRIVATE}));
    assert!(is_on_disk(&data));
    let erased = erase(&server, "a", "");
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert!(!is_on_disk(&data));
    assert!(server.log().contains("an event's payload was erased"));
    let first = server.get("/v1/events/a");
    // Once more changes nothing.
    assert_eq!(erase(&server, "a", "").status, 200);
    assert_eq!(server.get("/v1/events/a"), first);
    server.event(&json!({"type": "other", "data": 1, "id": "later"}));
    server.delivery_in("later", "delivered");
    assert_eq!(sink.count(), 3);
    for rebuilt in [false, true] {
        server.stop();
        server.assert_whole();
        if rebuilt {
            fs::remove_dir_all(data.join("store")).unwrap();
        }
        server.restart();
        let shown = server.get("/v1/events/a");
        assert_eq!(shown, first);
        assert_eq!(server.get("/v1/events/other")["data"], json!({"n": 1}));
        let delivery = server.list("/v1/events/a/deliveries")[0].clone();
        assert_eq!(
            (&delivery["state"], &delivery["attempts"]),
            (&json!("delivered"), &json!(1))
        );
    }
    assert_eq!(sink.count(), 3, "nothing was sent again");
    server.request("DELETE", "/v1/events/other/payload", None, b"");
    server.request("DELETE", "/v1/events/later/payload", None, b"");
    assert_eq!(server.get("/v1/events/later")["erased"]["by"], "unix socket");
}

#[test]
fn what_is_left_of_an_erased_event_is_not_sent_and_says_who_erased_it() {
    let (_dir, mut server, _sink) = started();
    server.event(&event("a"));
    server.delivery_in("a", "delivered");
    assert_eq!(erase(&server, "a", "").status, 200);
    assert_erased(&server, "a");
    server.kill();
    server.restart();
    assert_erased(&server, "a");
    let unknown = erase(&server, "nothing", "");
    assert_eq!(unknown.problem().0, 404);
    assert_eq!(
        erase(&server, "a", "?cancel=perhaps").problem(),
        (400, vec!["cancel".to_owned()])
    );
}

#[test]
fn what_is_still_to_be_delivered_refuses_the_erasure_or_is_cancelled_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let sink = Sink::accepting();
    let paused = server.endpoint(&json!({"url": sink.url(), "enabled": false}));
    server.event(&event("a"));
    server.delivery_in("a", "held");
    let refused = erase(&server, "a", "");
    assert_eq!(refused.problem().0, 409);
    assert!(refused.text().contains("?cancel=true"), "{}", refused.text());
    assert_eq!(server.get("/v1/events/a")["data"]["name"], PRIVATE);
    let (said, status) = server.cli(&["event", "erase", "a", "--cancel", "--output", "json"]);
    assert!(status.success() && said.contains("\"erased\""), "{said}");
    assert!(!is_on_disk(&data));
    server.delivery_in("a", "cancelled");
    let explained = server.list("/v1/events/a/explain");
    assert!(
        explained[0]["deliveries"][0]["why"]
            .as_str()
            .unwrap()
            .contains("payload")
    );
    server.post(&format!("/v1/endpoints/{paused}/enable"), &json!({}));
    server.event(&json!({"type": "b", "data": 1, "id": "b"}));
    server.delivery_in("b", "delivered");
    let recovered = server.post(
        &format!("/v1/endpoints/{paused}/recover"),
        &json!({"since": "2026-01-01T00:00:00Z", "what": "all"}),
    );
    assert_eq!(recovered.json()["deliveries"], 0, "{}", recovered.text());
    assert_eq!(sink.count(), 1);
}

#[test]
fn a_payload_that_is_not_json_is_shown_and_erased_alike() {
    let (dir, server, _sink) = started();
    let document = json!({
        "type": "file", "id": "f", "content_type": "text/html",
        "data_base64": "V2lsaGVsbWluYS1RdWFybGVzLTE5ODc=",
    });
    server.event(&document);
    server.delivery_in("f", "delivered");
    let payload = server.request("GET", "/v1/events/f/payload", None, b"");
    assert_eq!((payload.status, payload.text().as_str()), (200, PRIVATE));
    for header in [
        "content-type: text/html\r\n",
        "content-disposition: attachment\r\n",
    ] {
        assert!(payload.head.contains(header), "{}", payload.head);
    }
    assert_eq!(erase(&server, "f", "").status, 200);
    let shown = server.get("/v1/events/f");
    assert_eq!(
        (shown.get("data_base64"), &shown["content_type"]),
        (None, &json!("text/html"))
    );
    assert!(!is_on_disk(&dir.path().join("data")));
}
