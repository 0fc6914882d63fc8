//! Disk space in reserve: a file that is deleted when the store cannot be opened for want of space.
//!
//! sled writes a snapshot before it opens. On a disk without a free byte the server could not start, though all that
//! is left to do for it is to deliver. What was there before is given back by sled as soon as it has opened.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

/// A snapshot has some twenty bytes for each page of the store, and a page some hundred rows: enough for a store of
/// ten million rows.
const BYTES: u64 = 2 * 1024 * 1024;
/// The reserve is held only where so many times as much is free: it must not be what fills a small disk.
const LEAST_FREE: u64 = 32 * BYTES;
/// Bytes written at once where a file system cannot allocate without writing.
const PIECE: usize = 64 * 1024;

/// Holds the reserve of a data folder, if it is not there and space is plenty. Best effort.
pub fn hold(data: &Path) {
    let path = file(data);
    if fs::metadata(&path).is_ok_and(|file| file.len() == BYTES) || free(data) < LEAST_FREE {
        return;
    }
    if let Err(error) = make(&path) {
        tracing::debug!(%error, "no disk space is held in reserve");
        _ = fs::remove_file(&path);
    }
}

/// Gives the reserve up; answers whether there was one.
pub fn release(data: &Path) -> bool {
    let released = fs::remove_file(file(data)).is_ok();
    if released {
        tracing::warn!(
            bytes = BYTES,
            "the disk is full: the disk space held in reserve is used to open the store"
        );
    }
    released
}

fn file(data: &Path) -> PathBuf {
    data.join("reserve")
}

fn free(data: &Path) -> u64 {
    statvfs(data).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, BYTES) {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => fill(file),
        allocated => Ok(allocated?),
    }
}

fn fill(mut file: File) -> io::Result<()> {
    let piece = [0; PIECE];
    (0..BYTES / PIECE as u64).try_for_each(|_| file.write_all(&piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_held_once_and_given_up_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!release(dir.path()));
        hold(dir.path());
        hold(dir.path());
        let held = fs::metadata(file(dir.path())).map_or(0, |file| file.len());
        // Where the machine that tests has next to nothing free, nothing is held.
        assert_eq!(held == BYTES, free(dir.path()) + BYTES >= LEAST_FREE);
        assert_eq!(release(dir.path()), held > 0);
        assert!(!file(dir.path()).exists());
    }

    #[test]
    fn a_file_system_that_cannot_allocate_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        fill(File::create(file(dir.path())).unwrap()).unwrap();
        assert_eq!(fs::metadata(file(dir.path())).unwrap().len(), BYTES);
    }
}
