//! Records that can be had without waiting for the disk: in our memory, or in the system's page cache.
//!
//! What is due is mostly read in the order in which it was accepted. So a record that lies a little behind one that was
//! read before is read with what follows it, and a call to the system is made once for many. Never beyond what is
//! published: what a full disk takes back there may be written otherwise later. What is not a whole record is left to
//! [`Shared::read`], which waits for the disk and knows damage.

use std::{collections::VecDeque, io::IoSliceMut, sync::Mutex};

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, preadv2};

use super::{
    entry::{Entry, Location, Lsn},
    format::{RECORD_HEADER, RecordHeader},
    limits::{AHEAD_BYTES, AHEAD_PIECES, MAX_BODY},
    reader::OpenFile,
    scan,
    shared::{Shared, lock},
};

/// Pieces of segments that were read lately, the latest last.
#[derive(Default)]
pub(super) struct Ahead(Mutex<VecDeque<Piece>>);

struct Piece {
    segment: Lsn,
    offset: u64,
    bytes: Bytes,
}

impl Piece {
    /// What was read at a record's place. A large one is not kept: where it ends is enough to know what follows.
    fn of(location: Location, bytes: Bytes) -> Self {
        let end = location.offset + bytes.len() as u64;
        let (offset, bytes) = if bytes.len() > AHEAD_BYTES {
            (end, Bytes::new())
        } else {
            (location.offset, bytes)
        };
        Self {
            segment: location.segment,
            offset,
            bytes,
        }
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// The bytes of a record that lies in this piece.
    fn slice(&self, location: Location) -> Option<Bytes> {
        let start = usize::try_from(location.offset.checked_sub(self.offset)?).ok()?;
        let end = start.checked_add(location.len as usize)?;
        (self.segment == location.segment && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }

    /// Whether a record begins so little behind this piece that the rest of it is likely to be wanted next.
    fn leads_to(&self, location: Location) -> bool {
        let gap = location.offset.checked_sub(self.end());
        self.segment == location.segment && gap.is_some_and(|gap| gap < AHEAD_BYTES as u64)
    }
}

impl Ahead {
    fn find(&self, location: Location) -> Option<Bytes> {
        lock(&self.0).iter().rev().find_map(|piece| piece.slice(location))
    }

    /// Takes out the piece that a record follows.
    fn take_before(&self, location: Location) -> bool {
        let mut pieces = lock(&self.0);
        let found = pieces.iter().rposition(|piece| piece.leads_to(location));
        found.and_then(|at| pieces.remove(at)).is_some()
    }

    /// What was read ahead may not be so any more.
    pub fn forget(&self) {
        lock(&self.0).clear();
    }

    fn keep(&self, piece: Piece) {
        let mut pieces = lock(&self.0);
        pieces.push_back(piece);
        if pieces.len() > AHEAD_PIECES {
            pieces.pop_front();
        }
    }
}

impl Shared {
    /// The record at `location`, where it is the one of `lsn` and in memory, or can be read without waiting for the disk.
    pub fn at_hand(&self, lsn: Lsn, location: Location) -> Option<Entry> {
        let (found, end) = self.in_tail(lsn, location);
        if found.is_some() {
            return found;
        }
        let len = location.len as usize;
        if !(RECORD_HEADER..=RECORD_HEADER + MAX_BODY).contains(&len) {
            return None;
        }
        let open = self.open_segment(location.segment).ok()?;
        if let Some(bytes) = self.ahead.find(location) {
            return whole(&open, bytes, location);
        }
        let left = usize::try_from(end?.checked_sub(location.offset)?).ok()?;
        let wanted = if self.ahead.take_before(location) {
            AHEAD_BYTES.min(left).max(len)
        } else {
            len
        };
        let bytes = read_cached(&open, location.offset, wanted)?;
        let record = (bytes.len() >= len).then(|| bytes.slice(..len))?;
        let entry = whole(&open, record, location)?;
        self.ahead.keep(Piece::of(location, bytes));
        Some(entry)
    }

    /// The record, if the journal remembers it, and up to where its segment may be read.
    fn in_tail(&self, lsn: Lsn, location: Location) -> (Option<Entry>, Option<u64>) {
        let (found, end) = {
            let catalogue = lock(&self.catalogue);
            let end = catalogue.segments.get(&location.segment).map(|it| it.end);
            (catalogue.tail.find(lsn), end)
        };
        let entry = found.and_then(|(group, at)| {
            let entry = group.get(at)?;
            (entry.lsn == lsn && entry.location == location).then(|| entry.clone())
        });
        (entry, end)
    }
}

fn whole(open: &OpenFile, bytes: Bytes, location: Location) -> Option<Entry> {
    let head = RecordHeader::decode(&bytes, &open.header)?;
    let body = bytes.slice(RECORD_HEADER..);
    (head.record_len() == bytes.len() && head.matches(&body)).then(|| scan::entry(&head, body, location))
}

/// At most `len` bytes at `offset`, as many as the system has in memory; nothing where the file system cannot say.
fn read_cached(open: &OpenFile, offset: u64, len: usize) -> Option<Bytes> {
    let mut bytes = vec![0; len];
    let read = preadv2(
        &open.file,
        &mut [IoSliceMut::new(&mut bytes)],
        offset,
        ReadWriteFlags::NOWAIT,
    );
    bytes.truncate(read.ok()?);
    Some(bytes.into())
}
