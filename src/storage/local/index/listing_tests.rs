//! Lists against a plain look at all rows, while rows come and go.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Indexes, Placed, Store, TableOptions, keys,
    listing::{Listed, Look, Plan},
    open::{Options, Trust, open},
    query::Window,
    rows::{AttemptRow, EventRow},
};
use crate::{
    domain::{
        delivery::{Delivery, Progress, Stage, StageKind, Trigger},
        event::Payload,
        health::Health,
        id::{DeliveryKey, EndpointId, Lsn},
        outcome::{Class, Reason},
        reclaim::{AttemptsForgotten, EventsForgotten, ForgottenEvent},
        record::{AttemptSettled, DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed, Record},
        time::Timestamp,
    },
    storage::queries::{AttemptFilter, DeliveryFilter, Endpoints, EventFilter},
};

const JOURNAL: [u8; 16] = [7; 16];
const TYPES: [&str; 5] = [
    "user.created",
    "user.deleted",
    "user.name.set",
    "order.paid",
    "order",
];
const PATTERNS: [&str; 7] = [
    "user.created",
    "user.*",
    "user.**",
    "*.paid",
    "order",
    "nothing",
    "**",
];
const TENANTS: [Option<&str>; 3] = [None, Some("acme"), Some("umbrella")];
const STATUSES: [Option<u16>; 3] = [None, Some(200), Some(503)];
const STAGES: [StageKind; 5] = StageKind::ALL;

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    rng: fastrand::Rng,
    lsn: Lsn,
    now: u64,
    events: BTreeMap<Lsn, EventAccepted>,
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn endpoint(number: u8) -> EndpointId {
    EndpointId::from_bytes([number; 16])
}

