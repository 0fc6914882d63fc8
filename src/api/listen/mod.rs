//! Where requests come in: a unix socket, and TCP when it is asked for.
//!
//! # The cast
//!
//! [`bind`] opens both listeners, so that what is wrong with an address or a path is known before anything is
//! served. [`Listeners::serve`] runs an accept loop for each ([`accept`]), and every connection is a tracked task of
//! its own ([`connection`]). The same router answers on both; the extension [`Via`](super::auth::Via) says by which a
//! request came.
//!
//! # What it guarantees
//!
//! A peer on the socket that the rules do not allow is closed before a byte of it is parsed. At most
//! `max_connections` are served on each listener; the others wait in the kernel's queue, so that neither TCP clients can
//! crowd out the socket nor all of them together the deliveries. Who is idle and has shown no key makes room for those
//! ([`idle`]), and when descriptors run short. Heads, bodies and the reading of answers have
//! deadlines. A request framed by both `Content-Length` and `Transfer-Encoding` is refused ([`framing`]).
//!
//! # What it does not
//!
//! There is no TLS: bind TCP to loopback, or put a proxy in front.

mod accept;
mod connection;
mod framing;
mod idle;
mod stream;
mod unix;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{accept::Acceptor, connection::Connections, unix::SocketFile};
use super::body::BodyTimeouts;

/// Where to listen, and how much a peer may ask of a connection.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// The path of the unix socket.
    pub socket: Option<PathBuf>,
    /// The socket file's permission bits.
    pub socket_mode: u32,
    pub tcp: Option<SocketAddr>,
    /// Connections open at a time, on each of the two listeners.
    pub max_connections: usize,
    /// For a request's head, from the end of the answer before: also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// Between two pieces of a body.
    pub body_idle_timeout: Duration,
    /// For a whole body.
    pub body_timeout: Duration,
    /// For a peer that takes nothing of its answer.
    pub write_timeout: Duration,
    /// What is left at shutdown to requests under way.
    pub drain_timeout: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            socket: None,
            socket_mode: 0o660,
            tcp: None,
            max_connections: 1024,
            header_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("another server is listening on {}", .0.display())]
    SocketInUse(PathBuf),
    #[error("{} is there and is not a socket; move it away or choose another path", .0.display())]
    NotASocket(PathBuf),
    #[error("the unix socket cannot be opened at {}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address}")]
    Tcp { address: SocketAddr, source: io::Error },
}

/// Open listeners. The socket's file is removed when they are dropped.
#[derive(Debug)]
pub struct Listeners {
    options: ListenOptions,
    socket: Option<SocketFile>,
    tcp: Option<(TcpListener, SocketAddr)>,
}

/// Opens the listeners that are asked for. Connections wait until [`Listeners::serve`].
///
/// # Errors
/// When the socket is in use, or either cannot be opened.
pub async fn bind(options: ListenOptions) -> Result<Listeners, ListenError> {
    let socket = match &options.socket {
        Some(path) => Some(SocketFile::bind(path, options.socket_mode).await?),
        None => None,
    };
    let tcp = match options.tcp {
        Some(address) => Some(
            bind_tcp(address)
                .await
                .map_err(|source| ListenError::Tcp { address, source })?,
        ),
        None => None,
    };
    Ok(Listeners { options, socket, tcp })
}

async fn bind_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

impl Listeners {
    /// The address of the TCP listener; its port was chosen by the kernel if 0 was asked for.
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, address)| *address)
    }

    /// Serves until `stop`, then finishes what is under way for at most the drain timeout. Every task it began has
    /// ended when it returns.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let Self { options, socket, tcp } = self;
        let tasks = TaskTracker::new();
        let abort = CancellationToken::new();
        let connections = Arc::new(Connections::new(router, &options, stop.clone(), abort.clone()));
        let acceptor = |name| Acceptor {
            name,
            max_connections: options.max_connections,
            connections: Arc::clone(&connections),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        // Not tasks of their own: a panic in an accept loop is the caller's to see.
        tokio::join!(
            acceptor("socket").run(socket),
            acceptor("tcp").run(tcp.map(|(listener, _)| listener))
        );
        tasks.close();
        if tokio::time::timeout(options.drain_timeout, tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = tasks.len(),
                "connections are closed before their requests have ended"
            );
            abort.cancel();
            tasks.wait().await;
        }
    }
}

impl ListenOptions {
    const fn body_timeouts(&self) -> BodyTimeouts {
        BodyTimeouts {
            idle: self.body_idle_timeout,
            total: self.body_timeout,
        }
    }
}

#[cfg(test)]
mod tests;
