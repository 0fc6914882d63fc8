//! Every command of the client against the real server: what it does, and what it prints.

mod secrets;
mod sending;
mod standing;

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::child::{EndsWithTest as _, Signal};
use crate::support::{
    server::{Server, in_millis, wait_for},
    sink::{Sink, answer},
};

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

/// Runs a command with something on its stdin.
fn run_with(server: &Server, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(arguments)
        .env("POSTHASTE_SOCKET", server.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .ends_with_test(Signal::KILL)
        .spawn()
        .unwrap();
    // A command that does not read stdin may end first.
    _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    run_with(server, arguments, b"")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that succeeds prints.
fn printed(server: &Server, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The one document that a command prints for programs.
fn document(server: &Server, arguments: &[&str]) -> Value {
    let lines = documents(server, arguments);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

/// The documents that a command prints for programs, one a line.
fn documents(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let printed = printed(server, &[arguments, &["--output", "json"]].concat());
    printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn id(document: &Value) -> &str {
    document["id"].as_str().unwrap()
}

/// The exit code of a command that fails, and what it says; it prints nothing else.
fn failed(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(server, arguments);
    (output.status.code(), text(&output.stderr))
}

/// The cells of a table's rows, without the head, which has to be this.
fn rows(table: &str, head: &[&str]) -> Vec<Vec<String>> {
    let split = |line: &str| -> Vec<String> {
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(ToOwned::to_owned)
            .collect()
    };
    let mut lines = table.lines();
    assert_eq!(split(lines.next().unwrap()), head, "{table}");
    lines.map(split).collect()
}

/// The value beside a name in what is shown of one thing.
fn detail(shown: &str, name: &str) -> String {
    let line = shown.lines().find(|line| line.split("  ").next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {shown}"));
    line[name.len()..].trim().to_owned()
}

#[test]
fn an_endpoint_is_added_changed_stopped_and_removed() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let url = sink.url();
    let added = run(
        &server,
        &[
            "endpoint",
            "add",
            &url,
            "--name",
            "crm",
            "--events",
            "user.*,order.**",
        ],
    );
    let shown = text(&added.stdout);
    let endpoint = detail(&shown, "id");
    let secret = detail(&shown, "signatures[0].secret");
    assert!(secret.starts_with("whsec_"), "{shown}");
    assert!(text(&added.stderr).contains("give the secret to the receiver"));
    let list = printed(&server, &["endpoint", "list"]);
    assert_eq!(
        rows(&list, &["ID", "NAME", "STATE", "REASON", "URL", "EVENTS"]),
        [[endpoint.as_str(), "crm", "active", "-", &url, "user.*,order.**"]]
    );
    let show = printed(&server, &["endpoint", "show", &endpoint]);
    assert_eq!(
        (detail(&show, "url"), detail(&show, "signatures[0].secret")),
        (url, "***".to_owned())
    );
    assert!(printed(&server, &["endpoint", "secret", &endpoint]).contains(&secret));
    let set = [
        "endpoint",
        "set",
        &endpoint,
        "--timeout",
        "5s",
        "--header",
        "X-A: b",
        "--unset",
        "name",
    ];
    let changed = document(&server, &set);
    assert_eq!(
        (&changed["timeout"], &changed["headers"], changed.get("name")),
        (&json!("5s"), &json!({"X-A": "***"}), None)
    );
    for (verb, state) in [("pause", "paused"), ("disable", "disabled"), ("enable", "active")] {
        assert_eq!(
            detail(&printed(&server, &["endpoint", verb, &endpoint]), "state"),
            state
        );
    }
    printed(&server, &["endpoint", "disable", &endpoint]);
    let disabled = printed(&server, &["endpoint", "list", "--state", "disabled"]);
    assert_eq!(
        rows(&disabled, &["ID", "NAME", "STATE", "REASON", "URL", "EVENTS"])[0][3],
        "manual"
    );
    assert_eq!(
        documents(&server, &["endpoint", "list", "--state", "active"]).len(),
        0
    );
    assert_eq!(printed(&server, &["endpoint", "remove", &endpoint]), "");
    let (code, told) = failed(&server, &["endpoint", "show", &endpoint]);
    assert_eq!(code, Some(1));
    assert!(told.starts_with("posthaste: deleted (410)"), "{told}");
}

#[test]
fn a_refusal_says_the_field_and_the_fix_once() {
    let (_dir, server) = started();
    let (code, told) = failed(&server, &["endpoint", "add", "ftp://h/"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        told,
        "posthaste: a member breaks a rule (422): url: does not begin with http:// or https:// and a host; write it whole\n"
    );
    let (code, told) = failed(&server, &["event", "show", "nobody"]);
    assert_eq!(
        (code, told.as_str()),
        (Some(1), "posthaste: not found (404): no such event\n")
    );
    assert_eq!(failed(&server, &["endpoint", "set", "ep_x"]).0, Some(2));
    assert_eq!(
        failed(&server, &["delivery", "list", "--state", "lost"]).0,
        Some(2)
    );
}

#[test]
fn a_test_shows_the_attempt_and_fails_when_it_did() {
    let (_dir, server) = started();
    let sink = Sink::deciding(|_, before| answer(if before == 0 { 200 } else { 503 }, ""));
    let endpoint = server.endpoint(&json!({"url": sink.url(), "enabled": false}));
    let shown = printed(
        &server,
        &["endpoint", "test", &endpoint, "--type", "a.b", "{\"x\":1}"],
    );
    assert_eq!(
        [
            detail(&shown, "trigger"),
            detail(&shown, "outcome"),
            detail(&shown, "status"),
            detail(&shown, "response_excerpt")
        ],
        ["test", "delivered", "200", "ok"]
    );
    assert!(text(&sink.received()[0].body).ends_with("\"data\":{\"x\":1}}"));
    let output = run(&server, &["endpoint", "test", &endpoint]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(detail(&text(&output.stdout), "outcome"), "transient");
    assert_eq!(
        text(&output.stderr),
        "posthaste: the endpoint did not take the test event\n"
    );
}

#[test]
fn events_deliveries_and_attempts_are_listed_for_people_and_for_programs() {
    let (_dir, server) = started();
    let well = Sink::accepting();
    let sick = Sink::deciding(|_, _| answer(503, ""));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let taking = server.endpoint(&json!({"url": well.url(), "events": ["video.*"], "tenant": "acme"}));
    let failing = server.endpoint(
        &json!({"url": sick.url(), "events": ["video.*"], "tenant": "acme", "retry": {"delays": []}}),
    );
    server.endpoint(&json!({"url": nobody, "events": ["call"], "retry": {"delays": ["1h"]}}));
    let video =
        server.event(&json!({"type": "video.ready", "data": {"a": [1, {"b": null}]}, "tenant": "acme"}));
    let call = server.event(&json!({"type": "call", "data": 1}));
    wait_for("three attempts", || {
        (server.list("/v1/attempts").len() == 3).then_some(())
    });

    let events = rows(
        &printed(&server, &["event", "list"]),
        &["ID", "TYPE", "TENANT", "ACCEPTED", "DELIVERIES"],
    );
    assert_eq!(
        [&events[0][..3], &events[1][..3]],
        [
            [call.as_str(), "call", "-"],
            [video.as_str(), "video.ready", "acme"]
        ]
    );
    assert_eq!((events[0][4].as_str(), events[1][4].as_str()), ("1", "2"));
    let of_acme = documents(
        &server,
        &[
            "event",
            "list",
            "--tenant",
            "acme",
            "--type",
            "video.ready",
            "--order",
            "asc",
        ],
    );
    assert_eq!((of_acme.len(), id(&of_acme[0])), (1, video.as_str()));
    assert_eq!(
        detail(&printed(&server, &["event", "show", &video]), "data"),
        "{\"a\":[1,{\"b\":null}]}"
    );

    let head = ["ID", "EVENT", "ENDPOINT", "STATE", "DUE", "ATTEMPTS", "LAST"];
    let deliveries = rows(&printed(&server, &["delivery", "list"]), &head);
    let mut last: Vec<String> = deliveries
        .iter()
        .map(|row| format!("{}: {}", row[3], row[6]))
        .collect();
    last.sort();
    assert_eq!(
        last,
        [
            "delivered: delivered 200",
            "failed: transient 503",
            "scheduled: transient refused"
        ]
    );
    let by_event = documents(
        &server,
        &["delivery", "list", "--event", &video, "--state", "delivered"],
    );
    assert_eq!((by_event.len(), &by_event[0]["endpoint_id"]), (1, &json!(taking)));
    assert_eq!(
        documents(&server, &["delivery", "list", "--endpoint", &failing]).len(),
        1
    );

    let head = [
        "STARTED", "TYPE", "ENDPOINT", "NO", "TRIGGER", "OUTCOME", "REASON", "STATUS", "MS", "DELIVERY", "ID",
    ];
    let attempts = rows(&printed(&server, &["attempts", "--endpoint", &failing]), &head);
    assert_eq!(
        &attempts[0][1..8],
        [
            "video.ready",
            &failing,
            "1",
            "initial",
            "transient",
            "status",
            "503"
        ]
    );
    for (filter, count) in [
        (&["--type", "call"][..], 1),
        (&["--status", "503"], 1),
        (&["--outcome", "transient"], 2),
        (&["--tenant", "acme"], 2),
        (&["--since", "2999-01-01T00:00:00Z"], 0),
        (&["--until", "2999-01-01T00:00:00Z", "--limit", "2"], 2),
    ] {
        assert_eq!(
            documents(&server, &[&["attempts"], filter].concat()).len(),
            count,
            "{filter:?}"
        );
    }
    let lines = printed(&server, &["attempts", "--format", "json"]);
    assert!(
        lines
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).unwrap()["id"].is_string())
    );
}

#[test]
fn a_delivery_is_shown_retried_and_cancelled_and_an_endpoint_recovered() {
    let (_dir, server) = started();
    let sink = Sink::deciding(|_, before| answer(if before < 2 { 422 } else { 200 }, ""));
    let endpoint = server.endpoint(&json!({"url": sink.url(), "concurrency": 1}));
    let since = in_millis(-1_000);
    let events: Vec<String> = (0..2)
        .map(|n| server.event(&json!({"type": "a", "data": n})))
        .collect();
    let failed_ones: Vec<Value> = events
        .iter()
        .map(|event| server.delivery_in(event, "failed"))
        .collect();
    let shown = printed(&server, &["delivery", "show", id(&failed_ones[0])]);
    assert_eq!(
        [
            detail(&shown, "state"),
            detail(&shown, "last_outcome.status"),
            detail(&shown, "due")
        ],
        ["failed", "422", "-"]
    );
    printed(&server, &["delivery", "retry", id(&failed_ones[0])]);
    server.delivery_in(&events[0], "delivered");
    let none = [
        "endpoint", "recover", &endpoint, "--since", &since, "--status", "500",
    ];
    assert_eq!(document(&server, &none)["deliveries"], 0);
    let recover = [
        "endpoint", "recover", &endpoint, "--since", &since, "--status", "422",
    ];
    assert_eq!(detail(&printed(&server, &recover), "deliveries"), "1");
    server.delivery_in(&events[1], "delivered");
    let later = server.event(&json!({"type": "a", "data": 9, "deliver_at": in_millis(3_600_000)}));
    let waiting = server.delivery_in(&later, "scheduled");
    assert_eq!(
        document(&server, &["delivery", "cancel", id(&waiting)])["state"],
        "cancelled"
    );
    let (code, told) = failed(&server, &["delivery", "cancel", id(&waiting)]);
    assert_eq!(code, Some(1));
    assert!(told.contains("(409)"), "{told}");
}
