//! One tenant's costly conditions, explanations, templates and recoveries, and what another tenant feels of them.
//!
//! Nothing here is timed. Each test has one tenant ask for work that takes long, sees another one's requests, deliveries and
//! the probes through meanwhile, and finds that work still under way.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    api_tcp::{address, ask, new_key, with_key},
    support::{
        server::{Answer, Server, wait_for},
        sink::Sink,
    },
};

/// Costs all that one condition may cost, and does not hold.
const DEAR: &str = "data.exists(x, data.exists(y, data.exists(z, z == 99999999)))";
/// The same for a template, on the data of [`numbers`].
const DEAR_TEMPLATE: &str =
    "{% for a in data %}{% for b in data %}{% for c in data %}{{ a }}{% endfor %}{% endfor %}{% endfor %}";
/// Round trips of the other tenant that have to get through.
const ROUNDS: usize = 10;
/// Requests at once of the one that asks for much: more than there are threads anywhere.
const ATTACKERS: usize = 16;

struct World {
    _dir: TempDir,
    server: Server,
    address: SocketAddr,
    sink: Sink,
    /// A key of the tenant that is to feel nothing.
    good: String,
}

fn numbers(count: u32) -> Value {
    (0..count).collect()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_with(&dir.path().join("data"), &["--listen", "127.0.0.1:0"], &[]);
        let sink = Sink::accepting();
        server.endpoint(&json!({"url": sink.url(), "tenant": "good"}));
        let good = new_key(
            &server,
            &json!({"role": "admin", "name": "good", "tenant": "good"}),
        )
        .1;
        Self {
            address: address(&server),
            _dir: dir,
            server,
            sink,
            good,
        }
    }

    fn key(&self, role: &str) -> String {
        let document = json!({"role": role, "name": role, "tenant": "evil"});
        new_key(&self.server, &document).1
    }

    fn evil_endpoints(&self, count: usize, more: &Value) -> Vec<String> {
        let mut document = json!({"url": self.sink.url(), "tenant": "evil", "events": ["bomb"]});
        let members = more.as_object().unwrap().clone();
        document.as_object_mut().unwrap().extend(members);
        (0..count).map(|_| self.server.endpoint(&document)).collect()
    }

    fn post(&self, key: &str, path: &str, body: &Value) -> Answer {
        post(self.address, key, path, body)
    }

    /// Probes, events, deliveries and questions of the other tenant.
    fn others_get_through(&self) {
        for round in 0..ROUNDS {
            assert_eq!(ask(self.address, "GET", "/healthz", "", "").status, 200);
            assert_eq!(ask(self.address, "GET", "/readyz", "", "").status, 200);
            let before = self.sink.count();
            let id = format!("good-{round}");
            let event = json!({"type": "good.thing", "id": id, "data": {"n": round}});
            let accepted = self.post(&self.good, "/v1/events", &event);
            assert_eq!(accepted.status, 202, "{}", accepted.text());
            wait_for("the other tenant's delivery", || {
                (self.sink.count() > before).then_some(())
            });
            let path = format!("/v1/events/{id}/explain");
            let explained = with_key(self.address, &self.good, "GET", &path, "");
            assert_eq!(explained.json()["data"].as_array().unwrap().len(), 1);
        }
    }
}

fn post(address: SocketAddr, key: &str, path: &str, body: &Value) -> Answer {
    let headers = format!("authorization: Bearer {key}\r\ncontent-type: application/json\r\n");
    ask(address, "POST", path, &headers, &body.to_string())
}

/// Requests that are under way in threads of their own.
struct Outstanding(Arc<AtomicUsize>);

