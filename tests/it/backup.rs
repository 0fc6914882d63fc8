//! Backups: online, consistent, incremental; and what is made of them.

mod kills;
mod load;
mod power;
mod refused;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::Sink,
};

/// Small segments, so that there are many.
const SMALL: [(&str, &str); 2] = [
    ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
    ("POSTHASTE_LIMITS__PAYLOAD", "32KiB"),
];

/// A server, and places for its backup and for what is restored of it.
struct Scene {
    dir: tempfile::TempDir,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &SMALL);
        Self { dir, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Accepts so many events of 10 KiB, named after `name`; each request has a segment to itself, or nearly.
    fn events(&self, name: &str, count: usize) {
        let all: Vec<usize> = (0..count).collect();
        for some in all.chunks(5) {
            let line = |number: &usize| {
                let id = format!("{name}-{number}");
                json!({"id": id, "type": "some.thing", "data": "x".repeat(10_000)}).to_string() + "\n"
            };
            let lines: String = some.iter().map(line).collect();
            let kind = Some("application/x-ndjson");
            let answer = self.server.request("POST", "/v1/events", kind, lines.as_bytes());
            assert_eq!(
                (answer.status, &answer.json()["accepted"]),
                (202, &json!(some.len()))
            );
        }
    }

    /// Takes a backup; answers with what was said of it.
    fn backup(&self, name: &str, more: &[&str]) -> Value {
        said(&self.try_backup(name, more))
    }

    fn try_backup(&self, name: &str, more: &[&str]) -> Output {
        backup_command(&self.server, &self.path(name))
            .args(more)
            .output()
            .unwrap()
    }

    fn restore(&self, backup: &str, name: &str) -> Value {
        said(&restore(&self.path(backup), &self.path(name), &[]))
    }

    /// A server on what was restored.
    fn restored(&self, name: &str) -> Server {
        Server::start_with(&self.path(name), &["--no-listen"], &SMALL)
    }
}

fn backup_command(server: &Server, to: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command
        .arg("backup")
        .arg(to)
        .args(["--output", "json"])
        .env("POSTHASTE_SOCKET", server.socket());
    command
}

