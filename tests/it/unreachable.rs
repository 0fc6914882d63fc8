//! Receivers that nothing answers for.

use std::{
    net::{TcpListener, TcpStream},
    time::Duration,
};

use serde_json::json;

use crate::support::server::Server;

/// A port that takes no more connections and refuses none: its queue of one is full.
fn silent_port() -> (TcpListener, Vec<TcpStream>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue has no end");
    }
    (listener, waiting, address.port())
}

#[test]
fn three_endpoints_on_one_dead_host_are_retried_with_a_limit_and_fail() {
    let (_listener, _waiting, port) = silent_port();
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(
        &dir.path().join("data"),
        &["--no-listen"],
        &[("POSTHASTE_DELIVERY__CONNECT_TIMEOUT", "1s")],
    );
    for name in ["a", "b", "c", "d"] {
        server.endpoint(&json!({
            "url": format!("http://127.0.0.1:{port}/{name}"), "events": [name],
            "retry": {"retries": 1, "delay": "100ms"},
        }));
    }
    let events = ["a", "b", "c", "d"].map(|name| server.event(&json!({"type": name, "data": 1})));
    for event in events {
        server.delivery_in(&event, "failed");
        let attempts = server.attempts(&event);
        assert_eq!(attempts.len(), 2, "{attempts:?}");
        for attempt in attempts {
            assert_eq!(attempt["outcome"], "transient", "{attempt}");
            assert_eq!(attempt["reason"], "timeout_connect", "{attempt}");
        }
    }
}
