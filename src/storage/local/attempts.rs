//! Single attempts: a row of the index, and the record that it names.

use async_trait::async_trait;

use super::LocalStorage;
use crate::{
    domain::id::Lsn,
    storage::{Attempts, StorageError, stored::StoredAttempt},
};

#[async_trait]
impl Attempts for LocalStorage {
    async fn attempt(&self, sequence: Lsn) -> Result<Option<StoredAttempt>, StorageError> {
        self.query(&self.readers, move |storage, store| {
            match store.attempt(sequence)? {
                Some(row) => storage.stored_attempt(store, sequence, row.place, row.into()),
                None => Ok(None),
            }
        })
        .await
    }
}
