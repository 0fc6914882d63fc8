//! The floor: below which lsn there is nothing any more, since it was reclaimed.
//!
//! It is on disk before the first segment below it is unlinked. So a segment that lies below it is a leftover of an
//! interrupted reclaim, and a first segment that begins above it is one whose predecessor was lost.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    disk::Disk,
    entry::{Lsn, LsnRange},
    error::OpenError,
    files,
    format::u64_at,
    report::Recovery,
    sidecar::Sidecar,
    survey::Survey,
};

const NAME: &str = "floor";
const MAGIC: [u8; 8] = *b"phJflr\x01\x00";
const LEN: usize = 8 + 16 + 8 + 4;

/// What the file says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    /// There is none, or it is another journal's: nothing was ever reclaimed.
    None,
    Damaged,
    At(Lsn),
}

impl Floor {
    pub fn load(dir: &Path, uuid: [u8; 16]) -> io::Result<Self> {
        match fs::read(path(dir)) {
            Ok(bytes) => Ok(Self::decode(&bytes, uuid)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::None),
            Err(error) => Err(error),
        }
    }

    fn decode(bytes: &[u8], uuid: [u8; 16]) -> Self {
        let Some((content, crc)) = bytes.split_last_chunk::<4>() else {
            return Self::Damaged;
        };
        let whole = bytes.len() == LEN && crc32c::crc32c(content) == u32::from_le_bytes(*crc);
        if !whole || !content.starts_with(&MAGIC) {
            return Self::Damaged;
        }
        match u64_at(content, 24) {
            _ if content[8..24] != uuid => Self::None,
            0 => Self::Damaged,
            lsn => Self::At(lsn),
        }
    }
}

/// Replaces the floor: on the device, under its name, when this returns.
///
/// # Errors
///
/// Those of the file system. Which of the two floors is there after a power cut is then unknown.
pub(super) fn store(dir: &Path, disk: &dyn Disk, uuid: [u8; 16], lsn: Lsn) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&uuid);
    bytes.extend_from_slice(&lsn.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    files::replace(disk, &path(dir), &bytes, true)
}

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// At open: finishes a reclaim that was interrupted, and says what is missing above the floor.
///
/// Only with a segment that begins at the floor is anything deleted: without it the file is of another time than the
/// segments, and no witness against them.
///
/// # Errors
///
/// Those of the file system.
pub(super) fn settle(
    dir: &Path,
    disk: &dyn Disk,
    survey: &mut Survey,
    report: &mut Recovery,
) -> Result<(), OpenError> {
    let path = path(dir);
    let found = Floor::load(dir, survey.uuid).map_err(OpenError::io("read", &path))?;
    let first = survey.segments.first_key_value().map(|(first, _)| *first);
    match (found, first) {
        (Floor::At(floor), _) if survey.segments.contains_key(&floor) => {
            let above = survey.segments.split_off(&floor);
            for (first, file) in std::mem::replace(&mut survey.segments, above) {
                remove_segment(dir, disk, first, &file.path)
                    .map_err(OpenError::io("delete reclaimed journal segment", &file.path))?;
                report.leftovers += 1;
            }
        }
        (Floor::At(floor), Some(first)) => report.missing.extend(LsnRange::new(floor, first - 1)),
        (Floor::None, Some(first)) => report.missing.extend(LsnRange::new(1, first - 1)),
        (Floor::Damaged, first) => {
            report.floor_damaged = true;
            store(dir, disk, survey.uuid, first.unwrap_or(1)).map_err(OpenError::io("write", &path))?;
        }
        (Floor::None | Floor::At(_), None) => {}
    }
    Ok(())
}

/// Its sidecar first, so that none is left without a segment.
///
/// # Errors
///
/// Those of the file system, but that a file is gone already.
pub(super) fn remove_segment(dir: &Path, disk: &dyn Disk, first: Lsn, path: &Path) -> io::Result<()> {
    for path in [Sidecar::path(dir, first).as_path(), path] {
        match disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::journal::disk::RealDisk;

    #[test]
    fn a_floor_reads_back_and_no_flipped_bit_passes() {
        let dir = tempfile::tempdir().unwrap();
        let uuid = [7; 16];
        assert_eq!(Floor::load(dir.path(), uuid).unwrap(), Floor::None);
        store(dir.path(), &RealDisk::new(), uuid, 77).unwrap();
        assert_eq!(Floor::load(dir.path(), uuid).unwrap(), Floor::At(77));
        assert_eq!(Floor::load(dir.path(), [8; 16]).unwrap(), Floor::None);
        let bytes = fs::read(path(dir.path())).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Floor::decode(&bytes, uuid), Floor::Damaged, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|len| Floor::decode(&bytes[..len], uuid) == Floor::Damaged));
    }
}
