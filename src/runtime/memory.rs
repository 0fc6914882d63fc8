//! One budget of bytes for what strangers can make large: bodies of attempts, requests and answers of the API, and the
//! endpoints that are kept in memory.
//!
//! Who needs bytes takes a [`Lease`] before it allocates, and gives them back by dropping it. Each tenant has a share that
//! depends on what is free: it may hold at most [`TIMES`] times as many bytes as are left. One tenant alone
//! may use 7/8 of the budget, and there is always something left for another one. What has no tenant is a scope
//! of its own.
//!
//! Who can wait ([`Memory::take`]: attempts) may only fill up a scope to [`TIMES_WAITING`] times what is left, 3/4 of the
//! budget. So a tenant's deliveries, however many wait, leave room to its requests, which cannot wait.
//!
//! No single lease is larger than a quarter of the budget ([`Memory::largest`]): a request for more takes that much, so
//! that it gets its turn.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::domain::event::Label;

/// Bytes that a scope may hold for each one that is left.
const TIMES: usize = 7;
/// The same, for those who can wait.
const TIMES_WAITING: usize = 3;

/// The budget.
pub struct Memory {
    total: usize,
    state: Mutex<State>,
    /// Wakes those who wait for bytes.
    freed: Notify,
}

#[derive(Default)]
struct State {
    leased: usize,
    /// What is kept for good: endpoints.
    kept: usize,
    scopes: HashMap<Option<Label>, usize>,
    waiting: usize,
}

/// Bytes of the budget; given back when it is dropped.
pub struct Lease {
    memory: Arc<Memory>,
    scope: Option<Label>,
    bytes: usize,
}

/// Whether a scope that holds `held` may take `want` bytes of which `free` are left.
const fn allows(held: usize, want: usize, free: usize, times: usize) -> bool {
    match free.checked_sub(want) {
        None => false,
        Some(left) => held.saturating_add(want) <= left.saturating_mul(times),
    }
}

impl Memory {
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// The largest lease.
    pub const fn largest(&self) -> usize {
        self.total / 4
    }

    /// What may be kept for good: half of the budget, so that the other half stays for what comes and goes.
    pub const fn to_keep(&self) -> usize {
        self.total / 2
    }

    /// Says how much is kept for good.
    pub fn keep(&self, bytes: usize) {
        // More than half may be there from before the budget was made smaller.
        self.state().kept = bytes.min(self.to_keep());
    }

    /// Whether a scope that keeps `held` of all `kept` bytes may keep `more`.
    pub const fn may_keep(&self, held: usize, kept: usize, more: usize) -> bool {
        allows(held, more, self.to_keep().saturating_sub(kept), TIMES)
    }

    /// Bytes for a scope, if it may have them now.
    pub fn try_take(self: &Arc<Self>, scope: &Option<Label>, bytes: usize) -> Option<Lease> {
        self.lease(scope, bytes, TIMES)
    }

    fn lease(self: &Arc<Self>, scope: &Option<Label>, bytes: usize, times: usize) -> Option<Lease> {
        let bytes = bytes.min(self.largest());
        self.state()
            .claim(self.total, scope, bytes, times)
            .then(|| Lease {
                memory: self.clone(),
                scope: scope.clone(),
                bytes,
            })
    }

    /// Bytes for a scope, as soon as it may have them; `None` when that is not before `until`.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken.
    pub async fn take(
        self: &Arc<Self>,
        scope: &Option<Label>,
        bytes: usize,
        until: Instant,
    ) -> Option<Lease> {
        if let Some(lease) = self.lease(scope, bytes, TIMES_WAITING) {
            return Some(lease);
        }
        let _waiting = Waiting::new(self);
        loop {
            // Registered before looking, so that nothing is missed.
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(lease) = self.lease(scope, bytes, TIMES_WAITING) {
                return Some(lease);
            }
            timeout_at(until, freed).await.ok()?;
        }
    }

    /// How many bytes are leased or kept.
    pub fn used(&self) -> usize {
        let state = self.state();
        state.leased + state.kept
    }

