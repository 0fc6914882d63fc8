//! Keys of one tenant: what they reach, and that nothing else is shown, changed or told apart from nothing.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    api_tcp::{address, ask, new_key, with_key},
    support::{
        server::{Answer, Server, wait_for},
        sink::Sink,
    },
};

mod ids;
mod keys;
mod making;
mod notices;

/// A server on TCP, and things of two tenants and of none.
struct World {
    _dir: tempfile::TempDir,
    server: Server,
    address: SocketAddr,
    sink: Sink,
    /// The tenant whose keys are used.
    own: Things,
    /// Another tenant, and none.
    foreign: [Things; 2],
}

/// An endpoint, an event that went to it, and what came of that.
struct Things {
    endpoint: String,
    event: String,
    delivery: String,
    attempt: String,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(&dir.path().join("data"), &["--listen", "127.0.0.1:0"], &[]);
        let sink = Sink::accepting();
        let [first, own, none] = [Some("globex"), Some("acme"), None].map(|tenant| {
            let endpoint = server.endpoint(&json!({"url": sink.url(), "name": "shop", "tenant": tenant}));
            let document = json!({"type": "user.created", "data": {"whose": tenant}, "tenant": tenant});
            let event = server.event(&document);
            let delivery = server.delivery_in(&event, "delivered");
            let id = |shown: &Value| shown.as_str().unwrap().to_owned();
            Things {
                endpoint,
                event,
                delivery: id(&delivery["id"]),
                attempt: id(&delivery["last_outcome"]["attempt_id"]),
            }
        });
        Self {
            address: address(&server),
            _dir: dir,
            server,
            sink,
            own,
            foreign: [first, none],
        }
    }

    /// A new key of the tenant.
    fn key(&self, role: &str) -> String {
        let document = json!({"role": role, "name": "ci", "tenant": "acme"});
        new_key(&self.server, &document).1
    }

    fn ask(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        with_key(self.address, key, method, path, body)
    }

    /// POSTs with a content type and further header lines.
    fn post(&self, key: &str, path: &str, headers: &str, body: &str) -> Answer {
        let headers = format!("authorization: Bearer {key}\r\n{headers}");
        ask(self.address, "POST", path, &headers, body)
    }

    /// Every row of a list, page by page of one.
    fn list(&self, key: &str, path: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let answer = self.ask(key, "GET", &format!("{path}{joint}limit=1{cursor}"), "");
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let page = answer.json();
            rows.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                None => return rows,
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    }
}

impl Things {
    /// A path with the id that belongs there.
    fn path(&self, pattern: &str) -> String {
        let id = match pattern {
            path if path.starts_with("/v1/endpoints") => &self.endpoint,
            path if path.starts_with("/v1/events") => &self.event,
            path if path.starts_with("/v1/attempts") => &self.attempt,
            _ => &self.delivery,
        };
        pattern.replace("{id}", id)
    }

    fn unknown() -> Self {
        Self {
            endpoint: "ep_01h455vb4pex5vsknk084sn02q".to_owned(),
            event: "evt_01h455vb4pex5vsknk084sn02q".to_owned(),
            delivery: "dlv_01h455vb4pex5vsknk084sn02q".to_owned(),
            attempt: "att_01h455vb4pex5vsknk084sn02q".to_owned(),
        }
    }
}

const EVENT: &str = r#"{"type":"user.created","data":{"id":1}}"#;

