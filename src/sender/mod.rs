//! HTTP out: one attempt, from a request to an observation.
//!
//! # The flow
//!
//! [`Sender::send`] takes an open connection from the [`pool`] or makes one: [`resolve`] gives the name's
//! addresses, the address rules keep those that are allowed, [`connection`] dials one of them, looks at who
//! answered, shakes hands ([`tls`]) and speaks HTTP/1.1 ([`http1`]) or, where the receiver offers it in TLS, HTTP/2. An endpoint's
//! own certificates and proxy make its [`route`], and where it wants a token, [`authorized`] has it fetched and put in.
//! [`heads`] has hyper read heads that it would refuse, [`http1_only`] knows whom HTTP/2 is not offered because its heads
//! cannot be read there, [`answer`] reads what came back up to a limit, and
//! [`notes`] notes what an attempt's details show. Whatever fails becomes a fault ([`fault`]),
//! never an error: to a sender, a receiver's failure is data.
//!
//! # What it guarantees
//!
//! - A request is sent once, or once more with a new token where a receiver refused the old one. A pooled connection that turns out closed before anything of the request was
//!   written is replaced within the attempt; once a byte may have left, nothing is sent again, unless the receiver says
//!   in HTTP/2 that it has not begun with it.
//! - A connection carries no request after its maximum age, so that a changed address or certificate, or a node that is to
//!   get nothing more, is noticed while there is always something to send. TLS [`sessions`] end at the same age.
//! - Nothing is sent to an address that the rules forbid. The address that was checked is the one dialled, and
//!   the peer of the connection is checked again. Redirects are not followed, proxy variables not read. Behind a proxy
//!   it is the proxy that dials: what can be known of the address here is checked, and the rest is the proxy's affair.
//! - Connections, TLS sessions and tokens of one route are never used on another.
//! - Time and memory are bounded, whatever a receiver does: the connect limit covers name, TCP and TLS, the
//!   total covers everything; heads and bodies are cut off while they are read.
//! - Every task belongs to [`Sender::close`], except the resolver's own, which end with their questions.
//!
//! # What it does not
//!
//! It neither retries nor judges: that is [`crate::domain::outcome`] and the dispatcher.

mod answer;
mod authorized;
mod certificate;
mod connection;
mod deadline;
mod fault;
mod heads;
mod http1;
mod http1_only;
mod identity;
mod notes;
mod pool;
mod proxy;
mod resolve;
mod route;
mod sessions;
mod socket;
mod tasks;
mod tls;
mod tokens;
mod verify;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::time::Instant;

#[cfg(any(test, fuzzing))]
pub(crate) use self::answer::retry_after;
use self::{
    answer::Wanted,
    connection::{Connection, Dialler, Failed},
    deadline::{blamed, within},
    http1_only::Http1Only,
    notes::millis,
    pool::{Bounds, Key, Pool},
    resolve::Resolver,
    route::Route,
    tasks::Tasks,
    tls::Trust,
    tokens::Tokens,
};
pub use self::{
    answer::{Decided, KeptHeaders},
    identity::{InvalidTls, check_tls, tls_warnings},
    route::Way,
    tls::{InvalidName, InvalidRoots, Roots, check_name, roots_from_pem},
};
use crate::{
    domain::{
        address::AddressRules,
        attempt_detail::{DetailBudget, HttpVersion, Timing, TlsDetail},
        endpoint_url::{EndpointUrl, UrlRefused},
        header_lines::HeaderLines,
        limits::RESPONSE_KEPT_BYTES,
        outcome::{Fault, Observation},
        proxy::ProxyUrl,
    },
    wire::request::OutboundRequest,
};

/// How often a request is sent again that a receiver says it has not begun with (HTTP/2's GOAWAY and REFUSED_STREAM): a
/// receiver that does so on each new connection is in trouble, and its trouble is an attempt's outcome.
const RESENDS: u32 = 3;

