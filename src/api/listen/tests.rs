//! Raw bytes over real sockets, against a trivial router.

use std::path::Path;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use super::*;
use crate::api::{
    auth::{Known, Via},
    body,
    meter::Meter,
    problem::Problem,
};

struct Server {
    addr: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(options: ListenOptions, router: Router) -> Self {
        let tcp = options.tcp.or(Some("127.0.0.1:0".parse().unwrap()));
        let listeners = bind(ListenOptions { tcp, ..options }).await.unwrap();
        let (addr, stop) = (listeners.tcp_addr().unwrap(), CancellationToken::new());
        let serving = TaskTracker::new().spawn(listeners.serve(router, stop.clone()));
        Self { addr, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Reads until `wanted` has come.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), wanted: &str) -> String {
    let mut answer = String::new();
    while !answer.contains(wanted) {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    answer
}

async fn echo(headers: HeaderMap, body: Body) -> Result<String, Problem> {
    let bytes = body::read_whole(&Meter::unbounded(), &headers, body, 100_000).await?;
    Ok(format!("read {}", bytes.len()))
}

fn router() -> Router {
    Router::new()
        .route(
            "/",
            get(|axum::Extension(via): axum::Extension<Via>| async move { format!("by {via:?}") }),
        )
        .route("/echo", post(echo))
}

fn quick() -> ListenOptions {
    let short = Duration::from_millis(50);
    ListenOptions {
        header_timeout: short,
        body_idle_timeout: short,
        drain_timeout: short,
        ..Default::default()
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn one_router_serves_tcp_and_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let server = Server::start(
        ListenOptions {
            socket: Some(path.clone()),
            ..Default::default()
        },
        router(),
    )
    .await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(GET).await.unwrap();
        read_until(&mut stream, "by Tcp").await;
    }
    let mut socket = UnixStream::connect(&path).await.unwrap();
    socket.write_all(GET).await.unwrap();
    read_until(&mut socket, "by Socket").await;
    server.stop().await;
    assert!(!Path::new(&path).exists());
    assert_eq!(
        read_to_end(&mut stream).await + &read_to_end(&mut socket).await,
        ""
    );
}

#[tokio::test]
async fn a_request_framed_twice_is_refused_and_closed() {
    let server = Server::start(ListenOptions::default(), router()).await;
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.contains("connection: close") && answer.matches("HTTP/1.1").count() == 1,
            "{answer}"
        );
    }
    let two_lengths = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n";
    assert!(server.exchange(two_lengths).await.starts_with("HTTP/1.1 400 "));
    let no_chunks = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n";
    assert!(server.exchange(no_chunks).await.starts_with("HTTP/1.1 400 "));
    server.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_with_or_without_a_length() {
    let server = Server::start(ListenOptions::default(), router()).await;
    let long = "x".repeat(300_000);
    let announced = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n{long}");
    let chunked = format!(
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n{long}\r\n0\r\n\r\n"
    );
    for request in [announced, chunked] {
        let mut stream = server.connect().await;
        // It reads only after it has sent everything, as most clients do.
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "at most 100000 bytes").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        .await
        .unwrap();
    read_until(&mut stream, "read 3").await;
    server.stop().await;
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_are_closed() {
    let server = Server::start(quick(), router()).await;
    assert!(!server.exchange(b"").await.contains("200"));
    assert!(!server.exchange(b"GET / HTTP/1.1\r\nHo").await.contains("200"));
    let late = server
        .exchange(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab")
        .await;
    assert!(
        late.starts_with("HTTP/1.1 408 ") && late.contains("connection: close"),
        "{late}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let server = Server::start(ListenOptions::default(), router()).await;
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let answer = server.exchange(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    server.stop().await;
}

/// The same router, where everybody is known.
fn knowing(router: Router) -> Router {
    router.layer(axum::middleware::from_fn(
        |request: axum::extract::Request, next: axum::middleware::Next| {
            request.extensions().get::<Known>().unwrap().set();
            next.run(request)
        },
    ))
}

#[tokio::test]
async fn an_idle_stranger_makes_room_for_the_next_connection() {
    let options = ListenOptions {
        max_connections: 1,
        ..Default::default()
    };
    let server = Server::start(options, router()).await;
    let mut first = server.connect().await;
    first.write_all(GET).await.unwrap();
    read_until(&mut first, "by Tcp").await;
    let mut silent = server.connect().await;
    let mut second = server.connect().await;
    second.write_all(GET).await.unwrap();
    read_until(&mut second, "by Tcp").await;
    assert_eq!(
        read_to_end(&mut first).await + &read_to_end(&mut silent).await,
        ""
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stranger_that_is_being_answered_keeps_its_place() {
    let (router, reached, go) = gated();
    let options = ListenOptions {
        max_connections: 1,
        ..Default::default()
    };
    let server = Server::start(options, router).await;
    let mut first = server.connect().await;
    first.write_all(GET).await.unwrap();
    reached.notified().await;
    let mut second = server.connect().await;
    second.write_all(GET).await.unwrap();
    go.notify_one();
    read_until(&mut first, "HTTP/1.1 202").await;
    reached.notified().await;
    go.notify_one();
    read_until(&mut second, "HTTP/1.1 202").await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_over_the_cap_waits_its_turn() {
    let server = Server::start(
        ListenOptions {
            max_connections: 1,
            ..Default::default()
        },
        knowing(router()),
    )
    .await;
    let mut first = server.connect().await;
    first.write_all(GET).await.unwrap();
    read_until(&mut first, "by Tcp").await;
    let mut second = server.connect().await;
    second.write_all(GET).await.unwrap();
    first.write_all(GET).await.unwrap();
    read_until(&mut first, "by Tcp").await;
    drop(first);
    read_until(&mut second, "by Tcp").await;
    server.stop().await;
}

/// A route that says when it was reached, and answers when it is let go.
fn gated() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (entered, leave) = (Arc::clone(&reached), Arc::clone(&go));
    let handler = move || async move {
        entered.notify_one();
        leave.notified().await;
        StatusCode::ACCEPTED
    };
    (Router::new().route("/", get(handler)), reached, go)
}

#[tokio::test]
async fn a_request_under_way_is_answered_at_shutdown() {
    let (router, reached, go) = gated();
    let server = Server::start(ListenOptions::default(), router).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    reached.notified().await;
    server.stop.cancel();
    go.notify_one();
    let answer = read_to_end(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 202 ") && answer.contains("connection: close"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_at_the_deadline() {
    let (router, reached, _go) = gated();
    let server = Server::start(quick(), router).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    reached.notified().await;
    server.stop().await;
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_hangs_up_after_sending_is_still_served() {
    let (router, reached, go) = gated();
    let finished = Arc::new(Semaphore::new(0));
    let ended = Arc::clone(&finished);
    let router = router.layer(axum::middleware::map_response(
        move |response: axum::response::Response| {
            ended.add_permits(1);
            async { response }
        },
    ));
    let server = Server::start(ListenOptions::default(), router).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    reached.notified().await;
    drop(stream);
    // The loop has seen the end of the stream by the time another connection is answered.
    let mut other = server.connect().await;
    other.write_all(GET).await.unwrap();
    reached.notified().await;
    go.notify_waiters();
    let both = finished.acquire_many(2);
    drop(
        tokio::time::timeout(Duration::from_secs(10), both)
            .await
            .expect("both handlers end")
            .unwrap(),
    );
    server.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_an_error_of_its_own() {
    let server = Server::start(ListenOptions::default(), router()).await;
    let second = bind(ListenOptions {
        tcp: Some(server.addr),
        ..Default::default()
    })
    .await;
    assert!(matches!(second, Err(ListenError::Tcp { .. })), "{second:?}");
    server.stop().await;
}
