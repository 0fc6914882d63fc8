//! An order over a real store, at the sizes that the model's random sequences do not reach.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;

use super::{reading::Found, *};
use crate::{
    domain::{
        delivery::{Progress, Stage, Trigger},
        event::Payload,
        health::Health,
        id::EndpointId,
        outcome::{Class, Reason},
        record::{AttemptSettled, DeliveriesEnded, EventAccepted, Place, Record},
    },
    storage::{
        Effect,
        local::{
            answer,
            index::{
                Placed, Store,
                open::{self, Trust},
            },
        },
        schedule::ScheduleRead,
    },
};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LATER: Duration = Duration::from_secs(3600);
const ENDPOINT: EndpointId = EndpointId::from_bytes([1; 16]);

struct Bench {
    _dir: TempDir,
    store: Store,
    lsn: u64,
    now: Timestamp,
    order: Order,
    busy: Busy,
}

impl Bench {
    fn new(most_waiting: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = open::Options {
            data: dir.path().to_owned(),
            table: crate::storage::local::index::TableOptions {
                cache_bytes: 1024 * 1024,
                buffer_bytes: 16 * 1024,
                indexes: crate::storage::local::index::Indexes::All,
            },
            journal: [7; 16],
            last_lsn: u64::MAX,
            trust: Trust::No,
            first_lsn: 1,
            check_bytes: 0,
        };
        let ordering = serde_json::from_value(json!("key")).unwrap();
        Self {
            store: open::open(&options).unwrap().store,
            _dir: dir,
            lsn: 0,
            now: START,
            order: Order::new(ordering, &Busy::new(), most_waiting),
            busy: Busy::new(),
        }
    }

    fn apply(&mut self, records: Vec<Record>) {
        let mut placed = Vec::new();
        for record in records {
            self.lsn += 1;
            placed.push(Placed {
                lsn: self.lsn,
                place: Place::default(),
                record,
            });
        }
        for effect in self.store.apply([7; 16], &placed).unwrap().effects {
            match effect {
                Effect::Due { entry, .. } => self.order.scheduled(entry),
                Effect::Settled { key, .. } | Effect::Moved { key, .. } => {
                    self.busy.remove(&key);
                    self.order.settled(key);
                }
                Effect::Endpoint(_) => {}
            }
        }
    }

    /// Accepts events with these ordering keys; answers the first one's delivery.
    fn accept(&mut self, keys: impl IntoIterator<Item = String>) -> DeliveryKey {
        let first = DeliveryKey::new(self.lsn + 1, 0);
        let expires_at = None;
        let records = keys.into_iter().zip(self.lsn + 1..);
        let records = records.map(|(key, lsn)| accepted(lsn, &key, self.now, expires_at));
        self.apply(records.collect());
        first
    }

    /// What an attempt came to.
    fn settle(&mut self, key: DeliveryKey, stage: Stage) {
        self.apply(vec![settled(key, self.now, stage)]);
    }

    /// One read, and what comes of it.
    fn read(&mut self, find: bool) -> Found {
        let mut read = ScheduleRead {
            now: self.now,
            ..ScheduleRead::default()
        };
        self.order.ask(ENDPOINT, find, &mut read);
        assert!(!read.entries.is_empty() || !read.at.is_empty());
        let answer = answer(&self.store, &read).unwrap();
        let portions = Portions {
            entries: answer.entries,
            at: answer.at,
        };
        let found = self.order.take(portions, self.now, &self.busy);
        let rows = found.ready.iter().chain(&found.expired);
        self.busy.extend(rows.map(|row| (row.delivery.key, row.strand)));
        found
    }

    /// Reads until something is found, or there is nothing more to look at; answers how many reads that took.
    fn find(&mut self) -> (Vec<DeliveryKey>, usize) {
        let mut reads = 0;
        while self.order.finds(self.now, &self.busy) {
            reads += 1;
            let found = self.read(true).ready;
            if !found.is_empty() {
                return (found.iter().map(|row| row.delivery.key).collect(), reads);
            }
        }
        (Vec::new(), reads)
    }

    /// Surveys to the end; answers what has expired.
    fn survey(&mut self) -> Vec<DeliveryKey> {
        let mut expired = Vec::new();
        while self.order.surveys(self.now, &self.busy) {
            expired.extend(self.read(false).expired.iter().map(|row| row.delivery.key));
        }
        expired
    }

