//! Rows: a version byte, then the members in order (see `runtime::codec`). Members are append-only with a new version.

use serde::{Deserialize, Serialize};

use crate::domain::{
    delivery::Stage,
    endpoint::{EndpointState, Standing},
    event::{ContentHash, EventType, Label},
    health::Health,
    id::{DeliveryKey, EndpointId, EventId, Lsn},
    outcome::{Class, Reason},
    record::{Place, Record},
    time::Timestamp,
};

/// The version of every row that is written today.
pub const VERSION: u8 = 1;

/// How far the store has come, in which journal.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub lsn: Lsn,
    pub journal: [u8; 16],
}

/// An event; the rest of it is in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    pub id: EventId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub accepted_at: Timestamp,
    pub content_hash: ContentHash,
    pub deliveries: u32,
    pub place: Place,
}

/// What an idempotency key stands for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRow {
    pub event: Lsn,
    pub until: Timestamp,
}

/// An endpoint, or what is left of a deleted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    pub standing: Standing,
    pub sealed: Vec<u8>,
}

impl EndpointRow {
    /// The row after a configuration record, `lsn` being its place; `None` when the record is about another thing
    /// or changes nothing.
    pub fn after(row: Option<&Self>, lsn: Lsn, record: &Record) -> Option<Self> {
        match (row, record) {
            (None, Record::EndpointPut(put)) => Some(Self {
                created_at: put.at,
                updated_at: put.at,
                deleted_at: None,
                standing: Standing::new(&put.initial, put.at),
                sealed: put.sealed.clone(),
            }),
            (None, _) => None,
            (Some(row), _) if row.deleted_at.is_some() => None,
            (Some(row), record) => row.changed(lsn, record),
        }
    }

    fn changed(&self, lsn: Lsn, record: &Record) -> Option<Self> {
        let mut row = self.clone();
        match record {
            Record::EndpointPut(put) => {
                row.updated_at = put.at;
                row.sealed.clone_from(&put.sealed);
            }
            Record::EndpointChanged(changed) => row.standing = Standing::new(&changed.change, changed.at),
            Record::EndpointDeleted(deleted) => {
                row.deleted_at = Some(deleted.at);
                row.sealed = Vec::new();
            }
            Record::AttemptSettled(attempt) => {
                let reason = attempt.disable?;
                let standing = &row.standing;
                if standing.state != EndpointState::Active || standing.since > attempt.started_at {
                    return None;
                }
                row.standing = Standing::disabled_by(reason, (attempt.started_at, lsn), attempt.ended_at());
            }
            Record::EventAccepted(_) => row.standing.notice_due = false,
            Record::DeliveriesRetried(_)
            | Record::DeliveriesEnded(_)
            | Record::EventReplayed(_)
            | Record::KeyPut(_)
            | Record::KeyRevoked(_) => return None,
        }
        Some(row)
    }
}

/// Counts of deliveries by state, and of attempts.
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

/// Counts over everything.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub events: u64,
    /// Events whose fan-out was empty.
    pub unmatched: u64,
    pub deliveries: Counts,
}

/// One endpoint's counts and health.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub deliveries: Counts,
    pub health: Health,
}

/// An attempt, as far as lists filter by it; the rest is in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    pub place: Place,
    pub delivery: Option<DeliveryKey>,
    /// The delivery's attempt before this one.
    pub previous: Option<Lsn>,
    pub endpoint: EndpointId,
    pub event_type: EventType,
    pub tenant: Option<Label>,
    pub started_at: Timestamp,
    pub class: Class,
    pub reason: Reason,
    pub status: Option<u16>,
}
