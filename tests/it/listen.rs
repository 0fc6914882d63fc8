//! `posthaste listen`: what comes is verified, printed, answered and stored once.

mod answers;
mod postgres;

use std::{collections::BTreeSet, path::Path};

use posthaste::wire::signature::Scheme;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{
    listener::{Listener, command},
    server::{Server, wait_for},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=";

/// An endpoint that tries again soon and for long.
fn endpoint(listener: &Listener, secret: &str) -> Value {
    json!({
        "url": listener.url(),
        "signatures": [{"scheme": "standard", "secret": secret}],
        "retry": {"retries": 1000, "delay": "100ms"},
        "disable_on": "never",
    })
}

/// The rows of a file: id, type, payload, verified.
fn rows(path: &Path) -> Vec<(String, Option<String>, Option<String>, bool)> {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT id, type, payload, verified FROM events ORDER BY received_at, id";
    let mut select = connection.prepare(sql).unwrap();
    let found = select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap();
    found.map(Result::unwrap).collect()
}

/// The ids of a round's hundred events.
fn names(round: u32) -> impl Iterator<Item = String> {
    (0..100).map(move |number| format!("e{round}-{number}"))
}

/// Has a hundred events accepted at once.
fn send_many(server: &Server, round: u32) {
    let lines: String = names(round)
        .map(|id| json!({"id": id, "type": "a", "data": 1}).to_string() + "\n")
        .collect();
    let answer = server.request(
        "POST",
        "/v1/events",
        Some("application/x-ndjson"),
        lines.as_bytes(),
    );
    assert_eq!(answer.json()["accepted"], 100, "{}", answer.text());
}

fn delivered(server: &Server) -> u64 {
    server.get("/v1/status")["deliveries"]["delivered"]
        .as_u64()
        .unwrap()
}

#[test]
fn what_a_server_sends_is_verified_printed_and_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut listener = Listener::start(
        folder.path(),
        &["--secret", OTHER, "--secret", SECRET, "--store", "got.db"],
    );
    let mut server = Server::start(&folder.path().join("data"));
    server.endpoint(&endpoint(&listener, SECRET));
    for number in 0..3 {
        server.event(&json!({"id": format!("e{number}"), "type": "user.created", "data": {"n": number}}));
    }
    wait_for("every delivery", || (delivered(&server) == 3).then_some(()));
    let rows = rows(&folder.path().join("got.db"));
    let mut ids: Vec<_> = rows.iter().map(|row| row.0.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["e0", "e1", "e2"]);
    for (id, event_type, payload, verified) in &rows {
        assert_eq!((event_type.as_deref(), *verified), (Some("user.created"), true));
        let payload: Value = serde_json::from_str(payload.as_ref().unwrap()).unwrap();
        assert_eq!(format!("e{}", payload["data"]["n"]), *id);
    }
    for line in listener.wait_lines(3) {
        assert_eq!(
            (
                &line["status"],
                &line["verified"],
                &line["repeat"],
                &line["stored"]
            ),
            (&json!(200), &json!(true), &json!(false), &json!(true)),
            "{line}"
        );
        assert_eq!(
            (&line["type"], &line["path"]),
            (&json!("user.created"), &json!("/in"))
        );
        assert_eq!(line["body"]["type"], "user.created");
    }
    server.stop();
    assert_eq!(listener.stop().code(), Some(0));
    let said = listener.said();
    assert!(said.contains("3 calls, 3 new, 3 stored\n"), "{said}");
    for secret in [SECRET, OTHER] {
        assert!(!said.contains(&secret[6..]) && !listener.printed().contains(&secret[6..]));
    }
}

#[test]
fn statuses_are_answered_in_turn_and_the_last_one_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--secret",
        SECRET,
        "--store",
        "got.db",
        "--status",
        "500,503,201",
        "--body",
        "{\"ok\":true}",
    ];
    let listener = Listener::start(folder.path(), &arguments);
    let server = Server::start(&folder.path().join("data"));
    server.endpoint(&endpoint(&listener, SECRET));
    server.event(&json!({"id": "e1", "type": "a", "data": 1}));
    server.delivery_in("e1", "delivered");
    let attempts = server.attempts("e1");
    let statuses: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [500, 503, 201]);
    let lines = listener.wait_lines(3);
    let flags: Vec<_> = lines
        .iter()
        .map(|line| (line["repeat"].clone(), line["stored"].clone()))
        .collect();
    assert_eq!(
        flags,
        [
            (json!(false), Value::Null),
            (json!(true), Value::Null),
            (json!(true), json!(true))
        ],
        "what is answered with a failure is not stored"
    );
    server.event(&json!({"id": "e2", "type": "a", "data": 2}));
    server.delivery_in("e2", "delivered");
    assert_eq!(server.attempts("e2")[0]["status"], 201);
    assert_eq!(rows(&folder.path().join("got.db")).len(), 2);
}

