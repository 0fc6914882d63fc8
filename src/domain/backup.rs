//! What server and client say to each other about a backup, and what stands in its manifest.
//!
//! # The answer
//!
//! A client says which segments it holds, the server answers with what the client lacks: [`MAGIC`], the length of the
//! head (4 bytes, little endian), the head as JSON ([`Head`]), and of each of its segments with `from` before `bytes`
//! the bytes from the one to the other and the CRC32C of the whole segment up to `bytes` (4, little endian).
//!
//! An answer that is not `complete` has no more segments than a server opens at once; the client stores them, says that
//! it holds them, and asks again. Only a complete answer is a backup: all of it is of one moment.

use serde::{Deserialize, Serialize};

use super::{id::Lsn, time::Timestamp};

/// The first bytes of an answer.
pub const MAGIC: [u8; 8] = *b"phBackup";
/// The version of answers and manifests. A newer one is refused.
pub const VERSION: u32 = 1;
/// The media type of an answer.
pub const MEDIA_TYPE: &str = "application/vnd.posthaste.backup";

/// What a client asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Whether the sealing key is wanted as well.
    #[serde(default)]
    pub key: bool,
    /// The journal, in hexadecimal, that the segments are of.
    #[serde(default)]
    pub journal: Option<String>,
    #[serde(default)]
    pub held: Vec<Segment>,
}

/// A segment, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Its first sequence number, which names it.
    pub first: Lsn,
    /// The random number in its header, in hexadecimal, by which it is told from others of the same name.
    pub salt: String,
    /// Its length, always to the end of a record.
    pub bytes: u64,
    /// Nothing more is written to it.
    pub sealed: bool,
    /// CRC32C of these bytes.
    pub crc32c: u32,
}

/// A segment as the server has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    pub first: Lsn,
    pub salt: String,
    pub bytes: u64,
    pub sealed: bool,
    /// What the client has already, or will not get by this answer. The rest follows.
    pub from: u64,
}

/// What there is to say of a data folder beside its segments. Small, so it stands in the manifest itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of the program that took the backup.
    pub program: String,
    /// The journal's uuid, in hexadecimal.
    pub journal: String,
    /// When the backup began: what was acknowledged before is in it.
    pub created_at: Timestamp,
    /// The last sequence number in it.
    pub through_lsn: Lsn,
    /// The data folder's `format`, as it is.
    pub format: String,
    /// The journal's `journal.id`, in hexadecimal.
    pub identity: String,
    /// The journal's `floor`, in hexadecimal, if there is one.
    pub floor: Option<String>,
}

/// The head of an answer. Not to be printed: it may hold the sealing key.
#[derive(Serialize, Deserialize)]
pub struct Head {
    pub version: u32,
    pub complete: bool,
    pub about: About,
    /// The sealing key's file, as it is.
    pub key: Option<String>,
    /// All segments that there are, oldest first.
    pub segments: Vec<Offered>,
}

/// What a backup is made of. Written last; without one, or beside it, a directory is no backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub version: u32,
    pub about: About,
    /// Whether the sealing key is there.
    pub key: bool,
    pub segments: Vec<Segment>,
}

impl Manifest {
    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}
