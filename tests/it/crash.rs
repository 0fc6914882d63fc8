//! The crash test: the real server under load, killed again and again at random moments.
//!
//! Whatever was answered 202 must reach every endpoint it matched; what was not answered may, but then all of them.
//! Duplicates are allowed, and counted. `POSTHASTE_CRASH_ROUNDS` sets the number of kills, `POSTHASTE_CRASH_SEED`
//! repeats a run's decisions (not its timing).

mod moment;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;
use serde_json::{Value, json};

use self::moment::Moment;
use crate::support::seed::{number, seed};
use crate::support::{
    server::{Answer, Server, raw, wait_for, wait_for_all},
    sink::{Sink, answer},
};

const ROUNDS: u64 = 30;
const SINGLES: u64 = 4;
const BATCHES: u64 = 2;
/// Lines of a batch, at most.
const LINES: u64 = 40;
/// Between two requests of a client, at most; in milliseconds.
const PAUSE: u64 = 4;
/// Events that may be on their way before the clients pause, so that what is left at the end arrives in time.
const BACKLOG: u64 = 1500;

/// How many requests for each event a receiver has answered with 200.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<HashMap<String, u64>>>);

impl Arrivals {
    fn note(&self, id: &str) {
        *self.0.lock().unwrap().entry(id.to_owned()).or_default() += 1;
    }

