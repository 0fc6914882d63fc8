//! What happens to a lane while a page is on its way to it. Pages are read and arrive at times of the test's choice.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    domain::{
        delivery::{Delivery, Progress},
        endpoint::{Notes, Standing, StateChange},
        health::Health,
        outcome::{Observation, classify},
    },
    storage::schedule::{DuePage, Entry, EntryPage, EventHandle, Position, ScheduleRead},
};

const ENDPOINT: EndpointId = EndpointId::from_bytes([1; 16]);
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const ENABLE: StateChange = StateChange::Enable { discard: false };

/// Lanes over a schedule that is a map.
struct Bench {
    lanes: Lanes,
    registry: Registry,
    schedule: BTreeMap<Position, Delivery>,
    /// A page that is on its way, as it was read.
    page: Option<(Batch, ScheduleAnswer)>,
    /// Attempts that are out.
    out: Vec<(Arc<Endpoint>, DueDelivery, Slot)>,
}

impl Bench {
    fn new(ordering: &str) -> Self {
        let mut bench = Self {
            lanes: Lanes::new(Slots::new(100), 10, 5),
            registry: Registry::default(),
            schedule: BTreeMap::new(),
            page: None,
            out: Vec::new(),
        };
        bench.configure(&ENABLE, NOW, ordering);
        bench
    }

    fn configure(&mut self, change: &StateChange, at: Timestamp, ordering: &str) {
        let spec = json!({"url": "https://h.test/", "ordering": ordering});
        let endpoint = Endpoint {
            id: ENDPOINT,
            created_at: NOW,
            updated_at: NOW,
            standing: Standing::new(change, at),
            spec: serde_json::from_value(spec).unwrap(),
            notes: Notes::default(),
        };
        self.registry.change(vec![endpoint], &[]);
        self.lanes.effect(&self.registry, Effect::Endpoint(ENDPOINT));
    }

    fn schedule(&mut self, lsn: u64, due: Timestamp) -> DeliveryKey {
        let key = DeliveryKey::new(lsn, 0);
        let delivery = Delivery {
            key,
            event: lsn,
            endpoint: ENDPOINT,
            created_at: due,
            expires_at: None,
            stage: Stage::Scheduled { due },
            progress: Progress::default(),
            attempts: 0,
            replay: false,
            last: None,
            settled_at: None,
        };
        self.schedule.insert((due, key), delivery);
        let due = Effect::Due {
            endpoint: ENDPOINT,
            entry: entry((due, key)),
        };
        self.lanes.effect(&self.registry, due);
        key
    }

    fn unschedule(&mut self, key: DeliveryKey) {
        self.schedule.retain(|at, _| at.1 != key);
    }

    fn cancel(&mut self, key: DeliveryKey) {
        self.unschedule(key);
        let endpoint = ENDPOINT;
        self.lanes.effect(&self.registry, Effect::Moved { endpoint, key });
    }

    /// An attempt that is out is answered with a 200, and that is in the store.
    fn deliver(&mut self, key: DeliveryKey) {
        let place = self.out.iter().position(|(_, row, _)| row.delivery.key == key);
        let (endpoint, row, slot) = self.out.remove(place.unwrap());
        let answered = Observation::Response {
            status: 200,
            directive: None,
            retry_after: None,
            body_broken: false,
        };
        let ended = Ended {
            endpoint: &endpoint,
            row: &row,
            trigger: Trigger::Initial,
            started_at: NOW,
            outcome: &classify(answered, &BTreeMap::new()),
        };
        drop(slot);
        self.lanes.judge(&ended, &self.registry, NOW, 0.5);
        self.unschedule(key);
        let settled = Effect::Settled {
            endpoint: ENDPOINT,
            key,
            number: 1,
        };
        self.lanes.effect(&self.registry, settled);
    }

    fn row(&self, at: Position) -> Option<DueDelivery> {
        self.schedule.get(&at).map(|delivery| DueDelivery {
            due: at.0,
            delivery: *delivery,
            event: EventHandle::default(),
            strand: None,
        })
    }

