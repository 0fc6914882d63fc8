//! Of whole data folders.

use std::{fs, path::PathBuf, process::Command};

use posthaste::storage::local::journal::Location;
use serde_json::{Value, json};

use super::{copy, edit, open_with, read_all, segment, zero};
use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

/// A server with one endpoint, its events delivered or held, stopped; and where its events lie.
struct Folder {
    _dir: tempfile::TempDir,
    data: PathBuf,
    server: Server,
    endpoint: String,
    sink: Sink,
}

impl Folder {
    fn with(sink: Sink, endpoint: &Value, events: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let server = Server::start(&data);
        let mut document =
            json!({"url": sink.url(), "events": ["a.*"], "retry": {"delays": ["1s", "1s", "1s"]}});
        for (member, value) in endpoint.as_object().unwrap() {
            document[member] = value.clone();
        }
        let endpoint = server.endpoint(&document);
        for number in 0..events {
            server.event(&json!({"id": format!("e-{number}"), "type": "a.b", "data": number}));
        }
        Self {
            _dir: dir,
            data,
            server,
            endpoint,
            sink,
        }
    }

    fn journal(&self) -> PathBuf {
        self.data.join("journal")
    }

    /// The records of these kinds.
    fn places(&self, kind: u8) -> Vec<Location> {
        let elsewhere = tempfile::tempdir().unwrap();
        copy(&self.journal(), elsewhere.path());
        let (journal, _) = open_with(elsewhere.path(), 1 << 26);
        let entries = read_all(&journal);
        let wanted = entries.iter().filter(|entry| entry.kind == kind);
        wanted.map(|entry| entry.location).collect()
    }

    fn stop(&mut self) {
        assert_eq!(self.server.stop().code(), Some(0), "{}", self.server.log());
    }

    fn check(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(["check", "--data"])
            .arg(&self.data)
            .args(arguments)
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (text, output.status.code())
    }
}

/// Vector's and NSQ's counters went below zero when what they counted was not there after a restart
/// (<https://github.com/vectordotdev/vector/pull/25767>, <https://github.com/nsqio/nsq/issues/246>); RabbitMQ did not
/// start when its journal acknowledged what it had no publication of
/// (<https://github.com/rabbitmq/rabbitmq-server/pull/2100>).
#[test]
fn counters_do_not_underflow_when_verdicts_outlive_their_events() {
    let mut folder = Folder::with(Sink::accepting(), &json!({}), 6);
    for number in 0..6 {
        folder.server.delivery_in(&format!("e-{number}"), "delivered");
    }
    folder.stop();
    for place in &folder.places(1)[1..5] {
        zero(&folder.journal(), *place);
    }
    fs::remove_dir_all(folder.data.join("store")).unwrap();
    folder.server.restart();
    let status = folder.server.get("/v1/status");
    assert_eq!(
        (&status["events"], &status["deliveries"]["delivered"]),
        (&json!(2), &json!(2))
    );
    for state in ["scheduled", "held", "in_flight", "failed", "expired", "cancelled"] {
        assert_eq!(status["deliveries"][state], 0, "{status}");
    }
    assert_eq!(status["deliveries"]["attempts"], 6);
    assert_eq!(
        status["journal"]["damaged_ranges"]
            .as_u64()
            .map(|count| count > 0),
        Some(true)
    );
    folder.stop();
    let (text, _) = folder.check(&[]);
    assert!(!text.contains("store: counts"), "{text}");
}

/// Vector's disk buffer took what a sink had rejected for acknowledged, and moved on past it
/// (<https://github.com/vectordotdev/vector/issues/12145>).
#[test]
fn a_rejected_delivery_advances_nothing() {
    let refuses_once = |refused: std::sync::Mutex<std::collections::HashSet<String>>| {
        Sink::deciding(move |request, _| {
            let first = refused.lock().unwrap().insert(request.event_id().to_owned());
            let odd = request.event_id().ends_with(['1', '3', '5']);
            answer(if first && odd { 503 } else { 200 }, "")
        })
    };
    let mut folder = Folder::with(refuses_once(Default::default()), &json!({}), 6);
    wait_for("an attempt for each", || (folder.sink.count() >= 6).then_some(()));
    folder.server.kill();
    folder.server.restart();
    for number in 0..6 {
        let delivery = folder.server.delivery_in(&format!("e-{number}"), "delivered");
        let least = if number % 2 == 1 { 2 } else { 1 };
        let came = folder.sink.received();
        let came = came
            .iter()
            .filter(|request| request.event_id() == format!("e-{number}"));
        assert!(came.count() >= least, "{delivery}");
    }
}

