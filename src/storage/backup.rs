//! Backups, for storage that takes its own.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::StorageError;
use crate::domain::{backup::Request, time::Timestamp};

/// An answer on its way.
pub struct Backup {
    /// Bytes of the whole answer.
    pub bytes: u64,
    /// The answer, piece by piece, as fast as it is taken. What cannot be read ends it with an error.
    pub pieces: BoxStream<'static, io::Result<Bytes>>,
}

/// Why no backup is taken.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("too many backups are being taken")]
    Busy,
    /// What the client holds is of another history; says what to do.
    #[error("{0}")]
    OtherHistory(&'static str),
    #[error("{field}: {rule}")]
    Invalid { field: &'static str, rule: &'static str },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Takes backups while storage is in use.
#[async_trait]
pub trait Backups: Send + Sync {
    /// What a client lacks of all that is stored. Everything that was acknowledged before is in it, or, when it is not
    /// complete yet, in what follows.
    ///
    /// # Errors
    /// See [`BackupError`].
    ///
    /// # Cancel safety
    /// Safe.
    async fn backup(&self, request: Request, created_at: Timestamp) -> Result<Backup, BackupError>;
}