    fn answer(&self, read: &ScheduleRead) -> ScheduleAnswer {
        let due = read.due.iter().map(|portion| {
            let from = self.schedule.range(portion.from..).map(|(at, _)| *at);
            let (due, later): (Vec<_>, Vec<_>) = from.partition(|at| at.0 <= read.now);
            DuePage {
                deliveries: due.into_iter().filter_map(|at| self.row(at)).collect(),
                next: later.first().copied(),
            }
        });
        let entries = read.entries.iter().map(|portion| EntryPage {
            entries: self
                .schedule
                .range(portion.from..)
                .map(|(at, _)| entry(*at))
                .collect(),
            next: None,
        });
        ScheduleAnswer {
            due: due.collect(),
            entries: entries.collect(),
            at: read.at.iter().map(|(_, at)| self.row(*at)).collect(),
            health: read.health.iter().map(|_| Health::default()).collect(),
        }
    }

    /// Lets the lanes go on; answers what they begin. What they ask for is read at once, and on its way then.
    fn begin(&mut self) -> Vec<DeliveryKey> {
        let mut begun = Vec::new();
        self.lanes.wake(NOW);
        self.lanes.begin_pass();
        while let Some(step) = self.lanes.next(NOW, Instant::now()) {
            match step {
                Step::Start {
                    endpoint, row, slot, ..
                } => {
                    begun.push(row.delivery.key);
                    self.out.push((endpoint, *row, slot));
                }
                Step::Expire(row) => panic!("{row:?} does not expire"),
                Step::Read(batch) => {
                    let answer = self.answer(&batch.read);
                    assert!(self.page.replace((batch, answer)).is_none());
                }
            }
        }
        begun
    }

    /// The page arrives.
    fn arrive(&mut self) {
        let (batch, answer) = self.page.take().expect("a page is on its way");
        self.lanes.take_in(batch, answer);
    }

    /// All that is begun from now on, whatever has to be read for it.
    fn all(&mut self) -> Vec<DeliveryKey> {
        let mut begun = self.begin();
        while self.page.is_some() {
            self.arrive();
            begun.extend(self.begin());
        }
        begun
    }
}

fn entry(at: Position) -> Entry {
    Entry {
        at,
        strand: None,
        since: None,
        expires_at: None,
    }
}

fn before(seconds: u64) -> Timestamp {
    NOW.minus(Duration::from_secs(seconds))
}

#[test]
fn a_page_that_arrives_after_its_endpoint_was_paused_is_dropped_and_read_again_later() {
    let mut bench = Bench::new("none");
    let key = bench.schedule(1, NOW);
    assert_eq!(bench.begin(), []);
    bench.configure(&StateChange::Pause, NOW, "none");
    bench.arrive();
    assert_eq!(bench.all(), []);
    bench.cancel(key);
    let other = bench.schedule(2, NOW);
    bench.configure(&ENABLE, NOW.plus(Duration::from_millis(1)), "none");
    assert_eq!(bench.all(), [other]);
}

#[test]
fn of_two_pages_on_their_way_only_the_one_asked_for_last_counts() {
    let mut bench = Bench::new("none");
    let cancelled = bench.schedule(1, before(2));
    let kept = bench.schedule(2, before(1));
    assert_eq!(bench.begin(), []);
    let old = bench.page.take().expect("a page is on its way");
    // The lane gives up that read, and asks again.
    bench.configure(&ENABLE, NOW, "none");
    bench.cancel(cancelled);
    assert_eq!(bench.begin(), []);
    let new = bench.page.replace(old).expect("another page is on its way");
    bench.arrive();
    assert_eq!(bench.begin(), [], "the page of the read that was given up");
    bench.page = Some(new);
    assert_eq!(bench.all(), [kept]);
}

#[test]
fn a_page_that_arrives_after_its_endpoint_was_deleted_leaves_no_lane_behind() {
    let mut bench = Bench::new("none");
    bench.schedule(1, NOW);
    assert_eq!(bench.begin(), []);
    bench.registry.change(Vec::new(), &[ENDPOINT]);
    bench.lanes.effect(&bench.registry, Effect::Endpoint(ENDPOINT));
    bench.arrive();
    assert_eq!(bench.all(), []);
    assert!(bench.lanes.is_empty());
}

#[test]
fn a_page_that_arrives_after_its_endpoint_was_changed_is_read_again_by_the_new_rules() {
    let mut bench = Bench::new("none");
    let first = bench.schedule(1, before(2));
    let second = bench.schedule(2, before(1));
    assert_eq!(bench.begin(), []);
    bench.configure(&ENABLE, NOW, "strict");
    bench.arrive();
    assert_eq!(bench.all(), [first]);
    bench.deliver(first);
    assert_eq!(bench.all(), [second]);
}

