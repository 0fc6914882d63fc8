//! How the server, and each endpoint, is doing.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use super::{
    engine::{Engine, Shared},
    error::EngineError,
    view::{ClockView, CountsView, JournalView, StatsView, StatusView, StoreView},
};
use crate::{
    domain::{delivery::Counts, duration::Span, endpoint::EndpointState, id::EndpointId},
    storage::local::journal::Durability,
    storage::stored::{Tally, Totals},
    telemetry::metrics,
};

impl Engine {
    pub async fn endpoint_stats(&self, id: EndpointId) -> Result<StatsView, EngineError> {
        let shared = &self.0;
        let endpoint = shared.endpoint(id)?;
        let tally = shared.tally(id).await?;
        let mut deliveries = counts(&tally.deliveries);
        if !endpoint.is_active() {
            deliveries.held = std::mem::take(&mut deliveries.scheduled);
        }
        Ok(StatsView {
            endpoint_id: id,
            state: endpoint.standing.state,
            deliveries,
            failures_in_a_row: tally.health.failures,
            failing_for: Span::from_millis(tally.health.failing_millis),
            last_success_at: tally.health.last_success_at.map(|at| shared.clock.shown(at)),
            last_failure_at: tally.health.last_failure_at.map(|at| shared.clock.shown(at)),
        })
    }

    pub async fn status(&self) -> StatusView {
        let shared = &self.0;
        // What was accepted before the question is counted; without a store there is nothing to wait for.
        _ = shared.storage.caught_up_with(shared.journal.last_lsn()).await;
        let totals = shared.totals();
        let (stats, segments) = (shared.journal.stats(), shared.journal.segments());
        let endpoints = shared.endpoints_by_state();
        let endpoints = endpoints
            .into_iter()
            .map(|(state, count)| (state, count as u64))
            .collect();
        StatusView {
            version: env!("CARGO_PKG_VERSION"),
            started_at: shared.clock.shown(shared.started_at),
            now: shared.clock.now_and_shown().1,
            clock: shared.clock_view(),
            durability: match shared.options.durability {
                Durability::Fsync => "fsync",
                Durability::Os => "os",
            },
            state: shared.state(),
            warnings: shared.all_warnings(),
            events: totals.events,
            events_unmatched: totals.unmatched,
            deliveries: shared.delivery_counts(&totals),
            endpoints,
            endpoints_overdue: shared.endpoints_overdue() as u64,
            journal: JournalView {
                first_lsn: shared.journal.first_lsn(),
                last_lsn: shared.journal.last_lsn(),
                synced_lsn: shared.journal.synced_lsn(),
                segments: segments.len() as u64,
                bytes: segments.iter().map(|segment| segment.bytes).sum(),
                damaged_ranges: shared.local.found_damaged + stats.damaged_ranges,
                reclaimed_segments: stats.reclaimed_segments,
                reclaimed_bytes: stats.reclaimed_bytes,
                damaged: shared.local.damaged_ranges(),
                damaged_events: shared.local.damaged_events.count(),
                damaged_attempts: shared.local.damaged_attempts.count(),
            },
            store: StoreView {
                applied_lsn: shared.storage.applied(),
                rebuilds: shared.storage.rebuilds(),
                bytes: shared.storage.size_on_disk(),
            },
        }
    }

    /// Brings the gauges, and what the journal counts itself, up to date.
    pub fn measure(&self) {
        let shared = &self.0;
        let stats = shared.journal.stats();
        metrics::journal(metrics::JournalCounts {
            groups: stats.groups,
            records: stats.records,
            bytes: stats.bytes,
            last_lsn: shared.journal.last_lsn(),
            last_sync: Duration::from_micros(stats.last_sync_micros),
            damaged_ranges: shared.local.found_damaged + stats.damaged_ranges,
            first_lsn: shared.journal.first_lsn(),
            size: shared
                .journal
                .segments()
                .iter()
                .map(|segment| segment.bytes)
                .sum(),
            reclaimed_segments: stats.reclaimed_segments,
            reclaimed_bytes: stats.reclaimed_bytes,
            longest_pause: Duration::from_micros(stats.longest_pause_micros),
            damaged_events: shared.local.damaged_events.count(),
            damaged_attempts: shared.local.damaged_attempts.count(),
        });
        metrics::store_applied(shared.storage.applied());
        metrics::store_rebuilds(shared.storage.rebuilds());
        metrics::deliveries_in_flight(shared.in_flight.len());
        for (state, count) in shared.endpoints_by_state() {
            metrics::endpoints(state, count);
        }
    }

