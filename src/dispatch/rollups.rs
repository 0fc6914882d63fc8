//! Rollups: how much happened, minute by minute or hour by hour.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    engine::{Engine, Shared},
    error::EngineError,
    tenants::Thing,
};
use crate::{
    domain::{
        event::Label,
        id::EndpointId,
        limits,
        outcome::Class,
        rollup::{Histogram, Interval, Rollup, Series, bounds},
        time::Timestamp,
    },
    storage::rollups::RollupQuery,
};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct RollupFilter {
    pub interval: Interval,
    /// Of one endpoint, which has to be the tenant's if one is given.
    pub endpoint: Option<EndpointId>,
    pub tenant: Option<Label>,
    /// An hour before `until` for minutes, a day for hours.
    pub since: Option<Timestamp>,
    /// Now.
    pub until: Option<Timestamp>,
}

/// Rollups as they are shown.
#[derive(Debug, Serialize)]
pub struct RollupsView {
    pub interval: Interval,
    pub since: Timestamp,
    pub until: Timestamp,
    /// In one of the intervals more tenants, or endpoints, were active than are counted each for itself: counts may be too low.
    pub left_out: bool,
    /// The upper bounds of the buckets of `latency`, but for the last one, which has none.
    pub latency_bounds_ms: Vec<u64>,
    /// Earliest first, without intervals in which nothing happened.
    pub data: Vec<RollupView>,
}

/// One interval.
#[derive(Debug, Serialize)]
pub struct RollupView {
    /// When it begins.
    pub at: Timestamp,
    /// Events that were accepted; of an endpoint, those that it is to get.
    pub accepted: u32,
    /// Attempts that ended, by outcome.
    pub attempts: BTreeMap<&'static str, u32>,
    /// Deliveries that failed for good, with the last of their attempts.
    pub deliveries_failed: u32,
    /// How long the attempts took.
    pub latency: HistogramView,
}

/// A histogram. Percentiles are estimates; nothing where nothing was counted.
#[derive(Debug, Serialize)]
pub struct HistogramView {
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub p99_ms: Option<u64>,
    pub buckets: Vec<u32>,
}

impl Engine {
    /// # Errors
    /// `NotFound` for an endpoint that is not the tenant's; `Invalid` when the range has too many intervals; `NotNow` when no
    /// rollups are kept.
    pub async fn rollups(&self, filter: &RollupFilter) -> Result<RollupsView, EngineError> {
        let shared = &self.0;
        let series = match (filter.endpoint, &filter.tenant) {
            (Some(endpoint), tenant) => {
                if let Some(tenant) = tenant {
                    self.belongs(&Thing::Endpoint(endpoint), tenant).await?;
                }
                Series::Endpoint(endpoint)
            }
            (None, Some(tenant)) => Series::Tenant(tenant.clone()),
            (None, None) => Series::All,
        };
        let interval = filter.interval;
        let until = match filter.until {
            Some(until) => shared.clock.past(until),
            None => shared.clock.now(),
        };
        let since = match filter.since {
            Some(since) => shared.clock.past(since),
            None => until.minus(by_default(interval)),
        };
        if until.since(since).as_millis() > u128::from(limits::ROLLUPS * interval.millis()) {
            return Err(EngineError::Invalid {
                field: "since".to_owned(),
                rule: format!(
                    "is more than {} intervals before until; ask for less at once, or for longer intervals",
                    limits::ROLLUPS
                ),
            });
        }
        let query = RollupQuery {
            series,
            interval,
            since,
            until,
        };
        let read = shared.data.rollups(query).await?;
        let read = read.ok_or(EngineError::NotNow(
            "no rollups are kept; set storage.indexes to all",
        ))?;
        Ok(RollupsView {
            interval,
            since: shared.clock.shown(since),
            until: shared.clock.shown(until),
            left_out: read.left_out,
            latency_bounds_ms: bounds().to_vec(),
            data: shown(shared, interval, read.intervals),
        })
    }
}

const fn by_default(interval: Interval) -> Duration {
    match interval {
        Interval::Minute => Duration::from_secs(3600),
        Interval::Hour => Duration::from_secs(86_400),
    }
}

/// Each interval at its beginning on the wall clock. Engine time runs beside that by whatever the wall clock was corrected by, so
/// that its minutes need not be the wall clock's: each is shown as the nearest one.
fn shown(shared: &Shared, interval: Interval, intervals: Vec<(Timestamp, Rollup)>) -> Vec<RollupView> {
    let half = Duration::from_millis(interval.millis() / 2);
    let mut sums: BTreeMap<Timestamp, Rollup> = BTreeMap::new();
    for (at, rollup) in intervals {
        let at = interval.of(shared.clock.shown(at).plus(half));
        sums.entry(at).or_default().add(&rollup);
    }
    sums.iter().map(|(at, rollup)| view(*at, rollup)).collect()
}

fn view(at: Timestamp, rollup: &Rollup) -> RollupView {
    let outcomes = Class::ALL.map(|class| (class.as_str(), rollup.attempts(class)));
    RollupView {
        at,
        accepted: rollup.accepted(),
        attempts: outcomes.into(),
        deliveries_failed: rollup.failed(),
        latency: histogram(rollup.durations()),
    }
}

fn histogram(histogram: Histogram<'_>) -> HistogramView {
    HistogramView {
        p50_ms: histogram.percentile(50),
        p95_ms: histogram.percentile(95),
        p99_ms: histogram.percentile(99),
        buckets: histogram.buckets().to_vec(),
    }
}
