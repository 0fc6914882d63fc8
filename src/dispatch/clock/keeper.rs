//! Keeps what a later start has to know of time, and has a confirmed wall clock followed once that is written down.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use super::{EngineClock, Saved};
use crate::dispatch::error::chain;

/// Between two writes without a correction. So much of the time before a power cut may be unknown to the next start, when the
/// wall clock does not tell either.
const EVERY: Duration = Duration::from_secs(3600);
/// Before a write that has failed is tried again.
const AGAIN: Duration = Duration::from_secs(60);

pub(in crate::dispatch) struct Keeper {
    folder: PathBuf,
    /// When to write next, correction or not.
    next: Option<Instant>,
    /// A write that is under way, and whether the wall clock is followed after it: a disk that hangs must not hang us.
    writing: Option<(JoinHandle<bool>, bool)>,
}

impl Keeper {
    pub const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            next: None,
            writing: None,
        }
    }

    /// Looks at the wall clock, and begins or ends a write. To be called every few seconds.
    pub async fn look(&mut self, clock: &EngineClock) {
        let confirmed = clock.observe();
        let now = Instant::now();
        if let Some((write, follow)) = self.writing.take_if(|(write, _)| write.is_finished()) {
            let written = write.await.unwrap_or(false);
            // Written or not: a full disk must not keep the wall clock from being followed.
            let followed = follow && clock.follow();
            let stands = written && follow == followed;
            self.next = Some(now + if stands { EVERY } else { AGAIN });
            return;
        }
        let due = self.next.is_none_or(|at| at <= now);
        if self.writing.is_none() && (confirmed || due) {
            let (saved, folder) = (clock.saved(confirmed), self.folder.clone());
            let write = tokio::task::spawn_blocking(move || write(&saved, &folder));
            self.writing = Some((write, confirmed));
        }
    }

    /// The same without waiting for the disk, for a simulation.
    #[cfg(test)]
    pub fn look_now(&mut self, clock: &EngineClock) {
        let confirmed = clock.observe();
        if confirmed || self.next.is_none_or(|at| at <= Instant::now()) {
            self.next = Some(Instant::now() + EVERY);
            write(&clock.saved(confirmed), &self.folder);
            if confirmed {
                clock.follow();
            }
        }
    }
}

/// One write at a time: the last one may meet one that is under way.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes down the present time; answers whether that was possible, and says why not.
pub(in crate::dispatch) fn write(saved: &Saved, folder: &Path) -> bool {
    let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let written = saved.write(folder);
    if let Err(error) = &written {
        tracing::warn!(error = %chain(error), "the time cannot be noted in the data folder; it is tried again");
    }
    written.is_ok()
}
