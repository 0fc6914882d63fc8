//! One connection: HTTP/1.1 over a stream, with deadlines.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use super::{
    ListenOptions,
    idle::{Idle, Peer},
    stream::{Conflict, Watched},
};
use crate::api::{
    auth::Via,
    body::{BodyTimeouts, TimedBody},
    problem::{Kind, Problem},
};

/// Bytes of a request's head: the longest of ours, and as much again for what proxies add, several times over.
const HEAD_BYTES: usize = 32 * 1024;
/// Bytes that are buffered of a connection.
const BUFFER_BYTES: usize = 64 * 1024;

/// What all connections share.
pub struct Connections {
    router: Router,
    http: http1::Builder,
    body_timeouts: BodyTimeouts,
    write_timeout: std::time::Duration,
    stop: CancellationToken,
    abort: CancellationToken,
    /// Those that may be closed for others.
    pub idle: Arc<Idle>,
}

impl Connections {
    pub fn new(
        router: Router,
        options: &ListenOptions,
        stop: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_header_size(HEAD_BYTES)
            .max_buf_size(BUFFER_BYTES)
            // A client that has sent its request and closed its side still gets it carried out and answered.
            .half_close(true);
        let (body_timeouts, write_timeout) = (options.body_timeouts(), options.write_timeout);
        Self {
            router,
            http,
            body_timeouts,
            write_timeout,
            stop,
            abort,
            idle: Arc::default(),
        }
    }

    /// Serves one connection to its end, or to the end of its present request once the stop has come.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, via: Via) {
        let (stream, conflict) = Watched::new(stream, self.write_timeout);
        let peer = Peer::new(&self.idle, via);
        let service = service_fn(|request| self.answer(request, via, &conflict, &peer));
        let mut connection = std::pin::pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => ended,
                    () = self.abort.cancelled() => return,
                }
            }
            () = peer.close.cancelled() => return,
            ended = &mut connection => ended,
        };
        if let Err(error) = ended {
            // Peers hang up, time out and send nonsense; none of it is news.
            tracing::debug!(error = crate::api::problem::chain(&error), "a connection broke");
        }
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        via: Via,
        conflict: &Arc<Conflict>,
        peer: &Peer,
    ) -> Result<Response, Infallible> {
        if conflict.was_seen() {
            let detail = "content-length and transfer-encoding are both there; send one of them";
            return Ok(Problem::new(Kind::BadRequest, detail).closing().into_response());
        }
        let mut request: Request = request.map(|body| Body::new(TimedBody::new(body, self.body_timeouts)));
        request.extensions_mut().insert(via);
        request.extensions_mut().insert(peer.known.clone());
        peer.works();
        let answered = self.router.clone().call(request).await;
        peer.rests();
        answered
    }
}