impl World {
    fn new(seed: u64, indexes: Indexes) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(&Options {
            data: dir.path().to_owned(),
            table: TableOptions {
                cache_bytes: 1024 * 1024,
                buffer_bytes: 1024 * 1024,
                indexes,
            },
            journal: JOURNAL,
            last_lsn: 0,
            first_lsn: 1,
            trust: Trust::Yes,
            check_bytes: 0,
        });
        Self {
            _dir: dir,
            store: opened.unwrap().store,
            rng: fastrand::Rng::with_seed(seed),
            lsn: 0,
            now: 10_000,
            events: BTreeMap::new(),
        }
    }

    fn one_of<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.rng.usize(0..some.len())]
    }

    fn apply(&mut self, record: Record) -> Lsn {
        // Records are of other things as well: zones are not full of events.
        self.lsn += self.rng.u64(1..200);
        let placed = Placed {
            lsn: self.lsn,
            place: Default::default(),
            record,
        };
        self.store.apply(JOURNAL, &[placed]).unwrap();
        self.lsn
    }

    fn event(&mut self) -> EventAccepted {
        // Times follow the journal, more or less.
        self.now += self.rng.u64(0..1000);
        let accepted_at = at(self.now - self.rng.u64(0..5000));
        let mut attributes = BTreeMap::new();
        for name in ["colour", "size"] {
            if self.rng.bool() {
                attributes.insert(name.to_owned(), self.rng.u8(0..3).to_string());
            }
        }
        let fan_out = (0..5).filter(|_| self.rng.u8(0..3) == 0).map(endpoint);
        EventAccepted {
            fan_out: fan_out.collect(),
            id: format!("e{}", self.lsn).parse().unwrap(),
            event_type: self.one_of(&TYPES).parse().unwrap(),
            tenant: self.one_of(&TENANTS).map(|tenant| tenant.parse().unwrap()),
            channel: None,
            ordering_key: None,
            accepted_at,
            occurred_at: accepted_at,
            due: accepted_at,
            expires_at: None,
            attributes,
            content_hash: [0; 16],
            idempotency_key: (self.rng.u8(0..3) == 0).then(|| format!("k{}", self.lsn % 7)),
            idempotency_until: accepted_at,
            notice_for: None,
            payload: Payload {
                content_type: None,
                bytes: Bytes::from_static(b"1"),
            },
        }
    }

    fn accept(&mut self, event: EventAccepted) -> Lsn {
        let lsn = self.apply(Record::EventAccepted(event.clone()));
        self.events.insert(lsn, event);
        lsn
    }

    fn all<T: Listed>(&self) -> Vec<(DeliveryKey, T)> {
        let whole = Window {
            prefix: vec![T::KIND],
            beyond: None,
            ascending: true,
            limit: usize::MAX,
            looks: usize::MAX,
        };
        let rows = self.store.window::<T>(&whole, |_, _| true).unwrap().found;
        rows.into_iter()
            .map(|(key, row)| (keys::position_in(&key), row))
            .collect()
    }

    fn a_delivery(&mut self) -> Option<Delivery> {
        let all = self.all::<Delivery>();
        (!all.is_empty()).then(|| all[self.rng.usize(0..all.len())].1)
    }

    fn settle(&mut self, delivery: Option<Delivery>) {
        let began = at(self.now - self.rng.u64(0..8000));
        let class = self.one_of(&Class::ALL);
        let stages = [
            Stage::Delivered,
            Stage::Failed,
            Stage::Scheduled {
                due: at(self.now + 1000),
            },
        ];
        let attempt = AttemptSettled {
            delivery: delivery.map(|delivery| delivery.key),
            endpoint: delivery.map_or(endpoint(9), |delivery| delivery.endpoint),
            event_id: "e".parse().unwrap(),
            event_type: self.one_of(&TYPES).parse().unwrap(),
            tenant: self.one_of(&TENANTS).map(|tenant| tenant.parse().unwrap()),
            number: 1,
            trigger: Trigger::Initial,
            started_at: began,
            duration_millis: 3,
            class,
            reason: Reason::Status,
            status: self.one_of(&STATUSES),
            body_broken: false,
            remote: None,
            stage: self.one_of(&stages),
            progress: Progress::default(),
            health: Health::default(),
            disable: None,
            location: None,
            overrides_end: false,
            detail: Bytes::new(),
            excerpt: Bytes::new(),
        };
        self.apply(Record::AttemptSettled(attempt));
    }

    fn forget(&mut self, event: Lsn) {
        let Some(all) = self.store.belongings(event).unwrap() else {
            return;
        };
        if all.is_settled() {
            let gone = ForgottenEvent {
                event,
                idempotency_key: self.events[&event].idempotency_key.clone(),
                added: all.added,
                attempts: all.attempts,
            };
            self.apply(Record::EventsForgotten(EventsForgotten { events: vec![gone] }));
            self.events.remove(&event);
        }
    }

    fn end_all(&mut self) {
        let all = self.all::<Delivery>().into_iter();
        let ended = DeliveriesEnded {
            keys: all.map(|(key, _)| key).collect(),
            at: at(self.now),
            stage: Stage::Cancelled,
        };
        self.apply(Record::DeliveriesEnded(ended));
    }

    fn change(&mut self) {
        match self.rng.u8(0..16) {
            0..6 => {
                let event = self.event();
                _ = self.accept(event);
            }
            6..11 => {
                let delivery = self.a_delivery();
                self.settle(delivery);
            }
            11 => self.settle(None),
            12 => {
                if let Some(delivery) = self.a_delivery() {
                    let (keys, due) = (vec![delivery.key], at(self.now));
                    self.apply(Record::DeliveriesRetried(DeliveriesRetried { keys, due }));
                }
            }
            13 => {
                let lsns: Vec<Lsn> = self.events.keys().copied().collect();
                if !lsns.is_empty() {
                    let replayed = EventReplayed {
                        event: self.one_of(&lsns),
                        due: at(self.now),
                        fan_out: vec![endpoint(self.rng.u8(0..6))],
                    };
                    self.apply(Record::EventReplayed(replayed));
                }
            }
            14 => {
                let lsns: Vec<Lsn> = self.events.keys().copied().collect();
                for lsn in lsns.into_iter().take(5) {
                    self.forget(lsn);
                }
            }
            _ => {
                // The oldest go first, as retention has it.
                let before = self.rng.u64(0..=self.lsn) / 2;
                self.apply(Record::AttemptsForgotten(AttemptsForgotten { from: 0, before }));
                if self.rng.bool() {
                    self.store.flush().unwrap();
                }
            }
        }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.rng.u8(0..3) == 0).then(|| make(self))
    }

    fn times(&mut self) -> (Option<Timestamp>, Option<Timestamp>) {
        let span = 5_000..self.now + 1000;
        let since = self.maybe(|world| at(world.rng.u64(span.clone())));
        let until = self.maybe(|world| at(world.rng.u64(span.clone())));
        (since, until)
    }

    fn some_endpoints(&mut self) -> Endpoints {
        let some = (0..6).filter(|_| self.rng.bool()).map(endpoint).collect();
        match self.rng.u8(0..4) {
            0 | 1 => Endpoints::All,
            2 => Endpoints::Only(some),
            _ => Endpoints::Except(some),
        }
    }

    /// Pages through a list, with changes between its pages; each page has to be what a look at all rows says.
    fn page_through<T: Listed>(&mut self, plan: &Plan, matches: impl Fn(&Self, DeliveryKey, &T) -> bool) {
        let (ascending, limit) = (self.rng.bool(), self.rng.usize(1..6));
        let mut beyond = None;
        for _ in 0..6 {
            let mut expected: Vec<DeliveryKey> = self
                .all::<T>()
                .into_iter()
                .filter(|(at, row)| matches(self, *at, row))
                .map(|(at, _)| at)
                .filter(|at| beyond.is_none_or(|beyond| if ascending { *at > beyond } else { *at < beyond }))
                .collect();
            if !ascending {
                expected.reverse();
            }
            expected.truncate(limit);
            let mut lister = self.store.lister::<T>(plan, beyond, ascending);
            let mut found = Vec::new();
            while found.len() < limit {
                match lister.look().unwrap() {
                    Look::Row(at, row) if matches(self, at, &row) => found.push(at),
                    Look::Row(..) | Look::Passed => {}
                    Look::End => break,
                }
            }
            assert_eq!(
                found, expected,
                "{plan:?}, ascending: {ascending}, beyond {beyond:?}"
            );
            drop(lister);
            let Some(last) = found.last() else { break };
            beyond = Some(*last);
            self.change();
        }
    }

    fn list_events(&mut self) {
        let (since, until) = self.times();
        let filter = EventFilter {
            event_type: self.maybe(|world| world.one_of(&PATTERNS).parse().unwrap()),
            tenant: self.maybe(|world| world.one_of(&["acme", "umbrella", "none"]).parse().unwrap()),
            attributes: self
                .maybe(|world| {
                    let value = world.rng.u8(0..4).to_string();
                    vec![(world.one_of(&["colour", "size"]).to_owned(), value)]
                })
                .unwrap_or_default(),
            idempotency_key: self.maybe(|world| format!("k{}", world.rng.u8(0..8))),
            since,
            until,
        };
        let plan = self.store.plan_events(&filter).unwrap();
        self.page_through::<EventRow>(&plan, |world, at, row| {
            let event = &world.events[&at.lsn];
            let wanted = filter
                .attributes
                .iter()
                .all(|(name, value)| event.attributes.get(name) == Some(value))
                && (filter.idempotency_key.is_none() || filter.idempotency_key == event.idempotency_key)
                && filter.is_type(&event.event_type)
                && (filter.tenant.is_none() || filter.tenant == event.tenant)
                && since.is_none_or(|since| event.accepted_at >= since)
                && until.is_none_or(|until| event.accepted_at <= until);
            assert_eq!(wanted, filter.matches(row));
            wanted
        });
    }

    fn list_deliveries(&mut self) {
        let (since, until) = self.times();
        let lsns: Vec<Lsn> = self.events.keys().copied().collect();
        let among: Vec<DeliveryKey> = (0..4)
            .filter_map(|_| self.a_delivery())
            .map(|delivery| delivery.key)
            .collect();
        let filter = DeliveryFilter {
            event: self.maybe(|world| world.one_of(&lsns)),
            endpoints: self.some_endpoints(),
            stage: self.maybe(|world| world.one_of(&STAGES)),
            among: self
                .maybe(|_| among.iter().copied().collect())
                .filter(|_| !among.is_empty()),
            except: self
                .maybe(|_| among.iter().copied().take(1).collect())
                .unwrap_or_default(),
            status: self.maybe(|world| world.one_of(&[200, 503])),
            since,
            until,
            ..DeliveryFilter::default()
        };
        let plan = self.store.plan_deliveries(&filter).unwrap();
        self.page_through::<Delivery>(&plan, |_, _, row| filter.matches(row));
    }

    fn list_attempts(&mut self) {
        let (since, until) = self.times();
        let lsns: Vec<Lsn> = self.events.keys().copied().collect();
        let delivery = self.a_delivery();
        let filter = AttemptFilter {
            event: self.maybe(|world| world.one_of(&lsns)),
            delivery: delivery
                .filter(|_| self.rng.u8(0..4) == 0)
                .map(|delivery| delivery.key),
            endpoints: self.some_endpoints(),
            outcome: self.maybe(|world| world.one_of(&Class::ALL)),
            event_type: self.maybe(|world| world.one_of(&PATTERNS).parse().unwrap()),
            tenant: self.maybe(|world| world.one_of(&["acme", "umbrella"]).parse().unwrap()),
            operational: Endpoints::All,
            status: self.maybe(|world| world.one_of(&[200, 503])),
            since,
            until,
        };
        let plan = self.store.plan_attempts(&filter).unwrap();
        self.page_through::<AttemptRow>(&plan, |world, _, row| {
            let event = || {
                let delivery = row.delivery.and_then(|key| world.store.delivery(key).unwrap());
                delivery.map(|delivery| delivery.event)
            };
            (filter.event.is_none() || filter.event == event()) && filter.matches(&row.clone().into())
        });
    }

    fn check(&self) {
        let report = self.store.check().unwrap();
        assert!(report.is_clean(), "{:?}", report.faults);
    }
}

