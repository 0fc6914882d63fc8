//! Reading the schedule: on from the floor, again from where a strand was passed over, and those whose retry is due.

use std::{ops::Bound, time::Duration};

use super::{Busy, Order, PAGE, waiting::Waiter};
use crate::{
    domain::{
        id::{DeliveryKey, EndpointId},
        limits,
        ordering::{Mode, Ordering, Strand},
        time::Timestamp,
    },
    storage::schedule::{DueDelivery, Entry, EntryPage, Portion, Position, ScheduleRead, behind},
};

/// Strands that are looked for in one read.
const STRANDS: usize = 16;
/// Entries that are looked at for one strand to begin with, or for the only strand there is: its next is near.
const FEW: usize = 16;
/// A portion in which nothing was found is followed by one so many times as large.
const GROWTH: usize = 8;

/// What was found for an order's lane to do.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Found {
    /// To be sent. Every one is taken until it is settled.
    pub ready: Vec<DueDelivery>,
    /// These have expired.
    pub expired: Vec<DueDelivery>,
}

/// The answers to what an order has asked.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Portions {
    pub entries: Vec<EntryPage>,
    pub at: Vec<Option<DueDelivery>>,
}

/// What a read is for, in the order of its questions.
#[derive(Debug, Default)]
pub(super) struct Asked {
    expired: Vec<Position>,
    survey: bool,
    chosen: bool,
    again: Vec<Strand>,
    on: bool,
}

/// Entries that the next read asks for.
#[derive(Debug)]
pub(super) struct Limits {
    first: usize,
    on: usize,
    again: usize,
}

impl Limits {
    pub const fn of(ordering: Ordering) -> Self {
        let first = match ordering.mode() {
            Mode::Strict => FEW,
            Mode::Key | Mode::None => PAGE,
        };
        Self {
            first,
            on: first,
            again: FEW,
        }
    }
}

fn grown(limit: usize) -> usize {
    (limit * GROWTH).min(limits::ORDER_LOOKS)
}

impl Order {
    /// Whether something may be found by reading now, or is chosen already.
    pub fn finds(&mut self, now: Timestamp, busy: &Busy) -> bool {
        if self.chosen.is_empty() && !self.scans(now) {
            self.chosen = self.due(now, busy);
        }
        !self.chosen.is_empty() || self.scans(now)
    }

    fn scans(&mut self, now: Timestamp) -> bool {
        if self.is_full() {
            return false;
        }
        self.freed
            .retain(|strand| self.passed.contains_key(strand) && !self.strands.contains_key(strand));
        !self.freed.is_empty() || self.reads_on(now)
    }

    fn reads_on(&self, now: Timestamp) -> bool {
        !self.parked && self.next_due.is_some_and(|due| due <= now)
    }

    /// Says which portions of the schedule are wanted: for a survey that is under way, and, when `find` is set, for what
    /// may be sent now.
    pub fn ask(&mut self, endpoint: EndpointId, find: bool, read: &mut ScheduleRead) {
        let now = read.now;
        let portion = |from, limit| Portion {
            endpoint,
            from,
            limit,
        };
        let expired = self.survey.expired.len().min(PAGE);
        self.asked = Asked {
            expired: self.survey.expired.drain(..expired).collect(),
            survey: self.survey.at.is_some(),
            ..Asked::default()
        };
        read.at
            .extend(self.asked.expired.iter().map(|at| (endpoint, *at)));
        let survey = self.survey.at.map(|from| portion(from, limits::ORDER_LOOKS));
        read.entries.extend(survey);
        if !find {
            return;
        }
        if !self.chosen.is_empty() {
            read.at.extend(self.chosen.iter().map(|at| (endpoint, *at)));
            self.asked.chosen = true;
            return;
        }
        let strands = (limits::ORDER_LOOKS / self.limits.again).clamp(1, STRANDS);
        for strand in self.next_freed(strands) {
            let Some(from) = self.passed.get(&strand) else {
                continue;
            };
            read.entries.push(portion(*from, self.limits.again));
            self.asked.again.push(strand);
        }
        if self.reads_on(now) {
            read.entries.push(portion(self.floor, self.limits.on));
            self.asked.on = true;
        }
    }

