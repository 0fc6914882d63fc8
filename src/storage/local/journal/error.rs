use std::{io, path::PathBuf};

use super::entry::Location;

/// Why a journal could not be opened. Damage is not among the reasons: it is reported and set aside.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("could not {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the journal segment {} has format version {version}, which is newer than this program knows", path.display())]
    NewerFormat { path: PathBuf, version: u16 },
}

impl OpenError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Why records were not acknowledged.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written. It succeeds again once there is space. Both figures are in bytes.
    #[error("not enough disk space for the journal; free {free}, needed {needed}")]
    Full { free: u64, needed: u64 },
    /// Nothing was written. It succeeds again once descriptors and memory are free.
    #[error("file descriptors or memory are short; the journal cannot write at the moment")]
    Short,
    #[error("the records are too large for the journal; bytes {bytes}, at most {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the journal is closed")]
    Closed,
    /// A write or sync failed earlier. Whether these records are on disk is unknown; the process must end.
    #[error("the journal has failed and takes no more records")]
    Poisoned,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the journal has no segment {segment:016x}")]
    NoSegment { segment: u64 },
    #[error("the journal record is damaged or is not one; segment {:016x}, offset {}", .0.segment, .0.offset)]
    Damaged(Location),
    #[error("could not read journal segment {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Why segments were not deleted, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum ReclaimError {
    #[error("could not {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the journal has failed and deletes nothing more")]
    Poisoned,
}

/// What poisoned a journal: the failed action, with the operating system's error as its source.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}", path.display())]
pub struct Failure {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}
