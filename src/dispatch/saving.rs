//! Saving changes of configuration: all that a request changes is one record of the journal.

use std::sync::Arc;

use async_trait::async_trait;

use super::{engine::Shared, error::EngineError};
use crate::{
    domain::{
        configuration::{ConfigChange, Configured},
        record::Record,
    },
    storage::{
        ConfigurationStore, StorageError,
        local::{
            codec,
            journal::{AppendError, MAX_BODY},
        },
    },
};

#[async_trait]
impl ConfigurationStore for Shared {
    async fn save_configuration(&self, changes: Vec<ConfigChange>) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.storage.get()?;
        let record = Record::Configured(Configured { changes });
        // What the codec refuses is larger still than what the journal refuses.
        let draft = codec::encode(&record).map_err(|_| StorageError::TooLarge { limit: MAX_BODY })?;
        let refused = |error| match error {
            AppendError::Full { .. } => StorageError::Full,
            AppendError::Short => StorageError::Short,
            AppendError::TooLarge { limit, .. } => StorageError::TooLarge { limit },
            AppendError::Closed => StorageError::Closed,
            AppendError::Poisoned => StorageError::Unknown,
        };
        let written = self.journal.append_lazy(vec![draft]).await.map_err(refused)?;
        // Nothing more to write: this answers when all that was written before is synced. It is written by now, whatever
        // the answer.
        let synced = self.journal.append(Vec::new()).await;
        synced.map_err(|_| StorageError::Unknown)?;
        let seen = self.storage.caught_up_with(written.first).await;
        seen.map(drop).map_err(|_| StorageError::NotVisible)
    }
}

impl Shared {
    /// Saves all changes of a request, and gives `held` back, which keeps others from changing what the changes depend on.
    /// It goes on to its end, holding that, even when the caller stops waiting.
    ///
    /// # Errors
    /// Nothing was saved, but with `NotVisible` and `Unknown`.
    pub(super) async fn save<T: Send + 'static>(
        self: &Arc<Self>,
        held: T,
        changes: Vec<ConfigChange>,
    ) -> Result<T, EngineError> {
        let shared = self.clone();
        self.to_its_end(async move {
            shared.commit_changes(changes).await?;
            Ok(held)
        })
        .await
    }

    /// As [`ConfigurationStore::save_configuration`], with what it means to who asked.
    pub(super) async fn commit_changes(&self, changes: Vec<ConfigChange>) -> Result<(), EngineError> {
        self.save_configuration(changes)
            .await
            .map_err(|error| match error {
                StorageError::TooLarge { limit } => EngineError::TooMany {
                    what: "bytes that one request may change (nothing was changed; send it in parts)",
                    limit,
                },
                other => other.into(),
            })
    }

    /// Carries something on to its end even when the caller stops waiting.
    pub(super) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        let done = self.committing.spawn(work).await;
        done.unwrap_or(Err(EngineError::Stopping))
    }
}
