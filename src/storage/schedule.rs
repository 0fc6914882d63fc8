//! What the scheduler reads: which deliveries are due, and in which order an endpoint's deliveries are scheduled.
//!
//! Each endpoint has a schedule: its deliveries that have not ended, by the time at which the next attempt is due. A
//! lane of the scheduler reads its endpoint's schedule in portions, from a position on. Positions stay valid for ever:
//! an entry that appears before a position is told of by a change, and the lane moves back.
//!
//! # Consistency
//!
//! A read sees at least all that was told of by changes before it began; it may see more. It need not see one state: an
//! entry that moves while its schedule is read may be met twice, or not at all, and a change that comes later says so.

use async_trait::async_trait;

use super::StorageError;
use crate::domain::{
    delivery::Delivery,
    health::Health,
    id::{DeliveryKey, EndpointId, Lsn},
    ordering::Strand,
    record::Place,
    time::Timestamp,
};

/// Where a delivery stands in its endpoint's schedule.
pub type Position = (Timestamp, DeliveryKey);

/// Before every entry of a schedule.
pub const FRONT: Position = (Timestamp::EPOCH, DeliveryKey::MIN);

/// The position right behind another.
pub const fn behind(at: Position) -> Position {
    (at.0, DeliveryKey::new(at.1.lsn, at.1.index + 1))
}

/// A scheduled delivery, with all that an attempt needs but the payload.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    pub due: Timestamp,
    pub delivery: Delivery,
    /// Its event.
    pub event: EventHandle,
    /// The strand of the event's ordering key.
    pub strand: Option<Strand>,
}

/// An event as storage finds it fastest: what it says besides is storage's own affair. A handle that is old still finds the
/// event.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct EventHandle {
    pub(in crate::storage) sequence: Lsn,
    pub(in crate::storage) place: Place,
}

impl EventHandle {
    /// How many bytes the event takes, roughly.
    pub const fn bytes(&self) -> usize {
        self.place.len as usize
    }
}

/// An entry of a schedule: what tells whose turn it is in an endpoint that keeps an order.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Position,
    /// The strand of the event's ordering key.
    pub strand: Option<Strand>,
    /// When it took its place, if it was tried since; one that was not has its place where it is due.
    pub since: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

/// A portion of a schedule: at most `limit` entries, from the position `from` on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    pub endpoint: EndpointId,
    pub from: Position,
    pub limit: usize,
}

/// What a pass of the scheduler wants to know, of any number of endpoints.
#[derive(Clone, Debug, Default)]
pub struct ScheduleRead {
    /// Deliveries that are due by `now`.
    pub due: Vec<Portion>,
    /// Entries, whether they are due or not.
    pub entries: Vec<Portion>,
    /// Single deliveries, each if it still stands at this position.
    pub at: Vec<(EndpointId, Position)>,
    /// How endpoints fared in their last attempts.
    pub health: Vec<EndpointId>,
    pub now: Timestamp,
}

/// The answers to a [`ScheduleRead`], in the order of its questions.
#[derive(Clone, Debug, Default)]
pub struct ScheduleAnswer {
    pub due: Vec<DuePage>,
    pub entries: Vec<EntryPage>,
    pub at: Vec<Option<DueDelivery>>,
    pub health: Vec<Health>,
}

/// Deliveries that are due, earliest first.
#[derive(Clone, Debug, Default)]
pub struct DuePage {
    pub deliveries: Vec<DueDelivery>,
    /// The first entry that was left: due later than now, or beyond the limit.
    pub next: Option<Position>,
}

/// Entries in the order of the schedule.
#[derive(Clone, Debug, Default)]
pub struct EntryPage {
    pub entries: Vec<Entry>,
    /// The first entry beyond the limit.
    pub next: Option<Position>,
}

/// The scheduler's half of storage. Each call is one round trip, however many endpoints it is about.
///
/// # Errors
/// All of them: `NotReady` while there is nothing to read from, which is followed by a reset in the stream of changes;
/// `Short` and `TimedOut` when the same call may succeed in a moment; `Failed` when somebody should look.
#[async_trait]
pub trait Schedule: Send + Sync {
    /// Reads portions of schedules.
    async fn read_schedules(&self, read: ScheduleRead) -> Result<ScheduleAnswer, StorageError>;

    /// Endpoints that have anything scheduled, in the order of their ids, at most `limit` beyond `after`.
    async fn endpoints_with_work(
        &self,
        after: Option<EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>, StorageError>;

    /// How many attempts are recorded of each of these deliveries; `None` for one that is not known.
    async fn attempts_recorded(&self, deliveries: Vec<DeliveryKey>)
    -> Result<Vec<Option<u32>>, StorageError>;
}
