//! Accepting events, and recording outcomes.

use async_trait::async_trait;

use super::{Inner, MemoryStorage, feed::Telling};
use crate::{
    domain::{
        id::Lsn,
        record::{EventAccepted, Record},
        time::Timestamp,
    },
    storage::{
        AcceptEvent, Acceptance, Changes, EventName, Events, KnownEvent, Outcome, StorageError, Unread,
        schedule::EventHandle,
    },
};

#[async_trait]
impl Events for MemoryStorage {
    async fn accept_events(
        &self,
        events: Vec<AcceptEvent>,
        keys_over: Timestamp,
    ) -> Vec<Result<Acceptance, StorageError>> {
        let count = events.len();
        let accept = |inner: &mut Inner, first: Lsn, changes: &mut Changes| {
            let events = (first..).zip(events);
            Ok(events
                .map(|(sequence, event)| inner.accept(sequence, event, keys_over, changes))
                .collect())
        };
        match self.commit(count, Telling::Late, accept).await {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); count],
        }
    }

    async fn known_events(
        &self,
        names: Vec<EventName>,
        keys_over: Timestamp,
    ) -> Result<Vec<Option<KnownEvent>>, StorageError> {
        self.read(|state| {
            let known = |name: EventName| {
                let (tenant, id) = (name.tenant.as_ref(), name.id.as_ref());
                let known = state.known(tenant, id, name.key.as_deref(), keys_over);
                known.map(|(_, known)| known)
            };
            names.into_iter().map(known).collect()
        })
        .await
    }

    async fn event(&self, sequence: Lsn) -> Result<Option<EventAccepted>, StorageError> {
        self.read(|state| state.events.get(&sequence).map(|event| event.accepted.clone()))
            .await
    }

    /// Nothing can be had without asking the other machine.
    fn event_at_hand(&self, _: EventHandle) -> Option<EventAccepted> {
        None
    }

    async fn due_event(&self, event: EventHandle) -> Result<EventAccepted, Unread> {
        match self.event(event.sequence).await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(Unread::Damaged),
            Err(_) => Err(Unread::NotNow),
        }
    }

    async fn record_outcomes(&self, outcomes: &[Outcome]) -> Result<(), StorageError> {
        self.commit(outcomes.len(), Telling::Late, |inner, first, changes| {
            for (sequence, Outcome(record)) in (first..).zip(outcomes) {
                match record {
                    Record::AttemptSettled(attempt) => inner.state.settle(sequence, attempt, changes),
                    Record::DeliveriesEnded(ended) => inner.state.end(ended, changes),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

impl Inner {
    fn accept(
        &mut self,
        sequence: Lsn,
        AcceptEvent { event, has_own_id }: AcceptEvent,
        keys_over: Timestamp,
        changes: &mut Changes,
    ) -> Result<Acceptance, StorageError> {
        let (id, key) = (has_own_id.then_some(&event.id), event.idempotency_key.as_deref());
        if id.is_some() || key.is_some() {
            self.readable()?;
        }
        let hash = event.content_hash;
        match self.state.known(event.tenant.as_ref(), id, key, keys_over) {
            Some((_, known)) if known.content_hash == hash => Ok(Acceptance::Known(known)),
            Some((claimed, _)) => Ok(Acceptance::Different(claimed)),
            None if self.full => Err(StorageError::Full),
            None => {
                self.state.accept(sequence, event, changes);
                Ok(Acceptance::New(sequence))
            }
        }
    }
}
