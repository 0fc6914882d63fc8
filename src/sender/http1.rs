//! An HTTP/1.1 connection without a task of its own.
//!
//! hyper splits a connection in two: a handle that takes requests, and a driver that moves the bytes, meant for a task.
//! Here whoever uses the connection polls the driver: a request that goes out, and an answer that comes in, are each one
//! wake-up of one task, which is what most of the time between them would go into otherwise. An idle connection is driven
//! by nobody; that its receiver has closed it shows when the pool looks at its socket.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Frame, Incoming},
    client::conn::{TrySendError, http1},
};

use tokio::task::coop::unconstrained;

use super::{
    fault,
    heads::{Heads, Shared},
    tls::Stream,
};
use crate::domain::{limits, outcome::Fault};

pub(super) type Outgoing = Request<Full<Bytes>>;
type Driver = http1::Connection<Heads<Stream>, Full<Bytes>>;

pub(super) struct Http1 {
    requests: http1::SendRequest<Full<Bytes>>,
    heads: Arc<Shared>,
    /// Dropped after the handle: a driver that nobody can ask anything any more takes leave.
    line: Line,
}

/// The half that moves the bytes.
struct Line {
    /// Gone once it has ended, and the socket with it.
    driver: Option<Pin<Box<Driver>>>,
    /// What it ended with, if that was a fault.
    fault: Option<Fault>,
    /// Between two exchanges.
    is_idle: bool,
}

impl Http1 {
    pub(super) async fn open(stream: Stream) -> Result<Self, Fault> {
        let heads = Arc::<Shared>::default();
        let stream = Heads::new(stream, heads.clone());
        let handshake = http1::Builder::new()
            .max_headers(limits::RESPONSE_HEADERS)
            .max_buf_size(limits::RESPONSE_HEAD_BYTES)
            .handshake(stream)
            .await;
        let (requests, driver) = handshake.map_err(|error| fault::of_hyper(&error))?;
        let line = Line {
            driver: Some(Box::pin(driver)),
            fault: None,
            is_idle: false,
        };
        Ok(Self {
            requests,
            heads,
            line,
        })
    }

    /// Whether it takes a request, as far as was seen when it was last driven.
    pub(super) fn is_ready(&self) -> bool {
        self.line.driver.is_some() && self.requests.is_ready() && !self.heads.has_leftover()
    }

    /// Whether the receiver has said no more than an interim status that HTTP does not know.
    pub(super) fn is_stuck_at_unknown_interim(&self) -> bool {
        self.heads.is_stuck_at_unknown_interim()
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn exchange(
        &mut self,
        request: Outgoing,
    ) -> Result<Response<Incoming>, TrySendError<Outgoing>> {
        self.line.is_idle = false;
        self.heads.expect_head();
        let mut answer = pin!(unconstrained(self.requests.try_send_request(request)));
        poll_fn(|cx| {
            self.line.drive(cx);
            answer.as_mut().poll(&mut quiet())
        })
        .await
    }

    /// The next piece of an answer's body.
    pub(super) async fn frame(&mut self, body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
        poll_fn(|cx| {
            // Mostly it came with the head.
            let mut body = Pin::new(&mut *body);
            match body.as_mut().poll_frame(&mut quiet()) {
                Poll::Pending => {}
                ready => return ready,
            }
            self.line.drive(cx);
            body.poll_frame(&mut quiet())
        })
        .await
    }

    /// Waits until it takes another request; `false` when it is closed.
    pub(super) async fn ready(&mut self) -> bool {
        let ready = poll_fn(|cx| {
            if !self.requests.is_ready() {
                self.line.drive(cx);
            }
            self.requests.poll_ready(&mut quiet())
        });
        let is_ready = ready.await.is_ok() && !self.heads.has_leftover();
        self.line.is_idle = is_ready;
        is_ready
    }

    /// Waits for the connection's end, and says what fault it was, if any.
    pub(super) async fn ended(&mut self) -> Option<Fault> {
        poll_fn(|cx| {
            self.line.drive(cx);
            match self.line.driver {
                Some(_) => Poll::Pending,
                None => Poll::Ready(self.line.fault),
            }
        })
        .await
    }
}

impl Line {
    /// Moves what can be moved, and has `cx` woken when there is more.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && let Poll::Ready(ended) = driver.as_mut().poll(cx)
        {
            self.driver = None;
            self.fault = ended.err().map(|error| fault::of_hyper(&error));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // TLS says that it ends; in the midst of something the receiver is to see it break off.
        if self.is_idle {
            self.drive(&mut quiet());
        }
    }
}

/// What only the driver brings about needs to wake nobody: who drives looks afterwards. (It must not be tokio that puts
/// somebody off until a later turn: it would wake nobody.)
fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
