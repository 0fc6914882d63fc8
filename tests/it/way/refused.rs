//! What is refused of the way, by the member.

use serde_json::{Value, json};

use crate::support::{authority::Authority, server::Server};

fn with(member: &str, value: Value) -> Value {
    let mut document = json!({"url": "https://h.test/"});
    document[member] = value;
    document
}

fn oauth2(member: &str, value: Value) -> Value {
    let mut auth = json!({
        "type": "oauth2", "token_url": "https://id.test/", "client_id": "us", "client_secret": "hunter2",
    });
    auth[member] = value;
    with("auth", auth)
}

#[test]
fn each_member_of_the_way_that_is_wrong_is_named_and_no_secret_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_guarded(&dir.path().join("data"), &["--no-listen"], &[]);
    let clients = Authority::new();
    let (one, other) = (clients.client("one"), clients.client("two"));
    let (one, other) = (
        serde_json::to_value(one).unwrap(),
        serde_json::to_value(other).unwrap(),
    );
    let (certificate, key) = (&one["client_cert_pem"], &one["client_key_pem"]);
    let broken = "-----BEGIN CERTIFICATE-----\nhunter2!\n-----END CERTIFICATE-----\n";
    let table = [
        (oauth2("token_url", json!("ftp://id.test/")), "auth.token_url"),
        (
            oauth2("token_url", json!("https://u:hunter2@id.test/")),
            "auth.token_url",
        ),
        (oauth2("token_url", json!("https://127.0.0.1/")), "auth.token_url"),
        (oauth2("token_url", json!("https://localhost/")), "auth.token_url"),
        (oauth2("client_id", json!("")), "auth.client_id"),
        (oauth2("client_secret", json!("hunter2\n")), "auth.client_secret"),
        (oauth2("client_secret", json!(5)), "auth.client_secret"),
        (oauth2("scopes", json!(["a b"])), "auth.scopes[0]"),
        (oauth2("audience", json!("\u{1b}")), "auth.audience"),
        (oauth2("client_auth", json!("hunter2")), "auth.client_auth"),
        (oauth2("username", json!("us")), "auth"),
        (oauth2("client_secret", json!(null)), "auth"),
        (oauth2("grant_type", json!("password")), "auth.grant_type"),
        (oauth2("type", json!("digest")), "auth.type"),
        (with("tls", json!({"ca_pem": "hunter2"})), "tls.ca_pem"),
        (with("tls", json!({"ca_pem": broken})), "tls.ca_pem"),
        (
            with("tls", json!({"ca_pem": "-----BEGIN X-----".repeat(8000)})),
            "tls.ca_pem",
        ),
        (
            with("tls", json!({"client_cert_pem": certificate})),
            "tls.client_key_pem",
        ),
        (with("tls", json!({"client_key_pem": key})), "tls.client_cert_pem"),
        (
            with(
                "tls",
                json!({"client_cert_pem": certificate, "client_key_pem": other["client_key_pem"]}),
            ),
            "tls.client_key_pem",
        ),
        (
            with("tls", json!({"client_cert_pem": broken, "client_key_pem": key})),
            "tls.client_cert_pem",
        ),
        (
            with(
                "tls",
                json!({"client_cert_pem": certificate, "client_key_pem": certificate}),
            ),
            "tls.client_key_pem",
        ),
        (with("tls", json!({"insecure": true})), "tls.insecure"),
        (with("proxy", json!("socks5://p.test:1080")), "proxy"),
        (with("proxy", json!("http://u:hunter2@p.test")), "proxy"),
        (with("proxy", json!("http://127.0.0.1:3128")), "proxy"),
        (with("proxy", json!("http://localhost:3128")), "proxy"),
        (with("proxy", json!(true)), "proxy"),
        (with("proxy", json!("http://***@p.test:3128")), "proxy"),
    ];
    for (document, field) in table {
        let answer = server.post("/v1/endpoints", &document);
        assert_eq!(
            answer.problem(),
            (422, vec![field.to_owned()]),
            "{document:.200}\n{}",
            answer.text()
        );
        let text = answer.text();
        let is_word = document["auth"]["client_auth"] == "hunter2";
        assert!(is_word || !text.contains("hunter2"), "{text}");
    }
    assert_eq!(server.list("/v1/endpoints").len(), 0);
    for document in [
        oauth2("scopes", json!(["a", "b:c"])),
        with(
            "tls",
            json!({"ca_pem": clients.pem(), "client_cert_pem": certificate, "client_key_pem": key}),
        ),
        with("proxy", json!("http://u:p@p.test:3128")),
        with("proxy", json!("none")),
        with("proxy", json!(false)),
    ] {
        server.endpoint(&document);
    }
}

#[test]
fn https_can_be_demanded_of_token_endpoints_and_not_of_proxies() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("POSTHASTE_DELIVERY__REQUIRE_HTTPS", "true")];
    let server = Server::start_guarded(&dir.path().join("data"), &["--no-listen"], &environment);
    let answer = server.post("/v1/endpoints", &oauth2("token_url", json!("http://id.test/")));
    assert_eq!(answer.problem(), (422, vec!["auth.token_url".to_owned()]));
    server.endpoint(&with("proxy", json!("http://p.test:3128")));
}