#[test]
fn of_a_page_a_delivery_that_was_cancelled_meanwhile_is_left_out() {
    for ordering in ["none", "strict"] {
        let mut bench = Bench::new(ordering);
        let cancelled = bench.schedule(1, before(2));
        let kept = bench.schedule(2, before(1));
        assert_eq!(bench.begin(), []);
        // An ordered lane has read the entries by then, and its page is of deliveries.
        while ordering == "strict" && bench.page.as_ref().unwrap().1.at.is_empty() {
            bench.arrive();
            assert_eq!(bench.begin(), []);
        }
        bench.cancel(cancelled);
        assert_eq!(bench.begin(), [], "nothing goes out before the page");
        bench.arrive();
        assert_eq!(bench.all(), [kept], "{ordering}");
    }
}

#[test]
fn of_a_page_a_delivery_that_was_settled_meanwhile_does_not_go_out_twice() {
    let mut bench = Bench::new("none");
    let first = bench.schedule(1, before(1));
    assert_eq!(bench.all(), [first]);
    // One that comes earlier has the lane read from there, over what is out.
    let second = bench.schedule(2, before(2));
    assert_eq!(bench.begin(), []);
    bench.deliver(first);
    bench.arrive();
    assert_eq!(bench.all(), [second]);
}

#[test]
fn an_earlier_delivery_that_appears_while_a_page_is_on_its_way_goes_out_too() {
    let mut bench = Bench::new("none");
    let late = bench.schedule(2, before(1));
    assert_eq!(bench.begin(), []);
    let early = bench.schedule(3, before(5));
    bench.arrive();
    let mut begun = bench.all();
    begun.sort_unstable();
    assert_eq!(begun, [late, early]);
}

#[test]
fn in_an_order_an_earlier_delivery_that_appears_while_a_page_is_on_its_way_goes_first() {
    let mut bench = Bench::new("strict");
    let late = bench.schedule(2, before(1));
    assert_eq!(bench.begin(), []);
    while bench.page.as_ref().unwrap().1.at.is_empty() {
        bench.arrive();
        assert_eq!(bench.begin(), []);
    }
    let early = bench.schedule(3, before(5));
    bench.arrive();
    assert_eq!(bench.all(), [early]);
    bench.deliver(early);
    assert_eq!(bench.all(), [late]);
}

#[test]
fn a_page_from_before_the_store_was_opened_again_is_dropped() {
    let mut bench = Bench::new("none");
    let (out, gone) = (bench.schedule(1, before(3)), bench.schedule(2, before(2)));
    assert_eq!(bench.all(), [out, gone]);
    bench.deliver(gone);
    let waiting = bench.schedule(3, before(4));
    assert_eq!(bench.begin(), []);
    // What came of the page's delivery was said to nobody: it is not in the new store.
    bench.unschedule(waiting);
    let new = DeliveryKey::new(4, 0);
    let delivery = Delivery {
        key: new,
        ..bench.out[0].1.delivery
    };
    bench.schedule.insert((before(1), new), delivery);
    let busy = HashMap::from([(ENDPOINT, vec![out])]);
    bench.lanes.begin(&bench.registry, busy);
    bench.arrive();
    assert_eq!(bench.all(), [new]);
}

#[test]
fn a_read_that_failed_is_asked_for_again_after_a_pause() {
    let mut bench = Bench::new("none");
    let key = bench.schedule(1, NOW);
    assert_eq!(bench.begin(), []);
    let (batch, _) = bench.page.take().unwrap();
    bench.lanes.unread(&batch, NOW);
    assert_eq!(bench.begin(), []);
    assert!(bench.page.is_none(), "not at once");
    assert_eq!(bench.lanes.next_wake(), Some(NOW.plus(READ_PAUSE)));
    bench.lanes.wake(NOW.plus(READ_PAUSE));
    assert_eq!(bench.all(), [key]);
}

#[test]
fn more_changes_than_may_wait_for_a_page_have_the_lane_begin_anew() {
    let mut bench = Bench::new("none");
    let cancelled = bench.schedule(1, before(2));
    assert_eq!(bench.begin(), []);
    let keys: Vec<_> = (0..5000).map(|n| bench.schedule(2 + n, before(1))).collect();
    bench.cancel(cancelled);
    bench.arrive();
    let mut begun = bench.all();
    while let Some((_, row, _)) = bench.out.first() {
        let key = row.delivery.key;
        bench.deliver(key);
        begun.extend(bench.all());
    }
    assert_eq!(begun, keys);
}
