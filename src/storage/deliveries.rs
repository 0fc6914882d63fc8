//! What people do to deliveries, and attempts that belong to none.

use async_trait::async_trait;

use super::StorageError;
use crate::domain::{
    audit::AuditEntry,
    configuration::ConfigChange,
    id::Lsn,
    record::{AttemptSettled, DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed, Record},
    time::Timestamp,
};

/// What became of the bytes of an erased payload.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Overwritten {
    /// None is left in storage.
    Gone,
    /// They stand while a backup is taken; to be repeated when it is done.
    NotNow,
    /// They may stand: what is around them is damaged.
    NotFound,
}

/// A change of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryChange {
    /// Makes deliveries due: those that are scheduled with what they have spent, those that have ended with a fresh budget.
    /// Those of deleted endpoints and of erased events stay as they are.
    Retried(DeliveriesRetried),
    /// Ends deliveries that have not ended.
    Ended(DeliveriesEnded),
    /// Makes new deliveries of an old event, to the endpoints of its fan-out; none of an event that has gone meanwhile.
    Replayed(EventReplayed),
    /// Who has asked for the other changes. It takes the place of an entry with the same id.
    Audited(Box<AuditEntry>),
}

impl From<DeliveryChange> for Record {
    fn from(change: DeliveryChange) -> Self {
        match change {
            DeliveryChange::Retried(retried) => Self::DeliveriesRetried(retried),
            DeliveryChange::Ended(ended) => Self::DeliveriesEnded(ended),
            DeliveryChange::Replayed(replayed) => Self::EventReplayed(replayed),
            DeliveryChange::Audited(entry) => ConfigChange::Audited(entry).into(),
        }
    }
}

/// Changes of deliveries that people ask for, and what the engine records on its own behalf.
///
/// *Transaction*: all that one call carries, or nothing; [`Deliveries::change_deliveries`] says what it promises of several
/// changes. *Durability*: before it answers; the space that is kept in reserve
/// may be used, since people must be able to manage when events are refused for want of space. *Read your writes*: when a
/// call answers, later reads of this process show what it did; [`Deliveries::accept_notice`] alone does not wait for that.
///
/// # Errors
/// `Full`, `Short`, `TooLarge` and `Closed`: nothing was stored; the first two are worth another try. `NotReady`, `TimedOut` and
/// `Unknown`: it may be stored. All of these operations may be repeated: what has been done already changes nothing.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Carries out changes in their order, and answers the sequence of each: that under which a replay's deliveries stand.
    ///
    /// A crash before it answers may leave the first of them without the later ones, never a later one without the first.
    /// So an entry of the audit log that comes first is there for each change that is.
    async fn change_deliveries(&self, changes: Vec<DeliveryChange>) -> Result<Vec<Lsn>, StorageError>;

    async fn retry_deliveries(&self, retried: DeliveriesRetried) -> Result<(), StorageError> {
        let changes = vec![DeliveryChange::Retried(retried)];
        self.change_deliveries(changes).await.map(drop)
    }

    async fn end_deliveries(&self, ended: DeliveriesEnded) -> Result<(), StorageError> {
        let changes = vec![DeliveryChange::Ended(ended)];
        self.change_deliveries(changes).await.map(drop)
    }

    async fn replay_events(&self, replayed: Vec<EventReplayed>) -> Result<Vec<Lsn>, StorageError> {
        let changes = replayed.into_iter().map(DeliveryChange::Replayed);
        self.change_deliveries(changes.collect()).await
    }

    /// Erases an event's payload, at a time and for somebody who asked: no read shows it from then on, and what is scheduled
    /// of the event is cancelled. The entry for the audit log is saved before, in the same write. Without such an event, or
    /// when it was done before, it does nothing.
    ///
    /// # Errors
    /// Also `Damaged`: the event cannot be read, and there is no payload to be had of it.
    async fn erase_payload(
        &self,
        event: Lsn,
        at: Timestamp,
        by: String,
        audited: Option<Box<AuditEntry>>,
    ) -> Result<(), StorageError>;

    /// Overwrites the bytes of an erased payload, durably. The caller has waited for attempts that may still read them.
    async fn overwrite_payload(&self, event: Lsn) -> Result<Overwritten, StorageError>;

    /// Records an attempt that belongs to no delivery: a test or a handshake. Answers its sequence.
    async fn record_standalone_attempt(&self, attempt: AttemptSettled) -> Result<Lsn, StorageError>;

    /// Accepts an event that the engine raises itself, with its fan-out. If it tells of an endpoint, that endpoint's notice
    /// is given by the same transaction.
    async fn accept_notice(&self, notice: EventAccepted) -> Result<(), StorageError>;
}
