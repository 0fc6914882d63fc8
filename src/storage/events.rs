//! Accepting events and reading them back; recording what came of their deliveries.

use async_trait::async_trait;

use super::{StorageError, schedule::EventHandle};
use crate::domain::{
    event::{ContentHash, EventType, Label},
    id::{EventId, Lsn},
    record::{AttemptSettled, DeliveriesEnded, EventAccepted, Record},
    time::Timestamp,
};

/// An event that was accepted before, as its first answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEvent {
    pub sequence: Lsn,
    pub id: EventId,
    pub event_type: EventType,
    pub content_hash: ContentHash,
    /// How many deliveries it became.
    pub deliveries: u32,
}

/// An event that is to be accepted.
#[derive(Clone, Debug)]
pub struct AcceptEvent {
    pub event: EventAccepted,
    /// Its id came with it, and has to be nobody else's. One that was made up for it is unique.
    pub has_own_id: bool,
}

/// What came of an event that was to be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is durable, with its deliveries. Sequences of events that are accepted one after the other grow.
    New(Lsn),
    /// The same event was accepted before; nothing was stored.
    Known(KnownEvent),
    /// Its id or key was used before with other content; nothing was stored.
    Different(Claimed),
}

/// What an event claims within its tenant.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    EventId,
    IdempotencyKey,
}

impl Claimed {
    /// What to call it to the caller.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventId => "this event id",
            Self::IdempotencyKey => "this idempotency key",
        }
    }
}

/// By what an event is known, within a tenant or among events without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName {
    pub tenant: Option<Label>,
    pub id: Option<EventId>,
    pub key: Option<String>,
}

/// What came of deliveries.
#[derive(Clone, Debug)]
pub struct Outcome(pub(in crate::storage) Record);

impl Outcome {
    /// An attempt of a delivery, or one that belongs to none.
    pub const fn attempt(attempt: AttemptSettled) -> Self {
        Self(Record::AttemptSettled(attempt))
    }

    /// Deliveries that ended without an attempt.
    pub const fn ended(ended: DeliveriesEnded) -> Self {
        Self(Record::DeliveriesEnded(ended))
    }
}

/// Why an event that was accepted cannot be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It cannot be read any more.
    Damaged,
    /// It may be readable another time.
    NotNow,
}

#[async_trait]
pub trait Events: Send + Sync {
    /// Accepts events, each with its fan-out; answers each, in order.
    ///
    /// *Transaction*: each event with its deliveries and with what it claims (its id, its idempotency key) is one. Events
    /// of one call are written together, but one may be refused and the next accepted. Of two callers with the same id
    /// within a tenant exactly one is first, and the other learns of it once that one is durable.
    /// *Durability*: before it answers.
    /// *Read your writes*: later reads of this process that wait for what is durable have it.
    /// *Errors*: nothing of the event is stored. `NotReady` only for events that claim something: whether an id was used
    /// before is not known yet. `Full` and `Short`: the caller may try again. `Closed` and
    /// `Unknown`: it may be stored all the same; with an id of its own, sending it again tells.
    /// *Cancel safety*: a dropped future leaves open which events are stored. One that claims something is stored once at
    /// the most, however often it is sent again.
    ///
    /// Idempotency keys whose time ended at `keys_over` or before are forgotten.
    async fn accept_events(
        &self,
        events: Vec<AcceptEvent>,
        keys_over: Timestamp,
    ) -> Vec<Result<Acceptance, StorageError>>;

    /// For each name, the event that is known by it; an id is looked for before a key. Waits for another caller who is about
    /// to accept one.
    ///
    /// # Errors
    /// `NotReady`, `TimedOut`, `Failed`.
    async fn known_events(
        &self,
        names: Vec<EventName>,
        keys_over: Timestamp,
    ) -> Result<Vec<Option<KnownEvent>>, StorageError>;

    /// The whole of an event that was accepted before this was asked; `None` when there is none with this sequence, or it
    /// has gone with its time.
    ///
    /// # Errors
    /// `Damaged`: it cannot be read any more. `NotReady`, `TimedOut` and `Failed`: it may be readable another time.
    async fn event(&self, sequence: Lsn) -> Result<Option<EventAccepted>, StorageError>;

    /// The whole of a due delivery's event, where it can be had without waiting for anything. It is asked for before each
    /// attempt.
    fn event_at_hand(&self, event: EventHandle) -> Option<EventAccepted>;

    /// The whole of a due delivery's event; the disk or the network may have to be waited for.
    async fn due_event(&self, event: EventHandle) -> Result<EventAccepted, Unread>;

    /// Records outcomes, in order.
    ///
    /// *Transaction*: each outcome with all that follows from it: the delivery's state, its endpoint's health and standing,
    /// counts. *Durability*: within 50 ms, or with what is made durable next; a crash in between means that an attempt is
    /// made again. *Errors*: none of them is stored; `Full` and `Short` are worth another try.
    async fn record_outcomes(&self, outcomes: &[Outcome]) -> Result<(), StorageError>;
}
