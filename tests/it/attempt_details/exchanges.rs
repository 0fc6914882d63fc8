//! What the sender notes of an exchange: TLS, HTTP/2, names, proxies, and answers that break off.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use posthaste::{
    domain::{
        address::AddressRules,
        attempt_detail::{DetailBudget, HttpVersion, TlsVersion},
        outcome::{Fault, Observation},
        proxy::ProxyChoice,
        time::Timestamp,
    },
    sender::{AttemptLimits, Exchange, Sender, SenderOptions, Way},
    wire::request::OutboundRequest,
};
use tokio::io::AsyncWriteExt;

use crate::support::{
    authority::{Authority, http1},
    http2::{Reply, deciding},
    proxy::Proxy,
    receiver::{NameServer, Receiver, Says, drain, read_request},
};

/// Long enough that it is never what ends an attempt.
const LONG: AttemptLimits = AttemptLimits {
    total: Duration::from_secs(30),
};

fn dev() -> SenderOptions {
    SenderOptions {
        rules: AddressRules::dev(),
        ..SenderOptions::default()
    }
}

fn request(url: &str) -> OutboundRequest {
    let secret = || {
        let mut value = HeaderValue::from_static("planted");
        value.set_sensitive(true);
        value
    };
    OutboundRequest {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::from_iter([
            (
                "content-type".parse().unwrap(),
                HeaderValue::from_static("text/x"),
            ),
            ("x-secret".parse().unwrap(), secret()),
        ]),
        body: Bytes::from_static(b"{}"),
    }
}

fn sent(exchange: &Exchange) -> Vec<String> {
    let lines = exchange.request_lines.iter();
    lines.map(|(name, value)| format!("{name}: {value}")).collect()
}

#[tokio::test]
async fn a_tls_connection_tells_its_version_and_the_certificate_s_end_also_when_it_is_reused() {
    let authority = Authority::new();
    let end = rcgen::date_time_ymd(2093, 4, 5);
    let receiver = http1(authority.acceptor("localhost", &[], |params| params.not_after = end)).await;
    let sender = authority.sender();
    let url = format!("https://localhost:{}/", receiver.address.port());
    for number in 0..2 {
        let exchange = sender.send(request(&url), LONG).await;
        let tls = exchange.tls.unwrap();
        assert_eq!(tls.version, Some(TlsVersion::Tls13));
        assert_eq!(
            tls.not_after,
            Some(Timestamp::from_millis(end.unix_timestamp() as u64 * 1000))
        );
        assert_eq!(exchange.remote, Some(receiver.address));
        assert_eq!(exchange.answered, Some(HttpVersion::Http11));
        let timing = exchange.timing;
        let made = [timing.dns, timing.connect, timing.tls].map(|step| step.is_some());
        assert_eq!(made, [number == 0; 3], "{timing:?}");
        assert!(timing.first_byte.is_some() && timing.body.is_some());
        assert_eq!(sent(&exchange), ["content-type: text/x", "x-secret: ***"]);
    }
    assert_eq!(receiver.accepted(), 1);
}

#[tokio::test]
async fn an_expired_certificate_tells_when_it_expired_and_who_showed_it() {
    let authority = Authority::new();
    let end = rcgen::date_time_ymd(2021, 2, 3);
    let acceptor = authority.acceptor("localhost", &[], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = end;
    });
    let receiver = http1(acceptor).await;
    let url = format!("https://localhost:{}/", receiver.address.port());
    let exchange = authority.sender().send(request(&url), LONG).await;
    assert_eq!(exchange.observation, Observation::Fault(Fault::TlsExpired));
    let tls = exchange.tls.unwrap();
    assert_eq!(tls.version, None);
    assert_eq!(
        tls.not_after,
        Some(Timestamp::from_millis(end.unix_timestamp() as u64 * 1000))
    );
    assert_eq!(exchange.remote, Some(receiver.address));
    assert!(!exchange.sent && exchange.answered.is_none());
    assert!(exchange.timing.tls.is_some() && exchange.timing.first_byte.is_none());
}

#[tokio::test]
async fn a_name_that_is_not_found_takes_time_and_leaves_nothing_else() {
    let names = NameServer::start(Says::Code(3)).await;
    let options = SenderOptions {
        name_servers: vec![names.address],
        ..dev()
    };
    let exchange = Sender::new(options)
        .send(request("http://nobody.test/"), LONG)
        .await;
    assert_eq!(exchange.observation, Observation::Fault(Fault::DnsNotFound));
    let timing = exchange.timing;
    assert!(timing.dns.is_some() && timing.connect.is_none() && timing.first_byte.is_none());
    assert_eq!((exchange.remote, exchange.sent), (None, false));
    assert_eq!(sent(&exchange), ["content-type: text/x", "x-secret: ***"]);
}

