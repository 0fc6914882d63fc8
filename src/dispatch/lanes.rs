//! All lanes, and whose turn it is.
//!
//! Lanes with something to do stand in line ([`Turns`]) and take one step each in turn, for which they need a slot
//! ([`Slots`]), so that a deep backlog waits behind nobody but itself; the others sleep until a known time, until
//! something changes, or until what they want to read is there. Lanes of one pass read together ([`Batch`]). This part
//! does no IO and knows no tasks: the scheduler drives it, and so does the model test.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    batch::Batch,
    lane::{Change, Lane, Turn},
    registry::Registry,
    slots::{Refused, Slot, Slots},
    supervision::{LaneReport, Why},
    turns::{Ticket, Turns},
};
use crate::{
    domain::{
        delivery::{Stage, Trigger},
        endpoint::Endpoint,
        id::{DeliveryKey, EndpointId},
        outcome::Outcome,
        settle::{Verdict, settle},
        time::Timestamp,
    },
    storage::{
        Effect,
        schedule::{DueDelivery, ScheduleAnswer},
    },
};

/// Lanes that read at once: enough for the cost of a round trip to be shared, few enough that none waits long for the
/// pages of the others.
const BATCH: usize = 32;
/// Reads that may be out at once.
const MOST_READS: usize = 2;
/// After a read that failed.
const READ_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Lanes {
    lanes: HashMap<EndpointId, Lane>,
    turns: Turns,
    slots: Arc<Slots>,
    wakes: BTreeSet<(Timestamp, EndpointId)>,
    /// What this pass wants to read.
    batch: Batch,
    /// Reads that are out.
    reads: usize,
    /// The last read's number.
    numbered: u64,
    /// Lanes that want to read when another read has come back.
    queued: BTreeSet<EndpointId>,
    /// Attempts at once to one endpoint, unless it says otherwise.
    concurrency: u16,
    /// Transient failures in a row that open a breaker.
    breaker_after: u32,
}

/// What is to be done next.
pub(super) enum Step {
    Start {
        endpoint: Arc<Endpoint>,
        row: Box<DueDelivery>,
        trigger: Trigger,
        slot: Slot,
    },
    Expire(Box<DueDelivery>),
    /// This is to be read, and to be handed to [`Lanes::take_in`] or [`Lanes::unread`].
    Read(Batch),
}

/// An attempt that ended, as far as judging it needs.
pub(super) struct Ended<'a> {
    /// The endpoint as it was when the attempt began.
    pub endpoint: &'a Endpoint,
    pub row: &'a DueDelivery,
    pub trigger: Trigger,
    pub started_at: Timestamp,
    pub outcome: &'a Outcome,
}

impl Lanes {
    pub fn new(slots: Arc<Slots>, concurrency: u16, breaker_after: u32) -> Self {
        Self {
            lanes: HashMap::new(),
            turns: Turns::default(),
            slots,
            wakes: BTreeSet::new(),
            batch: Batch::default(),
            reads: 0,
            numbered: 0,
            queued: BTreeSet::new(),
            concurrency,
            breaker_after,
        }
    }

    /// Begins anew over a store. Of lanes from before, over another store, only what is out is kept: what was settled
    /// meanwhile is in the store, but nobody said so. [`Lanes::work`] is to follow, for every endpoint that has something
    /// scheduled.
    pub fn begin(&mut self, registry: &Registry, mut out: HashMap<EndpointId, Vec<DeliveryKey>>) {
        self.turns.clear();
        self.wakes.clear();
        self.queued.clear();
        let mut kept = Vec::new();
        self.lanes.retain(|id, lane| {
            let keys = out.remove(id);
            lane.stopped |= registry.get(*id).is_none();
            keys.map(|keys| {
                lane.restart(keys);
                kept.push(*id);
            })
            .is_some()
        });
        kept.sort();
        for id in kept {
            match registry.get(id) {
                Some(endpoint) => self.look_at(&endpoint),
                None => self.enqueue(id),
            }
        }
    }

    /// An endpoint has something scheduled, as far as it was read.
    pub fn work(&mut self, endpoint: &Arc<Endpoint>) {
        if !self.lanes.contains_key(&endpoint.id) {
            self.look_at(endpoint);
        }
    }

