//! How much happened, minute by minute and hour by hour.

use std::fs;

use serde_json::{Value, json};

use crate::{
    api_tcp::{address, new_key, with_key},
    support::{
        server::{Server, wait_for},
        sink::{Sink, answer},
    },
};

/// The sum of a member over all intervals of an answer.
fn sum(answer: &Value, pointer: &str) -> u64 {
    let data = answer["data"].as_array().unwrap();
    let counts = data
        .iter()
        .map(|row| row.pointer(pointer).unwrap().as_u64().unwrap());
    counts.sum()
}

/// How many attempts' durations were counted.
fn counted(answer: &Value) -> u64 {
    let data = answer["data"].as_array().unwrap();
    let all = data
        .iter()
        .flat_map(|row| row["latency"]["buckets"].as_array().unwrap());
    all.map(|count| count.as_u64().unwrap()).sum()
}

/// The same, whatever was the present time.
fn data(server: &Server, query: &str) -> Value {
    server.get(&format!("/v1/rollups?{query}"))["data"].clone()
}

struct World {
    server: Server,
    /// An endpoint of the tenant acme that takes everything, and one of globex that refuses.
    takes: String,
    refuses: String,
    _dir: tempfile::TempDir,
    _sinks: [Sink; 2],
}

const EVENTS: u64 = 5;

/// Five events of each tenant, all delivered or failed for good.
fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--listen", "127.0.0.1:0"], &[]);
    let sinks = [Sink::accepting(), Sink::deciding(|_, _| answer(422, ""))];
    let endpoint = |sink: &Sink, tenant: &str| {
        server.endpoint(&json!({"url": sink.url(), "tenant": tenant, "retry": {"delays": []}}))
    };
    let (takes, refuses) = (endpoint(&sinks[0], "acme"), endpoint(&sinks[1], "globex"));
    for number in 0..EVENTS {
        for (tenant, state) in [("acme", "delivered"), ("globex", "failed")] {
            let event = server.event(&json!({"type": "a.b", "data": number, "tenant": tenant}));
            server.delivery_in(&event, state);
        }
    }
    World {
        server,
        takes,
        refuses,
        _dir: dir,
        _sinks: sinks,
    }
}

#[test]
fn everything_that_happened_is_counted_once_in_all_by_tenant_and_by_endpoint() {
    let world = world();
    let World {
        server,
        takes,
        refuses,
        ..
    } = &world;
    server.post(&format!("/v1/endpoints/{takes}/test"), &json!({}));
    for interval in ["minute", "hour"] {
        let all = server.get(&format!("/v1/rollups?interval={interval}"));
        assert_eq!(
            (&all["interval"], &all["left_out"]),
            (&json!(interval), &json!(false))
        );
        assert_eq!(sum(&all, "/accepted"), EVENTS * 2);
        assert_eq!(sum(&all, "/attempts/delivered"), EVENTS);
        assert_eq!(sum(&all, "/attempts/event_error"), EVENTS);
        assert_eq!(sum(&all, "/deliveries_failed"), EVENTS);
        assert_eq!(counted(&all), EVENTS * 2, "a test is not counted");
        assert_eq!(all["latency_bounds_ms"][0], 4);
        assert_eq!(all["latency_bounds_ms"].as_array().unwrap().len(), 15);
        for row in all["data"].as_array().unwrap() {
            let at = row["at"].as_str().unwrap();
            let whole = if interval == "hour" {
                ":00:00.000Z"
            } else {
                ":00.000Z"
            };
            assert!(at.ends_with(whole), "{at}");
            assert!(row["latency"]["p50_ms"].as_u64() <= row["latency"]["p99_ms"].as_u64());
        }
        for (endpoint, tenant) in [(takes, "acme"), (refuses, "globex")] {
            let of = |query: String| data(server, &format!("interval={interval}&{query}"));
            let by_endpoint = of(format!("endpoint={endpoint}"));
            assert_eq!(by_endpoint, of(format!("tenant={tenant}")));
            assert_eq!(by_endpoint, of(format!("tenant={tenant}&endpoint={endpoint}")));
            assert_eq!(sum(&json!({"data": by_endpoint}), "/accepted"), EVENTS);
        }
    }
    let none = server.get("/v1/rollups?since=2020-01-01T00:00:00Z&until=2020-01-01T01:00:00Z");
    assert_eq!(none["data"], json!([]));
}

