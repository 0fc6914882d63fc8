//! The journal as a whole. What is in one file alone is tested beside it.

#![expect(clippy::disallowed_methods, reason = "tasks of a test end with its runtime")]

mod append;
mod at_hand;
mod config;
mod damage;
mod faults;
mod follow;
mod harm;
mod overwrite;
mod reclaim;
mod seeded;
mod segments;

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    Draft, Entry, Journal, Options, Recovery,
    disk::{Disk, RealDisk},
    floor, format,
    shared::lock,
};

/// A disk that does as it is told.
pub struct TestDisk {
    real: RealDisk,
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Default)]
pub struct Plan {
    pub write_error: Option<i32>,
    pub sync_error: Option<i32>,
    /// New files cannot be begun.
    pub begin_error: Option<i32>,
    /// Writes take at most this many bytes at a time.
    pub write_at_most: Option<usize>,
    /// This many bytes can be written before the disk is full.
    pub room: Option<usize>,
    pub free: Option<u64>,
    pub syncs_wait: bool,
    /// The clock stands still at this reading.
    pub clock: Option<Duration>,
    pub writes_panic: bool,
    /// What was asked for, in order.
    pub done: Vec<Did>,
}

/// What a reclaim's order is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    Synced,
    /// The directory, with what the floor was then.
    SyncedDir {
        floor: Option<u64>,
    },
    SyncedAll,
    Removed(String),
}

impl TestDisk {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            real: RealDisk::new(),
            plan: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    pub fn plan(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut lock(&self.plan));
        self.changed.notify_all();
    }

    pub fn done(&self) -> Vec<Did> {
        lock(&self.plan).done.clone()
    }
}

fn outcome(error: Option<i32>) -> io::Result<()> {
    error.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

impl Disk for TestDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut plan = lock(&self.plan);
        assert!(!plan.writes_panic, "as planned");
        outcome(plan.write_error)?;
        outcome(plan.begin_error.filter(|_| offset == 0))?;
        let mut len = bytes.len().min(plan.write_at_most.unwrap_or(usize::MAX));
        if let Some(room) = &mut plan.room {
            if *room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            len = len.min(*room);
            *room -= len;
        }
        self.real.write_at(file, &bytes[..len], offset)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        let given_back = file.metadata()?.len().saturating_sub(len) as usize;
        if let Some(room) = &mut lock(&self.plan).room {
            *room += given_back;
        }
        self.real.truncate(file, len)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        let mut plan = lock(&self.plan);
        while plan.syncs_wait {
            plan = self.changed.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
        plan.done.push(Did::Synced);
        outcome(plan.sync_error)?;
        self.real.sync_data(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let floor = std::fs::read(floor::path(dir)).ok();
        let floor = floor.map(|bytes| format::u64_at(&bytes, 24));
        lock(&self.plan).done.push(Did::SyncedDir { floor });
        self.real.sync_dir(dir)
    }

    fn sync_file_system(&self, _dir: &Path) -> io::Result<()> {
        lock(&self.plan).done.push(Did::SyncedAll);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        lock(&self.plan).done.push(Did::Removed(name));
        self.real.remove(path)
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        lock(&self.plan).free.map_or_else(|| self.real.free(dir), Ok)
    }

    fn elapsed(&self) -> Duration {
        lock(&self.plan).clock.unwrap_or_else(|| self.real.elapsed())
    }
}

pub fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn options(dir: &TempDir) -> Options {
    Options {
        min_free_bytes: 0,
        ..Options::new(dir.path().join("journal"))
    }
}

pub fn open(dir: &TempDir) -> (Journal, Recovery) {
    Journal::open(options(dir)).unwrap()
}

/// A journal whose segments hold only a few small records.
pub fn open_small(dir: &TempDir) -> (Journal, Recovery) {
    Journal::open(Options {
        segment_bytes: 256,
        ..options(dir)
    })
    .unwrap()
}

pub fn draft(body: impl Into<Bytes>) -> Draft {
    Draft {
        kind: 1,
        version: 1,
        flags: 0,
        body: body.into(),
    }
}

/// The body of the numbered record.
pub fn body(number: usize) -> String {
    format!("record number {number:06}")
}

/// Appends one record after the other, from `first` to `last`, each its own group.
pub async fn fill(journal: &Journal, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        let appended = journal.append(vec![draft(body(number))]).await.unwrap();
        assert_eq!(appended.first, number as u64);
    }
}

/// Everything a follower gets from the record after `after` to the last one.
pub fn all_after(journal: &Journal, after: u64) -> Vec<Entry> {
    all_are_published(journal);
    let mut follower = journal.follow(after);
    let mut entries = Vec::new();
    loop {
        let batch = follower.try_next(7, 1 << 20).unwrap();
        if batch.is_empty() {
            return entries;
        }
        entries.extend(batch);
    }
}

/// Acknowledging comes before publishing.
pub fn all_are_published(journal: &Journal) {
    until("everything is published", || {
        journal.published_lsn() == journal.last_lsn()
    });
}

pub fn lsns(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.lsn).collect()
}

pub fn bodies_are_their_own(entries: &[Entry]) -> bool {
    entries.iter().all(|entry| entry.body == body(entry.lsn as usize))
}

/// Waits for a condition that another thread brings about.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("waited in vain: {what}");
}

/// Changes a file in place.
pub fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}