fn histories(indexes: Indexes) {
    let soak = std::env::var_os("POSTHASTE_SOAK").is_some();
    for seed in 0..if soak { 500 } else { 12 } {
        let mut world = World::new(seed, indexes);
        (0..40).for_each(|_| world.change());
        for _ in 0..20 {
            (0..8).for_each(|_| world.change());
            if world.events.is_empty() {
                continue;
            }
            world.list_events();
            if !world.events.is_empty() {
                world.list_deliveries();
            }
            if !world.events.is_empty() {
                world.list_attempts();
            }
        }
        world.check();
        world.end_all();
        let lsns: Vec<Lsn> = world.events.keys().copied().collect();
        lsns.into_iter().for_each(|lsn| world.forget(lsn));
        let all = AttemptsForgotten {
            from: 0,
            before: u64::MAX,
        };
        world.apply(Record::AttemptsForgotten(all));
        world.check();
        for kind in [
            keys::TYPE_COUNT,
            keys::MARKED,
            keys::STAGED,
            keys::JUDGED,
            keys::TRIED,
            keys::ZONE,
        ] {
            assert_eq!(
                world.store.count(kind).unwrap(),
                0,
                "seed {seed}, kind {kind:02x}"
            );
        }
    }
}

#[test]
fn every_page_is_what_a_look_at_all_rows_says_and_no_row_of_an_index_stays_behind() {
    histories(Indexes::All);
}

