//! Whose turn it is within one endpoint that keeps an order.
//!
//! # The cast
//!
//! A **strand** is what keeps its order: all deliveries of an endpoint (`strict`), or those whose events have one
//! ordering key (`key`). A delivery's **rank** in its strand is when it took its place (when it was first due, or was
//! begun anew by a person), and then its place in the journal. It is **taken** from when it is read for an attempt until
//! what came of that is in the store; while one of a strand is, no other may be.
//!
//! # The flow
//!
//! The schedule holds everything by due time. For a delivery that was not tried yet that is its rank, so that reading on
//! from the **floor** meets the members of a strand in their order; one whose strand is taken or blocked is passed over,
//! and only the first such place of each strand is remembered (`passed`). When the strand is free again, reading goes on
//! from there, for this strand alone. Deliveries that were tried stand elsewhere in the schedule, where their retry is
//! due; all of them are known by heart (`waiting`), learned by a survey of the schedule when the lane begins and from
//! effects from then on.
//!
//! Nothing here waits for the disk. [`Order::ask`] says which portions of the schedule are wanted, [`Order::take`] draws
//! the conclusions from them; the lane lets nothing else happen to the order in between. Deliveries are **chosen** by
//! their entries, and read one round later.
//!
//! # What it guarantees
//!
//! Of one strand never two at once; with `block` none before all of a lower rank have ended. It rests on the store
//! alone, so that it holds over restarts and crashes. What is remembered is bounded: a backlog behind a blocked strand
//! takes one position, however deep, and there are at most [`limits::ORDER_WAITING`] who wait. Each schedule entry is
//! passed over once, and once more for its own strand's sake.
//!
//! # What it does not
//!
//! Anything for endpoints without an order: they have none of this.

mod reading;
mod survey;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeSet, HashMap};

pub(super) use self::reading::Portions;
use self::{
    reading::{Asked, Limits},
    survey::Survey,
    waiting::{Waiter, Waiting},
};
use crate::{
    domain::{
        id::DeliveryKey,
        limits,
        ordering::{Ordering, Strand},
        time::Timestamp,
    },
    storage::schedule::{Entry, FRONT, Position},
};

/// What a lane has read and not yet settled, with what each event's ordering key makes of it.
pub(super) type Busy = HashMap<DeliveryKey, Option<Strand>>;

/// Deliveries handed to the lane at once, of those that were tried and of those that were not.
const PAGE: usize = 64;

#[derive(Debug)]
pub(super) struct Order {
    ordering: Ordering,
    /// How many may wait before nothing new is begun.
    most_waiting: usize,
    /// Where reading goes on. What lies before it is taken, or passed, or waits.
    floor: Position,
    /// The earliest schedule entry at or beyond the floor that is known.
    next_due: Option<Timestamp>,
    /// The one strand there is may not go on: what lies beyond the floor need not be looked at.
    parked: bool,
    taken: HashMap<DeliveryKey, (Strand, Position)>,
    strands: HashMap<Strand, usize>,
    /// For each strand some of which were passed over: not beyond the first of them.
    passed: HashMap<Strand, Position>,
    /// Strands to be looked at again from where they were passed.
    freed: BTreeSet<Strand>,
    /// The strand that was looked at last: the others come first.
    looked_at: Strand,
    waiting: Waiting,
    survey: Survey,
    /// Taken, and not yet read.
    chosen: Vec<Position>,
    /// What the read is for that is out.
    asked: Asked,
    limits: Limits,
}

impl Order {
    /// The order of a lane with `busy` out; `None` when it keeps none.
    pub fn of(ordering: Ordering, busy: &Busy) -> Option<Box<Self>> {
        ordering
            .is_some()
            .then(|| Box::new(Self::new(ordering, busy, limits::ORDER_WAITING)))
    }

    fn new(ordering: Ordering, busy: &Busy, most_waiting: usize) -> Self {
        let mut order = Self {
            ordering,
            most_waiting,
            floor: FRONT,
            next_due: Some(FRONT.0),
            parked: false,
            taken: HashMap::new(),
            strands: HashMap::new(),
            passed: HashMap::new(),
            freed: BTreeSet::new(),
            looked_at: Strand::WHOLE,
            waiting: Waiting::default(),
            survey: Survey::default(),
            chosen: Vec::new(),
            asked: Asked::default(),
            limits: Limits::of(ordering),
        };
        for (key, of_event) in busy {
            if let Some(strand) = ordering.strand(*of_event) {
                order.take_strand(*key, strand, FRONT);
            }
        }
        order
    }

    /// A schedule entry appeared.
    pub fn scheduled(&mut self, entry: Entry) {
        let at = entry.at;
        self.survey.expires(entry.expires_at);
        match self.waiter(entry) {
            Some(waiter) => self.waiting.insert(at.1, waiter),
            None => {
                self.parked &= self.floor <= at;
                self.floor = self.floor.min(at);
                self.next_due = Some(self.next_due.map_or(at.0, |next| next.min(at.0)));
            }
        }
    }

