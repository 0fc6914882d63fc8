//! Saving configuration.

use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryStorage, feed::Telling};
use crate::{
    domain::{
        audit::AuditEntry,
        configuration::{ConfigChange, Configured},
        id::AuditId,
    },
    runtime::codec,
    storage::{ConfigurationStore, StorageError},
};

/// The changes of one request take at most so many bytes.
const MOST_BYTES: usize = 16 * 1024 * 1024;

#[async_trait]
impl ConfigurationStore for MemoryStorage {
    async fn save_configuration(&self, changes: Vec<ConfigChange>) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        let configured = Configured { changes };
        codec::encode_body(&configured)
            .ok()
            .filter(|body| body.len() <= MOST_BYTES)
            .ok_or(StorageError::TooLarge { limit: MOST_BYTES })?;
        self.commit(1, Telling::Now, |inner, sequence, effects| {
            inner.readable()?;
            for change in configured.changes {
                inner.state.configure(sequence, change, effects);
            }
            Ok(())
        })
        .await
    }

    async fn audit_entries(
        &self,
        beyond: Option<AuditId>,
        ascending: bool,
        limit: usize,
    ) -> Result<Vec<AuditEntry>, StorageError> {
        let beyond = beyond.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|state| {
            if ascending {
                let page = state.audit.range((beyond, Bound::Unbounded));
                page.take(limit).map(|(_, entry)| entry.clone()).collect()
            } else {
                let page = state.audit.range((Bound::Unbounded, beyond)).rev();
                page.take(limit).map(|(_, entry)| entry.clone()).collect()
            }
        })
        .await
    }
}
