//! Reading an event's record back by its place, and what it means when that does not work.

use super::{
    LocalStorage, codec,
    index::rows::EventRow,
    journal::{Entry, ReadError},
};
use crate::{
    domain::{
        id::Lsn,
        record::{AttemptSettled, EventAccepted, Place, Record},
    },
    runtime::chain::chain,
    storage::Unread,
};

impl LocalStorage {
    /// The record that holds an event which the one at `lsn` accepted. Between the look into the store and this one it
    /// may have been carried forward, and its old place be gone: then the store knows the new one.
    fn read_event(&self, lsn: Lsn, place: Place) -> Result<Entry, ReadError> {
        let mut place = place;
        loop {
            let is_it = |entry: &Entry| codec::holds_event(entry, lsn);
            let error = match self.journal.read_where(codec::location(place), is_it) {
                Err(error) => error,
                read => return read,
            };
            match self.event_row_at(lsn) {
                Some(row) if row.place != place => place = row.place,
                _ => return Err(error),
            }
        }
    }

    fn event_row_at(&self, lsn: Lsn) -> Option<EventRow> {
        self.served.get().ok()?.event(lsn).ok()?
    }

    /// The whole of an event, where it can be had without waiting for the disk.
    pub(super) fn at_hand(&self, lsn: Lsn, place: Place) -> Option<EventAccepted> {
        let entry = self.journal.at_hand(lsn, codec::location(place))?;
        if !codec::holds_event(&entry, lsn) {
            return None;
        }
        codec::decode(&entry).ok().and_then(codec::event)
    }

    /// The whole of an event. One that is damaged is counted and told of.
    pub fn event_or_why(&self, lsn: Lsn, place: Place) -> Result<EventAccepted, Unread> {
        let entry = self.read_event(lsn, place).map_err(|error| match error {
            ReadError::Io { .. } => {
                tracing::error!(error = %chain(&error), "cannot read an event");
                Unread::NotNow
            }
            // The journal says so, and whose event it was is told once.
            ReadError::Damaged(_) | ReadError::NoSegment { .. } => self.met_damaged(lsn),
        })?;
        match codec::decode(&entry).map(codec::event) {
            Ok(Some(accepted)) => Ok(accepted),
            Ok(None) => Err(self.met_damaged(lsn)),
            Err(error) => {
                tracing::error!(lsn = entry.lsn, error = %chain(&error), "cannot decode an event");
                Err(self.met_damaged(lsn))
            }
        }
    }

    /// The whole of an attempt; `Err(None)` when it was forgotten since its row was read. One that is damaged is counted
    /// and told of.
    pub fn attempt_or_why(&self, lsn: Lsn, place: Place) -> Result<AttemptSettled, Option<Unread>> {
        let is_it = |entry: &Entry| entry.lsn == lsn;
        let read = self.journal.read_where(codec::location(place), is_it);
        let why = match read.map(|entry| codec::decode(&entry)) {
            Ok(Ok(Record::AttemptSettled(attempt))) => return Ok(attempt),
            Err(ReadError::Io { .. }) => Unread::NotNow,
            Ok(_) | Err(ReadError::Damaged(_) | ReadError::NoSegment { .. }) => Unread::Damaged,
        };
        let stands = self.served.get().ok().map(|store| store.attempt(lsn));
        if matches!(stands, Some(Ok(None))) {
            return Err(None);
        }
        if why == Unread::Damaged {
            self.damaged_attempts.met(lsn);
        }
        Err(Some(why))
    }

    fn met_damaged(&self, lsn: Lsn) -> Unread {
        if let Some(row) = self.event_row_at(lsn) {
            self.damaged_events.met(lsn, &row.id);
        }
        Unread::Damaged
    }
}
