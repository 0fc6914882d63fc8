//! A lock for each of many things, so that work on one does not wait for work on another.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

/// Locks by key. One is there only while somebody has it or waits for it.
pub(super) struct Locks<K: Eq + Hash>(Arc<Mutex<Known<K>>>);

type Known<K> = HashMap<K, Arc<tokio::sync::Mutex<()>>>;

/// Held until it is dropped.
pub(super) struct Held<K: Eq + Hash> {
    // In this order: it is free before it may be forgotten.
    _guard: OwnedMutexGuard<()>,
    _interest: Interest<K>,
}

/// Somebody has a lock, or waits for it.
struct Interest<K: Eq + Hash> {
    all: Arc<Mutex<Known<K>>>,
    key: K,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl<K: Eq + Hash> Default for Locks<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Clone> Locks<K> {
    /// Waits for the lock of `key`, in the order in which it is asked for.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn lock(&self, key: K) -> Held<K> {
        let lock = entries(&self.0).entry(key.clone()).or_default().clone();
        let interest = Interest {
            all: self.0.clone(),
            key,
            lock: lock.clone(),
        };
        Held {
            _guard: lock.lock_owned().await,
            _interest: interest,
        }
    }
}

impl<K: Eq + Hash> Drop for Interest<K> {
    fn drop(&mut self) {
        let mut all = entries(&self.all);
        // One of the map, one of ours: nobody else has it, and nobody can get it while the map is locked.
        if Arc::strong_count(&self.lock) == 2 {
            all.remove(&self.key);
        }
    }
}

fn entries<K>(all: &Mutex<Known<K>>) -> MutexGuard<'_, Known<K>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_key_waits_and_another_does_not() {
        let locks = Locks::default();
        let held = locks.lock("a").await;
        assert!(locks.lock("a").now_or_never().is_none());
        assert!(locks.lock("b").now_or_never().is_some());
        drop(held);
        assert!(locks.lock("a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn nothing_is_left_of_locks_that_nobody_has() {
        let locks = Locks::default();
        let held = locks.lock("a").await;
        let mut waiting = Box::pin(locks.lock("a"));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!(entries(&locks.0).len(), 1);
        drop(waiting.await);
        assert_eq!(entries(&locks.0).len(), 0);
        let held = locks.lock("a").await;
        assert!(locks.lock("a").now_or_never().is_none());
        drop(held);
        assert_eq!(entries(&locks.0).len(), 0);
    }
}
