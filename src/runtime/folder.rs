//! The data folder: one owner, one format, one sealing key, and whether the machine stopped cleanly.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | locked by the process that owns the folder |
//! | `format` | the folder's format version, and a text sealed with the sealing key that proves a key right |
//! | `format.1`, `format.2` | the same as it was before a folder of that format was migrated |
//! | `key` | the sealing key, 64 hexadecimal digits, readable by its owner alone |
//! | `boot` | the kernel's boot id when the store was last opened |
//! | `clock` | what the engine knew of time when it last noted it, see `dispatch/clock/`; written anew when it is missing |
//! | `reserve` | disk space that a start on a full disk uses; see [`space`](super::space) |
//! | `first-admin-key` | the first API key, if it was made where no terminal could show it; for people, never read here |
//! | `clean` | there after a shutdown that synced everything, gone while the server runs |
//! | `journal/`, `store/` | see those modules |

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, RenameFlags};

use super::{hex, random, seal::Sealer, shortage};

/// The format that this program reads and writes.
///
/// A folder of a newer one is refused untouched. An older one is migrated when it is begun to be written ([`Folder::begin`]).
///
/// Format 2 has records that say what was carried forward and what is gone. Whoever does not know them would take a
/// journal without its oldest segments for a damaged one, and lose what they say. Format 3 has one record for all changes of
/// configuration of a request, and a second version of two others, of which the same holds. Nothing else is different, so that a folder of an older format is migrated by saying so;
/// its `format` is kept as `format.1` or `format.2`.
pub const FORMAT: u32 = 3;

/// A key file is not longer than this, in bytes; what is longer is none.
pub const KEY_FILE: u64 = 4096;

/// What may be in a folder that has no `format` yet: the key that an operator has put there, what a first start that was
/// interrupted leaves, and what a file system makes.
const BEFORE_FORMAT: [&str; 6] = [
    "lock",
    "key",
    "key.tmp",
    "format.tmp",
    "posthaste.sock",
    "lost+found",
];

const PROOF_OWNER: &[u8] = b"posthaste data folder";
const PROOF: &[u8] = b"the right key";

/// Why a data folder cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{0} is on a file system that is read-only; see why it is, and make it writable: mount -o remount,rw; or choose another data folder"
    )]
    ReadOnly(PathBuf),
    #[error("another posthaste is running on {0}; stop it first, or choose another data folder")]
    Locked(PathBuf),
    #[error("{path} is of format {found}, newer than this program's {FORMAT}; use the program that wrote it")]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "{0} does not say a format; it is not a posthaste data folder, or the file is damaged: put it back from a backup of this folder"
    )]
    NotOurs(PathBuf),
    #[error("{0} is missing, but there is a journal; put the file back from a backup of this folder")]
    FormatMissing(PathBuf),
    #[error(
        "{path} is neither empty nor a posthaste data folder: it holds {name}; name an empty directory, or one that does not exist"
    )]
    Foreign { path: PathBuf, name: String },
    #[error("the sealing key {0} is missing; without it the endpoints' secrets cannot be read: put it back")]
    KeyMissing(PathBuf),
    #[error("the sealing key {0} can be read by others; make it yours alone: chmod 600")]
    KeyExposed(PathBuf),
    #[error("the sealing key {0} is not 64 hexadecimal digits, or is damaged; put it back from a backup")]
    KeyForm(PathBuf),
    #[error(
        "the sealing key {0} is not the one that this data folder was sealed with, or it or the folder's format file is damaged; put the right ones back"
    )]
    KeyWrong(PathBuf),
}

/// An owned data folder. Dropping it gives it free.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    key: PathBuf,
    sealer: Sealer,
    stopped_cleanly: bool,
    same_boot: bool,
    /// The format it has until it is begun to be written.
    found: u32,
    _lock: File,
}

