//! Self-supervision: whether the parts still move, and who is told when they do not.
//!
//! # The cast
//!
//! The scheduler and the committer leave **signs of life** ([`Vitals`]); the supervisor task looks at them once a second and
//! calls what it does not like a **trouble** ([`assess`]). Troubles stand in `/readyz`, in the status and in a gauge each. A part that
//! is **stuck** also takes the service manager's watchdog its food, so that the process is started afresh. Endpoints
//! whose deliveries are overdue beyond a bound are no trouble of ours, but someone has to know: they are counted, and
//! named.
//!
//! # Who is told
//!
//! What begins and ends becomes an operational event ([`notice`]): `server.degraded` and `server.recovered`,
//! `endpoint.overdue` and `endpoint.caught_up`. They are events like any other, so that a journal that cannot write delays
//! them until it can. What has been told is remembered in memory alone: after a restart it is told again.

mod assess;
mod notice;
mod vitals;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use self::assess::{Assessor, Sample, Trouble};
pub(super) use self::vitals::{LaneReport, Late, Vitals, Why};
use super::{
    clock::Keeper,
    engine::{Engine, Shared},
    error::chain,
    notice::Notice,
};
use crate::{
    domain::{id::EndpointId, time::Timestamp},
    telemetry::metrics,
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Notices of endpoints written at one look; the others follow at the next ones.
const NOTICES: usize = 50;
/// How long a notice may take to be written before it is tried again at a later look.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the server stops.
pub(super) async fn run(shared: Arc<Shared>, keeper: Keeper) {
    let mut supervisor = Supervisor::new(shared.clone(), keeper);
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => supervisor.look().await,
            () = shared.stopping.cancelled() => return,
        }
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    assessor: Assessor,
    keeper: Keeper,
    /// Looks at the free space: a disk that hangs must not hang the supervisor.
    space: Option<JoinHandle<bool>>,
    full: bool,
    /// Since when the server is degraded, and what has been the matter, once that has been told.
    degraded: Option<(Timestamp, BTreeSet<&'static str>)>,
    /// Endpoints that were told to be overdue, and since when.
    overdue: HashMap<EndpointId, Timestamp>,
}

impl Supervisor {
    fn new(shared: Arc<Shared>, keeper: Keeper) -> Self {
        Self {
            assessor: Assessor::new(Instant::now()),
            shared,
            keeper,
            space: None,
            full: false,
            degraded: None,
            overdue: HashMap::new(),
        }
    }

    async fn look(&mut self) {
        self.keeper.look(&self.shared.clock).await;
        self.look_at_space().await;
        let shared = &self.shared;
        let sample = Sample {
            turns: shared.vitals.turns(),
            serving: shared.storage.is_ready(),
            applied: shared.storage.applied(),
            written: shared.journal.published_lsn(),
            committing: shared.journal.busy_for(),
            full: self.full,
            unreadable: shared.local.unreadable.get(),
        };
        let troubles = self.assessor.look(&sample, Instant::now());
        let report = shared.vitals.lanes();
        let now = shared.clock.now();
        metrics::supervision(&metrics::Supervision {
            troubles: &troubles
                .iter()
                .map(|trouble| trouble.kind.as_str())
                .collect::<Vec<_>>(),
            journal_busy: sample.committing.unwrap_or_default(),
            overdue: report.oldest().map_or(Duration::ZERO, |due| now.since(due)),
            endpoints_overdue: report.overdue(now, shared.options.overdue_after).count(),
            lanes_full: report.full,
            clock_ahead_millis: shared.clock.suspicious().map(|found| found.ahead_millis()),
        });
        say_what_changed(&shared.vitals.troubles(), &troubles);
        shared.vitals.set_troubles(troubles.clone());
        if shared.storage.is_ready() {
            self.tell_of_server(&troubles, now).await;
            self.tell_of_endpoints(&report, now).await;
        }
    }

    /// Begins a look at the free space unless the last one is still under way.
    async fn look_at_space(&mut self) {
        if let Some(look) = self.space.take_if(|look| look.is_finished()) {
            self.full = look.await.unwrap_or(self.full);
        }
        if self.space.is_none() {
            let journal = self.shared.journal.clone();
            self.space = Some(tokio::task::spawn_blocking(move || journal.is_full()));
        }
    }

    async fn tell_of_server(&mut self, troubles: &[Trouble], now: Timestamp) {
        match (&mut self.degraded, troubles) {
            (None, []) => {}
            (None, troubles) => {
                if self.write(notice::degraded(troubles, now)).await {
                    let kinds = troubles.iter().map(|trouble| trouble.kind.as_str());
                    self.degraded = Some((now, kinds.collect()));
                }
            }
            (Some((since, kinds)), []) => {
                let notice = notice::recovered(self.shared.clock.shown(*since), kinds, now);
                if self.write(notice).await {
                    self.degraded = None;
                }
            }
            (Some((_, kinds)), troubles) => {
                kinds.extend(troubles.iter().map(|trouble| trouble.kind.as_str()));
            }
        }
    }

    async fn tell_of_endpoints(&mut self, report: &LaneReport, now: Timestamp) {
        let bound = self.shared.options.overdue_after;
        let mut room = NOTICES;
        for late in report.overdue(now, bound) {
            if room == 0 {
                return;
            }
            let known = self.overdue.contains_key(&late.endpoint);
            let Some(endpoint) = self.shared.registry.get(late.endpoint).filter(|_| !known) else {
                continue;
            };
            room -= 1;
            let since = self.shared.clock.shown(late.due);
            if self.write(notice::overdue(&endpoint, late, since, now)).await {
                self.overdue.insert(late.endpoint, late.due);
            }
        }
        // Half the bound, so that one who hovers about it is not told of time and again.
        let late: BTreeSet<_> = report.overdue(now, bound / 2).map(|late| late.endpoint).collect();
        let done = self.overdue.iter().filter(|(id, _)| !late.contains(*id));
        let done: Vec<_> = done.map(|(id, since)| (*id, *since)).take(room).collect();
        for (id, since) in done {
            // One that was disabled, paused or deleted meanwhile has not caught up; that is told elsewhere.
            let endpoint = self
                .shared
                .registry
                .get(id)
                .filter(|endpoint| endpoint.is_active());
            let told = match endpoint {
                Some(endpoint) => {
                    let since = self.shared.clock.shown(since);
                    self.write(notice::caught_up(&endpoint, since, now)).await
                }
                None => true,
            };
            if told {
                self.overdue.remove(&id);
            }
        }
    }

    /// Answers whether the notice is durable.
    async fn write(&self, notice: Notice) -> bool {
        if self.shared.journal.busy_for().is_some_and(|busy| busy > PATIENCE) {
            return false;
        }
        match tokio::time::timeout(PATIENCE, notice.write(&self.shared)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "an operational event waits");
                false
            }
            Err(_) => false,
        }
    }
}

