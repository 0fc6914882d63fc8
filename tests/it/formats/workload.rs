//! What a kept folder is made of: every kind of record, deliveries and endpoints in every state, nothing in motion.
//!
//! Whatever waits, waits at an endpoint that is not sent to, or for a time that is far away, so that it is still there when
//! the folder is read. Everything is done once, then retention runs over it, and then most of it is done once more
//! (`second`): the folder holds what was carried forward and what was not.

#[path = "second.rs"]
mod second;

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

/// The boot that a folder is made in.
pub const BOOT: &str = "the boot of the fixture";
/// Far beyond the life of this program.
const FAR: &str = "2199-01-01T00:00:00.000Z";

/// The lists that are kept beside the folder, whole.
pub const LISTS: [&str; 5] = [
    "/v1/events?order=asc",
    "/v1/endpoints?order=asc",
    "/v1/deliveries?order=asc",
    "/v1/attempts?order=asc",
    "/v1/event-types?order=asc",
];

/// How long an idempotency key is remembered at the least.
const SHORT_WINDOW: (&str, &str) = ("POSTHASTE_STORAGE__IDEMPOTENCY_WINDOW", "1m");

struct Maker {
    server: Server,
    endpoints: BTreeMap<&'static str, String>,
}

/// Makes the folder, and answers with what its server showed last.
pub fn make(data: &Path) -> Value {
    let good = Sink::accepting();
    let gone = Sink::deciding(|_, _| answer(410, ""));
    let picky = Sink::deciding(|_, _| answer(422, "location: https://example.com/elsewhere\r\n"));
    let tired = Sink::deciding(|_, _| answer(503, ""));
    let small = [
        ("POSTHASTE_BOOT_ID", BOOT),
        ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
        ("POSTHASTE_LIMITS__PAYLOAD", "32KiB"),
    ];
    let mut maker = Maker {
        server: Server::start_with(data, &["--no-listen"], &[&small[..], &[SHORT_WINDOW]].concat()),
        endpoints: BTreeMap::new(),
    };
    maker.deliver(&good);
    maker.fail(&gone, &picky, &tired);
    maker.hold(&good);
    maker.declare();
    let key = maker.keys();
    maker.fill();
    maker.restart(data, &small);
    maker.once("remembered-1", "remembered");
    maker.reclaim(data, &small);
    maker.second(data, &small, (&good, &gone, &picky, &tired));
    let shown = maker.shown(&key);
    assert_eq!(maker.server.stop().code(), Some(0), "{}", maker.server.log());
    shown
}

impl Maker {
    fn endpoint(&mut self, name: &'static str, sink: &Sink, more: &Value) -> String {
        let mut document = json!({"url": sink.url(), "name": name, "events": [format!("{name}.*")]});
        for (member, value) in more.as_object().unwrap() {
            document[member] = value.clone();
        }
        let id = self.server.endpoint(&document);
        self.endpoints.insert(name, id.clone());
        id
    }

    /// An order, where the program keeps any.
    fn order(&self, endpoint: &str, mode: &str) {
        let path = format!("/v1/endpoints/{}", self.endpoints[endpoint]);
        let body = json!({"ordering": mode}).to_string();
        let kind = "application/merge-patch+json";
        let patched = self.server.request("PATCH", &path, Some(kind), body.as_bytes());
        assert!([200, 422].contains(&patched.status), "{}", patched.text());
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.server.post(path, body);
        assert!((200..203).contains(&answer.status), "{path}: {}", answer.text());
        answer.json()
    }

    fn delete(&self, path: &str) {
        let answer = self.server.request("DELETE", path, None, b"");
        assert_eq!(answer.status, 204, "{path}: {}", answer.text());
    }

    fn wait_for_deliveries(&self, event: &str, held_for: &str, attempts: u64) {
        wait_for(held_for, || {
            let deliveries = self.server.list(&format!("/v1/events/{event}/deliveries"));
            let all = deliveries
                .iter()
                .all(|one| one["state"] == held_for && one["attempts"].as_u64() >= Some(attempts));
            (all && !deliveries.is_empty()).then_some(())
        });
    }

