//! Saving changes of configuration: all that a request changes is one record of the journal.

use std::sync::Arc;

use super::{audit, engine::Shared, error::EngineError};
use crate::{domain::configuration::ConfigChange, storage::StorageError};

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

    /// As [`crate::storage::ConfigurationStore::save_configuration`], with what it means to who asked.
    pub(super) async fn commit_changes(&self, mut changes: Vec<ConfigChange>) -> Result<(), EngineError> {
        audit::put_in_order(&mut changes);
        self.data
            .save_configuration(changes)
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
