//! One connection to a receiver, from dialling to the exchange of a request for an answer's head.

use std::{net::SocketAddr, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, Version,
    header::{CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2,
};
use hyper_util::{client::legacy::connect::Connection as _, rt::TokioIo};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Exchange, Protocol, Unreached,
    deadline::within,
    fault,
    http1::{Http1, Outgoing},
    notes::millis,
    proxy::{self, Via},
    resolve::Resolver,
    route::{Hop, Route},
    socket::Socket,
    tasks::Tasks,
    tls::{Stream, Trust},
};
use crate::{
    domain::{
        address::AddressRules, attempt_detail::TlsDetail, endpoint_url::EndpointUrl, limits, outcome::Fault,
    },
    wire::request::OutboundRequest,
};

/// Addresses of one name that are tried, so that a name with hundreds does not eat the attempt.
const ADDRESSES: usize = 8;
/// How long it may take to learn a name's addresses where a proxy will look them up itself: on some networks no name
/// server answers.
const NAME_CHECK: Duration = Duration::from_secs(2);
/// How long an answered connection may take to be ready for the next request before it is given up.
const READY: Duration = Duration::from_millis(50);
/// What a receiver may have in flight towards us over one HTTP/2 connection, all streams together.
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is needed to make connections.
pub(super) struct Dialler {
    pub(super) rules: AddressRules,
    pub(super) resolver: Resolver,
    pub(super) trust: ArcSwap<Trust>,
    pub(super) tasks: Tasks,
}

pub(super) struct Connection {
    pub(super) remote: SocketAddr,
    /// When it was there.
    pub(super) opened: Instant,
    pub(super) tls: Option<TlsDetail>,
    requests: Requests,
    socket: Socket,
    /// Set where requests go to a proxy that is to pass them on.
    via: Option<Via>,
}

