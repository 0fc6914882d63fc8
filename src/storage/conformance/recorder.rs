//! The engine's place, taken by a list of what it was told.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::parts::START;
use crate::{
    domain::{id::EndpointId, time::Timestamp},
    storage::{Change, Effect, Host},
};

/// What is to come comes within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host that writes down what it is told.
#[derive(Default)]
pub(super) struct Recorder {
    told: Mutex<Vec<Change>>,
    more: Notify,
    /// Calls under way; there is never more than one.
    calls: AtomicUsize,
}

impl Host for Recorder {
    fn changed(&self, change: Change) {
        assert_eq!(
            self.calls.fetch_add(1, Ordering::SeqCst),
            0,
            "two changes at a time"
        );
        self.lock().push(change);
        self.more.notify_waiters();
        self.calls.fetch_sub(1, Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        START
    }

    fn ago(&self, span: Duration) -> Timestamp {
        START.minus(span)
    }

    fn over(&self, span: Duration) -> Timestamp {
        START.minus(span)
    }

    fn inactive(&self) -> Vec<EndpointId> {
        Vec::new()
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all that was told so far.
    pub fn told<T>(&self, look: impl FnOnce(&[Change]) -> T) -> T {
        look(&self.lock())
    }

    /// Waits until what was told holds something.
    pub async fn until<T>(&self, mut find: impl FnMut(&[Change]) -> Option<T>) -> T {
        let found = async {
            loop {
                // Registered before looking, so that no wake-up is lost.
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if let Some(found) = self.told(&mut find) {
                    return found;
                }
                more.await;
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("it was never told; told was: {:#?}", self.lock()),
        }
    }

    /// The changes of deliveries and endpoints so far, in order.
    pub fn effects(&self) -> Vec<Effect> {
        self.told(effects)
    }

    /// Waits for a change of a delivery or an endpoint.
    pub async fn until_effect(&self, is_it: impl Fn(&Effect) -> bool) {
        self.until(|told| effects(told).iter().any(&is_it).then_some(()))
            .await;
    }
}

fn effects(told: &[Change]) -> Vec<Effect> {
    let effects = told.iter().filter_map(|change| match change {
        Change::Applied(applied) => Some(applied.effects.clone()),
        Change::Suspended | Change::Configured(_) | Change::Reset | Change::HeldExpired(_) => None,
    });
    effects.flatten().collect()
}
