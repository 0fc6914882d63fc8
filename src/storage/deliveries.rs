//! What people do to deliveries, and attempts that belong to none.

use async_trait::async_trait;

use super::StorageError;
use crate::domain::{
    id::Lsn,
    record::{AttemptSettled, DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed},
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

/// Changes of deliveries that people ask for, and what the engine records on its own behalf.
///
/// *Transaction*: all that one call carries, or nothing. *Durability*: before it answers; the space that is kept in reserve
/// may be used, since people must be able to manage when events are refused for want of space. *Read your writes*: when a
/// call answers, later reads of this process show what it did; [`Deliveries::accept_notice`] alone does not wait for that.
///
/// # Errors
/// `Full`, `Short`, `TooLarge` and `Closed`: nothing was stored; the first two are worth another try. `NotReady`, `TimedOut` and
/// `Unknown`: it may be stored. All of these operations may be repeated: what has been done already changes nothing.
#[async_trait]
pub trait Deliveries: Send + Sync {
    /// Makes deliveries due: those that are scheduled with what they have spent, those that have ended with a fresh budget.
    /// Those of deleted endpoints and of erased events stay as they are.
    async fn retry_deliveries(&self, retried: DeliveriesRetried) -> Result<(), StorageError>;

    /// Ends deliveries that have not ended.
    async fn end_deliveries(&self, ended: DeliveriesEnded) -> Result<(), StorageError>;

    /// Makes new deliveries of old events, each to the endpoints of its fan-out. Answers for each the sequence under which
    /// its deliveries stand; an event that has gone meanwhile gets none.
    async fn replay_events(&self, replayed: Vec<EventReplayed>) -> Result<Vec<Lsn>, StorageError>;

    /// Erases an event's payload, at a time and for somebody who asked: no read shows it from then on, and what is scheduled
    /// of the event is cancelled. Without such an event, or when it was done before, it does nothing.
    ///
    /// # Errors
    /// Also `Damaged`: the event cannot be read, and there is no payload to be had of it.
    async fn erase_payload(&self, event: Lsn, at: Timestamp, by: String) -> Result<(), StorageError>;

    /// Overwrites the bytes of an erased payload, durably. The caller has waited for attempts that may still read them.
    async fn overwrite_payload(&self, event: Lsn) -> Result<Overwritten, StorageError>;

    /// Records an attempt that belongs to no delivery: a test or a handshake. Answers its sequence.
    async fn record_standalone_attempt(&self, attempt: AttemptSettled) -> Result<Lsn, StorageError>;

    /// Accepts an event that the engine raises itself, with its fan-out. If it tells of an endpoint, that endpoint's notice
    /// is given by the same transaction.
    async fn accept_notice(&self, notice: EventAccepted) -> Result<(), StorageError>;
}
