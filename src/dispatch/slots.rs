//! Slots: how many attempts may be out at once, in all, of one tenant, and to one endpoint.
//!
//! Every request to a receiver holds a [`Slot`]: a delivery's attempt, a test, a try of a handshake. There are
//! `delivery.max_in_flight` of them. Endpoints without a tenant share a scope of their own, like one more tenant.
//!
//! # The shares
//!
//! What a tenant may hold depends on what is free ([`may_take`]): at most [`FIRST`] times as many slots as are left, and
//! at most [`MORE`] times as many when the endpoint has an attempt out already. Nothing is set aside for tenants that
//! want nothing, and there is always something left for one that begins to want:
//!
//! - One tenant alone holds up to 7/8 of all slots, and up to 15/16 with endpoints that have nothing out.
//! - Two tenants that want all they can get hold 7/15 each; a third one finds 1/15 free, and gains as theirs end.
//! - With fewer than eight slots there is no reserve: the last one goes to whoever asks first.
//!
//! # What is not a slot
//!
//! An attempt whose answer's head has come is decided, whatever its body does. If the body does not come at once, the
//! attempt gives its slot back ([`Slot::linger`]) and counts towards the smaller number of attempts that linger, under
//! the same shares. When that number is reached, the attempt keeps its slot until its body ends. It counts towards its
//! endpoint's concurrency as long as its connection is in use.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{engine::Shared, error::EngineError};
use crate::domain::{endpoint::Endpoint, event::Label, id::EndpointId};

/// Slots that a tenant may hold for each one that is free, if the endpoint has an attempt out already.
const MORE: usize = 7;
/// The same, for an endpoint that has none out: one tenant's slow endpoints leave something to its others.
const FIRST: usize = 15;
/// Of all slots, how many attempts may linger over an answer's body: one in four. Each holds a descriptor.
const LINGERING: usize = 4;
/// How long a test or a handshake waits for a slot: long enough for the attempts of a healthy endpoint to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no slot now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// All are taken.
    Full,
    /// The tenant has its share.
    Share,
}

/// No slot became free in time, or too many wait for one already.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Whether a scope that holds `held` may take one more of which `free` are left.
pub(super) const fn may_take(held: usize, free: usize, is_first: bool) -> bool {
    let times = if is_first { FIRST } else { MORE };
    held < free.saturating_mul(times)
}

/// All slots. Cheap to share.
pub(super) struct Slots {
    most: usize,
    state: Mutex<State>,
    /// Wakes the scheduler: a slot was freed in another way than by the end of one of its attempts.
    freed: Notify,
    /// Wakes those who wait for a slot.
    changed: Notify,
}

#[derive(Default)]
struct State {
    out: usize,
    lingering: usize,
    tenants: HashMap<Option<Label>, Held>,
    endpoints: HashMap<EndpointId, Uses>,
    /// How many wait for a slot.
    waiting: usize,
    /// Endpoints that a test or a handshake has left.
    left: HashSet<EndpointId>,
}

/// What a tenant holds.
#[derive(Default)]
struct Held {
    out: usize,
    lingering: usize,
}

/// Who uses an endpoint.
#[derive(Default)]
struct Uses {
    /// Attempts of its deliveries.
    deliveries: usize,
    /// Tests and handshakes that are out, or wait for a slot: deliveries let them go first.
    asked: usize,
    /// Those of them that are out.
    asked_out: usize,
}

/// The right to have one attempt out; given back when it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    endpoint: Arc<Endpoint>,
    is_asked: bool,
    phase: Phase,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Phase {
    /// It waits, and holds nothing of its tenant's share yet.
    Waiting,
    Out,
    Lingering,
}

