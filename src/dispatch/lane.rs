//! A lane: one endpoint's due deliveries on their way out.
//!
//! A lane exists only while its endpoint has work, or its token bucket is still filling. It holds a page of due deliveries
//! at most, however deep the backlog, and asks for the next page from where it stopped.
//!
//! A page comes later than it is asked for. While a read is out, the lane begins nothing, and changes to its deliveries
//! wait: they are taken note of once the page is taken in. So a page is never older than what the lane knows. It may be
//! newer, and a change that comes afterwards says what the page said already. When the lane begins anew meanwhile, since
//! its endpoint has changed or the store is another, the read is given up: its page is dropped when it comes.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    breaker::{Breaker, Permit},
    bucket::Bucket,
    order::{Busy, Order, Portions},
    supervision::{Late, Why},
    turns::Ticket,
};
use crate::{
    domain::{
        delivery::Trigger,
        endpoint::Endpoint,
        health::Health,
        id::DeliveryKey,
        outcome::{Class, Outcome},
        settle,
        time::Timestamp,
    },
    storage::schedule::{DueDelivery, DuePage, Entry, FRONT, Portion, Position, ScheduleRead, behind},
};

/// Rows read ahead for one lane: enough to spread a range scan's cost, little enough to forget.
pub const PAGE: usize = 128;
/// Changes that may wait for a page. With more, the lane begins anew rather than hold them.
const MOST_CHANGES: usize = 4096;
/// The longest that trouble of our own is waited out before the next try.
const LONGEST_TROUBLE_PAUSE: Duration = Duration::from_secs(300);

pub(super) struct Lane {
    pub endpoint: Arc<Endpoint>,
    /// How the endpoint fared so far; `None` until the first page says so.
    pub health: Option<Health>,
    pub breaker: Breaker,
    bucket: Bucket,
    concurrency: u16,
    /// The schedule entry to read on from.
    floor: Position,
    ready: VecDeque<DueDelivery>,
    /// The read that is out.
    reading: Option<Reading>,
    /// Read and not yet settled in the store: not to be read again.
    busy: Busy,
    /// Taken because they expired; the record that ends them is on its way.
    expiring: HashSet<DeliveryKey>,
    /// Found expired in line, and not yet taken.
    expired: VecDeque<DueDelivery>,
    /// Whose turn it is, where the endpoint keeps an order; it reads the schedule then.
    order: Option<Box<Order>>,
    pub in_flight: usize,
    /// The earliest schedule entry that is known and not read.
    next_due: Option<Timestamp>,
    /// The receiver asked not to be called before, or our own trouble is waited out.
    not_before: Timestamp,
    /// The last attempt failed for reasons of our own.
    troubled: bool,
    /// How long to wait the next time that happens.
    trouble_pause: Duration,
    /// A verdict has disabled the endpoint; until the store says so too, nothing more goes out.
    pub stopped: bool,
    /// Whose verdict that was. Once it is in the store, the endpoint's state there says all.
    pub stopped_by: Option<DeliveryKey>,
    /// Tests and handshakes that used the endpoint when the lane's turn came: they count towards its concurrency.
    pub asked: usize,
    /// The place in the line of lanes whose turn may come.
    pub ticket: Option<Ticket>,
    /// When the lane is to be looked at again.
    pub wake: Option<Timestamp>,
}

/// A read that is out.
struct Reading {
    /// No other read of any lane has this number.
    number: u64,
    asked_at: Timestamp,
    /// What has changed since.
    changes: Vec<Change>,
}

/// A change to one of the lane's deliveries.
#[derive(Copy, Clone, Debug)]
pub(super) enum Change {
    /// A schedule entry appeared.
    Scheduled(Entry),
    /// The store has settled a delivery that was out.
    Settled(DeliveryKey),
    /// A delivery was moved or ended without an attempt.
    Moved(DeliveryKey),
}

/// The answers to what a lane has asked.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub due: Option<DuePage>,
    pub portions: Portions,
    pub health: Option<Health>,
}

/// What a lane does with its turn.
pub(super) enum Turn {
    Start(Box<DueDelivery>, Trigger),
    /// It expired before it could be sent.
    Expired(Box<DueDelivery>),
    /// Something is to be read first; `find` says that deliveries are wanted, and not only a look through what is
    /// scheduled.
    Ask {
        find: bool,
    },
    /// Nothing before this time, or before something changes.
    Wait(Option<Timestamp>),
}

