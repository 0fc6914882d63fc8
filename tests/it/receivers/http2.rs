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

use tokio::io::AsyncWriteExt;

use super::{LONG, OK, fault, send, status};
use crate::support::{
    authority::Authority,
    http2::{Reply, STATUS_200, deciding, serve},
    receiver::{Receiver, read_request},
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

/// Answers each request in HTTP/2 with these header fields behind its status, and in HTTP/1.1 with 200.
async fn odd_in_http2(authority: &Authority, alpn: &[&str], fields: &[u8]) -> Receiver {
    let acceptor = authority.acceptor("127.0.0.1", alpn, |_| {});
    let block = [&[STATUS_200], fields].concat();
    Receiver::start(move |_, stream| {
        let (acceptor, block) = (acceptor.clone(), block.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                // The sender ends it.
                let _ = serve(stream, |_| Reply::Head(block.clone())).await;
                return;
            }
            while !read_request(&mut stream).await.is_empty() {
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await
}

/// A header field in HPACK: literal, not indexed, with a new name (RFC 7541, 6.2.2).
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let text = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
    [vec![0], text(name), text(value)].concat()
}

#[tokio::test]
async fn a_receiver_whose_http2_cannot_be_read_is_spoken_to_in_http1() {
    for fields in [
        field(b"set-cookie", b"a\x01"),
        field(b"X-Info", b"a"),
        field(b"x info", b"a"),
        field(b"connection", b"keep-alive"),
        field(b"content-length", b"-1"),
    ] {
        let authority = Authority::new();
        let receiver = odd_in_http2(&authority, &["h2", "http/1.1"], &fields).await;
        let sender = authority.sender();
        let shown = String::from_utf8_lossy(&fields).into_owned();
        let first = send(&sender, &url(&receiver)).await;
        assert_eq!(
            (fault(&first), first.protocol),
            (Some(Fault::Protocol), Some(Protocol::Http2)),
            "{shown:?}"
        );
        for _ in 0..3 {
            let exchange = send(&sender, &url(&receiver)).await;
            assert_eq!(
                (status(&exchange), exchange.protocol),
                (Some((200, false)), Some(Protocol::Http1)),
                "{shown:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_receiver_that_speaks_http2_alone_is_offered_it_again() {
    let authority = Authority::new();
    let receiver = odd_in_http2(&authority, &["h2"], &field(b"set-cookie", b"a\x01")).await;
    let sender = authority.sender();
    let mut protocols = Vec::new();
    for _ in 0..3 {
        let exchange = send(&sender, &url(&receiver)).await;
        assert!(fault(&exchange).is_some(), "{exchange:?}");
        protocols.push(exchange.protocol);
    }
    let http2 = Some(Protocol::Http2);
    assert_eq!(protocols, [http2, None, http2]);
}
