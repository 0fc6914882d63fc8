//! Opening: trust what is there, or start afresh.
//!
//! sled survives a crash of the process but not a power cut, so the folder is trusted only when nothing worse can
//! have happened: the machine has not been rebooted since it was opened (the kernel's boot id is the same), or the
//! server was shut down cleanly and the files were synced. A distrusted folder is moved aside to `store.old`, and an
//! empty store is opened in its place; the journal is replayed into it, and then the old one is deleted.
//!
//! Known ways of sled 0.34.7 that are met here: a kill during an open leaves `snap.*.generating`, with which the next
//! open fails until it is deleted; the file lock can linger for some milliseconds after the last handle is dropped;
//! damaged files can make it panic.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Indexes, Store, StoreError, TableOptions, is_full, keys, may_pass,
    rewrite::Twin,
    rows::Applied,
    table::{self, Change, Table},
};

/// Whether the files may be believed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing but a crash of the process can have happened to them.
    Yes,
    /// The power may have been cut while they were written.
    No,
}

/// How to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; the store is `store` in it.
    pub data: PathBuf,
    pub table: TableOptions,
    /// The journal's identity and its last record: a store of another journal, or ahead of it, is not of this one.
    pub journal: [u8; 16],
    pub last_lsn: u64,
    /// Where the journal begins: a store that has not applied what stood before it cannot be completed.
    pub first_lsn: u64,
    pub trust: Trust,
    /// Stores up to this many bytes are checked whole at every open.
    pub check_bytes: u64,
}

/// Why a store was begun afresh.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    #[error("the machine was restarted without a clean shutdown")]
    Reboot,
    #[error("it does not open")]
    Unopenable(#[source] StoreError),
    #[error("it belongs to another journal")]
    OtherJournal,
    #[error("it is ahead of the journal: {applied} is applied, {last} is the last record")]
    Ahead { applied: u64, last: u64 },
    #[error("it is behind the journal: {applied} is applied, and the records before {first} are gone")]
    Behind { applied: u64, first: u64 },
    #[error("it was written by another version")]
    Layout,
    #[error("it has other indexes than those that storage.indexes asks for")]
    Indexes,
    #[error("its rows disagree: {0}")]
    Check(String),
    #[error("what the disk did not give when it was made is missing from it")]
    Incomplete,
}

/// An open store, and why it is empty, when it had to be begun afresh.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    pub distrusted: Option<Distrust>,
}

/// Why no store opens, not even an empty one.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing is wrong with its files, and they are left as they are.
    #[error("the store cannot be opened at the moment")]
    NotNow(#[source] StoreError),
    #[error("cannot move the old store aside: {path}")]
    MoveAside { path: PathBuf, source: io::Error },
    #[error("cannot open an empty store")]
    Empty(#[source] StoreError),
}

impl OpenError {
    /// Whether it is for want of disk space.
    pub fn lacks_space(&self) -> bool {
        match self {
            Self::NotNow(error) | Self::Empty(error) => error.lacks_space(),
            Self::MoveAside { source, .. } => is_full(source),
        }
    }

    /// Whether trying again may help, with the store as it is.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::NotNow(_) => true,
            Self::Empty(error) => error.is_temporary(),
            Self::MoveAside { source, .. } => may_pass(source),
        }
    }
}

/// Moves a store aside that cannot be trusted, durably, so that a crash right after cannot bring it back. To be called
/// before the data folder notes that files are being written in this boot. Answers whether there was one.
///
/// # Errors
/// When the folder cannot be moved.
pub fn discard(data: &Path) -> Result<bool, OpenError> {
    let folder = super::folder(data);
    let there = folder.exists();
    move_aside(&folder)?;
    let synced = fs::File::open(data).and_then(|folder| folder.sync_all());
    synced.map_err(|source| OpenError::MoveAside { path: folder, source })?;
    Ok(there)
}

