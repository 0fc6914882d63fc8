//! Handshakes that are tried again by themselves: after failures that may pass, and when a proof has grown old.

use std::{sync::atomic::AtomicUsize, time::Duration};

use posthaste::{
    dispatch::{
        Running, StartOptions,
        engine::{Engine, EngineOptions},
    },
    domain::{
        address::AddressRules, attempt_detail::DetailBudget, id::EndpointId, profile::Profiles,
        time::Timestamp,
    },
    runtime::{clock::SteppedClock, folder::Folder, random::Jitter, work_pool::WorkPool},
    sender::{Sender, SenderOptions},
    storage::local::journal,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::server::PATIENCE;

#[test]
fn a_first_proof_is_tried_again_by_itself_after_a_failure_that_may_pass() {
    let (_dir, server) = started();
    let sink = Sink::deciding(|_, before| answer(if before == 0 { 503 } else { 200 }, "", ""));
    let id = server.endpoint(&json!({"url": sink.url(), "handshake": "ping"}));
    let pending = wait_for("the first try", || {
        Some(show(&server, &id)).filter(|shown| shown["verification"]["last_error"].is_object())
    });
    assert_eq!(
        (
            &pending["verification"]["last_error"]["status"],
            &pending["state"]
        ),
        (&json!(503), &json!("unverified"))
    );
    assert!(
        pending["verification"]["next_attempt_at"].is_string(),
        "{pending}"
    );
    in_state(&server, &id, "active");
    assert_eq!(sink.count(), 2);
}

#[test]
fn a_first_proof_that_is_under_way_at_a_crash_is_tried_again_after_it() {
    let (_dir, mut server) = started();
    let gate = crate::support::gate::Gate::default();
    let waits = gate.clone();
    let sink = Sink::deciding(move |_, before| {
        if before == 0 {
            waits.pass();
        }
        ok("")
    });
    let id = server.endpoint(&json!({"url": sink.url(), "handshake": "ping", "timeout": "300s"}));
    wait_for("the ping", || (sink.count() == 1).then_some(()));
    server.kill();
    gate.open();
    server.restart();
    in_state(&server, &id, "active");
    assert_eq!(sink.count(), 2);
}

#[test]
fn an_answer_that_takes_longer_than_the_handshake_allows_is_none() {
    let (_dir, server) = started();
    let gate = crate::support::gate::Gate::default();
    let waits = gate.clone();
    let sink = Sink::deciding(move |got, before| {
        if before == 0 {
            waits.pass();
        }
        ok(&zoom_proof(got, "its-secret-token"))
    });
    // The endpoint's own time for an attempt is longer than the three seconds that Zoom gives.
    let id = server.endpoint(&json!({
        "url": sink.url(), "profile": "zoom", "signatures": [{"scheme": "zoom", "secret": "its-secret-token"}], "timeout": "300s",
    }));
    let late = wait_for("the end of the first try", || {
        Some(show(&server, &id)).filter(|shown| shown["verification"]["last_error"].is_object())
    });
    assert_eq!(late["verification"]["last_error"]["reason"], "timeout_total");
    gate.open();
    in_state(&server, &id, "active");
}

#[test]
fn nothing_is_sent_to_an_address_that_the_rules_forbid() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_guarded(&dir.path().join("data"), &["--no-listen"], &[]);
    let sink = Sink::accepting();
    // A name, so that it is found out only when it is dialled.
    let named = sink.url().replace("127.0.0.1", "localhost");
    let refused = server.post("/v1/endpoints", &json!({"url": named, "handshake": "ping"}));
    assert_eq!(refused.problem(), (422, vec!["url".to_owned()]));
    assert_eq!(sink.count(), 0);
}

/// An engine of this process, whose clock the test steps.
struct Stepped {
    running: Running,
    engine: Engine,
    clock: Arc<SteppedClock>,
    _dir: tempfile::TempDir,
}

const HOUR: u64 = 3_600_000;