    fn count(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    pub fn ids(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn duplicates(&self) -> u64 {
        self.0.lock().unwrap().values().map(|count| count - 1).sum()
    }
}

/// A receiver, and what it wants.
pub struct Endpoint {
    pattern: &'static str,
    pub arrivals: Arrivals,
    _sink: Sink,
}

impl Endpoint {
    /// Creates it; it fails `failing` of a hundred requests with 503.
    pub fn create(server: &Server, pattern: &'static str, failing: u64) -> Self {
        let arrivals = Arrivals::default();
        let noted = arrivals.clone();
        let sink = Sink::deciding(move |request, before| {
            // Spread over the requests without a pattern that a retry could fall in step with.
            if (before as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 < failing * (1 << 32) / 100 {
                return answer(503, "");
            }
            noted.note(request.event_id());
            answer(200, "")
        });
        server.endpoint(&json!({
            "url": sink.url(), "events": [pattern], "concurrency": 32,
            "retry": {"retries": 20, "delay": "100ms"}, "disable_on": "never",
        }));
        Self {
            pattern,
            arrivals,
            _sink: sink,
        }
    }

    fn wants(&self, id: &str) -> bool {
        self.pattern == "**" || kind(id) == "a.x"
    }
}

/// An event's type, as its id says: a third go to some endpoints only.
fn kind(id: &str) -> &'static str {
    if id.ends_with(['0', '3', '6', '9']) {
        "b.x"
    } else {
        "a.x"
    }
}

fn event(id: &str) -> Value {
    json!({"id": id, "type": kind(id), "data": {"id": id, "filler": "x".repeat(id.len() * 9)}})
}

/// What the clients share: what was acknowledged, with the number of deliveries.
pub struct Load {
    pub socket: PathBuf,
    pub over: AtomicBool,
    pub acknowledged: Mutex<BTreeMap<String, u64>>,
    pub count: AtomicU64,
    /// No client sends while this is so.
    pub resting: AtomicBool,
    /// Between two requests of a client, at most; in milliseconds.
    pub pause: u64,
    /// Events that arrived where all go.
    pub arrivals: Arrivals,
}

impl Load {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn acknowledge(&self, id: &str, deliveries: u64) {
        let before = self
            .acknowledged
            .lock()
            .unwrap()
            .insert(id.to_owned(), deliveries);
        assert!(before.is_none_or(|before| before == deliveries), "{id}");
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn post(&self, kind: &str, body: &str) -> std::io::Result<Answer> {
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        raw(&self.socket, [&head, body].concat().as_bytes())
    }

    fn pause(&self, rng: &mut Rng) {
        let behind = self
            .count
            .load(Ordering::Relaxed)
            .saturating_sub(self.arrivals.count());
        let millis = if behind > BACKLOG {
            50
        } else {
            rng.u64(0..self.pause)
        };
        thread::sleep(Duration::from_millis(millis));
        while self.resting.load(Ordering::Relaxed) && !self.is_over() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends events one by one; what got no answer is sent again with the same id, or given up.
    pub fn singles(&self, client: u64, mut rng: Rng) {
        for number in 0.. {
            let id = format!("s{client}-{number}");
            loop {
                if self.is_over() {
                    return;
                }
                self.pause(&mut rng);
                if self.single(&id) || rng.u8(0..10) == 0 {
                    break;
                }
            }
        }
    }

    fn single(&self, id: &str) -> bool {
        let Ok(answer) = self.post("application/json", &event(id).to_string()) else {
            return false;
        };
        match answer.status {
            200 | 202 => self.acknowledge(id, answer.json()["deliveries"].as_u64().unwrap()),
            503 => {}
            status => panic!("{id}: {status}: {}", String::from_utf8_lossy(&answer.body)),
        }
        answer.status != 503
    }

    pub fn batches(&self, client: u64, mut rng: Rng) {
        let mut next = 0;
        while !self.is_over() {
            self.pause(&mut rng);
            let ids: Vec<String> = (next..next + rng.u64(1..=LINES))
                .map(|number| format!("b{client}-{number}"))
                .collect();
            if self.batch(&ids) || rng.u8(0..10) == 0 {
                next += LINES;
            }
        }
    }

    /// Sends a batch; answers whether all of it is acknowledged.
    fn batch(&self, ids: &[String]) -> bool {
        let lines: String = ids.iter().map(|id| format!("{}\n", event(id))).collect();
        let Ok(answer) = self.post("application/x-ndjson", &lines) else {
            return false;
        };
        assert!(matches!(answer.status, 202 | 400 | 503), "{answer:?}");
        let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
        let mut all = results.len() == ids.len();
        for (id, result) in ids.iter().zip(results) {
            match result["deliveries"].as_u64() {
                Some(deliveries) => {
                    assert_eq!(result["id"], **id);
                    self.acknowledge(id, deliveries);
                }
                None => {
                    assert_eq!(result["problem"]["status"], 503, "{id}: {result}");
                    all = false;
                }
            }
        }
        all
    }
}

#[test]
fn what_was_acknowledged_is_delivered_through_kills_at_any_moment() {
    let seed = seed("POSTHASTE_CRASH_SEED");
    let rounds = number("POSTHASTE_CRASH_ROUNDS").unwrap_or(ROUNDS);
    println!("POSTHASTE_CRASH_ROUNDS={rounds}");
    let mut rng = Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // Small segments, so that kills also hit their beginnings and ends.
    let environment = [
        ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
        ("POSTHASTE_LIMITS__PAYLOAD", "8KiB"),
    ];
    let mut server = Server::start_with(&data, &["--no-listen"], &environment);
    let endpoints = [
        Endpoint::create(&server, "**", 0),
        Endpoint::create(&server, "a.*", 0),
        Endpoint::create(&server, "**", 25),
    ];
    let load = Load {
        socket: server.socket(),
        over: AtomicBool::new(false),
        acknowledged: Mutex::default(),
        count: AtomicU64::new(0),
        resting: AtomicBool::new(false),
        pause: PAUSE,
        arrivals: endpoints[0].arrivals.clone(),
    };
    thread::scope(|scope| {
        let load = &load;
        let _over = Over(load);
        for client in 0..SINGLES {
            let rng = rng.fork();
            scope.spawn(move || load.singles(client, rng));
        }
        for client in 0..BATCHES {
            let rng = rng.fork();
            scope.spawn(move || load.batches(client, rng));
        }
        for round in 0..rounds {
            let moment = Moment::draw(&mut rng);
            println!(
                "round {round}: {moment:?}, {} acknowledged",
                load.count.load(Ordering::Relaxed)
            );
            moment.kill(&mut server, &data);
            server.restart();
        }
    });
    verify(&mut server, &endpoints, &load);
}

/// Ends the load however the rounds end.
pub struct Over<'a>(pub &'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// Waits until what was acknowledged has arrived where it matched; answers what has not.
fn wait_arrived(endpoints: &[Endpoint], acknowledged: &BTreeMap<String, u64>) -> Vec<String> {
    wait_for_all(|| {
        let mut missing = Vec::new();
        for endpoint in endpoints {
            let arrived = endpoint.arrivals.ids();
            let wanted = acknowledged.keys().filter(|id| endpoint.wants(id));
            let lacking = wanted.filter(|id| !arrived.contains(*id));
            missing.extend(lacking.map(|id| format!("{id} at {}", endpoint.pattern)));
        }
        missing
    })
}

pub fn verify(server: &mut Server, endpoints: &[Endpoint], load: &Load) {
    let acknowledged = load.acknowledged.lock().unwrap();
    assert!(!acknowledged.is_empty());
    let missing = wait_arrived(endpoints, &acknowledged);
    assert!(missing.is_empty(), "lost: {missing:?}\n{}", server.log());
    // What got no answer may have been accepted too, and be on its way.
    let status = wait_for("everything to be settled", || {
        let status = server.get("/v1/status");
        let caught_up = status["store"]["applied_lsn"] == status["journal"]["last_lsn"];
        let status = server.get("/v1/status");
        let deliveries = &status["deliveries"];
        let open = ["scheduled", "in_flight", "held"].map(|state| deliveries[state].as_u64().unwrap());
        (caught_up && open == [0; 3]).then_some(status)
    });
    let known: BTreeSet<String> = endpoints
        .iter()
        .flat_map(|endpoint| endpoint.arrivals.ids())
        .chain(acknowledged.keys().cloned())
        .collect();
    for endpoint in endpoints {
        let wanted: BTreeSet<String> = known.iter().filter(|id| endpoint.wants(id)).cloned().collect();
        let arrived = endpoint.arrivals.ids();
        let missing: Vec<_> = wanted.difference(&arrived).collect();
        assert!(missing.is_empty(), "{}: missing {missing:?}", endpoint.pattern);
        let strange: Vec<_> = arrived.difference(&wanted).collect();
        assert!(strange.is_empty(), "{}: strange {strange:?}", endpoint.pattern);
    }
    let expected = |id: &str| endpoints.iter().filter(|endpoint| endpoint.wants(id)).count() as u64;
    for (id, deliveries) in &*acknowledged {
        assert_eq!(*deliveries, expected(id), "{id}");
    }
    assert_eq!(status["events"], known.len());
    assert_eq!(
        status["deliveries"]["delivered"],
        known.iter().map(|id| expected(id)).sum::<u64>()
    );
    assert_eq!(status["journal"]["damaged_ranges"], 0);
    assert_eq!(status["warnings"], json!([]));
    for (id, deliveries) in &*acknowledged {
        let answer = load.post("application/json", &event(id).to_string()).unwrap();
        let result = answer.json();
        assert_eq!(answer.status, 200, "{id}: {result}");
        assert_eq!(
            (&result["duplicate"], &result["deliveries"]),
            (&json!(true), &json!(deliveries))
        );
    }
    println!(
        "{} events acknowledged, {} more accepted without an answer; duplicates by endpoint: {:?}",
        acknowledged.len(),
        known.len() - acknowledged.len(),
        endpoints
            .iter()
            .map(|endpoint| endpoint.arrivals.duplicates())
            .collect::<Vec<_>>()
    );
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.assert_whole();
}
