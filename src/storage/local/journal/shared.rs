//! What the handle, the committer and the readers have in common.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Release},
    },
};

use tokio::sync::watch;

use super::{
    at_hand::Ahead,
    catalogue::Catalogue,
    disk::Disk,
    entry::Lsn,
    error::{Failure, ReadError},
    files,
    limits::REMEMBERED_DAMAGE,
    moved::Moved,
    options::Options,
    reader::OpenFiles,
    repaired::Repaired,
    scan::BadRange,
    stats::{Counters, add},
};
use crate::runtime::shortage::Reserve;

pub(super) struct Shared {
    pub options: Options,
    pub uuid: [u8; 16],
    pub disk: Arc<dyn Disk>,
    pub catalogue: Mutex<Catalogue>,
    /// Signalled when records were published, the journal closed, or a follower was stopped.
    pub published: Condvar,
    pub files: OpenFiles,
    /// For new segments, and for reading old ones.
    pub reserve: Reserve,
    pub ahead: Ahead,
    pub counters: Counters,
    pub last: AtomicU64,
    pub synced: AtomicU64,
    /// Below this lsn everything was reclaimed.
    pub floor: AtomicU64,
    /// How many want every segment kept; locked while segments are deleted.
    pub keeps: Mutex<usize>,
    /// What was found damaged, by segment and offset.
    pub damage: Mutex<BTreeMap<(Lsn, u64), BadRange>>,
    pub moved: Moved,
    /// What is known to be missing.
    pub repaired: Vec<Repaired>,
    pub failure: watch::Sender<Option<Arc<Failure>>>,
}

/// A panic while a lock is held poisons the journal by other means; the values behind the locks stay whole, since
/// every change of them is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// The first failure is the one that counts.
    pub fn fail(&self, failure: Failure) {
        tracing::error!(error = %failure, cause = %failure.source, "the journal has failed and takes no more records");
        self.failure.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(Arc::new(failure));
            }
            first
        });
    }

    pub fn segment_path(&self, first: Lsn) -> PathBuf {
        files::segment_path(&self.options.dir, first)
    }

    pub fn read_error(&self, segment: Lsn) -> impl FnOnce(std::io::Error) -> ReadError {
        let path = self.segment_path(segment);
        move |source| ReadError::Io { path, source }
    }

    /// Counts a damaged range, and says so once however often, and in however many pieces, it is met.
    pub fn met_damage(&self, bad: BadRange) {
        if bad.is_known(&self.repaired) {
            return;
        }
        let mut known = lock(&self.damage);
        if known.values().any(|other| other.covers(&bad)) {
            return;
        }
        let before = known.len();
        known.retain(|_, other| !bad.covers(other));
        let parts = before - known.len();
        if known.len() >= REMEMBERED_DAMAGE {
            known.pop_first();
        }
        known.insert((bad.segment, bad.offset), bad);
        if parts == 0 {
            add(&self.counters.damaged_ranges, 1);
            tracing::error!(range = %bad, "journal damaged: a range was skipped");
        }
    }

    /// Says whether the committer is at work on a group.
    pub fn set_busy(&self, busy: bool) {
        let since = if busy {
            1 + self.disk.elapsed().as_micros() as u64
        } else {
            0
        };
        self.counters.busy_since.store(since, Release);
    }

    pub fn set_synced(&self, lsn: Lsn) {
        self.synced.store(lsn, Release);
    }
}