/// Renames a store whose journal has no segment left: it is the last copy of what they held. Answers its new place, if
/// there is a store.
///
/// # Errors
/// When the folder cannot be renamed.
pub fn keep_last_copy(data: &Path) -> Result<Option<PathBuf>, OpenError> {
    let folder = super::folder(data);
    if !folder.exists() {
        return Ok(None);
    }
    let kept = (1..)
        .map(|number| folder.with_extension(format!("kept-{number}")))
        .find(|kept| !kept.exists())
        .unwrap_or_else(|| unreachable!("numbers do not end"));
    let renamed = fs::rename(&folder, &kept).and_then(|()| fs::File::open(data)?.sync_all());
    renamed.map_err(|source| OpenError::MoveAside { path: folder, source })?;
    Ok(Some(kept))
}

/// Deletes what was moved aside, once the store is whole again. Failing to is harmless.
pub fn remove_discarded(data: &Path) {
    _ = fs::remove_dir_all(super::folder(data).with_extension("old"));
}

/// Notes that records were passed over which the disk may give another time: the next open begins the store afresh. It
/// need not be synced, since after a power cut the store is begun afresh anyhow.
pub fn mark_incomplete(data: &Path) {
    tracing::error!("the disk did not give a part of the journal; it is read again at the next start");
    if let Err(error) = fs::write(incomplete(data), "") {
        tracing::error!(%error, "that cannot be noted; delete the folder `store` before the next start");
    }
}

fn incomplete(data: &Path) -> PathBuf {
    super::folder(data).with_extension("incomplete")
}

/// Opens the store, or an empty one in its place.
///
/// # Errors
/// When the store is in use or something is short, when the old folder cannot be moved aside, or even an empty store does
/// not open.
pub fn open(options: &Options) -> Result<Opened, OpenError> {
    // sled writes below its folder's path until it is closed: a store in use is never moved.
    if options.trust == Trust::No && table::stays_locked(&super::folder(&options.data)) {
        return Err(OpenError::NotNow(StoreError::Locked));
    }
    let distrusted = match believed(options) {
        Err(Distrust::Unopenable(error)) if error.is_temporary() => return Err(OpenError::NotNow(error)),
        Ok(store) => {
            return Ok(Opened {
                store,
                distrusted: None,
            });
        }
        Err(distrust) => distrust,
    };
    let folder = super::folder(&options.data);
    let fresh = !folder.exists();
    move_aside(&folder)?;
    _ = fs::remove_file(incomplete(&options.data));
    let store = Store::open_folder(&folder, options.table).map_err(OpenError::Empty)?;
    store
        .note_indexes(options.table.indexes)
        .map_err(OpenError::Empty)?;
    Ok(Opened {
        store,
        distrusted: (!fresh).then_some(distrusted),
    })
}

/// Opens what is there, as it is, for `check`: nothing is moved, though sled itself may write.
///
/// # Errors
/// When sled does not open it.
pub fn open_as_is(data: &Path, options: TableOptions) -> Result<Store, StoreError> {
    Store::open_folder(&super::folder(data), options)
}

impl Store {
    fn open_folder(folder: &Path, options: TableOptions) -> Result<Self, StoreError> {
        let table = Table::open(folder, options)?;
        let mut store = Self {
            table,
            twin: Twin::default(),
            indexes: options.indexes,
        };
        store.indexes = store.noted_indexes()?.unwrap_or(options.indexes);
        Ok(store)
    }

    fn noted_indexes(&self) -> Result<Option<Indexes>, StoreError> {
        let row = self.table.get(&keys::indexes())?;
        Ok(row.and_then(|row| Indexes::from_ordinal(*row.first()?)))
    }

    /// Notes which indexes a new store has.
    fn note_indexes(&self, indexes: Indexes) -> Result<(), StoreError> {
        let row = Change::Put([indexes.ordinal()].into());
        self.table.apply([(keys::indexes(), row)].into())
    }
}

