//! What a database at the other end of a network does to those who use it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How a network and the database behind it behave, drawn from a seed. By default they are perfect.
#[derive(Copy, Clone, Debug, Default)]
pub struct Remote {
    pub seed: u64,
    /// A request, and its answer, are on their way for at most so long. Transactions are committed in the order in which
    /// they arrive.
    pub way_millis: u64,
    /// Of a hundred reads, so many are not answered.
    pub failed_reads: u8,
    /// Of a hundred transactions, so many are not answered. Half of these were committed.
    pub unknown_commits: u8,
    /// A change that may be told of late is told of at most so late.
    pub late_millis: u64,
    /// Of a hundred such changes, so many are not told of.
    pub lost_changes: u8,
    /// At most so long after a change was not told of, everything is told anew.
    pub refresh_millis: u64,
}

/// Which half of an exchange did not arrive.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Request,
    Answer,
}

pub(super) struct Network {
    remote: Remote,
    rng: Mutex<fastrand::Rng>,
}

impl Network {
    pub fn new(remote: Remote) -> Self {
        Self {
            remote,
            rng: Mutex::new(fastrand::Rng::with_seed(remote.seed)),
        }
    }

    /// One way through the network.
    pub async fn way(&self) {
        if self.remote.way_millis > 0 {
            tokio::time::sleep(self.up_to(self.remote.way_millis)).await;
        }
    }

    pub fn fails(&self) -> bool {
        self.hits(self.remote.failed_reads)
    }

    pub fn loses(&self) -> Option<Lost> {
        let lost = self.hits(self.remote.unknown_commits);
        lost.then(|| {
            if self.hits(50) {
                Lost::Request
            } else {
                Lost::Answer
            }
        })
    }

    pub fn loses_a_change(&self) -> bool {
        self.hits(self.remote.lost_changes)
    }

    /// How late a change is told of.
    pub fn late(&self) -> Duration {
        self.up_to(self.remote.late_millis)
    }

    pub fn until_refresh(&self) -> Duration {
        self.up_to(self.remote.refresh_millis)
    }

    fn up_to(&self, millis: u64) -> Duration {
        let rng = &mut self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(rng.u64(..=millis))
    }

    fn hits(&self, of_a_hundred: u8) -> bool {
        let rng = &mut self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        of_a_hundred > 0 && rng.u8(..100) < of_a_hundred
    }
}
