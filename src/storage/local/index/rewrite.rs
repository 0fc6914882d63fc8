//! Writing the store afresh, beside the one that serves: sled gives no space back.
//!
//! Rows are copied in key order, a portion at a time, by the thread that applies records: the only writer. What it writes
//! meanwhile goes to both stores as far as the copy has come; what lies beyond is copied when its turn comes. So the
//! copy is the store, row for row, at the moment the last portion is done. Then the two folders change places.
//!
//! A crash before that leaves a copy that is deleted at the next begin; the store itself was never touched.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::fs::{CWD, FlockOperation, RenameFlags};

use super::{
    Store, StoreError, TableOptions,
    keys::Key,
    table::{Change, Changes, Table},
};

/// The copy in the making; shared by all clones of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Twin(Arc<Mutex<Option<Copy>>>);

#[derive(Debug)]
struct Copy {
    table: Table,
    /// Everything below has been copied; `None`: everything.
    next: Option<Vec<u8>>,
    /// Rows written to the store since the last portion.
    written: usize,
}

impl Copy {
    fn has(&self, key: &[u8]) -> bool {
        self.next.as_ref().is_none_or(|next| key < &**next)
    }
}

/// Whether there is more to copy.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

/// Why the folders did not change places.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    #[error("the old store is still open")]
    StillOpen,
    #[error("cannot exchange {path} and its copy")]
    Exchange { path: PathBuf, source: io::Error },
}

/// How long readers may take to finish, and the old store's files to close, and how often that is looked at.
const CLOSE_TRIES: u32 = if cfg!(test) { 20 } else { 500 };
const CLOSE_PAUSE: Duration = Duration::from_millis(10);

impl Twin {
    fn lock(&self) -> MutexGuard<'_, Option<Copy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of this is to be written to the copy too.
    pub fn part_of(&self, changes: &Changes) -> Option<Changes> {
        let mut twin = self.lock();
        let copy = twin.as_mut()?;
        copy.written += changes.len();
        let part = changes.iter().filter(|(key, _)| copy.has(key));
        Some(part.map(|(key, change)| (key.clone(), change.clone())).collect())
    }

    /// Writes that part to the copy. A copy that fails is given up, the store goes on.
    pub fn follow(&self, part: Option<Changes>) {
        let mut twin = self.lock();
        let (Some(copy), Some(part)) = (&mut *twin, part) else {
            return;
        };
        if let Err(error) = copy.table.apply(part) {
            tracing::warn!(error = %error, "writing the store afresh was given up");
            *twin = None;
        }
    }
}

impl Store {
    /// Begins a copy of the store in the folder beside it.
    ///
    /// # Errors
    /// When the copy cannot be opened; the store is as it was.
    pub fn begin_rewrite(&self, data: &Path, options: TableOptions) -> Result<(), StoreError> {
        let folder = copy_folder(data);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(sled::Error::Io(error).into());
            }
            _ => {}
        }
        let table = Table::open(&folder, options)?;
        *self.twin.lock() = Some(Copy {
            table,
            next: Some(Vec::new()),
            written: 0,
        });
        Ok(())
    }

    /// Whether a copy is in the making.
    pub fn is_being_rewritten(&self) -> bool {
        self.twin.lock().is_some()
    }

    /// Copies about `rows` more rows (at least 1), more where more are written meanwhile. To be called by the thread that applies, only.
    ///
    /// # Errors
    /// When reading or writing fails; then there is no copy any more.
    pub fn rewrite_some(&self, rows: usize) -> Result<Progress, StoreError> {
        let mut twin = self.twin.lock();
        let Some(copy) = &mut *twin else {
            return Ok(Progress::More);
        };
        let Some(next) = copy.next.clone() else {
            return Ok(Progress::Done);
        };
        // Never slower than rows are written, else a busy store would grow ahead of its copy.
        let rows = rows.max(2 * std::mem::take(&mut copy.written));
        let portion: Result<Changes, _> = self
            .table
            .range(&next, None)
            .take(rows)
            .map(|row| row.map(|(key, value)| (Key::from(&*key), Change::Put(value.into()))))
            .collect();
        let copied = portion.and_then(|portion| {
            let last = portion.last_key_value().map(|(key, _)| key.clone());
            copy.table.apply(portion).map(|()| last)
        });
        match copied {
            Ok(None) => {
                copy.next = None;
                Ok(Progress::Done)
            }
            Ok(Some(last)) => {
                copy.next = Some([&last[..], &[0]].concat());
                Ok(Progress::More)
            }
            Err(error) => {
                *twin = None;
                Err(error)
            }
        }
    }

    /// Waits a while for those who read it to finish; answers whether nobody else has this store any more. To be called
    /// when nobody can get it any more.
    pub fn is_let_go(&self) -> bool {
        (0..CLOSE_TRIES).any(|tries| {
            if tries > 0 {
                thread::sleep(CLOSE_PAUSE);
            }
            Arc::strong_count(&self.twin.0) == 1
        })
    }

    /// Gives the copy up.
    pub fn abandon_rewrite(&self) {
        *self.twin.lock() = None;
    }

    /// Closes the copy, written out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_rewrite(&self) -> Result<(), StoreError> {
        let Some(copy) = self.twin.lock().take() else {
            return Ok(());
        };
        copy.table.flush()
    }
}

fn copy_folder(data: &Path) -> PathBuf {
    super::folder(data).with_extension("new")
}

