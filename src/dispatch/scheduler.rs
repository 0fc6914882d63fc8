//! The scheduler: makes the attempts that are due, and hands on what came of them.
//!
//! One task owns all lanes. It is woken by what the applier changed, by attempts that ended, by what it has read, and by
//! the earliest time at which a lane is to be looked at. It never waits for the disk.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use super::{
    attempt::{self, Finished, Seen},
    engine::Shared,
    error::chain,
    lanes::{Ended, Lanes, Step},
    reads::{Read, Reads, may_pass},
    slots::Slot,
};
use crate::{
    domain::{
        delivery::{Stage, Trigger},
        endpoint::Endpoint,
        id::{DeliveryKey, EndpointId},
        outcome::Fault,
        record::{AttemptSettled, DeliveriesEnded, Record},
        settle::Verdict,
        time::Timestamp,
    },
    storage::{
        Effect, StorageError,
        schedule::{DueDelivery, Schedule},
    },
    telemetry::metrics,
};

/// The longest sleep. A step of the wall clock is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// Between two reports on the lanes.
const REPORT_EVERY: Duration = Duration::from_secs(1);
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
    lanes: Lanes,
    attempts: JoinSet<Finished>,
    reads: Reads,
    /// Whose attempt a task is, in case it panics.
    out: HashMap<Id, Out>,
    /// Judged, and not yet settled in the store: the attempt's number of each.
    judged: HashMap<DeliveryKey, (EndpointId, u32)>,
    /// The store is there, caught up.
    running: bool,
    /// How often a store was begun; what was read before the last time is stale.
    life: u64,
    /// When the lanes were last reported on.
    reported: Option<Instant>,
    /// What that report said.
    nobody_late: bool,
}

/// An attempt that is out.
struct Out {
    endpoint: Arc<Endpoint>,
    row: DueDelivery,
    trigger: Trigger,
    started_at: Timestamp,
}

impl Scheduler {
    pub fn new(shared: Arc<Shared>, schedule: Arc<dyn Schedule>, verdicts: mpsc::Sender<Record>) -> Self {
        #[cfg(test)]
        let schedule = super::simulation::LateReads::of(shared.clone(), schedule);
        let reads = Reads::new(schedule);
        let slots = shared.slots.clone();
        let lanes = Lanes::new(slots, shared.options.concurrency, shared.options.breaker_after);
        Self {
            shared,
            verdicts,
            lanes,
            attempts: JoinSet::new(),
            reads,
            out: HashMap::new(),
            judged: HashMap::new(),
            running: false,
            life: 0,
            reported: None,
            nobody_late: true,
        }
    }

    /// Runs until the server stops, then waits for what is out, up to the grace period. What is still out then is
    /// given up; its deliveries stay due.
    pub async fn run(mut self, mut signals: mpsc::Receiver<Signal>) {
        while !self.shared.stopping.is_cancelled() {
            self.beat();
            let sleep = self.pump();
            tokio::select! {
                // In a fixed order, so that a run can be repeated; nothing starves, since all that has ended is
                // seen to below.
                biased;
                signal = signals.recv() => match signal {
                    None => break,
                    Some(signal) => self.signal(signal),
                },
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
                Some(read) = self.reads.next() => self.read(read),
                // Seen to by the next pass.
                () = self.shared.slots.freed() => {}
                () = tokio::time::sleep(sleep) => {}
                () = self.shared.stopping.cancelled() => {}
            }
            while let Some(ended) = self.attempts.try_join_next_with_id() {
                self.ended(ended);
            }
        }
        self.wind_down(signals).await;
    }

