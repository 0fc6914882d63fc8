//! The scheduler: whose turn it is, and what came of it.
//!
//! One task owns all lanes. It is woken by what the applier changed, by attempts that ended, and by the earliest time
//! at which a lane is to be looked at. Lanes with something to do stand in a line and take one step each in turn, so
//! that a deep backlog waits behind nobody but itself.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use super::{
    attempt::{self, Finished, Seen},
    engine::Shared,
    lane::{Lane, Turn},
    settler,
};
use crate::{
    domain::{
        delivery::{Stage, Trigger},
        endpoint::Endpoint,
        id::{DeliveryKey, EndpointId},
        outcome::Fault,
        record::{AttemptSettled, DeliveriesEnded, Record},
        settle::{Verdict, settle},
        time::Timestamp,
    },
    store::{DueRow, Effect, Store, StoreError},
    telemetry::metrics,
};

/// The longest sleep. A step of the wall clock is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// Messages from the applier that may wait.
pub(super) const INBOX: usize = 64;

/// What the applier tells the scheduler.
pub(super) enum Signal {
    /// Records were applied.
    Applied(Vec<Effect>),
    /// The store is ready, for the first time or again: begin from what it holds.
    Begin,
    /// The store is gone for now.
    Suspend,
}

pub(super) struct Scheduler {
    shared: Arc<Shared>,
    verdicts: mpsc::Sender<Record>,
    lanes: HashMap<EndpointId, Lane>,
    line: VecDeque<EndpointId>,
    wakes: BTreeSet<(Timestamp, EndpointId)>,
    attempts: JoinSet<Finished>,
    /// Whose attempt a task is, in case it panics.
    out: HashMap<Id, (EndpointId, DueRow, Trigger, Timestamp)>,
    running: bool,
}

impl Scheduler {
    pub fn new(shared: Arc<Shared>, verdicts: mpsc::Sender<Record>) -> Self {
        Self {
            shared,
            verdicts,
            lanes: HashMap::new(),
            line: VecDeque::new(),
            wakes: BTreeSet::new(),
            attempts: JoinSet::new(),
            out: HashMap::new(),
            running: false,
        }
    }

    /// Runs until the server stops, then waits for what is out, up to the grace period. What is still out then is
    /// given up; its deliveries stay due.
    pub async fn run(mut self, mut signals: mpsc::Receiver<Signal>) {
        while !self.shared.stopping.is_cancelled() {
            let sleep = self.pump();
            tokio::select! {
                signal = signals.recv() => match signal {
                    None => break,
                    Some(signal) => self.signal(signal),
                },
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep(sleep) => {}
                () = self.shared.stopping.cancelled() => {}
            }
            while let Some(ended) = self.attempts.try_join_next_with_id() {
                self.ended(ended);
            }
        }
        self.wind_down(signals).await;
    }

