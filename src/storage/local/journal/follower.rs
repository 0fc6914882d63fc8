//! Reading on as the journal grows.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    entry::{Entry, Lsn, LsnRange},
    error::ReadError,
    format::SEGMENT_HEADER,
    scan::{BadRange, Scanner, Step},
    shared::{Shared, lock},
};

/// Hands out the journal's records in order, each once; for one consumer thread.
///
/// Recent records come from memory, older ones from the segment files. A record of a durable append is handed out
/// only when it is synced, a lazy one as soon as it is written. Damaged ranges are counted, said and skipped.
pub struct Follower {
    shared: Arc<Shared>,
    next: Lsn,
    /// Where reading from files goes on: a scanner, or the place behind the last record that came from memory.
    place: Place,
    stopped: Arc<AtomicBool>,
    unread: bool,
}

enum Place {
    Unknown,
    Behind { segment: Lsn, offset: u64 },
    Reading(Box<Scanner>),
}

/// What came of waiting for records for a limited time.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Records(Vec<Entry>),
    /// The time is over, and there are none.
    Late,
    /// Stopped, or the journal is closed and everything published was returned.
    Ended,
}

enum Wait {
    Ready,
    Late,
    Ended,
}

/// Ends a [`Follower`] from another thread.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
    stopped: Arc<AtomicBool>,
}

impl Stopper {
    /// The follower's `next_batch` returns `None` from now on, also when it is waiting.
    pub fn stop(&self) {
        let _catalogue = lock(&self.shared.catalogue);
        self.stopped.store(true, Relaxed);
        self.shared.published.notify_all();
    }
}