    /// Everything that may be sent now, and how many reads that took.
    fn all(&mut self) -> (Vec<DeliveryKey>, usize) {
        let (mut all, mut reads) = (Vec::new(), 0);
        loop {
            let (found, more) = self.find();
            reads += more;
            if found.is_empty() {
                return (all, reads);
            }
            all.extend(found);
        }
    }
}

fn accepted(lsn: u64, key: &str, at: Timestamp, expires_at: Option<Timestamp>) -> Record {
    Record::EventAccepted(EventAccepted {
        id: format!("event-{lsn}").parse().unwrap(),
        event_type: "t".parse().unwrap(),
        tenant: None,
        channel: None,
        ordering_key: Some(key.parse().unwrap()),
        accepted_at: at,
        occurred_at: at,
        due: at,
        expires_at,
        attributes: BTreeMap::new(),
        content_hash: [0; 16],
        idempotency_key: None,
        idempotency_until: at,
        fan_out: vec![ENDPOINT],
        notice_for: None,
        payload: Payload {
            content_type: None,
            bytes: Bytes::from_static(b"{}"),
        },
    })
}

fn settled(key: DeliveryKey, at: Timestamp, stage: Stage) -> Record {
    Record::AttemptSettled(AttemptSettled {
        delivery: Some(key),
        endpoint: ENDPOINT,
        event_id: "e".parse().unwrap(),
        event_type: "t".parse().unwrap(),
        tenant: None,
        number: 1,
        trigger: Trigger::Initial,
        started_at: at,
        duration_millis: 0,
        class: Class::Transient,
        reason: Reason::Status,
        status: Some(503),
        body_broken: false,
        remote: None,
        stage,
        progress: Progress::default(),
        health: Health::default(),
        disable: None,
        location: None,
        excerpt: Bytes::new(),
        overrides_end: false,
        detail: Bytes::new(),
    })
}

#[test]
fn a_deep_backlog_behind_a_blocked_key_costs_one_position_and_one_look_through() {
    let mut bench = Bench::new(limits::ORDER_WAITING);
    bench.survey();
    let head = bench.accept(["deep".to_owned()]);
    assert_eq!(bench.all().0, [head]);
    let due = bench.now.plus(LATER);
    bench.settle(head, Stage::Scheduled { due });
    let depth = 3 * limits::ORDER_LOOKS;
    let backlog = bench.accept((0..depth).map(|_| "deep".to_owned()));
    let others = bench.accept((0..3).map(|n| format!("other-{n}")));
    let (found, reads) = bench.all();
    assert_eq!(
        found,
        (0..3)
            .map(|n| DeliveryKey::new(others.lsn + n, 0))
            .collect::<Vec<_>>()
    );
    // Some small portions before the large ones, and then those that were found.
    assert!(reads <= depth / limits::ORDER_LOOKS + 5, "{reads} reads");
    assert_eq!((bench.order.passed.len(), bench.order.waiting.len()), (1, 1));
    // What comes later finds its way without the backlog being looked through again.
    let late = bench.accept(["late".to_owned()]);
    assert_eq!(bench.find(), (vec![late], 2));
    // The head gets through, and the backlog goes out one by one, each found at once.
    bench.now = due;
    assert_eq!(bench.all().0, [head]);
    bench.settle(head, Stage::Delivered);
    for n in 0..50 {
        let next = DeliveryKey::new(backlog.lsn + n, 0);
        assert_eq!(bench.find(), (vec![next], 2));
        assert_eq!(bench.find().0, [], "never two of one key");
        bench.settle(next, Stage::Delivered);
    }
    assert_eq!(bench.order.passed.len(), 1);
}

#[test]
fn a_lane_that_begins_anew_learns_who_waits_before_it_finds_anything() {
    let mut bench = Bench::new(limits::ORDER_WAITING);
    bench.survey();
    let head = bench.accept(["a".to_owned(), "b".to_owned()]);
    bench.all();
    let due = bench.now.plus(LATER);
    bench.settle(head, Stage::Scheduled { due });
    bench.settle(DeliveryKey::new(head.lsn + 1, 0), Stage::Delivered);
    let next = bench.accept(["a".to_owned(), "b".to_owned()]);
    let ordering = bench.order.ordering;
    bench.order = Order::new(ordering, &Busy::new(), limits::ORDER_WAITING);
    assert!(!bench.order.survey.complete);
    bench.survey();
    assert!(bench.order.survey.complete);
    assert_eq!(bench.all().0, [DeliveryKey::new(next.lsn + 1, 0)]);
    assert_eq!(bench.order.next_look(), Some(due));
}

