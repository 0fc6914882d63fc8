//! What may not be sent to, and how names become addresses.

use std::time::Duration;

use posthaste::{
    domain::{address::AddressRules, outcome::Fault},
    sender::{Exchange, Sender, SenderOptions},
};

use super::{closing_after, dev, fault, send, status};
use crate::support::receiver::{NameServer, Receiver, Says};

#[tokio::test]
async fn loopback_is_refused_without_the_dev_rules_and_nothing_reaches_it() {
    let receiver = closing_after(9).await;
    let port = receiver.address.port();
    let sender = Sender::new(SenderOptions::default());
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "x.localhost",
    ] {
        let exchange = send(&sender, &format!("http://{host}:{port}/")).await;
        assert_eq!(fault(&exchange), Some(Fault::AddressForbidden), "{host}");
        assert_eq!(exchange.remote, None);
    }
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn localhost_is_resolved_where_loopback_is_allowed() {
    let receiver = closing_after(9).await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    assert_eq!(status(&send(&Sender::new(dev()), &url).await), Some((200, false)));
}

#[tokio::test]
async fn our_own_api_is_refused_and_nothing_reaches_it() {
    let receiver = closing_after(9).await;
    let rules = AddressRules {
        deny_endpoint: vec![receiver.address],
        ..AddressRules::dev()
    };
    let exchange = send(&Sender::new(SenderOptions { rules, ..dev() }), &receiver.url("/")).await;
    assert_eq!(fault(&exchange), Some(Fault::AddressForbidden));
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn plain_http_is_refused_where_https_is_required() {
    let receiver = closing_after(9).await;
    let exchange = send(
        &Sender::new(SenderOptions {
            require_https: true,
            ..dev()
        }),
        &receiver.url("/"),
    )
    .await;
    assert_eq!(fault(&exchange), Some(Fault::UrlInvalid));
    assert_eq!(receiver.accepted(), 0);
}

/// What a sender that asks this name server sees of `http://hooks.example.test`, with 127.0.0.1 alone allowed.
async fn resolved(says: Says, receiver: &Receiver) -> Exchange {
    resolved_as("hooks.example.test", says, receiver).await
}

/// The same of another host.
async fn resolved_as(host: &str, says: Says, receiver: &Receiver) -> Exchange {
    let server = NameServer::start(says).await;
    let rules = AddressRules {
        allow: vec!["127.0.0.1/32".parse().unwrap()],
        ..AddressRules::default()
    };
    let options = SenderOptions {
        rules,
        name_servers: vec![server.address],
        connect_timeout: Duration::from_secs(5),
        ..SenderOptions::default()
    };
    let url = format!("http://{host}:{}/", receiver.address.port());
    send(&Sender::new(options), &url).await
}

#[tokio::test]
async fn names_with_an_underscore_or_other_odd_labels_are_looked_up() {
    let receiver = closing_after(99).await;
    let long = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(61));
    for host in [
        "my_service.test",
        "stack_web_1.app_net",
        "_http._tcp.test",
        "ends_.test",
        "-a.test",
        "a-.test",
        "a+b$c.test",
        "b\u{fc}cher_2.test",
        &long,
    ] {
        let local = || Says::Addresses(vec!["127.0.0.1".parse().unwrap()]);
        let exchange = resolved_as(host, local(), &receiver).await;
        assert_eq!(status(&exchange), Some((200, false)), "{host}");
        let missing = resolved_as(host, Says::Code(3), &receiver).await;
        assert_eq!(fault(&missing), Some(Fault::DnsNotFound), "{host}");
    }
}

#[tokio::test]
async fn of_a_name_with_several_addresses_only_the_allowed_ones_are_used() {
    let receiver = closing_after(9).await;
    let both = Says::Addresses(vec!["10.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    let exchange = resolved(both, &receiver).await;
    assert_eq!(status(&exchange), Some((200, false)));
    assert_eq!(exchange.remote, Some(receiver.address));
    let inner = Says::Addresses(vec![
        "10.0.0.1".parse().unwrap(),
        "169.254.169.254".parse().unwrap(),
    ]);
    assert_eq!(
        fault(&resolved(inner, &receiver).await),
        Some(Fault::AddressForbidden)
    );
    assert_eq!(receiver.accepted(), 1);
}

#[tokio::test]
async fn a_missing_name_is_told_from_a_name_server_that_fails_or_is_silent() {
    let receiver = closing_after(9).await;
    let (servfail, nxdomain, refused) = (2, 3, 5);
    let table = [
        (Says::Code(nxdomain), Fault::DnsNotFound),
        (Says::Addresses(Vec::new()), Fault::DnsNotFound),
        (Says::Code(servfail), Fault::Dns),
        (Says::Code(refused), Fault::Dns),
        (Says::Nothing, Fault::Dns),
    ];
    for (says, expected) in table {
        assert_eq!(fault(&resolved(says, &receiver).await), Some(expected));
    }
    assert_eq!(receiver.accepted(), 0);
}
