//! Deliveries and endpoints in every state, and nothing in motion.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use fastrand::Rng;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{BOOT, copy_folder, start};
use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

/// Events that are only there to fill the store.
const BULK: usize = 1500;

/// The folders that the workload left, and what can be delivered from them.
pub struct Workload {
    _dir: tempfile::TempDir,
    /// As it was right after the last change, by `kill -9`.
    pub killed: PathBuf,
    /// The same after a start and a clean stop.
    pub stopped: PathBuf,
    /// The store's files at an earlier time.
    pub earlier: PathBuf,
    /// The endpoint that answered 410.
    pub gone_endpoint: String,
    /// What is held for it.
    pub held: u64,
    gone_heals: Arc<AtomicBool>,
    gone_arrived: Arc<AtomicU64>,
    _sinks: Vec<Sink>,
}

/// A running server that is killed now and then.
struct Shaky<'a> {
    server: Server,
    rng: &'a mut Rng,
    kills: u32,
}

impl Shaky<'_> {
    /// A moment at which it may be killed.
    fn moment(&mut self) {
        if self.rng.u8(0..3) == 0 {
            self.server.kill();
            self.server.restart();
            self.kills += 1;
        }
    }

    /// A time after the server's present.
    fn after(&self, span: SignedDuration) -> String {
        let status = self.server.get("/v1/status");
        let now: jiff::Timestamp = status["now"].as_str().unwrap().parse().unwrap();
        format!("{:.3}", now + span)
    }

    fn endpoint(&mut self, url: &str, pattern: &str, more: &Value) -> String {
        let mut document = json!({"url": url, "events": [pattern]});
        for (member, value) in more.as_object().unwrap() {
            document[member] = value.clone();
        }
        let id = self.server.endpoint(&document);
        self.moment();
        id
    }

    fn events(&mut self, kind: &str, count: u32, more: &Value) -> Vec<String> {
        let mut ids = Vec::new();
        for number in 0..count {
            let mut document = json!({"type": kind, "data": {"number": number}});
            for (member, value) in more.as_object().unwrap() {
                document[member] = value.clone();
            }
            ids.push(self.server.event(&document));
            self.moment();
        }
        ids
    }

    fn deliveries(&self, event: &str) -> Vec<Value> {
        self.server.list(&format!("/v1/events/{event}/deliveries"))
    }

    /// Waits until all deliveries of these events are in a state.
    fn wait_state(&self, events: &[String], state: &str) {
        for event in events {
            wait_for(state, || {
                self.deliveries(event)
                    .iter()
                    .all(|delivery| delivery["state"] == state)
                    .then_some(())
            });
        }
    }

    fn post(&mut self, path: &str, body: &Value, status: u16) -> Value {
        let answer = self.server.post(path, body);
        assert_eq!(
            answer.status,
            status,
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        let value = answer.json();
        self.moment();
        value
    }
}

