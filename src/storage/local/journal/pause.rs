//! Standing still: while a [`Pause`] is held, nothing is appended but by it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    time::Duration,
};

use super::{
    committer::{Answer, Queue, Request},
    entry::{Appended, Draft, Lsn},
    error::AppendError,
    handle::Journal,
    shared::{Shared, lock},
    stats::add,
};

/// The committer is held: it has published all that it took, and takes nothing more until this is dropped. Appends
/// of others wait in the queue meanwhile, so a pause is to be short. Closing the journal waits for its end.
pub struct Pause {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    began: Duration,
}

impl Journal {
    /// Holds the committer. Blocks until it has finished, and published, what it has taken, and until no other pause
    /// is held.
    ///
    /// # Errors
    ///
    /// `Closed` and `Poisoned`: there is nothing to hold any more.
    pub fn pause(&self) -> Result<Pause, AppendError> {
        let (shared, queue) = self.parts();
        if !queue.hold() {
            return Err(self.closed());
        }
        let began = shared.disk.elapsed();
        Ok(Pause { shared, queue, began })
    }
}

#[cfg(test)]
impl Journal {
    /// Whether nothing is accepted now, since somebody holds a pause.
    pub fn is_paused(&self) -> bool {
        self.parts().1.is_held()
    }
}

impl Pause {
    /// The last record there is; followers can read it.
    pub fn last_lsn(&self) -> Lsn {
        lock(&self.shared.catalogue).published
    }

    /// Appends records, all or none, with consecutive lsns; returns when they are synced and published. They may use
    /// the space that `min_free_bytes` reserves: what frees space must work when there is little. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Journal::append`].
    pub fn append(&self, drafts: Vec<Draft>) -> Result<Appended, AppendError> {
        let bytes = Journal::measure(&drafts)?;
        let (answer, answered) = mpsc::sync_channel(1);
        let request = Request {
            drafts,
            bytes,
            answer: Answer::Urgent(answer),
            room: None,
        };
        if !self.queue.push_urgent(request) {
            return Err(AppendError::Poisoned);
        }
        answered.recv().unwrap_or(Err(AppendError::Poisoned))
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let took = self.shared.disk.elapsed().saturating_sub(self.began);
        let counters = &self.shared.counters;
        add(&counters.pauses, 1);
        counters
            .longest_pause_micros
            .fetch_max(took.as_micros() as u64, Relaxed);
        self.queue.release();
    }
}
