//! All lanes, and whose turn it is.
//!
//! Lanes with something to do stand in line ([`Turns`]) and take one step each in turn, for which they need a slot
//! ([`Slots`]), so that a deep backlog waits behind nobody but itself; the others sleep until a known time, or until
//! something changes. This part does no IO but the store's reads and knows no tasks: the scheduler drives it, and so does
//! the model test.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    lane::{Lane, Turn},
    registry::Registry,
    slots::{Refused, Slot, Slots},
    supervision::{LaneReport, Why},
    turns::{Ticket, Turns},
};
use crate::{
    domain::{
        delivery::{Stage, Trigger},
        endpoint::Endpoint,
        health::Health,
        id::{DeliveryKey, EndpointId},
        outcome::Outcome,
        settle::{Verdict, settle},
        time::Timestamp,
    },
    storage::local::index::{DueRow, Effect, Store, StoreError, query::Position, rows},
};

pub(super) struct Lanes {
    lanes: HashMap<EndpointId, Lane>,
    turns: Turns,
    slots: Arc<Slots>,
    wakes: BTreeSet<(Timestamp, EndpointId)>,
    /// Attempts at once to one endpoint, unless it says otherwise.
    concurrency: u16,
    /// Transient failures in a row that open a breaker.
    breaker_after: u32,
}

/// What is to be done next.
pub(super) enum Step {
    Start {
        endpoint: Arc<Endpoint>,
        row: Box<DueRow>,
        trigger: Trigger,
        slot: Slot,
    },
    Expire(Box<DueRow>),
    /// Nothing: a lane has looked through a portion of its schedule, and there is more of it.
    Look,
}

/// An attempt that ended, as far as judging it needs.
pub(super) struct Ended<'a> {
    /// The endpoint as it was when the attempt began.
    pub endpoint: &'a Endpoint,
    pub row: &'a DueRow,
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
            concurrency,
            breaker_after,
        }
    }

    /// Begins from what a store holds: a lane for every endpoint that has something scheduled. Of lanes from before,
    /// over another store, only what is out is kept: what was settled meanwhile is in the store, but nobody said so.
    pub fn begin(
        &mut self,
        store: &Store,
        registry: &Registry,
        mut out: HashMap<EndpointId, Vec<DeliveryKey>>,
    ) -> Result<(), StoreError> {
        self.turns.clear();
        self.wakes.clear();
        self.lanes.retain(|id, lane| {
            let keys = out.remove(id);
            lane.stopped |= registry.get(*id).is_none();
            keys.map(|keys| lane.restart(keys)).is_some()
        });
        for endpoint in registry.all() {
            if store.first_due(endpoint.id)?.is_some() {
                self.look_at(store, &endpoint)?;
            }
        }
        Ok(())
    }

    /// Takes note of what was applied to the store.
    pub fn effect(&mut self, store: &Store, registry: &Registry, effect: Effect) -> Result<(), StoreError> {
        match effect {
            Effect::Due {
                endpoint,
                due,
                key,
                slot,
            } => self.due(store, registry, endpoint, (due, key), slot)?,
            Effect::Settled { endpoint, key } => self.with(endpoint, |lane| lane.settled(key)),
            Effect::Moved { endpoint, key } => self.with(endpoint, |lane| lane.moved(key)),
            Effect::Endpoint(id) => match registry.get(id) {
                Some(endpoint) => self.look_at(store, &endpoint)?,
                None => self.with(id, |lane| {
                    lane.stopped = true;
                    lane.stopped_by = None;
                }),
            },
            Effect::ApiKeys | Effect::EventType(_) => {}
        }
        Ok(())
    }

    /// A delivery whose attempt left no record is to be read again.
    pub fn forget(&mut self, id: EndpointId, key: DeliveryKey) {
        self.with(id, |lane| {
            lane.settled(key);
            lane.reread();
        });
    }

    fn with(&mut self, id: EndpointId, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            change(lane);
            self.enqueue(id);
        }
    }

    fn due(
        &mut self,
        store: &Store,
        registry: &Registry,
        id: EndpointId,
        at: Position,
        slot: rows::Slot,
    ) -> Result<(), StoreError> {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.scheduled(at.0, at.1, slot);
            self.enqueue(id);
        } else if let Some(endpoint) = registry.get(id) {
            self.look_at(store, &endpoint)?;
        }
        Ok(())
    }

    /// Puts an endpoint's lane in line, with its present configuration.
    fn look_at(&mut self, store: &Store, endpoint: &Arc<Endpoint>) -> Result<(), StoreError> {
        let now = Instant::now();
        if let Some(lane) = self.lanes.get_mut(&endpoint.id) {
            lane.changed(endpoint.clone(), self.concurrency, now);
        } else if endpoint.is_active() {
            let health = store.tally(endpoint.id)?.health;
            let lane = Lane::new(endpoint.clone(), health, self.concurrency, now);
            self.lanes.insert(endpoint.id, lane);
        }
        self.enqueue(endpoint.id);
        Ok(())
    }

    fn enqueue(&mut self, id: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
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
    pub fn next(&mut self, store: &Store, now: Timestamp, tick: Instant) -> Result<Option<Step>, StoreError> {
        while let Some((id, slot, asked)) = self.choose() {
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            lane.asked = asked;
            let step = match lane.turn(store, now, tick)? {
                Turn::Start(row, trigger) => Step::Start {
                    endpoint: lane.endpoint.clone(),
                    row,
                    trigger,
                    slot,
                },
                Turn::Expired(row) => Step::Expire(row),
                Turn::Look => Step::Look,
                Turn::Wait(until) => {
                    self.rest(id, until, tick);
                    continue;
                }
            };
            self.enqueue(id);
            return Ok(Some(step));
        }
        Ok(None)
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
            .map_or_else(Health::default, |lane| lane.health);
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
            lane.health = verdict.health;
            if verdict.disable.is_some() && !lane.stopped {
                lane.stopped = true;
                lane.stopped_by = Some(row.delivery.key);
            }
            lane.learn(outcome, trigger == Trigger::Probe, breaker_after, now, random);
        });
        verdict
    }
}
