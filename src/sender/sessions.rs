//! TLS sessions to resume, for as long as a connection may be used.
//!
//! A receiver that resumes a session does not show its certificate again, and goes on renewing the session: without a
//! bound, a certificate that has been replaced, or has expired, would go unnoticed for as long as there is something to
//! send. So all sessions are forgotten together at the age of a connection, and everybody shows a certificate again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    NamedGroup,
    client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    },
    pki_types::ServerName,
};
use tokio::time::Instant;

/// Sessions that are kept for one configuration: rustls' own figure.
const KEPT: usize = 256;

#[derive(Debug)]
struct Sessions {
    age: Duration,
    current: Mutex<(Instant, Arc<ClientSessionMemoryCache>)>,
}

/// How a configuration resumes sessions: none for longer than `age`.
pub(super) fn resumption(age: Duration) -> Resumption {
    Resumption::store(Arc::new(Sessions {
        age,
        current: Mutex::new((Instant::now(), fresh())),
    }))
}

fn fresh() -> Arc<ClientSessionMemoryCache> {
    Arc::new(ClientSessionMemoryCache::new(KEPT))
}

impl Sessions {
    fn current(&self) -> Arc<ClientSessionMemoryCache> {
        // Nothing panics with the lock held; if something did, sessions are still sessions.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0.elapsed() >= self.age {
            *current = (Instant::now(), fresh());
        }
        current.1.clone()
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.current().set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.current().kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.current().set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.current().tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.current().remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.current().insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.current().take_tls13_ticket(name)
    }
}
