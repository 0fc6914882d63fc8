//! What people do to deliveries.

use async_trait::async_trait;

use super::{Inner, MemoryStorage, feed::Telling, state::State};
use crate::{
    domain::{
        audit::AuditEntry,
        configuration::ConfigChange,
        id::Lsn,
        record::{AttemptSettled, EventAccepted},
        time::Timestamp,
    },
    storage::{Deliveries, DeliveryChange, Overwritten, StorageError, local::index::Effect, stored::Erased},
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
    async fn change_deliveries(&self, changes: Vec<DeliveryChange>) -> Result<Vec<Lsn>, StorageError> {
        let count = changes.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let change = |state: &mut State, first: Lsn, effects: &mut Vec<Effect>| {
            for (sequence, change) in (first..).zip(changes) {
                match change {
                    DeliveryChange::Retried(retried) => state.retry(&retried, effects),
                    DeliveryChange::Ended(ended) => state.end(&ended, effects),
                    DeliveryChange::Replayed(replayed) => state.replay(sequence, &replayed, effects),
                    DeliveryChange::Audited(entry) => {
                        state.configure(sequence, ConfigChange::Audited(entry), effects);
                    }
                }
            }
        };
        let first = self.commit_visibly(count, change).await?;
        Ok((first..).take(count).collect())
    }

    async fn erase_payload(
        &self,
        event: Lsn,
        at: Timestamp,
        by: String,
        audited: Option<Box<AuditEntry>>,
    ) -> Result<(), StorageError> {
        self.commit_visibly(2, |state, sequence, effects| {
            let found = state.events.get(&event);
            if found.is_none_or(|found| found.erased.is_some()) {
                return;
            }
            if let Some(entry) = audited {
                state.configure(sequence, ConfigChange::Audited(entry), effects);
            }
            state.erase(event, Erased { at, by }, effects);
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
