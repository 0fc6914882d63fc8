//! Request bodies: bounded in size while they are read, and in time.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Sleep, sleep};

use super::{
    meter::Meter,
    problem::{Kind, Problem},
};

/// How long a body may take.
#[derive(Copy, Clone, Debug)]
pub struct BodyTimeouts {
    /// Between two pieces of it.
    pub idle: Duration,
    /// As a whole.
    pub total: Duration,
}

/// The body did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("the request body did not come in time")]
pub struct BodyTimeout;

/// A body that fails with [`BodyTimeout`] when it takes too long.
pub struct TimedBody<B> {
    inner: B,
    idle: Duration,
    idle_timer: Option<Pin<Box<Sleep>>>,
    total: Duration,
    total_timer: Option<Pin<Box<Sleep>>>,
}

impl<B> TimedBody<B> {
    /// The time starts to run when the body is first asked for and has to be waited for.
    pub fn new(inner: B, timeouts: BodyTimeouts) -> Self {
        Self {
            inner,
            idle: timeouts.idle,
            idle_timer: None,
            total: timeouts.total,
            total_timer: None,
        }
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle_timer.get_or_insert_with(|| Box::pin(sleep(self.idle)));
        let total = self
            .total_timer
            .get_or_insert_with(|| Box::pin(sleep(self.total)));
        if idle.as_mut().poll(cx).is_ready() || total.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<B> http_body::Body for TimedBody<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.idle_timer = None;
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => this.poll_timers(cx).map(|()| Some(Err(BodyTimeout.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The whole body, when it has at most `limit` bytes. Its bytes are counted until the request is answered.
///
/// # Errors
/// [`Kind::Busy`] when the tenant may not have so much at once; [`Kind::TooLarge`], before anything is read when the length is announced; [`Kind::RequestTimeout`];
/// [`Kind::MalformedDocument`] when it is cut short.
pub async fn read_whole(
    meter: &Meter,
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
) -> Result<Bytes, Problem> {
    refuse_announced(headers, limit)?;
    let mut whole = BytesMut::new();
    while let Some(data) = next_data(&mut body).await? {
        if whole.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        meter.take(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Refuses a body that says it is longer than `limit`.
///
/// # Errors
/// [`Kind::TooLarge`].
pub fn refuse_announced(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(length) if length > limit as u64 => Err(too_large(limit)),
        _ => Ok(()),
    }
}

pub fn too_large(limit: usize) -> Problem {
    Problem::new(Kind::TooLarge, format!("at most {limit} bytes are taken")).closing()
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// [`Kind::RequestTimeout`]; [`Kind::MalformedDocument`] when it is cut short or not framed well.
///
/// # Cancel safety
/// A piece is lost only when it is returned.
pub async fn next_data(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => return Err(unreadable(&error)),
        }
    }
}

fn unreadable(error: &axum::Error) -> Problem {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    if causes.any(|error| error.is::<BodyTimeout>()) {
        return Problem::new(
            Kind::RequestTimeout,
            "send the body faster, or in smaller requests",
        )
        .closing();
    }
    Problem::new(Kind::MalformedDocument, "the body was cut short").closing()
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn pieces(count: usize) -> Body {
        let piece = || Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"0123456789")));
        Body::new(StreamBody::new(stream::iter((0..count).map(move |_| piece()))))
    }

    fn kind<T>(result: Result<T, Problem>) -> Option<Kind> {
        result.err().map(|problem| problem.kind())
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_the_limit_and_no_further() {
        let headers = HeaderMap::new();
        assert_eq!(
            read_whole(&Meter::unbounded(), &headers, pieces(3), 30)
                .await
                .unwrap()
                .len(),
            30
        );
        assert_eq!(
            kind(read_whole(&Meter::unbounded(), &headers, pieces(4), 30).await),
            Some(Kind::TooLarge)
        );
    }

    #[tokio::test]
    async fn an_announced_length_over_the_limit_is_refused_unread() {
        let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, 31.into())]);
        let never = Body::new(StreamBody::new(stream::pending::<
            Result<Frame<Bytes>, BodyTimeout>,
        >()));
        assert_eq!(
            kind(read_whole(&Meter::unbounded(), &headers, never, 30).await),
            Some(Kind::TooLarge)
        );
    }

    const TIMEOUTS: BodyTimeouts = BodyTimeouts {
        idle: Duration::from_secs(10),
        total: Duration::from_secs(60),
    };

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_times_out() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, BodyTimeout>>());
        let body = Body::new(TimedBody::new(never, TIMEOUTS));
        assert_eq!(
            kind(read_whole(&Meter::unbounded(), &HeaderMap::new(), body, 30).await),
            Some(Kind::RequestTimeout)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_times_out_as_a_whole() {
        let drips = stream::unfold((), |()| async {
            sleep(Duration::from_secs(9)).await;
            Some((
                Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"x"))),
                (),
            ))
        });
        let body = Body::new(TimedBody::new(StreamBody::new(Box::pin(drips)), TIMEOUTS));
        assert_eq!(
            kind(read_whole(&Meter::unbounded(), &HeaderMap::new(), body, 30).await),
            Some(Kind::RequestTimeout)
        );
    }

    #[tokio::test]
    async fn a_prompt_body_is_passed_through() {
        let body = Body::new(TimedBody::new(Full::new(Bytes::from_static(b"abc")), TIMEOUTS));
        assert_eq!(
            read_whole(&Meter::unbounded(), &HeaderMap::new(), body, 30)
                .await
                .unwrap(),
            "abc"
        );
    }
}