#[test]
fn without_the_indexes_for_lists_every_page_is_the_same() {
    histories(Indexes::Essential);
}

/// How many looks it takes to find the first rows of a plan.
fn looks<T: Listed>(
    store: &Store,
    plan: &Plan,
    ascending: bool,
    rows: usize,
    keep: impl Fn(&T) -> bool,
) -> usize {
    let mut lister = store.lister::<T>(plan, None, ascending);
    let mut found = 0;
    for looks in 1.. {
        match lister.look().unwrap() {
            Look::Row(_, row) if keep(&row) => found += 1,
            Look::Row(..) | Look::Passed => {}
            Look::End => panic!("{found} rows"),
        }
        if found == rows {
            return looks;
        }
    }
    unreachable!()
}

#[test]
fn a_page_of_one_endpoint_takes_few_looks_whatever_others_have_got_since() {
    let mut world = World::new(1, Indexes::All);
    let to = |world: &mut World, number: u8| {
        let event = EventAccepted {
            fan_out: vec![endpoint(number)],
            ..world.event()
        };
        world.accept(event);
        let (_, delivery) = world.all::<Delivery>().pop().unwrap();
        world.settle(Some(delivery));
    };
    (0..5).for_each(|_| to(&mut world, 1));
    (0..600).for_each(|_| {
        let event = EventAccepted {
            fan_out: vec![endpoint(2)],
            ..world.event()
        };
        world.accept(event);
    });
    let deliveries = DeliveryFilter {
        endpoints: Endpoints::Only([endpoint(1)].into()),
        ..DeliveryFilter::default()
    };
    let plan = world.store.plan_deliveries(&deliveries).unwrap();
    assert_eq!(
        looks::<Delivery>(&world.store, &plan, false, 5, |row| deliveries.matches(row)),
        5
    );
    let attempts = AttemptFilter {
        endpoints: deliveries.endpoints.clone(),
        ..AttemptFilter::default()
    };
    let plan = world.store.plan_attempts(&attempts).unwrap();
    assert_eq!(
        looks::<AttemptRow>(&world.store, &plan, true, 5, |row| attempts
            .matches(&row.clone().into())),
        5
    );
}

#[test]
fn an_old_minute_is_found_without_a_look_at_what_came_since() {
    let mut world = World::new(2, Indexes::All);
    for _ in 0..4000 {
        world.now += 1000;
        let event = EventAccepted {
            accepted_at: at(world.now),
            fan_out: Vec::new(),
            ..world.event()
        };
        world.accept(event);
    }
    let first = *world
        .events
        .values()
        .next()
        .map(|event| &event.accepted_at)
        .unwrap();
    let filter = EventFilter {
        since: Some(first),
        until: Some(first.plus(std::time::Duration::from_secs(60))),
        ..EventFilter::default()
    };
    let plan = world.store.plan_events(&filter).unwrap();
    for ascending in [true, false] {
        let looks = looks::<EventRow>(&world.store, &plan, ascending, 10, |row| filter.matches(row));
        // Zones are 1,024 records, of which every hundredth is an event here.
        assert!(looks < 60, "{looks} looks");
    }
}
