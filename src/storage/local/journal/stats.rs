use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters since the journal was opened.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups written.
    pub groups: u64,
    /// Records written.
    pub records: u64,
    /// Bytes written, record headers included.
    pub bytes: u64,
    /// Calls of `fdatasync` on a segment, successful or not.
    pub syncs: u64,
    /// Records in the largest group.
    pub group_records_max: u64,
    /// How long the last sync took, in microseconds.
    pub last_sync_micros: u64,
    /// Segments begun.
    pub rolls: u64,
    /// Appends refused for want of space.
    pub refused_full: u64,
    /// Damaged ranges met while reading, each counted once.
    pub damaged_ranges: u64,
    /// Sidecars that could not be written; the segment is scanned instead when its records are asked for.
    pub sidecar_failures: u64,
    /// Segments deleted, and their bytes.
    pub reclaimed_segments: u64,
    pub reclaimed_bytes: u64,
    /// How often the committer was held, and the longest that it was, in microseconds.
    pub pauses: u64,
    pub longest_pause_micros: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub groups: AtomicU64,
    pub records: AtomicU64,
    pub bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub group_records_max: AtomicU64,
    pub last_sync_micros: AtomicU64,
    pub rolls: AtomicU64,
    pub refused_full: AtomicU64,
    pub damaged_ranges: AtomicU64,
    pub sidecar_failures: AtomicU64,
    /// When the committer began with its present group, in microseconds of the disk's time plus one; 0 when it waits.
    pub busy_since: AtomicU64,
    pub reclaimed_segments: AtomicU64,
    pub reclaimed_bytes: AtomicU64,
    pub pauses: AtomicU64,
    pub longest_pause_micros: AtomicU64,
}

impl Counters {
    pub fn snapshot(&self) -> Stats {
        Stats {
            groups: self.groups.load(Relaxed),
            records: self.records.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            group_records_max: self.group_records_max.load(Relaxed),
            last_sync_micros: self.last_sync_micros.load(Relaxed),
            rolls: self.rolls.load(Relaxed),
            refused_full: self.refused_full.load(Relaxed),
            damaged_ranges: self.damaged_ranges.load(Relaxed),
            sidecar_failures: self.sidecar_failures.load(Relaxed),
            reclaimed_segments: self.reclaimed_segments.load(Relaxed),
            reclaimed_bytes: self.reclaimed_bytes.load(Relaxed),
            pauses: self.pauses.load(Relaxed),
            longest_pause_micros: self.longest_pause_micros.load(Relaxed),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}
