//! Proxies: the endpoint's and the operator's.

use posthaste::domain::auth::Auth;

use super::*;
use crate::support::{
    authority::{Authority, http1},
    proxy::Proxy,
    receiver::{NameServer, Says},
};

fn ours(proxy: &Proxy) -> SenderOptions {
    SenderOptions {
        proxy: Some(proxy.url("").parse().unwrap()),
        ..SenderOptions::default()
    }
}

#[tokio::test]
async fn https_goes_through_a_tunnel_that_is_kept_and_the_receiver_sees_no_credentials() {
    let (authority, proxy) = (Authority::new(), Proxy::passing_on().await);
    let receiver = http1(authority.acceptor("127.0.0.1", &[], |_| {})).await;
    let (sender, choice) = (authority.sender(), through(&proxy.url("Aladdin:open%20sesame@")));
    let url = format!("https://{}/hook", receiver.address);
    for _ in 0..3 {
        assert_eq!(send(&sender, &url, by(&choice)).await, Ok(200));
    }
    let expected = format!(
        "CONNECT {0} HTTP/1.1\r\nhost: {0}\r\nproxy-authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        receiver.address
    );
    assert_eq!(proxy.heads(), [expected]);
    assert_eq!((proxy.accepted(), receiver.accepted()), (1, 1));
    assert_eq!(send(&sender, &url, Way::default()).await, Ok(200));
    assert_eq!(
        (proxy.accepted(), receiver.accepted()),
        (1, 2),
        "direct is another way"
    );
}

#[tokio::test]
async fn http_goes_to_the_proxy_in_the_absolute_form() {
    let (proxy, receiver) = (Proxy::passing_on().await, Recorder::accepting().await);
    let choice = through(&proxy.url("u:p@"));
    let url = receiver.receiver.url("/hook?a=b");
    let exchange = send_within(&Sender::new(dev()), &url, by(&choice), LONG).await;
    assert_eq!(outcome(&exchange), Ok(200));
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with(&format!("POST {url} HTTP/1.1\r\n")),
        "{}",
        heads[0]
    );
    assert!(
        heads[0].contains("proxy-authorization: Basic dTpw"),
        "{}",
        heads[0]
    );
    assert!(heads[0].contains(&format!("host: {}", receiver.receiver.address)));
    assert_eq!(
        exchange.remote.map(|remote| format!("http://{remote}")),
        Some(proxy.url(""))
    );
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_name_that_only_the_proxy_knows_is_left_to_it_and_one_that_leads_inside_is_refused() {
    let receiver = Recorder::accepting().await;
    let url = format!("http://hooks.example.test:{}/", receiver.receiver.address.port());
    let public = "93.184.216.34".parse().unwrap();
    let inside = "10.0.0.1".parse().unwrap();
    let (nxdomain, servfail) = (3, 2);
    for (says, expected) in [
        (Says::Code(nxdomain), Ok(200)),
        (Says::Code(servfail), Ok(200)),
        (Says::Addresses(vec![public]), Ok(200)),
        (Says::Addresses(vec![inside]), Err(Fault::AddressForbidden)),
        (
            Says::Addresses(vec![public, inside]),
            Err(Fault::AddressForbidden),
        ),
    ] {
        let (proxy, server) = (Proxy::passing_on().await, NameServer::start(says).await);
        let sender = Sender::new(SenderOptions {
            name_servers: vec![server.address],
            ..ours(&proxy)
        });
        assert_eq!(send(&sender, &url, Way::default()).await, expected);
        assert_eq!(proxy.accepted(), usize::from(expected.is_ok()));
    }
}

#[tokio::test]
async fn proxies_and_token_endpoints_are_looked_up_by_names_with_an_underscore() {
    let local = Says::Addresses(vec!["127.0.0.1".parse().unwrap()]);
    let (proxy, server) = (Proxy::passing_on().await, NameServer::start(local).await);
    let receiver = Recorder::accepting().await;
    let tokens = Recorder::start(|_, _| {
        answer(
            200,
            r#"{"access_token":"t","token_type":"Bearer","expires_in":3600}"#,
        )
    })
    .await;
    let sender = Sender::new(SenderOptions {
        name_servers: vec![server.address],
        ..dev()
    });
    let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
    let choice = through(&format!("http://my_proxy.test:{}", port(&proxy.url(""))));
    let auth: Auth = serde_json::from_value(serde_json::json!({
        "type": "oauth2", "client_id": "us", "client_secret": "s3cret",
        "token_url": format!("http://token_service:{}/token", tokens.receiver.address.port()),
    }))
    .unwrap();
    let way = Way {
        oauth2: auth.oauth2(),
        ..by(&choice)
    };
    let url = format!("http://my_service:{}/", receiver.receiver.address.port());
    assert_eq!(send(&sender, &url, way).await, Ok(200));
    assert_eq!((receiver.requests().len(), tokens.requests().len()), (1, 1));
}