/// Event types: one that is declared twice, one that is gone.
fn declare(shaky: &mut Shaky<'_>) {
    for (method, name, body) in [
        ("PUT", "declared", r#"{"schema": {"type": "string"}}"#),
        ("PUT", "gone", r#"{"deprecated": true}"#),
        (
            "PUT",
            "declared",
            r#"{"schema": {"type": "integer"}, "example": 1}"#,
        ),
        ("DELETE", "gone", ""),
    ] {
        let path = format!("/v1/event-types/{name}");
        let answer = shaky
            .server
            .request(method, &path, Some("application/json"), body.as_bytes());
        assert!((200..205).contains(&answer.status), "{}", answer.text());
        shaky.moment();
    }
}

impl Workload {
    pub fn run(rng: &mut Rng) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let (gone_heals, gone_arrived) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (heals, arrived) = (gone_heals.clone(), gone_arrived.clone());
        let gone = Sink::deciding(move |_, _| {
            if !heals.load(Ordering::SeqCst) {
                return answer(410, "");
            }
            arrived.fetch_add(1, Ordering::SeqCst);
            answer(200, "")
        });
        let good = Sink::accepting();
        let picky = Sink::deciding(|_, _| answer(422, ""));
        let tired = Sink::deciding(|_, _| answer(503, ""));
        let mut shaky = Shaky {
            server: start(&data, BOOT),
            rng,
            kills: 0,
        };
        let active = deliver(&mut shaky, &good);
        let gone_endpoint = disable(&mut shaky, &gone);
        fail(&mut shaky, &picky, &tired);
        let earlier = dir.path().join("earlier");
        shaky.server.kill();
        copy_folder(&data.join("store"), &earlier);
        shaky.server.restart();
        rest(&mut shaky, &good);
        change(&mut shaky, &active);
        declare(&mut shaky);
        let stats = shaky.server.get(&format!("/v1/endpoints/{gone_endpoint}/stats"));
        let held = stats["deliveries"]["held"].as_u64().unwrap();
        assert!(held > 5, "{stats}");
        println!("the workload was killed {} times", shaky.kills);
        let mut server = shaky.server;
        let killed = dir.path().join("killed");
        server.kill();
        copy_folder(&data, &killed);
        server.restart();
        assert_eq!(server.stop().code(), Some(0), "{}", server.log());
        Self {
            killed,
            stopped: data,
            earlier,
            gone_endpoint,
            held,
            gone_heals,
            gone_arrived,
            _sinks: vec![gone, good, picky, tired],
            _dir: dir,
        }
    }

    /// Lets the receiver that answered 410 accept; answers what counts arrivals from now on.
    pub fn heal_gone(&self) -> impl Fn() -> u64 {
        let arrived = self.gone_arrived.clone();
        arrived.store(0, Ordering::SeqCst);
        self.gone_heals.store(true, Ordering::SeqCst);
        move || arrived.load(Ordering::SeqCst)
    }
}

/// Delivered, tested, replayed, remembered by key, and due far ahead.
fn deliver(shaky: &mut Shaky, good: &Sink) -> String {
    let active = shaky.endpoint(&good.url(), "good.*", &json!({"name": "first"}));
    let news = shaky.endpoint(&good.url(), "endpoint.*", &json!({"tenant": null}));
    let delivered = shaky.events("good.one", 10, &json!({}));
    shaky.wait_state(&delivered, "delivered");
    shaky.post(&format!("/v1/endpoints/{active}/test"), &json!({}), 200);
    shaky.post(
        &format!("/v1/events/{}/replay", delivered[0]),
        &json!({"endpoint": news}),
        202,
    );
    shaky.post(&format!("/v1/events/{}/replay", delivered[1]), &json!({}), 202);
    shaky.wait_state(&delivered[..2], "delivered");
    let unmatched = shaky.events("nobody.wants", 3, &json!({"tenant": "acme"}));
    shaky.post(
        &format!("/v1/events/{}/replay", unmatched[0]),
        &json!({"endpoint": active}),
        422,
    );
    let later = shaky.after(SignedDuration::from_hours(24 * 300));
    shaky.events("good.later", 5, &json!({"deliver_at": later}));
    let body = json!({"type": "good.later", "data": 1, "deliver_at": later}).to_string();
    let kind = "application/json\r\nidempotency-key: once";
    let answer = shaky
        .server
        .request("POST", "/v1/events", Some(kind), body.as_bytes());
    assert_eq!(answer.status, 202);
    active
}

/// Disabled by a 410, with more held behind it; the news of it is delivered.
fn disable(shaky: &mut Shaky, gone: &Sink) -> String {
    let endpoint = shaky.endpoint(&gone.url(), "gone.*", &json!({}));
    shaky.events("gone.one", 1, &json!({}));
    let path = format!("/v1/endpoints/{endpoint}");
    wait_for("the disabling", || {
        (shaky.server.get(&path)["state"] == "disabled").then_some(())
    });
    shaky.events("gone.two", 9, &json!({}));
    wait_for("the news of it", || {
        let news = shaky.server.list("/v1/events?type=endpoint.disabled");
        let news: Vec<String> = news
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect();
        shaky.wait_state(&news, "delivered");
        (news.len() == 1).then_some(())
    });
    endpoint
}

/// Failed for good, failed again, waiting for a retry far ahead, expired.
fn fail(shaky: &mut Shaky, picky: &Sink, tired: &Sink) {
    shaky.endpoint(&picky.url(), "bad.*", &json!({}));
    let failed = shaky.events("bad.one", 5, &json!({}));
    shaky.wait_state(&failed, "failed");
    let again = shaky.deliveries(&failed[0])[0]["id"].as_str().unwrap().to_owned();
    shaky.post(&format!("/v1/deliveries/{again}/retry"), &json!({}), 200);
    wait_for("the second failure", || {
        let delivery = shaky.server.get(&format!("/v1/deliveries/{again}"));
        (delivery["state"] == "failed" && delivery["attempts"] == 2).then_some(())
    });
    let retry = json!({"retry": {"delays": ["1d", "2d"]}});
    shaky.endpoint(&tired.url(), "tired.*", &retry);
    let waiting = shaky.events("tired.one", 3, &json!({}));
    for event in &waiting {
        wait_for("an attempt", || {
            let delivery = &shaky.deliveries(event)[0];
            (delivery["state"] == "scheduled" && delivery["attempts"].as_u64() >= Some(1)).then_some(())
        });
    }
    let soon = shaky.after(SignedDuration::from_millis(1500));
    let expiring = shaky.events("tired.two", 1, &json!({"expires_at": soon}));
    shaky.wait_state(&expiring, "expired");
}

/// Held at a paused endpoint, cancelled with a deleted one, cancelled one by one, and much that only takes room.
fn rest(shaky: &mut Shaky, good: &Sink) {
    let paused = shaky.endpoint(&good.url(), "paused.*", &json!({"enabled": false}));
    let held = shaky.events("paused.one", 5, &json!({}));
    let one = shaky.deliveries(&held[0])[0]["id"].as_str().unwrap().to_owned();
    shaky.post(&format!("/v1/deliveries/{one}/cancel"), &json!({}), 200);
    let lines: String = (0..BULK)
        .map(|number| {
            json!({"id": format!("bulk-{number}"), "type": "paused.bulk", "data": number}).to_string() + "\n"
        })
        .collect();
    let answer = shaky.server.request(
        "POST",
        "/v1/events",
        Some("application/x-ndjson"),
        lines.as_bytes(),
    );
    assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(BULK)));
    shaky.moment();
    let doomed = shaky.endpoint(&good.url(), "doomed.*", &json!({"enabled": false}));
    let cancelled = shaky.events("doomed.one", 5, &json!({}));
    let answer = shaky
        .server
        .request("DELETE", &format!("/v1/endpoints/{doomed}"), None, b"");
    assert_eq!(answer.status, 204);
    shaky.wait_state(&cancelled, "cancelled");
    shaky.post(&format!("/v1/endpoints/{paused}/disable"), &json!({}), 200);
    shaky.post(&format!("/v1/endpoints/{paused}/pause"), &json!({}), 200);
}

/// A patch, and keys that came and went.
fn change(shaky: &mut Shaky, active: &str) {
    let answer = shaky.server.request(
        "PATCH",
        &format!("/v1/endpoints/{active}"),
        Some("application/merge-patch+json"),
        json!({"description": "patched", "concurrency": 3})
            .to_string()
            .as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    shaky.moment();
    let kept = shaky.post("/v1/keys", &json!({"role": "viewer", "name": "kept"}), 201);
    let revoked = shaky.post("/v1/keys", &json!({"role": "admin", "name": "revoked"}), 201);
    let id = revoked["id"].as_str().unwrap();
    let answer = shaky
        .server
        .request("DELETE", &format!("/v1/keys/{id}"), None, b"");
    assert_eq!(answer.status, 204);
    assert_ne!(kept["id"], revoked["id"]);
}