#[test]
fn what_does_not_verify_is_refused_and_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(folder.path(), &["--secret", OTHER, "--store", "got.db"]);
    let server = Server::start(&folder.path().join("data"));
    let id = server
        .endpoint(&json!({"url": listener.url(), "signatures": [{"scheme": "standard", "secret": SECRET}]}));
    server.event(&json!({"id": "e1", "type": "a", "data": {"n": 1}}));
    server.delivery_in("e1", "held");
    assert_eq!(server.attempts("e1")[0]["status"], 401);
    assert_eq!(server.get(&format!("/v1/endpoints/{id}"))["state"], "disabled");
    let answer = listener.post(
        "webhook-id: e2\r\nwebhook-timestamp: 1614265330\r\nwebhook-signature: v1,x\r\n",
        "{}",
    );
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (401, "standard: the timestamp is too far from the present")
    );
    assert_eq!(listener.post("", "{}").status, 401);
    let whys: Vec<_> = listener
        .wait_lines(3)
        .iter()
        .map(|line| line["why"].clone())
        .collect();
    assert_eq!(
        whys,
        [
            "standard: no signature fits",
            "standard: the timestamp is too far from the present",
            "standard: header webhook-id is missing"
        ]
    );
    assert_eq!(rows(&folder.path().join("got.db")), []);
}

#[test]
fn a_repeat_is_answered_alike_and_stored_once_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut listener = Listener::start(folder.path(), &["--store", "sqlite:got.db", "--table", "events"]);
    for body in ["{\"a\":1}", "{\"a\":1}"] {
        assert_eq!(listener.post("webhook-id: e1\r\n", body).status, 200);
    }
    listener.wait_lines(2);
    listener.kill();
    let mut listener = Listener::start(folder.path(), &["--store", "got.db"]);
    assert_eq!(listener.post("webhook-id: e1\r\n", "{\"a\":1}").status, 200);
    assert_eq!(listener.post("webhook-id: e2\r\n", "{\"a\":1}").status, 200);
    let repeats: Vec<_> = listener
        .wait_lines(4)
        .iter()
        .map(|line| line["repeat"].clone())
        .collect();
    assert_eq!(repeats, [false, true, true, false]);
    assert_eq!(rows(&folder.path().join("got.db")).len(), 2);
    assert_eq!(listener.stop().code(), Some(0));
    assert!(
        listener.said().contains("2 calls, 1 new, 1 repeats, 1 stored"),
        "{}",
        listener.said()
    );
}

#[test]
fn every_way_a_server_signs_is_verified() {
    const WHSK: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const WHPK: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let named = |scheme: &Scheme| match scheme.as_str() {
        name @ ("standard" | "svix") => (name, SECRET, SECRET),
        name => (name, "a secret of both", "a secret of both"),
    };
    let mut ways: Vec<_> = Scheme::all().map(|scheme| named(&scheme)).collect();
    ways.push(("standard", WHSK, WHPK));
    for (number, (scheme, signs, verifies)) in ways.into_iter().enumerate() {
        let place = folder.path().join(number.to_string());
        std::fs::create_dir(&place).unwrap();
        let listener = Listener::start(
            &place,
            &["--scheme", scheme, "--secret", verifies, "--store", "got.db"],
        );
        let tenant = format!("t{number}");
        server.endpoint(&json!({
            "url": listener.url(), "tenant": tenant, "signatures": [{"scheme": scheme, "secret": signs}],
        }));
        let id = server.event(&json!({"type": "a.b", "tenant": tenant, "data": {"n": number}}));
        server.delivery_in(&id, "delivered");
        let line = &listener.wait_lines(1)[0];
        assert_eq!(
            (&line["verified"], &line["type"]),
            (&json!(true), &json!("a.b")),
            "{scheme}: {line}"
        );
        assert_eq!(rows(&place.join("got.db")).len(), 1, "{scheme}");
    }
}

