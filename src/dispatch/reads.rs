//! What the scheduler reads, and waits for beside everything else.
//!
//! There are at most as many reads of lanes as these ask for ([`super::lanes`]), and two after each time that the store
//! is begun anew: which endpoints have work, portion by portion, and which verdicts it holds already. These two are tried
//! until they succeed. Reads of a store that is gone are told apart by the number of its life.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use super::batch::Batch;
use crate::{
    domain::id::{DeliveryKey, EndpointId},
    storage::{
        StorageError,
        schedule::{Schedule, ScheduleAnswer},
    },
};

/// Endpoints with work that are read at once.
const ENDPOINTS: usize = 1024;
/// Before a read is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What was read.
pub(super) enum Read {
    Schedules {
        life: u64,
        batch: Batch,
        answer: Result<ScheduleAnswer, StorageError>,
    },
    /// Some endpoints that have work.
    Work {
        life: u64,
        endpoints: Result<Vec<EndpointId>, StorageError>,
    },
    /// How many attempts are recorded of each.
    Attempts {
        life: u64,
        recorded: Result<Vec<(DeliveryKey, Option<u32>)>, StorageError>,
    },
}

pub(super) struct Reads {
    schedule: Arc<dyn Schedule>,
    out: FuturesUnordered<BoxFuture<'static, Read>>,
}

impl Reads {
    pub fn new(schedule: Arc<dyn Schedule>) -> Self {
        Self {
            schedule,
            out: FuturesUnordered::new(),
        }
    }

    /// The next read that has ended; `None` when none is out.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn next(&mut self) -> Option<Read> {
        self.out.next().await
    }

    pub fn schedules(&self, life: u64, mut batch: Batch) {
        let schedule = self.schedule.clone();
        let read = async move {
            let answer = schedule.read_schedules(std::mem::take(&mut batch.read)).await;
            Read::Schedules { life, batch, answer }
        };
        self.out.push(read.boxed());
    }

    /// Reads the endpoints with work beyond this one.
    pub fn work(&self, life: u64, after: Option<EndpointId>) {
        let schedule = self.schedule.clone();
        let read = async move {
            let endpoints = patiently(|| schedule.endpoints_with_work(after, ENDPOINTS)).await;
            Read::Work { life, endpoints }
        };
        self.out.push(read.boxed());
    }

    pub fn attempts(&self, life: u64, deliveries: Vec<DeliveryKey>) {
        let schedule = self.schedule.clone();
        let read = async move {
            let counts = patiently(|| schedule.attempts_recorded(deliveries.clone())).await;
            let recorded = counts.map(|counts| deliveries.into_iter().zip(counts).collect());
            Read::Attempts { life, recorded }
        };
        self.out.push(read.boxed());
    }
}

/// Tries again what may succeed in a moment.
async fn patiently<'a, T>(
    mut read: impl FnMut() -> BoxFuture<'a, Result<T, StorageError>>,
) -> Result<T, StorageError> {
    loop {
        match read().await {
            Err(error) if may_pass(&error) => tracing::warn!(%error, "trying to read the schedule again"),
            done => return done,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the same read may succeed in a moment; otherwise everything begins anew when the store is back.
pub(super) const fn may_pass(error: &StorageError) -> bool {
    !matches!(error, StorageError::NotReady | StorageError::Closed)
}
