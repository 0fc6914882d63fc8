//! Threads that read the index, so that nobody else waits for the disk.
//!
//! A read is carried out by the next thread that is free. Its caller waits until a deadline; what comes after that is
//! thrown away. A read that has begun cannot be interrupted, so that a disk that hangs keeps the threads for as long;
//! meanwhile the queue is bounded, and reads beyond it are refused at once.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::storage::StorageError;

/// How long a read may take. A portion of a schedule takes milliseconds; a disk that needs this long is in trouble.
const DEADLINE: Duration = Duration::from_secs(10);

type Read = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped, each after the read that it is at.
pub struct Readers(Option<Arc<Shared>>);

struct Shared {
    /// Reads that may wait for a thread.
    bound: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Read>,
    closed: bool,
}

impl Readers {
    /// Starts so many threads; at most `bound` reads wait for one.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(threads: usize, bound: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            bound,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        // Dropped on an error, so that the threads that were started end.
        let readers = Self(Some(shared.clone()));
        for _ in 0..threads {
            let shared = shared.clone();
            thread::Builder::new()
                .name("index-reader".to_owned())
                .spawn(move || shared.serve())?;
        }
        Ok(readers)
    }

    /// No threads: reads are done where they are asked for. For simulations, which have one thread.
    pub const fn inline() -> Self {
        Self(None)
    }

    /// Carries out a read.
    ///
    /// # Errors
    /// `TimedOut` when it is not done by the deadline, or too many wait; `Failed` when it panics; what the read itself answers.
    ///
    /// # Cancel safety
    /// A read that has not begun is not carried out when this is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let Some(shared) = &self.0 else {
            return read();
        };
        let (done, answer) = oneshot::channel();
        shared.push(Box::new(move || {
            if !done.is_closed() {
                // The caller may have stopped waiting.
                _ = done.send(read());
            }
        }))?;
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StorageError::Failed(Arc::from(Box::<
                dyn std::error::Error + Send + Sync,
            >::from(
                "the read panicked"
            )))),
            Err(_) => Err(StorageError::TimedOut),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.lock().closed = true;
            shared.changed.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, read: Read) -> Result<(), StorageError> {
        let mut state = self.lock();
        if state.queue.len() >= self.bound {
            return Err(StorageError::TimedOut);
        }
        state.queue.push_back(read);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    fn next(&self) -> Option<Read> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(read) = state.queue.pop_front() {
                return Some(read);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn serve(&self) {
        while let Some(read) = self.next() {
            // The caller learns of a panic, since its channel closes; the thread is needed for the next read.
            if catch_unwind(AssertUnwindSafe(read)).is_err() {
                tracing::error!("a read of the index panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    const QUEUE: usize = 64;

    #[tokio::test]
    async fn a_read_is_answered_by_a_thread_and_a_panic_ends_neither_it_nor_the_next() {
        let readers = Readers::start(1, QUEUE).unwrap();
        let here = thread::current().id();
        let there = readers.run(|| Ok(thread::current().id())).await.unwrap();
        assert_ne!(here, there);
        let panicked = readers.run(|| -> Result<(), _> { panic!("as asked") }).await;
        assert!(matches!(panicked, Err(StorageError::Failed(_))), "{panicked:?}");
        assert_eq!(readers.run(|| Ok(thread::current().id())).await.unwrap(), there);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_given_up_and_what_waits_behind_it_is_bounded() {
        let readers = Readers::start(1, QUEUE).unwrap();
        let (begun, began) = sync_channel::<()>(1);
        let (release, gate) = sync_channel::<()>(0);
        let mut hangs = Box::pin(readers.run(move || {
            _ = begun.send(());
            _ = gate.recv();
            Ok(())
        }));
        assert!(futures_util::poll!(&mut hangs).is_pending());
        began.recv().unwrap();
        assert!(matches!(hangs.await, Err(StorageError::TimedOut)));
        let waiting = (0..=QUEUE).map(|_| readers.run(|| Ok(())));
        let answers = futures_util::future::join_all(waiting).await;
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, Err(StorageError::TimedOut)))
        );
        // Nobody waits for those any more: the thread passes over them.
        release.send(()).unwrap();
        tokio::time::resume();
        let again = async {
            while readers.run(|| Ok(())).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, again).await.unwrap();
    }
}
