//! The real binary against a scripted server: what it sends, byte for byte, and what it makes of the answers.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread::{self, JoinHandle},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::child::{EndsWithTest as _, Signal};

/// One request as it came.
#[derive(Debug)]
struct Seen {
    line: String,
    headers: String,
    body: Vec<u8>,
}

/// Answers one request per connection, in order, then stops listening.
struct Scripted {
    folder: TempDir,
    server: JoinHandle<Vec<Seen>>,
}

fn answer(status: u16, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn ok(body: &Value) -> String {
    answer(200, body)
}

fn serve(mut stream: impl Read + Write, answer: &str) -> Seen {
    let mut reader = BufReader::new(&mut stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(
            reader.read_until(b'\n', &mut head).unwrap() > 0,
            "the head breaks off"
        );
    }
    let (line, headers) = String::from_utf8(head)
        .unwrap()
        .to_ascii_lowercase()
        .split_once("\r\n")
        .map(own)
        .unwrap();
    let body = if headers.contains("transfer-encoding: chunked") {
        chunks(&mut reader)
    } else {
        let length = headers
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        body
    };
    stream.write_all(answer.as_bytes()).unwrap();
    Seen { line, headers, body }
}

fn own((line, headers): (&str, &str)) -> (String, String) {
    (line.to_owned(), headers.to_owned())
}

fn chunks(reader: &mut impl std::io::BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).unwrap();
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return body;
        }
    }
}