fn restore(backup: &Path, data: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .arg("restore")
        .arg(backup)
        .arg("--data")
        .arg(data)
        .args(["--output", "json"])
        .args(more)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The document that a command which succeeded has printed.
fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every id of an event that there is.
fn ids(server: &Server) -> Vec<String> {
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    server.list("/v1/events?order=asc").iter().map(id).collect()
}

#[test]
fn a_restored_server_has_what_the_first_had_and_goes_on_delivering() {
    let scene = Scene::new();
    let sink = Sink::accepting();
    let endpoint = scene.server.endpoint(&json!({
        "url": sink.url(), "events": ["some.*"], "enabled": false, "headers": {"X-Token": "hunter2"},
    }));
    scene.events("before", 20);
    let key = scene
        .server
        .post("/v1/keys", &json!({"role": "admin", "name": "kept"}))
        .json();
    let schema = json!({"schema": {"type": "integer"}}).to_string();
    let declared = scene.server.request(
        "PUT",
        "/v1/event-types/typed",
        Some("application/json"),
        schema.as_bytes(),
    );
    assert_eq!(declared.status, 201);
    let secret = scene.server.get(&format!("/v1/endpoints/{endpoint}/secret"));
    let taken = scene.backup("backup", &[]);
    assert_eq!(taken["key"], "included");
    scene.events("after", 3);
    let lists = [
        "/v1/endpoints",
        "/v1/deliveries?order=asc",
        "/v1/attempts?order=asc",
        "/v1/event-types",
    ];
    let shown = lists.map(|list| scene.server.list(list));

    let done = scene.restore("backup", "elsewhere");
    for member in ["through_lsn", "journal", "segments", "bytes"] {
        assert_eq!(done[member], taken[member], "{member}");
    }
    assert_eq!(
        (&done["acknowledged_until"], &done["whole"]),
        (&taken["created_at"], &json!(true))
    );
    let mut other = scene.restored("elsewhere");
    let expected: Vec<String> = (0..20).map(|number| format!("before-{number}")).collect();
    assert_eq!(ids(&other), expected);
    for (list, mut shown) in lists.into_iter().zip(shown) {
        if list.contains("deliveries") {
            shown.truncate(20);
        }
        assert_eq!(other.list(list), shown, "{list}");
    }
    assert_eq!(other.get(&format!("/v1/endpoints/{endpoint}/secret")), secret);
    let keys = other.get("/v1/keys");
    assert_eq!(keys["data"][0]["id"], key["id"]);
    let wrong = other.post("/v1/events", &json!({"type": "typed", "data": "text"}));
    assert_eq!(wrong.status, 422);
    assert_eq!(
        other
            .post(&format!("/v1/endpoints/{endpoint}/enable"), &json!({}))
            .status,
        200
    );
    wait_for("what was held", || {
        let received = sink.received();
        expected
            .iter()
            .all(|id| received.iter().any(|got| got.event_id() == id))
            .then_some(())
    });
    assert!(
        sink.received()
            .iter()
            .all(|got| got.headers["x-token"] == "hunter2")
    );
    assert_eq!(other.stop().code(), Some(0), "{}", other.log());
    other.assert_whole();
}

#[test]
fn a_later_backup_copies_only_what_is_new() {
    let scene = Scene::new();
    scene.events("first", 60);
    let first = scene.backup("backup", &[]);
    assert_eq!(first["copied_bytes"], first["bytes"]);
    let again = scene.backup("backup", &[]);
    assert_eq!(again["copied_bytes"], 0);
    scene.events("second", 3);
    let grown = scene.backup("backup", &[]);
    let (old, new) = (first["bytes"].as_u64().unwrap(), grown["bytes"].as_u64().unwrap());
    assert!(new > old + 30_000, "{first} {grown}");
    assert_eq!(grown["copied_bytes"], new - old);
    scene.events("third", 60);
    let much = scene.backup("backup", &[]);
    assert_eq!(
        much["copied_bytes"].as_u64().unwrap(),
        much["bytes"].as_u64().unwrap() - new
    );
    assert!(much["segments"].as_u64() > Some(15), "{much}");
    let verified = scene.backup("backup", &["--verify"]);
    assert_eq!(
        (&verified["verified"], &verified["through_lsn"]),
        (&json!(true), &much["through_lsn"])
    );
    // A fresh one is the same, byte for byte.
    scene.backup("fresh", &[]);
    for entry in fs::read_dir(scene.path("fresh/journal")).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |backup: &str| fs::read(scene.path(backup).join("journal").join(&name)).unwrap();
        assert!(read("fresh") == read("backup"), "{}", name.display());
    }
    scene.restore("backup", "elsewhere");
    assert_eq!(ids(&scene.restored("elsewhere")).len(), 123);
}

#[test]
fn a_journal_of_more_segments_than_one_answer_carries_is_copied_whole() {
    let scene = Scene::new();
    scene.events("many", 500);
    let taken = scene.backup("backup", &[]);
    assert!(taken["segments"].as_u64() > Some(64 + 10), "{taken}");
    assert_eq!(taken["copied_bytes"], taken["bytes"]);
    assert!(!scene.path("backup/unfinished").exists());
    scene.restore("backup", "elsewhere");
    assert_eq!(ids(&scene.restored("elsewhere")).len(), 500);
}

#[test]
fn a_backup_goes_on_after_the_server_was_restarted_and_after_a_restore_of_it() {
    let mut scene = Scene::new();
    scene.events("first", 10);
    scene.backup("backup", &[]);
    scene.server.kill();
    scene.server.restart();
    scene.events("second", 10);
    scene.backup("backup", &[]);
    assert_eq!(scene.server.stop().code(), Some(0));
    // The machine is lost, and its successor is backed up where it was.
    scene.restore("backup", "elsewhere");
    let data = scene.path("elsewhere");
    scene.server = Server::start_with(&data, &["--no-listen"], &SMALL);
    scene.events("third", 10);
    let taken = scene.backup("backup", &[]);
    assert!(taken["copied_bytes"].as_u64() < Some(130_000), "{taken}");
    scene.restore("backup", "third");
    assert_eq!(ids(&scene.restored("third")).len(), 30);
}
