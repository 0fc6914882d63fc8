//! HTTP out: one attempt, from a request to an observation.
//!
//! # The flow
//!
//! [`Sender::send`] takes an open connection from the [`pool`] or makes one: [`resolve`] gives the name's
//! addresses, the address rules keep those that are allowed, [`connection`] dials one of them, looks at who
//! answered, shakes hands ([`tls`]) and speaks HTTP/1.1 or, where the receiver offers it in TLS, HTTP/2.
//! [`answer`] reads what came back up to a limit. Whatever fails becomes a fault ([`fault`]), never an error:
//! to a sender, a receiver's failure is data.
//!
//! # What it guarantees
//!
//! - A request is sent once. A pooled connection that turns out closed before anything of the request was
//!   written is replaced within the attempt; once a byte may have left, nothing is sent again.
//! - Nothing is sent to an address that the rules forbid. The address that was checked is the one dialled, and
//!   the peer of the connection is checked again. Redirects are not followed, proxy variables not read.
//! - Time and memory are bounded, whatever a receiver does: the connect limit covers name, TCP and TLS, the
//!   total covers everything; heads and bodies are cut off while they are read.
//! - Every task belongs to [`Sender::close`], except the resolver's own, which end with their questions.
//!
//! # What it does not
//!
//! It neither retries nor judges: that is [`crate::domain::outcome`] and the dispatcher.

mod answer;
mod connection;
mod fault;
mod pool;
mod resolve;
mod socket;
mod tasks;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout_at};

pub use self::tls::{InvalidRoots, roots_from_pem};
use self::{
    connection::{Connection, Dialler, Failed},
    pool::{Key, Pool},
    resolve::Resolver,
    tasks::Tasks,
    tls::Trust,
};
use crate::{
    domain::{
        address::AddressRules,
        endpoint_url::UrlRefused,
        outcome::{Fault, Observation},
    },
    wire::request::OutboundRequest,
};

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
    /// Certificate authorities beside the system's (`delivery.ca_file`).
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Name servers to ask in place of the system's.
    pub name_servers: Vec<SocketAddr>,
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
            extra_roots: Vec::new(),
            name_servers: Vec::new(),
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
    pub body_bytes_read: usize,
    /// Where the answer would have redirected to.
    pub location: Option<String>,
    /// How long it took to connect, or to fail to; `None` on a connection that was open.
    pub connect: Option<Duration>,
    pub duration: Duration,
}

/// Sends requests; cheap to clone.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

struct Inner {
    dialler: Dialler,
    pool: Arc<Pool>,
    require_https: bool,
    connect_timeout: Duration,
}

impl Sender {
    pub fn new(options: SenderOptions) -> Self {
        Self(Arc::new(Inner {
            dialler: Dialler {
                rules: options.rules,
                resolver: Resolver::new(options.name_servers),
                trust: Trust::new(options.extra_roots),
                tasks: Tasks::default(),
            },
            pool: Pool::new(options.max_idle_per_host, options.max_idle, options.idle_timeout),
            require_https: options.require_https,
            connect_timeout: options.connect_timeout,
        }))
    }

    /// Makes one attempt. Every failure is an observation.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the request may have been received all the same.
    pub async fn send(&self, request: OutboundRequest, limits: AttemptLimits) -> Exchange {
        let started = Instant::now();
        let mut exchange = Exchange {
            observation: Observation::Fault(Fault::Interrupted),
            remote: None,
            protocol: None,
            excerpt: Bytes::new(),
            body_bytes_read: 0,
            location: None,
            connect: None,
            duration: Duration::ZERO,
        };
        if let Err(fault) = self
            .0
            .attempt(&request, started + limits.total, &mut exchange)
            .await
        {
            exchange.observation = Observation::Fault(fault);
        }
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

/// A connection in use. Dropped half way, by a failure or by the caller, it is closed at once.
struct Lease(Option<Connection>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.abort();
        }
    }
}

impl Inner {
    async fn attempt(
        &self,
        request: &OutboundRequest,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<(), Fault> {
        if self.dialler.tasks.is_stopped() {
            return Err(Fault::Interrupted);
        }
        request
            .url
            .check_literal(&self.dialler.rules, self.require_https)
            .map_err(|refused| match refused {
                UrlRefused::NotHttps => Fault::UrlInvalid,
                UrlRefused::Address(_) => Fault::AddressForbidden,
            })?;
        let key = Key::of(&request.url);
        let (mut lease, head) = self.head(request, &key, deadline, exchange).await?;
        let answer = answer::read(head, deadline).await;
        exchange.observation = answer.observation;
        exchange.excerpt = answer.excerpt;
        exchange.body_bytes_read = answer.body_bytes_read;
        exchange.location = answer.location;
        if answer.is_complete
            && let Some(mut connection) = lease.0.take()
            && connection.is_ready_again().await
        {
            self.pool.put(key, connection, &self.dialler.tasks);
        }
        Ok(())
    }

    /// Sends the request on an open connection or else on a new one, and waits for the head of the answer.
    async fn head(
        &self,
        request: &OutboundRequest,
        key: &Key,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<(Lease, http::Response<hyper::body::Incoming>), Fault> {
        loop {
            let pooled = self.pool.take(key);
            let was_open = pooled.is_some();
            let mut lease = Lease(pooled);
            let connection = match &mut lease.0 {
                Some(connection) => connection,
                none => none.insert(self.connect(request, deadline, exchange).await?),
            };
            exchange.remote = Some(connection.remote);
            exchange.protocol = Some(connection.protocol());
            match timeout_at(deadline, connection.exchange(request)).await {
                Ok(Ok(head)) => return Ok((lease, head)),
                Ok(Err(Failed::Unsent(_))) if was_open && !self.dialler.tasks.is_stopped() => {}
                Ok(Err(Failed::Unsent(fault) | Failed::Maybe(fault))) => return Err(fault),
                Err(_) => {
                    self.pool.forget(key);
                    return Err(Fault::TimeoutTotal);
                }
            }
        }
    }

    async fn connect(
        &self,
        request: &OutboundRequest,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<Connection, Fault> {
        let started = Instant::now();
        let connected = self
            .dialler
            .connect(&request.url, deadline.min(started + self.connect_timeout))
            .await;
        exchange.connect = Some(started.elapsed());
        connected
    }
}
