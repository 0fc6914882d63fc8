//! Walking the records of one segment, past damage.

use std::{collections::VecDeque, fs::File, io, sync::Arc};

use super::{
    entry::{Entry, FOLLOWS, Location, Lsn, LsnRange},
    format::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader},
    order::{Found, RecordPlace, Sorted, Stretch},
    repaired::{self, Repaired},
    window::Window,
};

/// A stretch of a segment that holds no readable record.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BadRange {
    /// The segment's first lsn.
    pub segment: Lsn,
    /// Where the stretch begins, in bytes from the start of the file.
    pub offset: u64,
    pub bytes: u64,
    /// The sequence numbers that stood there. `None`: none is missing, or the stretch ends the segment and what
    /// it held cannot be told from within.
    pub missing: Option<LsnRange>,
}

impl BadRange {
    /// Whether the other range says nothing that this one does not.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let holds = |range: LsnRange| {
            self.missing
                .is_some_and(|own| own.first <= range.first && range.last <= own.last)
        };
        let within = self.offset <= other.offset && other.offset + other.bytes <= self.offset + self.bytes;
        match other.missing {
            // A gap without bytes is known by its numbers, wherever it was met.
            Some(range) if other.bytes == 0 => holds(range),
            Some(range) => self.segment == other.segment && within && holds(range),
            None => self.segment == other.segment && within,
        }
    }

    /// Whether it is only the place where a repair has cut something out.
    pub(super) fn is_known(&self, repaired: &[Repaired]) -> bool {
        self.bytes == 0
            && self
                .missing
                .is_some_and(|range| repaired::is_known(repaired, range))
    }
}

pub(super) enum Step {
    Record(Entry),
    /// Damage with a valid record after it.
    Bad(BadRange),
    /// From here to the limit there is no valid record.
    Tail(BadRange),
}

/// Yields a segment's records in the order of their lsns, each checked, each once.
///
/// As long as nothing is wrong that is the order in which they stand. At the first thing that is, all the rest is
/// looked through before anything of it is yielded, since blocks may have changed places: a record that stands too
/// early must not hide those between, which are sound. A record is valid only with an lsn above those yielded before
/// the damage, so that copies of older records inside a payload do not count.
pub(super) struct Scanner {
    file: Arc<File>,
    header: SegmentHeader,
    at: u64,
    limit: u64,
    last: Lsn,
    window: Window,
    ahead: Option<Entry>,
    proof: u64,
    /// What was found up to the limit when it was looked through.
    found: VecDeque<Found>,
    misplaced: u64,
}

impl Scanner {
    /// Reads from the first record up to the offset `limit`.
    pub fn new(file: Arc<File>, header: SegmentHeader, limit: u64) -> Self {
        Self::resume(file, header, SEGMENT_HEADER as u64, header.first - 1, limit)
    }

    /// Reads from `at`, which is a record's offset; `last` is the lsn before it.
    pub fn resume(file: Arc<File>, header: SegmentHeader, at: u64, last: Lsn, limit: u64) -> Self {
        Self {
            file,
            header,
            at,
            limit,
            last,
            window: Window::default(),
            ahead: None,
            proof: 0,
            found: VecDeque::new(),
            misplaced: 0,
        }
    }

