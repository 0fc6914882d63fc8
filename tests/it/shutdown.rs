//! Stopping: what is out gets its time, nothing accepted is lost, and the next start trusts what it finds.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    gate::Gate,
    server::{PATIENCE, Server, raw, read_answer, wait_for},
    sink::{Sink, answer},
};

const GRACE: &str = "POSTHASTE_DELIVERY__SHUTDOWN_GRACE";

/// A receiver whose first answer waits at a gate.
fn hanging_first() -> (Sink, Gate) {
    let gate = Gate::default();
    let door = gate.clone();
    let sink = Sink::deciding(move |_, before| {
        if before == 0 {
            door.pass();
        }
        answer(200, "")
    });
    (sink, gate)
}

/// A server whose first delivery hangs in the receiver; answers its event too.
fn hanging(data: &std::path::Path, sink: &Sink, grace: &str) -> (Server, String) {
    let server = Server::start_with(data, &["--no-listen"], &[(GRACE, grace)]);
    server.endpoint(&json!({"url": sink.url(), "concurrency": 1, "timeout": "5m"}));
    let event = server.event(&json!({"type": "a", "data": 1}));
    wait_for("the attempt", || (sink.count() == 1).then_some(()));
    (server, event)
}

fn delivery(server: &Server, event: &str) -> Value {
    server.list(&format!("/v1/events/{event}/deliveries"))[0].clone()
}

fn delivered(server: &Server, event: &str) -> Value {
    wait_for("the delivery's record", || {
        let delivery = delivery(server, event);
        (delivery["state"] == "delivered").then_some(delivery)
    })
}

/// Waits until nothing is accepted any more: the server has begun to stop.
fn wait_stopping(server: &Server) {
    wait_for("the socket to close", || {
        UnixStream::connect(server.socket()).is_err().then_some(())
    });
}

fn rebuilds(server: &Server) -> Value {
    server.get("/v1/status")["store"]["rebuilds"].clone()
}

#[test]
fn an_attempt_that_outlasts_the_grace_is_made_again_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, _gate) = hanging_first();
    let (mut server, event) = hanging(&dir.path().join("data"), &sink, "200ms");
    let status = server.stop();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    server.assert_whole();
    server.restart();
    let delivery = delivered(&server, &event);
    assert_eq!(delivery["attempts"], 1, "what was given up is no attempt");
    assert_eq!(sink.count(), 2);
    assert!(sink.received().iter().all(|got| got.event_id() == event));
}

#[test]
fn an_attempt_that_ends_within_the_grace_is_recorded_and_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, gate) = hanging_first();
    let (mut server, event) = hanging(&dir.path().join("data"), &sink, "10m");
    server.terminate();
    wait_stopping(&server);
    gate.open();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    server.restart();
    let delivery = delivery(&server, &event);
    assert_eq!(
        (&delivery["state"], &delivery["attempts"]),
        (&json!("delivered"), &json!(1))
    );
    // What is due earlier goes out earlier: a second attempt would have come before this.
    let next = server.event(&json!({"type": "a", "data": 2}));
    delivered(&server, &next);
    assert_eq!(sink.count(), 2);
}

#[test]
fn a_second_signal_ends_the_grace_and_still_stops_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, _gate) = hanging_first();
    let (mut server, event) = hanging(&dir.path().join("data"), &sink, "10m");
    server.terminate();
    wait_stopping(&server);
    assert_eq!(
        server.stop().code(),
        Some(0),
        "the grace is longer than the test's patience"
    );
    // As after a reboot: only the mark of a clean stop makes the store believable.
    server.set_environment("POSTHASTE_BOOT_ID", "another");
    server.restart();
    assert_eq!(rebuilds(&server), 0, "{}", server.log());
    assert_eq!(delivered(&server, &event)["attempts"], 1);
}

#[test]
fn events_accepted_while_the_server_stops_are_kept() {
    const CLIENTS: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::accepting();
    let mut server = Server::start(&dir.path().join("data"));
    server.endpoint(&json!({"url": sink.url(), "concurrency": 64}));
    let (socket, answered) = (server.socket(), AtomicUsize::new(0));
    let (stopped, accepted) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (socket, answered) = (&socket, &answered);
                scope.spawn(move || accept_until_refused(socket, client, answered))
            })
            .collect();
        wait_for("a flow of events", || {
            (answered.load(Ordering::Relaxed) >= 10 * CLIENTS).then_some(())
        });
        let stopped = server.stop();
        let accepted = clients.into_iter().flat_map(|client| client.join().unwrap());
        (stopped, accepted.collect::<Vec<String>>())
    });
    assert_eq!(stopped.code(), Some(0), "{}", server.log());
    server.assert_whole();
    server.restart();
    assert_eq!(rebuilds(&server), 0);
    for id in &accepted {
        delivered(&server, id);
    }
}

/// Sends event after event until the server refuses; answers the ids of what was accepted.
fn accept_until_refused(socket: &std::path::Path, client: usize, answered: &AtomicUsize) -> Vec<String> {
    let mut accepted = Vec::new();
    loop {
        let id = format!("{client}-{}", accepted.len());
        let body = json!({"id": id, "type": "a", "data": client}).to_string();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        match raw(socket, [head, body].concat().as_bytes()) {
            Err(_) => return accepted,
            Ok(answer) if answer.status == 503 => return accepted,
            Ok(answer) => assert_eq!(answer.status, 202),
        }
        accepted.push(id);
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_request_under_way_is_answered_truly_while_the_server_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&dir.path().join("data"));
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = json!({"id": "slow", "type": "a", "data": 1}).to_string();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "the body is awaited: {line}");
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    server.terminate();
    wait_stopping(&server);
    stream.write_all(body.as_bytes()).unwrap();
    let answer = read_answer(&mut reader).unwrap();
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    server.restart();
    assert_eq!(server.get("/v1/events/slow")["id"], "slow");
}
