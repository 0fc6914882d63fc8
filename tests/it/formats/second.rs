//! What is done after retention has run, so that it stands in the folder whole: the records of what ended, and not only of
//! what waits.

use std::{path::Path, time::Duration};

use serde_json::json;

use super::{FAR, Maker, SHORT_WINDOW};
use crate::support::{
    server::wait_for,
    sink::{Sink, answer},
    times::in_millis,
};

/// What receivers there are: good, gone, picky, tired.
pub type Sinks<'a> = (&'a Sink, &'a Sink, &'a Sink, &'a Sink);

impl Maker {
    pub(super) fn second(&mut self, data: &Path, settings: &[(&str, &str)], sinks: Sinks<'_>) {
        // An idempotency key is over after a minute, and is then forgotten within seconds.
        self.restart(data, &[settings, &[SHORT_WINDOW]].concat());
        self.once("forgotten-key-1", "forgotten");
        std::thread::sleep(Duration::from_secs(75));
        self.restart(data, settings);
        self.once("once-2", "once");
        self.second_deliveries();
        self.second_failures(sinks);
        self.probes();
        self.handshakes(sinks.0);
        self.second_configuration(sinks.0);
        self.erase();
    }

    /// Delivered with everything that an event may say, replayed, tested.
    fn second_deliveries(&self) {
        let full = json!({
            "id": "full-2", "type": "good.full", "data": {"number": 2.50, "text": "żółw"}, "tenant": "acme",
            "channel": "audio", "ordering_key": "user-8", "occurred_at": "2026-01-02T03:04:05.678Z",
            "expires_at": FAR, "attributes": {"region": "eu", "source": "signup"},
        });
        self.post("/v1/events", &full);
        self.wait_for_deliveries("full-2", "delivered", 1);
        self.post("/v1/events/full-2/replay", &json!({}));
        self.wait_for_deliveries("full-2", "delivered", 1);
        self.post(
            &format!("/v1/endpoints/{}/test", self.endpoints["good"]),
            &json!({}),
        );
    }

    /// Delayed and erased, before the delivery and after it.
    fn erase(&self) {
        let event = |id: &str, event_type: &str| json!({"id": id, "type": event_type, "data": {"private": id}, "attributes": {"a": "b"}});
        // Its endpoint is paused: the folder is read long after it is due, too.
        let mut delayed = event("delayed-1", "changed.delayed");
        delayed["deliver_at"] = in_millis(300 * 86_400_000).into();
        self.post("/v1/events", &delayed);
        self.wait_for_deliveries("delayed-1", "held", 0);
        self.post("/v1/events", &event("erased-1", "proved.erased"));
        self.wait_for_deliveries("erased-1", "delivered", 1);
        self.post("/v1/events", &event("erased-2", "changed.erased"));
        for path in ["erased-1/payload", "erased-2/payload?cancel=true"] {
            let path = format!("/v1/events/{path}");
            let erased = self.server.request("DELETE", &path, None, b"");
            assert_eq!(erased.status, 200, "{}", erased.text());
        }
        self.wait_for_deliveries("erased-2", "cancelled", 0);
    }

    /// Held, failed, failed again, expired, cancelled, ended with their endpoint; and an endpoint disabled once more.
    fn second_failures(&mut self, (good, _gone, _picky, _tired): Sinks<'_>) {
        let path = format!("/v1/endpoints/{}", self.endpoints["gone"]);
        self.post(&format!("{path}/enable"), &json!({}));
        wait_for("a second 410", || {
            let attempts = self.server.list("/v1/attempts?event=gone-1");
            (!attempts.is_empty() && self.server.get(&path)["state"] == "disabled").then_some(())
        });
        wait_for("the news of it", || {
            let news = self.server.list("/v1/events?type=endpoint.disabled");
            let last = self.server.get(&path)["updated_at"].clone();
            (!news.is_empty() && !last.is_null()).then_some(())
        });
        self.post(
            "/v1/events",
            &json!({"id": "gone-3", "type": "gone.three", "data": 3}),
        );
        self.wait_for_deliveries("gone-3", "held", 0);

        self.post(
            "/v1/events",
            &json!({"id": "picky-2", "type": "picky.two", "data": 2}),
        );
        self.wait_for_deliveries("picky-2", "failed", 1);
        let delivery = self.server.list("/v1/events/picky-2/deliveries")[0]["id"].clone();
        let retry = format!("/v1/deliveries/{}/retry", delivery.as_str().unwrap());
        self.post(&retry, &json!({}));
        self.wait_for_deliveries("picky-2", "failed", 2);

        let tired = format!("/v1/endpoints/{}", self.endpoints["tired"]);
        self.post(
            "/v1/events",
            &json!({"id": "tired-3", "type": "tired.three", "data": 3}),
        );
        self.wait_for_deliveries("tired-3", "held", 0);
        let delivery = self.server.list("/v1/events/tired-3/deliveries")[0]["id"].clone();
        self.post(
            &format!("/v1/deliveries/{}/cancel", delivery.as_str().unwrap()),
            &json!({}),
        );
        self.wait_for_deliveries("tired-3", "cancelled", 0);
        self.post(&format!("{tired}/enable"), &json!({}));
        let soon = in_millis(1_500);
        self.post(
            "/v1/events",
            &json!({"id": "tired-4", "type": "tired.four", "data": 4, "expires_at": soon}),
        );
        self.wait_for_deliveries("tired-4", "expired", 0);
        self.post(&format!("{tired}/pause"), &json!({}));

        let doomed = self.endpoint("doomed-2", good, &json!({"enabled": false}));
        self.post(
            "/v1/events",
            &json!({"id": "doomed-2", "type": "doomed-2.one", "data": [2]}),
        );
        self.delete(&format!("/v1/endpoints/{doomed}"));
        self.wait_for_deliveries("doomed-2", "cancelled", 0);
        self.post(
            "/v1/events",
            &json!({"id": "nobody-2", "type": "nobody.wants", "data": {}}),
        );
    }