/// How to send; the defaults are the contract's.
#[derive(Clone, Debug)]
pub struct SenderOptions {
    pub rules: AddressRules,
    pub require_https: bool,
    /// For resolving, dialling and shaking hands together.
    pub connect_timeout: Duration,
    /// Idle HTTP/1.1 connections kept to one host and port.
    pub max_idle_per_host: usize,
    /// Idle connections kept in all; each holds a descriptor.
    pub max_idle: usize,
    /// Receivers mostly close idle connections after a minute; we do before they do.
    pub idle_timeout: Duration,
    /// How long a connection may carry requests, and a TLS session be resumed (`delivery.max_connection_age`).
    pub max_connection_age: Duration,
    /// Certificate authorities beside the system's (`delivery.ca_file`).
    pub extra_roots: Roots,
    /// Name servers to ask in place of the system's.
    pub name_servers: Vec<SocketAddr>,
    /// A proxy for all requests whose way says nothing of one (`delivery.proxy`).
    pub proxy: Option<ProxyUrl>,
    /// How much is noted of an attempt (`storage.attempt_detail_bytes`).
    pub detail: DetailBudget,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self {
            rules: AddressRules::default(),
            require_https: false,
            connect_timeout: Duration::from_secs(5),
            max_idle_per_host: 64,
            max_idle: 256,
            idle_timeout: Duration::from_secs(45),
            max_connection_age: Duration::from_secs(45),
            extra_roots: Roots::default(),
            name_servers: Vec::new(),
            proxy: None,
            detail: DetailBudget::new(2048),
        }
    }
}

/// The bounds of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// From the beginning to the last byte that is read.
    pub total: Duration,
}

/// The version of HTTP that was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What an attempt brought.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub observation: Observation,
    /// Who was connected to, if anyone.
    pub remote: Option<SocketAddr>,
    pub protocol: Option<Protocol>,
    /// The beginning of the answer's body, at most [`crate::domain::limits::RESPONSE_KEPT_BYTES`].
    pub excerpt: Bytes,
    pub headers: KeptHeaders,
    pub body_bytes_read: usize,
    /// Where the answer would have redirected to.
    pub location: Option<String>,
    /// How long each step took. Without those of connecting on a connection that was open.
    pub timing: Timing,
    /// The TLS of the connection; where the receiver's certificate had expired, what is known of that.
    pub tls: Option<TlsDetail>,
    /// The request's header lines, within the budget; secrets are hidden.
    pub request_lines: HeaderLines,
    /// Anything of the request has left this machine.
    pub sent: bool,
    /// The version in which the answer came.
    pub answered: Option<HttpVersion>,
    /// The answer's header lines, as those of the request.
    pub answer_lines: HeaderLines,
    /// What did not answer where no connection was made.
    pub unreached: Option<Unreached>,
    pub duration: Duration,
}

/// What an attempt did not get an answer from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreached {
    /// Nothing answered at this address, the first that was tried.
    Address(IpAddr),
    /// No name server said where this host is.
    Name(String),
}

/// Sends requests; cheap to clone.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

struct Inner {
    dialler: Dialler,
    pool: Arc<Pool>,
    http1_only: Http1Only,
    tokens: Tokens,
    proxy: Option<ProxyUrl>,
    /// That the operator's proxy fails has been said.
    proxy_fails: AtomicBool,
    require_https: bool,
    connect_timeout: Duration,
    detail: DetailBudget,
}

impl Exchange {
    /// Nothing was sent, and nothing was seen.
    pub(crate) fn nothing() -> Self {
        Self {
            observation: Observation::Fault(Fault::Interrupted),
            remote: None,
            protocol: None,
            excerpt: Bytes::new(),
            headers: KeptHeaders::default(),
            body_bytes_read: 0,
            location: None,
            timing: Timing::default(),
            tls: None,
            request_lines: HeaderLines::default(),
            sent: false,
            answered: None,
            answer_lines: HeaderLines::default(),
            unreached: None,
            duration: Duration::ZERO,
        }
    }
}

impl Sender {
    pub fn new(options: SenderOptions) -> Self {
        Self(Arc::new(Inner {
            dialler: Dialler {
                rules: options.rules,
                resolver: Resolver::new(options.name_servers),
                trust: ArcSwap::from_pointee(Trust::new(options.extra_roots, options.max_connection_age)),
                tasks: Tasks::default(),
            },
            pool: Pool::new(Bounds {
                per_host: options.max_idle_per_host,
                total: options.max_idle,
                idle: options.idle_timeout,
                age: options.max_connection_age,
            }),
            http1_only: Http1Only::default(),
            tokens: Tokens::default(),
            proxy: options.proxy,
            proxy_fails: AtomicBool::new(false),
            require_https: options.require_https,
            connect_timeout: options.connect_timeout,
            detail: options.detail,
        }))
    }

