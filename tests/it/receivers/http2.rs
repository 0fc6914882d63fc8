//! Receivers that end HTTP/2 streams and connections without having begun with a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use posthaste::{
    domain::outcome::Fault,
    sender::{Protocol, Sender, SenderOptions},
};

use super::{LONG, fault, send, status};
use crate::support::{
    authority::Authority,
    http2::{Reply, deciding},
    receiver::Receiver,
};

const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

fn url(receiver: &Receiver) -> String {
    receiver.url("/").replace("http:", "https:")
}

/// Starts a receiver, and counts the requests that it has answered.
async fn counting(
    authority: &Authority,
    decide: impl Fn(usize, usize) -> Reply + Send + Sync + 'static,
) -> (Receiver, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let counter = served.clone();
    let acceptor = authority.acceptor("127.0.0.1", &["h2"], |_| {});
    let receiver = deciding(acceptor, move |connection, request| {
        let reply = decide(connection, request);
        if matches!(reply, Reply::Ok) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        reply
    })
    .await;
    (receiver, served)
}

async fn send_all(sender: &Sender, receiver: &Receiver, count: usize) {
    let url = url(receiver);
    let together = (0..count).map(|_| send(sender, &url));
    for exchange in join_all(together).await {
        assert_eq!(
            (status(&exchange), exchange.protocol),
            (Some((200, false)), Some(Protocol::Http2)),
            "{exchange:?}"
        );
    }
}

#[tokio::test]
async fn requests_behind_the_last_of_a_goaway_are_sent_again_on_a_new_connection() {
    for code in [NO_ERROR, ENHANCE_YOUR_CALM] {
        let authority = Authority::new();
        // The first connection goes away at its sixth request, the others never.
        let (receiver, served) = counting(&authority, move |connection, request| {
            match (connection, request) {
                (0, 5) => Reply::GoAway(code),
                _ => Reply::Ok,
            }
        })
        .await;
        let sender = authority.sender();
        send_all(&sender, &receiver, 1).await;
        send_all(&sender, &receiver, 20).await;
        assert_eq!(served.load(Ordering::SeqCst), 21, "each request is served once");
        assert!(receiver.accepted() >= 2);
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_on_a_new_connection() {
    let authority = Authority::new();
    let (receiver, served) = counting(&authority, |connection, request| {
        if connection == 0 && request % 5 == 4 {
            Reply::Refuse
        } else {
            Reply::Ok
        }
    })
    .await;
    let sender = authority.sender();
    send_all(&sender, &receiver, 1).await;
    send_all(&sender, &receiver, 30).await;
    assert_eq!(served.load(Ordering::SeqCst), 31);
}

#[tokio::test]
async fn a_receiver_that_refuses_every_stream_ends_the_attempt() {
    for reply in [Reply::Refuse, Reply::GoAway(NO_ERROR)] {
        let authority = Authority::new();
        let (receiver, _) = counting(&authority, move |_, _| reply.clone()).await;
        let exchange = send(&authority.sender(), &url(&receiver)).await;
        assert_eq!(fault(&exchange), Some(Fault::ClosedEarly));
        assert_eq!(receiver.accepted(), 4, "once, and three times again");
    }
}

#[tokio::test]
async fn a_stream_that_may_have_been_served_is_not_sent_again() {
    let authority = Authority::new();
    let (receiver, _) = counting(&authority, |_, _| Reply::Close).await;
    let exchange = send(&authority.sender(), &url(&receiver)).await;
    assert!(fault(&exchange).is_some(), "{exchange:?}");
    assert_eq!(receiver.accepted(), 1);
}

#[tokio::test]
async fn an_http2_connection_is_replaced_at_its_age() {
    let authority = Authority::new();
    let (receiver, _) = counting(&authority, |_, _| Reply::Ok).await;
    let age = Duration::from_millis(200);
    let options = SenderOptions {
        max_connection_age: age,
        ..authority.options()
    };
    let sender = Sender::new(options);
    let started = std::time::Instant::now();
    while receiver.accepted() < 3 {
        send_all(&sender, &receiver, 1).await;
        assert!(started.elapsed() < LONG, "it is used for ever");
    }
    assert!(started.elapsed() >= 2 * age);
}
