//! Space is given back: what is delivered and past its time goes, what still waits stays, whatever is done to the
//! server meanwhile.
//!
//! `POSTHASTE_SOAK=1` makes the long run of it; `POSTHASTE_RECLAIM_ROUNDS` sets how long, `POSTHASTE_RECLAIM_SEED`
//! repeats its kills.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use posthaste::storage::local::index::{Row, open};
use serde_json::{Value, json};

use crate::support::seed::{is_soak, number, seed};
use crate::support::{
    STORE,
    server::{Server, wait_for},
    sink::{Received, Sink, answer},
};

const ENDPOINTS: usize = 100;
/// What the journal may take: some two seconds of what is written, and what still waits.
const BOUND: u64 = 1536 * 1024;

fn start(data: &Path, settings: &[(&str, &str)]) -> Server {
    let all: Vec<(&str, &str)> = [
        ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
        ("POSTHASTE_STORAGE__MIN_FREE_BYTES", "1MiB"),
        ("POSTHASTE_LIMITS__PAYLOAD", "32KiB"),
    ]
    .iter()
    .chain(settings)
    .copied()
    .collect();
    Server::start_with(data, &["--no-listen"], &all)
}

const SHORT: &[(&str, &str)] = &[("POSTHASTE_STORAGE__RETENTION", "2s")];

/// Accepts events of one type, a kilobyte each; answers their ids.
fn send(server: &Server, prefix: &str, kinds: &[String], count: usize) -> Vec<String> {
    let lines: String = (0..count)
        .map(|number| {
            let id = format!("{prefix}-{number}");
            let kind = &kinds[number % kinds.len()];
            json!({"id": id, "type": kind, "data": "x".repeat(900)}).to_string() + "\n"
        })
        .collect();
    let answer = server.request(
        "POST",
        "/v1/events",
        Some("application/x-ndjson"),
        lines.as_bytes(),
    );
    assert_eq!(
        (answer.status, &answer.json()["accepted"]),
        (202, &json!(count)),
        "{}",
        answer.text()
    );
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

fn journal(server: &Server, member: &str) -> u64 {
    server.get("/v1/status")["journal"][member].as_u64().unwrap()
}

fn dump(data: &Path) -> Vec<Row> {
    open::open_as_is(data, STORE).unwrap().dump().unwrap()
}

/// Keeps segments coming until the journal no longer has what is there now.
fn until_reclaimed(server: &Server, kinds: &[String]) {
    let last = journal(server, "last_lsn");
    let mut round = 0;
    wait_for("the journal to begin behind it", || {
        round += 1;
        send(server, &format!("filler-{last}-{round}"), kinds, 40);
        (journal(server, "first_lsn") > last).then_some(())
    });
}

/// A server with a hundred endpoints, of which one is gone, one fails, and the others accept.
struct Field {
    server: Server,
    data: PathBuf,
    kinds: Vec<String>,
    failing: String,
    good: Sink,
    _others: [Sink; 2],
    _dir: tempfile::TempDir,
}

impl Field {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let (good, gone) = (Sink::accepting(), Sink::deciding(|_, _| answer(410, "")));
        let tired = Sink::deciding(|_, _| answer(503, ""));
        let server = start(&data, SHORT);
        let kinds: Vec<String> = (0..ENDPOINTS).map(|number| format!("kind.e{number}")).collect();
        let mut endpoints = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            let url = match number {
                0 => gone.url(),
                1 => tired.url(),
                _ => good.url(),
            };
            let retry = json!({"delays": ["500ms", "500ms"]});
            endpoints.push(server.endpoint(&json!({"url": url, "events": [kind], "retry": retry})));
        }
        Self {
            server,
            data,
            kinds,
            failing: endpoints.swap_remove(1),
            good,
            _others: [gone, tired],
            _dir: dir,
        }
    }

    /// Those that an accepting endpoint has not got.
    fn lost<'a>(&self, accepted: &'a [String]) -> Vec<&'a String> {
        let received = self.good.received();
        let received: HashSet<&str> = received.iter().map(Received::event_id).collect();
        let of_good = |(number, id): (usize, &'a String)| (number % ENDPOINTS > 1).then_some(id);
        let all = accepted.iter().enumerate().filter_map(of_good);
        all.filter(|id| !received.contains(id.as_str())).collect()
    }

    /// Waits until nothing is on its way any more: what waited behind the endpoint that fails is held once that is
    /// disabled, and what is held expires.
    fn come_to_rest(&self) {
        let path = format!("/v1/endpoints/{}/disable", self.failing);
        assert_eq!(self.server.post(&path, &json!({})).status, 200);
        wait_for("everything to end", || {
            let deliveries = &self.server.get("/v1/status")["deliveries"];
            let waiting = ["scheduled", "held", "in_flight"].iter();
            let waiting: u64 = waiting.map(|state| deliveries[state].as_u64().unwrap()).sum();
            (waiting == 0).then_some(())
        });
    }
}

