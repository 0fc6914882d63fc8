//! Tokens: fetched, kept, fetched anew.

use posthaste::domain::{
    auth::{Auth, ClientCredentials},
    outcome::Class,
};

use super::*;
use crate::support::authority::{Authority, http1};

fn credentials(token_url: &str, extra: &str) -> ClientCredentials {
    let text = format!(
        r#"{{"type":"oauth2","token_url":"{token_url}","client_id":"us","client_secret":"s3cret"{extra}}}"#
    );
    let auth: Auth = serde_json::from_str(&text).unwrap();
    auth.oauth2().unwrap().clone()
}

fn with(credentials: &ClientCredentials) -> Way<'_> {
    Way {
        oauth2: Some(credentials),
        ..Way::default()
    }
}

fn granted(number: usize) -> String {
    answer(
        200,
        &format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#),
    )
}

/// A token endpoint that gives t1, t2 and so on.
async fn token_endpoint() -> Recorder {
    Recorder::start(|_, before| granted(before + 1)).await
}

#[tokio::test]
async fn one_token_serves_many_requests_at_once_and_later() {
    let (tokens, receiver) = (token_endpoint().await, Recorder::accepting().await);
    let credentials = credentials(&tokens.receiver.url("/token?x=1"), r#","scopes":["a","b"]"#);
    let (sender, url) = (Sender::new(dev()), receiver.receiver.url("/hook"));
    let together = (0..20).map(|_| send(&sender, &url, with(&credentials)));
    for outcome in futures_util::future::join_all(together).await {
        assert_eq!(outcome, Ok(200));
    }
    assert_eq!(send(&sender, &url, with(&credentials)).await, Ok(200));
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].starts_with("POST /token?x=1 HTTP/1.1\r\n"),
        "{}",
        asked[0]
    );
    assert!(asked[0].contains("\r\nauthorization: Basic dXM6czNjcmV0\r\n"));
    assert!(asked[0].ends_with("\r\n\r\ngrant_type=client_credentials&scope=a+b"));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 21);
    for request in requests {
        assert_eq!(
            request.matches("\r\nauthorization: Bearer t1\r\n").count(),
            1,
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_401_has_the_token_fetched_anew_and_the_request_sent_again_once() {
    let tokens = token_endpoint().await;
    let receiver = Recorder::start(|request, _| {
        let status = if request.contains("Bearer t1\r\n") {
            401
        } else {
            200
        };
        answer(status, "")
    })
    .await;
    let credentials = credentials(&tokens.receiver.url("/"), "");
    let (sender, url) = (Sender::new(dev()), receiver.receiver.url("/"));
    assert_eq!(send(&sender, &url, with(&credentials)).await, Ok(200));
    assert_eq!((tokens.count(), receiver.count()), (2, 2));
    assert_eq!(send(&sender, &url, with(&credentials)).await, Ok(200));
    assert_eq!(
        (tokens.count(), receiver.count()),
        (2, 3),
        "the second one is kept"
    );
}

#[tokio::test]
async fn a_receiver_that_refuses_every_token_is_asked_twice_and_its_401_stands() {
    let tokens = token_endpoint().await;
    let receiver = Recorder::start(|_, _| answer(401, "no")).await;
    let credentials = credentials(&tokens.receiver.url("/"), "");
    let sender = Sender::new(dev());
    let exchange = send_within(&sender, &receiver.receiver.url("/"), with(&credentials), LONG).await;
    assert_eq!((outcome(&exchange), &exchange.excerpt[..]), (Ok(401), &b"no"[..]));
    assert_eq!((tokens.count(), receiver.count()), (2, 2));
}

#[tokio::test]
async fn a_receiver_that_asks_to_be_left_alone_is_not_sent_to_again() {
    let tokens = token_endpoint().await;
    let receiver = Recorder::start(|_, _| {
        "HTTP/1.1 401 X\r\nwebhook-delivery: disable\r\ncontent-length: 0\r\n\r\n".to_owned()
    })
    .await;
    let credentials = credentials(&tokens.receiver.url("/"), "");
    let sent = send(
        &Sender::new(dev()),
        &receiver.receiver.url("/"),
        with(&credentials),
    )
    .await;
    assert_eq!((sent, receiver.count()), (Ok(401), 1));
}

#[tokio::test]
async fn each_failure_of_a_token_endpoint_has_its_fault_and_the_receiver_hears_nothing() {
    let receiver = Recorder::accepting().await;
    let refusal = r#"{"error":"invalid_client","error_description":"us and s3cret"}"#;
    let huge = format!(r#"{{"access_token":"t","x":"{}"}}"#, "x".repeat(1 << 20));
    let table = [
        (answer(400, refusal), Fault::TokenRefused, Class::EndpointError),
        (answer(401, "who?"), Fault::TokenRefused, Class::EndpointError),
        (answer(404, ""), Fault::TokenRefused, Class::EndpointError),
        (answer(500, ""), Fault::TokenUnavailable, Class::Transient),
        (answer(503, refusal), Fault::TokenUnavailable, Class::Transient),
        (answer(429, ""), Fault::TokenUnavailable, Class::Transient),
        (answer(302, ""), Fault::TokenUnusable, Class::Transient),
        (answer(200, "<html>"), Fault::TokenUnusable, Class::Transient),
        (answer(200, "{}"), Fault::TokenUnusable, Class::Transient),
        (answer(200, &huge), Fault::TokenUnavailable, Class::Transient),
        (
            "SSH-2.0-x\r\n\r\n".to_owned(),
            Fault::TokenUnusable,
            Class::Transient,
        ),
        (String::new(), Fault::TokenUnavailable, Class::Transient),
    ];
    for (says, fault, class) in table {
        let tokens = Receiver::answering(says.clone()).await;
        let credentials = credentials(&tokens.url("/"), "");
        let sender = Sender::new(dev());
        let exchange = send_within(&sender, &receiver.receiver.url("/"), with(&credentials), LONG).await;
        assert_eq!(outcome(&exchange), Err(fault), "{says:.60}");
        assert_eq!(fault.class().0, class);
        let said: &[u8] = if says.contains("invalid_client") {
            br#"{"error":"invalid_client"}"#
        } else {
            b""
        };
        assert_eq!(&exchange.excerpt[..], said, "{says:.60}");
        assert_eq!(exchange.remote, Some(tokens.address));
    }
    let nobody = credentials(&format!("http://127.0.0.1:{}/", closed_port()), "");
    let sent = send(&Sender::new(dev()), &receiver.receiver.url("/"), with(&nobody)).await;
    assert_eq!(sent, Err(Fault::TokenUnavailable));
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn the_attempt_s_time_covers_the_token_and_the_request() {
    let silent =
        Receiver::start(|_, mut stream| async move { while !read_request(&mut stream).await.is_empty() {} })
            .await;
    let (receiver, sender) = (Recorder::accepting().await, Sender::new(dev()));
    let waiting = credentials(&silent.url("/"), "");
    let late = send_within(&sender, &receiver.receiver.url("/"), with(&waiting), SHORT).await;
    assert_eq!(
        (outcome(&late), receiver.count()),
        (Err(Fault::TokenUnavailable), 0)
    );
    assert!(late.duration < LONG);
    let tokens = token_endpoint().await;
    let quick = credentials(&tokens.receiver.url("/"), "");
    let late = send_within(&sender, &silent.url("/"), with(&quick), SHORT).await;
    assert_eq!((outcome(&late), tokens.count()), (Err(Fault::TimeoutTotal), 1));
}

#[tokio::test]
async fn a_token_endpoint_keeps_the_address_rules() {
    let (tokens, receiver) = (token_endpoint().await, Recorder::accepting().await);
    let rules = AddressRules {
        allow: vec!["127.0.0.1/32".parse().unwrap()],
        ..AddressRules::default()
    };
    let sender = Sender::new(SenderOptions { rules, ..dev() });
    let inside = credentials(
        &format!("http://127.0.0.2:{}/", tokens.receiver.address.port()),
        "",
    );
    let sent = send(&sender, &receiver.receiver.url("/"), with(&inside)).await;
    assert_eq!(sent, Err(Fault::AddressForbidden));
    assert_eq!((tokens.receiver.accepted(), receiver.count()), (0, 0));
    let allowed = credentials(&tokens.receiver.url("/"), "");
    let sent = send(&sender, "http://127.0.0.2:9/", with(&allowed)).await;
    assert_eq!(sent, Err(Fault::AddressForbidden));
    assert_eq!(tokens.count(), 0, "no token for what would not be sent");
}

#[tokio::test]
async fn a_token_endpoint_is_verified_by_the_endpoint_s_own_authority() {
    let authority = Authority::new();
    let receiver = Recorder::accepting().await;
    // It answers "ok" to everything, which is no token: that it is asked at all is what counts.
    let tokens = http1(authority.acceptor("127.0.0.1", &[], |_| {})).await;
    let credentials = credentials(&format!("https://{}/", tokens.address), "");
    let other = Authority::named("another");
    let sender = other.sender();
    let refused = send_within(&sender, &receiver.receiver.url("/"), with(&credentials), LONG).await;
    assert_eq!(
        (outcome(&refused), refused.protocol, refused.remote),
        (Err(Fault::TokenUnusable), None, None)
    );
    let own = authority.believed();
    let way = Way {
        tls: Some(&own),
        ..with(&credentials)
    };
    let asked = send_within(&sender, &receiver.receiver.url("/"), way, LONG).await;
    assert_eq!(outcome(&asked), Err(Fault::TokenUnusable));
    assert_eq!(asked.remote, Some(tokens.address));
}
