//! A server that was stopped past an attempt's limit, as by SIGSTOP or with its machine.

use std::{
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    authority::Authority,
    http2::{Reply, deciding},
    server::{Server, wait_for},
    sink::{Sink, answer},
};

/// The attempt's limit: longer than it takes to stop a server whose request has come, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(4);
/// How long the server stands still: past the limit by more than a timer is ever late.
const STILL: Duration = Duration::from_secs(6);

/// A receiver's side of a gate: says that a request has come, and waits until it may be answered.
struct Gate {
    came: mpsc::Sender<()>,
    may_answer: Mutex<mpsc::Receiver<()>>,
}

impl Gate {
    fn pass(&self) {
        self.came.send(()).unwrap();
        // A test that has failed lets everything through.
        let _ = self.may_answer.lock().unwrap().recv();
    }
}

fn gate() -> (Gate, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (came, comes) = mpsc::channel();
    let (let_answer, may_answer) = mpsc::channel();
    let may_answer = Mutex::new(may_answer);
    (Gate { came, may_answer }, comes, let_answer)
}

fn endpoint(server: &Server, url: &str, more: &Value) {
    let mut document =
        json!({"url": url, "timeout": format!("{}s", LIMIT.as_secs()), "retry": {"delays": []}});
    let members = more.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(members);
    server.endpoint(&document);
}

/// Sends an event, and stops the server while its request is with the receiver; `meanwhile` happens while it stands still.
fn send_and_freeze(server: &Server, comes: &mpsc::Receiver<()>, meanwhile: impl FnOnce()) -> String {
    let event = server.event(&json!({"type": "a.b", "data": 1}));
    comes.recv_timeout(LIMIT).unwrap();
    server.freeze();
    meanwhile();
    // This is the pause itself.
    thread::sleep(STILL);
    server.thaw();
    event
}

fn first_attempt(server: &Server, event: &str) -> Value {
    wait_for("the attempt", || server.attempts(event).into_iter().next())
}

#[test]
fn an_answer_that_came_while_the_server_stood_still_counts() {
    let (gate, comes, let_answer) = gate();
    let sink = Sink::deciding(move |_, _| {
        gate.pass();
        answer(200, "")
    });
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    endpoint(&server, &sink.url(), &json!({}));
    let event = send_and_freeze(&server, &comes, || let_answer.send(()).unwrap());
    let attempt = first_attempt(&server, &event);
    assert_eq!(attempt["outcome"], "delivered", "{attempt}");
    assert_eq!(sink.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_answer_that_came_while_the_server_stood_still_counts() {
    let authority = Authority::new();
    let (gate, comes, let_answer) = gate();
    let acceptor = authority.acceptor("127.0.0.1", &["h2"], |_| {});
    let receiver = deciding(acceptor, move |_, _| {
        tokio::task::block_in_place(|| gate.pass());
        Reply::Ok
    })
    .await;
    tokio::task::block_in_place(|| {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"));
        let url = receiver.url("/").replace("http:", "https:");
        endpoint(&server, &url, &json!({"tls": {"ca_pem": authority.pem()}}));
        let event = send_and_freeze(&server, &comes, || let_answer.send(()).unwrap());
        let attempt = first_attempt(&server, &event);
        assert_eq!(attempt["outcome"], "delivered", "{attempt}");
    });
}

#[test]
fn a_limit_that_passed_while_the_server_stood_still_is_not_the_receiver_s_failure() {
    let (gate, comes, let_answer) = gate();
    let sink = Sink::deciding(move |_, before| {
        if before == 0 {
            gate.pass();
        }
        answer(200, "")
    });
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    endpoint(&server, &sink.url(), &json!({}));
    let event = send_and_freeze(&server, &comes, || {});
    let attempt = first_attempt(&server, &event);
    assert_eq!(
        (attempt["outcome"].as_str(), attempt["reason"].as_str()),
        (Some("ours"), Some("stalled")),
        "{attempt}"
    );
    // It has no retry to spend: it is only because nothing was spent that it is tried again.
    server.delivery_in(&event, "delivered");
    drop(let_answer);
}
