//! Tokens that were fetched, and who fetches the next one.
//!
//! A token belongs to everything that it was asked for with ([`Key`]), the way to the token endpoint included. For each
//! there is one place, and who holds its lock fetches: attempts that come meanwhile wait, and take what it brought, be
//! that a token or a failure. In memory alone: after a restart tokens are fetched anew.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use tokio::time::{Instant, timeout_at};

use super::{
    Unreached,
    route::{RouteId, digest},
};
use crate::{
    domain::{
        auth::{ClientAuth, ClientCredentials},
        outcome::Fault,
    },
    wire::token::Grant,
};

/// Tokens that are kept, some KiB each. Beyond, the one used last longest ago is fetched again when it is needed.
const KEPT: usize = 4096;
/// A token is fetched anew so long before it expires, so that it does not expire on its way.
const SKEW: Duration = Duration::from_secs(60);

/// What a token was asked for with. A hash: nothing secret is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

/// A token that may be used; `Debug` hides it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// The value of the `Authorization` header.
    pub(super) authorization: HeaderValue,
    /// Tells it from those before and after it.
    pub(super) serial: u64,
    got_at: Instant,
    fresh_until: Instant,
    usable_until: Instant,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub(super) struct NotGranted {
    pub(super) fault: Fault,
    /// Who was asked, if anyone was reached.
    pub(super) remote: Option<SocketAddr>,
    /// What the token endpoint said, in the RFC's words.
    pub(super) error: Option<&'static str>,
    /// What did not answer where no connection was made.
    pub(super) unreached: Option<Unreached>,
    /// It is this attempt's time that was up, which says nothing about others'.
    pub(super) is_late: bool,
}

#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<Key, Entry>>);

struct Entry {
    place: Arc<tokio::sync::Mutex<Place>>,
    used_at: Instant,
}

#[derive(Default)]
struct Place {
    token: Option<Token>,
    failed: Option<(Instant, NotGranted)>,
    /// Tokens got so far.
    count: u64,
}

impl Key {
    pub(super) fn of(credentials: &ClientCredentials, route: RouteId) -> Self {
        let how: &[u8] = match credentials.client_auth {
            ClientAuth::Basic => b"basic",
            ClientAuth::Body => b"body",
        };
        let audience = credentials.audience.as_ref().map(|text| text.as_str().as_bytes());
        let fixed = [
            Some(&route.0[..]),
            Some(credentials.token_url.as_str().as_bytes()),
            Some(credentials.client_id.as_str().as_bytes()),
            Some(credentials.client_secret.as_str().as_bytes()),
            Some(how),
            audience,
        ];
        let scopes = credentials
            .scopes
            .iter()
            .map(|scope| Some(scope.as_str().as_bytes()));
        Self(digest(fixed.into_iter().chain(scopes)))
    }
}

impl Tokens {
    /// A token: the one that is kept while it is fresh and not the one that a receiver has just refused, else one that
    /// `fetch` gets.
    ///
    /// # Errors
    /// What `fetch` failed with, here or for another attempt that this one waited for; `TokenUnavailable` when it is still
    /// waiting at `deadline`.
    ///
    /// # Cancel safety
    /// Safe: the next one in line fetches.
    pub(super) async fn get(
        &self,
        key: Key,
        refused: Option<u64>,
        deadline: Instant,
        fetch: impl AsyncFnOnce() -> Result<Grant, NotGranted>,
    ) -> Result<Token, NotGranted> {
        let asked_at = Instant::now();
        let place = self.place(key, asked_at);
        let Ok(mut place) = timeout_at(deadline, place.lock()).await else {
            return Err(NotGranted {
                fault: Fault::TokenUnavailable,
                remote: None,
                error: None,
                unreached: None,
                is_late: true,
            });
        };
        if place
            .token
            .as_ref()
            .is_some_and(|token| Some(token.serial) == refused)
        {
            place.token = None;
        }
        if let Some(token) = place.fresh(asked_at) {
            return Ok(token);
        }
        let usable = place.usable();
        if let Some((at, failed)) = &place.failed
            && *at > asked_at
        {
            return usable.ok_or_else(|| failed.clone());
        }
        let began = Instant::now();
        match fetch().await {
            Ok(grant) => Ok(place.keep(grant, began)),
            Err(failed) => {
                if !failed.is_late {
                    place.failed = Some((Instant::now(), failed.clone()));
                }
                usable.ok_or(failed)
            }
        }
    }

    fn place(&self, key: Key, now: Instant) -> Arc<tokio::sync::Mutex<Place>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= KEPT && !entries.contains_key(&key) {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.used_at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                entries.remove(&oldest);
            }
        }
        let entry = entries.entry(key).or_insert_with(|| Entry {
            place: Arc::default(),
            used_at: now,
        });
        entry.used_at = now;
        entry.place.clone()
    }
}

impl Place {
    /// A token that is not near its end, or was got while the asker waited.
    fn fresh(&self, asked_at: Instant) -> Option<Token> {
        let now = Instant::now();
        let token = self.token.as_ref()?;
        (now < token.fresh_until || token.got_at > asked_at).then(|| token.clone())
    }

    /// One that has not expired, for when no other can be had.
    fn usable(&self) -> Option<Token> {
        let now = Instant::now();
        self.token.clone().filter(|token| now < token.usable_until)
    }

    fn keep(&mut self, grant: Grant, began: Instant) -> Token {
        self.count += 1;
        self.failed = None;
        let skew = SKEW.min(grant.lifetime / 10);
        let token = Token {
            authorization: grant.authorization,
            serial: self.count,
            got_at: Instant::now(),
            fresh_until: began + (grant.lifetime - skew),
            usable_until: began + grant.lifetime,
        };
        self.token = Some(token.clone());
        token
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
