//! Queries: what was stored is found and listed, in pages, by every filter.

mod attempts;
mod deliveries;
mod events;

use futures_util::future::BoxFuture;

use super::{
    Bench, Subject,
    parts::{at, endpoint, event},
};
use crate::{
    domain::{
        id::{DeliveryKey, Lsn},
        record::{EventAccepted, EventReplayed},
    },
    storage::{
        StorageError,
        queries::{AttemptFilter, DeliveryFilter, EventFilter, ListPage, ListRange},
        stored::{Listed, StoredDelivery},
    },
};

/// Positions of a whole list, in pages of so many rows.
pub(super) async fn walk<'a, T: Listed>(
    ascending: bool,
    limit: usize,
    page: impl Fn(ListRange) -> BoxFuture<'a, Result<ListPage<T>, StorageError>>,
) -> Vec<DeliveryKey> {
    let (mut found, mut beyond) = (Vec::new(), None);
    loop {
        let range = ListRange {
            beyond,
            ascending,
            limit,
        };
        let page = page(range).await.unwrap();
        assert!(page.rows.len() <= limit, "{} rows", page.rows.len());
        found.extend(page.rows.iter().map(Listed::position));
        match page.next {
            None => return found,
            next => beyond = next,
        }
    }
}

impl<S: Subject> Bench<S> {
    pub(super) async fn events(&self, filter: &EventFilter, ascending: bool, limit: usize) -> Vec<Lsn> {
        let page = |range| self.storage.list_events(filter.clone(), range);
        let found = walk(ascending, limit, page).await;
        found.into_iter().map(|at| at.lsn).collect()
    }

    pub(super) async fn deliveries(&self, filter: &DeliveryFilter) -> Vec<DeliveryKey> {
        walk(true, 3, |range| {
            self.storage.list_deliveries(filter.clone(), range)
        })
        .await
    }

    pub(super) async fn attempts_of(&self, filter: &AttemptFilter) -> Vec<Lsn> {
        let found = walk(true, 3, |range| self.storage.list_attempts(filter.clone(), range)).await;
        found.into_iter().map(|at| at.lsn).collect()
    }

    pub(super) async fn accept_at(&self, name: &str, seconds: u64, to: &[u8]) -> Lsn {
        let event = EventAccepted {
            accepted_at: at(seconds),
            due: at(seconds),
            ..event(name, to)
        };
        self.accept(event).await
    }

    pub(super) async fn replay_to(&self, event: Lsn, number: u8) -> DeliveryKey {
        let replayed = EventReplayed {
            event,
            due: at(60),
            fan_out: vec![endpoint(number)],
        };
        let sequence = self.storage.replay_events(vec![replayed]).await.unwrap()[0];
        DeliveryKey::new(sequence, 0)
    }

    pub(super) async fn sequence_of(&self, key: DeliveryKey) -> Lsn {
        self.stored(key).await.delivery.last.unwrap().lsn
    }

    /// A delivery that is there.
    async fn stored(&self, key: DeliveryKey) -> StoredDelivery {
        let found = self.storage.deliveries(vec![key]).await.unwrap().remove(0);
        found.unwrap()
    }
}
