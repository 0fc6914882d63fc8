//! A keep-alive HTTP/1.1 client on hyper's own connection type, over any stream.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

pub const JSON: &str = "application/json";
pub const NDJSON: &str = "application/x-ndjson";

/// One connection.
pub struct Client(SendRequest<Full<Bytes>>);

impl Client {
    pub async fn unix(socket: &Path) -> std::io::Result<Self> {
        Ok(Self::over(UnixStream::connect(socket).await?).await)
    }

    pub async fn tcp(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { _ = connection.await });
        Self(requests)
    }

    /// Sends a request and reads the answer whole.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
        self.0.ready().await.unwrap();
        let answer = self.0.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, body)
    }

    pub async fn post(
        &mut self,
        path: &str,
        kind: &'static str,
        body: impl Into<Bytes>,
    ) -> (StatusCode, Bytes) {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body.into()))
            .unwrap();
        self.send(request).await
    }

    pub async fn get(&mut self, path: &str) -> (StatusCode, Bytes) {
        let request = Request::builder().uri(path).header(header::HOST, "localhost");
        self.send(request.body(Full::default()).unwrap()).await
    }

    /// POSTs JSON; the answer must be a success.
    pub async fn command(&mut self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(path, JSON, body.to_string()).await;
        assert!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&answer)
        );
        serde_json::from_slice(&answer).unwrap()
    }
}
