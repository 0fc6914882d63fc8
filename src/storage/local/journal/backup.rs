//! What of a journal a backup copies: its segments as they stand at one moment.

use std::{fs, io, path::PathBuf};

use super::{
    entry::Lsn,
    error::ReadError,
    files::{self, IDENTITY},
    shared::{Shared, lock},
};

/// The file that says below which record everything was deleted.
const FLOOR: &str = "floor";

/// The journal at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Oldest first.
    pub segments: Vec<SegmentCopy>,
    /// The last record in it.
    pub through: Lsn,
    /// `journal.id`, as it is.
    pub identity: Vec<u8>,
    /// `floor`, as it is, if there is one.
    pub floor: Option<Vec<u8>>,
}

/// A segment's file, and how far it was written at that moment.
#[derive(Clone, Debug)]
pub struct SegmentCopy {
    pub first: Lsn,
    pub salt: u64,
    /// The end of its last published record, or of the file when it is sealed.
    pub bytes: u64,
    pub sealed: bool,
    pub path: PathBuf,
}

impl Shared {
    /// What stands there now. With a [`Keep`](super::Keep) held, floor and segments go together, and every file is there
    /// as long as it is.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let floor = self.floor_file()?;
        let identity = fs::read(self.options.dir.join(IDENTITY)).map_err(self.unreadable(IDENTITY))?;
        let catalogue = lock(&self.catalogue);
        let segments = catalogue.segments.values().map(|segment| SegmentCopy {
            first: segment.header.first,
            salt: segment.header.salt,
            bytes: segment.end,
            sealed: segment.sealed,
            path: files::segment_path(&self.options.dir, segment.header.first),
        });
        Ok(Snapshot {
            segments: segments.collect(),
            through: catalogue.published,
            identity,
            floor,
        })
    }

    fn floor_file(&self) -> Result<Option<Vec<u8>>, ReadError> {
        match fs::read(self.options.dir.join(FLOOR)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unreadable(FLOOR)(error)),
        }
    }

    fn unreadable(&self, name: &str) -> impl FnOnce(io::Error) -> ReadError + use<> {
        let path = self.options.dir.join(name);
        move |source| ReadError::Io { path, source }
    }
}
