//! The table: rows by key, many of them to one entry of sled's.
//!
//! # Why
//!
//! sled keeps some sixty bytes in memory for each entry, rewrites a node for each that changes, and wakes all its threads
//! for each batch. A queue of millions cannot have an entry for each row, and a delivery that is done within the second
//! should not be written, changed and removed there.
//!
//! # How
//!
//! What is written stays in memory ([`memory`]) until it has become [`Options::buffer_bytes`] large. Then it is folded
//! ([`fold`]), by a thread of its own ([`folder`]), into pages ([`page`]): each holds the rows between its key and its upper
//! bound, and the pages tile all keys. They lie in a file, and sled has an entry for each ([`pages`]). A fold is one batch of
//! sled's, so that what is in the pages is always the table after some [`Table::apply`]. Who reads sees memory over pages
//! ([`range`]).
//!
//! # What it does not do
//!
//! Rows in memory are gone after a crash: the store says how far its pages have come, and the journal has the rest.
//!
//! # In sled
//!
//! | key | value |
//! |---|---|
//! | `00` | the layout's version (1 byte): 3 |
//! | `01` | what a program that knows only the first layout takes for another journal's store, so that it begins its own afresh |
//! | `02` | bytes of all pages (8, little endian) |
//! | `80`, key | where the page of the rows from this key on lies (16) |
//!
//! The first layout had an entry for each row, and its keys began with `01` to `50`. The second lacked the indexes for lists.

mod db;
mod fold;
mod folder;
mod memory;
mod page;
mod pages;
mod range;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

pub(super) use memory::Change;
use memory::Memory;
use page::Page;
use pages::Pages;
pub(super) use range::Range;

pub(super) use db::stays_locked;
use folder::Folder;

use super::{Indexes, StoreError, keys::Key};

/// A row: its key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// What is written at once.
pub(super) type Changes = BTreeMap<Key, Change>;

/// How a table is kept.
#[derive(Copy, Clone, Debug)]
pub struct Options {
    /// Bytes that sled may cache; it uses up to twice as many.
    pub cache_bytes: u64,
    /// Bytes of rows, with what they take in memory besides, that gather before they are folded. As many more may be
    /// written while a fold is under way.
    pub buffer_bytes: u64,
    /// Which indexes a new store gets; one that has others is begun afresh.
    pub indexes: Indexes,
}

/// Pages kept open of those that were read last, in each of [`CACHE_SETS`].
const CACHE_WAYS: usize = 4;
/// A set for each kind of rows.
const CACHE_SETS: usize = 32;

/// The open table. One writer, any number of readers; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Table {
    core: Arc<Core>,
    folder: Arc<Mutex<Folder>>,
    buffer_bytes: usize,
}

/// What readers, the writer and who folds share.
#[derive(Debug)]
struct Core {
    pages: Pages,
    memory: RwLock<Memory>,
    cache: Mutex<Cache>,
    /// Bytes of all pages.
    live: AtomicU64,
}

/// Pages that were read in this epoch, by kind.
#[derive(Debug, Default)]
struct Cache {
    epoch: u64,
    sets: [Vec<(Vec<u8>, Arc<Page>)>; CACHE_SETS],
}

