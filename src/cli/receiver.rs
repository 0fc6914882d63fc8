//! A receiver on this machine: takes requests, hands each to a decision, answers as decided.
//!
//! HTTP/1.1 on one TCP address. A request is read whole, up to a bound and within a deadline, before the decision
//! sees it; what to answer, and how late, is the decision's. [`Call::verify`] checks a signature as any receiver
//! should. It keeps nothing: who wants to remember requests does so in the decision.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{secret::SigningSecret, time::Timestamp},
    runtime::clock::Clock,
    wire::signature::{Scheme, VerifyError},
};

/// Connections at once: what one sender opens to one host, several times over.
const CONNECTIONS: usize = 256;
/// A body at the most: above the largest payload that a server can be set to take.
pub const BODY_BYTES: usize = 64 * 1024 * 1024;
/// Time for a request's head, and for a kept connection's next one.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Time for a request's body.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// Between tries to accept when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How far a signed timestamp may be from the present (Standard Webhooks leaves it to the receiver).
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// A request, whole.
#[derive(Debug)]
pub struct Call {
    /// When its last byte had come.
    pub at: Timestamp,
    pub method: Method,
    pub path: String,
    /// What follows the `?`, as it came.
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A request whose body did not come whole.
#[derive(Debug)]
pub struct Unread {
    pub at: Timestamp,
    pub method: Method,
    pub path: String,
    /// What it deserves: 400 when it broke off, 408 when it was too slow, 413 when it was too long.
    pub status: StatusCode,
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// How long to wait before answering.
    pub delay: Duration,
}

/// Says what to answer to a request.
type Decide = dyn Fn(Result<Call, Unread>) -> BoxFuture<'static, Reply> + Send + Sync;

/// A receiver at work. Dropping it closes its connections.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinSet<()>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    decide: Box<Decide>,
    body_bytes: usize,
    open: AtomicUsize,
    stop: CancellationToken,
}

/// A request that has come and is not answered yet.
struct Open<'a>(&'a AtomicUsize);

impl Call {
    /// Checks the request's signature, whose time may be as far from the present as [`TOLERANCE`].
    ///
    /// # Errors
    /// Why the request is not to be believed.
    pub fn verify(&self, scheme: Scheme, secrets: &[SigningSecret]) -> Result<(), VerifyError> {
        scheme.verify(secrets, &self.headers, &self.body, self.at, TOLERANCE)
    }

    /// The event's id, which tells a duplicate.
    pub fn event_id(&self) -> Option<&str> {
        self.headers.get("webhook-id")?.to_str().ok()
    }
}

impl Reply {
    /// An answer without a body, at once.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
        }
    }

    /// The same, with a body.
    #[must_use]
    pub fn saying(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }
}

impl Receiver {
    /// Listens on `address`; the kernel chooses the port when it is 0. A body may have `body_bytes`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start<F>(
        address: SocketAddr,
        body_bytes: usize,
        clock: Arc<dyn Clock>,
        decide: impl Fn(Result<Call, Unread>) -> F + Send + Sync + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            clock,
            decide: Box::new(move |call| Box::pin(decide(call))),
            body_bytes,
            open: AtomicUsize::new(0),
            stop: CancellationToken::new(),
        });
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, shared.clone()));
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that have been decided and are not answered yet.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Takes no new requests, and waits for those under way to be answered, up to `patience`; then closes what is
    /// left. Whether nothing was.
    pub async fn finish(mut self, patience: Duration) -> bool {
        self.shared.stop.cancel();
        timeout(patience, self.accepting.join_next()).await.is_ok()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => _ = connections.spawn(serve(stream, shared.clone())),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it an answer may wait for the acknowledgement of its head.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Peers hang up and send nonsense; none of it is news.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shared.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        #[expect(clippy::disallowed_methods, reason = "it is capped")]
        let reading = Limited::new(body, self.body_bytes).collect();
        let read = match timeout(BODY_WAIT, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
            Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
            Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
        };
        let at = self.clock.now();
        let (method, path) = (head.method, head.uri.path().to_owned());
        let call = match read {
            Ok(body) => Ok(Call {
                at,
                method,
                path,
                query: head.uri.query().map(str::to_owned),
                headers: head.headers,
                body,
            }),
            Err(status) => Err(Unread {
                at,
                method,
                path,
                status,
            }),
        };
        self.decided(call).await
    }

    async fn decided(&self, call: Result<Call, Unread>) -> Response<Full<Bytes>> {
        let _open = Open::new(&self.open);
        let reply = (self.decide)(call).await;
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        let mut response = Response::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }
}

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::header;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{runtime::clock::SystemClock, wire::signature::Signable};

    /// Sends a request, and reads the answer to its end.
    async fn exchange(receiver: &Receiver, headers: &HeaderMap, body: &str) -> String {
        let mut text = format!(
            "{} /in HTTP/1.1\r\nhost: x\r\nconnection: close\r\n",
            Method::POST
        );
        for (name, value) in headers {
            text += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        text += &format!("{}: {}\r\n\r\n{body}", header::CONTENT_LENGTH, body.len());
        let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn start(decide: impl Fn(Result<Call, Unread>) -> Reply + Send + Sync + 'static) -> Receiver {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let decide = move |call| std::future::ready(decide(call));
        Receiver::start(any, 100, Arc::new(SystemClock), decide)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_signed_request_is_believed_and_a_changed_one_is_not() {
        let secrets = vec![SigningSecret::generate([7; 32])];
        let known = secrets.clone();
        let receiver = start(move |call| {
            let call = call.unwrap();
            let status = match call.verify(Scheme::Standard, &known) {
                Ok(()) if call.event_id() == Some("e-1") && call.path == "/in" => StatusCode::OK,
                _ => StatusCode::UNAUTHORIZED,
            };
            Reply::new(status)
        })
        .await;
        let mut headers = HeaderMap::new();
        let what = Signable {
            id: "e-1",
            event_type: "a",
            at: SystemClock.now(),
            body: b"{}",
        };
        Scheme::Standard.sign(&secrets, &what, &mut headers).unwrap();
        let status = |answer: String| answer.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(status(exchange(&receiver, &headers, "{}").await), "200");
        assert_eq!(status(exchange(&receiver, &headers, "[]").await), "401");
        assert_eq!(receiver.open(), 0);
    }

    #[tokio::test]
    async fn a_body_over_the_bound_is_refused_and_said_so() {
        let receiver = start(|call| match call {
            Ok(_) => Reply::new(StatusCode::OK),
            Err(unread) => Reply::new(unread.status).saying("text/plain", "too long"),
        })
        .await;
        let none = HeaderMap::new();
        let long = "x".repeat(101);
        let answer = exchange(&receiver, &none, &long).await;
        assert!(
            answer.starts_with("HTTP/1.1 413") && answer.ends_with("too long"),
            "{answer}"
        );
        let answer = exchange(&receiver, &none, &long[1..]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn what_is_under_way_is_answered_before_it_is_finished() {
        let receiver = start(|_| Reply {
            delay: Duration::from_millis(100),
            ..Reply::new(StatusCode::OK)
        })
        .await;
        let address = receiver.address();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        while receiver.open() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(receiver.finish(Duration::from_secs(60)).await);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
