//! Text from outside: byte order marks, UTF-16, and characters that nobody sees.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{server::Server, sink::Sink};

const MARK: &str = "\u{feff}";
const JSON: Option<&str> = Some("application/json");

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The exit code of a command, and all that it printed.
fn posthaste(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(arguments)
        .arg("--socket")
        .arg(server.socket())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_byte_order_mark_before_an_event_or_a_batch_is_no_part_of_it() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url(), "envelope": "bare"}));
    let one = format!("{MARK}{{\"id\":\"one\",\"type\":\"a\",\"data\":{{\"x\": 1.0}}}}");
    assert_eq!(server.enqueue(one.as_bytes()).status, 202);
    server.delivery_in("one", "delivered");
    assert_eq!(sink.received()[0].body, b"{\"x\": 1.0}");

    let lines = format!("{MARK}{{\"type\":\"a\",\"data\":1}}\n{{\"type\":\"a\",\"data\":2}}\n");
    let answer = server.request(
        "POST",
        "/v1/events",
        Some("application/x-ndjson"),
        lines.as_bytes(),
    );
    assert_eq!(answer.json()["accepted"], 2, "{}", answer.text());

    let cloud = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/s", "type": "a", "data": 1});
    let list = format!("{MARK} {}", json!([cloud("1"), cloud("2")]));
    let batch = Some("application/cloudevents-batch+json");
    let answer = server.request("POST", "/v1/events", batch, list.as_bytes());
    assert_eq!(answer.json()["accepted"], 2, "{}", answer.text());

    let headers = "Content-Type: application/json\r\nce-specversion: 1.0\r\nce-id: bin\r\nce-source: /s\r\nce-type: a\r\n";
    let answer = server.ask("POST", "/v1/events", headers, format!("{MARK}[7]").as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    server.delivery_in("bin", "delivered");
    assert!(sink.received().iter().any(|got| got.body == b"[7]"));

    let endpoint = format!("{MARK}{}", json!({"url": sink.url()}));
    let answer = server.request("POST", "/v1/endpoints", JSON, endpoint.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn a_body_in_utf_16_is_refused_by_that_name() {
    let (_dir, server) = started();
    let document = "{\"type\":\"a\",\"data\":1}";
    for body in [utf16(document), utf16(&format!("{MARK}{document}"))] {
        let answer = server.enqueue(&body);
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("UTF-16"), "{}", answer.text());
    }
    let list = Some("application/cloudevents-batch+json");
    let answer = server.request("POST", "/v1/events", list, &utf16("[]"));
    assert!(answer.text().contains("UTF-16"), "{}", answer.text());
}

#[test]
fn files_for_commands_may_begin_with_a_byte_order_mark() {
    let (dir, server) = started();
    let sink = Sink::accepting();
    let at = |name: &str, text: &str| written(dir.path(), name, format!("{MARK}{text}").as_bytes());

    let data = at("data.json", "{\"id\": 1}\r\n");
    let (code, said) = posthaste(&server, &["send", "a.b", &format!("@{data}")]);
    assert_eq!(code, Some(0), "{said}");
    let batch = at(
        "batch.ndjson",
        "{\"type\":\"a\",\"data\":1}\n{\"type\":\"a\",\"data\":2}\n",
    );
    let (code, said) = posthaste(&server, &["send", "--batch", &format!("@{batch}")]);
    assert!(code == Some(0) && said.contains("2 accepted"), "{said}");

    let url = sink.url();
    for (name, text) in [
        (
            "e.json",
            json!({"endpoints": [{"name": "json", "url": url}]}).to_string(),
        ),
        (
            "e.toml",
            format!("[[endpoints]]\nname = \"toml\"\nurl = \"{url}\"\n"),
        ),
        ("e.yaml", format!("endpoints:\n- name: yaml\n  url: {url}\n")),
    ] {
        let (code, said) = posthaste(&server, &["apply", &at(name, &text), "--dry-run"]);
        assert!(code == Some(0) && said.contains("1 created"), "{name}: {said}");
    }
    let wide = written(dir.path(), "wide.json", &utf16("{\"endpoints\": []}"));
    let (code, said) = posthaste(&server, &["apply", &wide]);
    assert!(code != Some(0) && said.contains("UTF-16"), "{said}");
}

#[test]
fn a_secret_keeps_nothing_that_nobody_sees() {
    let (dir, server) = started();
    let add = |file: &str, bytes: &[u8]| {
        let scheme = format!("github=@{}", written(dir.path(), file, bytes));
        let arguments = [
            "endpoint",
            "add",
            "https://h.test/",
            "--profile",
            "github",
            "--scheme",
        ];
        posthaste(
            &server,
            &[&arguments[..], &[&scheme, "--output", "json"]].concat(),
        )
    };
    let (code, said) = add("fine", "\u{feff}a shared secret\r\n".as_bytes());
    assert_eq!(code, Some(0), "{said}");
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(shown["signatures"][0]["secret"], "a shared secret");
    for (bytes, rule) in [
        ("hunter2 \n", "begins or ends with white space"),
        ("hunter2\u{200b}", "not seen"),
        ("hunter\u{a0}2", "not seen"),
    ] {
        let (code, said) = add("bad", bytes.as_bytes());
        assert!(
            code != Some(0) && said.contains(rule) && !said.contains("hunter"),
            "{said}"
        );
    }

    let refused = |document: Value| {
        let answer = server.post("/v1/endpoints", &document);
        assert!(!answer.text().contains("hunter"), "{}", answer.text());
        answer.problem()
    };
    let signed = |secret: &str| json!({"url": "https://h.test/", "signatures": [{"scheme": "github", "secret": secret}]});
    for secret in ["\u{feff}hunter2", "hunter2 ", "hunter\u{a0}2", "hunter2\u{200b}"] {
        assert_eq!(
            refused(signed(secret)),
            (422, vec!["signatures[0].secret".to_owned()])
        );
    }
    let auth = json!({"type": "basic", "username": "u", "password": "hunter2\u{2060}"});
    let place = vec!["auth.password".to_owned()];
    assert_eq!(
        refused(json!({"url": "https://h.test/", "auth": auth})),
        (422, place.clone())
    );

    let id = server.endpoint(&signed("an old secret"));
    let patch = json!({"auth": auth}).to_string();
    let answer = server.request("PATCH", &format!("/v1/endpoints/{id}"), JSON, patch.as_bytes());
    assert_eq!(answer.problem(), (422, place));
    let rotate = format!("/v1/endpoints/{id}/secret/rotate");
    let answer = server.post(&rotate, &json!({"secret": "hunter2\u{feff}"}));
    assert_eq!(
        answer.problem(),
        (422, vec!["secret".to_owned()]),
        "{}",
        answer.text()
    );
}

#[test]
fn labels_that_look_alike_are_refused_by_name() {
    let (_dir, server) = started();
    for label in [
        "acme ",
        " acme",
        "acme\u{a0}",
        "\u{2003}acme",
        "ac\u{200b}me",
        "acme\u{feff}",
        "ac\u{a0}me",
    ] {
        for field in ["tenant", "channel", "ordering_key"] {
            let answer = server.post("/v1/events", &json!({"type": "a", "data": 1, field: label}));
            assert_eq!(answer.problem(), (422, vec![field.to_owned()]), "{label:?}");
        }
        let endpoint = |member: &str, value: Value| {
            let answer = server.post("/v1/endpoints", &json!({"url": "https://h.test/", member: value}));
            answer.problem()
        };
        assert_eq!(endpoint("tenant", json!(label)), (422, vec!["tenant".to_owned()]));
        assert_eq!(endpoint("name", json!(label)), (422, vec!["name".to_owned()]));
        assert_eq!(
            endpoint("channels", json!(["a", label])),
            (422, vec!["channels[1]".to_owned()])
        );
        let key = json!({"name": "k", "role": "sender", "tenant": label});
        assert_eq!(
            server.post("/v1/keys", &key).problem(),
            (422, vec!["tenant".to_owned()])
        );
    }
    let answer = server.post(
        "/v1/events",
        &json!({"type": "a", "data": 1, "tenant": "Kunde 1 é"}),
    );
    assert_eq!(answer.status, 202);
}

#[test]
fn attributes_that_the_server_keeps_of_cloud_events_are_reserved() {
    let (_dir, server) = started();
    for name in [
        "ce-id",
        "ce-time",
        "ce-nodata",
        "ce-datacontenttype",
        "ce-anything",
    ] {
        let document = json!({"type": "a", "data": 1, "attributes": {"source": "s", name: "x"}});
        let answer = server.post("/v1/events", &document);
        assert_eq!(answer.problem(), (422, vec![format!("attributes.{name}")]));
        assert!(answer.text().contains("reserved"), "{}", answer.text());
        let line = document.to_string();
        let answer = server.request(
            "POST",
            "/v1/events",
            Some("application/x-ndjson"),
            line.as_bytes(),
        );
        assert_eq!(answer.json()["rejected"], 1, "{}", answer.text());
    }
    let fine = json!({"type": "a", "data": 1, "attributes": {"ceid": "x", "x-ce-id": "y"}});
    assert_eq!(server.post("/v1/events", &fine).status, 202);
}
