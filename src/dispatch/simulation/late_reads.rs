//! What the scheduler reads comes late, or not at all.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::engine::Shared;
use crate::{
    domain::id::{DeliveryKey, EndpointId},
    storage::{
        StorageError,
        schedule::{Schedule, ScheduleAnswer, ScheduleRead},
    },
};

/// Reads that are delayed before and after they are done, as the stage says, if there is one.
pub(in crate::dispatch) struct LateReads {
    shared: Arc<Shared>,
    schedule: Arc<dyn Schedule>,
}

impl LateReads {
    pub(in crate::dispatch) fn of(shared: Arc<Shared>, schedule: Arc<dyn Schedule>) -> Arc<dyn Schedule> {
        Arc::new(Self { shared, schedule })
    }

    async fn late<T>(
        &self,
        read: impl Future<Output = Result<T, StorageError>> + Send,
    ) -> Result<T, StorageError> {
        let Some(stage) = self.shared.stage.get() else {
            return read.await;
        };
        stage.delays_a_read().await;
        let answer = if stage.fails_a_read() {
            Err(StorageError::TimedOut)
        } else {
            read.await
        };
        stage.delays_a_read().await;
        answer
    }
}

#[async_trait]
impl Schedule for LateReads {
    async fn read_schedules(&self, read: ScheduleRead) -> Result<ScheduleAnswer, StorageError> {
        self.late(self.schedule.read_schedules(read)).await
    }

    async fn endpoints_with_work(
        &self,
        after: Option<EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>, StorageError> {
        self.late(self.schedule.endpoints_with_work(after, limit)).await
    }

    async fn attempts_recorded(
        &self,
        deliveries: Vec<DeliveryKey>,
    ) -> Result<Vec<Option<u32>>, StorageError> {
        self.late(self.schedule.attempts_recorded(deliveries)).await
    }
}