    /// Events with everything that an event may say, delivered, tested and replayed.
    fn deliver(&mut self, good: &Sink) {
        let all = json!({
            "description": "everything set", "tenant": "acme", "channels": ["video", "audio"],
            "headers": {"X-Team": "ingest"}, "auth": {"type": "basic", "username": "ada", "password": "hunter2"},
            "signatures": [{"scheme": "standard"}, {"scheme": "github", "secret": "an old secret"}],
            "retry": {"delays": ["5s", "5m"]}, "treat_as": {"404": "transient"}, "timeout": "7s",
            "rate": {"per_second": 500, "burst": 100}, "concurrency": 3,
            "metadata": {"team": "ingest"},
        });
        let id = self.endpoint("good", good, &all);
        self.order("good", "key");
        let rotate = json!({"scheme": "standard", "grace": "1h"});
        self.post(&format!("/v1/endpoints/{id}/secret/rotate"), &rotate);
        let full = json!({
            "id": "full-1", "type": "good.full", "data": {"number": 1.50, "text": "żółw"}, "tenant": "acme",
            "channel": "video", "ordering_key": "user-7", "occurred_at": "2026-01-02T03:04:05.678Z",
            "expires_at": FAR, "attributes": {"region": "eu"},
        });
        self.post("/v1/events", &full);
        self.wait_for_deliveries("full-1", "delivered", 1);
        let binary = json!({
            "id": "binary-1", "type": "good.binary", "data_base64": "AAECAwT/", "tenant": "acme", "channel": "audio",
            "content_type": "application/octet-stream",
        });
        self.post("/v1/events", &binary);
        self.wait_for_deliveries("binary-1", "delivered", 1);
        self.once("once-1", "once");
        self.post(&format!("/v1/endpoints/{id}/test"), &json!({}));
        self.post("/v1/events/full-1/replay", &json!({}));
        self.wait_for_deliveries("full-1", "delivered", 1);
    }

    /// An event with an idempotency key, delivered.
    fn once(&self, event: &str, key: &str) {
        let body =
            json!({"id": event, "type": "good.once", "data": null, "tenant": "acme", "channel": "video"})
                .to_string();
        let headers = format!("application/json\r\nidempotency-key: {key}");
        let accepted = self
            .server
            .request("POST", "/v1/events", Some(&headers), body.as_bytes());
        assert_eq!(accepted.status, 202, "{}", accepted.text());
        self.wait_for_deliveries(event, "delivered", 1);
    }

    /// Disabled by a 410, failed and failed again, paused before a retry, expired.
    fn fail(&mut self, gone: &Sink, picky: &Sink, tired: &Sink) {
        let id = self.endpoint("gone", gone, &json!({}));
        self.post(
            "/v1/events",
            &json!({"id": "gone-1", "type": "gone.one", "data": 1}),
        );
        self.wait_for_deliveries("gone-1", "held", 1);
        assert_eq!(
            self.server.get(&format!("/v1/endpoints/{id}"))["state"],
            "disabled"
        );
        wait_for("the news of it", || {
            self.server.list("/v1/events?type=endpoint.disabled").pop()
        });
        self.post(
            "/v1/events",
            &json!({"id": "gone-2", "type": "gone.two", "data": 2}),
        );

        self.endpoint("picky", picky, &json!({}));
        self.post(
            "/v1/events",
            &json!({"id": "picky-1", "type": "picky.one", "data": 1}),
        );
        self.wait_for_deliveries("picky-1", "failed", 1);
        let delivery = self.server.list("/v1/events/picky-1/deliveries")[0]["id"].clone();
        self.post(
            &format!("/v1/deliveries/{}/retry", delivery.as_str().unwrap()),
            &json!({}),
        );
        self.wait_for_deliveries("picky-1", "failed", 2);

        let id = self.endpoint("tired", tired, &json!({"retry": {"delays": ["3d", "3d"]}}));
        self.post(
            "/v1/events",
            &json!({"id": "tired-1", "type": "tired.one", "data": 1}),
        );
        self.wait_for_deliveries("tired-1", "scheduled", 1);
        let soon = crate::support::times::in_millis(1_500);
        self.post(
            "/v1/events",
            &json!({"id": "tired-2", "type": "tired.two", "data": 2, "expires_at": soon}),
        );
        self.wait_for_deliveries("tired-2", "expired", 0);
        self.post(&format!("/v1/endpoints/{id}/pause"), &json!({}));
    }

    /// Held with ordering keys, delayed, cancelled one by one, cancelled with a deleted endpoint.
    fn hold(&mut self, good: &Sink) {
        self.endpoint("paused", good, &json!({"enabled": false}));
        self.order("paused", "strict");
        for number in 0..6 {
            let id = format!("paused-{number}");
            let key = format!("key-{}", number % 2);
            self.post(
                "/v1/events",
                &json!({"id": id, "type": "paused.one", "data": {"number": number}, "ordering_key": key}),
            );
        }
        let delivery = self.server.list("/v1/events/paused-5/deliveries")[0]["id"].clone();
        self.post(
            &format!("/v1/deliveries/{}/cancel", delivery.as_str().unwrap()),
            &json!({}),
        );
        let doomed = self.endpoint("doomed", good, &json!({"enabled": false}));
        self.post(
            "/v1/events",
            &json!({"id": "doomed-1", "type": "doomed.one", "data": [1]}),
        );
        self.delete(&format!("/v1/endpoints/{doomed}"));
        self.wait_for_deliveries("doomed-1", "cancelled", 0);
        self.post(
            "/v1/events",
            &json!({"id": "nobody-1", "type": "nobody.wants", "data": {}, "tenant": "acme"}),
        );
    }

