//! Receivers whose HTTP/2 cannot be read.
//!
//! In HTTP/2 there is no reading around a header that breaks the grammar: the library ends the stream, or the whole
//! connection with all its other streams, and the status that came before is gone. Such a receiver would be sent every
//! event again and again. In HTTP/1.1 its answers are read ([`super::heads`]), so for a while that is what it is offered.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::pool::Key;

/// How long HTTP/2 is not offered. Then it costs one attempt to learn that a receiver is still the same.
const HOLDS: Duration = Duration::from_secs(3600);
/// Receivers that are remembered, some hundred bytes each.
const KEPT: usize = 256;

/// Whom HTTP/2 is not offered, and until when; the newest at the end.
#[derive(Default)]
pub(super) struct Http1Only(Mutex<VecDeque<(Key, Instant)>>);

impl Http1Only {
    pub(super) fn contains(&self, key: &Key) -> bool {
        let now = Instant::now();
        self.keys()
            .iter()
            .any(|(known, until)| known == key && *until > now)
    }

    pub(super) fn insert(&self, key: &Key) {
        let mut keys = self.keys();
        keys.retain(|(known, _)| known != key);
        if keys.len() == KEPT {
            keys.pop_front();
        }
        keys.push_back((key.clone(), Instant::now() + HOLDS));
    }

    /// It speaks nothing but HTTP/2.
    pub(super) fn remove(&self, key: &Key) {
        self.keys().retain(|(known, _)| known != key);
    }

    fn keys(&self) -> MutexGuard<'_, VecDeque<(Key, Instant)>> {
        // Nothing panics with the lock held; if something did, a list of receivers is still a list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::route::RouteId, *};

    fn key(number: usize) -> Key {
        Key::of(
            &format!("https://h{number}.test/").parse().unwrap(),
            RouteId::default(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn receivers_are_remembered_for_a_while_up_to_a_number() {
        let only = Http1Only::default();
        for number in 0..=KEPT {
            only.insert(&key(number));
        }
        assert!(!only.contains(&key(0)) && only.contains(&key(1)));
        only.insert(&key(1));
        only.remove(&key(2));
        assert!(only.contains(&key(1)) && !only.contains(&key(2)));
        assert_eq!(only.keys().len(), KEPT - 1);
        tokio::time::advance(HOLDS).await;
        assert!(!only.contains(&key(1)));
    }
}
