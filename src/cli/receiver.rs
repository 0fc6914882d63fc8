//! A receiver on this machine: takes requests, hands each to a decision, answers as decided.
//!
//! HTTP/1.1 on one TCP address. A request is read whole, up to a bound and within a deadline, before the decision
//! sees it; what to answer, and how late, is the decision's. [`Call::verify`] checks a signature as any receiver
//! should. It keeps nothing: who wants to remember requests does so in the decision.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{
    domain::{secret::SigningSecret, time::Timestamp},
    runtime::clock::Clock,
    wire::signature::{Scheme, VerifyError},
};

/// Connections at once: what one sender opens to one host, several times over.
const CONNECTIONS: usize = 256;
/// A body at the most: above the largest payload that a server can be set to take.
const BODY_BYTES: usize = 64 * 1024 * 1024;
/// Time for a request's head, and for a kept connection's next one.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Time for a request's body.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// Between tries to accept when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How far a signed timestamp may be from the present (Standard Webhooks leaves it to the receiver).
const TOLERANCE: Duration = Duration::from_secs(300);

/// A request, whole.
#[derive(Debug)]
pub struct Call {
    /// When its last byte had come.
    pub at: Timestamp,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What to answer.
#[derive(Copy, Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// How long to wait before answering.
    pub delay: Duration,
}

/// Says what to answer to a request.
pub type Decide = dyn Fn(&Call) -> Reply + Send + Sync;

/// A receiver at work. Dropping it closes its connections.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    decide: Box<Decide>,
    open: AtomicUsize,
}

/// A request that has come and is not answered yet.
struct Open<'a>(&'a AtomicUsize);

impl Call {
    /// Checks the request's signature.
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

impl Receiver {
    /// Listens on `address`; the kernel chooses the port when it is 0.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(
        address: SocketAddr,
        clock: Arc<dyn Clock>,
        decide: impl Fn(&Call) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            clock,
            decide: Box::new(decide),
            open: AtomicUsize::new(0),
        });
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, shared.clone()));
        Ok(Self {
            address,
            shared,
            _accepting: accepting,
        })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that have been decided and are not answered yet.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => _ = connections.spawn(serve(stream, shared.clone())),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it an answer may wait for the acknowledgement of its head.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    // Peers hang up and send nonsense; none of it is news.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        #[expect(clippy::disallowed_methods, reason = "it is capped")]
        let reading = Limited::new(body, BODY_BYTES).collect();
        let status = match timeout(BODY_WAIT, reading).await {
            Ok(Ok(body)) => self.decided(head, body.to_bytes()).await,
            Ok(Err(error)) if error.is::<LengthLimitError>() => StatusCode::PAYLOAD_TOO_LARGE,
            Ok(Err(_)) => StatusCode::BAD_REQUEST,
            Err(_) => StatusCode::REQUEST_TIMEOUT,
        };
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    }

    async fn decided(&self, head: Parts, body: Bytes) -> StatusCode {
        let call = Call {
            at: self.clock.now(),
            path: head.uri.path().to_owned(),
            headers: head.headers,
            body,
        };
        let _open = Open::new(&self.open);
        let reply = (self.decide)(&call);
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        reply.status
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

    use http::{Method, header};
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

    #[tokio::test]
    async fn a_signed_request_is_believed_and_a_changed_one_is_not() {
        let secrets = vec![SigningSecret::generate([7; 32])];
        let known = secrets.clone();
        let decide = move |call: &Call| Reply {
            status: match call.verify(Scheme::Standard, &known) {
                Ok(()) if call.event_id() == Some("e-1") && call.path == "/in" => StatusCode::OK,
                _ => StatusCode::UNAUTHORIZED,
            },
            delay: Duration::ZERO,
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let receiver = Receiver::start(any, Arc::new(SystemClock), decide).await.unwrap();
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
}