/// The routes that are open to an admin of one tenant, in an order in which each can be used on its own things: a body,
/// and the answer.
const OPEN: [(&str, &str, &str, u16); 37] = [
    ("GET", "/v1/events", "", 200),
    ("POST", "/v1/events", EVENT, 202),
    ("GET", "/v1/events/{id}", "", 200),
    ("GET", "/v1/events/{id}/deliveries", "", 200),
    ("GET", "/v1/events/{id}/explain", "", 200),
    ("POST", "/v1/events/{id}/replay", "", 202),
    ("GET", "/v1/events/{id}/payload", "", 200),
    ("GET", "/v1/endpoints", "", 200),
    ("POST", "/v1/endpoints", r#"{"url":"http://127.0.0.1:9/"}"#, 201),
    ("GET", "/v1/endpoints/{id}", "", 200),
    ("PATCH", "/v1/endpoints/{id}", r#"{"name":"other"}"#, 200),
    ("POST", "/v1/endpoints/{id}/test", "", 200),
    ("POST", "/v1/endpoints/{id}/preview", EVENT, 200),
    (
        "POST",
        "/v1/endpoints/{id}/recover",
        r#"{"since":"2026-01-01T00:00:00Z","what":"all"}"#,
        200,
    ),
    ("GET", "/v1/endpoints/{id}/secret", "", 200),
    (
        "POST",
        "/v1/endpoints/{id}/secret/rotate",
        r#"{"algorithm":"ed25519"}"#,
        200,
    ),
    ("GET", "/v1/endpoints/{id}/public-key", "", 200),
    ("GET", "/v1/endpoints/{id}/stats", "", 200),
    // It has no handshake.
    ("POST", "/v1/endpoints/{id}/verify", "", 409),
    ("GET", "/v1/deliveries", "", 200),
    ("GET", "/v1/deliveries/{id}", "", 200),
    ("GET", "/v1/attempts", "", 200),
    ("GET", "/v1/attempts/{id}", "", 200),
    ("GET", "/v1/rollups", "", 200),
    ("HEAD", "/v1/deliveries/{id}", "", 200),
    ("POST", "/v1/endpoints/{id}/pause", "", 200),
    ("POST", "/v1/deliveries/{id}/retry", "", 200),
    ("POST", "/v1/deliveries/{id}/cancel", "", 200),
    ("POST", "/v1/endpoints/{id}/enable", "", 200),
    ("DELETE", "/v1/events/{id}/payload", "", 200),
    ("POST", "/v1/endpoints/{id}/disable", "", 200),
    ("GET", "/v1/endpoints?state=disabled", "", 200),
    ("GET", "/v1/attempts?format=ndjson", "", 200),
    ("GET", "/v1/event-types", "", 200),
    ("GET", "/v1/event-types/{type}", "", 200),
    // A type that is not declared.
    ("GET", "/v1/event-types/import", "", 404),
    ("DELETE", "/v1/endpoints/{id}", "", 204),
];

/// The paths of the router, read from its source.
fn paths() -> Vec<&'static str> {
    let source = include_str!("../../src/api/router.rs");
    let code = source.split("#[cfg(test)]").next().unwrap();
    let calls = code.split(".route(").skip(1);
    let paths: Vec<_> = calls.map(|call| call.split('"').nth(1).unwrap()).collect();
    assert!(paths.len() > 25 && paths.contains(&"/v1/keys/{id}"), "{paths:?}");
    paths
}

#[test]
fn an_admin_of_one_tenant_uses_its_own_things_by_every_open_route_and_no_other_route() {
    let world = World::new();
    let key = world.key("admin");
    let declare = ("PUT", "/v1/event-types/user.created", Some("application/json"));
    assert_eq!(
        world
            .server
            .request(declare.0, declare.1, declare.2, b"{}")
            .status,
        201
    );
    for (method, pattern, body, status) in OPEN {
        let path = world.own.path(pattern).replace("{type}", "user.created");
        // A delivery that is out cannot be retried or cancelled; it is back soon.
        let answer = wait_for("an answer other than not now", || {
            let answer = world.ask(&key, method, &path, body);
            Some(answer).filter(|answer| answer.status == status || answer.status != 409)
        });
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    }
    let open = |method: &str, path: &str| OPEN.iter().any(|(m, p, ..)| *m == method && *p == path);
    for path in paths() {
        if ["/healthz", "/readyz"].contains(&path) {
            continue;
        }
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            if open(method, path) {
                continue;
            }
            let asked = world.foreign[0].path(path).replace("{type}", "user.created");
            let answer = world.ask(&key, method, &asked, "{}");
            assert_eq!(answer.problem().0, 403, "{method} {path}: {}", answer.text());
        }
    }
    let answer = world.ask(&key, "GET", "/v1/nothing", "");
    assert_eq!(answer.problem().0, 404);
}

