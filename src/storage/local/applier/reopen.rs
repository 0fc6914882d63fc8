//! A store that failed, or was written afresh, is closed and opened again.
//!
//! A failure that may pass by itself (the store is in use, descriptors, memory or space are short) is waited out with the
//! store as it is. Only one that shows its files to be of no use has it begun afresh from the journal.

use std::{error::Error, sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{Applier, chain};
use crate::{
    runtime::space,
    storage::local::index::{
        Store, StoreError,
        open::{self, OpenError, Trust},
    },
    storage::{
        Change,
        local::reclaim::{self, Trouble},
    },
};

/// A store that fails again within this time is not opened as it is a second time.
const RELAPSE: Duration = Duration::from_secs(60);
/// Before a store that failed is opened again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

impl Applier {
    /// Closes the store and opens it again: as it is, or, when that was tried a moment ago or it does not open, empty,
    /// to be filled from the journal. What may pass by itself is no reason for that.
    pub(super) fn reopen(&mut self, may_pass: bool) {
        self.withdraw();
        let again = !may_pass && self.reopened_at.is_some_and(|at| at.elapsed() < RELAPSE);
        if !may_pass {
            self.reopened_at = Some(Instant::now());
        }
        std::thread::sleep(REOPEN_PAUSE);
        self.open_again(if again { Trust::No } else { Trust::Yes });
    }

    /// Lets the copy take the store's place, and opens it.
    pub(super) fn swap(&mut self) {
        self.withdraw();
        if let Some(store) = self.store.take()
            && let Some(store) = self.rewriter.swap(store)
        {
            return self.serve_again(store);
        }
        self.open_again(Trust::Yes);
        if let Some(store) = &self.store {
            self.rewriter.opened(store);
        }
    }

    /// The store that was withdrawn is served on, from where it stands.
    fn serve_again(&mut self, store: Store) {
        let applied = self.storage.served.applied();
        self.storage.served.begin(store.clone(), applied, false);
        self.store = Some(store);
        self.target = self.storage.journal.last_lsn();
    }

    fn withdraw(&self) {
        self.storage.served.withdraw();
        self.host.changed(Change::Suspended);
    }

    fn open_again(&mut self, mut trust: Trust) {
        let mut failures = 0_u32;
        while !self.stop.stopped.load(Ordering::Acquire) {
            match self.try_reopen(trust) {
                Ok(()) => break,
                Err(error) if lacks_space(&*error) && space::release(&self.open.data) => {}
                Err(error) => {
                    failures += 1;
                    if failures.is_power_of_two() {
                        tracing::error!(error = %chain(&*error), failures, "the store cannot be opened; trying again");
                    }
                    if !is_temporary(&*error) {
                        trust = Trust::No;
                    }
                    std::thread::sleep(REOPEN_PAUSE);
                }
            }
        }
        let stopper = self.follower.stopper();
        *self
            .stop
            .stopper
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = stopper;
        if self.stop.stopped.load(Ordering::Acquire) {
            self.stop.wake();
        }
    }

    pub(super) fn try_reopen(&mut self, trust: Trust) -> Result<(), Box<dyn Error>> {
        let last_lsn = self.storage.journal.last_lsn();
        // The old handle's files must be closed before they are opened again.
        self.store = None;
        let opened = open::open(&open::Options {
            trust,
            last_lsn,
            first_lsn: if self.storage.segments_unread {
                1
            } else {
                self.storage.journal.first_lsn()
            },
            ..self.open.clone()
        })?;
        if !self.storage.segments_unread {
            reclaim::begin(&self.storage.journal, &opened.store)?;
        }
        self.reclaimer.reset();
        let applied = opened.store.applied()?.lsn;
        let rebuilding = trust == Trust::No || opened.distrusted.is_some();
        tracing::warn!(applied_lsn = applied, rebuilding, "the store was opened again");
        self.storage
            .served
            .begin(opened.store.clone(), applied, rebuilding);
        self.store = Some(opened.store);
        self.follower = self.storage.journal.follow(applied);
        self.target = last_lsn;
        Ok(())
    }
}

fn lacks_space(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(OpenError::lacks_space)
        || error.downcast_ref().is_some_and(StoreError::lacks_space)
}

fn is_temporary(error: &(dyn Error + 'static)) -> bool {
    let of_store = |error: &StoreError| error.is_temporary();
    error.downcast_ref().is_some_and(OpenError::is_temporary)
        || error.downcast_ref().is_some_and(of_store)
        || matches!(error.downcast_ref(), Some(Trouble::Store(error)) if of_store(error))
}