    /// Whether one of these, or one that is chosen, comes after one that has only now appeared. What is delayed may have
    /// been read before one that was accepted earlier was in the store.
    pub fn is_overtaken(&self, ready: impl IntoIterator<Item = DeliveryKey>, entry: Entry) -> bool {
        let Some(strand) = self.ordering.strand(entry.strand) else {
            return false;
        };
        let rank = (entry.since.unwrap_or(entry.at.0), entry.at.1);
        let chosen = self.chosen.iter().map(|at| at.1);
        ready.into_iter().chain(chosen).any(|key| {
            let taken = self.taken.get(&key);
            taken.is_some_and(|(of_taken, behind)| *of_taken == strand && rank < *behind)
        })
    }

    /// A delivery's attempt is settled in the store, or it will not be made.
    pub fn settled(&mut self, key: DeliveryKey) {
        if let Some((strand, _)) = self.taken.remove(&key)
            && let Some(count) = self.strands.get_mut(&strand)
        {
            *count -= 1;
            if *count == 0 {
                self.strands.remove(&strand);
            }
            self.give_back(strand);
        }
        self.forget(key);
    }

    /// A delivery was moved or ended without an attempt.
    pub fn moved(&mut self, key: DeliveryKey) {
        let before = self.chosen.len();
        self.chosen.retain(|at| at.1 != key);
        if self.chosen.len() < before {
            self.settled(key);
        } else {
            self.forget(key);
        }
    }

    /// What was known of a delivery's place in the schedule is stale.
    fn forget(&mut self, key: DeliveryKey) {
        if let Some(strand) = self.waiting.remove(key) {
            self.give_back(strand);
        }
    }

    /// Nothing left to do and nothing to remember.
    pub fn is_idle(&self) -> bool {
        self.survey.complete
            && self.survey.expired.is_empty()
            && self.next_due.is_none()
            && self.waiting.len() == 0
            && self.passed.is_empty()
            && self.chosen.is_empty()
    }

    /// When there is something to look at without anything having changed.
    pub fn next_look(&self) -> Option<Timestamp> {
        let reading = self.next_due.filter(|_| !self.parked && !self.is_full());
        reading.into_iter().chain(self.waiting.next_due()).min()
    }

    /// When the next survey is to begin.
    pub fn next_survey(&self) -> Option<Timestamp> {
        self.survey.due()
    }

    /// Whether a survey is under way, which begins now if it is time.
    pub fn surveys(&mut self, now: Timestamp, busy: &Busy) -> bool {
        if self.survey.overflowed && self.waiting.len() < self.most_waiting / 2 {
            self.survey = Survey::default();
        }
        self.survey.begin(now);
        while let Some(at) = self.survey.expired.front()
            && busy.contains_key(&at.1)
        {
            self.survey.expired.pop_front();
        }
        self.survey.at.is_some() || !self.survey.expired.is_empty()
    }

    /// Whether all who wait are known, so that attempts may be begun.
    pub const fn is_surveyed(&self) -> bool {
        self.survey.complete
    }

    /// One entry of a survey.
    fn look(&mut self, entry: Entry, now: Timestamp, busy: &Busy) {
        self.survey.looked();
        let (at, expires_at) = (entry.at, entry.expires_at);
        if busy.contains_key(&at.1) || self.taken.contains_key(&at.1) {
            return;
        }
        if expires_at.is_some_and(|expires| expires <= now) {
            self.survey.expired.push_back(at);
        } else {
            self.survey.expires(expires_at);
        }
        if let Some(waiter) = self.waiter(entry) {
            self.learn(at.1, waiter);
        }
    }

    /// Notes one who waits and was not known, unless there are too many.
    fn learn(&mut self, key: DeliveryKey, waiter: Waiter) {
        if self.waiting.contains(key) {
            return;
        }
        // What is out at once may come on top of those who may wait.
        if self.waiting.len() < self.most_waiting + usize::from(limits::ENDPOINT_CONCURRENCY) {
            self.waiting.insert(key, waiter);
        } else {
            self.survey.overflowed = true;
        }
    }

    /// Whether someone waits who comes before this rank and is not to be passed.
    fn is_blocked(&self, strand: Strand, rank: Position) -> bool {
        self.ordering.blocks() && self.waiting.first_of(strand).is_some_and(|first| first < rank)
    }

    /// So many wait that nothing is tried for the first time.
    fn is_full(&self) -> bool {
        self.survey.overflowed || self.waiting.len() >= self.most_waiting
    }

    fn waiter(&self, entry: Entry) -> Option<Waiter> {
        let strand = self.ordering.strand(entry.strand)?;
        let rank = (entry.since?, entry.at.1);
        Some(Waiter {
            strand,
            rank,
            due: entry.at.0,
        })
    }

    fn take_strand(&mut self, key: DeliveryKey, strand: Strand, rank: Position) {
        self.taken.insert(key, (strand, rank));
        *self.strands.entry(strand).or_default() += 1;
    }

    /// A strand may be able to go on.
    fn give_back(&mut self, strand: Strand) {
        self.parked = false;
        if self.passed.contains_key(&strand) {
            self.freed.insert(strand);
        }
        self.waiting.unstall(strand);
    }
}