    /// Waits until the store has caught up with the journal.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn caught_up(&self) {
        self.0.storage.until_ready().await;
    }

    /// What stands in the way of being ready; empty when ready.
    pub fn not_ready(&self) -> Vec<String> {
        let shared = &self.0;
        let mut reasons = Vec::new();
        if shared.stopping.is_cancelled() {
            reasons.push("the server is stopping".to_owned());
        }
        if !shared.storage.is_ready() {
            reasons.push(format!(
                "the store is being rebuilt: record {} of {} is applied",
                shared.storage.applied(),
                shared.journal.last_lsn()
            ));
        }
        reasons.extend(shared.troubles());
        reasons
    }
}

fn counts(counts: &Counts) -> CountsView {
    CountsView {
        scheduled: counts.scheduled,
        held: 0,
        in_flight: 0,
        delivered: counts.delivered,
        failed: counts.failed,
        expired: counts.expired,
        cancelled: counts.cancelled,
        attempts: counts.attempts,
    }
}

impl Shared {
    /// What is the matter now, then what was found damaged.
    fn all_warnings(&self) -> Vec<String> {
        let mut warnings = self.troubles();
        warnings.extend(self.clock.suspicious().map(|found| found.to_string()));
        let found = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.extend(found.iter().cloned());
        warnings
    }

    fn clock_view(&self) -> ClockView {
        let found = self.clock.suspicious();
        ClockView {
            state: if found.is_some() { "suspicious" } else { "followed" },
            wall: self.clock.wall(),
            ahead_ms: found.map_or(0, |found| found.ahead_millis()),
        }
    }

    /// How many endpoints are in each state, none included.
    fn endpoints_by_state(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<_, _> = EndpointState::ALL
            .iter()
            .map(|state| (state.as_str(), 0))
            .collect();
        for endpoint in self.registry.all() {
            *counts.entry(endpoint.standing.state.as_str()).or_default() += 1;
        }
        counts
    }

    fn state(&self) -> &'static str {
        match (self.stopping.is_cancelled(), self.storage.is_ready()) {
            (true, _) => "stopping",
            (false, true) => "ready",
            (false, false) => "rebuilding",
        }
    }

    /// An endpoint's counts and health.
    pub(super) async fn tally(&self, id: EndpointId) -> Result<Tally, EngineError> {
        let tallies = self.data.tallies(vec![id]).await?;
        Ok(tallies.first().copied().unwrap_or_default())
    }

    fn totals(&self) -> Totals {
        let totals = self
            .storage
            .get()
            .and_then(|store| store.totals().map_err(|error| self.storage.failure(error)));
        totals.unwrap_or_default()
    }

    /// The totals, with what inactive endpoints have scheduled counted as held.
    fn delivery_counts(&self, totals: &Totals) -> CountsView {
        let mut shown = counts(&totals.deliveries);
        let inactive = self
            .registry
            .all()
            .into_iter()
            .filter(|endpoint| !endpoint.is_active());
        if let Ok(store) = self.storage.get() {
            let scheduled = inactive.filter_map(|endpoint| store.tally(endpoint.id).ok());
            shown.held = scheduled.map(|tally| tally.deliveries.scheduled).sum();
        }
        shown.in_flight = self.in_flight.len() as u64;
        shown.scheduled = shown
            .scheduled
            .saturating_sub(shown.held)
            .saturating_sub(shown.in_flight);
        shown
    }
}
