//! Deliveries: the obligation to bring one event to one endpoint.

use serde::{Deserialize, Serialize};

use super::{
    id::{DeliveryId, DeliveryKey, EndpointId, Lsn},
    outcome::{Class, Reason},
    time::Timestamp,
};

/// What is stored of a delivery's state. `held` and `in_flight` are not stored: a delivery is held while it is
/// scheduled and its endpoint may not be sent to, and in flight while the dispatcher has it out.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    Scheduled { due: Timestamp },
    Delivered,
    Failed,
    Expired,
    Cancelled,
}

/// A [`Stage`] without its time.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageKind {
    Scheduled,
    Delivered,
    Failed,
    Expired,
    Cancelled,
}

impl StageKind {
    pub const ALL: [Self; 5] = [
        Self::Scheduled,
        Self::Delivered,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Stage {
    pub const fn kind(self) -> StageKind {
        match self {
            Self::Scheduled { .. } => StageKind::Scheduled,
            Self::Delivered => StageKind::Delivered,
            Self::Failed => StageKind::Failed,
            Self::Expired => StageKind::Expired,
            Self::Cancelled => StageKind::Cancelled,
        }
    }

    pub const fn due(self) -> Option<Timestamp> {
        match self {
            Self::Scheduled { due } => Some(due),
            Self::Delivered | Self::Failed | Self::Expired | Self::Cancelled => None,
        }
    }

    pub const fn is_final(self) -> bool {
        self.due().is_none()
    }

    pub const fn as_str(self) -> &'static str {
        self.kind().as_str()
    }
}

/// How far a delivery has come in its present retry budget.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Attempts that counted against the budget.
    pub spent: u32,
    /// Every one of them ended suspect (or there was none yet).
    pub all_suspect: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            spent: 0,
            all_suspect: true,
        }
    }
}

/// Why an attempt was made. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Initial,
    Retry,
    Replay,
    Probe,
    Test,
}

impl Trigger {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Retry => "retry",
            Self::Replay => "replay",
            Self::Probe => "probe",
            Self::Test => "test",
        }
    }
}

/// The newest attempt of a delivery, in short.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAttempt {
    /// The record that settled it; earlier attempts are found from there.
    pub lsn: Lsn,
    pub at: Timestamp,
    pub class: Class,
    pub reason: Reason,
    pub status: Option<u16>,
}

/// Counts of deliveries by state, and of attempts. Persisted: append members only with new versions of what holds it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub scheduled: u64,
    pub delivered: u64,
    pub failed: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub attempts: u64,
}

impl Counts {
    /// The count that a delivery in this stage is part of.
    pub const fn of(&mut self, stage: Stage) -> &mut u64 {
        match stage {
            Stage::Scheduled { .. } => &mut self.scheduled,
            Stage::Delivered => &mut self.delivered,
            Stage::Failed => &mut self.failed,
            Stage::Expired => &mut self.expired,
            Stage::Cancelled => &mut self.cancelled,
        }
    }
}

/// One event's obligation to one endpoint. Persisted, in rows of the index and in records of what is carried, each with a
/// version of its own.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub key: DeliveryKey,
    /// The record that accepted the event.
    pub event: Lsn,
    pub endpoint: EndpointId,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub stage: Stage,
    pub progress: Progress,
    /// Attempts made in all budgets together.
    pub attempts: u32,
    /// The next attempt is a replay: someone asked for it.
    pub replay: bool,
    pub last: Option<LastAttempt>,
    pub settled_at: Option<Timestamp>,
}

impl Delivery {
    pub const fn id(&self) -> DeliveryId {
        DeliveryId::new(self.created_at, self.key)
    }

    /// Whether it was tried since it last took its place: created, or begun anew by a person.
    pub const fn is_tried(&self) -> bool {
        self.attempts > 0 && !self.replay
    }

    /// Why the next attempt will be made, unless it is a probe.
    pub const fn next_trigger(&self) -> Trigger {
        match (self.replay, self.progress.spent) {
            (true, _) => Trigger::Replay,
            (false, 0) if self.attempts == 0 => Trigger::Initial,
            (false, _) => Trigger::Retry,
        }
    }
}
