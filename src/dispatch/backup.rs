//! Backups, where storage takes its own.

use super::{engine::Engine, error::EngineError};
use crate::{
    domain::backup::Request,
    storage::{Backup, BackupError},
};

impl Engine {
    /// What a client lacks of this server's data; see [`crate::storage::Backups::backup`].
    ///
    /// # Errors
    /// `NotNow` when too many are taken, when what the client holds is of another history, or when storage takes none.
    /// `Invalid`; `Stopping`, and `Storage` when something cannot be read.
    pub async fn backup(&self, request: Request) -> Result<Backup, EngineError> {
        let backups = self.0.data.backups().ok_or(EngineError::NotNow(
            "storage takes no backups of its own; take one of its database",
        ))?;
        let (_, created_at) = self.0.clock.now_and_shown();
        backups
            .backup(request, created_at)
            .await
            .map_err(|error| match error {
                BackupError::Busy => EngineError::NotNow("too many backups are being taken"),
                BackupError::OtherHistory(why) => EngineError::NotNow(why),
                BackupError::Invalid { field, rule } => EngineError::Invalid {
                    field: field.to_owned(),
                    rule: rule.to_owned(),
                },
                BackupError::Storage(error) => error.into(),
            })
    }
}
