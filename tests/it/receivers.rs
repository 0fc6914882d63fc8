//! The sender against receivers that misbehave, over real sockets.

mod addresses;
mod http2;
mod keep_alive;
mod odd_heads;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use posthaste::{
    domain::{
        address::AddressRules,
        limits,
        outcome::{Directive, Fault, Observation},
    },
    sender::{AttemptLimits, Exchange, Protocol, Sender, SenderOptions},
    wire::request::OutboundRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::receiver::{Receiver, drain, read_request};

/// Long enough that it is never what ends an attempt.
const LONG: Duration = Duration::from_secs(30);
/// Short, for attempts that end no other way.
const SHORT: Duration = Duration::from_millis(300);
/// An answer that leaves the connection open.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn dev() -> SenderOptions {
    SenderOptions {
        rules: AddressRules::dev(),
        ..SenderOptions::default()
    }
}

fn request(url: &str) -> OutboundRequest {
    let body = Bytes::from_static(b"{\"a\":1}");
    OutboundRequest {
        method: http::Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body,
    }
}

async fn send_within(sender: &Sender, url: &str, total: Duration) -> Exchange {
    sender.send(request(url), AttemptLimits { total }).await
}

async fn send(sender: &Sender, url: &str) -> Exchange {
    send_within(sender, url, LONG).await
}

/// What a new sender sees of a receiver that answers with these bytes and closes.
async fn answered(answer: impl Into<Vec<u8>>) -> Exchange {
    let receiver = Receiver::answering(answer).await;
    send(&Sender::new(dev()), &receiver.url("/")).await
}

fn fault(exchange: &Exchange) -> Option<Fault> {
    match exchange.observation {
        Observation::Fault(fault) => Some(fault),
        Observation::Response { .. } => None,
    }
}

/// The status, and whether the body broke off.
fn status(exchange: &Exchange) -> Option<(u16, bool)> {
    match exchange.observation {
        Observation::Response {
            status, body_broken, ..
        } => Some((status, body_broken)),
        Observation::Fault(_) => None,
    }
}

