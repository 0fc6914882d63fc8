use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering::Acquire},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{
    at_hand::Ahead,
    backup::Snapshot,
    catalogue::{Catalogue, Tail},
    committer::{Answer, Committer, Durable, Queue, Request},
    config_entries::ConfigEntries,
    disk::{Disk, RealDisk},
    entry::{Appended, Draft, Entry, Location, Lsn},
    error::{AppendError, Failure, OpenError, ReadError},
    follower::Follower,
    format::encoded_len,
    fragment::{self, Fragment},
    limits::{MAX_APPEND, MAX_BODY},
    moved::Moved,
    options::{Durability, Options},
    reader::OpenFiles,
    recovery::{self, Recovered},
    repair::{self, Repair},
    report::Recovery,
    scan::BadRange,
    shared::{Shared, lock},
    stats::{Counters, Stats},
    verify::{self, Verification},
};
use crate::runtime::shortage::Reserve;

/// The open journal. Clones are the same journal; dropping the last one closes it.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// One segment file, for reports and for reclaim.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    pub first: Lsn,
    /// `None`: sealed, without a sidecar, and not looked at yet.
    pub last: Option<Lsn>,
    pub bytes: u64,
    /// Nothing more is written to it.
    pub sealed: bool,
}

impl Journal {
    /// Opens the journal in its directory, or begins one, and says what was found. Blocks: it reads the names of
    /// all files, the header and sidecar of each segment, and the newest segment whole.
    ///
    /// The caller holds the lock that makes it the directory's only owner.
    ///
    /// # Errors
    ///
    /// The file system refuses, or a segment is of a newer format. Never because of damage.
    pub fn open(options: Options) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(options, Arc::new(RealDisk::new()))
    }

    pub(super) fn open_on(options: Options, disk: Arc<dyn Disk>) -> Result<(Self, Recovery), OpenError> {
        let dir = options.dir.clone();
        let recovered = recovery::recover(&options, &*disk)?;
        let queue = Arc::new(Queue::new(MAX_APPEND.max(options.group_bytes.saturating_mul(2))));
        let shared = Arc::new(shared(options, disk, &recovered));
        let committer = Committer::new(shared.clone(), queue.clone(), &recovered);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || committer.run());
        let thread = thread.map_err(OpenError::io("start the thread that writes", dir))?;
        let inner = Inner {
            shared,
            queue,
            committer: Mutex::new(Some(thread)),
        };
        Ok((
            Self {
                inner: Arc::new(inner),
            },
            recovered.report,
        ))
    }

    /// Appends records, all or none, with consecutive lsns; returns when they are durable. Without drafts it is a
    /// barrier: it returns when everything appended before is durable.
    ///
    /// # Errors
    ///
    /// `Full` and `TooLarge`: nothing was written. `Poisoned`: it may have been.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves it open whether the records were appended.
    pub async fn append(&self, drafts: Vec<Draft>) -> Result<Durable<Appended>, AppendError> {
        let (answer, answered) = oneshot::channel();
        self.push(drafts, Answer::Durable(answer)).await?;
        answered.await.unwrap_or(Err(AppendError::Poisoned))
    }

    /// Appends records, all or none; returns when they are written. They are synced with the next group that is,
    /// at most [`Options::lazy_sync`] later. They may use the space that `min_free_bytes` reserves.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    ///
    /// # Cancel safety
    ///
    /// As [`append`](Self::append).
    pub async fn append_lazy(&self, drafts: Vec<Draft>) -> Result<Appended, AppendError> {
        let (answer, answered) = oneshot::channel();
        self.push(drafts, Answer::Lazy(answer)).await?;
        answered.await.unwrap_or(Err(AppendError::Poisoned))
    }

    /// Whether the disk has, at this moment, no room for another durable record: what `append` would answer `Full` to.
    pub fn is_full(&self) -> bool {
        let shared = &self.inner.shared;
        let options = &shared.options;
        let free = shared.disk.free(&options.dir).unwrap_or(u64::MAX);
        free <= options.min_free_bytes
    }

    /// A journal without a thread, on a disk of the caller's: nothing is written before the committer is stepped.
    #[cfg(any(test, feature = "bench-parts"))]
    pub(super) fn open_stepped(
        options: Options,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Recovery, Committer, Arc<Queue>), OpenError> {
        let recovered = recovery::recover(&options, &*disk)?;
        let queue = Arc::new(Queue::new(MAX_APPEND.max(options.group_bytes.saturating_mul(2))));
        let shared = Arc::new(shared(options, disk, &recovered));
        let committer = Committer::new(shared.clone(), queue.clone(), &recovered);
        let inner = Inner {
            shared,
            queue: queue.clone(),
            committer: Mutex::new(None),
        };
        let journal = Self {
            inner: Arc::new(inner),
        };
        Ok((journal, recovered.report, committer, queue))
    }

    async fn push(&self, drafts: Vec<Draft>, answer: Answer) -> Result<(), AppendError> {
        let bytes = Self::measure(&drafts)?;
        let queue = &self.inner.queue;
        let Some(room) = queue.room(bytes).await else {
            return Err(self.closed());
        };
        queue
            .push(Request {
                drafts,
                bytes,
                answer,
                room: Some(room),
            })
            .map_err(|_| self.closed())
    }

    /// What records take in a segment, in bytes, if they may be appended at once.
    pub(super) fn measure(drafts: &[Draft]) -> Result<usize, AppendError> {
        let largest = drafts.iter().map(|draft| draft.body.len()).max().unwrap_or(0);
        if largest > MAX_BODY {
            return Err(AppendError::TooLarge {
                bytes: largest,
                limit: MAX_BODY,
            });
        }
        let bytes = drafts.iter().map(encoded_len).sum();
        if bytes > MAX_APPEND {
            return Err(AppendError::TooLarge {
                bytes,
                limit: MAX_APPEND,
            });
        }
        Ok(bytes)
    }

    pub(super) fn parts(&self) -> (Arc<Shared>, Arc<Queue>) {
        (self.inner.shared.clone(), self.inner.queue.clone())
    }

    pub(super) fn closed(&self) -> AppendError {
        if self.inner.shared.has_failed() {
            AppendError::Poisoned
        } else {
            AppendError::Closed
        }
    }

    /// One record. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// There is no such segment, no whole record at that place, or the file system refuses.
    pub fn read(&self, location: Location) -> Result<Entry, ReadError> {
        self.inner.shared.read(location)
    }

    /// The record at a place of which `is_it` holds. Where something else stands there, since blocks have changed
    /// places, it is looked for in the rest of its segment. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_where(&self, location: Location, is_it: impl Fn(&Entry) -> bool) -> Result<Entry, ReadError> {
        self.inner.shared.read_where(location, is_it)
    }

    /// For the parts of the handle that stand elsewhere.
    pub(super) fn shared_state(&self) -> &Shared {
        &self.inner.shared
    }

    /// The record of `lsn` at a place, where it can be had without waiting for the disk: it is among the newest, or the
    /// system has it in memory. Nothing says nothing: [`read_where`](Self::read_where) does.
    pub fn at_hand(&self, lsn: Lsn, location: Location) -> Option<Entry> {
        self.inner.shared.at_hand(lsn, location)
    }

    /// Follows the journal from the record after `after` on; 0 for all of it. Records are published right after
    /// they are acknowledged, so whoever has an answer may have to wait a moment to see them here.
    pub fn follow(&self, after: Lsn) -> Follower {
        Follower::new(self.inner.shared.clone(), after)
    }

    /// All records flagged [`CONFIG`](super::CONFIG), in order, as of now. Of a sealed segment with a sidecar only
    /// these records are read. Blocks on the disk. A damaged record is an `Err`, and the next call goes on.
    pub fn config_entries(&self) -> impl Iterator<Item = Result<Entry, ReadError>> + use<> {
        ConfigEntries::new(self.inner.shared.clone())
    }

    /// The lsn written last; 0 in an empty journal.
    pub fn last_lsn(&self) -> Lsn {
        self.inner.shared.last.load(Acquire)
    }

    /// The lsn that followers can read up to. A record is published after it was written and, if it is to be durable,
    /// acknowledged: for a moment this lags behind [`last_lsn`](Self::last_lsn) and [`synced_lsn`](Self::synced_lsn).
    pub fn published_lsn(&self) -> Lsn {
        lock(&self.inner.shared.catalogue).published
    }

    /// Everything up to this lsn is durable, as far as [`Options::durability`] goes.
    pub fn synced_lsn(&self) -> Lsn {
        self.inner.shared.synced.load(Acquire)
    }

    /// Where the oldest segment begins.
    pub fn first_lsn(&self) -> Lsn {
        lock(&self.inner.shared.catalogue)
            .segments
            .first_key_value()
            .map_or(1, |(first, _)| *first)
    }

    /// Tells this journal from every other, and from what stood in its directory before.
    pub fn uuid(&self) -> [u8; 16] {
        self.inner.shared.uuid
    }

    pub fn durability(&self) -> Durability {
        self.inner.shared.options.durability
    }

    pub fn stats(&self) -> Stats {
        self.inner.shared.counters.snapshot()
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let catalogue = lock(&self.inner.shared.catalogue);
        let info = catalogue.segments.iter().map(|(first, segment)| SegmentInfo {
            first: *first,
            last: segment.last,
            bytes: segment.end,
            sealed: segment.sealed,
        });
        info.collect()
    }

    /// How long the committer has been writing or syncing its present group; `None` when it waits for one.
    pub fn busy_for(&self) -> Option<Duration> {
        let shared = &self.inner.shared;
        let since = shared.counters.busy_since.load(Acquire).checked_sub(1)?;
        Some(shared.disk.elapsed().saturating_sub(Duration::from_micros(since)))
    }

    /// The segments as they stand now, for a backup. Blocks on the disk. What it covers was acknowledged or written
    /// before; all of it is durable after the next [`append`](Self::append), be it of nothing.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        self.inner.shared.snapshot()
    }

    /// Holds what poisoned the journal, once something has. The process should end then, with the chain of causes.
    pub fn failure(&self) -> watch::Receiver<Option<Arc<Failure>>> {
        self.inner.shared.failure.subscribe()
    }

    /// Returns when the journal has failed; never in one that does not.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn failed(&self) -> Arc<Failure> {
        let mut failure = self.failure();
        loop {
            if let Some(failure) = failure.borrow_and_update().clone() {
                return failure;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads every record of the journal in `dir`, which must not be open, and changes nothing.
    ///
    /// # Errors
    ///
    /// The directory or a file cannot be read, or a segment is of a newer format. Damage is in the report.
    pub fn verify(dir: &Path) -> Result<Verification, OpenError> {
        verify::verify(dir)
    }

    /// What was found damaged so far, at opening and since, oldest segment first; at most 1,024 ranges.
    pub fn damaged(&self) -> Vec<BadRange> {
        lock(&self.inner.shared.damage).values().copied().collect()
    }

    /// What a damaged range still shows of the records that stood in it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// There is no such segment, or the file system refuses.
    pub fn fragments(&self, bad: &BadRange) -> Result<Vec<Fragment>, ReadError> {
        let shared = &self.inner.shared;
        if bad.bytes == 0 {
            return Ok(Vec::new());
        }
        let open = shared.open_segment(bad.segment)?;
        fragment::read(&open.file, &open.header, bad).map_err(shared.read_error(bad.segment))
    }

    /// Repairs the journal in `dir`, which must not be open: see [`Repair`]. `note` gives the words that are kept of
    /// a range; `at_millis` is the time, since 1970.
    ///
    /// # Errors
    ///
    /// The file system refuses, or a segment is of a newer format. What was done until then stands, and calling it
    /// again does the rest.
    pub fn repair(
        dir: &Path,
        at_millis: u64,
        note: impl Fn(&BadRange, &[Fragment]) -> String,
    ) -> Result<Repair, OpenError> {
        repair::repair(dir, &RealDisk::new(), at_millis, &note)
    }

    /// Writes what was appended before, syncs it, and ends the committer; later appends are refused. Followers get
    /// what was published and then `None`. Blocks; calling it again does nothing.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        self.queue.close();
        if let Some(committer) = lock(&self.committer).take() {
            // A panic of the committer has been made a failure by its guard.
            let _ = committer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// What opening found, so that it is not counted again when it is met.
fn known_damage(report: &Recovery) -> BTreeMap<(Lsn, u64), BadRange> {
    let gaps = report.missing.iter().map(|range| BadRange {
        segment: range.first,
        offset: 0,
        bytes: 0,
        missing: Some(*range),
    });
    let found = report.quarantined.iter().copied().chain(gaps);
    found.map(|bad| ((bad.segment, bad.offset), bad)).collect()
}

fn shared(options: Options, disk: Arc<dyn Disk>, recovered: &Recovered) -> Shared {
    let catalogue = Catalogue {
        segments: recovered.segments.clone(),
        published: recovered.last,
        config: recovered.config.clone(),
        tail: Tail::new(options.tail_bytes),
        closed: false,
    };
    Shared {
        uuid: recovered.uuid,
        disk,
        catalogue: Mutex::new(catalogue),
        published: std::sync::Condvar::new(),
        files: OpenFiles::default(),
        reserve: Reserve::full(),
        ahead: Ahead::default(),
        counters: Counters::default(),
        last: recovered.last.into(),
        synced: recovered.last.into(),
        floor: recovered.first().into(),
        keeps: Mutex::new(0),
        damage: Mutex::new(known_damage(&recovered.report)),
        repaired: recovered.repaired.clone(),
        moved: Moved::default(),
        failure: watch::Sender::new(None),
        options,
    }
}
