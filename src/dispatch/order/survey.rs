//! Looking through an endpoint's whole schedule: once before anything is sent, to learn who waits for a retry, and now
//! and then for deliveries that expire in line, where nobody looks at them.

use std::{collections::VecDeque, time::Duration};

use crate::{
    domain::{limits, time::Timestamp},
    storage::schedule::{FRONT, Position},
};

#[derive(Debug)]
pub(super) struct Survey {
    /// Where it goes on, while it runs.
    pub at: Option<Position>,
    /// One has come to its end: all who wait are known.
    pub complete: bool,
    /// Found expired, and not yet said so.
    pub expired: VecDeque<Position>,
    /// There were more who wait than may be known.
    pub overflowed: bool,
    /// The earliest time at which something scheduled expires.
    next_expiry: Option<Timestamp>,
    not_before: Timestamp,
    looked: u64,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            at: Some(FRONT),
            complete: false,
            expired: VecDeque::new(),
            overflowed: false,
            next_expiry: None,
            not_before: Timestamp::EPOCH,
            looked: 0,
        }
    }
}

impl Survey {
    /// Something that is scheduled expires then.
    pub fn expires(&mut self, at: Option<Timestamp>) {
        self.next_expiry = self.next_expiry.into_iter().chain(at).min();
    }

    /// When the next one is to begin.
    pub fn due(&self) -> Option<Timestamp> {
        self.next_expiry.map(|at| at.max(self.not_before))
    }

    /// Begins one if it is time.
    pub fn begin(&mut self, now: Timestamp) {
        if self.at.is_none() && self.due().is_some_and(|due| due <= now) {
            self.at = Some(FRONT);
            self.next_expiry = None;
        }
    }

    pub const fn looked(&mut self) {
        self.looked += 1;
    }

    /// It has come to the end of the schedule.
    pub fn end(&mut self, now: Timestamp) {
        let pause = limits::ORDER_SWEEP + Duration::from_secs(self.looked / limits::ORDER_SWEEP_PER_SECOND);
        self.not_before = now.plus(pause);
        self.looked = 0;
        self.at = None;
        self.complete = true;
    }
}
