//! Single attempts.

use async_trait::async_trait;

use super::{StorageError, stored::StoredAttempt};
use crate::domain::id::Lsn;

/// Looks up attempts. Consistency, errors and cancel safety are those of [`super::queries::Queries`].
#[async_trait]
pub trait Attempts: Send + Sync {
    /// An attempt with everything that its record keeps of it; `None` when there is none of this sequence.
    async fn attempt(&self, sequence: Lsn) -> Result<Option<StoredAttempt>, StorageError>;
}