impl Lane {
    pub fn new(endpoint: Arc<Endpoint>, default_concurrency: u16, now: Instant) -> Self {
        Self {
            health: None,
            breaker: Breaker::default(),
            bucket: Bucket::new(endpoint.rate(), now),
            concurrency: endpoint.spec.concurrency.unwrap_or(default_concurrency),
            floor: FRONT,
            ready: VecDeque::new(),
            reading: None,
            busy: HashMap::new(),
            expiring: HashSet::new(),
            expired: VecDeque::new(),
            order: Order::of(endpoint.spec.ordering, &HashMap::new()),
            in_flight: 0,
            next_due: Some(Timestamp::EPOCH),
            not_before: Timestamp::EPOCH,
            troubled: false,
            trouble_pause: settle::OURS_DELAY,
            stopped: false,
            stopped_by: None,
            asked: 0,
            ticket: None,
            wake: None,
            endpoint,
        }
    }

    /// Takes note of a change, now or when the page is taken in that is on its way.
    pub fn note(&mut self, change: Change) {
        match &mut self.reading {
            Some(reading) if reading.changes.len() < MOST_CHANGES => reading.changes.push(change),
            Some(_) => {
                self.reread();
                self.apply(change);
            }
            None => self.apply(change),
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Scheduled(entry) => self.scheduled(entry),
            Change::Settled(key) => self.settled(key),
            Change::Moved(key) => self.moved(key),
        }
    }

