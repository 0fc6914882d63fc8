//! The scheduler's reads, from the index: one hop to a reader's thread for each call.

use async_trait::async_trait;

use super::{
    LocalStorage,
    index::{Store, StoreError, query::Walk},
};
use crate::{
    domain::id::{DeliveryKey, EndpointId},
    storage::{
        StorageError,
        schedule::{EntryPage, Portion, Schedule, ScheduleAnswer, ScheduleRead},
    },
};

impl LocalStorage {
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let served = self.served.clone();
        self.schedule_readers.run(move || served.read(read)).await
    }
}

#[async_trait]
impl Schedule for LocalStorage {
    async fn read_schedules(&self, read: ScheduleRead) -> Result<ScheduleAnswer, StorageError> {
        self.read(move |store| answer(store, &read)).await
    }

    async fn endpoints_with_work(
        &self,
        after: Option<EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>, StorageError> {
        self.read(move |store| store.endpoints_with_work(after, limit))
            .await
    }

    async fn attempts_recorded(
        &self,
        deliveries: Vec<DeliveryKey>,
    ) -> Result<Vec<Option<u32>>, StorageError> {
        self.read(move |store| {
            let attempts = |key| Ok(store.delivery(key)?.map(|delivery| delivery.attempts));
            deliveries.into_iter().map(attempts).collect()
        })
        .await
    }
}

/// Reads portions of schedules from an index.
pub(crate) fn answer(store: &Store, read: &ScheduleRead) -> Result<ScheduleAnswer, StoreError> {
    let due = |portion: &Portion| store.due(portion.endpoint, portion.from, read.now, portion.limit);
    let health = |id: &EndpointId| Ok(store.tally(*id)?.health);
    Ok(ScheduleAnswer {
        due: read.due.iter().map(due).collect::<Result<_, _>>()?,
        entries: read
            .entries
            .iter()
            .map(|portion| entries(store, portion))
            .collect::<Result<_, _>>()?,
        at: read
            .at
            .iter()
            .map(|(id, at)| store.due_at(*id, *at))
            .collect::<Result<_, _>>()?,
        health: read
            .health
            .iter()
            .map(health)
            .collect::<Result<_, StoreError>>()?,
    })
}

pub(super) fn entries(store: &Store, portion: &Portion) -> Result<EntryPage, StoreError> {
    let mut entries = Vec::new();
    let walk = store.walk(portion.endpoint, portion.from, portion.limit, |at, slot| {
        entries.push(slot.entry(at));
        std::ops::ControlFlow::Continue(())
    })?;
    let next = match walk {
        Walk::Limit(next) => Some(next),
        Walk::End | Walk::Stopped => None,
    };
    Ok(EntryPage { entries, next })
}