#[test]
fn a_store_that_is_made_again_has_the_same_rollups() {
    let mut world = world();
    let server = &mut world.server;
    let asked = |server: &Server| {
        ["interval=hour", "interval=minute&tenant=acme"]
            .map(|query| data(server, query))
            .to_vec()
    };
    let before = asked(server);
    server.kill();
    server.restart();
    assert_eq!(asked(server), before);
    server.stop();
    fs::remove_dir_all(server.socket().with_file_name("store")).unwrap();
    server.restart();
    assert_eq!(asked(server), before);
}

#[test]
fn a_key_of_one_tenant_sees_its_own() {
    let world = world();
    let World {
        server,
        takes,
        refuses,
        ..
    } = &world;
    let address = address(server);
    let key = |document: Value| new_key(server, &document).1;
    let own = key(json!({"role": "viewer", "name": "own", "tenant": "acme"}));
    let ask = |key: &str, query: &str| with_key(address, key, "GET", &format!("/v1/rollups{query}"), "");
    for query in ["", "?tenant=acme", &format!("?endpoint={takes}")] {
        let shown = ask(&own, query);
        assert_eq!(shown.status, 200, "{}", shown.text());
        assert_eq!(sum(&shown.json(), "/accepted"), EVENTS, "{query}");
        assert_eq!(sum(&shown.json(), "/deliveries_failed"), 0, "{query}");
    }
    assert_eq!(ask(&own, "?tenant=globex").problem().0, 403);
    let foreign = ask(&own, &format!("?endpoint={refuses}")).problem();
    let unknown = ask(&own, "?endpoint=ep_01h455vb4pex5vsknk084sn02q").problem();
    assert_eq!((foreign.0, &foreign), (404, &unknown));
    let all = ask(&key(json!({"role": "viewer", "name": "all"})), "");
    assert_eq!(sum(&all.json(), "/accepted"), EVENTS * 2);
    let sender = key(json!({"role": "sender", "name": "ci"}));
    assert_eq!(ask(&sender, "").problem().0, 403);
}

#[test]
fn what_cannot_be_answered_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("POSTHASTE_STORAGE__INDEXES", "essential")];
    let server = Server::start_with(dir.path(), &["--no-listen"], &environment);
    let refused = |query: &str| {
        server
            .request("GET", &format!("/v1/rollups?{query}"), None, b"")
            .problem()
    };
    assert_eq!(refused("interval=second"), (400, vec!["interval".to_owned()]));
    assert_eq!(refused("limit=5"), (400, vec!["limit".to_owned()]));
    assert_eq!(refused("endpoint=x"), (400, vec!["endpoint".to_owned()]));
    let long = refused("interval=minute&since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z");
    assert_eq!(long, (422, vec!["since".to_owned()]));
    // No rollups are kept with the essential indexes alone.
    assert_eq!(refused("").0, 409);
}

/// Events go when their time is over, or when space is short; what was counted stays.
#[test]
fn rollups_outlive_the_events_that_they_count() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [
        ("POSTHASTE_STORAGE__RETENTION", "1s"),
        ("POSTHASTE_STORAGE__ATTEMPT_RETENTION", "1s"),
        ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
        ("POSTHASTE_LIMITS__PAYLOAD", "64KiB"),
    ];
    let mut server = Server::start_with(dir.path(), &["--no-listen"], &environment);
    let filler = "x".repeat(30_000);
    let mut sent = 0;
    wait_for("segments that are reclaimed", || {
        server.event(&json!({"type": "a.b", "data": filler}));
        sent += 1;
        let status = server.get("/v1/status");
        (status["journal"]["reclaimed_segments"].as_u64() > Some(1)).then_some(())
    });
    let counts = |server: &Server| sum(&server.get("/v1/rollups?interval=hour"), "/accepted");
    assert_eq!(counts(&server), sent);
    server.stop();
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    server.restart();
    assert_eq!(counts(&server), sent);
}
