//! One function for each thing that is counted.
//!
//! They cost a look-up in a sharded table and an atomic addition, and do nothing before
//! [`Metrics::install`](super::Metrics::install). What every attempt counts is looked up once, from then on.

use std::{
    sync::{OnceLock, PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Histogram, counter, gauge, histogram};

use super::names;
use crate::domain::outcome::{Class, Reason};

/// Of the process's own metrics, those of attempts.
static LOOKED_UP: OnceLock<LookedUp> = OnceLock::new();

struct LookedUp {
    durations: Histogram,
    lags: Histogram,
    settled: Vec<(&'static str, Counter)>,
    /// By outcome and reason, the first one met first: mostly there is one.
    attempts: RwLock<Vec<(Class, Reason, Counter)>>,
}

/// Looks up what every attempt counts, in the process's own metrics, which never change.
pub(super) fn look_up() {
    LOOKED_UP.get_or_init(|| LookedUp {
        durations: histogram!(names::ATTEMPT_DURATION.name),
        lags: histogram!(names::DELIVERY_LAG.name),
        settled: names::SETTLED_STATES.map(|state| (state, settled(state))).into(),
        attempts: RwLock::default(),
    });
}

impl LookedUp {
    fn attempt(&self, outcome: Class, reason: Reason) {
        let known = self.attempts.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|known| (known.0, known.1) == (outcome, reason));
        if let Some((.., counter)) = found {
            return counter.increment(1);
        }
        drop(known);
        let counter = attempts(outcome, reason);
        counter.increment(1);
        // Two that come at once leave it there twice, which does no harm.
        let mut known = self.attempts.write().unwrap_or_else(PoisonError::into_inner);
        known.push((outcome, reason, counter));
    }
}

fn settled(state: &'static str) -> Counter {
    counter!(names::DELIVERIES_SETTLED.name, names::STATE => state)
}

fn attempts(outcome: Class, reason: Reason) -> Counter {
    let (outcome, reason) = (outcome.as_str(), reason.as_str());
    counter!(names::ATTEMPTS.name, names::OUTCOME => outcome, names::REASON => reason)
}

/// Events were accepted and are durable.
pub fn events_accepted(count: u64) {
    counter!(names::EVENTS_ACCEPTED.name).increment(count);
}

/// An event was answered with the result of an earlier one.
pub fn event_duplicate() {
    counter!(names::EVENTS_DUPLICATE.name).increment(1);
}

/// An event of a deprecated type was accepted.
pub fn event_deprecated() {
    counter!(names::EVENTS_DEPRECATED.name).increment(1);
}

/// An event was refused; `reason` is the problem's name in the table of problems.
pub fn event_rejected(reason: &'static str) {
    counter!(names::EVENTS_REJECTED.name, names::REASON => reason).increment(1);
}

/// A condition said neither yes nor no of an event; `reason` is one of a fixed list.
pub fn condition_failed(reason: &'static str) {
    counter!(names::CONDITIONS_FAILED.name, names::REASON => reason).increment(1);
}

/// A delivery reached a final state, one of [`names::SETTLED_STATES`].
pub fn delivery_settled(state: &'static str) {
    let known = LOOKED_UP.get();
    match known.and_then(|known| known.settled.iter().find(|(name, _)| *name == state)) {
        Some((_, counter)) => counter.increment(1),
        None => settled(state).increment(1),
    }
}

/// An attempt was settled after `took`.
pub fn attempt(outcome: Class, reason: Reason, took: Duration) {
    match LOOKED_UP.get() {
        Some(known) => {
            known.attempt(outcome, reason);
            known.durations.record(took);
        }
        None => {
            attempts(outcome, reason).increment(1);
            histogram!(names::ATTEMPT_DURATION.name).record(took);
        }
    }
}

/// A delivery's first attempt began `lag` after its event was accepted, or after its `deliver_at`.
pub fn first_attempt(lag: Duration) {
    match LOOKED_UP.get() {
        Some(known) => known.lags.record(lag),
        None => histogram!(names::DELIVERY_LAG.name).record(lag),
    }
}

/// So many attempts are under way.
pub fn deliveries_in_flight(count: usize) {
    gauge!(names::DELIVERIES_IN_FLIGHT.name).set(count as f64);
}

/// So many endpoints are in `state`, one of [`names::ENDPOINT_STATES`].
pub fn endpoints(state: &'static str, count: usize) {
    gauge!(names::ENDPOINTS.name, names::STATE => state).set(count as f64);
}

/// An endpoint was disabled; `reason` is the machine-readable one.
pub fn endpoint_disabled(reason: &'static str) {
    counter!(names::ENDPOINTS_DISABLED.name, names::REASON => reason).increment(1);
}

/// What the journal has counted since it was opened.
#[derive(Copy, Clone, Debug, Default)]
pub struct JournalCounts {
    pub groups: u64,
    pub records: u64,
    pub bytes: u64,
    pub last_lsn: u64,
    /// How long the last sync took.
    pub last_sync: Duration,
    pub damaged_ranges: u64,
    pub first_lsn: u64,
    /// Bytes of its segments.
    pub size: u64,
    pub reclaimed_segments: u64,
    pub reclaimed_bytes: u64,
    pub longest_pause: Duration,
    pub damaged_events: u64,
    pub damaged_attempts: u64,
}

/// The journal's own counts, as they are now.
pub fn journal(counts: JournalCounts) {
    counter!(names::JOURNAL_GROUPS.name).absolute(counts.groups);
    counter!(names::JOURNAL_RECORDS.name).absolute(counts.records);
    counter!(names::JOURNAL_BYTES.name).absolute(counts.bytes);
    counter!(names::JOURNAL_DAMAGED.name).absolute(counts.damaged_ranges);
    counter!(names::DAMAGED_EVENTS.name).absolute(counts.damaged_events);
    counter!(names::DAMAGED_ATTEMPTS.name).absolute(counts.damaged_attempts);
    gauge!(names::JOURNAL_LAST_LSN.name).set(counts.last_lsn as f64);
    gauge!(names::JOURNAL_SYNC.name).set(counts.last_sync.as_secs_f64());
    gauge!(names::JOURNAL_FIRST_LSN.name).set(counts.first_lsn as f64);
    gauge!(names::JOURNAL_SIZE.name).set(counts.size as f64);
    counter!(names::JOURNAL_RECLAIMED_SEGMENTS.name).absolute(counts.reclaimed_segments);
    counter!(names::JOURNAL_RECLAIMED_BYTES.name).absolute(counts.reclaimed_bytes);
    gauge!(names::JOURNAL_PAUSE_LONGEST.name).set(counts.longest_pause.as_secs_f64());
}

/// So many events were carried forward from old segments, and so many forgotten.
pub fn reclaimed(carried: u64, forgotten: u64) {
    counter!(names::EVENTS_CARRIED.name).increment(carried);
    counter!(names::EVENTS_FORGOTTEN.name).increment(forgotten);
}

/// So many held deliveries were ended.
pub fn held_expired(count: u64) {
    counter!(names::HELD_EXPIRED.name).increment(count);
    counter!(names::DELIVERIES_SETTLED.name, names::STATE => "expired").increment(count);
}

/// What supervision saw at its last look.
#[derive(Copy, Clone, Debug, Default)]
pub struct Supervision<'a> {
    /// Some of [`names::TROUBLES`].
    pub troubles: &'a [&'static str],
    /// How long the journal has been at its present group.
    pub journal_busy: Duration,
    /// How long the longest waiting delivery has been due.
    pub overdue: Duration,
    pub endpoints_overdue: usize,
    pub lanes_full: usize,
    /// How far the wall clock is ahead of the expected time, while it is not believed.
    pub clock_ahead_millis: Option<i64>,
}

