//! Zones: the times of what a run of records brought.
//!
//! Lists are in the order of the journal. Times follow that order, but for some disorder: requests that are accepted at once,
//! attempts that take long, a clock that is set. A zone is [`ZONE`] sequence numbers; its row tells the earliest and the latest
//! time of the events, the replays and the attempts among them. A list of a range of time passes over zones that have
//! none of it, so that it is exact whatever the disorder, and costs a few bytes for a thousand records.
//!
//! A zone's row follows from the rows of its records that are there: when the one with its earliest or latest time is
//! forgotten, it is made again from the others. So a rebuilt store equals the one it replaces.

use std::collections::{HashMap, hash_map::Entry};

use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    draft::Draft,
    keys,
    rows::{AttemptRow, EventRow, Row},
};
use crate::domain::{delivery::Delivery, id::Lsn, time::Timestamp};

/// Sequence numbers of a zone: a row for so many costs next to nothing, and as many rows are read in a millisecond.
const ZONE: u64 = 1024;

/// Times of one kind of thing in a zone.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub count: u32,
    pub earliest: Timestamp,
    pub latest: Timestamp,
}

/// What times are of.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Timed {
    /// When events were accepted; their first deliveries were created then.
    Event,
    /// When deliveries that were added to an event later were created.
    Added,
    /// When attempts were begun.
    Attempt,
}

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    pub events: Times,
    pub added: Times,
    pub attempts: Times,
}

impl Row for ZoneRow {}

impl Times {
    pub fn add(&mut self, at: Timestamp) {
        *self = match self.count {
            0 => Self {
                count: 1,
                earliest: at,
                latest: at,
            },
            count => Self {
                count: count + 1,
                earliest: self.earliest.min(at),
                latest: self.latest.max(at),
            },
        };
    }

    /// Takes one away; answers whether the bounds still hold.
    fn take(&mut self, at: Timestamp) -> bool {
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            *self = Self::default();
            return true;
        }
        at != self.earliest && at != self.latest
    }

    pub fn meets(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        self.count > 0
            && since.is_none_or(|since| self.latest >= since)
            && until.is_none_or(|until| self.earliest <= until)
    }
}

impl ZoneRow {
    pub const fn of(&self, timed: Timed) -> &Times {
        match timed {
            Timed::Event => &self.events,
            Timed::Added => &self.added,
            Timed::Attempt => &self.attempts,
        }
    }

    pub const fn of_mut(&mut self, timed: Timed) -> &mut Times {
        match timed {
            Timed::Event => &mut self.events,
            Timed::Added => &mut self.added,
            Timed::Attempt => &mut self.attempts,
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The zone of a sequence number, and the first one of a zone.
pub const fn zone_of(lsn: Lsn) -> u64 {
    lsn / ZONE
}

pub const fn first_of(zone: u64) -> Lsn {
    zone * ZONE
}

/// Zones that a batch changes.
#[derive(Default)]
pub(super) struct Zones(HashMap<u64, Changed>);

struct Changed {
    row: ZoneRow,
    /// A bound may be of something that is gone.
    stale: bool,
}

impl Zones {
    /// `read` reads the row of a zone that was not changed yet.
    fn changed(
        &mut self,
        zone: u64,
        read: impl FnOnce() -> Result<Option<ZoneRow>, StoreError>,
    ) -> Result<&mut Changed, StoreError> {
        match self.0.entry(zone) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Changed {
                row: read()?.unwrap_or_default(),
                stale: false,
            })),
        }
    }

    pub fn add(&mut self, store: &Store, timed: Timed, lsn: Lsn, at: Timestamp) -> Result<(), StoreError> {
        let zone = zone_of(lsn);
        let changed = self.changed(zone, || store.row(&keys::zone(zone)))?;
        changed.row.of_mut(timed).add(at);
        Ok(())
    }

    pub fn take(&mut self, store: &Store, timed: Timed, lsn: Lsn, at: Timestamp) -> Result<(), StoreError> {
        let zone = zone_of(lsn);
        let changed = self.changed(zone, || store.row(&keys::zone(zone)))?;
        changed.stale |= !changed.row.of_mut(timed).take(at);
        Ok(())
    }
}

impl Draft<'_> {
    /// Writes the rows of the zones that were changed.
    pub(super) fn write_zones(&mut self, zones: Zones) -> Result<(), StoreError> {
        for (zone, changed) in zones.0 {
            let row = if changed.stale {
                self.zone_again(zone)?
            } else {
                changed.row
            };
            if row.is_empty() {
                self.remove(keys::zone(zone));
            } else {
                self.put(keys::zone(zone), &row)?;
            }
        }
        Ok(())
    }

    /// A zone's row, from the rows of its records.
    fn zone_again(&self, zone: u64) -> Result<ZoneRow, StoreError> {
        let (first, end) = (first_of(zone), first_of(zone + 1));
        let mut row = ZoneRow::default();
        for key in self.keys_between(&keys::event(first), &keys::event(end))? {
            if let Some(event) = self.get::<EventRow>(&key)? {
                row.events.add(event.accepted_at);
            }
        }
        for key in self.keys_between(&keys::attempt(first), &keys::attempt(end))? {
            if let Some(attempt) = self.get::<AttemptRow>(&key)? {
                row.attempts.add(attempt.started_at);
            }
        }
        for key in self.keys_between(&keys::deliveries_of(first), &keys::deliveries_of(end))? {
            let delivery = self.get::<Delivery>(&key)?;
            if let Some(delivery) = delivery.filter(|delivery| delivery.key.lsn != delivery.event) {
                row.added.add(delivery.created_at);
            }
        }
        Ok(row)
    }
}