    pub const fn total(&self) -> usize {
        self.total
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for bytes.
struct Waiting<'a>(&'a Memory);

impl<'a> Waiting<'a> {
    fn new(memory: &'a Memory) -> Self {
        memory.state().waiting += 1;
        Self(memory)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl State {
    fn claim(&mut self, total: usize, scope: &Option<Label>, bytes: usize, times: usize) -> bool {
        let free = total.saturating_sub(self.leased).saturating_sub(self.kept);
        let held = self.scopes.get(scope).copied().unwrap_or_default();
        if !allows(held, bytes, free, times) {
            return false;
        }
        self.leased += bytes;
        match self.scopes.get_mut(scope) {
            Some(held) => *held += bytes,
            None => _ = self.scopes.insert(scope.clone(), bytes),
        }
        true
    }

    fn release(&mut self, scope: &Option<Label>, bytes: usize) {
        self.leased -= bytes;
        if let Some(held) = self.scopes.get_mut(scope) {
            *held -= bytes;
            if *held == 0 {
                self.scopes.remove(scope);
            }
        }
    }
}

impl Lease {
    /// Gives back what is over `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let over = self.bytes.saturating_sub(bytes);
        self.bytes -= over;
        self.give_back(over);
    }

    /// Takes `more` bytes, if its scope may have them now. Past the largest lease nothing more is counted.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let more = more.min(self.memory.largest().saturating_sub(self.bytes));
        let grown = self
            .memory
            .state()
            .claim(self.memory.total, &self.scope, more, TIMES);
        if grown {
            self.bytes += more;
        }
        grown
    }

    /// Bytes that hold on to their lease for as long as they are there themselves.
    pub fn around(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Leased { bytes, _lease: self })
    }

    fn give_back(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut state = self.memory.state();
        state.release(&self.scope, bytes);
        if state.waiting > 0 {
            self.memory.freed.notify_waiters();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

struct Leased {
    bytes: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KIB: usize = 1024;

    fn tenant(name: &str) -> Option<Label> {
        Some(name.parse().unwrap())
    }

    fn all(memory: &Arc<Memory>, scope: &Option<Label>) -> Vec<Lease> {
        std::iter::from_fn(|| memory.try_take(scope, KIB)).collect()
    }

    #[test]
    fn one_scope_leaves_something_to_the_others() {
        let memory = Memory::new(512 * KIB);
        let evil = all(&memory, &tenant("evil"));
        assert_eq!(evil.len(), 448);
        assert_eq!(all(&memory, &None).len(), 56);
        assert_eq!(
            memory.used(),
            448 * KIB,
            "the second scope has given its bytes back"
        );
        drop(evil);
        let state = memory.state();
        assert_eq!((state.leased, state.scopes.len()), (0, 0));
    }

    #[test]
    fn what_is_kept_leaves_half_to_what_comes_and_goes() {
        let memory = Memory::new(512 * KIB);
        assert!(memory.may_keep(0, 0, 224 * KIB) && !memory.may_keep(0, 0, 225 * KIB));
        memory.keep(10 * 512 * KIB);
        assert_eq!(all(&memory, &None).len(), 224);
    }

    #[test]
    fn a_lease_shrinks_grows_and_is_never_more_than_a_quarter() {
        let memory = Memory::new(64 * KIB);
        let mut lease = memory.try_take(&None, 1000 * KIB).unwrap();
        assert_eq!(memory.used(), 16 * KIB);
        lease.shrink_to(4 * KIB);
        assert_eq!(memory.used(), 4 * KIB);
        assert!(lease.grow(4 * KIB) && lease.grow(1000 * KIB));
        assert_eq!(memory.used(), 16 * KIB);
        let others: Vec<_> = std::iter::from_fn(|| memory.try_take(&None, KIB)).collect();
        lease.shrink_to(KIB);
        assert_eq!(others.len(), 40);
        let bytes = lease.around(Bytes::from_static(b"kept"));
        let piece = bytes.slice(1..2);
        drop(bytes);
        assert_eq!((&piece[..], memory.used()), (&b"e"[..], 41 * KIB));
        drop(piece);
        assert_eq!(memory.used(), 40 * KIB);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_can_wait_leave_room_to_those_who_cannot() {
        let memory = Memory::new(64 * KIB);
        let soon = Instant::now() + Duration::from_secs(5);
        let mut attempts = Vec::new();
        while let Some(lease) = memory.take(&None, KIB, soon).await {
            attempts.push(lease);
        }
        assert_eq!((attempts.len(), all(&memory, &None).len()), (48, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_bytes_when_they_are_given_back_or_gives_up() {
        let memory = Memory::new(64 * KIB);
        let held = all(&memory, &None);
        let soon = Instant::now() + Duration::from_secs(5);
        assert!(memory.take(&None, KIB, soon).await.is_none());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn({
            let memory = memory.clone();
            async move {
                memory
                    .take(&None, 8 * KIB, Instant::now() + Duration::from_secs(5))
                    .await
            }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(tasks.join_next().await.unwrap().unwrap().is_some());
        assert_eq!(memory.state().waiting, 0);
    }
}
