//! Names, and the ways in which files come into being: whole or not at all.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    disk::{self, Disk},
    entry::Lsn,
    format::SegmentHeader,
};

pub(super) const SEGMENT_SUFFIX: &str = ".seg";
/// A segment on its way to its right name. Holds records: never deleted.
pub(super) const MOVED_SUFFIX: &str = ".seg.moved";
pub(super) const SIDECAR_SUFFIX: &str = ".cfg";
pub(super) const TEMP_SUFFIX: &str = ".tmp";
pub(super) const IDENTITY: &str = "journal.id";
pub(super) const QUARANTINE: &str = "quarantine";

pub(super) fn segment_path(dir: &Path, first: Lsn) -> PathBuf {
    dir.join(format!("{first:016x}{SEGMENT_SUFFIX}"))
}

/// The lsn that a segment's file name claims.
pub(super) fn named_lsn(name: &str) -> Option<Lsn> {
    let stem = name.strip_suffix(SEGMENT_SUFFIX)?;
    if stem.len() == 16 {
        Lsn::from_str_radix(stem, 16).ok().filter(|&lsn| lsn > 0)
    } else {
        None
    }
}

/// Makes a segment file that holds only its header: on disk, with its name, before anything is written to it.
pub(super) fn create_segment(
    dir: &Path,
    disk: &dyn Disk,
    header: &SegmentHeader,
    sync: bool,
) -> io::Result<Arc<File>> {
    let path = segment_path(dir, header.first);
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let file = replace(disk, &path, &header.encode(), sync)
        .and_then(|()| OpenOptions::new().read(true).write(true).open(&path));
    if file.is_err() {
        // Best effort: what stands under its name without being used would be in the way of the next try.
        let _ = std::fs::remove_file(&path);
    }
    Ok(Arc::new(file?))
}

/// Puts a file in place of another, or in a free place: after a crash there is the old one or the new one.
pub(super) fn replace(disk: &dyn Disk, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
    let mut temp = path.as_os_str().to_owned();
    temp.push(TEMP_SUFFIX);
    let temp = PathBuf::from(temp);
    let result = write_and_rename(disk, &temp, path, content, sync);
    if result.is_err() {
        // Best effort: on a full disk the leftover would take the space that is waited for.
        let _ = std::fs::remove_file(&temp);
    }
    result
}

fn write_and_rename(disk: &dyn Disk, temp: &Path, path: &Path, content: &[u8], sync: bool) -> io::Result<()> {
    let file = private().create(true).truncate(true).open(temp)?;
    disk::write_all(disk, &file, content, 0)?;
    if sync {
        disk.sync_data(&file)?;
    }
    std::fs::rename(temp, path)?;
    match path.parent() {
        Some(dir) if sync => disk.sync_dir(dir),
        _ => Ok(()),
    }
}

/// How a file is written that its owner alone may read: it holds what people sent.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Makes a directory for such files, if it is not there; one that others can look into is closed to them.
pub(super) fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mode = std::fs::metadata(dir)?.permissions().mode();
    if mode & 0o007 != 0 {
        // It may be another's, on another disk; then the data folder's own mode has to do.
        _ = std::fs::set_permissions(dir, Permissions::from_mode(mode & 0o770));
    }
    Ok(())
}

/// A path in the quarantine that is free, made from `name`. The directory is created.
pub(super) fn quarantine_path(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let quarantine = dir.join(QUARANTINE);
    create_private_dir(&quarantine)?;
    let free = (0u32..).map(|n| {
        quarantine.join(if n == 0 {
            name.to_owned()
        } else {
            format!("{name}.{n}")
        })
    });
    free.into_iter()
        .find(|path| !path.exists())
        .ok_or_else(|| io::ErrorKind::AlreadyExists.into())
}
