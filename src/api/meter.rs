//! What requests and answers take of the memory that is shared out ([`crate::runtime::memory`]).
//!
//! A request's body is counted while it is read, for as long as the request is worked on. An answer is counted from when
//! it is there until the peer has taken it: a peer that does not read holds on to its tenant's share and to nobody
//! else's. Small ones are not counted ([`limits::UNCOUNTED_BYTES`]), so that a tenant whose share is used up is still
//! told so, and probes are always answered. A batch is not held in memory and not counted.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::{
    auth::Principal,
    problem::{Kind, Problem},
};
use crate::{
    domain::{event::Label, limits},
    runtime::memory::{Lease, Memory},
};

/// Counts what one request takes.
#[derive(Clone)]
pub struct Meter(Arc<Inner>);

struct Inner {
    memory: Arc<Memory>,
    tenant: Option<Label>,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    bytes: usize,
    lease: Option<Lease>,
}

impl Meter {
    fn new(memory: Arc<Memory>, tenant: Option<Label>) -> Self {
        Self(Arc::new(Inner {
            memory,
            tenant,
            counted: Mutex::default(),
        }))
    }

    /// For a test that is about something else.
    #[cfg(test)]
    pub fn unbounded() -> Self {
        Self::new(Memory::new(usize::MAX / 16), None)
    }

    /// Counts so many more bytes of the request, until it is answered.
    ///
    /// # Errors
    /// [`Kind::Busy`] when the tenant may not have them now.
    pub fn take(&self, bytes: usize) -> Result<(), Problem> {
        let mut counted = self.0.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.bytes += bytes;
        let bytes = match counted.bytes {
            few if few <= limits::UNCOUNTED_BYTES => return Ok(()),
            all if counted.lease.is_none() => all,
            _ => bytes,
        };
        let taken = match &mut counted.lease {
            Some(lease) => lease.grow(bytes),
            none => {
                *none = self.0.memory.try_take(&self.0.tenant, bytes);
                none.is_some()
            }
        };
        if taken { Ok(()) } else { Err(busy().closing()) }
    }
}

fn busy() -> Problem {
    let detail = "the memory for requests and answers that the tenant may use at once is in use; read the answers \
                  that are under way, and try again";
    Problem::new(Kind::Busy, detail)
}

impl<S: Sync> FromRequestParts<S> for Meter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let meter = parts.extensions.get::<Self>().cloned();
        meter.ok_or_else(|| Problem::new(Kind::Internal, "the request is not counted"))
    }
}

/// Counts a request and its answer for the tenant whose key it has.
pub async fn count(State(memory): State<Arc<Memory>>, mut request: Request, next: Next) -> Response {
    let principal = request.extensions().get::<Principal>();
    let tenant = principal.and_then(|principal| principal.tenant.clone());
    let meter = Meter::new(memory.clone(), tenant.clone());
    request.extensions_mut().insert(meter.clone());
    let response = next.run(request).await;
    drop(meter);
    answered(&memory, &tenant, response)
}

/// The answer, which counts from now on, or the answer that it would be too much.
fn answered(memory: &Arc<Memory>, tenant: &Option<Label>, response: Response) -> Response {
    // What streams is made as it is taken.
    let Some(length) = response.body().size_hint().exact() else {
        return response;
    };
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes <= limits::UNCOUNTED_BYTES || !response.status().is_success() {
        return response;
    }
    // A document was written into a buffer that doubles.
    match memory.try_take(tenant, bytes.saturating_mul(2)) {
        None => busy().into_response(),
        Some(lease) => response.map(|inner| {
            Body::new(Held {
                inner,
                lease: Some(lease),
            })
        }),
    }
}

/// A body whose bytes hold on to a lease until they are written.
struct Held {
    inner: Body,
    lease: Option<Lease>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        polled.map_ok(|frame| {
            // A document is one piece.
            frame.map_data(|data| match self.lease.take() {
                Some(lease) => lease.around(data),
                None => data,
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const KIB: usize = 1024;

    fn answer(memory: &Arc<Memory>, bytes: usize) -> Response {
        answered(memory, &None, Response::new(Body::from(vec![b'x'; bytes])))
    }

    #[tokio::test]
    async fn an_answer_is_counted_until_its_bytes_are_gone() {
        let memory = Memory::new(256 * KIB);
        let mut response = answer(&memory, 20 * KIB);
        assert_eq!(memory.used(), 40 * KIB);
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        drop(response);
        let written = frame.into_data().unwrap();
        assert_eq!((written.len(), memory.used()), (20 * KIB, 40 * KIB));
        drop(written);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn answers_that_nobody_takes_end_in_a_refusal_and_small_ones_go_on() {
        let memory = Memory::new(256 * KIB);
        let mut held = Vec::new();
        let refused = loop {
            let response = answer(&memory, 20 * KIB);
            if response.status() != 200 {
                break response;
            }
            held.push(response);
        };
        assert_eq!((refused.status().as_u16(), held.len()), (429, 5));
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(answer(&memory, 8 * KIB).status(), 200);
        held.clear();
        assert_eq!(answer(&memory, 20 * KIB).status(), 200);
    }

    #[test]
    fn a_request_is_counted_as_it_is_read_and_until_it_is_answered() {
        let memory = Memory::new(256 * KIB);
        let meter = Meter::new(memory.clone(), None);
        meter.take(8 * KIB).unwrap();
        assert_eq!(memory.used(), 0);
        meter.take(8 * KIB).unwrap();
        meter.take(8 * KIB).unwrap();
        assert_eq!(memory.used(), 24 * KIB);
        let others: Vec<_> = std::iter::from_fn(|| memory.try_take(&None, 8 * KIB)).collect();
        assert_eq!(meter.take(8 * KIB).unwrap_err().kind(), Kind::Busy);
        drop((meter, others));
        assert_eq!(memory.used(), 0);
    }
}
