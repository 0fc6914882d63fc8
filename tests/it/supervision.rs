//! The server watches itself, and someone is told.

use std::{os::unix::net::UnixDatagram, path::Path};

use serde_json::{Value, json};

use crate::support::{
    gate::Gate,
    server::{PATIENCE, Server, wait_for},
    sink::{Sink, answer},
};

/// The data of the operational events of a type that a receiver got.
pub fn told(sink: &Sink, name: &str) -> Vec<Value> {
    let bodies = sink.received().into_iter().map(|got| got.body);
    let documents = bodies.map(|body| serde_json::from_slice::<Value>(&body).unwrap());
    documents
        .filter(|document| document["type"] == name)
        .map(|document| document["data"].clone())
        .collect()
}

fn metric(server: &Server, line: &str) -> Option<f64> {
    let metrics = server.request("GET", "/metrics", None, b"").text();
    let found = metrics
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[test]
fn an_endpoint_that_falls_behind_is_told_of_once_and_so_is_its_catching_up() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("POSTHASTE_DELIVERY__OVERDUE_AFTER", "1s")];
    let server = Server::start_with(&folder.path().join("data"), &["--no-listen"], &environment);
    let gate = Gate::default();
    let door = gate.clone();
    let slow = Sink::deciding(move |_, _| {
        door.pass();
        answer(200, "")
    });
    let news = Sink::accepting();
    let document = json!({"url": slow.url(), "events": ["a"], "concurrency": 1, "timeout": "5m"});
    let endpoint = server.endpoint(&document);
    server.endpoint(&json!({"url": news.url(), "events": ["endpoint.*"]}));
    (0..3).for_each(|_| _ = server.event(&json!({"type": "a", "data": 1})));

    let overdue = wait_for("news of the endpoint", || told(&news, "endpoint.overdue").pop());
    assert_eq!(overdue["endpoint_id"], json!(endpoint));
    assert_eq!(overdue["waits_for"], "concurrency");
    assert!(overdue["waiting_since"].is_string(), "{overdue}");
    wait_for("the status", || {
        (server.get("/v1/status")["endpoints_overdue"] == 1).then_some(())
    });
    assert_eq!(metric(&server, "posthaste_endpoints_overdue"), Some(1.0));
    assert_eq!(metric(&server, "posthaste_endpoints_saturated"), Some(1.0));
    assert!(metric(&server, "posthaste_delivery_overdue_seconds").is_some_and(|seconds| seconds >= 1.0));
    // It is the receiver's affair: the server itself is well.
    assert_eq!(server.request("GET", "/readyz", None, b"").status, 200);

    gate.open();
    let caught_up = wait_for("news of its catching up", || {
        told(&news, "endpoint.caught_up").pop()
    });
    assert_eq!(caught_up["endpoint_id"], json!(endpoint));
    assert_eq!(told(&news, "endpoint.overdue").len(), 1);
    wait_for("the status", || {
        (server.get("/v1/status")["endpoints_overdue"] == 0).then_some(())
    });
}

#[test]
fn an_endpoint_that_is_paused_while_it_is_behind_has_not_caught_up() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("POSTHASTE_DELIVERY__OVERDUE_AFTER", "1s")];
    let server = Server::start_with(&folder.path().join("data"), &["--no-listen"], &environment);
    let failing = Sink::deciding(|_, _| answer(503, ""));
    let news = Sink::accepting();
    let document = json!({"url": failing.url(), "events": ["a"], "retry": {"retries": 9, "delay": "1h"}});
    let endpoint = server.endpoint(&document);
    server.endpoint(&json!({"url": news.url(), "events": ["endpoint.*"]}));
    // More than it takes to open the breaker: the others stay due.
    (0..20).for_each(|_| _ = server.event(&json!({"type": "a", "data": 1})));
    let overdue = wait_for("news of the endpoint", || told(&news, "endpoint.overdue").pop());
    assert_eq!(overdue["waits_for"], "breaker_open");
    assert_eq!(
        server
            .post(&format!("/v1/endpoints/{endpoint}/pause"), &json!({}))
            .status,
        200
    );
    wait_for("the status", || {
        (server.get("/v1/status")["endpoints_overdue"] == 0).then_some(())
    });
    // What is told comes in order: news of another endpoint end the wait.
    let other = server
        .endpoint(&json!({"url": failing.url(), "events": ["b"], "retry": {"retries": 9, "delay": "1h"}}));
    (0..20).for_each(|_| _ = server.event(&json!({"type": "b", "data": 1})));
    wait_for("news of the other endpoint", || {
        let overdue = told(&news, "endpoint.overdue");
        overdue
            .iter()
            .any(|data| data["endpoint_id"] == json!(other))
            .then_some(())
    });
    assert_eq!(told(&news, "endpoint.caught_up"), [] as [Value; 0]);
}

/// A service manager's socket.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// Waits for a message.
    fn hear(&self, wanted: &str) {
        let mut buffer = [0; 1024];
        loop {
            let length = self
                .0
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{wanted}: {error}"));
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            if text.lines().any(|line| line == wanted) {
                return;
            }
        }
    }
}

#[test]
fn the_service_manager_hears_of_start_life_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = Manager::listen(&path);
    let environment = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "200000"),
    ];
    let mut server = Server::start_with(&folder.path().join("data"), &["--no-listen"], &environment);
    manager.hear("READY=1");
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");
    server.terminate();
    manager.hear("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}