    /// An endpoint that fails until its breaker opens, and then answers the probe.
    fn probes(&mut self) {
        let flaky = Sink::deciding(|_, before| answer(if before < 6 { 503 } else { 200 }, ""));
        let often = json!({"retry": {"delays": ["1s", "1s", "1s"]}, "concurrency": 1});
        self.endpoint("flaky", &flaky, &often);
        for number in 0..6 {
            let id = format!("flaky-{number}");
            self.post(
                "/v1/events",
                &json!({"id": id, "type": "flaky.one", "data": number}),
            );
        }
        for number in 0..6 {
            self.wait_for_deliveries(&format!("flaky-{number}"), "delivered", 1);
        }
        let attempts = self.server.list("/v1/attempts?outcome=transient");
        assert!(
            attempts.iter().any(|attempt| attempt["trigger"] == "probe"),
            "{attempts:?}"
        );
    }

    /// An endpoint that has proved itself, and one that has not, whose deliveries are held.
    fn handshakes(&mut self, good: &Sink) {
        let id = self.endpoint("proved", good, &json!({"handshake": "ping"}));
        wait_for("a proof", || {
            let shown = self.server.get(&format!("/v1/endpoints/{id}"));
            (shown["verification"]["state"] == "verified").then_some(())
        });
        self.post(
            "/v1/events",
            &json!({"id": "proved-1", "type": "proved.one", "data": 1}),
        );
        self.wait_for_deliveries("proved-1", "delivered", 1);
        // It sends a code, and waits for a person to submit it.
        let id = self.endpoint("unproved", good, &json!({"profile": "ziggeo"}));
        wait_for("a code that waits", || {
            let shown = self.server.get(&format!("/v1/endpoints/{id}"));
            (shown["verification"]["last_attempt_at"].is_string()).then_some(())
        });
        self.post(
            "/v1/events",
            &json!({"id": "unproved-1", "type": "unproved.one", "data": 1}),
        );
        self.wait_for_deliveries("unproved-1", "held", 0);
    }

    /// Endpoints, keys and event types: made, changed and gone again.
    fn second_configuration(&mut self, good: &Sink) {
        let id = self.endpoint("changed", good, &json!({}));
        for action in ["pause", "enable", "pause"] {
            self.post(&format!("/v1/endpoints/{id}/{action}"), &json!({}));
        }
        let patched = self.server.request(
            "PATCH",
            &format!("/v1/endpoints/{id}"),
            Some("application/merge-patch+json"),
            br#"{"description": "patched", "metadata": {"team": "second"}}"#,
        );
        assert_eq!(patched.status, 200, "{}", patched.text());
        self.post("/v1/keys", &json!({"role": "sender", "name": "second"}));
        let revoked = self.post("/v1/keys", &json!({"role": "manager", "name": "revoked too"}));
        self.delete(&format!("/v1/keys/{}", revoked["id"].as_str().unwrap()));
        for (name, status) in [
            ("declared.two", 201),
            ("undeclared.two", 201),
            ("declared.two", 200),
        ] {
            let path = format!("/v1/event-types/{name}");
            let body = json!({"schema": {"type": "object"}, "description": "second", "example": {}});
            let put = self.server.request(
                "PUT",
                &path,
                Some("application/json"),
                body.to_string().as_bytes(),
            );
            assert_eq!(put.status, status, "{}", put.text());
        }
        self.delete("/v1/event-types/undeclared.two");
    }
}