#[tokio::test]
async fn addresses_that_are_forbidden_stay_so_behind_a_proxy() {
    let proxy = Proxy::passing_on().await;
    let sender = Sender::new(ours(&proxy));
    for url in [
        "http://127.0.0.1:9/",
        "https://127.1:9/",
        "http://localhost:9/",
        "http://x.localhost:9/",
        "https://169.254.169.254/",
        "http://metadata.google.internal/",
        "http://[::1]:9/",
        "https://10.0.0.1/",
    ] {
        let sent = send(&sender, url, Way::default()).await;
        assert_eq!(sent, Err(Fault::AddressForbidden), "{url}");
    }
    assert_eq!(proxy.accepted(), 0);
}

#[tokio::test]
async fn the_operator_s_proxy_may_stand_anywhere_and_an_endpoint_s_keeps_the_rules() {
    let proxy = Proxy::answering("HTTP/1.1 403 X\r\n\r\n").await;
    let sender = Sender::new(ours(&proxy));
    let url = "https://93.184.216.34/";
    assert_eq!(
        send(&sender, url, Way::default()).await,
        Err(Fault::OurProxyRefused)
    );
    assert_eq!(proxy.accepted(), 1);
    let port = proxy.url("").rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let choice = through(&format!("http://{host}:{port}"));
        let sent = send(&sender, url, by(&choice)).await;
        assert_eq!(sent, Err(Fault::AddressForbidden), "{host}");
    }
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn an_endpoint_may_do_without_the_operator_s_proxy() {
    let (proxy, receiver) = (Proxy::passing_on().await, Recorder::accepting().await);
    let sender = Sender::new(SenderOptions {
        rules: AddressRules::dev(),
        ..ours(&proxy)
    });
    let url = receiver.receiver.url("/");
    assert_eq!(send(&sender, &url, by(&ProxyChoice::Direct)).await, Ok(200));
    assert_eq!((proxy.accepted(), receiver.count()), (0, 1));
    assert_eq!(send(&sender, &url, Way::default()).await, Ok(200));
    assert_eq!((proxy.accepted(), receiver.count()), (1, 2));
}

/// What an https and an http target meet at a proxy: by the endpoint's choice, and by the operator's.
async fn met(proxy: &str) -> [Result<u16, Fault>; 4] {
    let choice = through(proxy);
    let theirs = Sender::new(dev());
    let ours = Sender::new(SenderOptions {
        proxy: Some(proxy.parse().unwrap()),
        ..dev()
    });
    let (https, http) = ("https://127.0.0.1:9/", "http://127.0.0.1:9/");
    [
        send(&theirs, https, by(&choice)).await,
        send(&ours, https, Way::default()).await,
        send(&theirs, http, by(&choice)).await,
        send(&ours, http, Way::default()).await,
    ]
}

#[tokio::test]
async fn what_a_proxy_fails_with_is_its_own_unless_it_speaks_of_the_receiver() {
    use Fault::{
        OurProxyRefused, OurProxyUnreachable, ProxyRefused, ProxyUnreachable, TimeoutConnect, Unreachable,
    };
    let refused = [Err(ProxyRefused), Err(OurProxyRefused)];
    let broken = [Err(ProxyUnreachable), Err(OurProxyUnreachable)];
    let table = [
        ("HTTP/1.1 407 X\r\ncontent-length: 0\r\n\r\n", refused, refused),
        (
            "HTTP/1.1 403 X\r\ncontent-length: 0\r\n\r\n",
            refused,
            [Ok(403); 2],
        ),
        (
            "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",
            refused,
            [Ok(500); 2],
        ),
        (
            "HTTP/1.1 502 X\r\ncontent-length: 0\r\n\r\n",
            [Err(Unreachable); 2],
            [Ok(502); 2],
        ),
        (
            "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n",
            [Err(Unreachable); 2],
            [Ok(503); 2],
        ),
        (
            "HTTP/1.1 504 X\r\ncontent-length: 0\r\n\r\n",
            [Err(TimeoutConnect); 2],
            [Ok(504); 2],
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n", refused, [Err(Fault::Protocol); 2]),
        ("HTTP/1.1 200 X\r\n\r\nhello", refused, [Ok(200); 2]),
        ("", broken, broken),
    ];
    for (says, https, http) in table {
        let proxy = Proxy::answering(says).await;
        assert_eq!(met(&proxy.url("")).await, [https, http].concat()[..], "{says}");
    }
    let nobody = format!("http://127.0.0.1:{}", closed_port());
    assert_eq!(met(&nobody).await, [broken, broken].concat()[..]);
}

#[tokio::test]
async fn a_proxy_that_is_silent_ends_at_the_connect_limit() {
    let silent =
        Receiver::start(|_, mut stream| async move { while !read_request(&mut stream).await.is_empty() {} })
            .await;
    let sender = Sender::new(SenderOptions {
        connect_timeout: SHORT,
        ..dev()
    });
    let choice = through(&silent.url(""));
    let sent = send(&sender, "https://127.0.0.1:9/", by(&choice)).await;
    assert_eq!(sent, Err(Fault::TimeoutConnect));
}