impl Scripted {
    fn start(answers: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("posthaste.sock")).unwrap();
        let server = thread::spawn(move || {
            answers
                .iter()
                .map(|answer| serve(listener.accept().unwrap().0, answer))
                .collect()
        });
        Self { folder, server }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command
            .env_clear()
            .args(args)
            .arg("--data")
            .arg(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program and gives what it printed and what was asked. Every answer must have been fetched.
    fn run(self, args: &[&str]) -> (Output, Vec<Seen>) {
        let output = self.command(args).output().unwrap();
        (output, self.server.join().unwrap())
    }

    fn file(&self, content: &str) -> PathBuf {
        let path = self.folder.path().join("input");
        fs::write(&path, content).unwrap();
        path
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn data_is_sent_and_answers_are_printed_byte_for_byte() {
    let scripted = Scripted::start(vec![ok(&json!({"id": "evt_1", "deliveries": 2}))]);
    let data = "{ \"z\" : 1.500, \"a\": 123456789012345678901234567890 }";
    let file = format!("@{}", scripted.file(data).display());
    let (output, seen) = scripted.run(&[
        "send",
        "user.created",
        &file,
        "--idempotency-key",
        "k1",
        "--output",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "{\"deliveries\":2,\"id\":\"evt_1\"}\n");
    assert_eq!(seen[0].line, "post /v1/events http/1.1");
    assert!(
        seen[0].headers.contains("idempotency-key: k1\r\n"),
        "{}",
        seen[0].headers
    );
    assert!(
        seen[0].headers.contains("content-type: application/json\r\n"),
        "{}",
        seen[0].headers
    );
    assert_eq!(
        text(&seen[0].body),
        format!("{{\"type\":\"user.created\",\"data\":{data}}}")
    );
}

#[test]
fn a_batch_is_sent_from_stdin_and_each_refused_line_is_named() {
    let scripted = Scripted::start(vec![answer(
        202,
        &json!({"accepted": 1, "duplicates": 0, "rejected": 1, "results": [
            {"id": "evt_1", "deliveries": 1}, {"problem": {"title": "Invalid", "detail": "type is missing\u{1b}"}}]}),
    )]);
    let lines = format!("{{\"type\":\"a\",\"data\":\"{}\"}}\n{{}}\n", "x".repeat(200_000));
    let mut child = scripted
        .command(&["send", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .ends_with_test(Signal::KILL)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let seen = scripted.server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "1 accepted, 0 duplicates, 1 rejected\n");
    let told = text(&output.stderr);
    assert!(told.contains("line 2: type is missing\\u{1b}\n"), "{told}");
    assert!(told.contains("posthaste: 1 of 2 lines were rejected"), "{told}");
    assert!(
        seen[0].headers.contains("content-type: application/x-ndjson\r\n"),
        "{}",
        seen[0].headers
    );
    assert_eq!(text(&seen[0].body), lines);
}

/// What a server that takes everything answers to so many lines.
fn all_accepted(count: usize) -> String {
    let results = vec![json!({"id": "evt_1", "deliveries": 1}); count];
    answer(
        202,
        &json!({"accepted": count, "duplicates": 0, "rejected": 0, "results": results}),
    )
}

#[test]
fn a_batch_that_stops_early_fails_and_names_the_first_line_that_was_not_sent() {
    let full = json!({"title": "disk full", "detail": "the disk has too little free space", "status": 507});
    let none = json!({"title": "disk full", "detail": "the disk has too little free space",
        "status": 507, "accepted": 0, "duplicates": 0, "rejected": 1, "results": [{"problem": full}]});
    for refusal in [answer(507, &full), answer(507, &none)] {
        let scripted = Scripted::start(vec![all_accepted(5000), refusal]);
        let lines = "{\"type\":\"a\",\"data\":1}\n".repeat(5002);
        let file = scripted.file(&lines);
        let (output, seen) = scripted.run(&["send", "--batch", &format!("@{}", file.display())]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        let told = text(&output.stderr);
        assert!(told.contains("stopped at line 5001, "), "{told}");
        assert!(told.contains("the disk has too little free space"), "{told}");
        assert!(
            told.contains("5000 accepted, 0 duplicates, 0 rejected before it"),
            "{told}"
        );
        assert_eq!(seen.len(), 2);
    }
}

#[test]
fn waiting_ends_when_every_delivery_has_ended_and_fails_if_one_has() {
    let first = json!({"data": [
        {"id": "dlv_1", "endpoint_id": "ep_1", "state": "delivered", "attempts": 1},
        {"id": "dlv_2", "endpoint_id": "ep_2", "state": "in_flight", "attempts": 2}], "next": null});
    let last = json!({"data": [
        {"id": "dlv_1", "endpoint_id": "ep_1", "state": "delivered", "attempts": 1},
        {"id": "dlv_2", "endpoint_id": "ep_2", "state": "failed", "attempts": 3}], "next": null});
    let scripted = Scripted::start(vec![answer(202, &json!({"id": "a/b"})), ok(&first), ok(&last)]);
    let (output, seen) = scripted.run(&["send", "t", "--wait"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(
        lines,
        [
            "id  a/b",
            "delivered  dlv_1  to ep_1  after 1 attempt",
            "failed     dlv_2  to ep_2  after 3 attempts"
        ]
    );
    assert!(
        text(&output.stderr).contains("1 of 2 were not delivered"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(seen[1].line, "get /v1/events/a%2fb/deliveries?limit=500 http/1.1");
}

#[test]
fn waiting_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let held = json!({"id": "evt_1", "data": [{"id": "dlv_1", "state": "held"}], "next": null});
    // Answers as long as it is asked; ends with the process.
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve(stream, &ok(&held));
        }
    });
    let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .env_clear()
        .env("POSTHASTE_SOCKET", &socket)
        .args(["send", "t", "--wait", "--wait-timeout", "500ms"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("posthaste: after 500ms"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_list_follows_its_pages_up_to_the_limit() {
    let pages = vec![
        ok(&json!({"data": [{"id": "ep_1", "url": "https://a.test/", "events": ["a", "b"]}], "next": "c 1"})),
        ok(&json!({"data": [], "next": "c2"})),
        ok(&json!({"data": [{"id": "ep_2"}, {"id": "ep_3"}, {"id": "ep_4"}], "next": "c3"})),
    ];
    let (output, seen) =
        Scripted::start(pages).run(&["endpoint", "list", "--limit", "3", "--output", "json"]);
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[2], "{\"id\":\"ep_3\"}");
    let asked: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(
        asked,
        [
            "get /v1/endpoints?limit=3 http/1.1",
            "get /v1/endpoints?limit=2&cursor=c%201 http/1.1",
            "get /v1/endpoints?limit=2&cursor=c2 http/1.1",
        ]
    );
}

#[test]
fn a_table_has_aligned_columns_and_escapes_what_it_shows() {
    let rows = json!({"data": [
        {"id": "ep_1", "name": "a\u{1b}[2J", "state": "active", "url": "https://a.test/", "events": ["x", "y"]},
        {"id": "ep_22", "state": "disabled", "disabled_reason": "gone"}], "next": null});
    let (output, _) = Scripted::start(vec![ok(&rows)]).run(&["endpoint", "list"]);
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!(
        lines,
        [
            "ID     NAME        STATE     REASON  URL              EVENTS",
            "ep_1   a\\u{1b}[2J  active    -       https://a.test/  x,y",
            "ep_22  -           disabled  gone    -                -",
        ]
    );
}

#[test]
fn a_refusal_is_told_field_by_field_on_stderr() {
    let problem = json!({"type": "about:blank", "title": "Invalid endpoint", "status": 422,
        "detail": "one field is wrong", "errors": [{"field": "url", "rule": "10.0.0.1 is private"}]});
    let (output, seen) =
        Scripted::start(vec![answer(422, &problem)]).run(&["endpoint", "add", "http://10.0.0.1/"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let expected = "posthaste: Invalid endpoint (422): one field is wrong\n  url: 10.0.0.1 is private\n";
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(text(&seen[0].body), "{\"url\":\"http://10.0.0.1/\"}");
}

#[test]
fn a_change_is_a_merge_patch_and_a_removal_prints_nothing() {
    let (_, seen) = Scripted::start(vec![ok(&json!({}))]).run(&[
        "endpoint",
        "set",
        "ep_1",
        "--timeout",
        "5s",
        "--unset",
        "name",
    ]);
    assert_eq!(seen[0].line, "patch /v1/endpoints/ep_1 http/1.1");
    assert!(
        seen[0]
            .headers
            .contains("content-type: application/merge-patch+json\r\n"),
        "{}",
        seen[0].headers
    );
    let patch: Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(patch, json!({"timeout": "5s", "name": null}));
    let gone = "HTTP/1.1 204 X\r\n\r\n".to_owned();
    let (output, seen) = Scripted::start(vec![gone]).run(&["endpoint", "remove", "ep_1"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), ""));
    assert_eq!(seen[0].line, "delete /v1/endpoints/ep_1 http/1.1");
}

#[test]
fn every_verb_has_its_route() {
    let routes: [(&[&str], &str); 10] = [
        (
            &["endpoint", "enable", "ep_1", "--discard"],
            "post /v1/endpoints/ep_1/enable?discard=true",
        ),
        (
            &["endpoint", "disable", "ep_1"],
            "post /v1/endpoints/ep_1/disable",
        ),
        (&["endpoint", "pause", "ep_1"], "post /v1/endpoints/ep_1/pause"),
        (&["endpoint", "secret", "ep_1"], "get /v1/endpoints/ep_1/secret"),
        (&["endpoint", "test", "ep_1"], "post /v1/endpoints/ep_1/test"),
        (&["event", "show", "evt_1"], "get /v1/events/evt_1"),
        (&["delivery", "show", "dlv_1"], "get /v1/deliveries/dlv_1"),
        (&["delivery", "retry", "dlv_1"], "post /v1/deliveries/dlv_1/retry"),
        (
            &["delivery", "cancel", "dlv_1"],
            "post /v1/deliveries/dlv_1/cancel",
        ),
        (&["status"], "get /v1/status"),
    ];
    for (args, route) in routes {
        let (output, seen) = Scripted::start(vec![ok(&json!({"id": "x"}))]).run(args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{args:?}: {}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stdout), "id  x\n", "{args:?}");
        assert_eq!(seen[0].line, format!("{route} http/1.1"), "{args:?}");
    }
}

#[test]
fn filters_of_attempts_become_the_query() {
    let args = [
        "attempts",
        "--endpoint",
        "ep_1",
        "--type",
        "a.b",
        "--status",
        "503",
        "--outcome",
        "transient",
        "--since",
        "2026-11-21T06:00:00+01:00",
        "--tenant",
        "x&y",
        "--format",
        "json",
        "--order",
        "asc",
    ];
    let (output, seen) =
        Scripted::start(vec![ok(&json!({"data": [{"id": "att_1"}], "next": null}))]).run(&args);
    assert_eq!(text(&output.stdout), "{\"id\":\"att_1\"}\n");
    let expected = "get /v1/attempts?endpoint=ep_1&type=a.b&status=503&outcome=transient&\
                    since=2026-11-21t05%3a00%3a00.000z&tenant=x%26y&order=asc&limit=50 http/1.1";
    assert_eq!(seen[0].line, expected);
}

#[test]
fn a_failed_test_event_fails_the_command() {
    let attempt = json!({"outcome": "endpoint_error", "status": 404});
    let (output, _) = Scripted::start(vec![ok(&attempt)]).run(&["endpoint", "test", "ep_1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("404"));
}

#[test]
fn over_tcp_the_key_is_sent_and_its_environment_is_not_sent_to_a_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || serve(listener.accept().unwrap().0, &ok(&json!({"ready": true}))));
    let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .env_clear()
        .env("POSTHASTE_KEY", "ph_key")
        .args(["status", "--server", &url])
        .output()
        .unwrap();
    let seen = server.join().unwrap();
    assert_eq!(text(&output.stdout), "ready  true\n", "{}", text(&output.stderr));
    assert!(
        seen.headers.contains("authorization: bearer ph_key\r\n"),
        "{}",
        seen.headers
    );
    assert!(
        seen.headers
            .contains(&format!("host: {}\r\n", &url["http://".len()..])),
        "{}",
        seen.headers
    );

    let scripted = Scripted::start(vec![ok(&json!({}))]);
    scripted
        .command(&["status"])
        .env("POSTHASTE_KEY", "ph_key")
        .output()
        .unwrap();
    assert!(
        !scripted.server.join().unwrap()[0]
            .headers
            .contains("authorization")
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let rows: Vec<_> = (0..500)
        .map(|n| json!({"id": format!("ep_{n}"), "name": "x".repeat(400)}))
        .collect();
    let scripted = Scripted::start(vec![ok(&json!({"data": rows, "next": null}))]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = scripted
        .command(&["endpoint", "list", "--output", "json"])
        .stdout(writer)
        .output()
        .unwrap();
    scripted.server.join().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn an_answer_that_breaks_off_is_an_error() {
    let broken = "HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"id\":".to_owned();
    let (output, _) = Scripted::start(vec![broken]).run(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("broke off"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn over_https_the_certificate_is_verified() {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    fs::write(&trusted, issued.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let provider = rustls::crypto::ring::default_provider();
    let tls = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .unwrap();
    let tls = std::sync::Arc::new(tls);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let status = |certificates: &PathBuf| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command
            .env_clear()
            .env("SSL_CERT_FILE", certificates)
            .args(["status", "--server", &url]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .ends_with_test(Signal::KILL)
            .spawn()
            .unwrap()
    };
    let stream = |listener: &TcpListener| {
        let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
        rustls::StreamOwned::new(connection, listener.accept().unwrap().0)
    };

    let child = status(&trusted);
    serve(stream(&listener), &ok(&json!({"ready": true})));
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "ready  true\n", "{}", text(&output.stderr));

    let other = folder.path().join("other.pem");
    fs::write(
        &other,
        rcgen::generate_simple_self_signed(["other".to_owned()])
            .unwrap()
            .cert
            .pem(),
    )
    .unwrap();
    let child = status(&other);
    assert!(
        stream(&listener).read(&mut [0; 1]).is_err(),
        "the handshake must fail"
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("invalid peer certificate"),
        "{}",
        text(&output.stderr)
    );
}