/// One in a hundred endpoints is dead for the whole run, another fails; the server is killed now and then. However much
/// is written, the journal comes back below a bound that does not depend on it; and the store that is made from what is
/// left is the one that lived through it.
#[test]
fn the_journal_stays_small_and_nothing_undelivered_is_lost() {
    let rounds = number("POSTHASTE_RECLAIM_ROUNDS").unwrap_or(if is_soak() { 600 } else { 30 });
    let seed = seed("POSTHASTE_RECLAIM_SEED");
    println!("POSTHASTE_RECLAIM_ROUNDS={rounds}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut field = Field::new();
    let (mut accepted, mut largest, mut kills) = (Vec::new(), 0, 0);
    for round in 0..rounds {
        accepted.extend(send(
            &field.server,
            &format!("event-{round}"),
            &field.kinds,
            ENDPOINTS * 2,
        ));
        largest = largest.max(journal(&field.server, "bytes"));
        if rng.u8(0..10) == 0 {
            field.server.kill();
            field.server.restart();
            kills += 1;
        }
        let room = || (journal(&field.server, "bytes") < BOUND).then_some(());
        wait_for("the journal to be small again", room);
    }
    field.come_to_rest();
    let lost = field.lost(&accepted);
    assert!(lost.is_empty(), "seed {seed}: {} lost: {lost:?}", lost.len());
    let status = field.server.get("/v1/status");
    let (events, journal) = (accepted.len() as u64, &status["journal"]);
    println!("{events} events, {kills} kills, at most {largest} bytes at once: {status}");
    assert!(
        events * 900 > rounds / 10 * BOUND,
        "too little was written to show anything"
    );
    assert!(journal["bytes"].as_u64() < Some(BOUND) && journal["first_lsn"].as_u64() > Some(events));
    assert!(status["deliveries"]["expired"].as_u64() > Some(0), "{status}");
    // Counts outlive what they count. The server has raised some of its own: that an endpoint was disabled, and in each
    // of its lives that held deliveries have expired.
    let own = status["events"].as_u64().unwrap() - events;
    assert!(
        (1..=4 + 2 * kills).contains(&own),
        "{own} events too many: {status}"
    );
    the_store_is_made_again(&mut field.server, &field.data, seed);
}

/// Stops the server, throws the store away, and compares what comes back.
fn the_store_is_made_again(server: &mut Server, data: &Path, seed: u64) {
    // What is deleted after this is deleted: the comparison is to be of one state.
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.set_environment("POSTHASTE_STORAGE__RETENTION", "3650d");
    server.restart();
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.assert_whole();
    let expected = dump(data);
    fs::remove_dir_all(data.join("store")).unwrap();
    server.restart();
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.assert_whole();
    let found = dump(data);
    let lacks = |rows: &[Row], other: &[Row]| rows.iter().filter(|row| !other.contains(row)).count();
    assert!(
        expected == found,
        "seed {seed}: {} rows lack, {} are too many\n{}",
        lacks(&expected, &found),
        lacks(&found, &expected),
        server.log()
    );
}

#[test]
fn a_forgotten_event_is_not_found_and_cannot_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir.path().join("data"), SHORT);
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url(), "events": ["*"]}));
    let id = server.event(&json!({"type": "a", "data": 1}));
    let delivery = server.delivery_in(&id, "delivered")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let key = "application/json\r\nidempotency-key: once";
    let body = json!({"type": "a", "data": 2}).to_string();
    let with_key = || server.request("POST", "/v1/events", Some(key), body.as_bytes());
    let first = with_key().json();
    until_reclaimed(&server, &["a".to_owned()]);
    for path in [
        format!("/v1/events/{id}"),
        format!("/v1/events/{id}/explain"),
        format!("/v1/events/{id}/deliveries"),
        format!("/v1/deliveries/{delivery}"),
    ] {
        let answer = server.request("GET", &path, None, b"");
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    let answer = server.post(&format!("/v1/events/{id}/replay"), &json!({"endpoint": endpoint}));
    assert_eq!(
        (answer.status, &answer.json()["type"]),
        (404, &json!("/problems/not-found")),
        "{}",
        answer.text()
    );
    let answer = server.post(&format!("/v1/deliveries/{delivery}/retry"), &json!({}));
    assert_eq!(answer.status, 404, "{}", answer.text());
    // The key's window is a day, and longer than two seconds of retention.
    let again = with_key();
    assert_eq!(
        (again.status, &again.json()["id"]),
        (200, &first["id"]),
        "{}",
        again.text()
    );
    let shown = server.get(&format!("/v1/events/{}", first["id"].as_str().unwrap()));
    assert_eq!(shown["data"], 2, "carried with its payload");
}

