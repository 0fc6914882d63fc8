//! Reading an event's record back by its place, and what it means when that does not work.

use super::{codec, engine::Shared, error::chain};
use crate::{
    domain::{
        id::Lsn,
        record::{EventAccepted, Place, Record},
    },
    journal::ReadError,
    store::{StoreError, rows::EventRow},
};

/// Why there is no record of an event.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It cannot be read any more.
    Damaged,
    /// It may be readable another time.
    NotNow,
}

impl Shared {
    /// The record of an event of which the store knows the place and what holds of it.
    pub fn read_event(
        &self,
        place: Place,
        is_it: impl FnOnce(Lsn, &EventAccepted) -> bool,
    ) -> Result<EventAccepted, Unread> {
        let read = self.journal.read(codec::location(place));
        let entry = read.map_err(|error| match error {
            ReadError::Io { .. } => {
                tracing::error!(error = %chain(&error), "cannot read an event");
                Unread::NotNow
            }
            // The journal says so, and whose event it was is told once.
            ReadError::Damaged(_) | ReadError::NoSegment { .. } => Unread::Damaged,
        })?;
        match codec::decode(&entry) {
            Ok(Record::EventAccepted(accepted)) if is_it(entry.lsn, &accepted) => Ok(accepted),
            Ok(_) => {
                // The record is sound, and another one: it is the store that is wrong.
                _ = self.storage.failure(StoreError::Missing(format!(
                    "of the event at record {}",
                    entry.lsn
                )));
                Err(Unread::NotNow)
            }
            Err(error) => {
                tracing::error!(lsn = entry.lsn, error = %chain(&error), "cannot decode an event");
                Err(Unread::Damaged)
            }
        }
    }

    /// The whole of an event, unless its record cannot be read.
    pub fn event_record(&self, row: &EventRow) -> Option<EventAccepted> {
        self.event_or_why(row).ok()
    }

    /// The whole of an event. One that is damaged is counted and told of.
    pub fn event_or_why(&self, row: &EventRow) -> Result<EventAccepted, Unread> {
        let read = self.read_event(row.place, |_, accepted| accepted.id == row.id);
        if read == Err(Unread::Damaged) {
            self.damaged_events.met(&row.id);
        }
        read
    }

    /// The event that a delivery is to bring.
    pub fn event_of_delivery(&self, event: Lsn, place: Place) -> Result<EventAccepted, Unread> {
        let read = self.read_event(place, |lsn, _| lsn == event);
        if read == Err(Unread::Damaged)
            && let Ok(store) = self.storage.get()
            && let Ok(Some(row)) = store.event(event)
        {
            self.damaged_events.met(&row.id);
        }
        read
    }
}
