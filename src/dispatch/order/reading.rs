//! Reading the schedule: on from the floor, again from where a strand was passed over, and those whose retry is due.

use std::{
    ops::{Bound, ControlFlow},
    time::Duration,
};

use super::{Busy, Found, Order, PAGE, waiting::Waiter};
use crate::{
    domain::{
        id::{DeliveryKey, EndpointId},
        limits,
        ordering::{Mode, Strand},
        time::Timestamp,
    },
    storage::local::index::{
        Store, StoreError,
        query::{Position, Walk},
        rows::Slot,
    },
};

impl Order {
    /// Reads what may be sent now. Every row is taken until it is settled.
    pub fn find(
        &mut self,
        store: &Store,
        endpoint: EndpointId,
        now: Timestamp,
        busy: &Busy,
    ) -> Result<Found, StoreError> {
        let mut fresh = Vec::new();
        let mut more = false;
        if !self.is_full() {
            more |= self.look_again(store, endpoint, busy, &mut fresh)?;
            more |= self.read_on(store, endpoint, now, busy, &mut fresh)?;
        }
        let mut found = Found {
            rows: Vec::new(),
            more,
        };
        for at in self.due(now, busy).into_iter().chain(fresh) {
            match store.due_at(endpoint, at)? {
                Some(row) => found.rows.push(row),
                // The store is ahead: what moved it away will be said.
                None => self.settled(at.1),
            }
        }
        found.more &= found.rows.is_empty();
        Ok(found)
    }

    /// Takes those whose retry is due.
    fn due(&mut self, now: Timestamp, busy: &Busy) -> Vec<Position> {
        let mut due = Vec::new();
        while due.len() < PAGE
            && let Some((key, waiter)) = self.waiting.due(now)
        {
            let Waiter { strand, rank, .. } = waiter;
            if busy.contains_key(&key) || !self.may_retry(strand, rank) {
                self.waiting.stall(key);
                continue;
            }
            // What has not been read yet may come before it.
            if self.ordering.blocks() && rank >= self.floor && !self.is_full() {
                break;
            }
            self.waiting.remove(key);
            self.take(key, strand, rank);
            due.push((waiter.due, key));
        }
        due
    }

    fn may_retry(&mut self, strand: Strand, rank: Position) -> bool {
        if self.strands.contains_key(&strand) {
            return false;
        }
        if !self.ordering.blocks() {
            return true;
        }
        if self.waiting.first_of(strand) != Some(rank) {
            return false;
        }
        if self.passed.get(&strand).is_some_and(|first| *first < rank) {
            // Perhaps one that was not tried comes first: it is looked for, and this one again after that.
            self.freed.insert(strand);
            return self.is_full();
        }
        true
    }

    /// The freed strand whose turn it is: the next one in a circle, so that none is forgotten over the others.
    fn next_freed(&self) -> Option<Strand> {
        let beyond = (Bound::Excluded(self.looked_at), Bound::Unbounded);
        self.freed.range(beyond).next().or(self.freed.first()).copied()
    }

    /// Finds the next member of each strand that was passed over and is free now.
    fn look_again(
        &mut self,
        store: &Store,
        endpoint: EndpointId,
        busy: &Busy,
        fresh: &mut Vec<Position>,
    ) -> Result<bool, StoreError> {
        let mut looks = limits::ORDER_LOOKS;
        while fresh.len() < PAGE
            && let Some(strand) = self.next_freed()
        {
            let from = self.passed.get(&strand).copied();
            let Some(from) = from.filter(|_| !self.strands.contains_key(&strand)) else {
                self.freed.remove(&strand);
                continue;
            };
            if looks == 0 {
                return Ok(true);
            }
            let (floor, ordering) = (self.floor, self.ordering);
            let mut next = None;
            let walk = store.walk(endpoint, from, looks, |at, slot| {
                if at >= floor {
                    return ControlFlow::Break(());
                }
                looks -= 1;
                let waits = slot.since.is_some();
                if waits || ordering.strand(slot.key) != Some(strand) || busy.contains_key(&at.1) {
                    return ControlFlow::Continue(());
                }
                next = Some(at);
                ControlFlow::Break(())
            })?;
            match (next, walk) {
                (None, Walk::Limit(at)) => _ = self.passed.insert(strand, at),
                (None, Walk::End | Walk::Stopped) => {
                    self.passed.remove(&strand);
                    self.freed.remove(&strand);
                    self.waiting.unstall(strand);
                }
                (Some(at), _) => {
                    self.looked_at = strand;
                    self.freed.remove(&strand);
                    if self.is_blocked(strand, at) {
                        self.passed.insert(strand, at);
                        self.waiting.unstall(strand);
                    } else {
                        self.passed.insert(strand, after(at));
                        self.take(at.1, strand, at);
                        fresh.push(at);
                    }
                }
            }
        }
        Ok(!self.freed.is_empty() && fresh.len() < PAGE)
    }

    /// Reads on from the floor.
    fn read_on(
        &mut self,
        store: &Store,
        endpoint: EndpointId,
        now: Timestamp,
        busy: &Busy,
        fresh: &mut Vec<Position>,
    ) -> Result<bool, StoreError> {
        if self.parked || self.next_due.is_none_or(|due| due > now) || fresh.len() >= PAGE {
            return Ok(false);
        }
        let mut stopped_at = None;
        let walk = store.walk(endpoint, self.floor, limits::ORDER_LOOKS, |at, slot| {
            if at.0 > now || fresh.len() >= PAGE || !self.consider(at, slot, busy, fresh) {
                stopped_at = Some(at);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let next = match walk {
            Walk::Limit(at) => Some(at),
            Walk::End | Walk::Stopped => stopped_at,
        };
        self.next_due = next.map(|at| at.0);
        // All that is due by now was met; what appears later will be said.
        let beyond_now = (now.plus(Duration::from_millis(1)), DeliveryKey::MIN);
        self.floor = next.map_or(beyond_now, |at| at.min(beyond_now)).max(self.floor);
        Ok(matches!(walk, Walk::Limit(_)))
    }

    /// Takes one entry, passes it over, or answers that reading is to stop there.
    fn consider(&mut self, at: Position, slot: Slot, busy: &Busy, fresh: &mut Vec<Position>) -> bool {
        if busy.contains_key(&at.1) {
            return true;
        }
        let Some(strand) = self.ordering.strand(slot.key) else {
            fresh.push(at);
            return true;
        };
        if let Some(waiter) = self.waiter(at, slot) {
            self.learn(at.1, waiter);
            return true;
        }
        let behind = self.passed.contains_key(&strand);
        if !behind && !self.strands.contains_key(&strand) && !self.is_blocked(strand, at) {
            self.take(at.1, strand, at);
            fresh.push(at);
            return true;
        }
        if self.ordering.mode() == Mode::Strict {
            self.parked = true;
            return false;
        }
        let first = self.passed.entry(strand).or_insert(at);
        *first = (*first).min(at);
        true
    }
}

/// The position right after another.
const fn after(at: Position) -> Position {
    (at.0, DeliveryKey::new(at.1.lsn, at.1.index + 1))
}