#[test]
fn when_as_many_wait_as_may_nothing_is_tried_for_the_first_time() {
    let mut bench = Bench::new(4);
    bench.survey();
    let first = bench.accept((0..4).map(|n| format!("key-{n}")));
    assert_eq!(bench.all().0.len(), 4);
    let due = bench.now.plus(LATER);
    for n in 0..4 {
        bench.settle(DeliveryKey::new(first.lsn + n, 0), Stage::Scheduled { due });
    }
    let fresh = bench.accept(["new".to_owned()]);
    assert_eq!(bench.all().0, []);
    assert_eq!(bench.order.next_look(), Some(due));
    bench.now = due;
    let retries: Vec<_> = (0..4).map(|n| DeliveryKey::new(first.lsn + n, 0)).collect();
    assert_eq!(bench.find().0, retries);
    bench.settle(first, Stage::Delivered);
    assert_eq!(bench.all().0, [fresh]);
}

#[test]
fn more_than_may_be_known_wait_and_all_go_out_in_the_end() {
    let most = 4;
    let count = most + usize::from(limits::ENDPOINT_CONCURRENCY) + 100;
    let mut bench = Bench::new(count * 2);
    bench.survey();
    let first = bench.accept((0..count).map(|n| format!("key-{n}")));
    bench.all();
    let due = bench.now.plus(LATER);
    let records = (0..count as u64).map(|n| {
        settled(
            DeliveryKey::new(first.lsn + n, 0),
            START,
            Stage::Scheduled { due },
        )
    });
    bench.apply(records.collect());
    let fresh = bench.accept(["key-0".to_owned(), "new".to_owned()]);
    let ordering = bench.order.ordering;
    bench.order = Order::new(ordering, &Busy::new(), most);
    bench.survey();
    assert!(bench.order.waiting.len() < count && bench.order.is_full());
    assert_eq!(bench.all().0, []);
    bench.now = due;
    let mut sent = Vec::new();
    loop {
        bench.survey();
        let (found, _) = bench.find();
        if found.is_empty() {
            break;
        }
        for key in found {
            sent.push(key);
            bench.settle(key, Stage::Delivered);
        }
    }
    assert_eq!(sent.len(), count + 2);
    let place = |key: DeliveryKey| sent.iter().position(|sent| *sent == key);
    assert!(place(first) < place(fresh), "of one key the earlier goes first");
    assert!(bench.order.is_idle());
}

#[test]
fn what_expires_in_line_is_found_though_nobody_may_pass() {
    let mut bench = Bench::new(limits::ORDER_WAITING);
    bench.survey();
    let head = bench.accept(["a".to_owned()]);
    bench.all();
    bench.settle(
        head,
        Stage::Scheduled {
            due: bench.now.plus(LATER),
        },
    );
    let expires = bench.now.plus(Duration::from_secs(60));
    let brief = accepted(bench.lsn + 1, "a", bench.now, Some(expires));
    bench.apply(vec![brief]);
    let key = DeliveryKey::new(bench.lsn, 0);
    assert_eq!(bench.all().0, []);
    assert_eq!(bench.order.next_survey(), Some(expires));
    bench.now = expires;
    assert_eq!(bench.survey(), [key]);
    bench.apply(vec![Record::DeliveriesEnded(DeliveriesEnded {
        keys: vec![key],
        at: expires,
        stage: Stage::Expired,
    })]);
    bench.survey();
    assert_eq!(bench.order.next_survey(), None);
    assert_eq!(bench.all().0, []);
}

