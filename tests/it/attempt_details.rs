//! What is kept and shown of one attempt: what went over the wire, without secrets, within a budget.

mod exchanges;

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

/// The details of the newest attempt for an event, once there is one.
fn newest(server: &Server, event: &str) -> Value {
    let attempt = wait_for("an attempt", || server.attempts(event).pop());
    server.get(&format!("/v1/attempts/{}", attempt["id"].as_str().unwrap()))
}

/// Names and values of header lines.
fn pairs(lines: &Value) -> Vec<(String, String)> {
    serde_json::from_value(lines.clone()).unwrap()
}

fn value<'a>(lines: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = lines.iter().find(|(found, _)| found == name)?;
    Some(&found.1)
}

/// Every byte below a folder.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else if path.is_file() {
            all.extend(fs::read(&path).unwrap());
        }
    }
    all
}

fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).filter(|some| *some == wanted).count()
}

#[test]
fn what_was_sent_is_shown_as_it_came_to_the_receiver_and_the_second_attempt_reuses_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let sink = Sink::deciding(|_, _| answer(200, "server: sink/1\r\nx-twice: a\r\nx-twice: b\r\n"));
    server.endpoint(&json!({
        "url": format!("{}hooks/orders", sink.url()),
        "signatures": [{"scheme": "standard"}, {"scheme": "github", "secret": "eight-or-more"}],
    }));
    for number in 0..2 {
        let event = server.event(&json!({"type": "a.b", "data": {"n": 1}, "id": format!("e-{number}")}));
        server.delivery_in(&event, "delivered");
        let shown = newest(&server, &event);
        let came = &sink.received()[number];
        assert_eq!(shown["event_id"], event);
        assert_eq!(shown["rule"], "status 200 is delivered");
        assert_eq!(shown["remote"], sink.address.to_string());
        assert_eq!(shown["tls"], Value::Null);
        assert!(shown.get("details_missing").is_none(), "{shown}");

        let request = &shown["request"];
        assert_eq!(
            [
                &request["method"],
                &request["version"],
                &request["headers_cut"],
                &request["sent"]
            ],
            [&json!("POST"), &json!("HTTP/1.1"), &json!(false), &json!(true)]
        );
        assert_eq!(request["url"], format!("{}hooks/orders", sink.url()));
        assert_eq!(request["body_bytes"], came.body.len());
        let sent = pairs(&request["headers"]);
        assert_eq!(sent.len(), came.headers.len());
        for (name, value) in &sent {
            assert_eq!(came.headers.get(name), Some(value), "{name}");
        }
        for name in [
            "webhook-signature",
            "x-hub-signature-256",
            "host",
            "content-length",
        ] {
            assert!(value(&sent, name).is_some(), "{sent:?}");
        }

        let response = &shown["response"];
        assert_eq!(
            (&response["status"], &response["version"], &response["excerpt"]),
            (&json!(200), &json!("HTTP/1.1"), &json!("ok"))
        );
        assert_eq!(
            (
                &response["body_bytes"],
                &response["excerpt_cut"],
                &response["headers_cut"]
            ),
            (&json!(2), &json!(false), &json!(false))
        );
        assert_eq!(
            response["headers"],
            json!([
                ["server", "sink/1"],
                ["x-twice", "a"],
                ["x-twice", "b"],
                ["content-length", "2"]
            ])
        );

        let timing = &shown["timing"];
        let is_first = number == 0;
        // A literal address is not looked up.
        assert_eq!(
            (&timing["dns_ms"], &timing["tls_ms"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(timing["connect_ms"].is_u64(), is_first, "{timing}");
        assert_eq!(timing["reused"], !is_first);
        assert!(
            timing["first_byte_ms"].is_u64() && timing["body_ms"].is_u64(),
            "{timing}"
        );
        assert_eq!(timing["total_ms"], shown["duration_ms"]);
    }
}

/// Secrets are planted wherever an endpoint can have one, and the receiver sends back what it can.
#[test]
fn no_secret_is_shown_or_written() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let sink = Sink::deciding(|request, _| {
        let echo = |name: &str| format!("{name}: {}\r\n", request.headers[name]);
        let cookie = "set-cookie: session=planted-cookie\r\n";
        answer(200, &(echo("x-api-key") + &echo("authorization") + cookie))
    });
    server.endpoint(&json!({
        "url": format!("{}planted-path?token=planted-query&planted-flag", sink.url()),
        "headers": {"X-Api-Key": "planted-header", "User-Agent": "planted-agent"},
        "auth": {"type": "bearer", "token": "planted-token"},
        "signatures": [{"scheme": "github", "secret": "planted-signing-secret"}],
    }));
    // The audit log has the URL of the change, and none of the secrets.
    let journal = data.join("journal");
    let urls_before = count(&bytes_below(&journal), b"planted-path");
    let event = server.event(&json!({"type": "a.b", "data": 1}));
    server.delivery_in(&event, "delivered");
    let came = &sink.received()[0];
    assert_eq!(came.path, "/planted-path?token=planted-query&planted-flag");
    assert_eq!(came.headers["authorization"], "Bearer planted-token");
    let shown = newest(&server, &event);
    assert_eq!(
        shown["request"]["url"],
        format!("{}planted-path?token=***&***", sink.url())
    );
    let sent = pairs(&shown["request"]["headers"]);
    for name in ["x-api-key", "user-agent", "authorization"] {
        assert_eq!(value(&sent, name), Some("***"), "{sent:?}");
    }
    assert_eq!(
        value(&sent, "x-hub-signature-256"),
        Some(&*came.headers["x-hub-signature-256"])
    );
    let answered = pairs(&shown["response"]["headers"]);
    for name in ["x-api-key", "authorization", "set-cookie"] {
        assert_eq!(value(&answered, name), Some("***"), "{answered:?}");
    }
    let text = shown.to_string().replace("planted-path", "");
    assert!(!text.contains("planted"), "{text}");
    let (printed, status) = server.cli(&["attempt", "show", shown["id"].as_str().unwrap()]);
    assert!(status.success());
    let printed = printed.replace("planted-path", "");
    assert!(!printed.contains("planted"), "{printed}");
    assert!(!server.log().contains("planted"), "{}", server.log());
    // Nor on the disk, where the attempt's record has not even the path: an endpoint's URL may be a secret itself.
    drop(server);
    let written = bytes_below(&data);
    assert!(count(&written, event.as_bytes()) > 0);
    assert_eq!(count(&bytes_below(&journal), b"planted-path"), urls_before);
    for secret in [
        "planted-header",
        "planted-agent",
        "planted-token",
        "planted-signing",
        "planted-cookie",
    ] {
        assert_eq!(count(&written, secret.as_bytes()), 0, "{secret}");
    }
}

#[test]
fn an_attempt_without_an_answer_says_how_far_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let retry = json!({"retries": 1, "delay": "1h"});
    server.endpoint(&json!({"url": nobody, "retry": retry}));
    let event = server.event(&json!({"type": "a.b", "data": 1}));
    let shown = newest(&server, &event);
    assert_eq!(shown["reason"], "refused");
    assert!(
        shown["rule"]
            .as_str()
            .unwrap()
            .starts_with("refused is transient: "),
        "{shown}"
    );
    assert_eq!((&shown["response"], &shown["tls"]), (&Value::Null, &Value::Null));
    assert_eq!(shown["request"]["sent"], false);
    assert_eq!(shown["request"]["url"], nobody);
    assert_eq!(shown["request"]["version"], Value::Null);
    assert!(value(&pairs(&shown["request"]["headers"]), "webhook-id").is_some());
    assert!(shown["timing"]["connect_ms"].is_u64());
    assert_eq!(
        (&shown["timing"]["first_byte_ms"], &shown["timing"]["reused"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn what_is_more_than_the_budget_is_cut_and_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("POSTHASTE_STORAGE__ATTEMPT_DETAIL_BYTES", "300B")];
    let mut server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &environment);
    let body = "0123456789".repeat(100);
    let sink = Sink::deciding(move |_, _| {
        let long = "l".repeat(400);
        format!("HTTP/1.1 200 X\r\nx-long: {long}\r\nx-more: m\r\ncontent-length: 1000\r\n\r\n{body}")
    });
    let own: serde_json::Map<String, Value> = (0..20)
        .map(|number| (format!("X-Own-Header-Number-{number}"), json!("v")))
        .collect();
    server.endpoint(&json!({"url": sink.url(), "headers": own}));
    let event = server.event(&json!({"type": "a.b", "data": 1}));
    server.delivery_in(&event, "delivered");
    let shown = newest(&server, &event);
    let (request, response) = (&shown["request"], &shown["response"]);
    assert_eq!(
        (&request["headers_cut"], &response["headers_cut"]),
        (&json!(true), &json!(true))
    );
    let bytes = |lines: &Value| -> usize {
        let pairs = pairs(lines);
        pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    assert!(
        bytes(&request["headers"]) > 100 && bytes(&request["headers"]) < 300,
        "{request}"
    );
    let long = pairs(&response["headers"]);
    let long = value(&long, "x-long").unwrap();
    assert!(long.ends_with("l…") && long.len() < 300, "{response}");
    // Twice as much of the body as of the headers.
    assert_eq!(response["excerpt"].as_str().unwrap().len(), 600);
    assert_eq!(
        (&response["body_bytes"], &response["excerpt_cut"]),
        (&json!(1000), &json!(true))
    );
    // With nothing to keep anything in, an attempt is its outcome.
    assert!(server.stop().success());
    server.set_environment("POSTHASTE_STORAGE__ATTEMPT_DETAIL_BYTES", "0B");
    server.restart();
    let event = server.event(&json!({"type": "a.b", "data": 1}));
    server.delivery_in(&event, "delivered");
    let shown = newest(&server, &event);
    assert_eq!(
        (&shown["request"], &shown["response"]["status"]),
        (&Value::Null, &json!(200))
    );
    assert_eq!(
        (&shown["response"]["headers"], &shown["response"]["excerpt"]),
        (&Value::Null, &json!(""))
    );
    let why = shown["details_missing"].as_str().unwrap();
    assert!(why.contains("storage.attempt_detail_bytes"), "{why}");
    assert_eq!(shown["rule"], "status 200 is delivered");
}

/// What docs/STORAGE.md says. Details off and on, the records of as many deliveries differ by them alone.
#[test]
fn the_details_of_a_usual_attempt_take_some_230_bytes() {
    const DELIVERIES: usize = 50;
    let journal = |budget: &str| {
        let dir = tempfile::tempdir().unwrap();
        let environment = [("POSTHASTE_STORAGE__ATTEMPT_DETAIL_BYTES", budget)];
        let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &environment);
        let sink = Sink::deciding(|_, _| {
            let date = "date: Mon, 30 Nov 2026 07:00:00 GMT\r\n";
            format!(
                "HTTP/1.1 200 X\r\n{date}server: nginx\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n"
            )
        });
        server.endpoint(&json!({"url": format!("{}hooks/orders", sink.url())}));
        let bytes = || server.get("/v1/status")["journal"]["bytes"].as_u64().unwrap();
        let before = bytes();
        let data = "x".repeat(1000);
        for number in 0..DELIVERIES {
            let event =
                server.event(&json!({"type": "user.created", "data": data, "id": format!("e-{number:05}")}));
            server.delivery_in(&event, "delivered");
        }
        (bytes() - before) as f64 / DELIVERIES as f64
    };
    let (without, with) = (journal("0B"), journal("2KiB"));
    let details = with - without;
    assert!((200.0..260.0).contains(&details), "{details} beside {without}");
}

#[test]
fn an_id_that_is_no_attempt_s_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url()}));
    let event = server.event(&json!({"type": "a.b", "data": 1}));
    server.delivery_in(&event, "delivered");
    let id = newest(&server, &event)["id"].as_str().unwrap().to_owned();
    // The same record, at another time.
    let other = id.replacen("att_0", "att_1", 1);
    for (id, status) in [(other.as_str(), 404), ("att_x", 400), (event.as_str(), 400)] {
        let answer = server.request("GET", &format!("/v1/attempts/{id}"), None, b"");
        assert_eq!(answer.problem().0, status, "{}", answer.text());
    }
    let answer = server.request("GET", &format!("/v1/attempts/{id}?x=1"), None, b"");
    assert_eq!(answer.problem(), (400, vec!["x".to_owned()]));
}

