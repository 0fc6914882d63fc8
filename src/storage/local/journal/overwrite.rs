//! The one change of what was written: a record's body is written anew in its place, as long as it was.
//!
//! It is for payloads that are to be erased before their segment goes. Whoever asks sees to it that nothing needs the old
//! body any more. A power cut in the middle leaves a damaged record there, which is found, counted and skipped like any
//! other; nothing beside it is touched.

use std::{fs::OpenOptions, os::unix::fs::FileExt};

use bytes::Bytes;

use super::{
    disk,
    entry::{Draft, Location, Lsn},
    error::ReadError,
    format::{RECORD_HEADER, RecordHeader, encode_record},
    handle::Journal,
    shared::{Shared, lock},
};

impl Journal {
    /// Writes a record's body anew, durably, unless a backup is copying segments: then nothing is done, and the answer is
    /// false. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// There is no such segment, no whole record of this length at that place, or the file system refuses.
    pub fn overwrite(&self, location: Location, body: Bytes) -> Result<bool, ReadError> {
        self.shared_state().overwrite(location, body)
    }

    /// Zeros the body of a damaged record, durably, as [`overwrite`](Self::overwrite) does; it stays damaged. What it says
    /// of itself has to be whole, so that it is known where it ends.
    ///
    /// # Errors
    ///
    /// As [`overwrite`](Self::overwrite).
    pub fn wipe(&self, location: Location) -> Result<bool, ReadError> {
        self.shared_state().wipe(location)
    }
}

impl Shared {
    fn overwrite(&self, location: Location, body: Bytes) -> Result<bool, ReadError> {
        // While it is locked nobody begins to copy, and nothing is deleted.
        let keeps = lock(&self.keeps);
        if *keeps > 0 {
            return Ok(false);
        }
        let entry = self.read(location)?;
        if entry.body.len() != body.len() {
            return Err(ReadError::Damaged(location));
        }
        let header = self.open_segment(location.segment)?.header;
        let draft = Draft {
            kind: entry.kind,
            version: entry.version,
            flags: entry.flags,
            body,
        };
        let mut record = Vec::with_capacity(location.len as usize);
        encode_record(&mut record, &header, entry.lsn, &draft, 0);
        self.put(location.segment, location.offset, &record)?;
        Ok(true)
    }

    fn wipe(&self, location: Location) -> Result<bool, ReadError> {
        let keeps = lock(&self.keeps);
        if *keeps > 0 {
            return Ok(false);
        }
        let open = self.open_segment(location.segment)?;
        let mut head = [0; RECORD_HEADER];
        let read = open.file.read_exact_at(&mut head, location.offset);
        read.map_err(self.read_error(location.segment))?;
        let head = RecordHeader::decode(&head, &open.header);
        let Some(head) = head.filter(|head| head.record_len() == location.len as usize) else {
            return Err(ReadError::Damaged(location));
        };
        let body = location.offset + RECORD_HEADER as u64;
        self.put(location.segment, body, &vec![0; head.body_len as usize])?;
        Ok(true)
    }

    fn put(&self, segment: Lsn, offset: u64, bytes: &[u8]) -> Result<(), ReadError> {
        let file = OpenOptions::new().write(true).open(self.segment_path(segment));
        let written = file.and_then(|file| {
            disk::write_all(&*self.disk, &file, bytes, offset)?;
            self.disk.sync_data(&file)
        });
        written.map_err(self.read_error(segment))?;
        self.ahead.forget();
        Ok(())
    }
}
