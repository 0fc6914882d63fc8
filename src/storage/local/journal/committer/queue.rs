//! What waits to be written, bounded in bytes.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Durable;
use crate::storage::local::journal::{
    entry::{Appended, Draft},
    error::AppendError,
    shared::lock,
};

/// Room in the queue is counted in these many bytes.
const UNIT: usize = 1024;

pub(in crate::storage::local::journal) enum Answer {
    Durable(oneshot::Sender<Result<Durable<Appended>, AppendError>>),
    Lazy(oneshot::Sender<Result<Appended, AppendError>>),
    /// Of a pause: durable, and it may use the reserve.
    Urgent(mpsc::SyncSender<Result<Appended, AppendError>>),
}

impl Answer {
    /// A caller that no longer waits is no error: its records are in the journal all the same.
    pub fn refuse(self, error: AppendError) {
        match self {
            Self::Durable(answer) => drop(answer.send(Err(error))),
            Self::Lazy(answer) => drop(answer.send(Err(error))),
            Self::Urgent(answer) => drop(answer.send(Err(error))),
        }
    }

    pub fn is_durable(&self) -> bool {
        matches!(self, Self::Durable(_) | Self::Urgent(_))
    }

    /// Whether it is written though little space is left: what keeps deliveries going, and what frees space.
    pub fn uses_reserve(&self) -> bool {
        matches!(self, Self::Lazy(_) | Self::Urgent(_))
    }
}

pub(in crate::storage::local::journal) struct Request {
    pub drafts: Vec<Draft>,
    /// What the drafts take in a segment.
    pub bytes: usize,
    pub answer: Answer,
    /// Its share of the queue; a pause's request does not wait in it.
    pub room: Option<OwnedSemaphorePermit>,
}

pub(in crate::storage::local::journal) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// Signalled when the committer is held, released, or gone.
    held: Condvar,
    #[cfg(test)]
    pub pushed: tokio::sync::Notify,
    room: Arc<Semaphore>,
    units: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    closed: bool,
    committer_waits: bool,
    hold: Hold,
    /// What the holder of a pause appends.
    urgent: Option<Request>,
    /// There is no committer any more.
    ended: bool,
}

/// Whether the committer takes what has gathered.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Free,
    /// It is to stop taking as soon as it is done with what it has.
    Asked,
    Held,
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
            held: Condvar::new(),
            #[cfg(test)]
            pushed: tokio::sync::Notify::new(),
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
        #[cfg(test)]
        self.pushed.notify_one();
        Ok(())
    }

    /// What was pushed is still taken, nothing more is let in.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.room.close();
        self.wake.notify_one();
    }

    #[cfg(test)]
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Waits until the committer is held for the caller; false when there is none any more, or it is about to end.
    pub fn hold(&self) -> bool {
        let mut state = lock(&self.state);
        while state.hold != Hold::Free && !state.ended {
            state = self.held.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed || state.ended {
            return false;
        }
        state.hold = Hold::Asked;
        self.wake.notify_one();
        while state.hold != Hold::Held && !state.ended {
            state = self.held.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.ended
    }

    /// Whether somebody holds the committer.
    #[cfg(test)]
    pub fn is_held(&self) -> bool {
        lock(&self.state).hold == Hold::Held
    }

    /// Lets the committer go on.
    pub fn release(&self) {
        lock(&self.state).hold = Hold::Free;
        self.wake.notify_one();
        self.held.notify_all();
    }

    /// Has the committer, which the caller holds, write this; false when there is none any more.
    pub fn push_urgent(&self, request: Request) -> bool {
        let mut state = lock(&self.state);
        if !state.ended {
            state.urgent = Some(request);
            self.wake.notify_one();
        }
        !state.ended
    }

    /// The committer ends: answers what is still there.
    pub(super) fn end(&self, error: AppendError) {
        let (requests, urgent) = {
            let mut state = lock(&self.state);
            state.ended = true;
            (std::mem::take(&mut state.requests), state.urgent.take())
        };
        self.held.notify_all();
        let requests = requests.into_iter().chain(urgent);
        requests.for_each(|request| request.answer.refuse(error));
    }

    /// Moves what has gathered into `group`: at least one request, further ones within the limits. Waits at most
    /// `patience` when nothing has, without end when that is `None`.
    pub(super) fn take(&self, group: &mut Vec<Request>, limits: Limits, patience: Option<Duration>) -> Taken {
        let mut state = lock(&self.state);
        if state.hold == Hold::Asked {
            state.hold = Hold::Held;
            self.held.notify_all();
        }
        if state.hold == Hold::Held {
            if state.urgent.is_none() {
                state = self.sleep(state, patience);
            }
            let urgent = state.urgent.take();
            let taken = urgent.map(|request| group.push(request));
            return taken.map_or(Taken::Nothing, |()| Taken::Some);
        }
        if state.requests.is_empty() && !state.closed {
            state.committer_waits = true;
            state = self.sleep(state, patience);
            state.committer_waits = false;
        }
        if state.hold != Hold::Free {
            return Taken::Nothing;
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

impl Queue {
    fn sleep<'a>(&self, state: MutexGuard<'a, State>, patience: Option<Duration>) -> MutexGuard<'a, State> {
        match patience {
            Some(patience) => self
                .wake
                .wait_timeout(state, patience)
                .map_or_else(|e| e.into_inner().0, |w| w.0),
            None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// How much goes into one group.
#[derive(Copy, Clone)]
pub(super) struct Limits {
    pub bytes: usize,
    pub records: usize,
}