/// What supervision saw, as gauges.
pub fn supervision(seen: &Supervision<'_>) {
    for trouble in names::TROUBLES {
        let there = f64::from(u8::from(seen.troubles.contains(&trouble)));
        gauge!(names::TROUBLE.name, names::TROUBLE_KIND => trouble).set(there);
    }
    gauge!(names::JOURNAL_BUSY.name).set(seen.journal_busy.as_secs_f64());
    gauge!(names::OVERDUE.name).set(seen.overdue.as_secs_f64());
    gauge!(names::ENDPOINTS_OVERDUE.name).set(seen.endpoints_overdue as f64);
    gauge!(names::LANES_FULL.name).set(seen.lanes_full as f64);
    let ahead = seen.clock_ahead_millis;
    gauge!(names::CLOCK_SUSPICIOUS.name).set(f64::from(u8::from(ahead.is_some())));
    gauge!(names::CLOCK_OFFSET.name).set(ahead.unwrap_or_default() as f64 / 1000.0);
}

/// The store holds every record up to `lsn`.
pub fn store_applied(lsn: u64) {
    gauge!(names::STORE_APPLIED_LSN.name).set(lsn as f64);
}

/// The store was written afresh, to free space.
pub fn store_rewritten() {
    counter!(names::STORE_REWRITES.name).increment(1);
}

/// So many times has the store been rebuilt from the journal since the start.
pub fn store_rebuilds(count: u64) {
    counter!(names::STORE_REBUILDS.name).absolute(count);
}
