//! Accepting events.

use crate::domain::{
    event::EventType,
    id::{EventId, Lsn},
};

/// An event that was accepted before, as its first answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEvent {
    pub sequence: Lsn,
    pub id: EventId,
    pub event_type: EventType,
    /// How many deliveries it became.
    pub deliveries: u32,
}
