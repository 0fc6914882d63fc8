//! Single attempts.

use async_trait::async_trait;

use super::MemoryStorage;
use crate::{
    domain::id::Lsn,
    storage::{Attempts, StorageError, stored::StoredAttempt},
};

#[async_trait]
impl Attempts for MemoryStorage {
    async fn attempt(&self, sequence: Lsn) -> Result<Option<StoredAttempt>, StorageError> {
        self.read(|state| {
            let found = state.attempts.get(&sequence);
            found.map(|attempt| state.stored_attempt(sequence, attempt))
        })
        .await
    }
}