#[test]
fn the_command_shows_an_attempt_to_people_and_to_programs_and_lists_as_attempts_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let sink = Sink::deciding(|_, _| answer(503, "server: sink/1\r\n"));
    server.endpoint(&json!({"url": sink.url(), "retry": {"retries": 0, "delay": "1s"}}));
    let event = server.event(&json!({"type": "a.b", "data": 1}));
    server.delivery_in(&event, "failed");
    let shown = newest(&server, &event);
    let id = shown["id"].as_str().unwrap();
    let (printed, status) = server.cli(&["attempt", "show", id]);
    assert!(status.success(), "{printed}");
    for line in [
        "rule               status 503 is transient".to_owned(),
        format!("> POST {} HTTP/1.1", sink.url()),
        format!("> webhook-id: {event}"),
        "< HTTP/1.1 503".to_owned(),
        "< server: sink/1".to_owned(),
        "ok".to_owned(),
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line}\n{printed}"
        );
    }
    assert!(printed.contains("\ntimes  connect "), "{printed}");
    let (printed, status) = server.cli(&["attempt", "show", id, "--output", "json"]);
    assert!(status.success());
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), shown);
    let arguments = ["--event", &event, "--output", "json"];
    let list = |words: &[&str]| server.cli(&[words, &arguments].concat());
    assert_eq!(list(&["attempt", "list"]), list(&["attempts"]));
    let (told, status) = server.cli(&["attempt", "show", "att_01h455vb4pex5vsknk084sn02q"]);
    assert!(!status.success() && told.contains("no such attempt"), "{told}");
}
