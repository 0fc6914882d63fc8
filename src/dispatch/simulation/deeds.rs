//! What people do and what befalls, one by one.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use bytes::Bytes;
use serde_json::Value;

use super::{
    super::{error::EngineError, view::TestRequest},
    driver::{Answer, Driver, engine},
    life::{Life, START},
    profile::{self, Kind},
    receivers::Manner,
};
use crate::domain::{
    endpoint::{DisableWhy, DisabledReason, StateChange},
    event::{NewEvent, Payload},
    id::{DeliveryId, DeliveryKey, EndpointId},
};

/// An event of an id, with nothing else to it.
pub(super) fn plain_event(id: &str) -> NewEvent {
    NewEvent {
        id: Some(id.parse().unwrap()),
        event_type: "a.b".parse().unwrap(),
        tenant: None,
        channel: None,
        ordering_key: None,
        occurred_at: None,
        deliver_at: None,
        expires_at: None,
        attributes: Default::default(),
        payload: Payload {
            content_type: None,
            bytes: Bytes::from_static(b"{}"),
        },
    }
}

impl Driver {
    pub fn happens(&mut self, life: &Life, kind: Kind) {
        match kind {
            Kind::Accept => self.accept(life, 1),
            Kind::Batch => {
                let count = self.rng.usize(2..40);
                self.accept(life, count);
            }
            Kind::Repeat => self.repeat(life),
            Kind::Manner => {
                if let Some(id) = self.endpoint() {
                    let manner = Manner::any(&mut self.rng);
                    let ordinal = life.stage.lock().model.ordinal(id);
                    life.stage.say(&format!("e{ordinal} is {manner:?}"));
                    life.stage.set_manner(id, manner);
                }
            }
            Kind::Partition => self.partition(life),
            Kind::Clock => self.set_clock(life),
            Kind::Person => self.person(life),
            Kind::Configure => self.configure(life),
            Kind::Retry | Kind::Cancel => self.delivery(life, kind),
            Kind::Replay => self.replay(life),
            Kind::Stall => self.stall(life),
            Kind::StoreFails => {
                let distrust = self.rng.bool();
                life.machine.fail_store(distrust);
            }
            Kind::DiskFull => {
                let millis = self.millis();
                let now = life.stage.lock().now();
                self.full_until = Some(now + millis);
                life.stage.say("the disk is full");
                life.plate.set_full(true);
            }
            Kind::Delete => self.delete(life),
            Kind::Test => self.test(life),
            Kind::Death => {}
        }
    }

    /// A while that is long to what happens.
    fn millis(&mut self) -> u64 {
        let pace = u64::try_from(self.profile.pace.as_millis()).unwrap_or(u64::MAX);
        self.rng.u64(..pace * 10)
    }

    fn endpoint(&mut self) -> Option<EndpointId> {
        let count = self.endpoints.len();
        (count > 0).then(|| self.endpoints[self.rng.usize(..count)])
    }

    fn ask(
        &mut self,
        life: &Life,
        what: &'static str,
        ask: impl Future<Output = Result<(), EngineError>> + Send + 'static,
    ) {
        life.stage.say(&format!("ask: {what}"));
        self.asks.spawn(async move { Answer::Done(what, ask.await) });
    }

    fn event(&mut self, life: &Life) -> NewEvent {
        // People and events go by the wall clock.
        let (_, now) = life.shared.clock.now_and_shown();
        let named = self.rng.u8(..3) == 0;
        let id = named.then(|| {
            self.named += 1;
            format!("e-{}", self.named).parse().unwrap()
        });
        let ahead = |rng: &mut fastrand::Rng| Duration::from_millis(rng.u64(..200_000));
        let deliver_at = (self.rng.u8(..5) == 0).then(|| match self.rng.u8(..4) {
            0 => now.plus(Duration::from_secs(self.rng.u64(..3 * 86_400))),
            _ => now.plus(ahead(&mut self.rng)),
        });
        let expires_at = (self.rng.u8(..6) == 0).then(|| {
            let after = Duration::from_millis(1) + ahead(&mut self.rng);
            deliver_at.unwrap_or(now).plus(after)
        });
        NewEvent {
            id,
            event_type: ["a.b", "a.c", "d", "e.f.g"][self.rng.usize(..4)].parse().unwrap(),
            tenant: None,
            channel: None,
            ordering_key: (self.rng.u8(..3) > 0).then(|| format!("k{}", self.rng.u8(..3)).parse().unwrap()),
            occurred_at: None,
            deliver_at,
            expires_at,
            attributes: Default::default(),
            payload: Payload {
                content_type: None,
                bytes: Bytes::from(format!("{{\"n\":{}}}", self.rng.u32(..))),
            },
        }
    }

    fn accept(&mut self, life: &Life, count: usize) {
        let events: Vec<NewEvent> = (0..count).map(|_| self.event(life)).collect();
        let key = (count == 1 && self.rng.u8(..5) == 0).then(|| format!("key {}", self.named));
        let engine = engine(life);
        life.stage.say(&format!("accept {count}"));
        self.asks.spawn(async move {
            let sent = events.clone();
            let answers = if let (Some(key), 1) = (key, events.len()) {
                let event = events.into_iter().next().unwrap();
                vec![engine.accept(event, Some(key)).await]
            } else {
                engine
                    .accept_all(events, &crate::dispatch::engine::Engine::request_budget())
                    .await
            };
            Answer::Accepted(sent.into_iter().zip(answers).collect())
        });
    }

