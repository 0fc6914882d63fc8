//! The delay queue and index, in sled: what is asked for by key.
//!
//! # The cast
//!
//! The journal is the truth; the store is what the journal says, arranged so that "which deliveries to this endpoint
//! are due" and "what became of that event" are cheap to answer. [`Store::apply`] turns records into one atomic batch
//! that also advances the applied sequence number, so a store is always the state after some record, never between
//! two. Applying is deterministic: a store rebuilt from the journal equals the one it replaces, byte for byte.
//!
//! # What it guarantees
//!
//! After a crash of the process: a state at or before the last applied record, from which the journal is replayed.
//! After a power cut: nothing at all. sled does not sync what it writes (its `flush` ends in `sync_file_range`), so
//! its folder is thrown away then and rebuilt. [`open`] decides between the two.
//!
//! # What it does not do
//!
//! It never holds a payload (sled keeps large values in files that it neither syncs nor always deletes): rows are
//! small and say where in the journal the rest lies. It decides nothing, not even what may be forgotten: that, and what
//! is carried forward from segments that are about to be deleted, are records too.
//!
//! # Rows
//!
//! One sled tree, keys by their first byte (see [`keys`]), every value with a version byte (see [`rows`]), but for rows
//! of indexes, which are all key. One tree,
//! since a batch on one tree is atomic without sled's multi-tree transactions.

mod apply;
mod carried;
mod carry;
mod check;
mod draft;
mod erase;
mod event_row;
mod ids;
mod index_check;
mod indexing;
pub mod keys;
pub mod listing;
#[cfg(test)]
mod listing_tests;
mod marks;
pub mod open;
mod plans;
pub mod query;
mod reclaim;
pub mod rewrite;
mod rollups;
pub mod rows;
mod table;
mod zones;

use std::path::Path;

pub use carried::{endpoint_of_row, state_of_row};
pub use carry::{Belongings, Mention, Newest};
pub use check::CheckReport;
#[cfg(any(test, fuzzing))]
pub(crate) use draft::decode as decode_row;
pub use indexing::Indexes;
pub use table::{Options as TableOptions, Row};

use crate::{
    domain::id::Lsn,
    runtime::{codec::CodecError, shortage},
};

/// Why the store cannot go on. Any of these closes it; it is reopened, or rebuilt from the journal.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("sled failed")]
    Sled(#[from] sled::Error),
    #[error("sled panicked: {0}")]
    Panicked(String),
    #[error("cannot read or write the store's pages")]
    Pages(#[source] std::io::Error),
    #[error("it is still open: a reader has not finished")]
    Locked,
    #[error("a page of rows is damaged")]
    Page,
    #[error("its layout is another version's")]
    Layout,
    #[error("row {key} does not decode")]
    Row { key: String, source: CodecError },
    #[error("cannot encode a row")]
    Encode(#[source] CodecError),
    #[error("row {0} is missing")]
    Missing(String),
}

impl StoreError {
    /// Whether it is for want of disk space.
    pub fn lacks_space(&self) -> bool {
        match self {
            Self::Sled(sled::Error::Io(error)) | Self::Pages(error) => is_full(error),
            _ => false,
        }
    }

    /// Whether it may pass by itself: something is short, or the store is in use. Nothing is wrong with its files then,
    /// and they are kept as they are.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Locked => true,
            Self::Sled(sled::Error::Io(error)) | Self::Pages(error) => may_pass(error),
            Self::Sled(_)
            | Self::Panicked(_)
            | Self::Page
            | Self::Layout
            | Self::Row { .. }
            | Self::Encode(_)
            | Self::Missing(_) => false,
        }
    }
}

/// Whether descriptors, memory or space are short.
fn may_pass(error: &std::io::Error) -> bool {
    shortage::is_temporary(error) || is_full(error)
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// The open store. One writer, any number of readers; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    table: table::Table,
    twin: rewrite::Twin,
    /// Which indexes it has.
    indexes: Indexes,
}

impl Store {
    /// The last record that is part of this state, and the journal it came from; zero when there is none.
    ///
    /// # Errors
    /// When the row is unreadable.
    pub fn applied(&self) -> Result<rows::Applied, StoreError> {
        Ok(self.row(&keys::applied())?.unwrap_or_default())
    }

    /// Hands all there is to the operating system, so that nothing is replayed after a crash. Not a sync.
    ///
    /// # Errors
    /// When writing fails.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.table.flush()
    }

    /// Sees to it that records can be applied for a while without anything being written out; answers whether it took any
    /// time, in which more may have come.
    ///
    /// # Errors
    /// When writing fails.
    pub fn make_room(&self) -> Result<bool, StoreError> {
        self.table.make_half_empty()
    }

    /// Begins to write out what there is in memory, in the background, unless that is under way.
    ///
    /// # Errors
    /// When the last such writing has failed.
    pub fn begin_fold(&self) -> Result<(), StoreError> {
        self.table.begin_fold()
    }

    /// Grows with each writing out of what there is in memory.
    #[cfg(test)]
    pub fn folded(&self) -> u64 {
        self.table.epoch()
    }

    /// Bytes of sled's files.
    pub fn size_on_disk(&self) -> u64 {
        self.table.size_on_disk()
    }

    /// Bytes of that which rows take; the rest is to be had by writing the store afresh.
    pub fn live_bytes(&self) -> u64 {
        self.table.live_bytes()
    }

    /// Every row in key order: what makes two stores comparable.
    ///
    /// # Errors
    /// When sled fails.
    pub fn dump(&self) -> Result<Vec<Row>, StoreError> {
        self.table.prefix(&[]).collect()
    }
}

/// The store's folder below the data folder.
pub fn folder(data: &Path) -> std::path::PathBuf {
    data.join("store")
}

/// Runs `work` and makes a panic inside sled (which corrupt files can cause) an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(StoreError::Panicked(
                text.unwrap_or_else(|| "without a reason".to_owned()),
            ))
        }
    }
}

/// A record to apply, with its place in the journal.
#[derive(Clone, Debug)]
pub struct Placed {
    pub lsn: Lsn,
    pub place: crate::domain::record::Place,
    pub record: crate::domain::record::Record,
}
