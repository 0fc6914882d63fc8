//! What readers may see: the segments, how far they are published, and the newest records in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    entry::{Entry, Lsn},
    format::SegmentHeader,
    sidecar::Place,
};

#[derive(Copy, Clone, Debug)]
pub(super) struct Segment {
    pub header: SegmentHeader,
    /// Readers go up to here, in bytes; always the end of a record. The whole file once the segment is sealed.
    pub end: u64,
    /// The last lsn, where it is known: a sealed segment without a sidecar has not been looked at.
    pub last: Option<Lsn>,
    pub records: u64,
    pub sealed: bool,
}

/// Shared between the committer, which alone changes it, and every reader.
pub(super) struct Catalogue {
    pub segments: BTreeMap<Lsn, Segment>,
    /// Up to this lsn records may be handed out.
    pub published: Lsn,
    /// Configuration records of the segment that is being written.
    pub config: Vec<Place>,
    pub tail: Tail,
    /// No more records will be published.
    pub closed: bool,
}

impl Catalogue {
    /// The segment in which `lsn` lies or would lie; the first one for lsns before it.
    pub fn segment_of(&self, lsn: Lsn) -> Option<Segment> {
        let at = self
            .segments
            .range(..=lsn)
            .next_back()
            .or_else(|| self.segments.first_key_value());
        at.map(|(_, segment)| *segment)
    }

    pub fn after(&self, first: Lsn) -> Option<Segment> {
        self.segments
            .range(first + 1..)
            .next()
            .map(|(_, segment)| *segment)
    }
}

/// The newest groups, bounded by the bytes of their bodies.
pub(super) struct Tail {
    groups: VecDeque<(usize, Arc<[Entry]>)>,
    bytes: usize,
    limit: usize,
}

/// What a record takes in the tail beside its body.
const ENTRY_BYTES: usize = size_of::<Entry>();

impl Tail {
    pub fn new(limit: usize) -> Self {
        Self {
            groups: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    pub fn push(&mut self, entries: Vec<Entry>) {
        let bytes = entries.iter().map(|entry| entry.body.len() + ENTRY_BYTES).sum();
        if bytes > self.limit {
            // Older groups must go too: the tail has no holes.
            self.groups.clear();
            self.bytes = 0;
            return;
        }
        self.bytes += bytes;
        self.groups.push_back((bytes, entries.into()));
        while self.bytes > self.limit {
            let Some((bytes, _)) = self.groups.pop_front() else {
                break;
            };
            self.bytes -= bytes;
        }
    }

    /// The group that holds `lsn`, and the record's place in it; nothing when it is older than the tail.
    pub fn find(&self, lsn: Lsn) -> Option<(Arc<[Entry]>, usize)> {
        let oldest = self.groups.front()?.1.first()?.lsn;
        if lsn < oldest {
            return None;
        }
        let at = self
            .groups
            .partition_point(|(_, group)| group.last().is_some_and(|entry| entry.lsn < lsn));
        let group = &self.groups.get(at)?.1;
        Some((group.clone(), group.partition_point(|entry| entry.lsn < lsn)))
    }
}