#[test]
fn what_is_carried_is_delivered_explained_and_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = start(&data, SHORT);
    let sink = Sink::accepting();
    // Retried for months, and so never held nor ended.
    let broken = Sink::deciding(|_, count| answer(if count < 2 { 503 } else { 200 }, ""));
    let retry = json!({"delays": ["30d", "30d", "30d"]});
    let slow = server.endpoint(&json!({"url": broken.url(), "events": ["slow"], "retry": retry}));
    server.endpoint(&json!({"url": sink.url(), "events": ["fill"]}));
    let answer = server.request(
        "PUT",
        "/v1/event-types/slow",
        Some("application/json"),
        br#"{"schema": {"type": "object"}}"#,
    );
    assert!(answer.status < 300, "{}", answer.text());
    let id = server.event(&json!({"type": "slow", "data": {"who": "me"}}));
    wait_for("the first attempt", || (broken.count() > 0).then_some(()));
    until_reclaimed(&server, &["fill".to_owned()]);
    assert_eq!(server.get(&format!("/v1/events/{id}"))["data"]["who"], "me");
    let explained = server.get(&format!("/v1/events/{id}/explain?endpoint={slow}"));
    assert_eq!(
        explained["data"][0]["deliveries"][0]["attempts"], 1,
        "{explained}"
    );
    for rebuilt in [false, true] {
        server.kill();
        if rebuilt {
            fs::remove_dir_all(data.join("store")).unwrap();
        }
        server.restart();
        let delivery = &server.list(&format!("/v1/events/{id}/deliveries"))[0];
        let path = format!("/v1/deliveries/{}/retry", delivery["id"].as_str().unwrap());
        let before = broken.count();
        // As long as an attempt is out, it is 409.
        wait_for("a retry", || {
            (server.post(&path, &json!({})).status == 200).then_some(())
        });
        wait_for("the next attempt", || (broken.count() > before).then_some(()));
        let refused = server.post("/v1/events", &json!({"type": "slow", "data": 5}));
        assert_eq!(
            refused.status,
            422,
            "the schema was carried too: {}",
            refused.text()
        );
    }
    server.delivery_in(&id, "delivered");
    let replayed = server.post(&format!("/v1/events/{id}/replay"), &json!({}));
    assert_eq!(replayed.status, 202, "{}", replayed.text());
    wait_for("the replay", || (broken.count() > 3).then_some(()));
    for got in broken.received() {
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(body["data"], json!({"who": "me"}), "{body}");
    }
}

#[test]
fn held_deliveries_expire_after_the_retention_and_somebody_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir.path().join("data"), SHORT);
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url(), "events": ["endpoint.*"]}));
    let paused = server.endpoint(&json!({"url": sink.url(), "events": ["a"], "enabled": false}));
    let held: Vec<String> = (0..3)
        .map(|number| server.event(&json!({"type": "a", "data": number})))
        .collect();
    for id in &held {
        server.delivery_in(id, "expired");
    }
    let told = wait_for("the news of it", || {
        let received = sink.received();
        let mut told = received
            .iter()
            .map(|got| serde_json::from_slice::<Value>(&got.body).unwrap());
        told.find(|told| told["type"] == "endpoint.deliveries_expired")
    });
    assert_eq!(
        (&told["data"]["endpoint_id"], &told["data"]["state"]),
        (&json!(paused), &json!("paused"))
    );
    let counted = told["data"]["expired_deliveries"].as_u64().unwrap();
    assert!((1..=3).contains(&counted), "{told}");
    let events = server.list("/v1/events?type=endpoint.deliveries_expired");
    assert_eq!(events.len(), 1, "once an hour at the most");
    let metrics = server.request("GET", "/metrics", None, b"").text();
    assert!(
        metrics.contains("posthaste_held_deliveries_expired_total 3"),
        "{metrics}"
    );
}

#[test]
fn a_journal_larger_than_it_may_be_loses_its_oldest_settled_events() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(
        &dir.path().join("data"),
        &[("POSTHASTE_STORAGE__MAX_JOURNAL_BYTES", "512KiB")],
    );
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url(), "events": ["a"]}));
    server.endpoint(&json!({"url": sink.url(), "events": ["b"], "enabled": false}));
    let held = server.event(&json!({"type": "b", "data": "kept"}));
    for round in 0..30 {
        send(&server, &format!("r{round}"), &["a".to_owned()], 100);
    }
    wait_for("room", || {
        let small = journal(&server, "bytes") < 700 * 1024 && journal(&server, "first_lsn") > 1000;
        small.then_some(())
    });
    assert_eq!(server.delivery_in(&held, "held")["attempts"], 0);
    assert_eq!(server.get(&format!("/v1/events/{held}"))["data"], "kept");
    assert_eq!(server.get("/v1/status")["events"], 3001);
}