#[test]
fn keys_that_are_free_again_take_turns() {
    let mut bench = Bench::new(limits::ORDER_WAITING);
    bench.survey();
    let keys = 3 * PAGE as u64;
    let heads = bench.accept((0..keys).map(|n| format!("key-{n}")));
    bench.all();
    let due = bench.now.plus(LATER);
    for n in 0..keys {
        bench.settle(DeliveryKey::new(heads.lsn + n, 0), Stage::Scheduled { due });
    }
    let backlog = bench.accept((0..3 * keys).map(|n| format!("key-{}", n % keys)));
    assert_eq!(bench.all().0, []);
    bench.now = due;
    let (retries, _) = bench.all();
    for retry in retries {
        bench.settle(retry, Stage::Delivered);
    }
    let mut sent = Vec::new();
    while sent.len() < 3 * keys as usize {
        for key in bench.find().0 {
            sent.push(key.lsn);
            bench.settle(key, Stage::Delivered);
        }
    }
    // The backlog is three rounds of all keys: nobody has a third turn before everyone has had the first.
    let place = |lsn: u64| sent.iter().position(|sent| *sent == lsn).unwrap();
    let last_first = (0..keys).map(|n| place(backlog.lsn + n)).max();
    let first_third = (0..keys).map(|n| place(backlog.lsn + 2 * keys + n)).min();
    assert!(last_first < first_third, "{last_first:?} {first_third:?}");
}

/// An order is in the values of the schedule's entries: no row more, whatever the endpoint keeps.
#[test]
fn an_order_takes_no_row_of_its_own() {
    let mut bench = Bench::new(limits::ORDER_WAITING);
    let first = bench.accept((0..10).map(|n| format!("key-{}", n % 2)));
    let due = bench.now.plus(LATER);
    bench.settle(first, Stage::Scheduled { due });
    let mut kinds: BTreeMap<u8, usize> = BTreeMap::new();
    for (key, _) in bench.store.dump().unwrap() {
        *kinds.entry(key[0]).or_default() += 1;
    }
    // Applied, totals, which indexes there are, the endpoint's counts; how many events have the type; events, their ids,
    // the types they have; deliveries, which are scheduled; the schedule; an attempt, how it ended, of which event; times;
    // rollups of the minute and of the hour.
    let expected = [
        (0x01, 1),
        (0x02, 1),
        (0x05, 1),
        (0x11, 1),
        (0x14, 1),
        (0x20, 10),
        (0x21, 10),
        (0x23, 10),
        (0x30, 10),
        (0x33, 10),
        (0x40, 10),
        (0x50, 1),
        (0x51, 1),
        (0x52, 1),
        (0x61, 1),
        (0x62, 2),
    ];
    assert_eq!(kinds, BTreeMap::from(expected));
}

#[test]
fn one_that_appears_late_does_not_overtake_a_key_that_is_still_being_looked_for() {
    let mut bench = Bench::new(limits::ORDER_WAITING);
    bench.survey();
    let heads = bench.accept(["deep".to_owned(), "far".to_owned()]);
    bench.all();
    let due = bench.now.plus(LATER);
    let far = DeliveryKey::new(heads.lsn + 1, 0);
    bench.settle(heads, Stage::Scheduled { due: due.plus(LATER) });
    bench.settle(far, Stage::Scheduled { due });
    // Between the two that wait behind the far head lies more than is looked at in one turn.
    let first = bench.accept(["far".to_owned()]);
    bench.accept((0..limits::ORDER_LOOKS + 100).map(|_| "deep".to_owned()));
    let second = bench.accept(["far".to_owned()]);
    assert_eq!(bench.all().0, []);
    bench.now = due;
    for key in [far, first] {
        assert_eq!(bench.all().0, [key]);
        bench.settle(key, Stage::Delivered);
    }
    let third = bench.accept(["far".to_owned()]);
    for key in [second, third] {
        assert_eq!(bench.all().0, [key]);
        bench.settle(key, Stage::Delivered);
    }
}

/// As when an order is set while a later one waits for its retry, and the verdict on an earlier one is lost.
#[test]
fn a_retry_waits_for_an_earlier_one_that_was_not_read_yet() {
    let mut bench = Bench::new(limits::ORDER_WAITING);
    let others = 2 * PAGE as u64;
    let first = bench.accept((0..others).map(|n| format!("other-{n}")));
    let earlier = bench.accept(["key".to_owned(), "key".to_owned()]);
    let later = DeliveryKey::new(earlier.lsn + 1, 0);
    bench.settle(later, Stage::Scheduled { due: bench.now });
    bench.order = Order::new(bench.order.ordering, &Busy::new(), limits::ORDER_WAITING);
    bench.survey();
    let found = bench.all().0;
    assert!(found.contains(&first) && found.contains(&earlier) && !found.contains(&later));
    bench.settle(earlier, Stage::Delivered);
    assert_eq!(bench.all().0, [later]);
}