    fn scheduled(&mut self, entry: Entry) {
        if let Some(order) = &mut self.order {
            order.scheduled(entry);
            if order.is_overtaken(self.ready.iter().map(|row| row.delivery.key), entry) {
                self.reread();
            }
            return;
        }
        let due = entry.at.0;
        self.floor = self.floor.min(entry.at);
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    fn settled(&mut self, key: DeliveryKey) {
        self.busy.remove(&key);
        if self.stopped_by == Some(key) {
            self.stopped_by = None;
            self.stopped = false;
        }
        if let Some(order) = &mut self.order {
            order.settled(key);
        }
    }

    /// What was read of the delivery is stale. One that is out stays busy until its attempt is settled.
    fn moved(&mut self, key: DeliveryKey) {
        let before = self.ready.len();
        self.ready.retain(|row| row.delivery.key != key);
        if self.expiring.remove(&key) {
            self.expired.retain(|row| row.delivery.key != key);
            self.settled(key);
        } else if self.ready.len() < before {
            self.settled(key);
        } else if let Some(order) = &mut self.order {
            order.moved(key);
        }
    }

    /// The endpoint's configuration or state changed.
    pub fn changed(&mut self, endpoint: Arc<Endpoint>, default_concurrency: u16, now: Instant) {
        let reopened = endpoint.is_active() && endpoint.standing.since > self.endpoint.standing.since;
        self.bucket.set(endpoint.rate(), now);
        self.concurrency = endpoint.spec.concurrency.unwrap_or(default_concurrency);
        if endpoint.standing != self.endpoint.standing {
            self.stopped = false;
        }
        self.endpoint = endpoint;
        if reopened {
            self.breaker = Breaker::default();
            self.health = self.health.map(Health::forgiven);
            self.not_before = Timestamp::EPOCH;
        }
        self.reread();
    }

    /// Draws the lane's conclusions from an attempt.
    pub fn learn(&mut self, outcome: &Outcome, probe: bool, open_after: u32, now: Timestamp, random: f64) {
        self.troubled = outcome.class == Class::Ours;
        match outcome.class {
            // An event error is an answer: the receiver is there, and of this event it will have none.
            Class::Delivered | Class::EventError => self.breaker.succeeded(self.concurrency),
            Class::Transient | Class::EndpointError => {
                let policy = self.endpoint.spec.policy();
                self.not_before = self.not_before.max(settle::earliest(outcome, &policy, now));
                self.breaker.failed(probe, open_after, &policy.retry, now, random);
            }
            Class::Ours => {
                if probe {
                    self.breaker.probe_ended();
                }
                self.wait_out(now);
            }
        }
        if !self.troubled {
            self.trouble_pause = settle::OURS_DELAY;
        }
    }

    /// Our own trouble is rarely one delivery's: the whole lane waits, longer each time, and then tries with one.
    fn wait_out(&mut self, now: Timestamp) {
        if self.not_before <= now {
            self.not_before = now.plus(self.trouble_pause);
            self.trouble_pause = (self.trouble_pause * 2).min(LONGEST_TROUBLE_PAUSE);
        }
    }

    /// The endpoint is gone: nothing more goes out.
    pub fn end(&mut self) {
        self.reread();
        self.stopped = true;
        self.stopped_by = None;
    }

    /// A delivery's attempt left no record: it is read again.
    pub fn forget(&mut self, key: DeliveryKey) {
        self.note(Change::Settled(key));
        self.reread();
    }

    /// Begins anew over another store, with nothing but what is out.
    pub fn restart(&mut self, out: Vec<DeliveryKey>) {
        self.reading = None;
        self.ready.clear();
        self.expiring.clear();
        self.expired.clear();
        let was = std::mem::take(&mut self.busy);
        let strand = |key: &DeliveryKey| was.get(key).copied().flatten();
        self.busy = out.into_iter().map(|key| (key, strand(&key))).collect();
        self.ticket = None;
        self.wake = None;
        self.reread();
    }

    /// Forgets what was read ahead, gives up a read that is out, and reads from the front again.
    pub fn reread(&mut self) {
        self.catch_up();
        for row in self.ready.drain(..) {
            self.busy.remove(&row.delivery.key);
        }
        for row in self.expired.drain(..) {
            self.busy.remove(&row.delivery.key);
            self.expiring.remove(&row.delivery.key);
        }
        self.floor = FRONT;
        self.next_due = Some(FRONT.0);
        self.order = Order::of(self.endpoint.spec.ordering, &self.busy);
    }

    /// Takes note of the changes that wait; no page is waited for any more.
    fn catch_up(&mut self) {
        let reading = self.reading.take();
        for change in reading.into_iter().flat_map(|reading| reading.changes) {
            self.apply(change);
        }
    }

    /// Nothing left to do, and nothing worth remembering.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        let done = match &self.order {
            None => self.next_due.is_none(),
            Some(order) => order.is_idle(),
        };
        self.busy.is_empty()
            && self.reading.is_none()
            && (self.stopped || !self.endpoint.is_active() || done)
            && self.bucket.full_in(now).is_zero()
    }

    /// Whether something is due that is not out, as far as the lane has looked.
    pub fn late(&self, now: Timestamp) -> Option<Late> {
        if self.stopped || !self.endpoint.is_active() {
            return None;
        }
        // The beginning of time stands for what has not been read yet.
        let unread = self.next_due.filter(|due| *due > Timestamp::EPOCH);
        let due = self
            .ready
            .front()
            .map(|row| row.due)
            .into_iter()
            .chain(unread)
            .min();
        let why = match self.breaker.permit(now, self.in_flight, self.concurrency) {
            _ if self.breaker.is_open() => Why::Breaker,
            Permit::Busy => Why::Concurrency,
            _ if now < self.not_before => Why::Pause,
            _ => Why::Turn,
        };
        due.filter(|due| *due <= now).map(|due| Late {
            endpoint: self.endpoint.id,
            due,
            why,
        })
    }

    /// Takes the lane's next step at engine time `now`.
    pub fn turn(&mut self, now: Timestamp, tick: Instant) -> Turn {
        if self.stopped || !self.endpoint.is_active() || self.reading.is_some() {
            return Turn::Wait(None);
        }
        if let Some(row) = self.expired.pop_front() {
            return Turn::Expired(Box::new(row));
        }
        let Some(order) = &mut self.order else {
            return self.step(now, tick);
        };
        let surveys = order.surveys(now, &self.busy);
        if !order.is_surveyed() {
            return Turn::Ask { find: false };
        }
        let survey = order.next_survey();
        match self.step(now, tick) {
            Turn::Wait(_) if surveys => Turn::Ask { find: false },
            Turn::Wait(until) => Turn::Wait(until.into_iter().chain(survey).min()),
            other => other,
        }
    }

    /// The next step as far as what is due goes.
    fn step(&mut self, now: Timestamp, tick: Instant) -> Turn {
        let out = self.in_flight + self.asked;
        let permit = match self.breaker.permit(now, out, self.concurrency) {
            Permit::Busy => return Turn::Wait(None),
            Permit::At(at) => return Turn::Wait(Some(at)),
            permit @ (Permit::Go | Permit::Probe) => permit,
        };
        if now < self.not_before {
            return Turn::Wait(Some(self.not_before));
        }
        if self.troubled && self.in_flight > 0 {
            return Turn::Wait(None);
        }
        if self.ready.is_empty() && self.finds(now) {
            return Turn::Ask { find: true };
        }
        let Some(row) = self.ready.front() else {
            let full = self.bucket.full_in(tick);
            let rested = (!full.is_zero()).then(|| now.plus(full));
            let next_due = match &self.order {
                None => self.next_due,
                Some(order) => order.next_look(),
            };
            return Turn::Wait(next_due.or(rested));
        };
        if row.delivery.expires_at.is_some_and(|at| at <= now) {
            return self.expire();
        }
        if let Err(wait) = self.bucket.take(tick) {
            return Turn::Wait(Some(now.plus(wait)));
        }
        match self.ready.pop_front() {
            None => Turn::Wait(None),
            Some(row) => self.start(row, permit),
        }
    }

    fn expire(&mut self) -> Turn {
        self.ready.pop_front().map_or(Turn::Wait(None), |row| {
            self.expiring.insert(row.delivery.key);
            Turn::Expired(Box::new(row))
        })
    }

    fn start(&mut self, row: DueDelivery, permit: Permit) -> Turn {
        self.in_flight += 1;
        let trigger = if permit == Permit::Probe {
            self.breaker.probe_began();
            Trigger::Probe
        } else {
            row.delivery.next_trigger()
        };
        Turn::Start(Box::new(row), trigger)
    }

    /// Whether there is something to be read that may be due.
    fn finds(&mut self, now: Timestamp) -> bool {
        match &mut self.order {
            None => self.next_due.is_some_and(|due| due <= now),
            Some(order) => order.finds(now, &self.busy),
        }
    }

    /// Says what the lane wants to read. From now on it waits for the answers.
    pub fn ask(&mut self, number: u64, find: bool, read: &mut ScheduleRead) {
        let endpoint = self.endpoint.id;
        self.reading = Some(Reading {
            number,
            asked_at: read.now,
            changes: Vec::new(),
        });
        if self.health.is_none() {
            read.health.push(endpoint);
        }
        match &mut self.order {
            None => read.due.push(Portion {
                endpoint,
                from: self.floor,
                limit: PAGE,
            }),
            Some(order) => order.ask(endpoint, find, read),
        }
    }

    pub const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    fn waits_for(&self, number: u64) -> bool {
        self.reading
            .as_ref()
            .is_some_and(|reading| reading.number == number)
    }

    /// Takes in the answers to the read with this number, unless it was given up.
    pub fn take(&mut self, number: u64, answers: Answers) {
        let Some(reading) = self.reading.as_ref().filter(|reading| reading.number == number) else {
            return;
        };
        let asked_at = reading.asked_at;
        self.health = self.health.or(answers.health);
        match (&mut self.order, answers.due) {
            (Some(order), _) => {
                let found = order.take(answers.portions, asked_at, &self.busy);
                self.ready(found.ready);
                let expired = found.expired.into_iter();
                self.expired
                    .extend(expired.filter(|row| self.busy.insert(row.delivery.key, row.strand).is_none()));
                self.expiring
                    .extend(self.expired.iter().map(|row| row.delivery.key));
            }
            (None, Some(page)) => {
                let last = page
                    .deliveries
                    .last()
                    .map(|row| behind((row.due, row.delivery.key)));
                self.floor = page.next.or(last).unwrap_or(self.floor);
                self.next_due = page.next.map(|next| next.0);
                self.ready(page.deliveries);
            }
            (None, None) => {}
        }
        self.catch_up();
    }

    /// The read with this number has failed; answers whether the lane waited for it.
    pub fn unread(&mut self, number: u64) -> bool {
        if !self.waits_for(number) {
            return false;
        }
        if let Some(order) = &mut self.order {
            order.unread();
        }
        self.catch_up();
        true
    }

    /// Keeps deliveries that were read, unless the lane has them already: they are out, or their verdict is on its way,
    /// or they moved while the schedule was read.
    fn ready(&mut self, mut rows: Vec<DueDelivery>) {
        rows.retain(|row| match self.busy.entry(row.delivery.key) {
            hash_map::Entry::Occupied(_) => false,
            hash_map::Entry::Vacant(place) => {
                place.insert(row.strand);
                true
            }
        });
        if self.ready.is_empty() {
            self.ready = rows.into();
        } else {
            self.ready.extend(rows);
        }
    }
}