enum Requests {
    Http1(Http1),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Why there is no answer head.
pub(super) enum Failed {
    /// Nothing of the request has left this machine.
    Unsent(Fault),
    /// The receiver has not begun with it, and will not on this connection (RFC 9113, 8.7).
    Refused(Fault),
    /// What the receiver answers in HTTP/2 breaks its rules, so that nobody knows what it said.
    Unreadable(Fault),
    Maybe(Fault),
}

impl Dialler {
    /// Resolves, checks, dials, checks again, and shakes hands, all by `deadline`, without offering HTTP/2 if
    /// `is_http1_only`.
    ///
    /// Notes in `exchange` how long it took, who answered, and who it was that did not, unless that is a proxy.
    ///
    /// # Errors
    /// What kept it from a connection; `AddressForbidden` before anything is sent.
    pub(super) async fn connect(
        &self,
        url: &EndpointUrl,
        route: &Route<'_>,
        is_http1_only: bool,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<Connection, Fault> {
        let (socket, remote) = match &route.hop {
            None => self.dial_receiver(url, deadline, exchange).await?,
            Some(hop) => {
                self.check_beyond(url, deadline).await?;
                self.dial_proxy(hop, deadline, exchange)
                    .await
                    .map_err(|fault| hop.fault(fault))?
            }
        };
        exchange.remote = Some(remote);
        let began = Instant::now();
        let opening = self.open(url, route, is_http1_only, socket.clone(), &mut exchange.tls);
        let opened = within(deadline, opening).await;
        if url.is_https() {
            exchange.timing.tls = Some(millis(began.elapsed()));
        }
        let requests = opened.unwrap_or(Err(Fault::TimeoutConnect))?;
        let via = match &route.hop {
            Some(hop) if !url.is_https() => Some(Via::new(hop)?),
            Some(_) | None => None,
        };
        Ok(Connection {
            remote,
            opened: Instant::now(),
            tls: exchange.tls,
            requests,
            socket,
            via,
        })
    }

    async fn dial_receiver(
        &self,
        url: &EndpointUrl,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<(Socket, SocketAddr), Fault> {
        let allowed = self.allowed(url, deadline, exchange).await;
        let remotes = allowed.inspect_err(|fault| {
            exchange.unreached = (*fault == Fault::Dns).then(|| Unreached::Name(url.host_name()));
        })?;
        dial_any(&remotes, Some(&self.rules), deadline, exchange)
            .await
            .inspect_err(|fault| {
                let is_silence = matches!(fault, Fault::TimeoutConnect | Fault::Unreachable);
                let first = remotes.first().filter(|_| is_silence);
                exchange.unreached = first.map(|remote| Unreached::Address(remote.ip()));
            })
    }

    /// Refuses a receiver behind a proxy whose name leads, as far as can be seen from here, to an address that the rules
    /// forbid. It is the proxy that picks among several, so that one is enough. Literal addresses were checked before;
    /// a name that only the proxy can look up is for the proxy to judge.
    async fn check_beyond(&self, url: &EndpointUrl, deadline: Instant) -> Result<(), Fault> {
        if url.literal_ip().is_some() {
            return Ok(());
        }
        let until = deadline.min(Instant::now() + NAME_CHECK);
        let is_forbidden = |ip| self.rules.check_socket(SocketAddr::new(ip, url.port())).is_err();
        match self.resolver.resolve(&url.host_name(), until).await {
            Ok(ips) if ips.iter().copied().any(is_forbidden) => Err(Fault::AddressForbidden),
            Err(fault) if fault::is_shortage(fault) => Err(fault),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Dials a proxy. The operator's may stand anywhere; an endpoint's has to keep the rules like a receiver.
    async fn dial_proxy(
        &self,
        hop: &Hop<'_>,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<(Socket, SocketAddr), Fault> {
        let url = hop.proxy.url();
        if hop.is_ours {
            let remotes = self.resolved(url, deadline, exchange).await?;
            return dial_any(&remotes, None, deadline, exchange).await;
        }
        url.check_literal(&self.rules, false)
            .map_err(|_| Fault::AddressForbidden)?;
        let remotes = self.allowed(url, deadline, exchange).await?;
        dial_any(&remotes, Some(&self.rules), deadline, exchange).await
    }

    async fn allowed(
        &self,
        url: &EndpointUrl,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<Vec<SocketAddr>, Fault> {
        let mut remotes = self.resolved(url, deadline, exchange).await?;
        remotes.retain(|remote| self.rules.check_socket(*remote).is_ok());
        if remotes.is_empty() {
            Err(Fault::AddressForbidden)
        } else {
            Ok(remotes)
        }
    }

    async fn resolved(
        &self,
        url: &EndpointUrl,
        deadline: Instant,
        exchange: &mut Exchange,
    ) -> Result<Vec<SocketAddr>, Fault> {
        let ips = match url.literal_ip() {
            Some(ip) => vec![ip],
            None => {
                let began = Instant::now();
                let found = self.resolver.resolve(&url.host_name(), deadline).await;
                exchange.timing.dns = Some(millis(began.elapsed()));
                found?
            }
        };
        Ok(ips
            .into_iter()
            .map(|ip| SocketAddr::new(ip, url.port()))
            .collect())
    }

    async fn open(
        &self,
        url: &EndpointUrl,
        route: &Route<'_>,
        is_http1_only: bool,
        mut socket: Socket,
        seen: &mut Option<TlsDetail>,
    ) -> Result<Requests, Fault> {
        let stream = if url.is_https() {
            if let Some(hop) = &route.hop {
                proxy::tunnel(&mut socket, url, hop).await?;
            }
            let trust = self.trust.load_full();
            trust
                .handshake(&url.host_name(), socket, route.tls, is_http1_only, seen)
                .await?
        } else {
            Stream::Http(TokioIo::new(socket))
        };
        if stream.connected().is_negotiated_h2() {
            self.open_http2(stream).await
        } else {
            Ok(Requests::Http1(Http1::open(stream).await?))
        }
    }

    async fn open_http2(&self, stream: Stream) -> Result<Requests, Fault> {
        let handshake = http2::Builder::new(self.tasks.clone())
            .initial_stream_window_size(limits::RESPONSE_READ_BYTES as u32)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_header_list_size(limits::RESPONSE_HEAD_BYTES as u32)
            .handshake(stream)
            .await;
        let (requests, connection) = handshake.map_err(|error| fault::of_hyper(&error))?;
        // Its end reaches every stream by itself.
        self.tasks.spawn(connection);
        Ok(Requests::Http2(requests))
    }
}

/// Dials one after the other, each with its share of the time that is left.
async fn dial_any(
    remotes: &[SocketAddr],
    rules: Option<&AddressRules>,
    deadline: Instant,
    exchange: &mut Exchange,
) -> Result<(Socket, SocketAddr), Fault> {
    let began = Instant::now();
    let dialled = dial_in_turn(remotes, rules, deadline).await;
    exchange.timing.connect = Some(millis(began.elapsed()));
    dialled
}

async fn dial_in_turn(
    remotes: &[SocketAddr],
    rules: Option<&AddressRules>,
    deadline: Instant,
) -> Result<(Socket, SocketAddr), Fault> {
    let mut telling: Option<Fault> = None;
    let count = remotes.len().min(ADDRESSES);
    for (index, &remote) in remotes[..count].iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(count - index).unwrap_or(1);
        let dialled = within(Instant::now() + share, dial(remote, rules)).await;
        match dialled.unwrap_or(Err(Fault::TimeoutConnect)) {
            Ok(found) => return Ok(found),
            Err(fault @ (Fault::Descriptors | Fault::Memory | Fault::AddressForbidden)) => {
                return Err(fault);
            }
            Err(fault) if telling.is_none_or(|told| weight(fault) > weight(told)) => telling = Some(fault),
            Err(_) => {}
        }
    }
    Err(telling.unwrap_or(Fault::TimeoutConnect))
}

/// Connects to one address, and looks at who answered. Without rules it may be anyone.
async fn dial(remote: SocketAddr, rules: Option<&AddressRules>) -> Result<(Socket, SocketAddr), Fault> {
    let stream = TcpStream::connect(remote)
        .await
        .map_err(|error| match fault::of_io(&error) {
            // Most machines without a route to an IPv6 address have none to any, and are not cut off for that.
            Fault::NoRoute | Fault::Descriptors if remote.is_ipv6() && !is_exhausted(&error) => {
                Fault::Unreachable
            }
            fault => fault,
        })?;
    let socket = Socket::new(stream).map_err(|error| fault::of_io(&error))?;
    let (Ok(local), Ok(peer)) = (socket.local_addr(), socket.peer_addr()) else {
        return Err(Fault::Reset);
    };
    let forbids =
        |rules: &AddressRules| rules.check_socket(peer).is_err() || rules.is_own_listener(local, peer);
    if rules.is_some_and(forbids) {
        return Err(Fault::AddressForbidden);
    }
    Ok((socket, peer))
}

/// Which of several addresses' faults speaks for the name: one from further out shows that there is a route, and
/// having none in IPv4 says more than having none in IPv6. Among equals the first.
fn weight(fault: Fault) -> u8 {
    match fault {
        Fault::Unreachable => 0,
        Fault::NoRoute => 1,
        _ => 2,
    }
}

/// Whether this machine has run out of descriptors, rather than having no such address.
fn is_exhausted(error: &std::io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

impl Connection {
    pub(super) fn protocol(&self) -> Protocol {
        match self.requests {
            Requests::Http1(_) => Protocol::Http1,
            Requests::Http2(_) => Protocol::Http2,
        }
    }

    /// Whether a request may be put on it: open, idle if it must be, and silent.
    pub(super) fn is_usable(&self) -> bool {
        match &self.requests {
            Requests::Http1(requests) => requests.is_ready() && self.socket.is_quiet(),
            Requests::Http2(requests) => requests.is_ready(),
        }
    }

    /// Another handle to the same connection, where it carries several requests at once.
    pub(super) fn share(&self) -> Option<Self> {
        match &self.requests {
            Requests::Http1(_) => None,
            Requests::Http2(requests) => Some(Self {
                remote: self.remote,
                opened: self.opened,
                tls: self.tls,
                requests: Requests::Http2(requests.clone()),
                socket: self.socket.clone(),
                // Only connections in TLS are shared, and those lead to the receiver itself.
                via: None,
            }),
        }
    }

    /// Sends a request and waits for the head of the answer. The request has its headers afterwards only if it can be
    /// sent once more: nothing of it has left this machine, or its receiver has not begun with it.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a request half sent; the connection must then not be used again.
    pub(super) async fn exchange(
        &mut self,
        request: &mut OutboundRequest,
    ) -> Result<Response<Incoming>, Failed> {
        let via = self.via.as_ref();
        let mut kept = None;
        let answer = match &mut self.requests {
            Requests::Http1(requests) => {
                let outgoing = http_request(request, Version::HTTP_11, via).map_err(Failed::Unsent)?;
                requests.exchange(outgoing).await
            }
            Requests::Http2(requests) => {
                kept = Some(request.headers.clone());
                let outgoing = http_request(request, Version::HTTP_2, via).map_err(Failed::Unsent)?;
                requests.try_send_request(outgoing).await
            }
        };
        let mut error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let unsent = error.take_message();
        let is_refused = unsent.is_some() || fault::is_refused(error.error());
        Err(match (kept, unsent) {
            (Some(headers), _) if is_refused => {
                request.headers = headers;
                Failed::Refused(fault::of_hyper(error.error()))
            }
            (None, Some(outgoing)) => {
                take_back(outgoing, request);
                Failed::Unsent(self.end(error.error()).await)
            }
            (Some(_), _) if fault::is_unreadable(error.error()) => {
                Failed::Unreadable(fault::of_hyper(error.error()))
            }
            (Some(_), _) | (None, None) => Failed::Maybe(fault::of_hyper(error.error())),
        })
    }

    /// What a request without an answer ended with: a receiver that has said no more than an interim status that HTTP
    /// does not know takes that for an answer.
    pub(super) fn without_answer(&self, fault: Fault) -> Fault {
        let is_end = matches!(fault, Fault::TimeoutTotal | Fault::ClosedEarly | Fault::Reset);
        match &self.requests {
            Requests::Http1(requests) if is_end && requests.is_stuck_at_unknown_interim() => Fault::Protocol,
            Requests::Http1(_) | Requests::Http2(_) => fault,
        }
    }

    /// hyper says of a request that it never began only that the connection was closed; the connection's own end
    /// says why.
    async fn end(&mut self, closed: &hyper::Error) -> Fault {
        let ended = match &mut self.requests {
            Requests::Http1(requests) => requests.ended().await,
            Requests::Http2(_) => None,
        };
        ended.unwrap_or_else(|| fault::of_hyper(closed))
    }

    /// Waits a moment for the connection to be ready for another request; `false` when it is of no more use.
    pub(super) async fn is_ready_again(&mut self) -> bool {
        match &mut self.requests {
            Requests::Http1(requests) => {
                matches!(tokio::time::timeout(READY, requests.ready()).await, Ok(true))
            }
            Requests::Http2(requests) => requests.is_ready(),
        }
    }

    /// The next piece of the body of an answer that came on this connection.
    pub(super) async fn frame(&mut self, body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
        match &mut self.requests {
            Requests::Http1(requests) => requests.frame(body).await,
            Requests::Http2(_) => body.frame().await,
        }
    }
}

/// Moves a request's headers into the form that is sent, with those of the connection.
fn http_request(
    request: &mut OutboundRequest,
    version: Version,
    via: Option<&Via>,
) -> Result<Outgoing, Fault> {
    let url = &request.url;
    let mut uri = http::Uri::builder().path_and_query(url.path_and_query());
    let mut host = None;
    if version == Version::HTTP_2 {
        uri = uri.scheme("https").authority(url.authority());
    } else {
        host = Some(HeaderValue::try_from(url.authority()).map_err(|_| Fault::UrlInvalid)?);
    }
    if via.is_some() {
        uri = uri.scheme("http").authority(url.authority());
    }
    let uri = uri.build().map_err(|_| Fault::UrlInvalid)?;
    let mut built = Request::new(Full::new(request.body.clone()));
    *built.method_mut() = request.method.clone();
    *built.uri_mut() = uri;
    // hyper says nothing of a body that is empty, in HTTP/1.1.
    let is_said_empty = request.body.is_empty() && request.states_length();
    let headers = built.headers_mut();
    *headers = std::mem::take(&mut request.headers);
    if let Some(host) = host {
        headers.insert(HOST, host);
    }
    if is_said_empty {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Some(authorization) = via.and_then(|via| via.authorization.as_ref()) {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    Ok(built)
}

/// Undoes [`http_request`]. None of the connection's headers can be the request's own.
fn take_back(outgoing: Outgoing, request: &mut OutboundRequest) {
    request.headers = outgoing.into_parts().0.headers;
    request.headers.remove(HOST);
    request.headers.remove(CONTENT_LENGTH);
    request.headers.remove(PROXY_AUTHORIZATION);
}
