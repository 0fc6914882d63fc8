//! The sender against https receivers, honest and otherwise.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use posthaste::{
    domain::{
        limits,
        outcome::{Fault, Observation},
    },
    sender::{AttemptLimits, Exchange, Protocol, Sender, SenderOptions, roots_from_pem},
    wire::request::OutboundRequest,
};
use rcgen::date_time_ymd;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    authority::{Authority, http1},
    receiver::{Receiver, drain, read_request},
};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

async fn send(sender: &Sender, receiver: &Receiver) -> Exchange {
    let url = format!("https://{}/hook", receiver.address).parse().unwrap();
    let request = OutboundRequest {
        method: http::Method::POST,
        url,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
    };
    sender.send(request, AttemptLimits { total: LONG }).await
}

fn fault(exchange: &Exchange) -> Option<Fault> {
    match exchange.observation {
        Observation::Fault(fault) => Some(fault),
        Observation::Response { .. } => None,
    }
}

fn status(exchange: &Exchange) -> Option<(u16, bool)> {
    match exchange.observation {
        Observation::Response {
            status, body_broken, ..
        } => Some((status, body_broken)),
        Observation::Fault(_) => None,
    }
}

/// A receiver that speaks HTTP/2 and answers with `length` bytes; it ends each connection after `count` requests.
async fn http2(acceptor: TlsAcceptor, length: usize, count: usize) -> Receiver {
    Receiver::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let (seen, mut requests) = tokio::sync::mpsc::channel(count);
            let service = service_fn(move |request| answer_http2(request, length, seen.clone()));
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            for _ in 0..count {
                tokio::select! {
                    _ = connection.as_mut() => return,
                    _ = requests.recv() => {}
                }
            }
            connection.as_mut().graceful_shutdown();
            // The caller may be gone already.
            let _ = connection.await;
        }
    })
    .await
}

async fn answer_http2(
    request: Request<Incoming>,
    length: usize,
    seen: tokio::sync::mpsc::Sender<()>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.uri().path(), "/hook");
    assert!(request.headers().get("host").is_none());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"{}");
    let _ = seen.send(()).await;
    Ok(Response::new(Full::new(Bytes::from(vec![b'x'; length]))))
}

