//! The store, the lanes and a journal that is a list: what the sequences happen to.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    super::{
        clock::EngineClock,
        document,
        lanes::{Ended, Lanes, Step},
        registry::Registry,
        slots::{Slot, Slots},
    },
    ENDPOINTS, RETRIES, START,
    fact::Fact,
    op::{Op, outcome},
    reads::{Pace, Reads},
};
use crate::{
    domain::{
        configuration::ConfigChange,
        delivery::{Progress, Stage, Trigger},
        endpoint::{Endpoint, EndpointSpec, EndpointState, Notes, StateChange},
        event::Payload,
        id::{DeliveryKey, EndpointId},
        ordering::{Ordering, Strand},
        record::{
            AttemptSettled, DeliveriesEnded, DeliveriesRetried, EndpointChanged, EndpointPut, EventAccepted,
            Place, Record,
        },
        time::Timestamp,
    },
    runtime::{clock::SteppedClock, seal::Sealer},
    storage::{
        Effect,
        local::index::{
            Placed, Store,
            open::{self, Trust},
        },
        schedule::DueDelivery,
    },
};

const JOURNAL: [u8; 16] = [7; 16];

/// More than is ever out.
const SLOTS: usize = 1000;

struct Out {
    endpoint: Arc<Endpoint>,
    row: DueDelivery,
    trigger: Trigger,
    started_at: Timestamp,
    _slot: Slot,
}

pub(super) struct World {
    dir: TempDir,
    store: Option<Store>,
    journal: Vec<Record>,
    applied: usize,
    registry: Registry,
    pub(super) lanes: Lanes,
    wall: Arc<SteppedClock>,
    pub(super) clock: EngineClock,
    sealer: Sealer,
    out: Vec<Out>,
    /// Out, or ended and not yet applied.
    busy: HashSet<DeliveryKey>,
    facts: BTreeMap<DeliveryKey, Fact>,
    endpoints: Vec<EndpointId>,
    /// The newest acceptance: what is not delayed takes its place no earlier.
    accepted_at: Timestamp,
    pub(super) reads: Reads,
}

