//! The way in the real server: kept, shown, used, blamed.

use serde_json::{Value, json};

use super::closed_port;
use crate::support::{
    authority::Authority,
    server::{Server, wait_for},
    sink::{Sink, answer},
};

fn oauth2(tokens: &Sink) -> Value {
    json!({
        "type": "oauth2", "token_url": format!("{}token?key=hunter1", tokens.url()), "client_id": "us",
        "client_secret": "hunter2",
    })
}

fn granting() -> Sink {
    Sink::deciding(|_, before| {
        let body = format!(r#"{{"access_token":"hunter3-{before}","token_type":"bearer","expires_in":60}}"#);
        format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    })
}

fn last_attempt(server: &Server, event: &str) -> Value {
    wait_for("an attempt", || server.attempts(event).pop())
}

#[test]
fn a_delivery_carries_a_token_and_neither_the_log_nor_the_api_shows_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("POSTHASTE_LOG__LEVEL", "posthaste=trace")];
    let mut server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &environment);
    let (tokens, sink) = (granting(), Sink::accepting());
    let tls = serde_json::to_value(Authority::new().client("us")).unwrap();
    let id = server.endpoint(&json!({
        "url": sink.url(), "auth": oauth2(&tokens), "tls": tls, "headers": {"Authorization": "hunter4"},
    }));
    let event = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&event, "delivered");
    assert_eq!(sink.received()[0].headers["authorization"], "Bearer hunter3-0");
    assert!(server.stop().success());
    server.restart();
    let event = server.event(&json!({"type": "a", "data": 2}));
    server.delivery_in(&event, "delivered");
    assert_eq!(
        sink.received()[1].headers["authorization"],
        "Bearer hunter3-1",
        "tokens are in memory alone, what they are fetched with is not"
    );
    let shown = server.get(&format!("/v1/endpoints/{id}"));
    assert_eq!(shown["auth"]["client_secret"], "***");
    assert_eq!(shown["tls"]["client_key_pem"], "***");
    let all = format!(
        "{shown} {:?} {:?}",
        server.list("/v1/endpoints"),
        server.list("/v1/attempts")
    );
    assert!(
        shown["auth"]["token_url"]
            .as_str()
            .unwrap()
            .ends_with("token?***"),
        "{shown}"
    );
    assert!(!all.contains("hunter"), "{all}");
    assert!(!all.contains("PRIVATE KEY"), "{all}");
    assert!(!server.log().contains("hunter"), "{}", server.log());
}