    /// Believes these authorities, and the system's as they are now, from the next connection on.
    pub fn trust(&self, extra_roots: Roots) {
        self.0
            .dialler
            .trust
            .store(Arc::new(Trust::new(extra_roots, self.0.pool.max_age())));
    }

    /// Makes one attempt on the plain way. Every failure is an observation.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the request may have been received all the same.
    pub async fn send(&self, request: OutboundRequest, limits: AttemptLimits) -> Exchange {
        self.send_by(request, Way::default(), limits, None).await
    }

    /// Makes one attempt on an endpoint's own way, with a token if it wants one. Every failure is an observation.
    ///
    /// With `decided`, the head of the answer is what the caller waits for: the body gets
    /// [`crate::domain::limits::RESPONSE_BODY`] at the most, and when it does not come at once with the head,
    /// `decided` is called.
    ///
    /// # Cancel safety
    /// As of [`Sender::send`].
    pub async fn send_by(
        &self,
        mut request: OutboundRequest,
        way: Way<'_>,
        limits: AttemptLimits,
        decided: Option<Decided<'_>>,
    ) -> Exchange {
        let started = Instant::now();
        let deadline = started + limits.total;
        let route = Route::new(&way, self.0.proxy.as_ref());
        let mut exchange = Exchange::nothing();
        let tasks = &self.0.dialler.tasks;
        let made = match way.oauth2 {
            None => {
                let wanted = Wanted {
                    kept: RESPONSE_KEPT_BYTES,
                    decided,
                };
                let attempt = self
                    .0
                    .attempt(&mut request, &route, deadline, wanted, &mut exchange);
                tasks.unless_stopped(attempt).await
            }
            Some(credentials) => {
                let attempt =
                    self.0
                        .authorized(&request, credentials, &route, deadline, decided, &mut exchange);
                tasks.unless_stopped(attempt).await
            }
        };
        if let Err(fault) = made.unwrap_or(Err(Fault::Interrupted)) {
            exchange.observation = Observation::Fault(blamed(deadline, fault));
        }
        self.0.watch_proxy(exchange.observation, &route);
        exchange.duration = started.elapsed();
        exchange
    }

    /// How many open connections wait for a next request.
    pub fn idle_connections(&self) -> usize {
        self.0.pool.usable()
    }

    /// Closes all connections and waits for their tasks. Attempts under way end, and later ones fail, as
    /// interrupted: drain them first.
    pub async fn close(&self) {
        self.0.pool.close();
        self.0.dialler.tasks.stop().await;
    }
}