    /// More of the segment may be read now.
    pub fn extend(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    pub fn segment(&self) -> Lsn {
        self.header.first
    }

    /// The lsn of the last record that was yielded, or the one before the segment's first.
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Where the last record lies that proves all before it: see [`FOLLOWS`].
    pub fn proof(&self) -> u64 {
        self.proof
    }

    /// Up to here everything was yielded, once `step` has answered `None`.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The end of what the device did not give; 0 when it gave everything that was read so far.
    pub const fn unreadable(&self) -> u64 {
        self.window.unreadable()
    }

    /// So many records did not stand in their order.
    pub fn misplaced(&self) -> u64 {
        self.misplaced
    }

    pub fn step(&mut self) -> io::Result<Option<Step>> {
        if let Some(entry) = self.ahead.take() {
            return Ok(Some(self.yielded(entry)));
        }
        loop {
            if let Some(found) = self.found.pop_front() {
                return self.deliver(found).map(Some);
            }
            if self.at >= self.limit {
                return Ok(None);
            }
            if let Some(entry) = self.record_at(self.at)?
                && entry.lsn == self.last + 1
            {
                return Ok(Some(self.yielded(entry)));
            }
            self.look_through()?;
        }
    }

    /// Takes back the record that `step` has just yielded.
    pub fn put_back(&mut self, entry: Entry) {
        self.last = entry.lsn - 1;
        self.ahead = Some(entry);
    }

    fn yielded(&mut self, entry: Entry) -> Step {
        // What was looked through is behind `at` already, wherever in it the record stands.
        self.at = self.at.max(entry.location.offset + u64::from(entry.location.len));
        self.last = entry.lsn;
        Step::Record(entry)
    }

    fn deliver(&mut self, found: Found) -> io::Result<Step> {
        let (offset, bytes) = match found {
            Found::Bad(bad) => return Ok(Step::Bad(bad)),
            Found::Tail(tail) => return Ok(Step::Tail(tail)),
            Found::Record(place) => (place.offset, u64::from(place.len)),
        };
        Ok(match self.record_at(offset)? {
            Some(entry) => self.yielded(entry),
            // It was sound a moment ago: the device does not answer the same twice.
            None => Step::Bad(BadRange {
                segment: self.header.first,
                offset,
                bytes,
                missing: None,
            }),
        })
    }

    /// Finds every valid record from here to the limit.
    fn look_through(&mut self) -> io::Result<()> {
        let (from, mut at) = (self.at, self.at);
        let mut places = Vec::new();
        while let Some(place) = self.find_from(at)? {
            at = place.end();
            places.push(place);
        }
        let sorted = Sorted::new(places, from, self.last);
        self.misplaced += sorted.misplaced;
        let stretch = Stretch {
            segment: self.header.first,
            from,
            limit: self.limit,
            last: self.last,
        };
        self.found = stretch.findings(sorted);
        self.at = self.limit;
        Ok(())
    }

    /// The first valid record that begins at `at` or after it.
    fn find_from(&mut self, mut at: u64) -> io::Result<Option<RecordPlace>> {
        if let Some(entry) = self.record_at(at)? {
            return Ok(Some(RecordPlace::of(&entry)));
        }
        let marker = self.header.marker();
        at += 1;
        while at < self.limit {
            let piece = self.window.piece(&self.file, at, self.limit)?;
            let Some(found) = find(&piece, marker) else {
                // A marker may straddle two pieces, so the last three bytes are looked at again.
                at += piece.len().saturating_sub(marker.len() - 1).max(1) as u64;
                continue;
            };
            at += found as u64;
            if let Some(entry) = self.record_at(at)? {
                return Ok(Some(RecordPlace::of(&entry)));
            }
            at += 1;
        }
        Ok(None)
    }

    fn record_at(&mut self, offset: u64) -> io::Result<Option<Entry>> {
        let room = self.limit.saturating_sub(offset);
        if room < RECORD_HEADER as u64 {
            return Ok(None);
        }
        let head = self.window.get(&self.file, offset, RECORD_HEADER, self.limit)?;
        let Some(head) = RecordHeader::decode(&head, &self.header) else {
            return Ok(None);
        };
        let len = head.record_len();
        if head.lsn <= self.last || len as u64 > room {
            return Ok(None);
        }
        let body = self
            .window
            .get(&self.file, offset, len, self.limit)?
            .slice(RECORD_HEADER..);
        if !head.matches(&body) {
            return Ok(None);
        }
        if head.flags & FOLLOWS == 0 {
            self.proof = self.proof.max(offset);
        }
        let location = Location {
            segment: self.header.first,
            offset,
            len: len as u32,
        };
        Ok(Some(entry(&head, body, location)))
    }
}

pub(super) fn entry(head: &RecordHeader, body: bytes::Bytes, location: Location) -> Entry {
    Entry {
        lsn: head.lsn,
        kind: head.kind,
        version: head.version,
        flags: head.flags & !FOLLOWS,
        body,
        location,
    }
}

pub(super) fn find(bytes: &[u8], marker: [u8; 4]) -> Option<usize> {
    let mut from = 0;
    while let Some(step) = bytes[from..].iter().position(|&byte| byte == marker[0]) {
        let at = from + step;
        if bytes[at..].starts_with(&marker) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}
