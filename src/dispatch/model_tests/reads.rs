//! How what lanes read comes: at once, or late.

use super::{super::batch::Batch, world::World};
use crate::storage::{
    local::answer,
    schedule::{ScheduleAnswer, ScheduleRead},
};

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    #[default]
    AtOnce,
    /// It is read at once, and comes later.
    Old,
    /// It is read when it comes.
    Fresh,
}

/// What lanes have asked for that has not come.
#[derive(Default)]
pub(super) struct Reads {
    pub(super) pace: Pace,
    /// With what was read for it.
    pub(super) out: Vec<(Batch, ScheduleRead, Option<ScheduleAnswer>)>,
}

impl World {
    pub(super) fn read(&mut self, mut batch: Batch) {
        let read = std::mem::take(&mut batch.read);
        let answer = (self.reads.pace != Pace::Fresh).then(|| answer(&self.store(), &read).unwrap());
        self.reads.out.push((batch, read, answer));
        if self.reads.pace == Pace::AtOnce {
            self.come(0);
        }
    }

    /// What was asked for comes, but the last so many, which fail.
    pub(super) fn come(&mut self, fail: usize) {
        let store = self.store();
        let fail_from = self.reads.out.len().saturating_sub(fail);
        for (place, (batch, read, found)) in std::mem::take(&mut self.reads.out).into_iter().enumerate() {
            if place < fail_from {
                let found = found.unwrap_or_else(|| answer(&store, &read).unwrap());
                self.lanes.take_in(batch, found);
            } else {
                self.lanes.unread(&batch, self.clock.now());
            }
        }
    }
}
