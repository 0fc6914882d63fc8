//! The directory of a backup: what it holds, and how that changes.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    cli::{Failed, limits::MANIFEST_BYTES},
    domain::backup::{About, Manifest, Segment, VERSION},
};

pub const MANIFEST: &str = "manifest";
pub const KEY: &str = "key";
const UNFINISHED: &str = "unfinished";
const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";
const CHECKSUM: &str = "crc32c ";

/// A directory that a backup is being written to.
pub struct Folder {
    path: PathBuf,
    manifest: Option<Manifest>,
    /// What an unfinished backup has copied beside it: sealed segments.
    unfinished: Option<Manifest>,
    _lock: File,
}

/// What one answer has brought, all of it on the device.
pub struct Received {
    pub complete: bool,
    pub about: About,
    pub key: Option<String>,
    /// Every segment of the answer that is there whole.
    pub segments: Vec<Segment>,
}

/// Where an answer's segments are written to.
pub struct Writer {
    folder: PathBuf,
    held: Vec<Segment>,
}

impl Folder {
    /// Takes the directory, making it if need be.
    ///
    /// # Errors
    ///
    /// When somebody else writes to it, when there are other things in it, or when it cannot be written.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        // A directory that is refused is left as it is.
        if path.exists() && !path.join(MANIFEST).exists() {
            only_ours(path)?;
        }
        create_folder(path, 0o700)?;
        create_folder(&journal(path), 0o700)?;
        let lock = lock(path)?;
        let read = |name: &str| path.join(name).exists().then(|| read_manifest(&path.join(name)));
        let manifest = read(MANIFEST).transpose()?;
        // It is of use or it is not; what it names is checked again.
        let unfinished = read(UNFINISHED).and_then(Result::ok);
        let of_the_same = |other: &Manifest| {
            manifest
                .as_ref()
                .is_none_or(|manifest| manifest.about.journal == other.about.journal)
        };
        Ok(Self {
            path: path.to_owned(),
            unfinished: unfinished.filter(of_the_same),
            manifest,
            _lock: lock,
        })
    }

    /// The journal that the directory is a backup of.
    pub fn journal(&self) -> Option<String> {
        let manifest = self.manifest.as_ref().or(self.unfinished.as_ref());
        manifest.map(|manifest| manifest.about.journal.clone())
    }

    /// What the directory holds of the journal.
    pub fn held(&self) -> Vec<Segment> {
        let unfinished: &[Segment] = self
            .unfinished
            .as_ref()
            .map_or(&[], |manifest| &manifest.segments);
        let newer: HashSet<u64> = unfinished.iter().map(|segment| segment.first).collect();
        let manifest: &[Segment] = self.manifest.as_ref().map_or(&[], |manifest| &manifest.segments);
        let older = manifest.iter().filter(|segment| !newer.contains(&segment.first));
        let mut held: Vec<Segment> = older.chain(unfinished).cloned().collect();
        held.sort_by_key(|segment| segment.first);
        held
    }

    pub fn writer(&self) -> anyhow::Result<Writer> {
        Ok(Writer {
            folder: journal(&self.path),
            held: self.held(),
        })
    }

    /// Drops what an unfinished backup has left; answers whether there was any.
    ///
    /// # Errors
    ///
    /// When it cannot be deleted.
    pub fn forget_unfinished(&mut self) -> anyhow::Result<bool> {
        remove(&self.path.join(UNFINISHED))?;
        Ok(self.unfinished.take().is_some())
    }

    /// Notes what an answer has brought that was not all. Of its segments only the sealed ones will do for the next.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written.
    pub fn keep_unfinished(&mut self, received: Received) -> anyhow::Result<()> {
        let mut manifest = manifest(received).0;
        manifest.segments.retain(|segment| segment.sealed);
        write_manifest(&self.path, UNFINISHED, &manifest)?;
        self.unfinished = Some(manifest);
        Ok(())
    }

    /// Makes what was received the backup, and deletes what only the one before it needed.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written, or holds another key. The backup before it is then still there.
    pub fn publish(&mut self, received: Received) -> anyhow::Result<Manifest> {
        let (manifest, key) = manifest(received);
        let key_file = self.path.join(KEY);
        if let Some(key) = &key {
            self.keep_key(&key_file, key)?;
        }
        write_manifest(&self.path, MANIFEST, &manifest)?;
        if key.is_none() {
            remove(&key_file)?;
        }
        remove(&self.path.join(UNFINISHED))?;
        let needed: HashSet<String> = manifest
            .segments
            .iter()
            .map(|segment| name(segment.first))
            .collect();
        for entry in fs::read_dir(journal(&self.path)).with_context(|| at("list", &journal(&self.path)))? {
            let entry = entry.with_context(|| at("list", &journal(&self.path)))?;
            if !needed.contains(&*entry.file_name().to_string_lossy()) {
                remove(&entry.path())?;
            }
        }
        self.manifest = Some(manifest.clone());
        Ok(manifest)
    }

    fn keep_key(&self, path: &Path, key: &str) -> anyhow::Result<()> {
        match fs::read_to_string(path) {
            Ok(there) if there == key => return Ok(()),
            Ok(_) if self.manifest.as_ref().is_some_and(|manifest| manifest.key) => bail!(Failed(format!(
                "{} is not the server's sealing key, with which everything is sealed; use an empty directory",
                path.display()
            ))),
            _ => {}
        }
        replace(path, key.as_bytes(), 0o600)
    }
}