#[test]
fn forms_and_xml_of_a_server_are_stored_with_type_and_id() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(folder.path(), &["--scheme", "none", "--store", "got.db"]);
    let server = Server::start(&folder.path().join("data"));
    for (encoding, id) in [("form", "e-form"), ("xml", "e-xml")] {
        server.endpoint(&json!({
            "url": listener.url(), "tenant": encoding, "envelope": "ziggeo", "encoding": encoding, "signatures": [],
        }));
        server.event(&json!({"id": id, "tenant": encoding, "type": "video_ready", "data": {"token": "a&b"}}));
        server.delivery_in(id, "delivered");
    }
    let rows = rows(&folder.path().join("got.db"));
    let told: Vec<_> = rows
        .iter()
        .map(|(id, event_type, payload, _)| (id.as_str(), event_type.as_deref(), payload.as_deref().unwrap()))
        .collect();
    let xml = told[1].2;
    assert_eq!(
        told[0],
        (
            "e-form",
            Some("video_ready"),
            "event_type=video_ready&data[token]=a%26b"
        )
    );
    assert_eq!((told[1].0, told[1].1), ("e-xml", Some("video_ready")));
    assert!(xml.contains("<token>a&amp;b</token>"), "{xml}");
}

#[test]
fn a_killed_receiver_has_lost_nothing_that_it_took() {
    let folder = tempfile::tempdir().unwrap();
    // Late answers: stored, and not answered yet.
    let arguments = ["--secret", SECRET, "--store", "got.db", "--delay", "50ms"];
    let mut listener = Listener::start(folder.path(), &arguments);
    let server = Server::start(&folder.path().join("data"));
    server.endpoint(&endpoint(&listener, SECRET));
    let port = listener.address.port().to_string();
    for round in 0..4 {
        let before = listener.lines().len();
        send_many(&server, round);
        listener.wait_lines(before + 10);
        listener.kill();
        listener = Listener::start_at(folder.path(), &port, &arguments);
    }
    wait_for("every delivery", || (delivered(&server) == 400).then_some(()));
    let rows = rows(&folder.path().join("got.db"));
    let ids: BTreeSet<_> = rows.iter().map(|row| row.0.clone()).collect();
    assert_eq!((rows.len(), ids), (400, (0..4).flat_map(names).collect()));
    let repeats = listener
        .lines()
        .iter()
        .filter(|line| line["repeat"] == true)
        .count();
    assert!(repeats > 0, "it was never killed between a commit and its answer");
}

#[test]
fn what_cannot_be_had_ends_it_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    std::fs::write(folder.path().join("text"), "x".repeat(5000)).unwrap();
    for (port, arguments, code, told) in [
        (port.as_str(), &[][..], 1, "cannot listen on 127.0.0.1"),
        ("0", &["--store", "no/such/folder.db"], 1, "no/such/folder.db"),
        ("0", &["--store", "text"], 1, "file is not a database"),
        ("0", &["--store", "mysql://u:hunter2@h/d"], 2, "postgres://"),
        (
            "0",
            &["--store", "postgres://u:hunter2@h/d?sslmode=require"],
            2,
            "sslmode=require",
        ),
        (
            "0",
            &["--store", "postgres://u:hunter2@127.0.0.1:1/d"],
            1,
            "cannot connect to PostgreSQL",
        ),
        ("0", &["--secret", "hunter2"], 2, "whsec_"),
        ("0", &["--secret", "@no-such-file"], 1, "no-such-file"),
        ("0", &["--scheme", "hunter2"], 2, "flowplayer"),
        ("0", &["--status", "99"], 2, "200 to 599"),
    ] {
        let output = command(port, arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
        assert!(
            arguments.first() == Some(&"--scheme") || !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[test]
fn a_file_that_another_program_holds_is_asked_for_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(folder.path(), &["--store", "got.db"]);
    let path = folder.path().join("got.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let answer = listener.post("webhook-id: e1\r\n", "{}");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (503, "not stored; send it again")
    );
    let line = &listener.wait_lines(1)[0];
    assert!(
        line["why"].as_str().unwrap().contains("database is locked"),
        "{line}"
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(listener.post("webhook-id: e1\r\n", "{}").status, 200);
    assert_eq!(rows(&path).len(), 1);
}
