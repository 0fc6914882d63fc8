//! The deliveries of an ordered endpoint that were tried and wait for their retry.
//!
//! They stand in the schedule where their retry is due, but have their place in line where they were first due. So a
//! lane knows all of them by heart: it could not see otherwise who is to be waited for.

use std::collections::{BTreeSet, HashMap};

use crate::{
    domain::{id::DeliveryKey, ordering::Strand, time::Timestamp},
    storage::schedule::Position,
};

/// One delivery that waits.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub strand: Strand,
    /// Its place in line.
    pub rank: Position,
    /// When its retry is due.
    pub due: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    all: HashMap<DeliveryKey, Waiter>,
    /// In line, strand by strand.
    ranks: BTreeSet<(Strand, Position)>,
    /// By when they are due; those that were due and had to let others go first are in `stalled` instead.
    dues: BTreeSet<Position>,
    stalled: BTreeSet<(Strand, Position)>,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn contains(&self, key: DeliveryKey) -> bool {
        self.all.contains_key(&key)
    }

    pub fn insert(&mut self, key: DeliveryKey, waiter: Waiter) {
        self.remove(key);
        self.ranks.insert((waiter.strand, waiter.rank));
        self.dues.insert((waiter.due, key));
        self.all.insert(key, waiter);
    }

    /// Forgets one; answers whose line it stood in.
    pub fn remove(&mut self, key: DeliveryKey) -> Option<Strand> {
        let waiter = self.all.remove(&key)?;
        self.ranks.remove(&(waiter.strand, waiter.rank));
        self.dues.remove(&(waiter.due, key));
        self.stalled.remove(&(waiter.strand, waiter.rank));
        Some(waiter.strand)
    }

    /// Who is first of a strand.
    pub fn first_of(&self, strand: Strand) -> Option<Position> {
        first(&self.ranks, strand)
    }

    /// When the next one is due that is not stalled.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.dues.first().map(|(due, _)| *due)
    }

    /// The one that has been due for longest at `now`.
    pub fn due(&self, now: Timestamp) -> Option<(DeliveryKey, Waiter)> {
        let (_, key) = self.dues.first().filter(|(due, _)| *due <= now)?;
        self.all.get(key).map(|waiter| (*key, *waiter))
    }

    /// It is due and may not go yet: it is not looked at again before its strand is given back.
    pub fn stall(&mut self, key: DeliveryKey) {
        if let Some(waiter) = self.all.get(&key) {
            self.dues.remove(&(waiter.due, key));
            self.stalled.insert((waiter.strand, waiter.rank));
        }
    }

    /// The first of a strand's stalled ones may be looked at again.
    pub fn unstall(&mut self, strand: Strand) {
        if let Some(rank) = first(&self.stalled, strand) {
            self.stalled.remove(&(strand, rank));
            if let Some(waiter) = self.all.get(&rank.1) {
                self.dues.insert((waiter.due, rank.1));
            }
        }
    }
}

fn first(set: &BTreeSet<(Strand, Position)>, strand: Strand) -> Option<Position> {
    let from = (strand, (Timestamp::EPOCH, DeliveryKey::MIN));
    let (found, rank) = set.range(from..).next()?;
    (*found == strand).then_some(*rank)
}