    /// Someone sends an event again that was accepted, or another one under its id.
    fn repeat(&mut self, life: &Life) {
        let named: Vec<usize> = (0..self.acked.len())
            .filter(|place| self.acked[*place].0.id.is_some())
            .collect();
        if named.is_empty() {
            return;
        }
        let (mut event, _, _) = self.acked[named[self.rng.usize(..named.len())]].clone();
        let differs = self.rng.u8(..4) == 0;
        if differs {
            event.payload.bytes = Bytes::from_static(b"\"another\"");
        }
        let engine = engine(life);
        life.stage.say(&format!("repeat, with other content: {differs}"));
        let stage = life.stage.clone();
        self.asks.spawn(async move {
            let answer = engine.accept(event.clone(), None).await;
            match (&answer, differs) {
                (Ok(accepted), false) if !accepted.duplicate => {
                    stage
                        .lock()
                        .wrong("an event that was accepted is accepted again".to_owned());
                }
                (Ok(_), true) => stage
                    .lock()
                    .wrong("another event is accepted under the id of one before".to_owned()),
                (Ok(_) | Err(_), _) => {}
            }
            Answer::Done("repeat", answer.map(|_| ()))
        });
    }

    fn partition(&mut self, life: &Life) {
        let millis = self.millis();
        let mut stage = life.stage.lock();
        self.partition_until = Some(stage.now() + millis);
        stage.say("nobody can be reached");
        stage.receivers.partition = true;
    }

    fn set_clock(&mut self, life: &Life) {
        let truth = life.wall.truth();
        let year = 366 * 86_400_000;
        let to = match self.rng.u8(..8) {
            0 => self.rng.u64(..86_400_000),
            1 => truth + self.rng.u64(..10 * year),
            2 => truth + self.rng.u64(..86_400_000),
            3 => truth - self.rng.u64(..86_400_000),
            4 => START - self.rng.u64(..year),
            // The time server is heard again.
            _ => truth,
        };
        life.wall.set(to);
        life.stage.wall_is_set();
        life.stage.say(&format!(
            "the wall clock is set to {to}, {}",
            to as i64 - truth as i64
        ));
    }

    fn person(&mut self, life: &Life) {
        let Some(id) = self.endpoint() else {
            return;
        };
        let (what, change) = match self.rng.u8(..8) {
            0 => ("pause", StateChange::Pause),
            1 => (
                "disable",
                StateChange::Disable(DisabledReason {
                    why: DisableWhy::Manual,
                    reason: None,
                    status: None,
                }),
            ),
            2 => ("enable and discard", StateChange::Enable { discard: true }),
            _ => ("enable", StateChange::Enable { discard: false }),
        };
        let engine = engine(life);
        self.ask(life, what, async move {
            engine.change_endpoint(id, change).await.map(|_| ())
        });
    }

    fn configure(&mut self, life: &Life) {
        let Some(id) = self.endpoint() else {
            return;
        };
        let patch = Value::Object(profile::change(&mut self.rng));
        life.stage.say(&format!("patch {patch}"));
        let engine = engine(life);
        self.ask(life, "patch", async move {
            engine.patch_endpoint(id, patch).await.map(|_| ())
        });
    }

    fn delete(&mut self, life: &Life) {
        if self.endpoints.len() < 2 {
            return;
        }
        let place = self.rng.usize(..self.endpoints.len());
        let id = self.endpoints.swap_remove(place);
        let engine = engine(life);
        self.ask(life, "delete", async move { engine.delete_endpoint(id).await });
    }

    fn delivery(&mut self, life: &Life, kind: Kind) {
        let found = {
            let stage = life.stage.lock();
            let keys: Vec<DeliveryKey> = stage.model.deliveries.keys().copied().collect();
            let place = (!keys.is_empty()).then(|| keys[self.rng.usize(..keys.len())]);
            place.map(|key| DeliveryId::new(stage.model.deliveries[&key].created_at, key))
        };
        let Some(id) = found else {
            return;
        };
        let engine = engine(life);
        if kind == Kind::Retry {
            self.ask(life, "retry", async move {
                engine.retry_delivery(&id).await.map(|_| ())
            });
        } else {
            self.ask(life, "cancel", async move {
                engine.cancel_delivery(&id).await.map(|_| ())
            });
        }
    }

    fn replay(&mut self, life: &Life) {
        if self.acked.is_empty() {
            return;
        }
        let id = self.acked[self.rng.usize(..self.acked.len())].1.clone();
        let endpoint = if self.rng.bool() { self.endpoint() } else { None };
        let engine = engine(life);
        self.ask(life, "replay", async move {
            engine.replay_event((&id, None), endpoint, None).await.map(|_| ())
        });
    }

    fn stall(&mut self, life: &Life) {
        let until = life.stage.lock().now() + self.rng.u64(..30_000);
        let (what, part) = if self.rng.bool() {
            ("the device stalls", &life.machine.committer_stalls)
        } else {
            ("the applier stalls", &life.machine.applier_stalls)
        };
        life.stage.say(what);
        part.store(until, Relaxed);
    }

    fn test(&mut self, life: &Life) {
        let Some(id) = self.endpoint() else {
            return;
        };
        let engine = engine(life);
        self.ask(life, "test", async move {
            let request = TestRequest {
                event_type: "test".parse().unwrap(),
                data: Bytes::from_static(b"{}"),
            };
            engine.test_endpoint(id, request).await.map(|_| ())
        });
    }
}
