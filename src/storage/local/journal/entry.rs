use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A log sequence number: the place of a record in the journal's order. The first is 1.
pub type Lsn = u64;

/// The record changes configuration: it is found fast at a rebuild, without reading what lies around it.
pub const CONFIG: u8 = 0x01;

/// What lies before the record was perhaps not synced when it was written. The journal sets it, nobody else.
///
/// A record without it proves all before it: that was on the device. Records of before there was this flag have none,
/// and prove as much as they ever did.
pub(super) const FOLLOWS: u8 = 0x02;

/// A record to be appended. The journal does not look into it, but for [`CONFIG`] in its flags.
#[derive(Clone, Debug)]
pub struct Draft {
    pub kind: u8,
    pub version: u8,
    pub flags: u8,
    /// At most [`MAX_BODY`](super::MAX_BODY) bytes. Kept as it is in the in-memory tail, so it should not be a
    /// slice of something much larger.
    pub body: Bytes,
}

/// Where a record lies: enough to read it with one system call.
///
/// Persisted in the store's rows. `segment` is the first lsn of the segment, `offset` and `len` are in bytes and
/// span the record with its header.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    pub segment: u64,
    pub offset: u64,
    pub len: u32,
}

/// A record as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub lsn: Lsn,
    pub kind: u8,
    pub version: u8,
    pub flags: u8,
    pub body: Bytes,
    pub location: Location,
}

/// Where the records of one append went: consecutive sequence numbers from `first`, in the order of the drafts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: Lsn,
    pub locations: Vec<Location>,
}

/// A closed range of sequence numbers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct LsnRange {
    pub first: Lsn,
    pub last: Lsn,
}

impl LsnRange {
    /// The range, or nothing when it would be empty.
    pub(super) fn new(first: Lsn, last: Lsn) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }
}

impl std::fmt::Display for LsnRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}..={}", self.first, self.last)
        }
    }
}
