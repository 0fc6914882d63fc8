//! Events and outcomes: the operations of [`Events`] over the journal and the index.

use std::sync::Arc;

use async_trait::async_trait;

use super::{LocalStorage, claims::Claim, codec, journal::AppendError};
use crate::{
    domain::{id::Lsn, record::EventAccepted, time::Timestamp},
    runtime::{codec::CodecError, disk},
    storage::{
        AcceptEvent, Acceptance, EventName, Events, KnownEvent, Outcome, StorageError, Unread,
        schedule::EventHandle,
    },
};

#[async_trait]
impl Events for LocalStorage {
    async fn accept_events(
        &self,
        events: Vec<AcceptEvent>,
        keys_over: Timestamp,
    ) -> Vec<Result<Acceptance, StorageError>> {
        self.accept(events, keys_over).await
    }

    async fn known_events(
        &self,
        names: Vec<EventName>,
        keys_over: Timestamp,
    ) -> Result<Vec<Option<KnownEvent>>, StorageError> {
        self.known(names.into_iter().map(claims_of).collect(), keys_over)
            .await
    }

    async fn event(&self, sequence: Lsn) -> Result<Option<EventAccepted>, StorageError> {
        // What is not written yet stands for nothing, and would be waited for.
        if sequence > self.journal.last_lsn() {
            return Ok(None);
        }
        self.served.caught_up_with(sequence).await?;
        self.run_on(&self.readers, move |storage| {
            match storage.served.read(|store| store.event(sequence))? {
                Some(row) => Ok(Some(storage.event_or_why(sequence, row.place)?)),
                None => Ok(None),
            }
        })
        .await
    }

    fn event_at_hand(&self, event: EventHandle) -> Option<EventAccepted> {
        self.at_hand(event.sequence, event.place)
    }

    /// Where it is asked for: a hop to another thread costs more than the disk, as a rule.
    async fn due_event(&self, event: EventHandle) -> Result<EventAccepted, Unread> {
        disk::waiting(|| self.event_or_why(event.sequence, event.place))
    }

    async fn record_outcomes(&self, outcomes: &[Outcome]) -> Result<(), StorageError> {
        let drafts = outcomes.iter().map(|outcome| codec::encode(&outcome.0));
        let drafts = drafts.collect::<Result<Vec<_>, _>>().map_err(encode_failure)?;
        self.journal.append_lazy(drafts).await?;
        Ok(())
    }
}

fn claims_of(name: EventName) -> Vec<Claim> {
    let EventName { tenant, id, key } = name;
    let id = id.map(|id| Claim::EventId(tenant.clone(), id));
    let key = key.map(|key| Claim::IdempotencyKey(tenant, key));
    id.into_iter().chain(key).collect()
}

pub(super) fn encode_failure(error: CodecError) -> StorageError {
    StorageError::Failed(Arc::new(error))
}

impl From<AppendError> for StorageError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full { .. } => Self::Full,
            AppendError::Short => Self::Short,
            AppendError::Closed => Self::Closed,
            AppendError::Poisoned => Self::Unknown,
            AppendError::TooLarge { limit, .. } => Self::TooLarge { limit },
        }
    }
}