    /// Leaves a sign of life.
    fn beat(&mut self) {
        self.shared.vitals.turned();
        let now = Instant::now();
        if self
            .reported
            .is_none_or(|at| now.duration_since(at) >= REPORT_EVERY)
        {
            self.reported = Some(now);
            let report = self.lanes.report(self.shared.clock.now());
            self.nobody_late = report.late.is_empty();
            self.shared.vitals.set_lanes(report);
        }
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
                biased;
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
            Signal::Suspend => self.running = false,
            Signal::Begin => self.begin(),
            Signal::Applied(effects) if self.running => {
                effects.into_iter().for_each(|effect| self.effect(effect));
            }
            // The store has gone meanwhile; when it is back, everything begins from what it holds.
            Signal::Applied(_) => {}
        }
    }

    fn effect(&mut self, effect: Effect) {
        if let Effect::Settled { key, number, .. } = effect {
            match self.judged.get(&key) {
                Some((_, judged)) if *judged == number => _ = self.judged.remove(&key),
                // It was read already that this verdict is in the store, and the delivery may be out again.
                Some(_) | None => return,
            }
        }
        self.lanes.effect(&self.shared.registry, effect);
    }

    /// Begins from what a store holds. What must not be believed to be due is what is out, and what is judged while its
    /// verdict is still on its way; of that, what the store holds already is read, since nobody will say so.
    fn begin(&mut self) {
        self.running = true;
        self.life += 1;
        let mut busy: HashMap<EndpointId, Vec<DeliveryKey>> = HashMap::new();
        for attempt in self.out.values() {
            busy.entry(attempt.endpoint.id)
                .or_default()
                .push(attempt.row.delivery.key);
        }
        for (key, (endpoint, _)) in &self.judged {
            busy.entry(*endpoint).or_default().push(*key);
        }
        self.lanes.begin(&self.shared.registry, busy);
        self.reads.work(self.life, None);
        if !self.judged.is_empty() {
            let mut judged: Vec<_> = self.judged.keys().copied().collect();
            judged.sort_unstable();
            self.reads.attempts(self.life, judged);
        }
    }

    /// Takes in what was read.
    fn read(&mut self, read: Read) {
        match read {
            Read::Schedules { life, batch, answer } => match answer {
                Ok(answer) => self.lanes.take_in(batch, answer),
                Err(error) => {
                    self.lanes.unread(&batch, self.shared.clock.now());
                    self.failure(life, &error);
                }
            },
            Read::Work { life, endpoints } if life == self.life => match endpoints {
                Ok(endpoints) => self.work(&endpoints),
                Err(error) => self.failure(life, &error),
            },
            Read::Attempts { life, recorded } if life == self.life => match recorded {
                Ok(recorded) => self.recorded(recorded),
                Err(error) => self.failure(life, &error),
            },
            Read::Work { .. } | Read::Attempts { .. } => {}
        }
    }

    fn work(&mut self, endpoints: &[EndpointId]) {
        for endpoint in endpoints.iter().filter_map(|id| self.shared.registry.get(*id)) {
            self.lanes.work(&endpoint);
        }
        if let Some(last) = endpoints.last() {
            self.reads.work(self.life, Some(*last));
        }
    }

    /// Verdicts that the store holds already, or whose deliveries are gone, are not waited for any more.
    fn recorded(&mut self, recorded: Vec<(DeliveryKey, Option<u32>)>) {
        for (key, attempts) in recorded {
            if let Some(&(endpoint, number)) = self.judged.get(&key)
                && attempts.is_none_or(|attempts| attempts >= number)
            {
                self.judged.remove(&key);
                self.lanes.forget(endpoint, key);
            }
        }
    }

    /// A read has failed. When the store is gone, or is to be opened again, everything begins anew once it is back.
    fn failure(&mut self, life: u64, error: &StorageError) {
        if may_pass(error) {
            tracing::warn!(error = %chain(error), "due deliveries could not be read; trying again");
        } else if life == self.life {
            self.running = false;
        }
    }

    /// Begins what is due while there is room; answers how long to sleep.
    fn pump(&mut self) -> Duration {
        let now = self.shared.clock.now();
        self.lanes.wake(now);
        if self.running {
            self.take_steps(now);
        }
        let wake = self
            .lanes
            .next_wake()
            .map_or(LONGEST_SLEEP, |wake| wake.since(now));
        // While there is work, how it stands is reported; without any, and once that is said, nothing needs to wake us.
        let longest = if self.lanes.is_empty() && self.nobody_late {
            LONGEST_SLEEP
        } else {
            REPORT_EVERY
        };
        wake.clamp(Duration::from_millis(1), longest)
    }

    fn take_steps(&mut self, now: Timestamp) {
        let tick = Instant::now();
        self.lanes.begin_pass();
        while self.has_room() {
            match self.lanes.next(now, tick) {
                None => break,
                Some(Step::Start {
                    endpoint,
                    row,
                    trigger,
                    slot,
                }) => self.start(endpoint, *row, trigger, slot, now),
                Some(Step::Expire(row)) => self.expire(&row, now),
                Some(Step::Read(batch)) => self.reads.schedules(self.life, batch),
            }
        }
    }

    /// Whether the verdict of one more attempt is sure to find room with the settler.
    fn has_room(&self) -> bool {
        self.verdicts.capacity() > self.attempts.len() + 1
    }

    fn start(
        &mut self,
        endpoint: Arc<Endpoint>,
        row: DueDelivery,
        trigger: Trigger,
        mut slot: Slot,
        now: Timestamp,
    ) {
        self.shared.in_flight.insert(row.delivery.key);
        #[cfg(test)]
        if let Some(stage) = self.shared.stage.get() {
            stage.begins(&self.shared, &endpoint, &row, trigger, now);
        }
        if row.delivery.attempts == 0 {
            metrics::first_attempt(now.since(row.due));
        }
        let out = Out {
            endpoint: endpoint.clone(),
            row: row.clone(),
            trigger,
            started_at: now,
        };
        let shared = self.shared.clone();
        let handle = self.attempts.spawn(async move {
            let seen = attempt::deliver(&shared, &endpoint, &row, &mut slot).await;
            Finished {
                endpoint,
                row,
                trigger,
                started_at: now,
                seen,
                slot: Some(slot),
            }
        });
        self.out.insert(handle.id(), out);
    }

    fn expire(&self, row: &DueDelivery, now: Timestamp) {
        metrics::delivery_settled(Stage::Expired.as_str());
        #[cfg(test)]
        if let Some(stage) = self.shared.stage.get() {
            stage.expires(row, now);
        }
        let keys = vec![row.delivery.key];
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
        let mut finished = match ended {
            Ok((task, finished)) => {
                self.out.remove(&task);
                finished
            }
            Err(error) => {
                let Some(Out {
                    endpoint,
                    row,
                    trigger,
                    started_at,
                }) = self.out.remove(&error.id())
                else {
                    return;
                };
                tracing::error!(delivery.id = %row.delivery.id(), %error, "the task of an attempt failed");
                let seen = Seen::nothing(None, Fault::Interrupted);
                Finished {
                    endpoint,
                    row,
                    trigger,
                    started_at,
                    seen,
                    slot: None,
                }
            }
        };
        self.shared.in_flight.remove(finished.row.delivery.key);
        drop(finished.slot.take());
        attempt::log_outcome(&finished);
        self.judge(finished);
    }

    /// Judges an attempt and hands the verdict to the settler.
    fn judge(&mut self, mut finished: Finished) {
        let outcome = self
            .shared
            .outage
            .judge(finished.seen.outcome, finished.seen.unreached.as_ref());
        finished.seen.outcome = outcome;
        let Finished {
            endpoint,
            row,
            trigger,
            started_at,
            seen,
            slot: _,
        } = &finished;
        let ended = Ended {
            endpoint,
            row,
            trigger: *trigger,
            started_at: *started_at,
            outcome: &seen.outcome,
        };
        let now = self.shared.clock.now();
        let verdict = self
            .lanes
            .judge(&ended, &self.shared.registry, now, self.shared.jitter.unit());
        metrics::attempt(seen.outcome.class, seen.outcome.reason, seen.duration);
        if verdict.stage.is_final() {
            metrics::delivery_settled(verdict.stage.as_str());
        }
        let (id, key) = (endpoint.id, row.delivery.key);
        match self.record(finished, &verdict) {
            Some(record) => {
                #[cfg(test)]
                if let Some(stage) = self.shared.stage.get() {
                    stage.judged(&self.shared, &record, now);
                }
                self.judged.insert(key, (id, record.number));
                self.send(Record::AttemptSettled(record));
            }
            // Without a record the delivery is still due: let it be read again.
            None => self.lanes.forget(id, key),
        }
    }

    fn record(&self, finished: Finished, verdict: &Verdict) -> Option<AttemptSettled> {
        let Finished {
            endpoint,
            row,
            trigger,
            started_at,
            seen,
            slot: _,
        } = finished;
        let about = seen.about?;
        Some(AttemptSettled {
            delivery: Some(row.delivery.key),
            endpoint: endpoint.id,
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
            stage: verdict.stage,
            progress: verdict.progress,
            health: verdict.health,
            disable: verdict.disable,
            location: seen.location,
            excerpt: self.shared.options.attempt_detail.excerpt(seen.excerpt),
            overrides_end: false,
            detail: seen.detail,
        })
    }
}
