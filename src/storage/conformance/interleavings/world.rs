//! A subject, and the model beside it.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::{
    super::{
        Bench, Subject,
        parts::{START, at, attempt, delete, endpoint, event, named, put},
    },
    Ending, Op,
    model::Model,
};
use crate::{
    domain::{
        delivery::Stage,
        id::{DeliveryKey, Lsn},
        record::{DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed},
    },
    storage::{Acceptance, Change},
};

/// How many endpoints there are.
const ENDPOINTS: u8 = 4;

pub(super) struct World<S> {
    bench: Bench<S>,
    model: Model,
    /// Seconds since the start: each operation takes one, so that what is asked for later is due later.
    now: u64,
}

impl<S: Subject> World<S> {
    pub async fn play(ops: Vec<Op>) {
        let mut world = Self {
            bench: Bench::open().await,
            model: Model::default(),
            now: 0,
        };
        world.bench.save((0..ENDPOINTS).map(put).collect()).await;
        for op in ops {
            world = world.run(op).await;
            world.agrees().await;
        }
        world = world.run(Op::Crash).await;
        world.agrees().await;
    }

    async fn run(mut self, op: Op) -> Self {
        self.now += 1;
        match op {
            Op::Accept { names, to, delay } => self.accept(names, to, delay).await,
            Op::Settle(which, ending) => self.settle(which, ending).await,
            Op::Retry(which) => self.retry(which).await,
            Op::Cancel(which) => self.cancel(which).await,
            Op::Replay(event, to) => self.replay(event, to).await,
            Op::Erase(event) => self.erase(event).await,
            Op::Delete(which) => {
                let number = which % ENDPOINTS;
                self.bench.save(vec![delete(number)]).await;
                self.model.deleted.insert(number);
            }
            Op::Interrupt => self.interrupt().await,
            Op::Crash => self.bench = self.bench.crash().await,
        }
        self
    }

    fn fan_out(to: u8) -> Vec<u8> {
        (0..ENDPOINTS).filter(|number| to & (1 << number) != 0).collect()
    }

    async fn accept(&mut self, names: Vec<u8>, to: u8, delay: u8) {
        let (fan_out, now) = (Self::fan_out(to), self.now);
        let due = now + u64::from(delay);
        let accept = |name: &u8| {
            let event = EventAccepted {
                accepted_at: at(now),
                due: at(due),
                idempotency_key: Some(format!("key-{name}")),
                ..event(&format!("event-{name}"), &fan_out)
            };
            self.bench.try_accept(named(event))
        };
        let answers = join_all(names.iter().map(accept)).await;
        self.bench.catch_up().await;
        let mut new = BTreeMap::new();
        for (name, answer) in names.iter().zip(&answers) {
            if let Acceptance::New(sequence) = answer.as_ref().unwrap() {
                assert_eq!(new.insert(*name, *sequence), None, "{name} is new twice");
                assert!(!self.model.events.contains_key(name), "{name} is new again");
            }
        }
        for (name, sequence) in new {
            self.model.events.insert(name, sequence);
            for (number, index) in fan_out.iter().zip(0..) {
                let key = DeliveryKey::new(sequence, index);
                self.model.created(key, sequence, *number, due);
            }
        }
        for (name, answer) in names.iter().zip(answers) {
            match answer.unwrap() {
                Acceptance::New(_) => {}
                Acceptance::Known(known) => assert_eq!(Some(&known.sequence), self.model.events.get(name)),
                Acceptance::Different(claimed) => panic!("{name}: {claimed:?}"),
            }
        }
    }

    async fn settle(&mut self, which: u8, ending: Ending) {
        let Some(key) = self.model.scheduled(which) else {
            return;
        };
        let number = self.model.deliveries[&key].endpoint;
        let schedule = self.bench.schedule(number).await;
        let row = schedule.iter().find(|row| row.delivery.key == key).unwrap();
        let (stage, due) = match ending {
            Ending::Delivered => (Stage::Delivered, None),
            Ending::Failed => (Stage::Failed, None),
            Ending::Again(seconds) => {
                let due = self.now + u64::from(seconds);
                (Stage::Scheduled { due: at(due) }, Some(due))
            }
        };
        self.bench.settle(&[attempt(&row.delivery, stage)]).await;
        self.model.settled(key, due);
    }

    async fn retry(&mut self, which: u8) {
        let Some(key) = self.model.some(which) else { return };
        let retried = DeliveriesRetried {
            keys: vec![key],
            due: at(self.now),
        };
        self.bench.storage.retry_deliveries(retried).await.unwrap();
        self.model.retried(key, self.now);
    }

    async fn cancel(&mut self, which: u8) {
        let Some(key) = self.model.some(which) else { return };
        let ended = DeliveriesEnded {
            keys: vec![key],
            at: at(self.now),
            stage: Stage::Cancelled,
        };
        self.bench.storage.end_deliveries(ended).await.unwrap();
        self.model.ended(key);
    }

    async fn replay(&mut self, which: u8, to: u8) {
        let Some(event) = self.model.event(which) else {
            return;
        };
        let fan_out = Self::fan_out(to);
        let replayed = EventReplayed {
            event,
            due: at(self.now),
            fan_out: fan_out.iter().copied().map(endpoint).collect(),
        };
        let sequence = self.bench.storage.replay_events(vec![replayed]).await.unwrap()[0];
        if self.model.erased.contains(&event) {
            return;
        }
        for (number, index) in fan_out.into_iter().zip(0..) {
            self.model
                .created(DeliveryKey::new(sequence, index), event, number, self.now);
        }
    }

    async fn erase(&mut self, which: u8) {
        let Some(sequence) = self.model.event(which) else {
            return;
        };
        let by = "key_1".to_owned();
        self.bench
            .storage
            .erase_payload(sequence, at(self.now), by, None)
            .await
            .unwrap();
        self.model.erased(sequence);
    }

    async fn interrupt(&self) {
        let resets = |told: &[Change]| told.iter().filter(|told| matches!(told, Change::Reset)).count();
        let before = self.bench.host.told(resets);
        self.bench.subject.interrupt();
        self.bench
            .host
            .until(|told| (resets(told) > before).then_some(()))
            .await;
    }

    /// What storage shows is what the model says.
    async fn agrees(&self) {
        for number in 0..ENDPOINTS {
            let schedule = self.bench.schedule(number).await;
            let seconds = |row: &crate::storage::schedule::DueDelivery| {
                (row.due.since(START).as_secs(), row.delivery.key)
            };
            let shown: Vec<_> = schedule.iter().map(seconds).collect();
            assert_eq!(shown, self.model.schedule(number), "endpoint {number}");
        }
        let keys: Vec<DeliveryKey> = self.model.deliveries.keys().copied().collect();
        let attempts = self.bench.storage.attempts_recorded(keys).await.unwrap();
        let wanted: Vec<_> = self
            .model
            .deliveries
            .values()
            .map(|fact| Some(fact.attempts))
            .collect();
        assert_eq!(attempts, wanted);
        for (name, sequence) in &self.model.events {
            self.shows(*name, *sequence).await;
        }
    }

    async fn shows(&self, name: u8, sequence: Lsn) {
        let event = self.bench.storage.event(sequence).await.unwrap().unwrap();
        assert_eq!(event.id.as_str(), format!("event-{name}"));
        assert_eq!(
            event.payload.bytes.is_empty(),
            self.model.erased.contains(&sequence)
        );
    }
}
