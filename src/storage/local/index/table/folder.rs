//! Who folds: a thread of its own, so that neither the writer nor a reader waits for sled, and always the same one, since
//! the allocator keeps an arena for each.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{Core, StoreError};

/// How long a fold may take before sled is asked whether it has failed, twice as long before each further time: a flush that
/// waits while another write fails is not always told, but another flush that finds the failure wakes it.
const NUDGE_AFTER: Duration = Duration::from_secs(1);
const NUDGES: u32 = 10;

/// What it is told by, and where it answers.
type Thread = (SyncSender<()>, Receiver<Result<(), StoreError>>);

/// Told to fold, and asked how it went. Without a thread it folds when it is told to.
#[derive(Debug)]
pub(super) struct Folder {
    core: Arc<Core>,
    thread: Option<Thread>,
    running: bool,
}

impl Folder {
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            // Tests and counted parts fold on the calling thread: the first can be repeated, and the second are
            // counted, which is done for one thread.
            thread: if cfg!(any(test, feature = "bench-parts")) {
                None
            } else {
                spawn(core.clone())
            },
            core,
            running: false,
        }
    }

    /// Begins a fold, unless one is under way.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        match &self.thread {
            None => self.core.fold(),
            Some(_) if self.running => Ok(()),
            Some((orders, _)) => {
                self.running = true;
                orders.send(()).map_err(|_| gone())
            }
        }
    }

    /// Whether a fold is under way, as far as that is known.
    pub const fn is_running(&self) -> bool {
        self.running
    }

    /// Whether the last fold has failed, as far as that is known.
    pub fn look(&mut self) -> Result<(), StoreError> {
        match self.thread.as_ref().map(|(_, done)| done.try_recv()) {
            None | Some(Err(TryRecvError::Empty)) => Ok(()),
            Some(Err(TryRecvError::Disconnected)) => Err(gone()),
            Some(Ok(done)) => {
                self.running = false;
                done
            }
        }
    }

    /// Waits for the fold that is under way.
    pub fn wait(&mut self) -> Result<(), StoreError> {
        match &self.thread {
            Some((_, done)) if self.running => {
                self.running = false;
                for nudges in 0..NUDGES {
                    match done.recv_timeout(NUDGE_AFTER * (1 << nudges)) {
                        Ok(done) => return done,
                        Err(RecvTimeoutError::Timeout) => nudge(self.core.clone()),
                        Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                    }
                }
                done.recv().map_err(|_| gone())?
            }
            _ => Ok(()),
        }
    }
}

/// By a thread of its own, since it may come to wait as well.
fn nudge(core: Arc<Core>) {
    let thread = thread::Builder::new().name("nudge".to_owned());
    _ = thread.spawn(move || _ = core.pages.flush());
}

fn gone() -> StoreError {
    StoreError::Panicked("while rows were folded".to_owned())
}

/// It ends when nobody can tell it anything any more.
fn spawn(core: Arc<Core>) -> Option<Thread> {
    let (orders, told) = sync_channel::<()>(1);
    let (done, answers) = sync_channel(1);
    let work = move || {
        for () in told {
            let folded = catch_unwind(AssertUnwindSafe(|| core.fold())).unwrap_or_else(|_| Err(gone()));
            if done.send(folded).is_err() {
                break;
            }
        }
    };
    let thread = thread::Builder::new().name("fold".to_owned());
    thread.spawn(work).ok().map(|_| (orders, answers))
}