#[test]
fn what_is_another_tenants_or_nobodys_is_answered_as_if_it_had_never_been() {
    let world = World::new();
    let key = world.key("admin");
    let before = [0, 1].map(|place| standing(&world.server, &world.foreign[place]));
    for (method, pattern, body, _) in OPEN {
        if !pattern.contains("{id}") {
            continue;
        }
        let answer = |things: &Things| world.ask(&key, method, &things.path(pattern), body);
        let unknown = answer(&Things::unknown());
        assert_eq!(unknown.status, 404, "{method} {pattern}: {}", unknown.text());
        for things in &world.foreign {
            let foreign = answer(things);
            assert_eq!(
                (foreign.status, foreign.text()),
                (404, unknown.text()),
                "{method} {pattern}"
            );
        }
    }
    // In bodies too: there the answer may name the kind of thing, and no more.
    let replay = |endpoint: &str| {
        let path = world.own.path("/v1/events/{id}/replay");
        let answer = world.ask(&key, "POST", &path, &json!({"endpoint": endpoint}).to_string());
        (answer.status, answer.text())
    };
    let unknown = replay(&Things::unknown().endpoint);
    assert_eq!(unknown.0, 404, "{}", unknown.1);
    for things in &world.foreign {
        assert_eq!(replay(&things.endpoint), unknown);
    }
    assert_eq!(replay(&world.own.endpoint).0, 202);
    let after = [0, 1].map(|place| standing(&world.server, &world.foreign[place]));
    assert_eq!(before, after);
    // What was deleted cannot be told from what was never there, whoever's it was.
    for things in [&world.own, &world.foreign[0]] {
        let path = things.path("/v1/endpoints/{id}");
        assert_eq!(world.server.request("DELETE", &path, None, b"").status, 204);
        let answer = world.ask(&key, "GET", &path, "");
        let unknown = world.ask(&key, "GET", &Things::unknown().path("/v1/endpoints/{id}"), "");
        assert_eq!((answer.status, answer.text()), (404, unknown.text()));
    }
    // Its history stays its tenant's.
    assert_eq!(
        world
            .list(&key, &format!("/v1/deliveries?endpoint={}", world.own.endpoint))
            .len(),
        2
    );
}

/// All that asking could have changed.
fn standing(server: &Server, things: &Things) -> [Value; 4] {
    [
        server.get(&format!("/v1/endpoints/{}", things.endpoint)),
        server.get(&format!("/v1/endpoints/{}/secret", things.endpoint)),
        server.get(&format!("/v1/events/{}/deliveries", things.event)),
        server.get(&format!("/v1/attempts?endpoint={}", things.endpoint)),
    ]
}