impl Stepped {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("data"), None).unwrap();
        let clock = Arc::new(SteppedClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let rules = AddressRules::dev();
        let options = StartOptions {
            engine: EngineOptions {
                durability: journal::Durability::Os,
                concurrency: 8,
                timeout: Duration::from_secs(15),
                max_in_flight: 16,
                breaker_after: 5,
                shutdown_grace: Duration::ZERO,
                overdue_after: Duration::from_secs(300),
                idempotency_window: Duration::from_secs(3600),
                retention: posthaste::dispatch::Retention::default(),
                max_endpoints: 100,
                memory: 64 * 1024 * 1024,
                encoded_limit: 4 * 1024 * 1024,
                attempt_detail: DetailBudget::new(2048),
                profiles: Profiles::default(),
                rules: rules.clone(),
                require_https: false,
                cloudevents_source: "/posthaste".to_owned(),
                origin: "posthaste.test".to_owned(),
            },
            journal: journal::Options {
                durability: journal::Durability::Os,
                min_free_bytes: 0,
                ..journal::Options::new(dir.path().join("data/journal"))
            },
            store: posthaste::storage::local::index::TableOptions {
                cache_bytes: 1024 * 1024,
                buffer_bytes: 1024 * 1024,
                indexes: posthaste::storage::local::index::Indexes::All,
            },
            store_rewrite_bytes: 1024 * 1024 * 1024,
            clock: clock.clone(),
            jitter: Jitter::seeded(7),
            work: WorkPool::inline(),
            deliveries: None,
            sender: Sender::new(SenderOptions {
                rules,
                ..SenderOptions::default()
            }),
        };
        let running = Running::start(folder, options).unwrap();
        let engine = running.engine().clone();
        Self {
            running,
            engine,
            clock,
            _dir: dir,
        }
    }

    async fn zoom(&self, sink: &Sink) -> EndpointId {
        self.engine.caught_up().await;
        let document = json!({
            "url": sink.url(), "profile": "zoom", "events": ["meeting.*"],
            "signatures": [{"scheme": "zoom", "secret": "its-secret-token"}],
        });
        let created = self
            .engine
            .create_endpoint(document.as_object().unwrap().clone())
            .await;
        created.unwrap().0.id
    }

    /// Steps the clock; a change that means nothing has the verifier look at it.
    async fn step(&self, id: EndpointId, millis: u64) {
        self.clock.suspend(millis);
        let touched = json!({"description": self.engine.now().to_string()});
        self.engine.patch_endpoint(id, touched).await.unwrap();
    }

    async fn until<T>(&self, what: &str, id: EndpointId, look: impl Fn(&Value) -> Option<T>) -> T {
        let looking = async {
            loop {
                let shown = serde_json::to_value(self.engine.endpoint(id).await.unwrap()).unwrap();
                if let Some(found) = look(&shown) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    async fn until_state(&self, id: EndpointId, state: &str) -> Value {
        let look = |shown: &Value| (shown["state"] == state).then(|| shown.clone());
        self.until(state, id, look).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zoom_proof_is_repeated_after_three_days_and_no_sooner() {
    let stepped = Stepped::start();
    let sink = Sink::deciding(|got, _| ok(&zoom_proof(got, "its-secret-token")));
    let id = stepped.zoom(&sink).await;
    stepped.until_state(id, "active").await;
    let challenges = || {
        sink.received()
            .iter()
            .filter(|got| is_zoom_challenge(got))
            .count()
    };
    assert_eq!(challenges(), 1);
    stepped.step(id, 71 * HOUR).await;
    stepped.step(id, HOUR - 600_000).await;
    assert_eq!(challenges(), 1);
    let before = stepped.engine.now();
    // Engine time may be walking off a lead on the way: up to one part in two thousand.
    stepped.step(id, 600_000 + 300_000).await;
    let again = |shown: &Value| {
        let at: Timestamp = serde_json::from_value(shown["verification"]["verified_at"].clone()).ok()?;
        (at > before).then_some(())
    };
    stepped.until("another proof", id, again).await;
    assert_eq!(challenges(), 2);
    assert_eq!(
        stepped.engine.endpoint(id).await.unwrap().state.as_str(),
        "active"
    );
    stepped.running.stop(CancellationToken::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zoom_endpoint_that_fails_for_hours_is_held_and_someone_is_told() {
    let stepped = Stepped::start();
    let (well, watched) = (Arc::new(AtomicBool::new(true)), Sink::accepting());
    let is_well = well.clone();
    let failures = Arc::new(AtomicUsize::new(0));
    let failed = failures.clone();
    let sink = Sink::deciding(move |got, _| {
        if is_well.load(Ordering::SeqCst) {
            return ok(&zoom_proof(got, "its-secret-token"));
        }
        failed.fetch_add(1, Ordering::SeqCst);
        ok("{}")
    });
    let id = stepped.zoom(&sink).await;
    let watcher = json!({"url": watched.url(), "events": ["endpoint.unverified"]});
    let watcher = stepped
        .engine
        .create_endpoint(watcher.as_object().unwrap().clone())
        .await;
    watcher.unwrap();
    stepped.until_state(id, "active").await;
    well.store(false, Ordering::SeqCst);
    stepped.step(id, 73 * HOUR).await;
    for count in 1..=6 {
        // Each failure is seen, and the next try is not before its time.
        let tried = |_: &Value| (failures.load(Ordering::SeqCst) == count).then_some(());
        stepped.until("a failure", id, tried).await;
        let settled = |shown: &Value| {
            let next = &shown["verification"]["next_attempt_at"];
            let next: Option<Timestamp> = serde_json::from_value(next.clone()).ok()?;
            match next {
                Some(next) => (next > stepped.engine.now()).then_some(()),
                None => (count == 6).then_some(()),
            }
        };
        stepped.until("its end", id, settled).await;
        if count < 6 {
            assert_eq!(
                stepped.engine.endpoint(id).await.unwrap().state.as_str(),
                "active"
            );
            stepped.step(id, 5 * HOUR).await;
        }
    }
    let lost = stepped.until_state(id, "unverified").await;
    assert_eq!(
        (
            &lost["verification"]["state"],
            &lost["verification"]["last_error"]["reason"]
        ),
        (&json!("failed"), &json!("unproven"))
    );
    let told = wait_for("the news", || watched.received().pop());
    let news = body(&told);
    assert_eq!(
        (
            &news["type"],
            &news["data"]["endpoint_id"],
            &news["data"]["state"]
        ),
        (
            &json!("endpoint.unverified"),
            &json!(id.to_string()),
            &json!("unverified")
        )
    );
    assert_eq!(news["data"]["verification"]["state"], "failed");
    assert_eq!(watched.count(), 1);
    // And a person brings it back.
    well.store(true, Ordering::SeqCst);
    let back = stepped.engine.verify_endpoint(id, None).await.unwrap();
    assert_eq!(back.state.as_str(), "active");
    stepped.running.stop(CancellationToken::new()).await.unwrap();
}
