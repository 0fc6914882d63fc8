//! What people do to deliveries.

use async_trait::async_trait;

use super::{Inner, MemoryStorage, feed::Telling, state::State};
use crate::{
    domain::{
        id::Lsn,
        record::{AttemptSettled, DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed},
        time::Timestamp,
    },
    storage::{Deliveries, Overwritten, StorageError, local::index::Effect, stored::Erased},
};

impl MemoryStorage {
    /// Commits a change that every later read shows; answers its first sequence.
    async fn commit_visibly(
        &self,
        sequences: usize,
        change: impl FnOnce(&mut State, Lsn, &mut Vec<Effect>) + Send,
    ) -> Result<Lsn, StorageError> {
        let change = |inner: &mut Inner, first: Lsn, effects: &mut Vec<Effect>| {
            inner.readable()?;
            change(&mut inner.state, first, effects);
            Ok(first)
        };
        self.commit(sequences, Telling::Now, change).await
    }
}

#[async_trait]
impl Deliveries for MemoryStorage {
    async fn retry_deliveries(&self, retried: DeliveriesRetried) -> Result<(), StorageError> {
        self.commit_visibly(1, |state, _, effects| state.retry(&retried, effects))
            .await
            .map(drop)
    }

    async fn end_deliveries(&self, ended: DeliveriesEnded) -> Result<(), StorageError> {
        self.commit_visibly(1, |state, _, effects| state.end(&ended, effects))
            .await
            .map(drop)
    }

    async fn replay_events(&self, replayed: Vec<EventReplayed>) -> Result<Vec<Lsn>, StorageError> {
        let count = replayed.len();
        let replay = |state: &mut State, first: Lsn, effects: &mut Vec<Effect>| {
            for (sequence, replayed) in (first..).zip(&replayed) {
                state.replay(sequence, replayed, effects);
            }
        };
        let first = self.commit_visibly(count, replay).await?;
        Ok((first..).take(count).collect())
    }

    async fn erase_payload(&self, event: Lsn, at: Timestamp, by: String) -> Result<(), StorageError> {
        self.commit_visibly(1, |state, _, effects| {
            state.erase(event, Erased { at, by }, effects)
        })
        .await
        .map(drop)
    }

    /// None is kept.
    async fn overwrite_payload(&self, _: Lsn) -> Result<Overwritten, StorageError> {
        self.read(|_| Overwritten::Gone).await
    }

    async fn record_standalone_attempt(&self, attempt: AttemptSettled) -> Result<Lsn, StorageError> {
        self.commit_visibly(1, |state, sequence, effects| {
            state.settle(sequence, &attempt, effects);
        })
        .await
    }

    async fn accept_notice(&self, notice: EventAccepted) -> Result<(), StorageError> {
        self.commit(1, Telling::Late, |inner, sequence, effects| {
            inner.state.accept(sequence, notice, effects);
            Ok(())
        })
        .await
    }
}