#[test]
fn lists_have_the_tenants_rows_and_no_others() {
    let world = World::new();
    let key = world.key("viewer");
    world
        .server
        .event(&json!({"type": "b", "data": 1, "tenant": "acme"}));
    let ids = |rows: &[Value]| -> Vec<String> {
        rows.iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    };
    for (path, count) in [
        ("/v1/events", 2),
        ("/v1/endpoints", 1),
        ("/v1/deliveries", 2),
        ("/v1/attempts", 2),
    ] {
        // Also what is on its way is there in the end.
        let own = wait_for("the rows", || {
            Some(ids(&world.list(&key, path))).filter(|own| own.len() == count)
        });
        assert_eq!(
            own,
            ids(&world.server.list(&format!("{path}?tenant=acme"))),
            "{path}"
        );
        assert_eq!(
            own,
            ids(&world.list(&key, &format!("{path}?tenant=acme"))),
            "{path}"
        );
        assert!(world.server.list(path).len() > count, "{path}");
        let other = world.ask(&key, "GET", &format!("{path}?tenant=globex"), "");
        assert_eq!(other.problem(), (403, vec!["tenant".to_owned()]), "{path}");
        let twice = world.ask(&key, "GET", &format!("{path}?tenant=acme&tenant=globex"), "");
        assert_eq!(twice.problem(), (400, vec!["tenant".to_owned()]), "{path}");
    }
    for (list, name) in [
        ("/v1/deliveries", "event"),
        ("/v1/attempts", "event"),
        ("/v1/attempts", "delivery"),
    ] {
        let id = |things: &Things| match name {
            "event" => things.event.clone(),
            _ => things.delivery.clone(),
        };
        let answer = |things: &Things| world.ask(&key, "GET", &format!("{list}?{name}={}", id(things)), "");
        assert_eq!(answer(&world.own).json()["data"].as_array().unwrap().len(), 1);
        let unknown = answer(&Things::unknown());
        assert_eq!(unknown.problem().0, 404);
        for things in &world.foreign {
            assert_eq!(answer(things).text(), unknown.text(), "{list} {name}");
        }
    }
    for things in world.foreign.iter().chain([&Things::unknown()]) {
        for list in ["/v1/deliveries", "/v1/attempts"] {
            assert!(
                world
                    .list(&key, &format!("{list}?endpoint={}", things.endpoint))
                    .is_empty()
            );
        }
        let explained = format!(
            "/v1/events/{}/explain?endpoint={}",
            world.own.event, things.endpoint
        );
        assert!(world.list(&key, &explained).is_empty());
    }
    let explained = world.list(&key, &world.own.path("/v1/events/{id}/explain"));
    assert_eq!(explained.len(), 1);
    assert_eq!(explained[0]["endpoint_id"], world.own.endpoint.as_str());
    let lines = world.ask(&key, "GET", "/v1/attempts?format=ndjson", "");
    assert_eq!(lines.text().lines().count(), 2, "{}", lines.text());
}

#[test]
fn a_cursor_of_another_endpoints_recovery_is_none_of_ours() {
    let world = World::new();
    let failing = Sink::deciding(|_, _| crate::support::sink::answer(400, ""));
    let document = |tenant: &str| json!({"url": failing.url(), "events": ["bad"], "tenant": tenant, "disable_on": "never"});
    let [foreign, own] = ["globex", "acme"].map(|tenant| world.server.endpoint(&document(tenant)));
    for tenant in ["globex", "globex", "acme"] {
        world
            .server
            .event(&json!({"type": "bad", "data": 1, "tenant": tenant}));
    }
    let failed = || world.server.list("/v1/deliveries?state=failed").len();
    wait_for("the failures", || (failed() == 3).then_some(()));
    let recover = |endpoint: &str, cursor: Option<&str>| {
        let body = json!({"since": "2026-01-01T00:00:00Z", "limit": 1, "cursor": cursor}).to_string();
        world.ask(
            &world.key("manager"),
            "POST",
            &format!("/v1/endpoints/{endpoint}/recover"),
            &body,
        )
    };
    let dry = json!({"since": "2026-01-01T00:00:00Z", "limit": 1, "dry_run": true});
    let first = world
        .server
        .post(&format!("/v1/endpoints/{foreign}/recover"), &dry);
    let cursor = first.json()["next"].as_str().unwrap().to_owned();
    let refused = recover(&own, Some(&cursor));
    assert_eq!(refused.problem(), (422, vec!["cursor".to_owned()]));
    assert_eq!(failed(), 3);
    assert_eq!(recover(&foreign, Some(&cursor)).problem().0, 404);
    assert_eq!(recover(&own, None).json()["deliveries"], 1);
}