#[tokio::test]
async fn a_receiver_with_a_good_certificate_is_sent_to_and_its_connection_kept() {
    let authority = Authority::new();
    let receiver = http1(authority.acceptor("127.0.0.1", &[], |_| {})).await;
    let sender = authority.sender();
    for _ in 0..10 {
        let exchange = send(&sender, &receiver).await;
        assert_eq!(
            (status(&exchange), exchange.protocol),
            (Some((200, false)), Some(Protocol::Http1))
        );
    }
    assert_eq!(receiver.accepted(), 1);
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_over_one_connection() {
    let authority = Authority::new();
    let receiver = http2(
        authority.acceptor("127.0.0.1", &["h2", "http/1.1"], |_| {}),
        2,
        1000,
    )
    .await;
    let sender = authority.sender();
    let first = send(&sender, &receiver).await;
    assert_eq!(
        (status(&first), first.protocol),
        (Some((200, false)), Some(Protocol::Http2))
    );
    assert_eq!(&first.excerpt[..], b"xx");
    let together = (0..50).map(|_| send(&sender, &receiver));
    for exchange in futures_util::future::join_all(together).await {
        assert_eq!(status(&exchange), Some((200, false)));
    }
    assert_eq!(receiver.accepted(), 1);
}

#[tokio::test]
async fn http1_is_spoken_where_only_it_is_offered() {
    let authority = Authority::new();
    let receiver = http1(authority.acceptor("127.0.0.1", &["http/1.1"], |_| {})).await;
    let exchange = send(&authority.sender(), &receiver).await;
    assert_eq!(
        (status(&exchange), exchange.protocol),
        (Some((200, false)), Some(Protocol::Http1))
    );
}

#[tokio::test]
async fn a_huge_http2_body_is_read_up_to_the_limit() {
    let authority = Authority::new();
    let receiver = http2(authority.acceptor("127.0.0.1", &["h2"], |_| {}), 64 << 20, 1000).await;
    let sender = authority.sender();
    for _ in 0..20 {
        let exchange = send(&sender, &receiver).await;
        assert_eq!(status(&exchange), Some((200, true)));
        assert!(exchange.body_bytes_read <= 2 * limits::RESPONSE_READ_BYTES);
        assert_eq!(exchange.excerpt.len(), limits::RESPONSE_KEPT_BYTES);
    }
}

#[tokio::test]
async fn an_http2_connection_that_the_receiver_ended_is_replaced() {
    let authority = Authority::new();
    let receiver = http2(authority.acceptor("127.0.0.1", &["h2"], |_| {}), 2, 1).await;
    let sender = authority.sender();
    for number in 1..=5 {
        assert_eq!(status(&send(&sender, &receiver).await), Some((200, false)));
        assert_eq!(receiver.accepted(), number);
        let ended = async {
            // The end arrives by itself; until then the connection counts as open.
            while sender.idle_connections() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, ended).await.unwrap();
    }
}

#[tokio::test]
async fn each_flaw_of_a_certificate_has_its_own_fault() {
    let authority = Authority::new();
    let flaws: [(Fault, TlsAcceptor); 5] = [
        (
            Fault::TlsExpired,
            authority.acceptor("127.0.0.1", &[], |params| {
                params.not_after = date_time_ymd(2020, 1, 1)
            }),
        ),
        (
            Fault::TlsNotYetValid,
            authority.acceptor("127.0.0.1", &[], |params| {
                params.not_before = date_time_ymd(3000, 1, 1)
            }),
        ),
        (Fault::TlsWrongName, authority.acceptor("other.test", &[], |_| {})),
        (
            Fault::TlsUnknownIssuer,
            Authority::named("another").acceptor("127.0.0.1", &[], |_| {}),
        ),
        // The same name with another key, as when a private authority was made anew.
        (
            Fault::TlsUnknownIssuer,
            Authority::new().acceptor("127.0.0.1", &[], |_| {}),
        ),
    ];
    for (expected, acceptor) in flaws {
        let receiver = http1(acceptor).await;
        assert_eq!(fault(&send(&authority.sender(), &receiver).await), Some(expected));
    }
}

/// A receiver that reads the beginning of a handshake and answers with these bytes.
async fn raw(answer: &'static [u8]) -> Receiver {
    Receiver::start(move |_, mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.write_all(answer).await.unwrap();
        drain(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn tls_spoken_to_a_plain_port_is_a_failed_handshake() {
    let authority = Authority::new();
    let receiver = raw(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(
        fault(&send(&authority.sender(), &receiver).await),
        Some(Fault::TlsHandshake)
    );
}

#[tokio::test]
async fn a_receiver_that_only_knows_old_versions_has_none_in_common() {
    let authority = Authority::new();
    // A fatal alert, protocol_version (RFC 5246, 7.2).
    let refusing = raw(&[0x15, 3, 1, 0, 2, 2, 70]).await;
    assert_eq!(
        fault(&send(&authority.sender(), &refusing).await),
        Some(Fault::TlsNoCommonVersion)
    );
    // A server hello that chooses TLS 1.0: 32 random bytes, no session, a cipher suite, no compression.
    let choosing: &'static [u8] = [
        &[0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1][..],
        &[7; 32],
        &[0, 0xc0, 0x13, 0],
    ]
    .concat()
    .leak();
    let choosing = raw(choosing).await;
    assert_eq!(
        fault(&send(&authority.sender(), &choosing).await),
        Some(Fault::TlsNoCommonVersion)
    );
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_at_the_connect_limit_and_one_cut_off_closed_early() {
    let authority = Authority::new();
    let hanging = raw(b"").await;
    let sender = Sender::new(SenderOptions {
        connect_timeout: SHORT,
        ..authority.options()
    });
    assert_eq!(fault(&send(&sender, &hanging).await), Some(Fault::TimeoutConnect));
    let cut_off = Receiver::start(|_, mut stream| async move {
        stream.read_buf(&mut Vec::with_capacity(64 * 1024)).await.unwrap();
    })
    .await;
    let exchange = send(&authority.sender(), &cut_off).await;
    assert!(
        matches!(fault(&exchange), Some(Fault::ClosedEarly | Fault::Reset)),
        "{exchange:?}"
    );
}

#[tokio::test]
async fn a_reset_in_the_handshake_is_told_from_an_end() {
    let receiver = Receiver::start(|_, mut stream| async move {
        stream.read_u8().await.unwrap();
        // Closing now resets the connection.
        stream.set_zero_linger().unwrap();
    })
    .await;
    let exchange = send(&Authority::new().sender(), &receiver).await;
    assert_eq!(fault(&exchange), Some(Fault::Reset));
}

#[test]
fn a_file_of_authorities_is_read_or_refused() {
    let pem = Authority::new().pem();
    assert_eq!(
        roots_from_pem(format!("{pem}\n{pem}").as_bytes()).unwrap().len(),
        2
    );
    assert!(roots_from_pem(b"").is_err());
    assert!(roots_from_pem(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").is_err());
}

/// How the handshakes of a receiver went that closes each connection after its answer.
async fn handshakes(authority: &Authority) -> (Receiver, tokio::sync::mpsc::Receiver<HandshakeKind>) {
    let acceptor = authority.acceptor("127.0.0.1", &["http/1.1"], |_| {});
    let (seen, kinds) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |_, stream| {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind().unwrap();
            read_request(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            // The test has ended where nobody wants to know.
            let _ = seen.send(kind).await;
        }
    })
    .await;
    (receiver, kinds)
}

#[tokio::test]
async fn a_receiver_shows_its_certificate_again_at_the_age_of_a_connection() {
    let authority = Authority::new();
    let (receiver, mut kinds) = handshakes(&authority).await;
    let age = Duration::from_millis(300);
    let sender = Sender::new(SenderOptions {
        max_connection_age: age,
        ..authority.options()
    });
    let started = std::time::Instant::now();
    let mut full = 0;
    while full < 4 {
        assert_eq!(status(&send(&sender, &receiver).await), Some((200, false)));
        full += usize::from(kinds.recv().await.unwrap() != HandshakeKind::Resumed);
        assert!(started.elapsed() < LONG, "one session is resumed for ever");
    }
    assert!(started.elapsed() >= 2 * age);
    let (receiver, mut kinds) = handshakes(&authority).await;
    let sender = authority.sender();
    for number in 0..10 {
        send(&sender, &receiver).await;
        let kind = kinds.recv().await.unwrap();
        assert_eq!(kind == HandshakeKind::Resumed, number > 0, "{number}");
    }
}