impl Folder {
    /// Takes the folder, creating it when it is not there. `key_file` is the sealing key's place, `key` in the folder
    /// when `None`.
    ///
    /// # Errors
    /// When it is not ours to use; the message says what to do.
    pub fn open(path: &Path, key_file: Option<&Path>) -> Result<Self, FolderError> {
        let key_path = key_file.map_or_else(|| path.join("key"), Path::to_owned);
        // Before anything is made in it: a folder that is refused is left as it was.
        look(path, &key_path)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)
            .map_err(unwritable(path, "create", path))?;
        let lock = lock(path)?;
        let (sealer, found) = match look(path, &key_path)? {
            Some(reopened) => reopened,
            None => {
                sync_way(path)?;
                (establish(path, &key_path)?, FORMAT)
            }
        };
        let boot_id = boot_id();
        let recorded = fs::read_to_string(path.join("boot")).unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            key: key_path,
            sealer,
            stopped_cleanly: path.join("clean").exists(),
            same_boot: !boot_id.is_empty() && recorded == boot_id,
            found,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that says the format.
    pub fn format_file(&self) -> PathBuf {
        self.path.join("format")
    }

    /// The file that holds the sealing key, wherever it is.
    pub fn key_file(&self) -> &Path {
        &self.key
    }

    pub const fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Whether files that were written but not synced are still what was written: the machine has run on since, or
    /// everything was synced at the last shutdown.
    pub const fn unsynced_files_hold(&self) -> bool {
        self.stopped_cleanly || self.same_boot
    }

    /// Whether the process that had it last ended without a clean stop, and the machine has run on since: files are as
    /// that process left them, on the device or not.
    pub const fn crashed(&self) -> bool {
        self.same_boot && !self.stopped_cleanly
    }

    /// Notes that files are being written again, and migrates a folder of an older format. To be called before they are.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn begin(&self) -> Result<(), FolderError> {
        if self.found < FORMAT {
            migrate(&self.path, self.found)?;
        }
        // What a start on a full disk cannot note costs a rebuild of the store after a crash, and nothing else.
        if !self.same_boot {
            unless_short(
                write_whole(&self.path, "boot", boot_id().as_bytes(), 0o640),
                "boot",
            )?;
        }
        let clean = self.path.join("clean");
        match fs::remove_file(&clean) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &clean)(error)),
            _ => sync_folder(&self.path),
        }
    }

    /// Syncs every file and every name in the folder, then notes that it was done. To be called when all are closed.
    ///
    /// One by one, since `syncfs` does nothing, and says that it did, where the file system does not implement it, and
    /// on older kernels it says so too when a write has failed.
    ///
    /// # Errors
    /// When a sync fails; then the store is rebuilt at the next start.
    pub fn finish(&self) -> Result<(), FolderError> {
        for entry in list(&self.path)? {
            // `journal` and `store` may be links to another disk.
            let path = entry.path();
            match fs::metadata(&path).map_err(io_error("read", &path))?.file_type() {
                kind if kind.is_dir() => sync_tree(&path)?,
                kind if kind.is_file() => sync_file(&path)?,
                _ => {}
            }
        }
        sync_folder(&self.path)?;
        unless_short(write_whole(&self.path, "clean", b"", 0o640), "clean")
    }

    /// The folder's mode, if others than its owner and its group can read it or look into it.
    pub fn open_to_others(&self) -> Option<u32> {
        let mode = fs::metadata(&self.path).ok()?.permissions().mode();
        (mode & 0o005 != 0).then_some(mode & 0o777)
    }
}

/// Looks at a folder without changing it: its sealer and format, or nothing when it is to be set up.
fn look(path: &Path, key_path: &Path) -> Result<Option<(Sealer, u32)>, FolderError> {
    if path.join("format").exists() {
        return reopen(path, key_path).map(Some);
    }
    if path.join("journal").exists() {
        // A new key would make every secret in the journal unreadable.
        return Err(FolderError::FormatMissing(path.join("format")));
    }
    if !path.exists() {
        return Ok(None);
    }
    for entry in list(path)? {
        let name = entry.file_name();
        let is_key = entry.path() == key_path;
        if !is_key && !BEFORE_FORMAT.iter().any(|ours| *name == **ours) {
            return Err(FolderError::Foreign {
                path: path.to_owned(),
                name: name.display().to_string(),
            });
        }
    }
    Ok(None)
}