/// Gitea's queue said that it held a hundred things and could give none, for ever: its index had one whose content was
/// gone (<https://github.com/go-gitea/gitea/pull/24912>).
#[test]
fn what_the_index_has_and_the_journal_has_lost_fails_visibly() {
    let mut folder = Folder::with(Sink::accepting(), &json!({"enabled": false}), 3);
    // A server that is told to stop may not have put everything into its index: what it has not is read at the next start.
    wait_for("the index to have everything", || {
        let status = folder.server.get("/v1/status");
        (status["store"]["applied_lsn"] == status["journal"]["last_lsn"]).then_some(())
    });
    folder.stop();
    zero(&folder.journal(), folder.places(1)[1]);
    folder.server.restart();
    let shown = folder.server.get("/v1/events/e-1");
    assert_eq!((&shown["damaged"], &shown["type"]), (&json!(true), &json!("a.b")));
    assert_eq!(folder.server.get("/v1/events/e-2").get("damaged"), None);
    let enabled = folder
        .server
        .post(&format!("/v1/endpoints/{}/enable", folder.endpoint), &json!({}));
    assert_eq!(enabled.status, 200);
    let failed = folder.server.delivery_in("e-1", "failed");
    assert_eq!(failed["last_outcome"]["reason"], "disk", "{failed}");
    folder.server.delivery_in("e-0", "delivered");
    folder.server.delivery_in("e-2", "delivered");
    let status = folder.server.get("/v1/status");
    assert_eq!(
        (
            &status["journal"]["damaged_events"],
            &status["journal"]["damaged_ranges"]
        ),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        status["journal"]["damaged"][0]["records"][0]["event_id"], "e-1",
        "{status}"
    );
    let metrics = folder.server.request("GET", "/metrics", None, b"").text();
    assert!(metrics.contains("posthaste_damaged_events_total 1"), "{metrics}");
    assert_eq!(
        folder.server.get(&format!("/v1/endpoints/{}", folder.endpoint))["state"],
        "active"
    );
}

/// Artemis did not start when a record of its journal was for a queue that it had lost
/// (ARTEMIS-3501, <https://github.com/apache/artemis/pull/3776>).
#[test]
fn what_is_for_an_endpoint_that_is_lost_is_held_and_can_be_ended() {
    let mut folder = Folder::with(Sink::accepting(), &json!({"enabled": false}), 2);
    folder.stop();
    let place = folder.places(20)[0];
    edit(&segment(&folder.journal(), place.segment), |bytes| {
        // In the sealed configuration, whose bytes may be any: the rest of the record still reads.
        bytes[place.offset as usize + 200] ^= 1;
    });
    fs::remove_dir_all(folder.data.join("store")).unwrap();
    let text = folder.check(&[]).0;
    assert!(
        text.contains(&format!("probably configuration at {}", folder.endpoint)),
        "{text}"
    );
    folder.server.restart();
    assert_eq!(folder.server.list("/v1/endpoints").len(), 0);
    let held = folder.server.delivery_in("e-0", "held");
    assert_eq!(held["endpoint_id"], folder.endpoint.as_str());
    assert_eq!(folder.server.list("/v1/deliveries?state=held").len(), 2);
    let path = format!("/v1/deliveries/{}/cancel", held["id"].as_str().unwrap());
    assert_eq!(folder.server.post(&path, &json!({})).status, 200);
    folder.server.delivery_in("e-0", "cancelled");
}

/// Fluent Bit met the same damaged chunk at every start, and said so every time
/// (<https://github.com/fluent/fluent-bit/issues/2472>); Artemis deleted damaged files, so that nothing was left to look
/// into (<https://github.com/wildfly/wildfly-proposals/pull/347>).
#[test]
fn a_repair_explains_itself_asks_and_is_told_of_once() {
    let mut folder = Folder::with(Sink::accepting(), &json!({"enabled": false}), 5);
    folder.stop();
    // The bytes of the id stay as they are.
    let place = folder.places(1)[2];
    edit(&segment(&folder.journal(), place.segment), |bytes| {
        bytes[place.offset as usize + place.len as usize - 1] ^= 1;
    });
    let (text, code) = folder.check(&[]);
    assert_eq!(code, Some(1));
    for words in [
        "event e-2 (record ",
        "fails with the reason disk",
        "posthaste check --repair would",
        "kept in journal/quarantine/",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    fs::rename(folder.data.join("store"), folder.data.join("store.away")).unwrap();
    assert!(folder.check(&[]).0.contains("probably event e-2"));
    fs::rename(folder.data.join("store.away"), folder.data.join("store")).unwrap();
    let before = fs::read(segment(&folder.journal(), place.segment)).unwrap();
    let (text, code) = folder.check(&["--repair"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("the repair will:") && text.contains("--yes"),
        "{text}"
    );
    assert_eq!(
        fs::read(segment(&folder.journal(), place.segment)).unwrap(),
        before
    );
    let (text, code) = folder.check(&["--repair", "--yes"]);
    assert_eq!(code, Some(0), "{text}");
    let cut = &before[place.offset as usize..][..place.len as usize];
    let kept = fs::read_dir(folder.journal().join("quarantine"))
        .unwrap()
        .flatten();
    assert!(kept.into_iter().any(|kept| fs::read(kept.path()).unwrap() == cut));
    let (text, code) = folder.check(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("repaired on ") && text.contains("event e-2"),
        "{text}"
    );
    folder.server.restart();
    let status = folder.server.get("/v1/status");
    assert_eq!(
        (
            &status["events"],
            &status["warnings"],
            &status["journal"]["damaged_ranges"]
        ),
        (&json!(4), &json!([]), &json!(0))
    );
    folder.stop();
    assert_eq!(folder.check(&["--repair", "--yes"]).1, Some(0));
}