/// Answers `count` requests on each connection, then closes it without a word.
async fn closing_after(count: usize) -> Receiver {
    Receiver::start(move |_, mut stream| async move {
        for _ in 0..count {
            if read_request(&mut stream).await.is_empty() {
                return;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_request_arrives_whole_and_its_answer_is_read() {
    let (sent, mut received) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |_, mut stream| {
        let sent = sent.clone();
        async move {
            sent.send(read_request(&mut stream).await).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
                .await
                .unwrap();
            drain(&mut stream).await;
        }
    })
    .await;
    let mut request = request(&receiver.url("/hook%0d%0aX:?q=1"));
    request.headers.insert("x-a", "b".parse().unwrap());
    let preview = request.http1_bytes();
    let sender = Sender::new(dev());
    let exchange = sender.send(request, AttemptLimits { total: LONG }).await;
    assert_eq!(status(&exchange), Some((200, false)));
    assert_eq!(&exchange.excerpt[..], b"hello");
    assert_eq!(
        (exchange.remote, exchange.protocol),
        (Some(receiver.address), Some(Protocol::Http1))
    );
    assert!(exchange.timing.connect.is_some());
    let text = String::from_utf8(received.recv().await.unwrap()).unwrap();
    assert_eq!(text.as_bytes(), preview);
    let expected = format!(
        "POST /hook%0d%0aX:?q=1 HTTP/1.1\r\nx-a: b\r\nhost: {}\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}",
        receiver.address
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let receiver = Receiver::answering("").await;
    let url = receiver.url("/");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let exchange = send(&Sender::new(dev()), &free).await;
    assert_eq!(fault(&exchange), Some(Fault::Refused));
    assert_eq!(exchange.remote, None);
    assert_ne!(url, free);
}

#[tokio::test]
async fn a_connection_reset_at_once_is_a_reset() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(
        fault(&send(&Sender::new(dev()), &receiver.url("/")).await),
        Some(Fault::Reset)
    );
}

#[tokio::test]
async fn a_receiver_that_never_answers_ends_at_the_total() {
    let receiver = Receiver::start(|_, mut stream| async move { drain(&mut stream).await }).await;
    let exchange = send_within(&Sender::new(dev()), &receiver.url("/"), SHORT).await;
    assert_eq!(fault(&exchange), Some(Fault::TimeoutTotal));
    assert_eq!(exchange.remote, Some(receiver.address));
}

#[tokio::test]
async fn a_head_that_drips_ends_at_the_total() {
    let receiver = Receiver::start(|_, mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let exchange = send_within(&Sender::new(dev()), &receiver.url("/"), SHORT).await;
    assert_eq!(fault(&exchange), Some(Fault::TimeoutTotal));
}

#[tokio::test]
async fn an_endless_run_of_interim_answers_ends_at_the_total() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        while stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let exchange = send_within(&Sender::new(dev()), &receiver.url("/"), SHORT).await;
    assert_eq!(fault(&exchange), Some(Fault::TimeoutTotal));
}

#[tokio::test]
async fn a_success_stays_one_when_its_body_hangs_drips_or_breaks() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nab";
    let broken = answered(head).await;
    assert_eq!(status(&broken), Some((200, true)));
    assert_eq!(&broken.excerpt[..], b"ab");
    let receiver = Receiver::start(move |number, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        while number == 1 && stream.write_all(b"c").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drain(&mut stream).await;
    })
    .await;
    let sender = Sender::new(dev());
    for _ in ["hangs", "drips"] {
        let exchange = send_within(&sender, &receiver.url("/"), SHORT).await;
        assert_eq!(status(&exchange), Some((200, true)));
    }
    assert_eq!(receiver.accepted(), 2);
}

#[tokio::test]
async fn a_failure_whose_body_breaks_is_judged_by_its_status() {
    let exchange = answered("HTTP/1.1 503 Busy\r\ncontent-length: 9\r\nretry-after: 1\r\n\r\nx").await;
    assert_eq!(status(&exchange), Some((503, true)));
}

#[tokio::test]
async fn a_gigabyte_is_read_up_to_the_limit_and_its_beginning_kept() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
            .await
            .unwrap();
        while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
    })
    .await;
    let sender = Sender::new(dev());
    let exchange = send(&sender, &receiver.url("/")).await;
    assert_eq!(status(&exchange), Some((200, true)));
    assert_eq!(exchange.excerpt.len(), limits::RESPONSE_KEPT_BYTES);
    // At most one frame, which is no larger than the read buffer, lies past the limit.
    assert!(exchange.body_bytes_read > limits::RESPONSE_READ_BYTES);
    assert!(exchange.body_bytes_read <= limits::RESPONSE_READ_BYTES + limits::RESPONSE_HEAD_BYTES);
    assert_eq!(sender.idle_connections(), 0);
}

#[tokio::test]
async fn an_endless_chunked_body_is_cut_off_too() {
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        while stream.write_all(b"4\r\nabcd\r\n").await.is_ok() {}
    })
    .await;
    let exchange = send(&Sender::new(dev()), &receiver.url("/")).await;
    assert_eq!(status(&exchange), Some((500, true)));
    assert!(exchange.body_bytes_read <= limits::RESPONSE_READ_BYTES + limits::RESPONSE_HEAD_BYTES);
}

