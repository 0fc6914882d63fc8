//! The slots that attempts take: no tenant and no endpoint holds all of them, an answer that is decided holds none, and
//! tests and handshakes take theirs like deliveries.

use std::{collections::BTreeMap, future::pending, time::Duration};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::{
    receiver::{Receiver, read_request},
    server::{Server, raw_within, wait_for},
    sink::Sink,
};

/// Longer than any test waits.
const LONG: &str = "300s";
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads requests and never answers.
async fn silent() -> Receiver {
    Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        pending::<()>().await;
    })
    .await
}

/// Answers with this head, and with a byte of the body from time to time.
async fn dripping(head: &'static str) -> Receiver {
    Receiver::start(move |_, mut stream| async move {
        read_request(&mut stream).await;
        let mut written = stream.write_all(head.as_bytes()).await;
        while written.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
            written = stream.write_all(b"x").await;
        }
    })
    .await
}

fn started(folder: &tempfile::TempDir, max_in_flight: u16) -> Server {
    let (most, at_once) = (max_in_flight.to_string(), max_in_flight.min(8).to_string());
    let environment = [
        ("POSTHASTE_DELIVERY__MAX_IN_FLIGHT", &*most),
        ("POSTHASTE_DELIVERY__CONCURRENCY", &*at_once),
    ];
    Server::start_with(folder.path(), &["--no-listen"], &environment)
}

/// An endpoint for the event type `kind`, whose attempts may take long.
fn endpoint(server: &Server, url: &str, kind: &str, more: &Value) -> String {
    let mut document = json!({"url": url, "events": [kind], "timeout": LONG});
    document
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    server.endpoint(&document)
}

