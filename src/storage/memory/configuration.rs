//! Saving configuration.

use async_trait::async_trait;

use super::{MemoryStorage, feed::Telling};
use crate::{
    domain::{
        audit::{AuditEntry, AuditFilter},
        configuration::{ConfigChange, Configured},
        id::AuditId,
    },
    runtime::codec,
    storage::{AuditPage, ConfigurationStore, StorageError},
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
        self.commit(1, Telling::Now, |inner, sequence, changes| {
            inner.readable()?;
            for change in configured.changes {
                inner.state.configure(sequence, change, changes);
            }
            Ok(())
        })
        .await
    }

    async fn audit_entries(
        &self,
        filter: AuditFilter,
        beyond: Option<AuditId>,
        ascending: bool,
        limit: usize,
    ) -> Result<AuditPage, StorageError> {
        self.read(|state| {
            let is_beyond = |id: AuditId| match beyond {
                Some(beyond) if ascending => id > beyond,
                Some(beyond) => id < beyond,
                None => true,
            };
            let (first, end) = (filter.first(), filter.end());
            let wanted = |entry: &&AuditEntry| {
                is_beyond(entry.id)
                    && first.is_none_or(|first| entry.id >= first)
                    && end.is_none_or(|end| entry.id < end)
                    && filter.matches(entry)
            };
            let all = state.audit.values().filter(wanted).cloned();
            let mut entries: Vec<_> = if ascending {
                all.take(limit + 1).collect()
            } else {
                all.rev().take(limit + 1).collect()
            };
            let is_more = entries.len() > limit;
            entries.truncate(limit);
            let next = entries.last().map(|last| last.id).filter(|_| is_more);
            AuditPage { entries, next }
        })
        .await
    }
}
