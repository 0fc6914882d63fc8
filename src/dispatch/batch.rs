//! What lanes read in one round trip, and whose answer is whose.

use super::{
    lane::{Answers, Lane},
    order::Portions,
};
use crate::{
    domain::{id::EndpointId, time::Timestamp},
    storage::schedule::{ScheduleAnswer, ScheduleRead},
};

/// The reads of some lanes.
#[derive(Default)]
pub(super) struct Batch {
    pub read: ScheduleRead,
    asked: Vec<Asked>,
}

/// What one lane has asked: so many questions of each kind.
struct Asked {
    endpoint: EndpointId,
    number: u64,
    due: usize,
    entries: usize,
    at: usize,
    health: usize,
}

impl Batch {
    /// How many lanes take part.
    pub const fn len(&self) -> usize {
        self.asked.len()
    }

    /// Adds what a lane wants to read.
    pub fn ask(&mut self, lane: &mut Lane, number: u64, find: bool, now: Timestamp) {
        let read = &mut self.read;
        read.now = now;
        let before = lengths(read);
        lane.ask(number, find, read);
        let after = lengths(read);
        let [due, entries, at, health] = std::array::from_fn(|kind| after[kind] - before[kind]);
        self.asked.push(Asked {
            endpoint: lane.endpoint.id,
            number,
            due,
            entries,
            at,
            health,
        });
    }

    /// The lanes, with the number of each one's read.
    pub fn lanes(&self) -> impl Iterator<Item = (EndpointId, u64)> {
        self.asked.iter().map(|asked| (asked.endpoint, asked.number))
    }

    /// Each lane's part of an answer.
    pub fn answers(self, answer: ScheduleAnswer) -> impl Iterator<Item = (EndpointId, u64, Answers)> {
        let mut due = answer.due.into_iter();
        let mut entries = answer.entries.into_iter();
        let mut at = answer.at.into_iter();
        let mut health = answer.health.into_iter();
        self.asked.into_iter().map(move |asked| {
            let answers = Answers {
                due: due.by_ref().take(asked.due).last(),
                portions: Portions {
                    entries: entries.by_ref().take(asked.entries).collect(),
                    at: at.by_ref().take(asked.at).collect(),
                },
                health: health.by_ref().take(asked.health).last(),
            };
            (asked.endpoint, asked.number, answers)
        })
    }
}

fn lengths(read: &ScheduleRead) -> [usize; 4] {
    [
        read.due.len(),
        read.entries.len(),
        read.at.len(),
        read.health.len(),
    ]
}
