//! Connections that may be closed when others need their place: idle ones over which no key has been shown.
//!
//! Whoever can reach the port can open connections and leave them. They cost a place and a descriptor each, so they are
//! the first to go when all places are taken or descriptors run short, the one that has been idle for longest first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::api::auth::{Known, Via};

/// The idle connections of strangers, in the order in which they became idle.
#[derive(Debug, Default)]
pub struct Idle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    /// Has the `count` oldest closed; answers how many there were.
    pub fn close_oldest(&self, count: usize) -> usize {
        let mut state = self.lock();
        for closed in 0..count {
            match state.connections.pop_first() {
                Some((_, close)) => close.cancel(),
                None => return closed,
            }
        }
        count
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's part in that; idle until it says otherwise.
#[derive(Debug)]
pub struct Peer {
    idle: Arc<Idle>,
    /// Cancelled when the connection is to be closed.
    pub close: CancellationToken,
    /// Set once a key was shown over it. The kernel vouches for those who come over the socket.
    pub known: Known,
    place: Mutex<Option<u64>>,
}

impl Peer {
    pub fn new(idle: &Arc<Idle>, via: Via) -> Self {
        let peer = Self {
            idle: Arc::clone(idle),
            close: CancellationToken::new(),
            known: Known::default(),
            place: Mutex::default(),
        };
        if via == Via::Socket {
            peer.known.set();
        }
        peer.rests();
        peer
    }

    /// A request has begun.
    pub fn works(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = place.take() {
            self.idle.lock().connections.remove(&place);
        }
    }

    /// The request was answered.
    pub fn rests(&self) {
        if self.known.get() {
            return;
        }
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.idle.lock();
        let next = state.next;
        state.next += 1;
        state.connections.insert(next, self.close.clone());
        *place = Some(next);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.works();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stranger_that_is_idle_for_longest_goes_first_and_nobody_else() {
        let idle = Arc::new(Idle::default());
        let peer = |via| Peer::new(&idle, via);
        let (first, second, known, busy) = (peer(Via::Tcp), peer(Via::Tcp), peer(Via::Tcp), peer(Via::Tcp));
        let socket = peer(Via::Socket);
        busy.works();
        known.works();
        known.known.set();
        known.rests();
        // A request makes it the youngest.
        first.works();
        first.rests();
        assert_eq!(idle.close_oldest(1), 1);
        assert!(second.close.is_cancelled() && !first.close.is_cancelled());
        assert_eq!(idle.close_oldest(9), 1);
        assert!(
            [&known, &busy, &socket]
                .iter()
                .all(|peer| !peer.close.is_cancelled())
        );
        drop((first, second, known, busy, socket));
        assert!(idle.lock().connections.is_empty());
    }
}