/// Has every file and folder that this process makes from now on belong to its owner alone, unless it says otherwise.
pub fn keep_private() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}

/// Lets it pass that a hint could not be written for want of space, descriptors or memory.
fn unless_short(written: Result<(), FolderError>, hint: &str) -> Result<(), FolderError> {
    match written {
        Err(FolderError::Io { source, .. }) if is_short(&source) => {
            tracing::warn!(
                hint,
                error = %source,
                "a hint for the next start was not written; it may have to rebuild the store from the journal"
            );
            Ok(())
        }
        written => written,
    }
}

fn is_short(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded) || shortage::is_temporary(error)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { action, path, source }
}

/// The same, for what is the first to be written: a file system that takes nothing is told of as a whole.
fn unwritable(folder: &Path, action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    move |source| match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => FolderError::ReadOnly(folder.to_owned()),
        _ => io_error(action, path)(source),
    }
}

fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join("lock");
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o640)
        .open(&path);
    let file = open.map_err(unwritable(folder, "open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FolderError::Locked(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
    }
}

/// Sets up a new folder. A crash in between leaves no `format`, and it is set up again.
fn establish(folder: &Path, key_path: &Path) -> Result<Sealer, FolderError> {
    let key = if key_path.exists() {
        read_key(key_path)?
    } else {
        create_key(key_path)?
    };
    let sealer = Sealer::new(&key);
    let proof = hex::encode(&sealer.seal(PROOF_OWNER, PROOF));
    let text = format!("posthaste data folder\nformat {FORMAT}\nproof {proof}\n");
    write_whole(folder, "format", text.as_bytes(), 0o640)?;
    Ok(sealer)
}

/// Says that a folder is of today's format; what said otherwise is kept beside it, durably, before that. Doing it again
/// after a crash in between gives the same.
fn migrate(folder: &Path, found: u32) -> Result<(), FolderError> {
    let path = folder.join("format");
    let old = fs::read_to_string(&path).map_err(io_error("read", &path))?;
    let said = format!("\nformat {found}\n");
    if !old.contains(&said) {
        return Ok(());
    }
    write_whole(folder, &format!("format.{found}"), old.as_bytes(), 0o640)?;
    let new = old.replacen(&said, &format!("\nformat {FORMAT}\n"), 1);
    write_whole(folder, "format", new.as_bytes(), 0o640)
}

fn reopen(folder: &Path, key_path: &Path) -> Result<(Sealer, u32), FolderError> {
    let path = folder.join("format");
    let bytes = fs::read(&path).map_err(io_error("read", &path))?;
    let text = String::from_utf8(bytes).map_err(|_| FolderError::NotOurs(path.clone()))?;
    let found: u32 = field(&text, "format")
        .and_then(|number| number.parse().ok())
        .filter(|&number| number > 0)
        .ok_or_else(|| FolderError::NotOurs(path.clone()))?;
    if found > FORMAT {
        return Err(FolderError::Newer {
            path: folder.to_owned(),
            found,
        });
    }
    if field(&text, "proof").and_then(hex::decode).is_none() {
        return Err(FolderError::NotOurs(path));
    }
    if !key_path.exists() {
        return Err(FolderError::KeyMissing(key_path.to_owned()));
    }
    let key = read_key(key_path)?;
    Ok((prove(&text, &key, key_path)?, found))
}

/// The value of a line of the `format` file.
fn field<'a>(format: &'a str, name: &str) -> Option<&'a str> {
    format
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

/// A sealer with the key, which has to be the one that the `format` file was sealed with.
fn prove(format: &str, key: &[u8; 32], key_path: &Path) -> Result<Sealer, FolderError> {
    let sealer = Sealer::new(key);
    let proof = field(format, "proof").and_then(hex::decode).unwrap_or_default();
    match sealer.open(PROOF_OWNER, &proof) {
        Ok(text) if text == PROOF => Ok(sealer),
        _ => Err(FolderError::KeyWrong(key_path.to_owned())),
    }
}

