//! Open connections that wait for the next request.
//!
//! One queue in the order of last use, so that the oldest is at the front: it goes first when the pool is full,
//! and the sweeper needs to look no further. An HTTP/1.1 connection is taken out while it is used, an HTTP/2
//! connection stays and is shared.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{Protocol, connection::Connection, route::RouteId, tasks::Tasks};
use crate::domain::endpoint_url::EndpointUrl;

/// How long a connection that its receiver has closed may keep its descriptor.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What connections are alike for: scheme, host and port, and the way there.
#[derive(Clone)]
pub(super) struct Key {
    url: EndpointUrl,
    route: RouteId,
}

impl Key {
    pub(super) fn of(url: &EndpointUrl, route: RouteId) -> Self {
        Self {
            url: url.clone(),
            route,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.url.is_of_same_server(&other.url) && self.route == other.route
    }
}

pub(super) struct Pool {
    state: Mutex<State>,
    bounds: Bounds,
}

/// What is kept, and for how long.
pub(super) struct Bounds {
    /// HTTP/1.1 connections to one receiver.
    pub(super) per_host: usize,
    pub(super) total: usize,
    /// Since the last use.
    pub(super) idle: Duration,
    /// Since a connection was opened: a receiver's address or certificate may have changed meanwhile.
    pub(super) age: Duration,
}

#[derive(Default)]
struct State {
    idle: VecDeque<Idle>,
    is_swept: bool,
    is_closed: bool,
}

struct Idle {
    key: Key,
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            bounds,
        })
    }

    /// A connection that was open a moment ago, the one used last first; where `newer_than` is given, one that was
    /// opened later.
    pub(super) fn take(&self, key: &Key, newer_than: Option<Instant>) -> Option<Connection> {
        let mut state = self.state();
        let is_wanted =
            |idle: &Idle| idle.key == *key && newer_than.is_none_or(|than| idle.connection.opened > than);
        loop {
            let place = state.idle.iter().rposition(is_wanted)?;
            let idle = state.idle.remove(place)?;
            if !self.is_fit(&idle.connection) {
                continue;
            }
            match idle.connection.share() {
                None => return Some(idle.connection),
                Some(shared) => {
                    state.idle.push_back(Idle {
                        since: Instant::now(),
                        ..idle
                    });
                    return Some(shared);
                }
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(self: &Arc<Self>, key: Key, connection: Connection, tasks: &Tasks) {
        let mut state = self.state();
        let most = if connection.protocol() == Protocol::Http2 {
            // One that has ended meanwhile, or is too old, makes room.
            state
                .idle
                .retain(|idle| idle.key != key || self.is_fit(&idle.connection));
            1
        } else {
            self.bounds.per_host
        };
        let alike = state.idle.iter().filter(|idle| idle.key == key).count();
        if state.is_closed || alike >= most || self.bounds.total == 0 || self.is_old(&connection) {
            return;
        }
        if state.idle.len() >= self.bounds.total {
            state.idle.pop_front();
        }
        state.idle.push_back(Idle {
            key,
            connection,
            since: Instant::now(),
        });
        if !state.is_swept {
            state.is_swept = true;
            tasks.spawn(sweep(self.clone()));
        }
    }

    /// Forgets the connections to a receiver that has gone silent.
    pub(super) fn forget(&self, key: &Key) {
        self.state().idle.retain(|idle| idle.key != *key);
    }

    /// How old a connection may be that carries a request.
    pub(super) fn max_age(&self) -> Duration {
        self.bounds.age
    }

    /// How many connections are idle, not counting those that the receiver has closed meanwhile.
    pub(super) fn usable(&self) -> usize {
        self.state()
            .idle
            .iter()
            .filter(|idle| self.is_fit(&idle.connection))
            .count()
    }

    /// Closes what is idle, and everything that comes back from now on.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.idle.clear();
    }

    /// Closes what has been idle too long, or was closed by its receiver; when to look again, or `None` if nothing is
    /// left.
    fn close_expired(&self) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let stays = |idle: &Idle| idle.since + self.bounds.idle > now && self.is_fit(&idle.connection);
        state.idle.retain(stays);
        let oldest = state.idle.front().map(|idle| idle.since + self.bounds.idle);
        state.is_swept = oldest.is_some();
        oldest.map(|until| until.min(now + LOOK_EVERY))
    }

    /// Whether a connection can carry one more request, and may.
    fn is_fit(&self, connection: &Connection) -> bool {
        !self.is_old(connection) && connection.is_usable()
    }

    fn is_old(&self, connection: &Connection) -> bool {
        connection.opened.elapsed() >= self.bounds.age
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics with the lock held; if something did, a list of connections is still a list.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs only while there are idle connections: a server that sends nothing wakes for nothing.
async fn sweep(pool: Arc<Pool>) {
    while let Some(until) = pool.close_expired() {
        sleep_until(until).await;
    }
}