fn manifest(received: Received) -> (Manifest, Option<String>) {
    let manifest = Manifest {
        version: VERSION,
        about: received.about,
        key: received.key.is_some(),
        segments: received.segments,
    };
    (manifest, received.key)
}

impl Writer {
    /// What is there of a segment.
    pub fn held(&self, first: u64) -> Option<&Segment> {
        let at = self
            .held
            .binary_search_by_key(&first, |segment| segment.first)
            .ok()?;
        self.held.get(at)
    }

    /// The segment's file, to be written from `from` on.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn file(&self, first: u64, from: u64) -> anyhow::Result<File> {
        let path = self.folder.join(name(first));
        let open = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let file = open.with_context(|| at("open", &path))?;
        // Left by a backup that was broken off.
        file.set_len(from).with_context(|| at("cut", &path))?;
        Ok(file)
    }

    /// Syncs the names of what was written.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub fn sync(&self) -> anyhow::Result<()> {
        sync_folder(&self.folder)
    }
}

/// Where the segments are.
pub fn journal(folder: &Path) -> PathBuf {
    folder.join("journal")
}

/// The name of a segment's file.
pub fn name(first: u64) -> String {
    format!("{first:016x}.seg")
}

/// The manifest of the backup in a directory.
///
/// # Errors
///
/// When there is none, or it is damaged, or of a newer version.
pub fn manifest_in(folder: &Path) -> anyhow::Result<Manifest> {
    let path = folder.join(MANIFEST);
    if !path.exists() {
        bail!(Failed(format!(
            "{} holds no backup: it has no manifest, which is written when a backup is whole",
            folder.display()
        )));
    }
    read_manifest(&path)
}

fn read_manifest(path: &Path) -> anyhow::Result<Manifest> {
    parse(&read_text(path, MANIFEST_BYTES)?, path)
}

/// A file of the backup, opened for reading.
///
/// # Errors
///
/// When it cannot be opened, or is no regular file: a pipe would be waited for without end.
pub fn open_file(path: &Path) -> anyhow::Result<File> {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = open.with_context(|| at("open", path))?;
    let kind = file.metadata().with_context(|| at("read", path))?.file_type();
    ensure!(
        kind.is_file(),
        Failed(format!("{} is not a regular file", path.display()))
    );
    Ok(file)
}

/// The text of a small file of the backup.
///
/// # Errors
///
/// As [`open_file`], and when it is longer than `limit` bytes or no text.
pub fn read_text(path: &Path, limit: u64) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = open_file(path)?.take(limit + 1).read_to_string(&mut text);
    let length = read.with_context(|| at("read", path))?;
    ensure!(
        length as u64 <= limit,
        Failed(format!("{} is longer than {limit} bytes", path.display()))
    );
    Ok(text)
}

fn parse(text: &str, path: &Path) -> anyhow::Result<Manifest> {
    let damaged = || {
        Failed(format!(
            "{} is damaged: its checksum does not hold",
            path.display()
        ))
    };
    let (line, rest) = text.split_once('\n').ok_or_else(damaged)?;
    let sum = rest.trim_end().strip_prefix(CHECKSUM);
    let sum = sum.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    ensure!(sum == Some(crc32c::crc32c(line.as_bytes())), damaged());
    let version = serde_json::from_str::<serde_json::Value>(line)
        .ok()
        .and_then(|document| document["version"].as_u64())
        .ok_or_else(damaged)?;
    if version > u64::from(VERSION) {
        bail!(Failed(format!(
            "{} is of version {version}, newer than this program's {VERSION}; use the program that wrote it",
            path.display()
        )));
    }
    let manifest: Manifest = serde_json::from_str(line).map_err(|_| damaged())?;
    // Even the journal of a server that has accepted nothing has a segment.
    ensure!(
        !manifest.segments.is_empty(),
        Failed(format!(
            "{} lists no segments, so there is nothing in the backup",
            path.display()
        ))
    );
    Ok(manifest)
}