impl Slots {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::default(),
            freed: Notify::new(),
            changed: Notify::new(),
        })
    }

    /// A slot for a delivery of an endpoint, and how many tests and handshakes use the endpoint beside it.
    /// `is_first` says that none of its deliveries is out.
    pub fn take(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        is_first: bool,
    ) -> Result<(Slot, usize), Refused> {
        let mut state = self.state();
        state.claim(self.most, &endpoint.spec.tenant, is_first)?;
        let uses = state.endpoints.entry(endpoint.id).or_default();
        uses.deliveries += 1;
        let asked = uses.asked;
        drop(state);
        Ok((self.slot(endpoint, false, Phase::Out), asked))
    }

    /// A slot for a request that someone asks for, which is no delivery. It waits for a while, and deliveries of the
    /// endpoint let it go first, so that a test can be made of an endpoint that is never idle.
    ///
    /// # Errors
    /// [`Busy`] when no slot became free in time, or when so many as the endpoint's concurrency wait or are out.
    ///
    /// # Cancel safety
    /// Safe: the place in line is given back.
    pub async fn ask(self: &Arc<Self>, endpoint: &Arc<Endpoint>, concurrency: u16) -> Result<Slot, Busy> {
        let concurrency = usize::from(concurrency);
        {
            let mut state = self.state();
            let uses = state.endpoints.entry(endpoint.id).or_default();
            if uses.asked >= concurrency {
                return Err(Busy);
            }
            uses.asked += 1;
            state.waiting += 1;
        }
        let mut slot = self.slot(endpoint, true, Phase::Waiting);
        let until = Instant::now() + PATIENCE;
        loop {
            // Registered before looking, so that no change is missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if slot.begin(concurrency) {
                return Ok(slot);
            }
            timeout_at(until, changed).await.map_err(|_| Busy)?;
        }
    }

    /// Waits until a slot may have become free that the scheduler does not know of.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// The endpoints that tests and handshakes have left since this was asked last.
    pub fn left(&self) -> HashSet<EndpointId> {
        std::mem::take(&mut self.state().left)
    }

    /// Whether a delivery of an endpoint would get a slot, and no test or handshake is in its way.
    #[cfg(test)]
    pub fn would_give(&self, endpoint: &Endpoint) -> bool {
        let state = self.state();
        let uses = state.endpoints.get(&endpoint.id);
        let held = state
            .tenants
            .get(&endpoint.spec.tenant)
            .map_or(0, |held| held.out);
        uses.is_none_or(|uses| uses.asked == 0)
            && may_take(
                held,
                self.most.saturating_sub(state.out),
                uses.is_none_or(|uses| uses.deliveries == 0),
            )
    }

    fn slot(self: &Arc<Self>, endpoint: &Arc<Endpoint>, is_asked: bool, phase: Phase) -> Slot {
        Slot {
            slots: self.clone(),
            endpoint: endpoint.clone(),
            is_asked,
            phase,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes one of `most` slots for a tenant.
    fn claim(&mut self, most: usize, tenant: &Option<Label>, is_first: bool) -> Result<(), Refused> {
        let free = most.saturating_sub(self.out);
        if free == 0 {
            return Err(Refused::Full);
        }
        let held = self.tenants.get(tenant).map_or(0, |held| held.out);
        if !may_take(held, free, is_first) {
            return Err(Refused::Share);
        }
        self.out += 1;
        match self.tenants.get_mut(tenant) {
            Some(held) => held.out += 1,
            None => {
                let held = Held { out: 1, lingering: 0 };
                self.tenants.insert(tenant.clone(), held);
            }
        }
        Ok(())
    }

    fn release(&mut self, tenant: &Option<Label>, phase: Phase) {
        let Some(held) = self.tenants.get_mut(tenant) else {
            return;
        };
        match phase {
            Phase::Waiting => {}
            Phase::Out => {
                held.out -= 1;
                self.out -= 1;
            }
            Phase::Lingering => {
                held.lingering -= 1;
                self.lingering -= 1;
            }
        }
        if held.out == 0 && held.lingering == 0 {
            self.tenants.remove(tenant);
        }
    }
}

impl Slot {
    /// The answer's head has come, and its body has not: gives the slot back while there is room among those that
    /// linger.
    pub fn linger(&mut self) {
        if self.phase != Phase::Out {
            return;
        }
        let mut state = self.slots.state();
        let most = (self.slots.most / LINGERING).max(1);
        let free = most.saturating_sub(state.lingering);
        let Some(held) = state.tenants.get_mut(&self.endpoint.spec.tenant) else {
            return;
        };
        if !may_take(held.lingering, free, false) {
            return;
        }
        held.lingering += 1;
        held.out -= 1;
        state.lingering += 1;
        state.out -= 1;
        self.phase = Phase::Lingering;
        self.slots.tell(&state);
        drop(state);
        self.slots.freed.notify_one();
    }

    /// Lets a waiting slot begin, if there is room.
    fn begin(&mut self, concurrency: usize) -> bool {
        let mut state = self.slots.state();
        let Some(uses) = state.endpoints.get(&self.endpoint.id) else {
            return false;
        };
        let out = uses.deliveries + uses.asked_out;
        let tenant = &self.endpoint.spec.tenant;
        // Counted as the endpoint's first, whatever is out: people wait for few requests.
        if out >= concurrency || state.claim(self.slots.most, tenant, true).is_err() {
            return false;
        }
        if let Some(uses) = state.endpoints.get_mut(&self.endpoint.id) {
            uses.asked_out += 1;
        }
        state.waiting -= 1;
        self.phase = Phase::Out;
        true
    }
}

impl Shared {
    /// A slot for a test or a try of a handshake.
    ///
    /// # Errors
    /// `Busy` when none became free in time.
    pub(super) async fn slot_to_ask(&self, endpoint: &Arc<Endpoint>) -> Result<Slot, EngineError> {
        let own = endpoint.spec.concurrency;
        let concurrency = own.unwrap_or(self.options.concurrency);
        self.slots.ask(endpoint, concurrency).await.map_err(|Busy| {
            EngineError::Busy(
                "as many requests to the endpoint, of its tenant or in all are out as may be; try again when some \
                 have ended",
            )
        })
    }
}

impl Slots {
    /// Wakes those who wait for a slot, if anybody does.
    fn tell(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_waiters();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let id = self.endpoint.id;
        let mut state = self.slots.state();
        state.release(&self.endpoint.spec.tenant, self.phase);
        if let Some(uses) = state.endpoints.get_mut(&id) {
            match (self.is_asked, self.phase) {
                (false, _) => uses.deliveries -= 1,
                (true, Phase::Waiting) => uses.asked -= 1,
                (true, Phase::Out | Phase::Lingering) => {
                    uses.asked -= 1;
                    uses.asked_out -= 1;
                }
            }
            if uses.deliveries == 0 && uses.asked == 0 {
                state.endpoints.remove(&id);
            }
        }
        if self.phase == Phase::Waiting {
            state.waiting -= 1;
        }
        self.slots.tell(&state);
        if self.is_asked {
            state.left.insert(id);
            drop(state);
            self.slots.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