    /// Takes note of what was applied to the store.
    pub fn effect(&mut self, registry: &Registry, effect: Effect) {
        match effect {
            Effect::Due { endpoint, entry } => {
                if let Some(lane) = self.lanes.get_mut(&endpoint) {
                    lane.note(Change::Scheduled(entry));
                    self.enqueue(endpoint);
                } else if let Some(endpoint) = registry.get(endpoint) {
                    self.look_at(&endpoint);
                }
            }
            Effect::Settled { endpoint, key, .. } => {
                self.with(endpoint, |lane| lane.note(Change::Settled(key)));
            }
            Effect::Moved { endpoint, key } => self.with(endpoint, |lane| lane.note(Change::Moved(key))),
            Effect::Endpoint(id) => match registry.get(id) {
                Some(endpoint) => self.look_at(&endpoint),
                None => self.with(id, Lane::end),
            },
        }
    }

    /// A delivery whose attempt left no record is to be read again.
    pub fn forget(&mut self, id: EndpointId, key: DeliveryKey) {
        self.with(id, |lane| lane.forget(key));
    }

    fn with(&mut self, id: EndpointId, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            change(lane);
            self.enqueue(id);
        }
    }

    /// Puts an endpoint's lane in line, with its present configuration.
    fn look_at(&mut self, endpoint: &Arc<Endpoint>) {
        let now = Instant::now();
        if let Some(lane) = self.lanes.get_mut(&endpoint.id) {
            lane.changed(endpoint.clone(), self.concurrency, now);
        } else if endpoint.is_active() {
            let lane = Lane::new(endpoint.clone(), self.concurrency, now);
            self.lanes.insert(endpoint.id, lane);
        }
        self.enqueue(endpoint.id);
    }

    /// Puts a lane in line. One that waits for a read has nothing to do before that comes.
    fn enqueue(&mut self, id: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| !lane.is_reading()) else {
            return;
        };
        let (tenant, is_first) = (&lane.endpoint.spec.tenant, lane.in_flight == 0);
        lane.ticket = Some(match lane.ticket {
            None => self.turns.join(tenant, id, is_first),
            Some(ticket) => self.turns.turn_into(tenant, ticket, is_first),
        });
    }

    /// Puts the lanes in line whose time has come.
    pub fn wake(&mut self, now: Timestamp) {
        while let Some(&(wake, id)) = self.wakes.first()
            && wake <= now
        {
            self.wakes.pop_first();
            self.with(id, |lane| lane.wake = None);
        }
    }

    /// The earliest time at which a sleeping lane is to be looked at.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(wake, _)| *wake)
    }

    /// Begins a pass over the lanes in line: tenants that had their share of the slots are asked again, and so are
    /// endpoints that a test or a handshake has left.
    pub fn begin_pass(&mut self) {
        self.turns.begin_pass();
        for id in self.slots.left() {
            self.enqueue(id);
        }
    }

    /// The next step of the lanes in line; `None` when all that may go on have had their turn, and none has more to do
    /// now.
    pub fn next(&mut self, now: Timestamp, tick: Instant) -> Option<Step> {
        while self.batch.len() < BATCH {
            let Some((id, slot, asked)) = self.choose() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            lane.asked = asked;
            let step = match lane.turn(now, tick) {
                Turn::Start(row, trigger) => Step::Start {
                    endpoint: lane.endpoint.clone(),
                    row,
                    trigger,
                    slot,
                },
                Turn::Expired(row) => Step::Expire(row),
                Turn::Ask { find } => {
                    self.ask(id, find, now);
                    continue;
                }
                Turn::Wait(until) => {
                    self.rest(id, until, tick);
                    continue;
                }
            };
            self.enqueue(id);
            return Some(step);
        }
        if self.batch.len() == 0 {
            return None;
        }
        self.reads += 1;
        Some(Step::Read(std::mem::take(&mut self.batch)))
    }

    /// Notes what a lane wants to read, unless as much is out as may be.
    fn ask(&mut self, id: EndpointId, find: bool, now: Timestamp) {
        if self.reads >= MOST_READS {
            self.queued.insert(id);
        } else if let Some(lane) = self.lanes.get_mut(&id) {
            self.numbered += 1;
            self.batch.ask(lane, self.numbered, find, now);
        }
    }

    /// Hands what was read to the lanes that still wait for it.
    pub fn take_in(&mut self, batch: Batch, answer: ScheduleAnswer) {
        for (id, number, answers) in batch.answers(answer) {
            self.with(id, |lane| lane.take(number, answers));
        }
        self.read_ended();
    }

    /// A read has failed: its lanes try again after a pause.
    pub fn unread(&mut self, batch: &Batch, now: Timestamp) {
        for (id, number) in batch.lanes() {
            if self.lanes.get_mut(&id).is_some_and(|lane| lane.unread(number)) {
                self.rest(id, Some(now.plus(READ_PAUSE)), Instant::now());
            }
        }
        self.read_ended();
    }

    fn read_ended(&mut self) {
        self.reads -= 1;
        for id in std::mem::take(&mut self.queued) {
            self.enqueue(id);
        }
    }

    /// Takes a lane out of line whose turn it is, with the slot that it may use, and how many tests and handshakes use
    /// its endpoint. Passes over tenants that have their share.
    fn choose(&mut self) -> Option<(EndpointId, Slot, usize)> {
        loop {
            match self.take(self.turns.head()?) {
                Ok(chosen) => return Some(chosen),
                Err(Refused::Full) => return None,
                Err(Refused::Share) => {}
            }
            // An endpoint that has nothing out may take what others of its tenant may not.
            match self.turns.first_head().map(|head| self.take(head)) {
                Some(Ok(chosen)) => return Some(chosen),
                Some(Err(Refused::Full)) => return None,
                Some(Err(Refused::Share)) | None => self.turns.pass_over(),
            }
        }
    }

    fn take(&mut self, (ticket, id): (Ticket, EndpointId)) -> Result<(EndpointId, Slot, usize), Refused> {
        // A lane stays while it is in line.
        let lane = self.lanes.get_mut(&id).ok_or(Refused::Share)?;
        let (slot, asked) = self.slots.take(&lane.endpoint, ticket.is_first())?;
        self.turns.leave(ticket);
        lane.ticket = None;
        Ok((id, slot, asked))
    }

    /// A lane has nothing to do before `until`.
    fn rest(&mut self, id: EndpointId, until: Option<Timestamp>, tick: Instant) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if let Some(wake) = lane.wake.take() {
            self.wakes.remove(&(wake, id));
        }
        if lane.is_idle(tick) {
            self.lanes.remove(&id);
        } else if let Some(until) = until {
            lane.wake = Some(until);
            self.wakes.insert((until, id));
        }
    }

    /// Whether no endpoint has work.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How the lanes stand.
    pub fn report(&self, now: Timestamp) -> LaneReport {
        let late: Vec<_> = self.lanes.values().filter_map(|lane| lane.late(now)).collect();
        LaneReport {
            full: late.iter().filter(|late| late.why == Why::Concurrency).count(),
            late,
        }
    }

    /// Judges an attempt that ended at `now`, and lets its lane draw its conclusions.
    pub fn judge(&mut self, ended: &Ended<'_>, registry: &Registry, now: Timestamp, random: f64) -> Verdict {
        let Ended {
            endpoint,
            row,
            trigger,
            started_at,
            outcome,
        } = *ended;
        let id = endpoint.id;
        let health = self
            .lanes
            .get(&id)
            .and_then(|lane| lane.health)
            .unwrap_or_default();
        let mut verdict = settle(
            row.delivery.progress,
            health,
            outcome,
            &endpoint.spec.policy(),
            now,
            random,
        );
        let since = registry
            .get(id)
            .map_or(Timestamp::EPOCH, |endpoint| endpoint.standing.since);
        if started_at < since {
            // Someone changed the endpoint's state while the attempt was out: what it met is forgiven.
            verdict.disable = None;
            verdict.health = health;
        }
        if let (Stage::Scheduled { due }, Some(expires)) = (verdict.stage, row.delivery.expires_at) {
            verdict.stage = Stage::Scheduled {
                due: due.min(expires),
            };
        }
        let breaker_after = self.breaker_after;
        self.with(id, |lane| {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            lane.health = Some(verdict.health);
            if verdict.disable.is_some() && !lane.stopped {
                lane.stopped = true;
                lane.stopped_by = Some(row.delivery.key);
            }
            lane.learn(outcome, trigger == Trigger::Probe, breaker_after, now, random);
        });
        verdict
    }
}

#[cfg(test)]
mod tests;
