//! What the scheduler reads.

use std::ops::Bound;

use async_trait::async_trait;

use super::MemoryStorage;
use crate::{
    domain::id::{DeliveryKey, EndpointId},
    storage::{
        StorageError,
        schedule::{Schedule, ScheduleAnswer, ScheduleRead},
    },
};

#[async_trait]
impl Schedule for MemoryStorage {
    async fn read_schedules(&self, read: ScheduleRead) -> Result<ScheduleAnswer, StorageError> {
        self.read(|state| ScheduleAnswer {
            due: read
                .due
                .iter()
                .map(|portion| state.due(portion, read.now))
                .collect(),
            entries: read
                .entries
                .iter()
                .map(|portion| state.entries(portion))
                .collect(),
            at: read.at.iter().map(|(id, at)| state.due_at(*id, *at)).collect(),
            health: read
                .health
                .iter()
                .map(|id| {
                    state
                        .tallies
                        .get(id)
                        .map(|tally| tally.health)
                        .unwrap_or_default()
                })
                .collect(),
        })
        .await
    }

    async fn endpoints_with_work(
        &self,
        after: Option<EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>, StorageError> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|state| {
            let found = state.schedules.range((after, Bound::Unbounded));
            found.take(limit).map(|(id, _)| *id).collect()
        })
        .await
    }

    async fn attempts_recorded(
        &self,
        deliveries: Vec<DeliveryKey>,
    ) -> Result<Vec<Option<u32>>, StorageError> {
        self.read(|state| {
            let attempts = |key| state.deliveries.get(&key).map(|delivery| delivery.attempts);
            deliveries.into_iter().map(attempts).collect()
        })
        .await
    }
}
