//! The engine: what the API calls.
//!
//! Its operations are in the domain's words, with no type of sled or of the journal in their signatures; each file
//! beside this one adds those of one kind.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    clock::EngineClock,
    detail::SealedUrls,
    erase::Erasures,
    event_types::Catalogue,
    locks::{Held, Locks},
    outage::SharedOutage,
    registry::Registry,
    slots::Slots,
    supervision::Vitals,
    verify::Verifier,
};
use crate::{
    domain::{
        address::AddressRules,
        attempt_detail::DetailBudget,
        event::Label,
        id::{DeliveryKey, EndpointId},
        profile::Profiles,
        record::KeyPut,
        time::Timestamp,
    },
    runtime::{memory::Memory, random::Jitter, seal::Sealer, work_pool::WorkPool},
    sender::Sender,
    storage::Storage,
    storage::local::journal::{Durability, Journal},
    storage::local::{LocalStorage, ServedIndex, reclaim::Retention},
};

/// What an operator may set of dispatch.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    pub durability: Durability,
    /// Attempts at once to one endpoint, unless it says otherwise.
    pub concurrency: u16,
    /// One attempt's whole time, unless the endpoint says otherwise.
    pub timeout: Duration,
    /// Attempts at once in all.
    pub max_in_flight: usize,
    /// Transient failures in a row that open an endpoint's breaker.
    pub breaker_after: u32,
    /// How long attempts that are out may take to end at shutdown.
    pub shutdown_grace: Duration,
    /// Deliveries that are due for longer than this are told of.
    pub overdue_after: Duration,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// How long things are kept, and how much of them.
    pub retention: Retention,
    pub max_endpoints: usize,
    /// Bytes for bodies in flight and for endpoints, all together.
    pub memory: usize,
    /// Bytes of a body in another encoding than JSON.
    pub encoded_limit: usize,
    /// How much is kept of an attempt.
    pub attempt_detail: DetailBudget,
    /// What endpoints may name as their `profile`.
    pub profiles: Profiles,
    pub rules: AddressRules,
    pub require_https: bool,
    /// The `source` of a CloudEvent whose event names none.
    pub cloudevents_source: String,
    /// The name by which receivers grant us to send to them (CloudEvents' web hooks).
    pub origin: String,
}

/// What all parts of dispatch share.
pub(super) struct Shared {
    pub options: EngineOptions,
    pub clock: EngineClock,
    pub jitter: Jitter,
    /// Where everything is kept.
    pub data: Arc<dyn Storage>,
    pub local: Arc<LocalStorage>,
    pub journal: Journal,
    pub storage: Arc<ServedIndex>,
    pub registry: Registry,
    pub event_types: Catalogue,
    pub sealer: Sealer,
    pub sealed_urls: SealedUrls,
    pub sender: Sender,
    pub in_flight: InFlight,
    /// How many attempts may be out, and whose.
    pub slots: Arc<Slots>,
    /// Where what takes CPU time or the disk is done.
    pub work: WorkPool,
    pub erasures: Erasures,
    pub memory: Arc<Memory>,
    /// Events with ids of their own on their way to the journal.
    pub committing: TaskTracker,
    /// One change of configuration at a time: read, check, write, applied. Each tenant's endpoints have a lock, and what has no
    /// tenant, keys and event types included, has one together.
    pub configuring: Locks<Option<Label>>,
    /// One portion of a list at a time for each tenant, so that the threads that read lists are not one tenant's.
    pub listing: Locks<Label>,
    /// Endpoints that are being created, by all tenants: they count against the limit.
    pub creating: AtomicUsize,
    /// One recovery of an endpoint at a time.
    pub recovering: Locks<EndpointId>,
    /// One document of endpoints at a time: it may be about all tenants. Keys of one tenant cannot send any.
    pub applying: Arc<tokio::sync::Mutex<()>>,
    /// Held deliveries that were ended, by endpoint, of which nobody was told yet.
    pub expired: Mutex<BTreeMap<EndpointId, u64>>,
    pub herald: tokio::sync::Notify,
    pub verifier: Verifier,
    pub vitals: Vitals,
    pub outage: SharedOutage,
    pub stopping: CancellationToken,
    /// No more patience: what is out is given up.
    pub stopping_now: CancellationToken,
    pub started_at: Timestamp,
    /// Where a simulation answers in the receivers' place, and watches.
    #[cfg(test)]
    pub stage: std::sync::OnceLock<Arc<super::simulation::Stage>>,
    /// What opening found damaged.
    pub warnings: Mutex<Vec<String>>,
}

/// The deliveries that are out.
#[derive(Default)]
pub(super) struct InFlight(Mutex<HashSet<DeliveryKey>>);

impl InFlight {
    pub fn insert(&self, key: DeliveryKey) {
        self.lock().insert(key);
    }

    pub fn remove(&self, key: DeliveryKey) {
        self.lock().remove(&key);
    }

    pub fn contains(&self, key: DeliveryKey) -> bool {
        self.lock().contains(&key)
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn all(&self) -> BTreeSet<DeliveryKey> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<DeliveryKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What dispatch and storage can do, for the API. Cheap to clone.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<Shared>);

/// An API key as it is known.
pub type KeyView = KeyPut;

impl Engine {
    /// The present engine time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Where what takes CPU time or the disk is done.
    pub fn work(&self) -> &WorkPool {
        &self.0.work
    }

    /// The bytes that bodies may take, and who has them.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.0.memory
    }

    /// Takes note of something that was found damaged, for the status.
    pub fn warn(&self, warning: String) {
        self.0
            .warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(warning);
    }

    /// Takes back what begins like this: it has been put right.
    pub fn retract_warnings(&self, beginning: &str) {
        let mut warnings = self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.retain(|warning| !warning.starts_with(beginning));
    }
}

impl Shared {
    /// Waits until a tenant reads no other portion of a list. The operator is trusted with all threads.
    pub async fn listing_of(&self, tenant: Option<&Label>) -> Option<Held<Label>> {
        match tenant {
            None => None,
            Some(tenant) => Some(self.listing.lock(tenant.clone()).await),
        }
    }

    /// Waits until nobody changes the endpoints of an endpoint's tenant. An endpoint never changes its tenant.
    pub async fn configuring_of(&self, id: EndpointId) -> Held<Option<Label>> {
        let tenant = self
            .registry
            .get(id)
            .and_then(|endpoint| endpoint.spec.tenant.clone());
        self.configuring.lock(tenant).await
    }
}