    async fn wind_down(mut self, mut signals: mpsc::Receiver<Signal>) {
        if !self.attempts.is_empty() {
            tracing::info!(
                attempts = self.attempts.len(),
                "waiting for attempts that are out"
            );
        }
        let grace = tokio::time::sleep(self.shared.options.shutdown_grace);
        tokio::pin!(grace);
        while !self.attempts.is_empty() {
            tokio::select! {
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
                // The applier must not wait for a scheduler that has nothing more to begin.
                _ = signals.recv(), if !signals.is_closed() => {}
                () = &mut grace => break,
                () = self.shared.stopping_now.cancelled() => break,
            }
        }
        if !self.attempts.is_empty() {
            tracing::warn!(
                attempts = self.attempts.len(),
                "gave up attempts that were out; they stay due"
            );
        }
        signals.close();
        self.attempts.shutdown().await;
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Applied(effects) => effects.into_iter().for_each(|effect| self.effect(effect)),
            Signal::Suspend => {
                self.running = false;
            }
            Signal::Begin => self.begin(),
        }
    }

    /// Makes a lane of every endpoint that has something scheduled. Of lanes from before a rebuild only what is out
    /// is kept: what was settled meanwhile is in the store, but nobody said so.
    fn begin(&mut self) {
        self.running = true;
        self.line.clear();
        self.wakes.clear();
        let mut out: HashMap<EndpointId, Vec<DeliveryKey>> = HashMap::new();
        for (id, row, _, _) in self.out.values() {
            out.entry(*id).or_default().push(row.delivery.key);
        }
        self.lanes.retain(|id, lane| {
            out.remove(id).is_some_and(|keys| {
                lane.restart(keys);
                true
            })
        });
        let Ok(store) = self.shared.storage.get() else {
            return;
        };
        for endpoint in self.shared.registry.all() {
            match store.first_due(endpoint.id) {
                Ok(Some(_)) => self.look_at(&endpoint),
                Ok(None) => {}
                Err(error) => {
                    self.shared.storage.failure(error);
                    return;
                }
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Due { endpoint, due, key } => self.due(endpoint, due, key),
            Effect::Settled { endpoint, key } => self.with(endpoint, |lane| lane.settled(key)),
            Effect::Moved { endpoint, key } => self.with(endpoint, |lane| lane.moved(key)),
            Effect::Endpoint(id) => {
                if let Some(endpoint) = self.shared.registry.get(id) {
                    self.look_at(&endpoint);
                } else {
                    self.with(id, |lane| lane.stopped = true);
                }
            }
            Effect::ApiKeys => {}
        }
    }

    fn with(&mut self, id: EndpointId, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            change(lane);
            self.enqueue(id);
        }
    }

    fn due(&mut self, id: EndpointId, due: Timestamp, key: DeliveryKey) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.scheduled(due, key);
            self.enqueue(id);
        } else if let Some(endpoint) = self
            .shared
            .registry
            .get(id)
            .filter(|endpoint| endpoint.is_active())
        {
            self.look_at(&endpoint);
        }
    }

    /// Puts an endpoint's lane in line, with its present configuration.
    fn look_at(&mut self, endpoint: &Arc<Endpoint>) {
        let concurrency = self.shared.options.concurrency;
        let now = Instant::now();
        if let Some(lane) = self.lanes.get_mut(&endpoint.id) {
            lane.changed(endpoint.clone(), concurrency, now);
        } else if endpoint.is_active() {
            let Some(health) = self.health(endpoint.id) else {
                return;
            };
            let lane = Lane::new(endpoint.clone(), health, concurrency, now);
            self.lanes.insert(endpoint.id, lane);
        }
        self.enqueue(endpoint.id);
    }

    fn health(&self, id: EndpointId) -> Option<crate::domain::health::Health> {
        let store = self.shared.storage.get().ok()?;
        store
            .tally(id)
            .map(|tally| tally.health)
            .map_err(|error| self.shared.storage.failure(error))
            .ok()
    }

    fn enqueue(&mut self, id: EndpointId) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && !lane.queued
        {
            lane.queued = true;
            self.line.push_back(id);
        }
    }

    /// Gives every lane in line its turns while there is room; answers how long to sleep.
    fn pump(&mut self) -> Duration {
        let now = self.shared.clock.now();
        while let Some(&(wake, id)) = self.wakes.first()
            && wake <= now
        {
            self.wakes.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.wake = None;
            }
            self.enqueue(id);
        }
        if let (true, Ok(store)) = (self.running, self.shared.storage.get()) {
            self.take_turns(&store, now);
        }
        let wake = self
            .wakes
            .first()
            .map_or(LONGEST_SLEEP, |(wake, _)| wake.since(now));
        wake.clamp(Duration::from_millis(1), LONGEST_SLEEP)
    }

    fn take_turns(&mut self, store: &Store, now: Timestamp) {
        let tick = Instant::now();
        while self.has_room() {
            let Some(id) = self.line.pop_front() else {
                return;
            };
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            lane.queued = false;
            match lane.turn(store, now, tick) {
                Ok(Turn::Start(row, trigger)) => {
                    self.start(id, *row, trigger, now);
                    self.enqueue(id);
                }
                Ok(Turn::Expired(row)) => {
                    self.expire(&row, now);
                    self.enqueue(id);
                }
                Ok(Turn::Wait(until)) => self.rest(id, until, tick),
                Err(error) => {
                    self.failure(error);
                    return;
                }
            }
        }
    }

    fn failure(&mut self, error: StoreError) {
        self.running = false;
        self.shared.storage.failure(error);
    }

    /// Whether one more attempt may be out, and its verdict is sure to find room with the settler.
    fn has_room(&self) -> bool {
        self.attempts.len() < self.shared.options.max_in_flight
            && self.verdicts.capacity() > self.attempts.len() + 1
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

    fn start(&mut self, id: EndpointId, row: DueRow, trigger: Trigger, now: Timestamp) {
        let Some(endpoint) = self.lanes.get(&id).map(|lane| lane.endpoint.clone()) else {
            return;
        };
        self.shared.in_flight.insert(row.delivery.key);
        if row.delivery.attempts == 0 {
            metrics::first_attempt(now.since(row.due));
        }
        let shared = self.shared.clone();
        let kept = row.clone();
        let handle = self.attempts.spawn(async move {
            let seen = attempt::deliver(&shared, &endpoint, &row).await;
            Finished {
                endpoint,
                row,
                trigger,
                started_at: now,
                seen,
            }
        });
        self.out.insert(handle.id(), (id, kept, trigger, now));
    }

    fn expire(&mut self, row: &DueRow, now: Timestamp) {
        let keys = vec![row.delivery.key];
        metrics::delivery_settled(Stage::Expired.as_str());
        self.send(Record::DeliveriesEnded(DeliveriesEnded {
            keys,
            at: now,
            stage: Stage::Expired,
        }));
    }

    fn send(&self, record: Record) {
        // There is room: `has_room` keeps a place for everything that is out.
        if let Err(error) = self.verdicts.try_send(record) {
            tracing::error!(%error, "a verdict could not be handed on; its attempt will be made again");
        }
    }

    fn ended(&mut self, ended: Result<(Id, Finished), JoinError>) {
        let finished = match ended {
            Ok((task, finished)) => {
                self.out.remove(&task);
                finished
            }
            Err(error) => {
                let Some((id, row, trigger, started_at)) = self.out.remove(&error.id()) else {
                    return;
                };
                tracing::error!(delivery.id = %row.delivery.id(), %error, "an attempt came to grief");
                let Some(endpoint) = self.lanes.get(&id).map(|lane| lane.endpoint.clone()) else {
                    return;
                };
                let seen = Seen::nothing(None, Fault::Interrupted);
                Finished {
                    endpoint,
                    row,
                    trigger,
                    started_at,
                    seen,
                }
            }
        };
        self.shared.in_flight.remove(finished.row.delivery.key);
        self.judge(finished);
    }

    /// Judges an attempt, tells its lane, and hands the verdict to the settler.
    fn judge(&mut self, finished: Finished) {
        let id = finished.endpoint.id;
        attempt::log_outcome(id, &finished);
        let now = self.shared.clock.now();
        let random = self.shared.jitter.unit();
        let Finished {
            endpoint,
            row,
            trigger,
            started_at,
            seen,
        } = finished;
        let policy = endpoint.spec.policy();
        let health = self
            .lanes
            .get(&id)
            .map_or_else(Default::default, |lane| lane.health);
        let mut verdict = settle(row.delivery.progress, health, &seen.outcome, &policy, now, random);
        let since = self
            .shared
            .registry
            .get(id)
            .map_or(Timestamp::EPOCH, |endpoint| endpoint.standing.since);
        if started_at < since {
            // Someone changed the endpoint's state while the attempt was out: what it met is no reason any more.
            verdict.disable = None;
        }
        let stage = match (verdict.stage, row.delivery.expires_at) {
            (Stage::Scheduled { due }, Some(expires)) => Stage::Scheduled {
                due: due.min(expires),
            },
            (stage, _) => stage,
        };
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            lane.health = verdict.health;
            lane.stopped |= verdict.disable.is_some();
            lane.learn(
                &seen.outcome,
                trigger == Trigger::Probe,
                self.shared.options.breaker_after,
                now,
                random,
            );
        }
        metrics::attempt(seen.outcome.class, seen.outcome.reason, seen.duration);
        if stage.is_final() {
            metrics::delivery_settled(stage.as_str());
        }
        match self.record(&row, trigger, started_at, seen, &verdict, stage, id) {
            Some(record) => self.send(Record::AttemptSettled(record)),
            // Without a record the delivery is still due: let it be read again.
            None => self.with(id, |lane| lane.settled(row.delivery.key)),
        }
        self.enqueue(id);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn record(
        &self,
        row: &DueRow,
        trigger: Trigger,
        started_at: Timestamp,
        seen: Seen,
        verdict: &Verdict,
        stage: Stage,
        endpoint: EndpointId,
    ) -> Option<AttemptSettled> {
        let about = seen.about.or_else(|| self.about(row))?;
        Some(AttemptSettled {
            delivery: Some(row.delivery.key),
            endpoint,
            event_id: about.event_id,
            event_type: about.event_type,
            tenant: about.tenant,
            number: row.delivery.attempts + 1,
            trigger,
            started_at,
            duration_millis: u32::try_from(seen.duration.as_millis()).unwrap_or(u32::MAX),
            class: seen.outcome.class,
            reason: seen.outcome.reason,
            status: seen.outcome.status,
            body_broken: seen.body_broken,
            remote: seen.remote,
            stage,
            progress: verdict.progress,
            health: verdict.health,
            disable: verdict.disable,
            excerpt: seen.excerpt,
        })
    }

    /// What the store knows of an event whose record could not be read.
    fn about(&self, row: &DueRow) -> Option<attempt::About> {
        let event = self.shared.storage.get().ok()?.event(row.delivery.event).ok()??;
        Some(attempt::About {
            event_id: event.id,
            event_type: event.event_type,
            tenant: event.tenant,
        })
    }
}

const _: () = assert!(settler::CAPACITY > 1, "a verdict needs a place");