fn believed(options: &Options) -> Result<Store, Distrust> {
    let folder = super::folder(&options.data);
    if options.trust == Trust::No {
        return Err(Distrust::Reboot);
    }
    if !folder.exists() {
        return Err(Distrust::OtherJournal);
    }
    if incomplete(&options.data).exists() {
        return Err(Distrust::Incomplete);
    }
    let store = Store::open_folder(&folder, options.table).map_err(|error| match error {
        StoreError::Layout => Distrust::Layout,
        other => Distrust::Unopenable(other),
    })?;
    let Applied { lsn, journal } = store.applied().map_err(Distrust::Unopenable)?;
    let wanted = options.table.indexes;
    match store.noted_indexes().map_err(Distrust::Unopenable)? {
        Some(noted) if noted == wanted => {}
        // It was made, and then the process died.
        None if lsn == 0 => store.note_indexes(wanted).map_err(Distrust::Unopenable)?,
        _ => return Err(Distrust::Indexes),
    }
    if lsn > 0 && journal != options.journal {
        return Err(Distrust::OtherJournal);
    }
    if lsn > options.last_lsn {
        return Err(Distrust::Ahead {
            applied: lsn,
            last: options.last_lsn,
        });
    }
    if lsn + 1 < options.first_lsn {
        return Err(Distrust::Behind {
            applied: lsn,
            first: options.first_lsn,
        });
    }
    // What a start needs is read here, where a failure still has a way on.
    store.newest().map_err(Distrust::Unopenable)?;
    store.endpoints().map_err(Distrust::Unopenable)?;
    store.api_keys().map_err(Distrust::Unopenable)?;
    if store.size_on_disk() <= options.check_bytes {
        let report = store.check().map_err(Distrust::Unopenable)?;
        if let Some(fault) = report.faults.into_iter().next() {
            return Err(Distrust::Check(fault));
        }
    }
    Ok(store)
}

fn move_aside(folder: &Path) -> Result<(), OpenError> {
    let aside = folder.with_extension("old");
    let done = match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => match fs::rename(folder, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    };
    done.map_err(|source| OpenError::MoveAside {
        path: folder.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(data: &Path, trust: Trust) -> Options {
        Options {
            data: data.to_owned(),
            table: TableOptions {
                cache_bytes: 1 << 20,
                buffer_bytes: 4096,
                indexes: crate::storage::local::index::Indexes::All,
            },
            journal: [7; 16],
            last_lsn: 0,
            first_lsn: 1,
            trust,
            check_bytes: 1 << 20,
        }
    }

    #[test]
    fn a_store_that_a_reader_still_has_open_is_neither_moved_nor_begun_afresh() {
        let dir = tempfile::tempdir().unwrap();
        let reader = open(&options(dir.path(), Trust::Yes)).unwrap().store;
        for trust in [Trust::Yes, Trust::No] {
            let error = open(&options(dir.path(), trust)).unwrap_err();
            assert!(
                matches!(error, OpenError::NotNow(StoreError::Locked)),
                "{error:?}"
            );
            assert!(error.is_temporary());
        }
        drop(reader);
        let opened = open(&options(dir.path(), Trust::Yes)).unwrap();
        assert!(opened.distrusted.is_none());
        assert!(!super::super::folder(dir.path()).with_extension("old").exists());
    }

    #[test]
    fn what_is_short_is_told_from_what_is_corrupt() {
        let failed = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        use rustix::io::Errno;
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::NOSPC,
            Errno::DQUOT,
        ] {
            assert!(
                StoreError::Sled(sled::Error::Io(failed(errno))).is_temporary(),
                "{errno}"
            );
            assert!(StoreError::Pages(failed(errno)).is_temporary(), "{errno}");
        }
        assert!(!StoreError::Pages(failed(Errno::IO)).is_temporary());
        let corrupt = sled::Error::Corruption { at: None, bt: () };
        assert!(!StoreError::Sled(corrupt).is_temporary());
    }
}
