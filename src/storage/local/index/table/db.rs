//! sled's handle, and how it is opened.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path, thread, time::Duration};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::storage::local::index::{StoreError, guarded};

/// Tries at a lock that lingers, and the pause between them: half a second in all.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// sled's handle. The last one that is dropped writes, and panics when it cannot: that must not end who drops it.
#[derive(Debug)]
pub(super) struct Db(Option<sled::Db>);

impl std::ops::Deref for Db {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        // Only dropping it takes it out.
        self.0.as_ref().unwrap_or_else(|| unreachable!("a handle in use"))
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let db = self.0.take();
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::error!(
                "the store could not be closed; it is read anew, or begun afresh, at the next start"
            );
        }
    }
}

/// Opens a database in a folder, a new one if there is none.
pub(super) fn open(folder: &Path, cache_bytes: u64) -> Result<Db, StoreError> {
    // sled would make it as the umask has it. What is wrong with the path it reports itself.
    _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    remove_half_snapshots(folder);
    let mut tries = 0;
    loop {
        tries += 1;
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None);
        match guarded(|| Ok(config.open()?)) {
            Err(StoreError::Sled(sled::Error::Io(error))) if lingers(&error) && tries < LOCK_TRIES => {
                thread::sleep(LOCK_PAUSE);
            }
            Err(StoreError::Sled(sled::Error::Io(error))) if lingers(&error) && is_locked(folder) => {
                return Err(StoreError::Locked);
            }
            result => {
                return result.map(|db| Db(Some(db)));
            }
        }
    }
}

/// sled reports a lock that is held as an error of kind `Other` around the real one.
fn lingers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Other | io::ErrorKind::ResourceBusy
    )
}

/// Whether somebody has the database in a folder open.
fn is_locked(folder: &Path) -> bool {
    fs::File::open(folder.join("db")).is_ok_and(|file| {
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        locked == Err(Errno::WOULDBLOCK)
    })
}

/// The same, once the lock has had the time to linger that an open gives it.
pub(in crate::storage::local::index) fn stays_locked(folder: &Path) -> bool {
    (0..LOCK_TRIES).all(|_| {
        let locked = is_locked(folder);
        if locked {
            thread::sleep(LOCK_PAUSE);
        }
        locked
    })
}

fn remove_half_snapshots(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            // A file that stays makes the open fail, which is reported then.
            _ = fs::remove_file(entry.path());
        }
    }
}
