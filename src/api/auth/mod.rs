//! Who may ask for what.
//!
//! Over the unix socket the kernel has said who the peer is before a byte is parsed (see `listen`), and that peer may
//! do everything. Over TCP every request but the two probes brings a key: its SHA-256 is looked up, so that neither
//! the key nor how much of it was right can be learned from the time it takes. Refused keys are answered late, a few
//! at a time; the others are told at once that they are too many. A key may be of one tenant: [`mod@scope`] says what it
//! reaches.

mod need;
mod scope;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

pub use self::{
    need::Need,
    scope::{Scope, confine},
};
use super::{
    params::Params,
    problem::{Kind, Problem},
};
use crate::{
    dispatch::engine::KeyView,
    domain::{event::Label, id::KeyId, record::Role},
};

/// How a request came in. The listener puts it into the request's extensions; without it, the request is taken as
/// one from TCP.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Via {
    Socket,
    Tcp,
}

/// Whether a key was shown over a connection. The listener puts one for each connection into its requests' extensions.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<AtomicBool>);

impl Known {
    pub fn set(&self) {
        self.0.store(true, Relaxed);
    }

    pub fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub role: Role,
    /// The only one whose things it reaches.
    pub tenant: Option<Label>,
    pub via: Via,
    /// By which key; none over the socket.
    pub key: Option<KeyId>,
}

impl Principal {
    /// What records say of who did something.
    pub fn name(&self) -> String {
        self.key
            .map_or_else(|| "unix socket".to_owned(), |key| key.to_string())
    }
}

/// Every key of ours begins so.
pub const KEY_PREFIX: &str = "ph_";
/// A longer token is refused unread: ours have a tenth of it.
const TOKEN_BYTES: usize = 512;
/// Names under which keys are commonly put into a query, where they end up in logs.
const QUERY_NAMES: [&str; 5] = ["key", "api_key", "apikey", "token", "access_token"];
/// Refused keys that are answered at a time.
const REFUSALS_AT_ONCE: usize = 16;
/// How late a refused key is answered.
const REFUSAL_DELAY: Duration = Duration::from_millis(250);

/// Checks requests. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    look_up: Arc<LookUp>,
    refusals: Arc<Semaphore>,
}

/// Finds the key of a hash, when it is neither revoked nor expired.
type LookUp = dyn Fn(&[u8; 32]) -> Option<Arc<KeyView>> + Send + Sync;

impl Gate {
    pub fn new(look_up: impl Fn(&[u8; 32]) -> Option<Arc<KeyView>> + Send + Sync + 'static) -> Self {
        Self {
            look_up: Arc::new(look_up),
            refusals: Arc::new(Semaphore::new(REFUSALS_AT_ONCE)),
        }
    }
}

/// Lets a request pass, with its [`Principal`] among its extensions, or answers it.
pub async fn check(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let via = request.extensions().get().copied().unwrap_or(Via::Tcp);
    let path = request.extensions().get::<MatchedPath>();
    let need = Need::of(request.method(), path.map(MatchedPath::as_str));
    if need != Need::Nothing {
        match principal(via, request.headers(), request.uri(), &*gate.look_up) {
            Err(refused) => return slowly(&gate.refusals, refused).await.into_response(),
            Ok(principal) if !need.is_met_by(principal.role) => return forbidden(&principal).into_response(),
            Ok(principal) => _ = request.extensions_mut().insert(principal),
        }
        if let Some(known) = request.extensions().get::<Known>() {
            known.set();
        }
    }
    next.run(request).await
}

/// Who asks.
///
/// # Errors
/// [`Kind::Unauthorized`] when the request has no key that is known.
fn principal(
    via: Via,
    headers: &HeaderMap,
    uri: &Uri,
    look_up: impl Fn(&[u8; 32]) -> Option<Arc<KeyView>>,
) -> Result<Principal, Problem> {
    if via == Via::Socket {
        return Ok(Principal {
            role: Role::Admin,
            tenant: None,
            via,
            key: None,
        });
    }
    let mut query = Params::of(uri);
    for name in QUERY_NAMES {
        if !matches!(query.take::<String>(name), Ok(None)) {
            return Err(unauthorized(
                "a key in the query ends up in logs; send it as authorization: Bearer ph_…",
            ));
        }
    }
    let token = token(headers)?;
    let hash: [u8; 32] = Sha256::digest(token).into();
    let key = look_up(&hash).filter(|key| bool::from(key.hash.ct_eq(&hash)));
    let key = key.ok_or_else(|| unauthorized("the key is not known, or it was revoked or has expired"))?;
    Ok(Principal {
        role: key.role,
        tenant: key.tenant.clone(),
        via,
        key: Some(key.id),
    })
}

fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value,
        (None, _) => return Err(unauthorized("send a key as authorization: Bearer ph_…")),
        (Some(_), Some(_)) => return Err(unauthorized("the authorization header is there twice")),
    };
    let text = value.to_str().ok().filter(|text| text.len() <= TOKEN_BYTES);
    let (scheme, token) = text.and_then(|text| text.split_once(' ')).unwrap_or_default();
    let token = token.trim_ascii();
    if !scheme.eq_ignore_ascii_case("bearer") || !token.starts_with(KEY_PREFIX) {
        return Err(unauthorized(
            "the authorization header is not Bearer and a key that begins with ph_",
        ));
    }
    Ok(token)
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Kind::Unauthorized, detail)
}

fn forbidden(principal: &Principal) -> Problem {
    let role = match principal.role {
        Role::Viewer => "viewer",
        Role::Sender => "sender",
        Role::Manager => "manager",
        Role::Admin => "admin",
    };
    Problem::new(
        Kind::Forbidden,
        format!("a key of role {role} does not allow this"),
    )
}

/// Holds a refusal back for a moment, or says that there are too many of them.
async fn slowly(refusals: &Semaphore, refused: Problem) -> Problem {
    let Ok(_permit) = refusals.try_acquire() else {
        return Problem::new(
            Kind::Throttled,
            "too many requests with refused keys; try again in a second",
        );
    };
    tokio::time::sleep(REFUSAL_DELAY).await;
    refused
}

#[cfg(test)]
mod tests;