#[tokio::test]
async fn a_connection_that_ends_within_the_head_closed_early() {
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-le", "HTT"] {
        assert_eq!(
            fault(&answered(answer).await),
            Some(Fault::ClosedEarly),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_fault() {
    let answers = [
        "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        "<html>hello</html>".to_owned(),
        "HTTP/1.1 abc OK\r\n\r\n".to_owned(),
        "HTTP/1.1 99 Low\r\n\r\n".to_owned(),
        "HTTP/1.1 1000 High\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1024 * 1024)),
    ];
    for answer in answers {
        let exchange = answered(answer.clone()).await;
        assert_eq!(fault(&exchange), Some(Fault::Protocol), "{:.60}", answer);
    }
}

#[tokio::test]
async fn a_banner_that_comes_before_the_request_is_a_protocol_fault() {
    let receiver = Receiver::start(|_, mut stream| async move {
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let sender = Sender::new(dev());
    for _ in 0..20 {
        let exchange = send(&sender, &receiver.url("/")).await;
        assert_eq!(fault(&exchange), Some(Fault::Protocol));
    }
}

#[tokio::test]
async fn an_answer_before_the_request_is_read_counts_by_its_status() {
    let receiver = Receiver::start(|_, mut stream| async move {
        // The head alone is read; the body of half a megabyte stays in the pipe.
        let mut head = Vec::with_capacity(256);
        stream.read_buf(&mut head).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let mut request = request(&receiver.url("/"));
    request.body = Bytes::from(vec![b'x'; 512 * 1024]);
    let exchange = Sender::new(dev())
        .send(request, AttemptLimits { total: LONG })
        .await;
    assert_eq!(status(&exchange), Some((413, false)));
}

#[tokio::test]
async fn a_dropped_attempt_closes_its_connection() {
    let (closed, mut closes) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            drain(&mut stream).await;
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let sender = Sender::new(dev());
    let url = receiver.url("/");
    tokio::select! {
        _ = send(&sender, &url) => panic!("nobody answers"),
        () = async { while receiver.accepted() == 0 { tokio::task::yield_now().await } } => {}
    }
    tokio::time::timeout(LONG, closes.recv()).await.unwrap();
}

#[tokio::test]
async fn strange_statuses_are_handed_on_as_they_came() {
    for code in [101, 204, 304, 999] {
        let exchange = answered(format!("HTTP/1.1 {code} X\r\nconnection: close\r\n\r\n")).await;
        assert_eq!(status(&exchange).map(|(status, _)| status), Some(code), "{code}");
    }
}

#[tokio::test]
async fn a_receiver_that_ends_with_an_interim_status_does_not_speak_http() {
    let exchange = answered("HTTP/1.1 199 X\r\nconnection: close\r\n\r\n").await;
    assert_eq!(fault(&exchange), Some(Fault::Protocol));
    let exchange = answered("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(fault(&exchange), Some(Fault::ClosedEarly));
    let final_one = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 199 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(status(&answered(final_one).await), Some((200, false)));
    let receiver = Receiver::start(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 199 X\r\n\r\n").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let exchange = send_within(&Sender::new(dev()), &receiver.url("/"), SHORT).await;
    assert_eq!(fault(&exchange), Some(Fault::Protocol));
}

#[tokio::test]
async fn a_request_without_a_body_says_so() {
    let (sent, mut received) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |_, mut stream| {
        let sent = sent.clone();
        async move {
            sent.send(read_request(&mut stream).await).await.unwrap();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let sender = Sender::new(dev());
    for (method, expected) in [
        (http::Method::POST, "content-length: 0\r\n"),
        (http::Method::OPTIONS, ""),
    ] {
        let mut request = request(&receiver.url("/"));
        (request.method, request.body) = (method.clone(), Bytes::new());
        let preview = request.http1_bytes();
        let exchange = sender.send(request, AttemptLimits { total: LONG }).await;
        assert_eq!(status(&exchange), Some((200, false)));
        let text = received.recv().await.unwrap();
        assert_eq!(text, preview);
        let expected = format!(
            "{method} / HTTP/1.1\r\nhost: {}\r\n{expected}\r\n",
            receiver.address
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_location_is_kept() {
    let other = Receiver::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let location = other.url("/elsewhere");
    let exchange = answered(format!(
        "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    ))
    .await;
    assert_eq!(status(&exchange), Some((302, false)));
    assert_eq!(exchange.location.as_deref(), Some(location.as_str()));
    assert_eq!(other.accepted(), 0);
}

#[tokio::test]
async fn a_receiver_may_ask_to_be_disabled() {
    let exchange =
        answered("HTTP/1.1 200 OK\r\nwebhook-delivery: disable\r\ncontent-length: 0\r\n\r\n").await;
    let Observation::Response { directive, .. } = exchange.observation else {
        panic!("{exchange:?}")
    };
    assert_eq!(directive, Some(Directive::Disable));
}
