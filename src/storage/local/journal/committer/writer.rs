//! The segment that is being written: groups at its end, and the change to the next one.

use std::{fs::File, io, sync::Arc};

use crate::runtime::shortage;
use crate::storage::local::journal::{
    catalogue::Segment,
    disk,
    entry::{FOLLOWS, Lsn},
    error::Failure,
    files,
    format::{SEGMENT_HEADER, SegmentHeader},
    limits::OVERSIZE,
    options::Durability,
    shared::{Shared, lock},
    sidecar::Sidecar,
    stats::add,
};

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub file: Arc<File>,
    pub header: SegmentHeader,
    /// Where the next group goes.
    pub end: u64,
    /// The lsn that the next record gets.
    pub next: Lsn,
    /// Something was written since the last sync.
    pub dirty: bool,
    /// The next segment could not be made, and that was said.
    pub overdue: bool,
}

/// Why a group was not written.
pub(super) enum WriteError {
    /// The file is as it was before.
    Full,
    /// Descriptors or memory are short; the file is as it was before.
    Short,
    Broken(Failure),
}

impl Writer {
    /// Makes sure that `bytes` more fit in the segment, beginning another one if they do not.
    pub fn make_room(&mut self, bytes: usize) -> Result<(), WriteError> {
        let is_empty = self.end == SEGMENT_HEADER as u64;
        if is_empty || self.end + bytes as u64 <= self.shared.options.segment_bytes {
            return Ok(());
        }
        self.sync().map_err(WriteError::Broken)?;
        let rolled = self.roll();
        let fits = self.end + bytes as u64 <= self.shared.options.segment_bytes.saturating_mul(OVERSIZE);
        match rolled {
            // A segment that grows too large is better than events that are refused.
            Err(WriteError::Short) if fits => Ok(()),
            rolled => rolled,
        }
    }

    /// The flag of a group's first record. Without syncs nothing is proved, and nothing disproved.
    pub fn follows(&self) -> u8 {
        if self.dirty { self.followed() } else { 0 }
    }

    /// The flag of those behind it.
    pub fn followed(&self) -> u8 {
        match self.shared.options.durability {
            Durability::Fsync => FOLLOWS,
            Durability::Os => 0,
        }
    }

    /// Writes the encoded group at the segment's end. A full disk leaves no trace of it.
    pub fn write(&mut self, group: &[u8]) -> Result<(), WriteError> {
        let Err(error) = disk::write_all(&*self.shared.disk, &self.file, group, self.end) else {
            self.end += group.len() as u64;
            self.dirty = true;
            return Ok(());
        };
        let why = match error {
            error if disk::is_full(&error) => WriteError::Full,
            error if shortage::is_temporary(&error) => WriteError::Short,
            error => {
                return Err(WriteError::Broken(
                    self.failure("write to journal segment", error),
                ));
            }
        };
        match self.shared.disk.truncate(&self.file, self.end) {
            Ok(()) => Err(why),
            Err(error) => Err(WriteError::Broken(
                self.failure("cut back journal segment", error),
            )),
        }
    }

    /// Puts everything written on the device. A failure is final: after it nobody knows what is on the device, and
    /// a second `fdatasync` would report success without writing what the first could not.
    pub fn sync(&mut self) -> Result<(), Failure> {
        if !self.dirty {
            return Ok(());
        }
        if self.shared.options.durability == Durability::Fsync {
            let shared = &self.shared;
            let started = shared.disk.elapsed();
            let result = shared.disk.sync_data(&self.file);
            let took = shared.disk.elapsed().saturating_sub(started);
            add(&shared.counters.syncs, 1);
            shared
                .counters
                .last_sync_micros
                .store(took.as_micros() as u64, std::sync::atomic::Ordering::Relaxed);
            result.map_err(|error| self.failure("sync journal segment", error))?;
        }
        self.dirty = false;
        self.shared.set_synced(self.next - 1);
        Ok(())
    }

    /// The old segment is synced. The new one and its name are on the device before this returns; the old one's
    /// sidecar is only a convenience and may fail.
    fn roll(&mut self) -> Result<(), WriteError> {
        let shared = self.shared.clone();
        let path = shared.segment_path(self.next);
        let sync = shared.options.durability == Durability::Fsync;
        let created = disk::random().and_then(|salt| {
            let header = SegmentHeader {
                first: self.next,
                salt: u64::from_le_bytes(salt),
                ..self.header
            };
            let create = || files::create_segment(&shared.options.dir, &*shared.disk, &header, sync);
            Ok((header, shared.reserve.with(create)?))
        });
        let (header, file) = match created {
            Ok(created) => created,
            Err(error) if disk::is_full(&error) => return Err(WriteError::Full),
            Err(error) if shortage::is_temporary(&error) => {
                if !std::mem::replace(&mut self.overdue, true) {
                    tracing::warn!(%error, "the next journal segment cannot be made yet; the present one grows past storage.segment_bytes");
                }
                return Err(WriteError::Short);
            }
            Err(source) => {
                return Err(WriteError::Broken(Failure {
                    action: "create journal segment",
                    path,
                    source,
                }));
            }
        };
        self.overdue = false;
        self.seal(sync);
        (self.file, self.header, self.end) = (file, header, SEGMENT_HEADER as u64);
        let segment = Segment {
            header,
            end: self.end,
            last: Some(self.next - 1),
            records: 0,
            sealed: false,
        };
        lock(&shared.catalogue).segments.insert(header.first, segment);
        add(&shared.counters.rolls, 1);
        Ok(())
    }

    fn seal(&self, sync: bool) {
        let shared = &self.shared;
        let (config, records) = {
            let mut catalogue = lock(&shared.catalogue);
            let config = std::mem::take(&mut catalogue.config);
            let Some(segment) = catalogue.segments.get_mut(&self.header.first) else {
                return;
            };
            segment.sealed = true;
            (config, segment.records)
        };
        let sidecar = Sidecar {
            header: self.header,
            bytes: self.end,
            last: self.next - 1,
            records,
            config,
        };
        if let Err(error) = sidecar.store(&shared.options.dir, &*shared.disk, sync) {
            add(&shared.counters.sidecar_failures, 1);
            tracing::warn!(segment = self.header.first, error = %error, "journal sidecar not written; the segment will be scanned");
        }
    }

    fn failure(&self, action: &'static str, source: io::Error) -> Failure {
        Failure {
            action,
            path: self.shared.segment_path(self.header.first),
            source,
        }
    }
}