/// Lets the store's folder and its copy's change places, and deletes the old one. The store must have been closed by all
/// who had it.
///
/// # Errors
/// When it is still open, or the folders cannot be renamed; then the store is where it was.
pub fn exchange(data: &Path) -> Result<(), SwapError> {
    let (folder, copy) = (super::folder(data), copy_folder(data));
    let failed = |source: io::Error| SwapError::Exchange {
        path: folder.clone(),
        source,
    };
    // sled writes below its folder's path until it is closed, which can be after its last handle is dropped.
    let file = fs::File::open(folder.join("db")).map_err(failed)?;
    let closed = (0..CLOSE_TRIES).any(|tries| {
        if tries > 0 {
            thread::sleep(CLOSE_PAUSE);
        }
        rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok()
    });
    if !closed {
        return Err(SwapError::StillOpen);
    }
    match rustix::fs::renameat_with(CWD, &copy, CWD, &folder, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // A file system that cannot exchange: in between there is no store, which would be made again from the journal.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            let aside = folder.with_extension("old");
            _ = fs::remove_dir_all(&aside);
            fs::rename(&folder, &aside).map_err(failed)?;
            fs::rename(&copy, &folder).map_err(failed)?;
            fs::rename(&aside, &copy).map_err(failed)?;
        }
        Err(error) => return Err(failed(error.into())),
    }
    drop(file);
    _ = fs::remove_dir_all(&copy);
    Ok(())
}

/// The store's size when it was last written afresh, in bytes; zero when that is not known.
pub fn written_size(data: &Path) -> u64 {
    let text = fs::read_to_string(size_file(data)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Notes the size after a rewrite. Best effort: without it the next rewrite comes earlier than it needs to.
pub fn note_written_size(data: &Path, bytes: u64) {
    _ = fs::write(size_file(data), format!("{bytes}\n"));
}

fn size_file(data: &Path) -> PathBuf {
    super::folder(data).with_extension("size")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::index::open;

    const OPTIONS: TableOptions = TableOptions {
        cache_bytes: 1 << 20,
        buffer_bytes: 4096,
        indexes: crate::storage::local::index::Indexes::All,
    };

    /// Writes as the thread that applies does.
    fn write(store: &Store, changes: &Changes) {
        let part = store.twin.part_of(changes);
        store.table.apply(changes.clone()).unwrap();
        store.twin.follow(part);
    }

    fn random_changes(rng: &mut fastrand::Rng) -> Changes {
        (0..rng.usize(0..30))
            .map(|_| {
                let key = vec![rng.u8(0..8), rng.u8(..)];
                let row = vec![rng.u8(..); rng.usize(1..40)];
                let change = if rng.bool() {
                    Change::Put(row.into())
                } else {
                    Change::Gone
                };
                (Key::from(&*key), change)
            })
            .collect()
    }

    #[test]
    fn a_copy_made_while_rows_change_is_the_store_row_for_row() {
        for seed in 0..30 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let dir = tempfile::tempdir().unwrap();
            let store = open::open_as_is(dir.path(), OPTIONS).unwrap();
            (0..20).for_each(|_| write(&store, &random_changes(&mut rng)));
            store.begin_rewrite(dir.path(), OPTIONS).unwrap();
            loop {
                write(&store, &random_changes(&mut rng));
                if store.rewrite_some(rng.usize(1..60)).unwrap() == Progress::Done {
                    break;
                }
            }
            write(&store, &random_changes(&mut rng));
            let rows = store.dump().unwrap();
            assert!(rows.len() > 100, "seed {seed}: {} rows", rows.len());
            store.end_rewrite().unwrap();
            drop(store);
            exchange(dir.path()).unwrap();
            let fresh = open::open_as_is(dir.path(), OPTIONS).unwrap();
            assert!(fresh.dump().unwrap() == rows, "seed {seed}");
            assert!(!copy_folder(dir.path()).exists());
        }
    }

    #[test]
    fn a_store_that_is_still_open_keeps_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = open::open_as_is(dir.path(), OPTIONS).unwrap();
        write(
            &store,
            &Changes::from([(Key::from(&[1][..]), Change::Put([2].into()))]),
        );
        store.begin_rewrite(dir.path(), OPTIONS).unwrap();
        assert_eq!(store.rewrite_some(10).unwrap(), Progress::More);
        assert_eq!(store.rewrite_some(10).unwrap(), Progress::Done);
        store.end_rewrite().unwrap();
        let clone = store.clone();
        drop(store);
        assert!(matches!(exchange(dir.path()), Err(SwapError::StillOpen)));
        assert_eq!(clone.dump().unwrap().len(), 1);
    }

    #[test]
    fn space_that_removed_rows_took_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = open::open_as_is(dir.path(), OPTIONS).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..40 {
            // Nothing that could be compressed.
            let mut row = |index: u16| {
                let mut row = vec![0; 200];
                rng.fill(&mut row);
                (Key::from(&index.to_be_bytes()[..]), Change::Put(row.into()))
            };
            write(&store, &(0..1000).map(&mut row).collect());
            store.flush().unwrap();
        }
        write(
            &store,
            &(1..1000u16)
                .map(|index| (Key::from(&index.to_be_bytes()[..]), Change::Gone))
                .collect(),
        );
        store.flush().unwrap();
        let before = store.size_on_disk();
        store.begin_rewrite(dir.path(), OPTIONS).unwrap();
        while store.rewrite_some(100).unwrap() == Progress::More {}
        store.end_rewrite().unwrap();
        drop(store);
        exchange(dir.path()).unwrap();
        let fresh = open::open_as_is(dir.path(), OPTIONS).unwrap();
        assert_eq!(fresh.dump().unwrap().len(), 1);
        let after = fresh.size_on_disk();
        assert!(after * 4 < before, "{after} of {before} bytes");
    }
}
