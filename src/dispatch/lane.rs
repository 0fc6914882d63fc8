//! A lane: one endpoint's due deliveries on their way out.
//!
//! A lane exists only while its endpoint has work, or its token bucket is still filling. It holds a page of due rows at
//! most, however deep the backlog, and asks the store for the next page from where it stopped.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    breaker::{Breaker, Permit},
    bucket::Bucket,
    order::{Busy, Order, Surveyed},
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
    storage::local::index::{DueRow, Scan, Store, StoreError, query::Position, rows::Slot},
};

/// Rows read ahead for one lane: enough to spread a range scan's cost, little enough to forget.
pub const PAGE: usize = 128;
/// The longest that trouble of our own is waited out before the next try.
const LONGEST_TROUBLE_PAUSE: Duration = Duration::from_secs(300);

pub(super) struct Lane {
    pub endpoint: Arc<Endpoint>,
    pub health: Health,
    pub breaker: Breaker,
    bucket: Bucket,
    concurrency: u16,
    /// The schedule entry to read on from.
    floor: Position,
    ready: VecDeque<DueRow>,
    /// Read and not yet settled in the store: not to be read again.
    busy: Busy,
    /// Taken because they expired; the record that ends them is on its way.
    expiring: HashSet<DeliveryKey>,
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

/// What a lane does with its turn.
pub(super) enum Turn {
    Start(Box<DueRow>, Trigger),
    /// It expired before it could be sent.
    Expired(Box<DueRow>),
    /// Nothing yet, and there is more to look at right away.
    Look,
    /// Nothing before this time, or before something changes.
    Wait(Option<Timestamp>),
}

impl Lane {
    pub fn new(endpoint: Arc<Endpoint>, health: Health, default_concurrency: u16, now: Instant) -> Self {
        Self {
            health,
            breaker: Breaker::default(),
            bucket: Bucket::new(endpoint.rate(), now),
            concurrency: endpoint.spec.concurrency.unwrap_or(default_concurrency),
            floor: (Timestamp::EPOCH, DeliveryKey::MIN),
            ready: VecDeque::new(),
            busy: HashMap::new(),
            expiring: HashSet::new(),
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

    /// A schedule entry appeared.
    pub fn scheduled(&mut self, due: Timestamp, key: DeliveryKey, slot: Slot) {
        if let Some(order) = &mut self.order {
            order.scheduled((due, key), slot);
            let mut ready = self.ready.iter();
            if ready.any(|row| order.is_behind(row.delivery.key, (due, key), slot)) {
                self.reread();
            }
            return;
        }
        self.floor = self.floor.min((due, key));
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    /// The store has settled a delivery that was out.
    pub fn settled(&mut self, key: DeliveryKey) {
        self.busy.remove(&key);
        if self.stopped_by == Some(key) {
            self.stopped_by = None;
            self.stopped = false;
        }
        if let Some(order) = &mut self.order {
            order.settled(key);
        }
    }

    /// A delivery was moved or ended without an attempt: what was read of it is stale. One that is out stays busy
    /// until its attempt is settled.
    pub fn moved(&mut self, key: DeliveryKey) {
        let before = self.ready.len();
        self.ready.retain(|row| row.delivery.key != key);
        if self.ready.len() < before || self.expiring.remove(&key) {
            self.settled(key);
        } else if let Some(order) = &mut self.order {
            order.forget(key);
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
            self.health = self.health.forgiven();
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

    /// Begins anew over another store, with nothing but what is out.
    pub fn restart(&mut self, out: Vec<DeliveryKey>) {
        self.ready.clear();
        self.expiring.clear();
        let was = std::mem::take(&mut self.busy);
        let strand = |key: &DeliveryKey| was.get(key).copied().flatten();
        self.busy = out.into_iter().map(|key| (key, strand(&key))).collect();
        self.ticket = None;
        self.wake = None;
        self.reread();
    }

    /// Forgets what was read ahead, and reads from the front again.
    pub fn reread(&mut self) {
        for row in self.ready.drain(..) {
            self.busy.remove(&row.delivery.key);
        }
        self.floor = (Timestamp::EPOCH, DeliveryKey::MIN);
        self.next_due = Some(Timestamp::EPOCH);
        self.order = Order::of(self.endpoint.spec.ordering, &self.busy);
    }

    /// Nothing left to do, and nothing worth remembering.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        let done = match &self.order {
            None => self.next_due.is_none(),
            Some(order) => order.is_idle(),
        };
        self.busy.is_empty()
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
    pub fn turn(&mut self, store: &Store, now: Timestamp, tick: Instant) -> Result<Turn, StoreError> {
        if self.stopped || !self.endpoint.is_active() {
            return Ok(Turn::Wait(None));
        }
        let Some(order) = &mut self.order else {
            return self.step(store, now, tick);
        };
        let looking = match order.survey(store, self.endpoint.id, now, &self.busy)? {
            Surveyed::Expired(row) => {
                self.busy.insert(row.delivery.key, row.key);
                self.expiring.insert(row.delivery.key);
                return Ok(Turn::Expired(row));
            }
            Surveyed::More { ready: false } => return Ok(Turn::Look),
            Surveyed::More { ready: true } => true,
            Surveyed::Done => false,
        };
        let survey = order.next_survey();
        Ok(match self.step(store, now, tick)? {
            Turn::Wait(_) if looking => Turn::Look,
            Turn::Wait(until) => Turn::Wait(until.into_iter().chain(survey).min()),
            other => other,
        })
    }

    /// The next step as far as what is due goes.
    fn step(&mut self, store: &Store, now: Timestamp, tick: Instant) -> Result<Turn, StoreError> {
        let out = self.in_flight + self.asked;
        let permit = match self.breaker.permit(now, out, self.concurrency) {
            Permit::Busy => return Ok(Turn::Wait(None)),
            Permit::At(at) => return Ok(Turn::Wait(Some(at))),
            permit @ (Permit::Go | Permit::Probe) => permit,
        };
        if now < self.not_before {
            return Ok(Turn::Wait(Some(self.not_before)));
        }
        if self.troubled && self.in_flight > 0 {
            return Ok(Turn::Wait(None));
        }
        if self.ready.is_empty() && self.read(store, now)? {
            return Ok(Turn::Look);
        }
        let Some(row) = self.ready.front() else {
            let full = self.bucket.full_in(tick);
            let rested = (!full.is_zero()).then(|| now.plus(full));
            let next_due = match &self.order {
                None => self.next_due,
                Some(order) => order.next_look(),
            };
            return Ok(Turn::Wait(next_due.or(rested)));
        };
        if row.delivery.expires_at.is_some_and(|at| at <= now) {
            return Ok(self.expire());
        }
        if let Err(wait) = self.bucket.take(tick) {
            return Ok(Turn::Wait(Some(now.plus(wait))));
        }
        Ok(match self.ready.pop_front() {
            None => Turn::Wait(None),
            Some(row) => self.start(row, permit),
        })
    }

    fn expire(&mut self) -> Turn {
        self.ready.pop_front().map_or(Turn::Wait(None), |row| {
            self.expiring.insert(row.delivery.key);
            Turn::Expired(Box::new(row))
        })
    }

    fn start(&mut self, row: DueRow, permit: Permit) -> Turn {
        self.in_flight += 1;
        let trigger = if permit == Permit::Probe {
            self.breaker.probe_began();
            Trigger::Probe
        } else {
            row.delivery.next_trigger()
        };
        Turn::Start(Box::new(row), trigger)
    }

    /// Reads what is due; answers whether there is more to look at before something is found.
    fn read(&mut self, store: &Store, now: Timestamp) -> Result<bool, StoreError> {
        if let Some(order) = &mut self.order {
            let found = order.find(store, self.endpoint.id, now, &self.busy)?;
            self.busy
                .extend(found.rows.iter().map(|row| (row.delivery.key, row.key)));
            self.ready = found.rows.into();
            return Ok(found.more);
        }
        if self.next_due.is_none_or(|due| due > now) {
            return Ok(false);
        }
        let busy = &self.busy;
        let scan = store.due(self.endpoint.id, self.floor, now, PAGE, |key| {
            busy.contains_key(&key)
        })?;
        let Scan { rows, next_due } = scan;
        if let Some(last) = rows.last() {
            self.floor = (last.due, last.delivery.key);
        }
        self.busy
            .extend(rows.iter().map(|row| (row.delivery.key, row.key)));
        self.ready = rows.into();
        self.next_due = next_due;
        Ok(false)
    }
}