impl Outstanding {
    /// The threads end with their answers, or with the server.
    fn begin(count: usize, request: impl Fn() -> Answer + Clone + Send + 'static) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        for _ in 0..count {
            let (request, answered) = (request.clone(), answered.clone());
            thread::spawn(move || {
                // A server that is killed under it makes it panic, which says nothing.
                let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(request));
                answered.fetch_add(usize::from(answer.is_ok()), Ordering::SeqCst);
            });
        }
        Self(answered)
    }

    fn answered(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn costly_conditions_are_felt_by_nobody_else() {
    let world = World::new();
    world.evil_endpoints(60, &json!({"condition": DEAR}));
    let (address, key) = (world.address, world.key("sender"));
    let bomb = json!({"type": "bomb", "data": numbers(200)});
    let attack = Outstanding::begin(ATTACKERS, move || post(address, &key, "/v1/events", &bomb));
    world.others_get_through();
    assert_eq!(attack.answered(), 0, "the attack ended before it was felt");
}

#[test]
fn explanations_are_felt_by_nobody_else_and_answer_with_what_they_have() {
    let world = World::new();
    let bomb = json!({"type": "bomb", "id": "bomb", "data": numbers(200)});
    let sent = world.post(&world.key("sender"), "/v1/events", &bomb);
    assert_eq!(sent.status, 202, "{}", sent.text());
    world.evil_endpoints(400, &json!({"condition": DEAR}));
    let (address, key) = (world.address, world.key("viewer"));
    let explain = {
        let key = key.clone();
        move |query: &str| {
            let path = format!("/v1/events/bomb/explain?order=asc&{query}");
            with_key(address, &key, "GET", &path, "")
        }
    };
    // Each is under way for five seconds of a thread's time, and is waited for below.
    let attack = Outstanding::begin(4, {
        let explain = explain.clone();
        move || explain("limit=500")
    });
    world.others_get_through();
    assert_eq!(attack.answered(), 0, "the attack ended before it was felt");
    let page = wait_for("an explanation", || {
        (attack.answered() > 0).then(|| explain("limit=2").json())
    });
    let next = page["next"].as_str().unwrap();
    assert_eq!(page["data"][1]["endpoint_id"], *next);
    says_why(&page);
}

fn says_why(page: &Value) {
    let why = page["data"][0]["why"].as_str().unwrap();
    assert!(why.contains("too costly"), "{why}");
}

#[test]
fn costly_templates_are_felt_by_nobody_else() {
    const COUNT: usize = 100;
    let world = World::new();
    world.evil_endpoints(COUNT, &json!({"transform": DEAR_TEMPLATE, "disable_on": "never"}));
    let bomb = json!({"type": "bomb", "data": numbers(200)});
    let sent = world.post(&world.key("sender"), "/v1/events", &bomb);
    assert_eq!((sent.status, &sent.json()["deliveries"]), (202, &json!(COUNT)));
    world.others_get_through();
    let tried = world.server.list("/v1/attempts?tenant=evil").len();
    assert!(tried < COUNT, "the attack ended before it was felt");
    let attempt = wait_for("an attempt with a costly template", || {
        let tried = world.server.list("/v1/attempts?tenant=evil");
        tried.into_iter().next()
    });
    assert_eq!(attempt["reason"], "transform", "{attempt}");
}

#[test]
fn a_recovery_of_one_endpoint_does_not_hold_up_another_ones() {
    let world = World::new();
    let sender = world.key("sender");
    let lines: String = (0..400)
        .map(|_| json!({"type": "bomb", "data": numbers(200)}).to_string() + "\n")
        .collect();
    let headers = format!("authorization: Bearer {sender}\r\ncontent-type: application/x-ndjson\r\n");
    let sent = ask(world.address, "POST", "/v1/events", &headers, &lines);
    assert_eq!(sent.json()["accepted"], 400, "{}", sent.text());
    let endpoint = world.evil_endpoints(1, &json!({"condition": DEAR})).remove(0);
    let path = format!("/v1/endpoints/{endpoint}/recover");
    let (address, key) = (world.address, world.key("manager"));
    let request = json!({"since": "2020-01-01T00:00:00Z", "what": "missing"});
    let recover = move || post(address, &key, &path, &request);
    let attack = Outstanding::begin(1, recover.clone());
    let own = world.server.list("/v1/endpoints?tenant=good").remove(0);
    let own = format!("/v1/endpoints/{}/recover", own["id"].as_str().unwrap());
    for _ in 0..ROUNDS {
        let request = json!({"since": "2020-01-01T00:00:00Z", "what": "all"});
        let recovered = world.post(&world.good, &own, &request);
        assert_eq!(recovered.status, 200, "{}", recovered.text());
    }
    world.others_get_through();
    assert_eq!(attack.answered(), 0, "the attack ended before it was felt");
    wait_for("the recovery's answer", || (attack.answered() > 0).then_some(()));
}

#[test]
fn an_event_whose_conditions_cost_too_much_is_refused_before_anybody_gets_it() {
    let world = World::new();
    world.evil_endpoints(1, &json!({}));
    world.evil_endpoints(60, &json!({"condition": DEAR}));
    let lines = [
        json!({"type": "bomb", "id": "large", "data": numbers(200)}),
        json!({"type": "bomb", "id": "small", "data": numbers(1)}),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");
    let headers = format!(
        "authorization: Bearer {}\r\ncontent-type: application/x-ndjson\r\n",
        world.key("sender")
    );
    let answer = ask(world.address, "POST", "/v1/events", &headers, &lines);
    let results = answer.json()["results"].clone();
    assert_eq!(results[0]["problem"]["status"], 422, "{}", answer.text());
    assert_eq!(results[0]["problem"]["errors"][0]["field"], "data");
    assert_eq!(
        (&results[1]["id"], &results[1]["deliveries"]),
        (&json!("small"), &json!(1))
    );
    let events = world.server.list("/v1/events?tenant=evil");
    assert_eq!(events.len(), 1, "what was refused is not stored");
}
