//! A receiver that counts, and answers 200: but for `/down`, which answers 503, and `/lags/N`, which can be told to.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore};

use super::lags::Lags;

const PATIENCE: Duration = Duration::from_secs(120);

/// What came in on all its listeners together.
pub struct Receiver {
    pub started: Instant,
    count: AtomicU64,
    /// Nanoseconds after `started` at which the first and the last request since the reset came.
    first: AtomicU64,
    last: AtomicU64,
    /// One permit for each request: lets a load keep a bounded number of deliveries on the way.
    pub arrived: Semaphore,
    sample: Mutex<Option<(HeaderMap, Bytes)>>,
    /// What came of steady loads, by the number that the path `/lags/0` and so on names.
    pub lags: [Lags; LAGS],
    /// Those of them that answer 503 now, and take no note.
    pub down: [AtomicBool; LAGS],
    /// Requests that were answered with 503.
    pub refused: AtomicU64,
}

/// Receivers that note what comes of steady loads.
pub const LAGS: usize = 4;
/// How long `/lags/2` takes to answer.
const SLOW: Duration = Duration::from_millis(50);

impl Receiver {
    /// Listens on `ports` ports of loopback, on a runtime of its own.
    pub fn start(runtime: &Handle, ports: usize) -> (Arc<Self>, Vec<SocketAddr>) {
        let receiver = Arc::new(Self {
            started: Instant::now(),
            count: AtomicU64::new(0),
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
            arrived: Semaphore::new(0),
            sample: Mutex::new(None),
            lags: Default::default(),
            down: Default::default(),
            refused: AtomicU64::new(0),
        });
        let addresses = (0..ports)
            .map(|_| runtime.block_on(receiver.clone().listen()))
            .collect();
        (receiver, addresses)
    }

    async fn listen(self: Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let receiver = self.clone();
                let service = service_fn(move |request| receive(receiver.clone(), request));
                // A connection that breaks is the sender's business.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        address
    }

    /// Forgets what came.
    pub fn reset(&self) {
        self.count.store(0, Relaxed);
        self.first.store(u64::MAX, Relaxed);
        self.last.store(0, Relaxed);
        self.arrived.forget_permits(usize::MAX);
        *self.sample.lock().unwrap() = None;
    }

    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Waits for the `count`th request since the reset, as long as there are some.
    pub async fn wait(&self, count: u64) {
        let (mut since, mut seen) = (Instant::now(), 0);
        while self.count() < count {
            if self.count() != seen {
                (since, seen) = (Instant::now(), self.count());
            }
            assert!(
                since.elapsed() < PATIENCE,
                "{} of {count} deliveries came",
                self.count()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Requests a second from the first to the last since the reset.
    pub fn rate(&self) -> f64 {
        let nanos = self.last.load(Relaxed).saturating_sub(self.first.load(Relaxed));
        (self.count() - 1) as f64 / (nanos as f64 / 1e9)
    }

    /// When the last request came.
    pub fn last(&self) -> Instant {
        self.started + Duration::from_nanos(self.last.load(Relaxed))
    }

    /// The first request since the reset.
    pub fn sample(&self) -> (HeaderMap, Bytes) {
        self.sample.lock().unwrap().clone().unwrap()
    }
}

async fn receive(
    receiver: Arc<Receiver>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let came = receiver.started.elapsed();
    let place: Option<usize> = head
        .uri
        .path()
        .strip_prefix("/lags/")
        .and_then(|place| place.parse().ok());
    if head.uri.path() == "/down" || place.is_some_and(|place| receiver.down[place].load(Relaxed)) {
        receiver.refused.fetch_add(1, Relaxed);
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(answer);
    }
    if let Some(place) = place {
        receiver.lags[place].note(&body, came);
    }
    let nanos = u64::try_from(came.as_nanos()).unwrap();
    receiver.last.fetch_max(nanos, Relaxed);
    if receiver.first.fetch_min(nanos, Relaxed) == u64::MAX {
        *receiver.sample.lock().unwrap() = Some((head.headers, body));
    }
    receiver.count.fetch_add(1, Relaxed);
    receiver.arrived.add_permits(1);
    if place == Some(2) {
        tokio::time::sleep(SLOW).await;
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}