#[tokio::test]
async fn the_time_to_the_head_and_the_time_of_the_body_are_told_apart() {
    const PAUSE: Duration = Duration::from_millis(300);
    for (before_head, before_body) in [(PAUSE, Duration::ZERO), (Duration::ZERO, PAUSE)] {
        let receiver = Receiver::start(move |_, mut stream| async move {
            read_request(&mut stream).await;
            tokio::time::sleep(before_head).await;
            stream
                .write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n")
                .await
                .unwrap();
            tokio::time::sleep(before_body).await;
            stream.write_all(b"ok").await.unwrap();
        })
        .await;
        let exchange = Sender::new(dev()).send(request(&receiver.url("/")), LONG).await;
        assert_eq!(exchange.answered, Some(HttpVersion::Http10));
        let (first_byte, body) = (exchange.timing.first_byte.unwrap(), exchange.timing.body.unwrap());
        // The receiver's pause is a lower bound for the step that it is in.
        let least = |pause: Duration| (pause.as_millis() as u32).saturating_sub(1);
        assert!(first_byte >= least(before_head) && body >= least(before_body));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_kept_as_far_as_it_came() {
    let receiver = Receiver::answering("HTTP/1.1 503 X\r\nx-why: full\r\ncontent-length: 9\r\n\r\nno").await;
    let exchange = Sender::new(dev()).send(request(&receiver.url("/")), LONG).await;
    let lines: Vec<_> = exchange.answer_lines.iter().collect();
    assert_eq!(
        lines,
        [
            ("x-why".into(), "full".into()),
            ("content-length".into(), "9".into())
        ]
    );
    assert_eq!((&exchange.excerpt[..], exchange.body_bytes_read), (&b"no"[..], 2));
    assert!(exchange.sent && exchange.timing.body.is_some());

    let silent = Receiver::start(|_, mut stream| async move { drain(&mut stream).await }).await;
    let limits = AttemptLimits {
        total: Duration::from_millis(200),
    };
    let exchange = Sender::new(dev()).send(request(&silent.url("/")), limits).await;
    assert_eq!(exchange.observation, Observation::Fault(Fault::TimeoutTotal));
    assert!(exchange.sent && exchange.answered.is_none() && exchange.timing.body.is_none());
    assert!(
        exchange.timing.first_byte.is_some(),
        "the time until it was given up"
    );
    assert_eq!(exchange.remote, Some(silent.address));
}

#[tokio::test]
async fn a_proxy_s_credentials_are_hidden() {
    let (receiver, proxy) = (
        Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await,
        Proxy::passing_on().await,
    );
    let choice = ProxyChoice::Through(proxy.url("user:planted@").parse().unwrap());
    let way = Way {
        proxy: Some(&choice),
        ..Way::default()
    };
    let exchange = Sender::new(dev())
        .send_by(request(&receiver.url("/")), way, LONG, None)
        .await;
    assert!(proxy.heads()[0].contains("proxy-authorization: Basic "));
    assert!(sent(&exchange).contains(&"proxy-authorization: ***".to_owned()));
    assert!(!format!("{exchange:?}").contains("planted"));
}

#[tokio::test]
async fn an_answer_in_http2_says_so() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", &["h2"], |_| {});
    let receiver = deciding(acceptor, |_, _| Reply::Ok).await;
    let url = format!("https://localhost:{}/", receiver.address.port());
    let exchange = authority.sender().send(request(&url), LONG).await;
    assert_eq!(exchange.answered, Some(HttpVersion::Http2));
    assert_eq!(sent(&exchange), ["content-type: text/x", "x-secret: ***"]);
}

#[tokio::test]
async fn nothing_is_noted_without_a_budget() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\nx-y: z\r\ncontent-length: 2\r\n\r\nok").await;
    let options = SenderOptions {
        detail: DetailBudget::new(0),
        ..dev()
    };
    let exchange = Sender::new(options).send(request(&receiver.url("/")), LONG).await;
    assert!(exchange.request_lines.is_empty() && exchange.answer_lines.is_empty());
    assert!(!exchange.request_lines.is_cut && !exchange.answer_lines.is_cut);
}