    /// Event types, where the program knows them.
    fn declare(&self) {
        let put = |name: &str, body: &Value| {
            let path = format!("/v1/event-types/{name}");
            let body = body.to_string();
            self.server
                .request("PUT", &path, Some("application/json"), body.as_bytes())
                .status
        };
        if put(
            "declared.one",
            &json!({"schema": {"type": "string"}, "description": "first"}),
        ) == 404
        {
            return;
        }
        let again = json!({"schema": {"type": "integer"}, "example": 1, "deprecated": true});
        assert_eq!(put("declared.one", &again), 200);
        assert_eq!(put("undeclared", &json!({})), 201);
        self.delete("/v1/event-types/undeclared");
    }

    /// A key that was revoked, and one that is kept: that one is answered with.
    fn keys(&self) -> String {
        let kept = self.post("/v1/keys", &json!({"role": "admin", "name": "kept"}));
        let of_tenant = json!({"role": "viewer", "name": "of acme", "tenant": "acme", "expires_in": "9d"});
        let made = self.server.post("/v1/keys", &of_tenant);
        assert!([201, 422].contains(&made.status), "{}", made.text());
        let revoked = self.post("/v1/keys", &json!({"role": "manager", "name": "revoked"}));
        self.delete(&format!("/v1/keys/{}", revoked["id"].as_str().unwrap()));
        kept["key"].as_str().unwrap().to_owned()
    }

    /// Goes on to a third segment, and says something there.
    fn fill(&self) {
        for number in 0..5 {
            let id = format!("large-{number}");
            let data = "x".repeat(27 * 1024);
            self.post(
                "/v1/events",
                &json!({"id": id, "type": "paused.large", "data": data}),
            );
        }
        let id = &self.endpoints["paused"];
        let patched = self.server.request(
            "PATCH",
            &format!("/v1/endpoints/{id}"),
            Some("application/merge-patch+json"),
            br#"{"description": "patched"}"#,
        );
        assert_eq!(patched.status, 200, "{}", patched.text());
    }

    fn restart(&mut self, data: &Path, settings: &[(&str, &str)]) {
        assert_eq!(self.server.stop().code(), Some(0), "{}", self.server.log());
        self.server = Server::start_with(data, &["--no-listen"], settings);
    }

    /// Has everything that is settled forgotten, and what is not carried forward.
    fn reclaim(&mut self, data: &Path, settings: &[(&str, &str)]) {
        let tight = [settings, &[("POSTHASTE_STORAGE__MAX_JOURNAL_BYTES", "64KiB")]].concat();
        self.restart(data, &tight);
        let journal =
            |server: &Server, member: &str| server.get("/v1/status")["journal"][member].as_u64().unwrap();
        let last = journal(&self.server, "last_lsn");
        let mut number = 0;
        wait_for("the journal to begin behind it", || {
            number += 1;
            let (id, data) = (format!("filler-{number}"), "x".repeat(27 * 1024));
            self.post(
                "/v1/events",
                &json!({"id": id, "type": "nobody.fills", "data": data}),
            );
            (journal(&self.server, "first_lsn") > last).then_some(())
        });
    }

    fn shown(&self, key: &str) -> Value {
        let lists = LISTS.iter().filter(|list| {
            let answer = self.server.request("GET", list, None, b"");
            answer.status != 404
        });
        let lists = lists.map(|list| ((*list).to_owned(), self.server.list(list).into()));
        let events = self.server.list(LISTS[0]);
        // One of the large ones says as much as all.
        let events = events.iter().filter(|event| {
            let id = event["id"].as_str().unwrap();
            id == "large-0" || !(id.starts_with("large-") || id.starts_with("filler-"))
        });
        let whole = events.map(|event| {
            let path = format!("/v1/events/{}", event["id"].as_str().unwrap());
            let event = self.server.get(&path);
            (path, event)
        });
        let secrets = self
            .endpoints
            .iter()
            .filter(|(name, _)| !name.starts_with("doomed"));
        // What is retired ends by itself.
        let secrets = secrets.map(|(_, id)| {
            let path = format!("/v1/endpoints/{id}/secret");
            let mut shown = self.server.get(&path);
            shown.as_object_mut().unwrap().remove("retired");
            (path, shown)
        });
        json!({
            "program": self.server.get("/v1/status")["version"],
            "key": key,
            "keys": self.server.get("/v1/keys"),
            "endpoints": self.endpoints,
            "lists": lists.collect::<serde_json::Map<_, _>>(),
            "events": whole.collect::<serde_json::Map<_, _>>(),
            "secrets": secrets.collect::<serde_json::Map<_, _>>(),
        })
    }
}