fn say_what_changed(before: &[Trouble], now: &[Trouble]) {
    let missing = |trouble: &Trouble, among: &[Trouble]| among.iter().all(|other| other.kind != trouble.kind);
    for trouble in now.iter().filter(|trouble| missing(trouble, before)) {
        tracing::error!(trouble = trouble.kind.as_str(), "trouble: {}", trouble.text);
    }
    for trouble in before.iter().filter(|trouble| missing(trouble, now)) {
        tracing::info!(trouble = trouble.kind.as_str(), "the trouble is over");
    }
}

impl Engine {
    /// What is stuck, so that only a fresh start of the process can help; empty when nothing is.
    pub fn stuck(&self) -> Vec<String> {
        let troubles = self.0.vitals.troubles();
        let stuck = troubles.into_iter().filter(|trouble| trouble.kind.is_stuck());
        stuck.map(|trouble| trouble.text).collect()
    }
}

impl Shared {
    /// What stands in the way of taking requests, beyond starting and stopping.
    pub(super) fn troubles(&self) -> Vec<String> {
        let troubles = self.vitals.troubles();
        troubles.into_iter().map(|trouble| trouble.text).collect()
    }

    /// The endpoints whose deliveries are overdue beyond the bound.
    pub(super) fn endpoints_overdue(&self) -> usize {
        let report = self.vitals.lanes();
        report
            .overdue(self.clock.now(), self.options.overdue_after)
            .count()
    }
}