    /// Draws the conclusions from what was read, which was asked for at `now`.
    pub fn take(&mut self, portions: Portions, now: Timestamp, busy: &Busy) -> Found {
        let asked = std::mem::take(&mut self.asked);
        let mut pages = portions.entries.into_iter();
        if asked.survey
            && let Some(page) = pages.next()
        {
            self.surveyed(&page, now, busy);
        }
        let mut found = Found::default();
        let mut rows = portions.at.into_iter();
        let expired = rows.by_ref().take(asked.expired.len()).flatten();
        found.expired.extend(expired.filter(|row| {
            // It may have been begun anew since.
            row.delivery.expires_at.is_some_and(|at| at <= now)
        }));
        if asked.chosen {
            for (at, row) in std::mem::take(&mut self.chosen).into_iter().zip(rows) {
                match row {
                    Some(row) => found.ready.push(row),
                    // The store is ahead: what moved it away will be said.
                    None => self.settled(at.1),
                }
            }
        }
        if asked.on || !asked.again.is_empty() {
            let mut fresh = Vec::new();
            self.looked_again(&asked.again, pages.by_ref(), busy, &mut fresh);
            if asked.on
                && let Some(page) = pages.next()
            {
                self.read_on(&page, now, busy, &mut fresh);
            }
            self.chosen = self.due(now, busy);
            self.chosen.append(&mut fresh);
        }
        found
    }

    /// What was asked for was not read: it is asked for again.
    pub fn unread(&mut self) {
        self.survey
            .expired
            .append(&mut std::mem::take(&mut self.asked).expired.into());
    }

    fn surveyed(&mut self, page: &EntryPage, now: Timestamp, busy: &Busy) {
        for entry in &page.entries {
            self.look(*entry, now, busy);
        }
        match page.next {
            Some(next) => self.survey.at = Some(next),
            None => self.survey.end(now),
        }
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
            self.take_strand(key, strand, rank);
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

    /// The freed strands whose turn it is: the next ones in a circle, so that none is forgotten over the others.
    fn next_freed(&self, most: usize) -> Vec<Strand> {
        let beyond = (Bound::Excluded(self.looked_at), Bound::Unbounded);
        let up_to = (Bound::Unbounded, Bound::Included(self.looked_at));
        let circle = self.freed.range(beyond).chain(self.freed.range(up_to));
        circle.take(most).copied().collect()
    }

    /// Finds the next member of each strand that was passed over and is free now.
    fn looked_again(
        &mut self,
        strands: &[Strand],
        pages: impl Iterator<Item = EntryPage>,
        busy: &Busy,
        fresh: &mut Vec<Position>,
    ) {
        let mut again = FEW;
        for (strand, page) in strands.iter().copied().zip(pages) {
            let mut within = page.entries.iter().take_while(|entry| entry.at < self.floor);
            let next = within.find(|entry| {
                let waits = entry.since.is_some();
                !waits
                    && self.ordering.strand(entry.strand) == Some(strand)
                    && !busy.contains_key(&entry.at.1)
            });
            match (
                next.map(|entry| entry.at),
                page.next.filter(|next| *next < self.floor),
            ) {
                (None, Some(next)) => {
                    self.passed.insert(strand, next);
                    again = grown(self.limits.again);
                }
                (None, None) => {
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
                        self.passed.insert(strand, behind(at));
                        self.take_strand(at.1, strand, at);
                        fresh.push(at);
                    }
                }
            }
        }
        self.limits.again = again;
    }

    /// Reads on from the floor.
    fn read_on(&mut self, page: &EntryPage, now: Timestamp, busy: &Busy, fresh: &mut Vec<Position>) {
        let before = fresh.len();
        let stopped = page
            .entries
            .iter()
            .find(|entry| entry.at.0 > now || fresh.len() >= PAGE || !self.consider(**entry, busy, fresh));
        let next = stopped.map(|entry| entry.at).or(page.next);
        self.limits.on = if stopped.is_none() && page.next.is_some() && fresh.len() == before {
            grown(self.limits.on)
        } else {
            self.limits.first
        };
        self.next_due = next.map(|at| at.0);
        // All that is due by now was met; what appears later will be said.
        let beyond_now = (now.plus(Duration::from_millis(1)), DeliveryKey::MIN);
        self.floor = next.map_or(beyond_now, |at| at.min(beyond_now)).max(self.floor);
    }

    /// Takes one entry, passes it over, or answers that reading is to stop there.
    fn consider(&mut self, entry: Entry, busy: &Busy, fresh: &mut Vec<Position>) -> bool {
        let at = entry.at;
        if busy.contains_key(&at.1) {
            return true;
        }
        let Some(strand) = self.ordering.strand(entry.strand) else {
            fresh.push(at);
            return true;
        };
        if let Some(waiter) = self.waiter(entry) {
            self.learn(at.1, waiter);
            return true;
        }
        let is_behind = self.passed.contains_key(&strand);
        if !is_behind && !self.strands.contains_key(&strand) && !self.is_blocked(strand, at) {
            self.take_strand(at.1, strand, at);
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