fn write_manifest(folder: &Path, name: &str, manifest: &Manifest) -> anyhow::Result<()> {
    let line = serde_json::to_string(manifest)?;
    let sum = crc32c::crc32c(line.as_bytes());
    replace(
        &folder.join(name),
        format!("{line}\n{CHECKSUM}{sum:08x}\n").as_bytes(),
        0o600,
    )
}

/// Puts a file in place of another, or in a free place: after a crash there is the old one or the new one.
///
/// # Errors
///
/// Those of the file system.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let temporary = path.with_extension(TEMPORARY);
    let write = || {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| at("write", path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// # Errors
///
/// When the names in a folder cannot be put on the device.
pub fn sync_folder(path: &Path) -> anyhow::Result<()> {
    let sync = || File::open(path)?.sync_all();
    sync().with_context(|| at("sync", path))
}

/// Makes a folder of a mode, and those above it; they are on the device, with their names, when this returns.
///
/// # Errors
///
/// Those of the file system.
pub fn create_folder(path: &Path, mode: u32) -> anyhow::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    create_folder(above, mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| at("create", path));
        }
        _ => {}
    }
    sync_folder(above)
}

/// For messages.
pub fn at(action: &str, path: &Path) -> String {
    format!("cannot {action} {}", path.display())
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join(LOCK);
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = open.with_context(|| at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(Failed(format!(
                "another backup is writing to {}",
                folder.display()
            )))
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| at("lock", &path)),
    }
}

/// A directory without a manifest has nothing in it but what a backup that was broken off leaves.
fn only_ours(folder: &Path) -> anyhow::Result<()> {
    let ours = [
        "journal",
        KEY,
        UNFINISHED,
        LOCK,
        "manifest.tmp",
        "unfinished.tmp",
        "key.tmp",
        "lost+found",
    ];
    for entry in fs::read_dir(folder).with_context(|| at("list", folder))? {
        let name = entry.with_context(|| at("list", folder))?.file_name();
        if !ours.iter().any(|ours| *name == **ours) {
            bail!(Failed(format!(
                "{} is neither empty nor a backup: it holds {}; use an empty directory",
                folder.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| at("delete", path))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 was written.
    const FIRST: &str = concat!(
        r#"{"version":1,"about":{"program":"0.1.0","journal":"00ff","created_at":"2026-11-21T12:00:00.000Z","#,
        r#""through_lsn":7,"format":"format 1\n","identity":"0102","floor":null},"key":true,"segments":"#,
        r#"[{"first":1,"salt":"00000000000000ff","bytes":100,"sealed":false,"crc32c":5}]}"#,
    );

    fn whole(line: &str) -> String {
        format!("{line}\n{CHECKSUM}{:08x}\n", crc32c::crc32c(line.as_bytes()))
    }

    fn read(line: &str) -> anyhow::Result<Manifest> {
        parse(&whole(line), Path::new(MANIFEST))
    }

    #[test]
    fn a_manifest_of_the_first_version_still_reads_and_is_written_so() {
        let manifest = read(FIRST).unwrap();
        assert_eq!((manifest.about.through_lsn, manifest.bytes()), (7, 100));
        assert_eq!(serde_json::to_string(&manifest).unwrap(), FIRST);
    }

    #[test]
    fn a_newer_manifest_is_refused_with_what_to_do() {
        let newer = FIRST.replace("\"version\":1", "\"version\":2,\"more\":{}");
        let error = read(&newer).unwrap_err().to_string();
        assert!(
            error.contains("version 2") && error.contains("use the program that wrote it"),
            "{error}"
        );
    }

    #[test]
    fn no_flipped_bit_of_a_manifest_passes() {
        let manifest = read(FIRST).unwrap();
        let whole = whole(FIRST).into_bytes();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = String::from_utf8(bytes).map(|text| parse(&text, Path::new(MANIFEST)));
            let passes = matches!(read, Ok(Ok(read)) if read != manifest);
            assert!(!passes, "bit {bit}");
        }
    }
}
