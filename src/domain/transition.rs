//! How a delivery comes to be, moves and ends.
//!
//! Every storage applies these rules as they stand, so that none decides them for itself. [`super::settle`] decides what
//! an attempt is worth; here its verdict meets the state that the delivery has by then.

use super::{
    delivery::{Delivery, LastAttempt, Progress, Stage},
    id::{DeliveryKey, EndpointId, Lsn},
    record::{AttemptSettled, DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed},
    time::Timestamp,
};

impl Delivery {
    /// The delivery of an event that is accepted, to an endpoint of its fan-out.
    pub fn accepted(key: DeliveryKey, event: &EventAccepted, endpoint: EndpointId, due: Timestamp) -> Self {
        Self {
            key,
            event: key.lsn,
            endpoint,
            created_at: event.accepted_at,
            expires_at: event.expires_at,
            stage: Stage::Scheduled { due },
            progress: Progress::default(),
            attempts: 0,
            replay: false,
            last: None,
            settled_at: None,
        }
    }

    /// The delivery of an old event, to an endpoint that it is replayed to.
    pub fn replayed(key: DeliveryKey, replayed: &EventReplayed, endpoint: EndpointId) -> Self {
        Self {
            key,
            event: replayed.event,
            endpoint,
            created_at: replayed.due,
            expires_at: None,
            stage: Stage::Scheduled { due: replayed.due },
            progress: Progress::default(),
            attempts: 0,
            replay: true,
            last: None,
            settled_at: None,
        }
    }

    /// A new delivery to an endpoint that was deleted meanwhile is cancelled from the start.
    pub const fn cancel_at_birth(&mut self) {
        self.settled_at = Some(self.created_at);
        self.stage = Stage::Cancelled;
    }

    /// Takes note of an attempt, recorded under `sequence`, and of its verdict.
    ///
    /// Who ended a delivery first has ended it: an attempt that ends later is counted with the outcome it had, and ends
    /// nothing. A delivery to a deleted endpoint is not tried again.
    pub fn settle(&mut self, sequence: Lsn, attempt: &AttemptSettled, endpoint_deleted: bool) {
        self.attempts = self.attempts.saturating_add(1);
        self.progress = attempt.progress;
        self.replay = false;
        self.last = Some(LastAttempt {
            lsn: sequence,
            at: attempt.started_at,
            class: attempt.class,
            reason: attempt.reason,
            status: attempt.status,
        });
        let overrides = attempt.overrides_end && attempt.stage == Stage::Delivered;
        let ended_before = self.stage.is_final() && !overrides;
        self.stage = match attempt.stage {
            _ if ended_before => self.stage,
            Stage::Scheduled { .. } if endpoint_deleted => Stage::Cancelled,
            stage => stage,
        };
        // A version 1 record set this in any case.
        if self.stage.is_final() && (!ended_before || attempt.overrides_end) {
            self.settled_at = Some(attempt.ended_at());
        }
    }

    /// Makes the delivery due because a person asked for it: with what it has spent if it is scheduled, with a fresh
    /// budget and no time to expire at if it has ended.
    pub fn retry(&mut self, retried: &DeliveriesRetried) {
        if self.stage.is_final() {
            self.progress = Progress::default();
            self.replay = true;
            self.settled_at = None;
            self.expires_at = None;
        }
        self.stage = Stage::Scheduled { due: retried.due };
    }

    /// Ends the delivery without an attempt; answers whether it had not ended before.
    pub const fn end(&mut self, ended: &DeliveriesEnded) -> bool {
        if self.stage.is_final() {
            return false;
        }
        self.settled_at = Some(ended.at);
        self.stage = ended.stage;
        true
    }
}

impl AttemptSettled {
    /// Whether the endpoint's health is what this attempt says. If somebody has changed the endpoint's state since the
    /// attempt began (the endpoint stands as it does since `since`), failures from before are forgiven.
    pub fn sets_health(&self, since: Timestamp) -> bool {
        self.health.failures == 0 || since <= self.started_at
    }
}

/// Since when a delivery has its place in the schedule, after an attempt after which it is tried again. From its first
/// attempt on, its place is not where it is due.
pub fn place_after_attempt(due: Timestamp, since: Option<Timestamp>) -> Timestamp {
    since.unwrap_or(due)
}
