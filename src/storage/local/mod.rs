//! Storage in one data folder.
//!
//! The [`journal`] is the truth: every change is a record there before it is acknowledged. The [`index`] arranges the same
//! facts by key, and can always be made again from the journal. The [`applier`] thread follows the journal and keeps the index;
//! between batches it gives space back ([`reclaim`]) and writes the index afresh ([`rewriter`]).

mod accept;
pub mod applier;
mod attempts;
mod backup;
mod by_event;
pub mod claims;
pub mod codec;
mod configuration;
pub mod damage;
mod described;
mod erase;
mod events;
pub mod index;
pub mod journal;
pub mod open;
mod pages;
mod queries;
mod readers;
mod reading;
pub mod reclaim;
mod rewriter;
mod rollups;
mod schedule;
mod served;
mod unreadable;
mod writes;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::task::TaskTracker;

use self::{
    accept::Accepting,
    backup::Taking,
    claims::Claims,
    damage::{DamagedAttempts, DamagedEvents},
    described::Described,
    journal::Journal,
    reclaim::{Reclaimer, Retention},
    unreadable::ReadTrouble,
};
use super::{Backups, Storage, StorageError};
pub use readers::Readers;
#[cfg(test)]
pub(crate) use schedule::answer;
pub use served::ServedIndex;

/// Storage in one data folder.
pub struct LocalStorage {
    pub journal: Journal,
    pub served: Arc<ServedIndex>,
    /// These look up single things.
    readers: Arc<Readers>,
    /// These read for lists alone, which take longer.
    list_readers: Arc<Readers>,
    /// These read for the scheduler alone, so that it waits for nobody else's reads.
    schedule_readers: Arc<Readers>,
    claims: Arc<Claims>,
    accepting: Accepting,
    /// Events that are on their way to the journal, whether or not somebody waits for them.
    writing: TaskTracker,
    me: Weak<Self>,
    /// The disk did not give some of the journal's segments at the start.
    pub segments_unread: bool,
    /// How many damaged ranges opening found; more may be met later.
    pub found_damaged: u64,
    pub damaged_events: DamagedEvents,
    pub damaged_attempts: DamagedAttempts,
    described: Described,
    /// Why the journal cannot be read on.
    pub unreadable: ReadTrouble,
    /// What backups need beside the journal.
    taking: Taking,
    retention: Retention,
    /// How long an idempotency key is remembered.
    idempotency_window: Duration,
}

impl Storage for LocalStorage {
    fn backups(&self) -> Option<&dyn Backups> {
        Some(self)
    }
}

impl LocalStorage {
    /// Waits for what is on its way to the journal.
    pub async fn settle(&self) {
        self.writing.close();
        self.writing.wait().await;
    }

    /// Does work that may wait for the disk on a reader's thread.
    async fn run_on<T: Send + 'static>(
        &self,
        readers: &Readers,
        work: impl FnOnce(&Self) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let storage = self.me.upgrade().ok_or(StorageError::Closed)?;
        readers.run(move || work(&storage)).await
    }

    fn reclaimer(&self) -> Reclaimer {
        Reclaimer::new(self.retention, self.idempotency_window)
    }
}
