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
    storage::{Changes, Deliveries, DeliveryChange, Overwritten, StorageError, stored::Erased},
};

impl MemoryStorage {
    /// Commits a change that every later read shows; answers its first sequence.
    async fn commit_visibly(
        &self,
        sequences: usize,
        change: impl FnOnce(&mut State, Lsn, &mut Changes) + Send,
    ) -> Result<Lsn, StorageError> {
        let change = |inner: &mut Inner, first: Lsn, changed: &mut Changes| {
            inner.readable()?;
            change(&mut inner.state, first, changed);
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
        let change = |state: &mut State, first: Lsn, changed: &mut Changes| {
            for (sequence, change) in (first..).zip(changes) {
                match change {
                    DeliveryChange::Retried(retried) => state.retry(&retried, changed),
                    DeliveryChange::Ended(ended) => state.end(&ended, changed),
                    DeliveryChange::Replayed(replayed) => state.replay(sequence, &replayed, changed),
                    DeliveryChange::Audited(entry) => {
                        state.configure(sequence, ConfigChange::Audited(entry), changed);
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
        self.commit_visibly(2, |state, sequence, changed| {
            let found = state.events.get(&event);
            if found.is_none_or(|found| found.erased.is_some()) {
                return;
            }
            if let Some(entry) = audited {
                state.configure(sequence, ConfigChange::Audited(entry), changed);
            }
            state.erase(event, Erased { at, by }, changed);
        })
        .await
        .map(drop)
    }

    /// None is kept.
    async fn overwrite_payload(&self, _: Lsn) -> Result<Overwritten, StorageError> {
        self.read(|_| Overwritten::Gone).await
    }

    async fn record_standalone_attempt(&self, attempt: AttemptSettled) -> Result<Lsn, StorageError> {
        self.commit_visibly(1, |state, sequence, changed| {
            state.settle(sequence, &attempt, changed);
        })
        .await
    }

    async fn accept_notice(&self, notice: EventAccepted) -> Result<(), StorageError> {
        self.commit(1, Telling::Late, |inner, sequence, changed| {
            inner.state.accept(sequence, notice, changed);
            Ok(())
        })
        .await
    }
}
