//! Giving space back: segments at the front are deleted, whole.
//!
//! What stands in them must have been said again further on, or be of no more use; that is the caller's to know. A
//! sealed segment is never rewritten, so what is copied of it once stays true.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    entry::{Entry, Lsn},
    error::{ReadError, ReclaimError},
    floor,
    handle::Journal,
    options::Durability,
    scan::{Scanner, Step},
    shared::{Shared, lock},
    stats::add,
};

/// What a reclaim gave back.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    pub segments: u64,
    pub bytes: u64,
}

/// While one of these is held no segment is deleted, so that all that are listed can be read or copied.
pub struct Keep {
    shared: Arc<Shared>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        *lock(&self.shared.keeps) -= 1;
    }
}

impl Journal {
    /// Keeps every segment there is until the guard is dropped. Waits for a reclaim that is under way.
    pub fn keep(&self) -> Keep {
        let (shared, _) = self.parts();
        *lock(&shared.keeps) += 1;
        Keep { shared }
    }

    /// Deletes the segments that lie wholly below `before`; never the one that is written. The floor past them is on
    /// the device, and so is everything that was published, before the first is unlinked; an interrupted reclaim is
    /// finished by the next open. Deletes nothing while a [`Keep`] is held.
    ///
    /// # Errors
    ///
    /// The file system refuses. If that was before the floor was there, nothing is deleted; else what is left lies
    /// below the floor, and the next open deletes it.
    pub fn reclaim(&self, before: Lsn) -> Result<Reclaimed, ReclaimError> {
        let (shared, _) = self.parts();
        let keeps = lock(&shared.keeps);
        if *keeps > 0 {
            return Ok(Reclaimed::default());
        }
        if shared.has_failed() {
            return Err(ReclaimError::Poisoned);
        }
        let Some(floor) = shared.floor_below(before) else {
            return Ok(Reclaimed::default());
        };
        shared.raise_floor(floor)?;
        let (gone, bytes) = shared.forget_below(floor);
        for first in &gone {
            let path = shared.segment_path(*first);
            floor::remove_segment(&shared.options.dir, &*shared.disk, *first, &path)
                .map_err(failed("delete reclaimed journal segment", path))?;
        }
        let dir = &shared.options.dir;
        shared
            .disk
            .sync_dir(dir)
            .map_err(failed("sync journal directory", dir.clone()))?;
        let segments = gone.len() as u64;
        add(&shared.counters.reclaimed_segments, segments);
        add(&shared.counters.reclaimed_bytes, bytes);
        Ok(Reclaimed { segments, bytes })
    }

    /// The records of a sealed segment, in order; what is damaged is counted, said and skipped. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// There is no such segment, or its file cannot be opened.
    pub fn records_of(&self, segment: Lsn) -> Result<SegmentRecords, ReadError> {
        let (shared, _) = self.parts();
        let found = lock(&shared.catalogue).segments.get(&segment).copied();
        let found = found
            .filter(|found| found.sealed)
            .ok_or(ReadError::NoSegment { segment })?;
        // A file of its own: a whole scan must not push out what single reads keep open.
        let file = File::open(shared.segment_path(segment)).map_err(shared.read_error(segment))?;
        let scanner = Scanner::new(Arc::new(file), found.header, found.end);
        Ok(SegmentRecords { shared, scanner })
    }
}

/// See [`Journal::records_of`].
pub struct SegmentRecords {
    shared: Arc<Shared>,
    scanner: Scanner,
}

impl Iterator for SegmentRecords {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.scanner.step() {
                Ok(None) => return None,
                Ok(Some(Step::Record(entry))) => return Some(Ok(entry)),
                Ok(Some(Step::Bad(bad) | Step::Tail(bad))) => self.shared.met_damage(bad),
                Err(source) => return Some(Err(self.shared.read_error(self.scanner.segment())(source))),
            }
        }
    }
}

impl Shared {
    /// Where the first segment would begin, if segments below `before` were deleted; nothing when there is none.
    fn floor_below(&self, before: Lsn) -> Option<Lsn> {
        let catalogue = lock(&self.catalogue);
        let floor = *catalogue.segments.range(..=before).next_back()?.0;
        let first = *catalogue.segments.first_key_value()?.0;
        (first < floor).then_some(floor)
    }

    fn raise_floor(&self, floor: Lsn) -> Result<(), ReclaimError> {
        let dir = &self.options.dir;
        if self.options.durability == Durability::Os {
            // Nobody has synced what the records that stay say again.
            let synced = self.disk.sync_file_system(dir);
            synced.map_err(failed("sync the file system of", dir.clone()))?;
        }
        floor::store(dir, &*self.disk, self.uuid, floor).map_err(failed("write", floor::path(dir)))?;
        self.floor.store(floor, Relaxed);
        Ok(())
    }

    /// Takes the segments below the floor out of the readers' sight; answers which, oldest first, and their bytes.
    fn forget_below(&self, floor: Lsn) -> (Vec<Lsn>, u64) {
        let gone = {
            let mut catalogue = lock(&self.catalogue);
            let above = catalogue.segments.split_off(&floor);
            std::mem::replace(&mut catalogue.segments, above)
        };
        let bytes = gone.values().map(|segment| segment.end).sum();
        self.files.forget_below(floor);
        (gone.into_keys().collect(), bytes)
    }
}

fn failed(action: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> ReclaimError {
    move |source| ReclaimError::Io { action, path, source }
}