/// Endpoints that hang, and as many events for all of them as all slots could hold; waits until no more go out.
fn fill(server: &Server, receiver: &Receiver, endpoints: usize, tenant: &Value) {
    for _ in 0..endpoints {
        endpoint(server, &receiver.url("/"), "slow", tenant);
    }
    let mut event = json!({"type": "slow", "data": 1});
    event
        .as_object_mut()
        .unwrap()
        .extend(tenant.as_object().unwrap().clone());
    server.event(&event);
    // Each has its first attempt out before there is a second: none takes of what is left for first ones later.
    wait_for("a first attempt of each", || {
        (receiver.accepted() == endpoints).then_some(())
    });
    for _ in 0..7 {
        server.event(&event);
    }
    wait_for("most slots to be taken", || {
        (receiver.accepted() >= 28).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_receivers_hang_leaves_slots_to_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, 32);
    let (hanging, good) = (silent().await, Sink::accepting());
    let theirs = json!({"tenant": "good"});
    endpoint(&server, &good.url(), "quick", &theirs);
    fill(&server, &hanging, 8, &json!({"tenant": "evil"}));
    let event = server.event(&json!({"type": "quick", "tenant": "good", "data": 1}));
    server.delivery_in(&event, "delivered");
    // So it is for endpoints without a tenant, which are a scope of their own.
    endpoint(&server, &good.url(), "plain", &json!({}));
    let event = server.event(&json!({"type": "plain", "data": 1}));
    server.delivery_in(&event, "delivered");
    assert!(hanging.accepted() <= 30, "{} of 32", hanging.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang_leave_a_first_attempt_to_others_of_their_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, 32);
    let (hanging, good) = (silent().await, Sink::accepting());
    endpoint(&server, &good.url(), "quick", &json!({}));
    fill(&server, &hanging, 8, &json!({}));
    for number in 0..20 {
        let event = server.event(&json!({"type": "quick", "data": number}));
        server.delivery_in(&event, "delivered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_body_drips_holds_no_slot_and_is_what_its_status_says() {
    let folder = tempfile::tempdir().unwrap();
    // With a single slot, whoever holds on to it is noticed.
    let server = started(&folder, 1);
    let good = Sink::accepting();
    endpoint(&server, &good.url(), "quick", &json!({}));
    let heads: [(&str, &'static str, &str); 2] = [
        (
            "success",
            "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nsome ",
            "delivered",
        ),
        (
            "failure",
            "HTTP/1.1 503 X\r\ncontent-length: 100000\r\n\r\nsome ",
            "transient",
        ),
    ];
    for (kind, head, outcome) in heads {
        let receiver = dripping(head).await;
        endpoint(
            &server,
            &receiver.url("/"),
            kind,
            &json!({"retry": {"delays": []}}),
        );
        let event = server.event(&json!({"type": kind, "data": 1}));
        wait_for("the answer to drip", || (receiver.accepted() == 1).then_some(()));
        let other = server.event(&json!({"type": "quick", "data": 1}));
        server.delivery_in(&other, "delivered");
        let attempt = wait_for("the attempt to end", || server.attempts(&event).pop());
        let (status, broken) = (&attempt["outcome"], &attempt["body_broken"]);
        assert_eq!((status, broken), (&json!(outcome), &json!(true)), "{attempt}");
        assert!(attempt["duration_ms"].as_u64().unwrap() < 60_000, "{attempt}");
        let excerpt = attempt["response_excerpt"].as_str().unwrap();
        assert!(excerpt.starts_with("some x"), "{excerpt:?}");
    }
}

/// Asks for something of the server on `count` connections at once, without an answer being needed of all.
fn at_once(server: &Server, path: &str, count: usize) -> Vec<std::thread::JoinHandle<Option<(u16, String)>>> {
    let ask = |_| {
        let (socket, path) = (server.socket(), path.to_owned());
        std::thread::spawn(move || {
            let request =
                format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let answer = raw_within(&socket, request.as_bytes(), PATIENCE).ok()?;
            Some((answer.status, answer.head.to_ascii_lowercase()))
        })
    };
    (0..count).map(ask).collect()
}

/// How many of the answers have each status. Those that had to be sent away say when to come back.
fn statuses(asked: Vec<std::thread::JoinHandle<Option<(u16, String)>>>) -> BTreeMap<u16, usize> {
    let mut found = BTreeMap::new();
    for asked in asked {
        if let Some((status, head)) = asked.join().unwrap() {
            assert_eq!(status == 429, head.contains("retry-after: 1"), "{head}");
            *found.entry(status).or_default() += 1;
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_of_an_endpoint_keep_to_its_concurrency() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, 32);
    let receiver = silent().await;
    let document = json!({"url": receiver.url("/"), "events": ["n"], "timeout": "20s", "concurrency": 1});
    let id = server.endpoint(&document);
    let found = statuses(at_once(&server, &format!("/v1/endpoints/{id}/test"), 40));
    assert_eq!(receiver.accepted(), 1);
    assert_eq!(found, BTreeMap::from([(200, 1), (429, 39)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_of_many_endpoints_keep_to_what_may_be_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, 8);
    let receiver = silent().await;
    let mut asked = Vec::new();
    for _ in 0..4 {
        let document = json!({"url": receiver.url("/"), "events": ["n"], "timeout": "20s", "tenant": "evil"});
        let id = server.endpoint(&document);
        asked.extend(at_once(&server, &format!("/v1/endpoints/{id}/test"), 8));
    }
    let found = statuses(asked);
    assert_eq!(found[&200], receiver.accepted(), "{found:?}");
    assert!(receiver.accepted() <= 8, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_takes_a_slot_like_a_test() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, 32);
    let receiver = silent().await;
    let document = json!({"url": receiver.url("/"), "events": ["n"], "timeout": "30s", "concurrency": 1});
    let id = server.endpoint(&document);
    let test = at_once(&server, &format!("/v1/endpoints/{id}/test"), 1);
    wait_for("the test to be out", || (receiver.accepted() == 1).then_some(()));
    let patch = json!({"handshake": "ping"}).to_string();
    let patched = server.request(
        "PATCH",
        &format!("/v1/endpoints/{id}"),
        Some("application/merge-patch+json"),
        patch.as_bytes(),
    );
    assert_eq!(patched.status, 200, "{}", patched.text());
    let found = statuses(at_once(&server, &format!("/v1/endpoints/{id}/verify"), 1));
    assert_eq!(found, BTreeMap::from([(429, 1)]));
    assert_eq!(receiver.accepted(), 1);
    assert_eq!(statuses(test), BTreeMap::from([(200, 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_made_of_an_endpoint_that_is_never_idle() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, 32);
    let slow = Receiver::start(|_, mut stream| async move {
        while !read_request(&mut stream).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    let id = endpoint(&server, &slow.url("/"), "busy", &json!({"concurrency": 1}));
    for number in 0..300 {
        server.event(&json!({"type": "busy", "data": number}));
    }
    let answer = server.post(&format!("/v1/endpoints/{id}/test"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["outcome"], "delivered");
}