/// The orders that an endpoint may keep; one of each to begin with.
const ORDERS: [(&str, &str); 5] = [
    ("none", "block"),
    ("key", "block"),
    ("strict", "block"),
    ("key", "skip"),
    ("strict", "skip"),
];

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let wall = Arc::new(SteppedClock::new(START));
        let mut world = Self {
            store: Some(open_store(&dir, Trust::No)),
            dir,
            journal: Vec::new(),
            applied: 0,
            registry: Registry::default(),
            lanes: Lanes::new(Slots::new(SLOTS), 2, 3),
            clock: EngineClock::new(wall.clone(), None, Timestamp::EPOCH),
            wall,
            sealer: Sealer::new(&[1; 32]),
            out: Vec::new(),
            busy: HashSet::new(),
            facts: BTreeMap::new(),
            endpoints: Vec::new(),
            accepted_at: Timestamp::EPOCH,
            reads: Reads::default(),
        };
        for place in 0..ENDPOINTS {
            let id = EndpointId::new(START, place as u128);
            world.put(id, place);
            world.endpoints.push(id);
        }
        world.apply(ENDPOINTS);
        world
    }

    fn put(&mut self, id: EndpointId, order: usize) {
        let (mode, on_failure) = ORDERS[order % ORDERS.len()];
        let spec: EndpointSpec = serde_json::from_value(json!({
            "url": "https://h.test/", "retry": {"retries": RETRIES, "delay": "5s"},
            "ordering": {"mode": mode, "on_failure": on_failure},
        }))
        .unwrap();
        let sealed = document::seal(&self.sealer, id, &spec, &Notes::default()).unwrap();
        let initial = StateChange::Enable { discard: false };
        self.journal
            .push(Record::from(ConfigChange::EndpointPut(EndpointPut {
                id,
                at: START,
                initial,
                sealed,
            })));
    }

    pub(super) fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    fn endpoint(&self, choice: u8) -> EndpointId {
        self.endpoints[usize::from(choice) % ENDPOINTS]
    }

    /// Applies the next records, and tells the registry and the lanes.
    fn apply(&mut self, count: usize) {
        let store = self.store();
        let end = (self.applied + count).min(self.journal.len());
        let placed: Vec<Placed> = (self.applied..end)
            .map(|at| Placed {
                lsn: at as u64 + 1,
                place: Place::default(),
                record: self.journal[at].clone(),
            })
            .collect();
        self.applied = end;
        for effect in store.apply(JOURNAL, &placed).unwrap().effects {
            match &effect {
                Effect::Endpoint(id) => {
                    let row = store.endpoint(*id).unwrap().unwrap();
                    let endpoint = document::unseal(&self.sealer, *id, &row).unwrap();
                    self.registry.change(vec![endpoint], &[]);
                }
                Effect::Settled { key, .. } => _ = self.busy.remove(key),
                Effect::Due { .. } | Effect::Moved { .. } => {}
            }
            self.lanes.effect(&self.registry, effect);
        }
    }

    fn begin(&mut self, most: usize) {
        let now = self.clock.now();
        self.lanes.wake(now);
        self.lanes.begin_pass();
        let mut begun = 0;
        while begun < most {
            begun += 1;
            match self.lanes.next(now, Instant::now()) {
                None => return,
                Some(Step::Read(batch)) => {
                    begun -= 1;
                    self.read(batch);
                }
                Some(Step::Start {
                    endpoint,
                    row,
                    trigger,
                    slot,
                }) => {
                    self.may_begin(&endpoint, &row, now);
                    self.out.push(Out {
                        endpoint,
                        row: *row,
                        trigger,
                        started_at: now,
                        _slot: slot,
                    });
                }
                Some(Step::Expire(row)) => {
                    let key = row.delivery.key;
                    let fact = self.facts.get_mut(&key).unwrap();
                    assert!(fact.expires_at.is_some_and(|at| at <= now), "expired early");
                    let ended = DeliveriesEnded {
                        keys: vec![key],
                        at: now,
                        stage: Stage::Expired,
                    };
                    self.journal.push(Record::DeliveriesEnded(ended));
                    fact.ended = Some("expired");
                }
            }
        }
    }

    /// What the model has to say about an attempt that begins.
    fn may_begin(&mut self, endpoint: &Endpoint, row: &DueDelivery, now: Timestamp) {
        let key = row.delivery.key;
        let fact = &self.facts[&key];
        assert!(self.busy.insert(key), "{key:?} is out twice");
        assert_eq!(fact.ended, None, "{key:?} has ended");
        assert!(
            now >= fact.not_before,
            "{key:?} is early: {now} before {}",
            fact.not_before
        );
        assert!(
            fact.expires_at.is_none_or(|at| now < at),
            "{key:?} is sent after it expired"
        );
        assert!(fact.spent <= RETRIES, "{key:?} goes beyond its policy");
        assert_eq!(
            self.registry.get(endpoint.id).unwrap().standing.state,
            EndpointState::Active
        );
        self.is_its_turn(key);
    }

    /// What the endpoint's order has to say about an attempt that begins.
    fn is_its_turn(&self, key: DeliveryKey) {
        let fact = &self.facts[&key];
        let ordering: Ordering = self.registry.get(fact.endpoint).unwrap().spec.ordering;
        let Some(strand) = ordering.strand(fact.key) else {
            return;
        };
        let others = self.facts.iter().filter(|(other, fact_of_other)| {
            **other != key
                && fact_of_other.endpoint == fact.endpoint
                && ordering.strand(fact_of_other.key) == Some(strand)
                && other.lsn <= self.applied as u64
        });
        for (other, of_other) in others {
            assert!(!self.busy.contains(other), "{key:?} is out beside {other:?}");
            let ahead = of_other.ended.is_none() && of_other.rank < fact.rank;
            let may_be_passed = !ordering.blocks() && (of_other.tried || fact.tried);
            assert!(
                !ahead || may_be_passed,
                "{key:?} passes {other:?}: {fact:?}, {of_other:?}"
            );
        }
    }

    fn end(&mut self, which: u8, how: u8) {
        if self.out.is_empty() {
            return;
        }
        let out = self.out.swap_remove(usize::from(which) % self.out.len());
        let (outcome, now) = (outcome(how), self.clock.now());
        let Out {
            endpoint,
            row,
            trigger,
            started_at,
            ..
        } = &out;
        let ended = Ended {
            endpoint,
            row,
            trigger: *trigger,
            started_at: *started_at,
            outcome: &outcome,
        };
        let verdict = self.lanes.judge(&ended, &self.registry, now, 0.5);
        self.journal.push(Record::AttemptSettled(AttemptSettled {
            delivery: Some(row.delivery.key),
            endpoint: endpoint.id,
            event_id: "e".parse().unwrap(),
            event_type: "t".parse().unwrap(),
            tenant: None,
            number: row.delivery.attempts + 1,
            trigger: *trigger,
            started_at: *started_at,
            duration_millis: 0,
            class: outcome.class,
            reason: outcome.reason,
            status: outcome.status,
            body_broken: false,
            remote: None,
            stage: verdict.stage,
            progress: verdict.progress,
            health: verdict.health,
            disable: verdict.disable,
            location: None,
            excerpt: Bytes::new(),
            overrides_end: false,
            detail: Bytes::new(),
        }));
        self.facts
            .get_mut(&row.delivery.key)
            .unwrap()
            .attempt_ended(&outcome, now);
    }

    fn accept(&mut self, to: u8, delay_secs: u16, expires_secs: Option<u16>, late_millis: u16, key: u8) {
        let now = self.clock.now().minus(Duration::from_millis(late_millis.into()));
        let fan_out: Vec<EndpointId> = (0..ENDPOINTS)
            .filter(|place| to & (1 << place) != 0)
            .map(|place| self.endpoints[place])
            .collect();
        let due = now.plus(Duration::from_secs(delay_secs.into()));
        let expires_at = expires_secs.map(|secs| due.plus(Duration::from_secs(secs.into())));
        let lsn = self.journal.len() as u64 + 1;
        let ordering_key = (key > 0).then(|| format!("key-{key}").parse().unwrap());
        if delay_secs == 0 {
            self.accepted_at = self.accepted_at.max(now);
        }
        let place = if delay_secs == 0 { self.accepted_at } else { due };
        for (endpoint, index) in fan_out.iter().zip(0..) {
            let fact = Fact {
                endpoint: *endpoint,
                ended: None,
                not_before: due,
                expires_at,
                spent: 0,
                all_suspect: true,
                got_through: false,
                key: ordering_key.as_ref().map(Strand::of_key),
                rank: (place, DeliveryKey::new(lsn, index)),
                tried: false,
            };
            self.facts.insert(DeliveryKey::new(lsn, index), fact);
        }
        self.journal.push(Record::EventAccepted(EventAccepted {
            id: format!("event-{lsn}").parse().unwrap(),
            event_type: "t".parse().unwrap(),
            tenant: None,
            channel: None,
            ordering_key,
            accepted_at: now,
            occurred_at: now,
            due,
            expires_at,
            attributes: BTreeMap::new(),
            content_hash: [0; 16],
            idempotency_key: None,
            idempotency_until: now,
            fan_out,
            notice_for: None,
            payload: Payload {
                content_type: None,
                bytes: Bytes::from_static(b"{}"),
            },
        }));
    }

    fn change(&mut self, id: EndpointId, change: StateChange) {
        self.journal
            .push(Record::from(ConfigChange::EndpointChanged(EndpointChanged {
                id,
                at: self.clock.now(),
                change,
            })));
        self.apply(usize::MAX / 2);
    }

    /// A delivery that a person may retry or cancel: everything is applied and it is not out.
    fn resting(&mut self, choice: u8) -> Option<DeliveryKey> {
        self.apply(usize::MAX / 2);
        let keys: Vec<DeliveryKey> = self
            .facts
            .keys()
            .filter(|key| !self.busy.contains(key))
            .copied()
            .collect();
        (!keys.is_empty()).then(|| keys[usize::from(choice) % keys.len()])
    }

    fn retry(&mut self, choice: u8) {
        let Some(key) = self.resting(choice) else {
            return;
        };
        let now = self.clock.now();
        let fact = self.facts.get_mut(&key).unwrap();
        if fact.ended.take().is_some() {
            *fact = Fact {
                spent: 0,
                all_suspect: true,
                expires_at: None,
                got_through: false,
                tried: false,
                ..fact.clone()
            };
        }
        if !fact.tried {
            fact.rank.0 = now;
        }
        fact.not_before = now;
        self.journal.push(Record::DeliveriesRetried(DeliveriesRetried {
            keys: vec![key],
            due: now,
        }));
        self.apply(usize::MAX / 2);
    }

    fn cancel(&mut self, choice: u8) {
        let Some(key) = self.resting(choice).filter(|key| self.facts[key].ended.is_none()) else {
            return;
        };
        self.facts.get_mut(&key).unwrap().ended = Some("cancelled");
        let at = self.clock.now();
        let ended = DeliveriesEnded {
            keys: vec![key],
            at,
            stage: Stage::Cancelled,
        };
        self.journal.push(Record::DeliveriesEnded(ended));
        self.apply(usize::MAX / 2);
    }

    /// The process dies and comes back. What was not acknowledged may be gone; nothing else is.
    fn crash(&mut self, lose: u8, rebuild: bool) {
        for _ in 0..lose {
            let lost = self.journal.len() > self.applied
                && matches!(self.journal.last(), Some(Record::AttemptSettled(_)));
            if lost {
                self.journal.pop();
            }
        }
        self.out.clear();
        self.busy.clear();
        self.store = None;
        let trust = if rebuild { Trust::No } else { Trust::Yes };
        let store = open_store(&self.dir, trust);
        self.applied = usize::try_from(store.applied().unwrap().lsn).unwrap();
        self.store = Some(store);
        self.lanes = Lanes::new(Slots::new(SLOTS), 2, 3);
        self.registry = Registry::default();
        // Replayed before anything is sent, as the applier does it.
        self.apply(usize::MAX / 2);
        let store = self.store();
        for (id, row) in store.endpoints().unwrap() {
            let endpoint = document::unseal(&self.sealer, id, &row).unwrap();
            self.registry.change(vec![endpoint], &[]);
        }
        self.lanes = Lanes::new(Slots::new(SLOTS), 2, 3);
        self.reads.out.clear();
        self.lanes.begin(&self.registry, Default::default());
        for id in store.endpoints_with_work(None, usize::MAX).unwrap() {
            self.lanes.work(&self.registry.get(id).unwrap());
        }
        let saved = Some(self.clock.saved(false));
        self.clock = EngineClock::new(self.wall.clone(), saved, store.newest().unwrap());
        self.remember(&store);
    }

    /// A lost verdict means another attempt: the model goes back to what is recorded.
    fn remember(&mut self, store: &Store) {
        for (key, fact) in &mut self.facts {
            let delivery = store
                .delivery(*key)
                .unwrap()
                .expect("an accepted delivery is there after a crash");
            let Progress { spent, all_suspect } = delivery.progress;
            fact.spent = spent;
            fact.all_suspect = all_suspect;
            fact.tried = delivery.attempts > 0 && !delivery.replay;
            match delivery.stage {
                Stage::Scheduled { due } => {
                    fact.ended = None;
                    fact.not_before = due;
                }
                stage => fact.ended = Some(stage.as_str()),
            }
        }
    }

    pub(super) async fn run(&mut self, op: Op) {
        match op {
            Op::Accept {
                to,
                delay_secs,
                expires_secs,
                late_millis,
                key,
            } => {
                self.accept(to, delay_secs, expires_secs, late_millis, key);
            }
            Op::Order(which, how) => {
                self.put(self.endpoint(which), how.into());
                self.apply(usize::MAX / 2);
            }
            Op::Begin(most) => self.begin(most.into()),
            Op::End(which, how) => self.end(which, how),
            Op::Apply(count) => self.apply(count.into()),
            Op::Enable(which) => self.change(self.endpoint(which), StateChange::Enable { discard: false }),
            Op::Pause(which) => self.change(self.endpoint(which), StateChange::Pause),
            Op::Retry(which) => self.retry(which),
            Op::Cancel(which) => self.cancel(which),
            Op::Wait(secs) => tokio::time::advance(Duration::from_secs(secs.into())).await,
            Op::Reads(pace) => self.reads.pace = pace,
            Op::Come(fail) => self.come(fail.into()),
            Op::Step(secs) => self.wall.step(i64::from(secs) * 1000),
            Op::Crash { lose, rebuild } => self.crash(lose, rebuild),
        }
    }

    /// Everything heals: endpoints are enabled, receivers accept, time goes on.
    pub(super) async fn heal(&mut self) {
        self.apply(usize::MAX / 2);
        self.reads.pace = Pace::AtOnce;
        self.come(0);
        for endpoint in self.registry.all() {
            if !endpoint.is_active() {
                self.change(endpoint.id, StateChange::Enable { discard: false });
            }
        }
        for _ in 0..200 {
            loop {
                while !self.out.is_empty() {
                    self.end(0, 0);
                }
                self.apply(usize::MAX / 2);
                self.begin(1000);
                if self.out.is_empty() {
                    break;
                }
            }
            if self.out.is_empty()
                && self.applied == self.journal.len()
                && self.store().totals().unwrap().deliveries.scheduled == 0
            {
                return;
            }
            tokio::time::advance(Duration::from_secs(20)).await;
        }
    }

    pub(super) fn nothing_is_missing(&self) {
        let store = self.store();
        for (key, fact) in &self.facts {
            let delivery = store
                .delivery(*key)
                .unwrap()
                .expect("an accepted delivery is there");
            assert_eq!(delivery.endpoint, fact.endpoint);
            assert!(delivery.stage.is_final(), "{key:?} is still {:?}", delivery.stage);
            assert_eq!(Some(delivery.stage.as_str()), fact.ended, "{key:?}");
            assert!(
                delivery.stage != Stage::Delivered || fact.got_through,
                "{key:?} was never taken"
            );
        }
        let report = store.check().unwrap();
        assert!(report.is_clean(), "{:?}", report.faults);
    }

    /// A store made from the records alone is the same, byte for byte.
    pub(super) fn a_rebuilt_store_is_the_same(&mut self) {
        let before = self.store().dump().unwrap();
        self.crash(0, true);
        assert_eq!(self.store().dump().unwrap(), before);
    }
}

fn open_store(dir: &TempDir, trust: Trust) -> Store {
    let options = open::Options {
        data: dir.path().to_owned(),
        table: crate::storage::local::index::TableOptions {
            cache_bytes: 1024 * 1024,
            buffer_bytes: 16 * 1024,
            indexes: crate::storage::local::index::Indexes::All,
        },
        journal: JOURNAL,
        last_lsn: u64::MAX,
        trust,
        first_lsn: 1,
        check_bytes: u64::MAX,
    };
    open::open(&options).unwrap().store
}