/// How much one batch may hold. At least one record is returned, however large.
#[derive(Copy, Clone)]
struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    fn take(&mut self, entry: &Entry, first: bool) -> bool {
        let len = entry.body.len();
        if self.records == 0 || (len > self.bytes && !first) {
            return false;
        }
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(len);
        true
    }
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, after: Lsn) -> Self {
        // What was reclaimed may still be in memory; whoever begins now is to see what a later start would see.
        let floor = shared.floor.load(Relaxed);
        Self {
            shared,
            next: after.saturating_add(1).max(floor),
            place: Place::Unknown,
            stopped: Arc::default(),
            unread: false,
        }
    }

    /// Whether something was passed over, since this was last asked, that is not known to be damaged: the device did not
    /// give it.
    pub fn take_unread(&mut self) -> bool {
        std::mem::take(&mut self.unread)
    }

    /// Waits for `patience`, or until the follower is stopped.
    pub fn rest(&self, patience: Duration) {
        let until = self.shared.disk.elapsed() + patience;
        let mut catalogue = lock(&self.shared.catalogue);
        while !self.stopped.load(Relaxed) {
            let left = until.saturating_sub(self.shared.disk.elapsed());
            if left.is_zero() {
                return;
            }
            catalogue = self
                .shared
                .published
                .wait_timeout(catalogue, left)
                .map_or_else(|e| e.into_inner().0, |woken| woken.0);
        }
    }

    pub fn stopper(&self) -> Stopper {
        Stopper {
            shared: self.shared.clone(),
            stopped: self.stopped.clone(),
        }
    }

    /// The last record that was returned, or passed over as damaged.
    pub const fn passed(&self) -> Lsn {
        self.next - 1
    }

    /// Waits for records and returns some, at most `max_records` (at least 1) and about `max_bytes` of bodies.
    /// `None`: stopped, or the journal is closed and everything published was returned.
    ///
    /// # Errors
    ///
    /// A segment file could not be opened or read. Calling again tries again.
    pub fn next_batch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Option<Vec<Entry>>, ReadError> {
        loop {
            match self.wait(None) {
                Wait::Ready => {
                    let batch = self.try_next(max_records, max_bytes)?;
                    if !batch.is_empty() {
                        return Ok(Some(batch));
                    }
                }
                Wait::Late => {}
                Wait::Ended => return Ok(None),
            }
        }
    }

    /// As `next_batch`, but gives up waiting after `patience`.
    ///
    /// # Errors
    ///
    /// As [`next_batch`](Self::next_batch).
    pub fn next_within(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        patience: Duration,
    ) -> Result<Next, ReadError> {
        match self.wait(Some(patience)) {
            Wait::Late => Ok(Next::Late),
            Wait::Ended => Ok(Next::Ended),
            Wait::Ready => {
                let batch = self.try_next(max_records, max_bytes)?;
                Ok(if batch.is_empty() {
                    Next::Late
                } else {
                    Next::Records(batch)
                })
            }
        }
    }

    /// As `next_batch`, but returns an empty batch rather than wait.
    pub fn try_next(&mut self, max_records: usize, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let room = Room {
            records: max_records.max(1),
            bytes: max_bytes,
        };
        if self.stopped.load(Relaxed) {
            return Ok(Vec::new());
        }
        match self.read_memory(room) {
            Some(batch) => Ok(batch),
            None => self.read_files(room),
        }
    }

    /// Blocks until something past the last returned record is published, or nothing will be, or for `patience`.
    fn wait(&self, patience: Option<Duration>) -> Wait {
        let until = patience.map(|patience| self.shared.disk.elapsed() + patience);
        let mut catalogue = lock(&self.shared.catalogue);
        loop {
            if self.stopped.load(Relaxed) {
                return Wait::Ended;
            }
            if catalogue.published >= self.next {
                return Wait::Ready;
            }
            if catalogue.closed {
                return Wait::Ended;
            }
            let published = &self.shared.published;
            catalogue = match until {
                None => published.wait(catalogue).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_sub(self.shared.disk.elapsed());
                    if left.is_zero() {
                        return Wait::Late;
                    }
                    published
                        .wait_timeout(catalogue, left)
                        .map_or_else(|e| e.into_inner().0, |woken| woken.0)
                }
            };
        }
    }

    fn read_memory(&mut self, mut room: Room) -> Option<Vec<Entry>> {
        let mut batch = Vec::new();
        loop {
            let found = {
                let catalogue = lock(&self.shared.catalogue);
                if catalogue.published < self.next {
                    return Some(batch);
                }
                catalogue.tail.find(self.next)
            };
            let Some((group, from)) = found else {
                return if batch.is_empty() { None } else { Some(batch) };
            };
            for entry in &group[from..] {
                if !room.take(entry, batch.is_empty()) {
                    return Some(batch);
                }
                let location = entry.location;
                let offset = location.offset + u64::from(location.len);
                self.place = Place::Behind {
                    segment: location.segment,
                    offset,
                };
                self.next = entry.lsn + 1;
                batch.push(entry.clone());
            }
        }
    }

    fn read_files(&mut self, mut room: Room) -> Result<Vec<Entry>, ReadError> {
        let mut batch = Vec::new();
        loop {
            match self.open_scanner() {
                Err(ReadError::NoSegment { segment }) if self.skips(segment) => continue,
                opened => opened?,
            }
            let Place::Reading(scanner) = &mut self.place else {
                return Ok(batch);
            };
            let segment = scanner.segment();
            match scanner.step().map_err(self.shared.read_error(segment))? {
                Some(Step::Record(entry)) if entry.lsn < self.next => {}
                Some(Step::Record(entry)) => {
                    if !room.take(&entry, batch.is_empty()) {
                        scanner.put_back(entry);
                        return Ok(batch);
                    }
                    self.next = entry.lsn + 1;
                    batch.push(entry);
                }
                Some(Step::Bad(bad)) => {
                    self.unread |= bad.offset < scanner.unreadable();
                    self.shared.met_damage(bad);
                }
                // What it held is told by where the next segment begins.
                Some(Step::Tail(tail)) => {
                    self.unread |= tail.offset < scanner.unreadable();
                    self.shared.met_damage(BadRange {
                        missing: self.gap_behind(segment),
                        ..tail
                    });
                }
                None => {
                    if !self.move_on(segment) {
                        return Ok(batch);
                    }
                }
            }
        }
    }

    /// Makes a scanner where the follower stands, unless there is one.
    fn open_scanner(&mut self) -> Result<(), ReadError> {
        let behind = match self.place {
            Place::Reading(_) => return Ok(()),
            Place::Behind { segment, offset } => Some((segment, offset)),
            Place::Unknown => None,
        };
        let found = {
            let catalogue = lock(&self.shared.catalogue);
            let known = behind.and_then(|(segment, _)| catalogue.segments.get(&segment).copied());
            known.or_else(|| catalogue.segment_of(self.next))
        };
        let Some(segment) = found else { return Ok(()) };
        let open = self.shared.open_segment(segment.header.first)?;
        let scanner = match behind {
            Some((first, offset)) if first == segment.header.first && offset > SEGMENT_HEADER as u64 => {
                Scanner::resume(open.file, open.header, offset, self.next - 1, segment.end)
            }
            _ => Scanner::new(open.file, open.header, segment.end),
        };
        self.place = Place::Reading(Box::new(scanner));
        Ok(())
    }

    /// The records that were to come before the next segment.
    fn gap_behind(&self, segment: Lsn) -> Option<LsnRange> {
        let after = lock(&self.shared.catalogue).after(segment)?;
        LsnRange::new(self.next, after.header.first - 1)
    }

    /// Goes past a segment whose file has vanished, if there is one behind it.
    fn skips(&mut self, segment: Lsn) -> bool {
        let has_next = lock(&self.shared.catalogue).after(segment).is_some();
        self.place = Place::Unknown;
        has_next && self.move_on(segment)
    }

    /// At the end of what was readable of `segment`: reads further in it, goes to the next, or says that there is
    /// nothing more.
    fn move_on(&mut self, segment: Lsn) -> bool {
        let catalogue = lock(&self.shared.catalogue);
        let end = catalogue.segments.get(&segment).map(|segment| segment.end);
        if let (Place::Reading(scanner), Some(end)) = (&mut self.place, end)
            && scanner.at() < end
        {
            scanner.extend(end);
            return true;
        }
        if let Some(after) = catalogue.after(segment) {
            let gap = LsnRange::new(self.next, after.header.first - 1);
            self.place = Place::Behind {
                segment: after.header.first,
                offset: SEGMENT_HEADER as u64,
            };
            self.next = self.next.max(after.header.first);
            drop(catalogue);
            if gap.is_some() {
                self.shared.met_damage(BadRange {
                    segment,
                    offset: end.unwrap_or_default(),
                    bytes: 0,
                    missing: gap,
                });
            }
            return true;
        }
        self.next = self.next.max(catalogue.published + 1);
        false
    }
}
