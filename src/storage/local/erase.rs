//! Erasing a payload: a record that holds the event without it, and then zeros where its bytes stood.

use bytes::Bytes;

use super::{
    LocalStorage, codec,
    index::rows::EventRow,
    journal::{Entry, ReadError},
};
use crate::{
    domain::{
        event::Payload,
        id::Lsn,
        record::{EventAccepted, PayloadErased, Place},
        time::Timestamp,
    },
    runtime::chain::chain,
    storage::{Overwritten, StorageError},
};

impl LocalStorage {
    /// The record that erases an event's payload; nothing when there is no such event, or it is erased already. From that
    /// record on the event's row points there, so that nothing reads the old one.
    pub(super) fn erasure(
        &self,
        sequence: Lsn,
        at: Timestamp,
        by: String,
    ) -> Result<Option<PayloadErased>, StorageError> {
        let Some(row) = self.event_row(sequence)?.filter(|row| row.erased.is_none()) else {
            return Ok(None);
        };
        let event = self.event_or_why(sequence, row.place)?;
        Ok(Some(PayloadErased {
            lsn: sequence,
            at,
            by,
            event: Box::new(without_payload(event)),
        }))
    }

    /// Overwrites an erased payload where it stood. Where nothing stands any more nothing is left to do.
    pub(super) fn overwrite(&self, sequence: Lsn) -> Result<Overwritten, StorageError> {
        let erasure = self.event_row(sequence)?.and_then(|row| row.erased);
        let Some(erasure) = erasure else {
            return Ok(Overwritten::Gone);
        };
        self.overwrite_at(sequence, erasure.from)
            .or_else(|error| match error {
                ReadError::NoSegment { .. } => Ok(Overwritten::Gone),
                ReadError::Damaged(_) => Ok(Overwritten::NotFound),
                ReadError::Io { .. } => {
                    tracing::error!(
                        error = %chain(&error),
                        lsn = sequence,
                        "the bytes of an erased payload could not be overwritten"
                    );
                    Err(StorageError::Failed(std::sync::Arc::new(error)))
                }
            })
    }

    fn overwrite_at(&self, sequence: Lsn, from: Place) -> Result<Overwritten, ReadError> {
        let done = match self.journal.read(codec::location(from)) {
            Ok(entry) if codec::holds_event(&entry, sequence) => self.blank(entry)?,
            Ok(_) => true,
            // An overwriting was cut off in the middle, or something else was.
            Err(ReadError::Damaged(location)) => self.journal.wipe(location)?,
            Err(error) => return Err(error),
        };
        Ok(if done {
            Overwritten::Gone
        } else {
            Overwritten::NotNow
        })
    }

    fn blank(&self, entry: Entry) -> Result<bool, ReadError> {
        match codec::blanked(&entry) {
            None => Ok(true),
            Some(body) => self.journal.overwrite(entry.location, body),
        }
    }

    fn event_row(&self, sequence: Lsn) -> Result<Option<EventRow>, StorageError> {
        self.served.read(|store| store.event(sequence))
    }
}

fn without_payload(event: EventAccepted) -> EventAccepted {
    EventAccepted {
        payload: Payload {
            bytes: Bytes::new(),
            ..event.payload
        },
        ..event
    }
}
