//! A folder of several segments, with events delivered, waiting, held and failed, and every kind of configuration.

use std::{collections::HashSet, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

/// The boot that the workload runs in.
pub const BOOT: &str = "the first boot";
const EACH: usize = 40;

pub struct Workload {
    _dir: tempfile::TempDir,
    pub folder: PathBuf,
    /// The endpoint that holds `held-…`.
    pub paused: String,
    good: Sink,
    _others: [Sink; 2],
}

/// The data of the event with this id: one to four kilobytes that nothing else has.
pub fn data(id: &str) -> Value {
    let number: usize = id
        .split_once('-')
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or_default();
    json!({"id": id, "text": format!("{id} ").repeat(100 + number * 5)})
}

impl Workload {
    pub fn run() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data");
        let (good, tired, picky) = (
            Sink::accepting(),
            Sink::deciding(|_, _| answer(503, "")),
            Sink::deciding(|_, _| answer(422, "")),
        );
        let environment = [
            ("POSTHASTE_BOOT_ID", BOOT),
            ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
            ("POSTHASTE_LIMITS__PAYLOAD", "32KiB"),
        ];
        let mut server = Server::start_with(&folder, &["--no-listen"], &environment);
        server.endpoint(&json!({"url": good.url(), "events": ["good.*"]}));
        let paused = server.endpoint(&json!({"url": good.url(), "events": ["held.*"]}));
        assert_eq!(
            server
                .post(&format!("/v1/endpoints/{paused}/pause"), &json!({}))
                .status,
            200
        );
        let retry = json!({"delays": ["30d"]});
        server.endpoint(&json!({"url": tired.url(), "events": ["waiting.*"], "retry": retry}));
        server.endpoint(&json!({"url": picky.url(), "events": ["failed.*"]}));
        assert_eq!(
            server
                .post("/v1/keys", &json!({"role": "viewer", "name": "one"}))
                .status,
            201
        );
        let declared = br#"{"description": "declared"}"#;
        let put = server.request(
            "PUT",
            "/v1/event-types/good.one",
            Some("application/json"),
            declared,
        );
        assert!((200..205).contains(&put.status), "{}", put.text());
        for number in 0..EACH {
            for kind in ["good", "held", "waiting", "failed"] {
                let id = format!("{kind}-{number}");
                server.event(&json!({"id": id, "type": format!("{kind}.one"), "data": data(&id)}));
            }
        }
        // Of those that wait only the first few are tried: then the breaker is open.
        for (kind, state, count) in [
            ("good", "delivered", EACH),
            ("failed", "failed", EACH),
            ("waiting", "scheduled", 2),
        ] {
            for number in 0..count {
                wait_for(state, || {
                    let delivery = &server.list(&format!("/v1/events/{kind}-{number}/deliveries"))[0];
                    (delivery["state"] == state && delivery["attempts"] == 1).then_some(())
                });
            }
        }
        assert!(server.get("/v1/status")["journal"]["segments"].as_u64() > Some(4));
        assert_eq!(server.stop().code(), Some(0), "{}", server.log());
        Self {
            _dir: dir,
            folder,
            paused,
            good,
            _others: [tired, picky],
        }
    }

    /// How much has come to the receiver that takes everything.
    pub fn arrived(&self) -> usize {
        self.good.count()
    }

    /// Which of these have not come since then as they were sent.
    pub fn lacks(&self, since: usize, wanted: &[&str]) -> Vec<String> {
        let came = self.good.received();
        let came: HashSet<&str> = came[since..]
            .iter()
            .filter(|request| {
                let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                body["data"] == data(request.event_id())
            })
            .map(|request| request.event_id())
            .collect();
        let lacking = wanted.iter().filter(|id| !came.contains(*id));
        lacking.map(ToString::to_string).collect()
    }
}
