//! What waits to be written, bounded in bytes.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Durable;
use crate::journal::{
    entry::{Appended, Draft},
    error::AppendError,
    shared::lock,
};

/// Room in the queue is counted in these many bytes.
const UNIT: usize = 1024;

pub(in crate::journal) enum Answer {
    Durable(oneshot::Sender<Result<Durable<Appended>, AppendError>>),
    Lazy(oneshot::Sender<Result<Appended, AppendError>>),
}

impl Answer {
    /// A caller that no longer waits is no error: its records are in the journal all the same.
    pub fn refuse(self, error: AppendError) {
        match self {
            Self::Durable(answer) => drop(answer.send(Err(error))),
            Self::Lazy(answer) => drop(answer.send(Err(error))),
        }
    }

    pub fn is_durable(&self) -> bool {
        matches!(self, Self::Durable(_))
    }
}

pub(in crate::journal) struct Request {
    pub drafts: Vec<Draft>,
    /// What the drafts take in a segment.
    pub bytes: usize,
    pub answer: Answer,
    pub room: OwnedSemaphorePermit,
}

pub(in crate::journal) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    room: Arc<Semaphore>,
    units: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    closed: bool,
    committer_waits: bool,
}

pub(super) enum Taken {
    Some,
    Nothing,
    Closed,
}

impl Queue {
    /// A queue that holds about `bytes` bytes of encoded records.
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT);
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            room: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// Waits for room. `None`: the queue is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives its place in the line up.
    pub async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = (1 + bytes / UNIT).min(self.units);
        self.room.clone().acquire_many_owned(units as u32).await.ok()
    }

    /// Gives the request back when the queue is closed.
    pub fn push(&self, request: Request) -> Result<(), Request> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(request);
        }
        state.requests.push_back(request);
        if std::mem::take(&mut state.committer_waits) {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// What was pushed is still taken, nothing more is let in.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.room.close();
        self.wake.notify_one();
    }

    /// Answers what is still there.
    pub(super) fn refuse_all(&self, error: AppendError) {
        let requests = std::mem::take(&mut lock(&self.state).requests);
        requests
            .into_iter()
            .for_each(|request| request.answer.refuse(error));
    }

    /// Moves what has gathered into `group`: at least one request, further ones within the limits. Waits at most
    /// `patience` when nothing has, without end when that is `None`.
    pub(super) fn take(&self, group: &mut Vec<Request>, limits: Limits, patience: Option<Duration>) -> Taken {
        let mut state = lock(&self.state);
        if state.requests.is_empty() && !state.closed {
            state.committer_waits = true;
            state = match patience {
                Some(patience) => self
                    .wake
                    .wait_timeout(state, patience)
                    .map_or_else(|e| e.into_inner().0, |w| w.0),
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.committer_waits = false;
        }
        if state.requests.is_empty() {
            return if state.closed {
                Taken::Closed
            } else {
                Taken::Nothing
            };
        }
        let (mut bytes, mut records) = (0, 0);
        while let Some(request) = state.requests.front() {
            bytes += request.bytes;
            records += request.drafts.len();
            if !group.is_empty() && (bytes > limits.bytes || records > limits.records) {
                break;
            }
            group.extend(state.requests.pop_front());
        }
        Taken::Some
    }
}

/// How much goes into one group.
#[derive(Copy, Clone)]
pub(super) struct Limits {
    pub bytes: usize,
    pub records: usize,
}
