//! Storage in memory: a complete engine in maps, for tests and the simulation.
//!
//! # Parts
//!
//! [`state`] is the maps, and [`apply`] the changes to them, by the rules of `domain`: nothing is decided here that the
//! domain decides. [`events`], [`deliveries`], [`configuration`], [`schedule`], [`queries`], [`attempts`] and
//! [`rollups`] implement the traits of [`super`] over them; a transaction is one hold of one lock. [`feed`] tells
//! the host, and [`remote`] makes it behave like a database at the other end of a network.
//!
//! # Guarantees
//!
//! Those of the traits, but for durability: what is stored lasts as long as the value. A simulation keeps the value over
//! the lives of a process, as a database outlives those that use it: [`MemoryStorage::attach`] begins a life.
//!
//! Nothing is ever given back: there is no retention.

mod apply;
mod attempts;
mod configuration;
mod deliveries;
mod events;
mod feed;
mod queries;
mod remote;
mod rollups;
mod schedule;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use self::remote::Remote;
use self::{
    feed::{Feed, Telling},
    remote::{Lost, Network},
    state::State,
};
use super::{Backups, Changes, Host, Storage, StorageError};
use crate::domain::id::Lsn;

/// Storage in memory.
pub struct MemoryStorage {
    inner: Mutex<Inner>,
    network: Network,
    /// Something is to be told later than now.
    planned: Notify,
}

#[derive(Default)]
struct Inner {
    state: State,
    feed: Feed,
    /// Nothing can be read for now.
    suspended: bool,
    closed: bool,
    /// Events are refused for want of space.
    full: bool,
}

impl Storage for MemoryStorage {
    fn backups(&self) -> Option<&dyn Backups> {
        None
    }
}

impl MemoryStorage {
    /// Empty storage at the other end of such a network.
    pub fn new(remote: Remote) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            network: Network::new(remote),
            planned: Notify::new(),
        })
    }

    /// A process begins to use it: tells of the configuration, and that everything can be read.
    pub fn attach(&self, host: Arc<dyn Host>) {
        let mut inner = self.lock();
        (inner.closed, inner.suspended) = (false, false);
        inner.feed = Feed::of(host);
        inner.tell_anew();
    }

    /// The process is gone.
    pub fn detach(&self) {
        self.lock().feed = Feed::default();
    }

    /// Nothing can be read until [`MemoryStorage::resume`].
    pub fn suspend(&self) {
        let mut inner = self.lock();
        inner.suspended = true;
        inner.feed.suspend();
    }

    pub fn resume(&self) {
        let mut inner = self.lock();
        inner.suspended = false;
        inner.tell_anew();
    }

    /// Nothing is written or read any more.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Whether there is too little space for events.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a transaction that uses so many sequences, which are taken before it is on its way: of two transactions the
    /// one with the greater sequences may be committed first. Answers what the change answers, or that nobody knows.
    async fn commit<T>(
        &self,
        sequences: usize,
        telling: Telling,
        change: impl FnOnce(&mut Inner, Lsn, &mut Changes) -> Result<T, StorageError> + Send,
    ) -> Result<T, StorageError> {
        let first = self.lock().state.take_sequences(sequences);
        self.network.way().await;
        let lost = self.network.loses();
        if lost == Some(Lost::Request) {
            return Err(StorageError::Unknown);
        }
        let done = {
            let mut inner = self.lock();
            inner.open()?;
            let mut changes = Changes::default();
            let done = change(&mut inner, first, &mut changes)?;
            inner.tell(changes, telling, &self.network);
            done
        };
        self.planned.notify_one();
        self.network.way().await;
        match lost {
            Some(Lost::Answer) => Err(StorageError::Unknown),
            _ => Ok(done),
        }
    }

    /// Reads what is committed.
    async fn read<T>(&self, read: impl FnOnce(&State) -> T + Send) -> Result<T, StorageError> {
        self.network.way().await;
        if self.network.fails() {
            return Err(StorageError::TimedOut);
        }
        let found = {
            let inner = self.lock();
            inner.open()?;
            inner.readable()?;
            read(&inner.state)
        };
        self.network.way().await;
        Ok(found)
    }
}

impl Inner {
    const fn open(&self) -> Result<(), StorageError> {
        if self.closed {
            return Err(StorageError::Closed);
        }
        Ok(())
    }

    const fn readable(&self) -> Result<(), StorageError> {
        if self.suspended {
            return Err(StorageError::NotReady);
        }
        Ok(())
    }
}