#[test]
fn refused_credentials_disable_the_endpoint_and_new_ones_release_what_was_held() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let tokens = Sink::deciding(|request, _| {
        // Basic us:hunter2
        if request.headers["authorization"] == "Basic dXM6aHVudGVyMg==" {
            let body = r#"{"error":"invalid_client"}"#;
            return format!("HTTP/1.1 401 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
        let body = r#"{"access_token":"t","token_type":"bearer"}"#;
        format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    });
    let sink = Sink::accepting();
    let id = server.endpoint(&json!({"url": sink.url(), "auth": oauth2(&tokens)}));
    let path = format!("/v1/endpoints/{id}");
    let event = server.event(&json!({"type": "a", "data": 1}));
    wait_for("the disabling", || {
        (server.get(&path)["state"] == "disabled").then_some(())
    });
    assert_eq!(server.get(&path)["disabled_reason"]["reason"], "token_refused");
    let delivery = format!(
        "/v1/attempts?delivery={}",
        server.delivery_in(&event, "held")["id"].as_str().unwrap()
    );
    let attempts = server.list(&delivery);
    assert_eq!(attempts[0]["outcome"], "endpoint_error");
    assert_eq!(attempts[0]["response_excerpt"], r#"{"error":"invalid_client"}"#);
    assert_eq!(sink.count(), 0);
    let mut auth = oauth2(&tokens);
    auth["client_secret"] = json!("another");
    let patch = json!({"auth": auth, "enabled": true});
    let kind = Some("application/merge-patch+json");
    let answer = server.request("PATCH", &path, kind, patch.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.delivery_in(&event, "delivered");
    assert_eq!(sink.received()[0].headers["authorization"], "Bearer t");
}

#[test]
fn a_token_endpoint_that_is_down_is_a_transient_failure() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let tokens = Sink::deciding(|_, before| match before {
        0 => answer(503, ""),
        _ => {
            let body = r#"{"access_token":"t","token_type":"bearer"}"#;
            format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
    });
    let sink = Sink::accepting();
    server.endpoint(&json!({
        "url": sink.url(), "auth": oauth2(&tokens), "retry": {"retries": 1, "delay": "100ms"},
    }));
    let event = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&event, "delivered");
    let attempts = server.attempts(&event);
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (
                attempt["outcome"].as_str().unwrap(),
                attempt["reason"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [("transient", "token_unavailable"), ("delivered", "status")]
    );
}

#[test]
fn the_operator_s_proxy_is_blamed_on_nobody_and_its_password_never_said() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = format!("http://user:hunter2@127.0.0.1:{}", closed_port());
    let environment = [("POSTHASTE_DELIVERY__PROXY", proxy.as_str())];
    let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &environment);
    let sink = Sink::accepting();
    let id = server.endpoint(&json!({"url": sink.url(), "retry": {"retries": 0, "delay": "1s"}}));
    let event = server.event(&json!({"type": "a", "data": 1}));
    let attempt = last_attempt(&server, &event);
    assert_eq!(
        (&attempt["outcome"], &attempt["reason"]),
        (&json!("ours"), &json!("our_proxy_unreachable"))
    );
    let endpoint = server.get(&format!("/v1/endpoints/{id}"));
    assert_eq!(endpoint["state"], "active");
    assert_eq!(
        server.get(&format!("/v1/endpoints/{id}/stats"))["failures_in_a_row"],
        0
    );
    server.delivery_in(&event, "scheduled");
    assert!(
        server.log().contains("delivery.proxy cannot be used"),
        "{}",
        server.log()
    );
    let patch = json!({"proxy": "none"}).to_string();
    let kind = Some("application/merge-patch+json");
    server.request("PATCH", &format!("/v1/endpoints/{id}"), kind, patch.as_bytes());
    let direct = server.event(&json!({"type": "a", "data": 2}));
    server.post(
        &format!(
            "/v1/deliveries/{}/retry",
            server.list(&format!("/v1/events/{direct}/deliveries"))[0]["id"]
                .as_str()
                .unwrap()
        ),
        &json!({}),
    );
    server.delivery_in(&direct, "delivered");
    assert!(!server.log().contains("hunter2"), "{}", server.log());
}

#[test]
fn flags_set_the_way_and_what_is_shown_hides_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let clients = Authority::new();
    let client = serde_json::to_value(clients.client("us")).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let ca = file("ca.pem", &clients.pem());
    let certificate = file("client.pem", client["client_cert_pem"].as_str().unwrap());
    let key = file("client.key", client["client_key_pem"].as_str().unwrap());
    let secret = format!("@{}", file("secret", "hunter2\n"));
    let (added, status) = server.cli(&[
        "endpoint",
        "add",
        "https://10.0.0.1/",
        "--paused",
        "--output",
        "json",
        "--oauth2-token-url",
        "https://10.0.0.2/token",
        "--oauth2-client-id",
        "us",
        "--oauth2-client-secret",
        &secret,
        "--oauth2-scope",
        "a,b",
        "--ca-file",
        &ca,
        "--client-cert",
        &certificate,
        "--client-key",
        &key,
        "--proxy",
        "http://u:hunter2@10.0.0.3:3128",
    ]);
    assert!(status.success(), "{added}");
    let added: Value = serde_json::from_str(&added).unwrap();
    assert_eq!(added["auth"]["scopes"], json!(["a", "b"]));
    assert_eq!(added["auth"]["client_secret"], "***");
    assert_eq!(added["proxy"], "http://***@10.0.0.3:3128");
    assert_eq!(added["tls"]["ca_pem"], clients.pem());
    assert_eq!(added["tls"]["client_key_pem"], "***");
    let id = added["id"].as_str().unwrap();
    let (changed, status) = server.cli(&[
        "endpoint", "set", id, "--proxy", "none", "--unset", "tls", "--output", "json",
    ]);
    assert!(status.success(), "{changed}");
    let changed: Value = serde_json::from_str(&changed).unwrap();
    assert_eq!(
        (&changed["proxy"], &changed["tls"]),
        (&json!("none"), &Value::Null)
    );
    assert_eq!(changed["auth"], added["auth"]);
    let (refused, status) = server.cli(&["endpoint", "set", id, "--client-key", &key]);
    assert!(
        !status.success() && refused.contains("tls.client_cert_pem"),
        "{refused}"
    );
}
