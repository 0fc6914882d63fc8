//! Rollups, out of the index.

use async_trait::async_trait;

use super::LocalStorage;
use crate::storage::{
    StorageError,
    rollups::{RollupQuery, Rollups, RollupsRead},
};

#[async_trait]
impl Rollups for LocalStorage {
    async fn rollups(&self, query: RollupQuery) -> Result<Option<RollupsRead>, StorageError> {
        self.query(&self.list_readers, move |_, store| store.rollups(&query))
            .await
    }
}
