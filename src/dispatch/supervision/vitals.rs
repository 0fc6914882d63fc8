//! Signs of life, and what was made of them last.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::assess::Trouble;
use crate::domain::{id::EndpointId, time::Timestamp};

/// What the parts leave for the supervisor, and it for those who ask.
#[derive(Default)]
pub(in crate::dispatch) struct Vitals {
    turns: AtomicU64,
    lanes: Mutex<LaneReport>,
    troubles: Mutex<Vec<Trouble>>,
}

impl Vitals {
    /// The scheduler's loop has come round.
    pub fn turned(&self) {
        self.turns.fetch_add(1, Relaxed);
    }

    pub fn turns(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    pub fn set_lanes(&self, report: LaneReport) {
        *lock(&self.lanes) = report;
    }

    pub fn lanes(&self) -> LaneReport {
        lock(&self.lanes).clone()
    }

    pub fn set_troubles(&self, troubles: Vec<Trouble>) {
        *lock(&self.troubles) = troubles;
    }

    pub fn troubles(&self) -> Vec<Trouble> {
        lock(&self.troubles).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the lanes of active endpoints stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dispatch) struct LaneReport {
    /// Those whose attempts are all out while more is due.
    pub full: usize,
    /// Those that have something due which is not out.
    pub late: Vec<Late>,
}

/// An endpoint with a delivery that is due and not out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Late {
    pub endpoint: EndpointId,
    /// Since when.
    pub due: Timestamp,
    pub why: Why,
}

/// What a due delivery waits for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::dispatch) enum Why {
    /// The receiver fails; one probe at a time goes out.
    Breaker,
    /// As many attempts are out as may be.
    Concurrency,
    /// The receiver asked not to be called yet, or trouble of our own is waited out.
    Pause,
    /// Its endpoint's rate, its turn among the others, or the limit over all.
    Turn,
}

impl Why {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker_open",
            Self::Concurrency => "concurrency",
            Self::Pause => "asked_to_wait",
            Self::Turn => "rate_or_turn",
        }
    }
}

impl LaneReport {
    /// The endpoints that are late by at least `bound`.
    pub fn overdue(&self, now: Timestamp, bound: Duration) -> impl Iterator<Item = &Late> {
        let late = self.late.iter();
        late.filter(move |late| late.due.plus(bound) <= now)
    }

    /// Since when the oldest waits.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.late.iter().map(|late| late.due).min()
    }
}
