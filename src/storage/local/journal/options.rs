use std::{path::PathBuf, time::Duration};

/// What an acknowledgement promises.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The record is on the device: it survives a power cut.
    Fsync,
    /// The record is with the operating system: it survives a crash of this process, not a power cut.
    Os,
}

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The journal's own directory, `<data>/journal`; created when missing.
    pub dir: PathBuf,
    pub durability: Durability,
    /// A segment is closed before it would grow past this many bytes; one append larger than this gets a segment
    /// of its own.
    pub segment_bytes: u64,
    /// With less than this many bytes free, durable appends are refused and lazy ones use the reserve.
    pub min_free_bytes: u64,
    /// A lazy record is synced at most this long after it was written.
    pub lazy_sync: Duration,
    /// Encoded bytes gathered into one group.
    pub group_bytes: usize,
    /// Records gathered into one group.
    pub group_records: usize,
    /// Body bytes of recent records kept in memory for followers.
    pub tail_bytes: usize,
    /// The machine was stopped without a sync since the journal was last written: what was not synced then may be
    /// there in parts, with holes.
    pub power_was_cut: bool,
    /// The process that wrote last ended without closing the journal, and the machine has run on since: what was not
    /// synced then is written again.
    pub crashed: bool,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::Fsync,
            segment_bytes: 64 * 1024 * 1024,
            min_free_bytes: 256 * 1024 * 1024,
            lazy_sync: Duration::from_millis(50),
            group_bytes: 4 * 1024 * 1024,
            group_records: 8192,
            tail_bytes: 16 * 1024 * 1024,
            power_was_cut: false,
            crashed: true,
        }
    }
}