impl Inner {
    /// Makes one attempt. The request's headers go with it.
    async fn attempt(
        &self,
        request: &mut OutboundRequest,
        route: &Route<'_>,
        deadline: Instant,
        wanted: Wanted<'_>,
        exchange: &mut Exchange,
    ) -> Result<(), Fault> {
        *exchange = Exchange::nothing();
        let secret = notes::request(exchange, request, route, self.detail);
        if self.dialler.tasks.is_stopped() {
            return Err(Fault::Interrupted);
        }
        self.check(&request.url)?;
        let key = Key::of(&request.url, route.id);
        let passed_on = route.hop.filter(|_| !request.url.is_https());
        let (mut connection, head) = self
            .head(request, &key, route, deadline, exchange)
            .await
            .map_err(|fault| passed_on.map_or(fault, |hop| hop.broken(fault)))?;
        if let Some(hop) = passed_on
            && head.status() == http::StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            return Err(hop.refused());
        }
        notes::answer(exchange, &head, &secret, self.detail);
        let head_came = Instant::now();
        let answer = answer::read(&mut connection, head, deadline, wanted).await;
        exchange.timing.body = Some(millis(head_came.elapsed()));
        exchange.observation = answer.observation;
        exchange.excerpt = answer.excerpt;
        exchange.headers = answer.headers;
        exchange.body_bytes_read = answer.body_bytes_read;
        exchange.location = answer.location;
        if answer.is_complete && connection.is_ready_again().await {
            self.pool.put(key, connection, &self.dialler.tasks);
        }
        Ok(())
    }

    /// What can be said of a URL before anything is done for it.
    fn check(&self, url: &EndpointUrl) -> Result<(), Fault> {
        url.check_literal(&self.dialler.rules, self.require_https)
            .map_err(|refused| match refused {
                UrlRefused::NotHttps => Fault::UrlInvalid,
                UrlRefused::Address(_) => Fault::AddressForbidden,
            })
    }

    /// Says once that the operator's proxy fails, and once that it works again: attempts alone would not be looked at,
    /// since they count for nothing.
    fn watch_proxy(&self, observation: Observation, route: &Route<'_>) {
        let Some(hop) = route.hop.filter(|hop| hop.is_ours) else {
            return;
        };
        let proxy = hop.proxy.redacted();
        match observation {
            Observation::Fault(fault @ (Fault::OurProxyRefused | Fault::OurProxyUnreachable)) => {
                if !self.proxy_fails.swap(true, Ordering::Relaxed) {
                    tracing::error!(%proxy, reason = fault.as_str(), "delivery.proxy cannot be used; deliveries wait");
                }
            }
            Observation::Response { .. } => {
                if self.proxy_fails.swap(false, Ordering::Relaxed) {
                    tracing::info!(%proxy, "delivery.proxy can be used again");
                }
            }
            Observation::Fault(_) => {}
        }
    }

    /// Sends the request on an open connection or else on a new one, and waits for the head of the answer.
    async fn head(
        &self,
        request: &mut OutboundRequest,
        key: &Key,
        route: &Route<'_>,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<(Connection, http::Response<hyper::body::Incoming>), Fault> {
        let mut resends = 0;
        let mut newer_than = None;
        loop {
            let pooled = self.pool.take(key, newer_than);
            let was_open = pooled.is_some();
            // Dropped half way, by a failure or by the caller, it is closed at once.
            let mut connection = match pooled {
                Some(connection) => connection,
                None => self.connect(request, key, route, deadline, exchange).await?,
            };
            exchange.remote = Some(connection.remote);
            exchange.protocol = Some(connection.protocol());
            exchange.tls = connection.tls;
            let began = Instant::now();
            let answered = within(deadline, connection.exchange(request)).await;
            exchange.timing.first_byte = Some(millis(began.elapsed()));
            exchange.sent = !matches!(answered, Ok(Err(Failed::Unsent(_))));
            match answered {
                Ok(Ok(head)) => return Ok((connection, head)),
                Ok(Err(Failed::Unsent(_))) if was_open && !self.dialler.tasks.is_stopped() => {}
                Ok(Err(Failed::Refused(_))) if resends < RESENDS && !self.dialler.tasks.is_stopped() => {
                    resends += 1;
                    newer_than = newer_than.max(Some(connection.opened));
                }
                Ok(Err(Failed::Unreadable(fault))) => {
                    self.http1_only.insert(key);
                    self.pool.forget(key);
                    return Err(fault);
                }
                Ok(Err(Failed::Unsent(fault) | Failed::Refused(fault) | Failed::Maybe(fault))) => {
                    return Err(connection.without_answer(fault));
                }
                Err(_) => {
                    self.pool.forget(key);
                    return Err(connection.without_answer(Fault::TimeoutTotal));
                }
            }
        }
    }

    async fn connect(
        &self,
        request: &OutboundRequest,
        key: &Key,
        route: &Route<'_>,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<Connection, Fault> {
        let started = Instant::now();
        let deadline = deadline.min(started + self.connect_timeout);
        let is_http1_only = self.http1_only.contains(key);
        let connected = self
            .dialler
            .connect(&request.url, route, is_http1_only, deadline, exchange)
            .await;
        if is_http1_only && connected.as_ref().is_err_and(|fault| fault.class().1) {
            self.http1_only.remove(key);
        }
        connected.map_err(|fault| blamed(deadline, fault))
    }
}