/// Checks the text of a key file against the text of the `format` file of the data folder that it belongs to.
///
/// # Errors
/// When it is no key, or another one.
pub fn prove_key(format: &str, key: &str, key_path: &Path) -> Result<(), FolderError> {
    let key = parse_key(key).ok_or_else(|| FolderError::KeyForm(key_path.to_owned()))?;
    prove(format, &key, key_path).map(drop)
}

fn parse_key(text: &str) -> Option<[u8; 32]> {
    hex::decode(text.trim())?.try_into().ok()
}

/// A key that is there in part would keep the server from starting for good, so it is there whole or not at all; and
/// one that is there already is never replaced.
fn create_key(path: &Path) -> Result<[u8; 32], FolderError> {
    let key = random::secure();
    let text = format!("{}\n", hex::encode(&key));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    // What a start has left that was interrupted; it could have the rights of another's file.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &temporary)(error));
        }
        _ => {}
    }
    write_synced(&temporary, text.as_bytes(), 0o600)?;
    let renamed = rustix::fs::renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE);
    match renamed.map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => fs::rename(&temporary, path),
        result => result,
    }
    .map_err(io_error("create", path))?;
    sync_folder(folder_of(path))?;
    Ok(key)
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn read_key(path: &Path) -> Result<[u8; 32], FolderError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let mode = file
        .metadata()
        .map_err(io_error("read", path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(FolderError::KeyExposed(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(KEY_FILE)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", path))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    parse_key(&text).ok_or_else(|| FolderError::KeyForm(path.to_owned()))
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
pub(crate) fn write_whole(folder: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), FolderError> {
    let path = folder.join(name);
    let temporary = folder.join(format!("{name}.tmp"));
    let written = write_synced(&temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, &path).map_err(io_error("rename", &temporary)));
    if written.is_err() {
        // Best effort: on a full disk it would take the space that is waited for.
        _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(folder)
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> Result<(), FolderError> {
    let open = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(path);
    let mut file = open.map_err(io_error("create", path))?;
    file.write_all(content).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("sync", path))
}

/// Makes the names of a folder, and of those above it, durable. Also of those that were there: a start that was
/// interrupted may have made them. What we may not read, or cannot be synced (as on a read-only image), was not made
/// by us.
fn sync_way(folder: &Path) -> Result<(), FolderError> {
    let path = fs::canonicalize(folder).map_err(io_error("find", folder))?;
    for above in path.ancestors().skip(1) {
        match sync_folder(above) {
            Err(FolderError::Io { source, .. }) if is_not_ours(&source) => {}
            result => result?,
        }
    }
    Ok(())
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Everything below a folder, and the folder. Links are not followed.
fn sync_tree(folder: &Path) -> Result<(), FolderError> {
    for entry in list(folder)? {
        let path = entry.path();
        match entry.file_type().map_err(io_error("read", &path))? {
            kind if kind.is_dir() => sync_tree(&path)?,
            kind if kind.is_file() => sync_file(&path)?,
            _ => {}
        }
    }
    sync_folder(folder)
}

fn list(folder: &Path) -> Result<Vec<fs::DirEntry>, FolderError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect);
    entries.map_err(io_error("list", folder))
}

fn sync_file(path: &Path) -> Result<(), FolderError> {
    let sync = || File::open(path)?.sync_all();
    sync().map_err(io_error("sync", path))
}

/// The names in it.
fn sync_folder(folder: &Path) -> Result<(), FolderError> {
    sync_file(folder)
}

/// The kernel's id of this boot; `POSTHASTE_BOOT_ID` overrides it, for tests that cut the power. Empty when unknown,
/// which is never the same as anything.
pub(crate) fn boot_id() -> String {
    let given = std::env::var("POSTHASTE_BOOT_ID").ok();
    let id = given.or_else(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").ok());
    id.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
