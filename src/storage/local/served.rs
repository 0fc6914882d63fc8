//! The index as it is served: there, or being rebuilt; and how far it has come.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use super::index::{Store, StoreError};
use crate::{domain::id::Lsn, runtime::chain::chain, storage::StorageError};

/// How long a caller waits for the store to catch up with what is already durable.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct ServedIndex {
    store: RwLock<Option<Store>>,
    applied: AtomicU64,
    /// Wakes those who wait for a record to be applied, in the order in which they came.
    advanced: Notify,
    /// The store has caught up with the journal since it was last opened.
    ready: watch::Sender<bool>,
    rebuilds: AtomicU64,
    /// A reader met a failure; the applier is to reopen the store.
    failed: Notify,
}

impl ServedIndex {
    /// The store, caught up.
    ///
    /// # Errors
    /// `NotReady` while there is none.
    pub fn get(&self) -> Result<Store, StorageError> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner).clone();
        store.filter(|_| self.is_ready()).ok_or(StorageError::NotReady)
    }

    /// Reads from the store, caught up. A failure is the store's: it is opened again.
    ///
    /// # Errors
    /// `NotReady` while there is none; otherwise what [`Self::failure`] makes of the reader's error.
    pub fn read<T>(&self, read: impl FnOnce(&Store) -> Result<T, StoreError>) -> Result<T, StorageError> {
        let store = self.get()?;
        let read = read(&store);
        // Closed before the failure is reported: to open the store again, the applier waits for its readers.
        drop(store);
        read.map_err(|error| self.failure(error))
    }

    /// The store, caught up with everything that was durable before this call.
    ///
    /// # Errors
    /// `NotReady` when there is none, `TimedOut` when it takes too long.
    pub async fn caught_up_with(&self, lsn: Lsn) -> Result<Store, StorageError> {
        self.get()?;
        match tokio::time::timeout(PATIENCE, self.reached(lsn)).await {
            // Taken again: it may have been replaced in between.
            Ok(()) => self.get(),
            Err(_) => Err(StorageError::TimedOut),
        }
    }

    async fn reached(&self, lsn: Lsn) {
        loop {
            // Registered before looking, so that no wake-up is lost.
            let advanced = self.advanced.notified();
            tokio::pin!(advanced);
            advanced.as_mut().enable();
            if self.applied() >= lsn {
                return;
            }
            advanced.await;
        }
    }

    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until the store has caught up.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn until_ready(&self) {
        // The sender lives as long as this does, so that there is no error.
        _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    pub fn applied(&self) -> Lsn {
        self.applied.load(Ordering::Acquire)
    }

    pub fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    pub fn size_on_disk(&self) -> u64 {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().map_or(0, Store::size_on_disk)
    }

    /// Turns a reader's failure into its answer, and has the store rebuilt: the caller may try again.
    pub fn failure(&self, error: StoreError) -> StorageError {
        tracing::error!(error = %chain(&error), "the store failed");
        if error.is_temporary() {
            return StorageError::Short;
        }
        self.failed.notify_one();
        StorageError::NotReady
    }

    /// Waits until a reader has met a failure.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }

    pub fn begin(&self, store: Store, applied: Lsn, rebuilding: bool) {
        self.rebuilds.fetch_add(u64::from(rebuilding), Ordering::Relaxed);
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        self.applied.store(applied, Ordering::Release);
        self.advanced.notify_waiters();
    }

    pub fn set_applied(&self, lsn: Lsn) {
        if self.applied.fetch_max(lsn, Ordering::AcqRel) < lsn {
            self.advanced.notify_waiters();
        }
    }

    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Takes the store away; its files close when the last reader is done.
    pub fn withdraw(&self) {
        self.ready.send_replace(false);
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::index::{Indexes, TableOptions, open};

    #[tokio::test(start_paused = true)]
    async fn an_index_that_does_not_catch_up_in_time_is_slow_and_not_being_rebuilt() {
        let dir = tempfile::tempdir().unwrap();
        let table = TableOptions {
            cache_bytes: 1 << 20,
            buffer_bytes: 4096,
            indexes: Indexes::All,
        };
        let served = ServedIndex::default();
        let none = served.caught_up_with(0).await;
        assert!(matches!(none, Err(StorageError::NotReady)));
        served.begin(open::open_as_is(dir.path(), table).unwrap(), 7, false);
        served.set_ready();
        assert!(served.caught_up_with(7).await.is_ok());
        let behind = served.caught_up_with(8).await;
        assert!(matches!(behind, Err(StorageError::TimedOut)));
    }
}