impl Table {
    /// Opens the table in a folder, a new one if there is none.
    ///
    /// # Errors
    /// When sled does not open it, or it has another layout.
    pub fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        let (pages, live) = Pages::open(folder, options.cache_bytes)?;
        let core = Arc::new(Core {
            pages,
            memory: RwLock::default(),
            cache: Mutex::default(),
            live: live.into(),
        });
        Ok(Self {
            folder: Arc::new(Mutex::new(Folder::new(core.clone()))),
            core,
            buffer_bytes: usize::try_from(options.buffer_bytes).unwrap_or(usize::MAX),
        })
    }

    /// # Errors
    /// When sled fails or a page is damaged; so for all that read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.find(key, |row| row.map(<[u8]>::to_vec))
    }

    pub fn contains(&self, key: &[u8]) -> Result<bool, StoreError> {
        self.find(key, |row| row.is_some())
    }

    fn find<T>(&self, key: &[u8], found: impl FnOnce(Option<&[u8]>) -> T) -> Result<T, StoreError> {
        let epoch = {
            let memory = self.memory();
            if let Some(row) = memory.get(key) {
                return Ok(found(row));
            }
            memory.epoch
        };
        Ok(found(self.covering(key, epoch)?.get(key)))
    }

    /// The rows from `low` on and below `high`.
    pub fn range(&self, low: &[u8], high: Option<&[u8]>) -> Range<'_> {
        Range::new(self, low.to_vec(), high.map(<[u8]>::to_vec))
    }

    /// The rows whose keys start with `prefix`.
    pub fn prefix(&self, prefix: &[u8]) -> Range<'_> {
        let after = super::keys::after(prefix);
        self.range(prefix, (!after.is_empty()).then_some(&*after))
    }

    /// Writes all of this, or, after a crash, none of it. To be called by one thread only.
    ///
    /// # Errors
    /// When a fold has failed; then nothing is written.
    pub fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        self.make_room()?;
        let mut memory = self.memory_mut();
        for (key, change) in changes {
            memory.fresh.change(key, change);
        }
        Ok(())
    }

    /// Folds what has gathered, if it is enough; waits for the fold before it where that is too slow.
    fn make_room(&self) -> Result<(), StoreError> {
        let is_full = self.memory().fresh.bytes() >= self.buffer_bytes;
        let mut folder = self.folder();
        if is_full {
            folder.wait()?;
            folder.begin()
        } else {
            folder.look()
        }
    }

    /// Waits until no fold is under way and at least half of the memory is free, folding what there is if it must. Answers
    /// whether it took any time.
    ///
    /// # Errors
    /// When a fold has failed.
    pub fn make_half_empty(&self) -> Result<bool, StoreError> {
        let mut folder = self.folder();
        let mut waited = folder.is_running();
        folder.wait()?;
        if self.memory().fresh.bytes() > self.buffer_bytes / 2 {
            waited = true;
            folder.begin()?;
            folder.wait()?;
        }
        Ok(waited)
    }

    /// Begins to fold what there is, unless a fold is under way.
    ///
    /// # Errors
    /// When the fold before it has failed.
    pub fn begin_fold(&self) -> Result<(), StoreError> {
        let mut folder = self.folder();
        folder.look()?;
        folder.begin()
    }

    /// Folds all there is, and hands it to the operating system. Not a sync.
    ///
    /// # Errors
    /// When writing fails.
    pub fn flush(&self) -> Result<(), StoreError> {
        let mut folder = self.folder();
        folder.wait()?;
        while !self.memory().is_empty() {
            folder.begin()?;
            folder.wait()?;
        }
        Ok(())
    }

    /// How often what had gathered was begun to be folded, or was done.
    #[cfg(test)]
    pub fn epoch(&self) -> u64 {
        self.memory().epoch
    }

    /// Bytes on disk.
    pub fn size_on_disk(&self) -> u64 {
        self.core.pages.size()
    }

    /// Bytes of all pages: what of that is in use.
    pub fn live_bytes(&self) -> u64 {
        self.core.live.load(Ordering::Relaxed)
    }

    /// The page that a key belongs to, as it was in this epoch or is now.
    fn covering(&self, key: &[u8], epoch: u64) -> Result<Arc<Page>, StoreError> {
        if let Some(page) = self.cache().get(key, epoch) {
            return Ok(page);
        }
        let (low, page) = self.core.pages.covering(key)?;
        let page = Arc::new(page);
        self.cache().put(key, low, page.clone(), epoch);
        Ok(page)
    }

    fn pages(&self) -> &Pages {
        &self.core.pages
    }

    fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.core.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.core.memory_mut()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.core.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a failure the rows stay in memory, and the pages are as they were.
    fn fold(&self) -> Result<(), StoreError> {
        let rows = {
            let mut memory = self.memory_mut();
            match &memory.folding {
                Some(rows) => rows.clone(),
                None if memory.fresh.is_empty() => return Ok(()),
                None => memory.freeze(),
            }
        };
        let (written, growth) = fold::merge(&self.pages, &rows)?;
        let live = self.live.load(Ordering::Relaxed).saturating_add_signed(growth);
        self.pages.write(written, live)?;
        self.live.store(live, Ordering::Relaxed);
        self.memory_mut().folded();
        self.pages.flush()
    }
}

impl Cache {
    fn set(key: &[u8]) -> usize {
        let kind = usize::from(key.first().copied().unwrap_or(0));
        ((kind >> 4) * 4 + (kind & 3)) % CACHE_SETS
    }

    fn get(&mut self, key: &[u8], epoch: u64) -> Option<Arc<Page>> {
        if self.epoch != epoch {
            return None;
        }
        let set = &mut self.sets[Self::set(key)];
        let covers =
            |(low, page): &(Vec<u8>, Arc<Page>)| **low <= *key && page.high().is_none_or(|high| key < high);
        let at = set.iter().position(covers)?;
        set[..=at].rotate_right(1);
        set.first().map(|(_, page)| page.clone())
    }

    fn put(&mut self, key: &[u8], low: Vec<u8>, page: Arc<Page>, epoch: u64) {
        if self.epoch > epoch {
            return;
        }
        if self.epoch < epoch {
            *self = Self {
                epoch,
                ..Self::default()
            };
        }
        let set = &mut self.sets[Self::set(key)];
        set.truncate(CACHE_WAYS - 1);
        set.insert(0, (low, page));
    }
}
