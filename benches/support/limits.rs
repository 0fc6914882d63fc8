//! What the machine can do without a server: a bare HTTP client, and bare appends with a sync each.

use std::{
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use tokio::task::JoinSet;

use super::{LOAD, client::Client, proc};

/// A delivery as the receiver got it, to be sent again as it is.
#[derive(Clone)]
pub struct Copy {
    headers: HeaderMap,
    body: Bytes,
}

impl Copy {
    pub fn new((headers, body): (HeaderMap, Bytes)) -> Self {
        Self { headers, body }
    }

    pub fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// What a bare client reached.
pub struct Bare {
    /// Requests a second.
    pub rate: f64,
    /// CPU seconds of the client, without the receiver, for each request.
    pub cpu: f64,
}

/// Sends copies of a delivery on `connections` keep-alive connections to each receiver, as fast as they are answered.
pub async fn bare_client(to: &[SocketAddr], connections: usize, copy: &Copy, run: Duration) -> Bare {
    let mut clients = Vec::new();
    for address in to.iter().cycle().take(connections * to.len()) {
        clients.push(Client::tcp(*address).await);
    }
    let cpu = proc::thread_cpu_seconds(LOAD);
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for mut client in clients {
        let copy = copy.clone();
        senders.spawn(async move {
            let mut sent = 0_u64;
            while started.elapsed() < run {
                assert_eq!(client.send(copy.request()).await.0, StatusCode::OK);
                sent += 1;
            }
            sent
        });
    }
    let sent = senders.join_all().await.into_iter().sum::<u64>() as f64;
    Bare {
        rate: sent / started.elapsed().as_secs_f64(),
        cpu: (proc::thread_cpu_seconds(LOAD) - cpu) / sent,
    }
}

/// Appends to a file, a sync each.
pub struct Appender {
    file: File,
    bytes: Vec<u8>,
}

impl Appender {
    /// Appends of this many bytes, to a new file in `dir`.
    pub fn new(dir: &Path, bytes: usize) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(dir.join("appends"))
            .unwrap();
        Self {
            file,
            bytes: vec![7; bytes.max(1)],
        }
    }

    pub fn append(&mut self) {
        self.file.write_all(&self.bytes).unwrap();
        self.file.sync_data().unwrap();
    }

    /// Appends these bytes, with a sync.
    pub fn append_bytes(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
        self.file.sync_data().unwrap();
    }

    /// Appends a second, over `run`.
    pub fn rate(&mut self, run: Duration) -> f64 {
        let started = Instant::now();
        let mut count = 0.0;
        while started.elapsed() < run {
            self.append();
            count += 1.0;
        }
        count / started.elapsed().as_secs_f64()
    }
}
