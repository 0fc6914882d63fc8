//! Lists: rows in the order of the journal, of those that a filter names.
//!
//! Every index is in the order of the journal below its prefix. A filter becomes some [`Set`]s, each of which is a union of
//! such prefixes; a row is in the list when it is in all of them. They are gone through together: each is asked for its first
//! position at or beyond the furthest that another has named, until all name the same. So the smallest set bounds how often
//! each is asked. What no index tells is looked for in the rows that are left.

use std::{collections::BinaryHeap, marker::PhantomData};

use super::{
    Store, StoreError,
    draft::decode,
    keys,
    rows::{AttemptRow, EventRow, Row},
    table::Range,
    zones::{Timed, ZoneRow, first_of, zone_of},
};
use crate::{
    domain::{
        delivery::Delivery,
        id::{DeliveryKey, Lsn},
        time::Timestamp,
    },
    storage::queries::next_to,
};

/// What a list is of.
pub trait Listed: Row {
    /// The first byte of its rows' keys.
    const KIND: u8;
    /// What its times are those of.
    const TIMED: &'static [Timed];
}

impl Listed for EventRow {
    const KIND: u8 = keys::EVENT;
    const TIMED: &'static [Timed] = &[Timed::Event];
}

impl Listed for Delivery {
    const KIND: u8 = keys::DELIVERY;
    const TIMED: &'static [Timed] = &[Timed::Event, Timed::Added];
}

impl Listed for AttemptRow {
    const KIND: u8 = keys::ATTEMPT;
    const TIMED: &'static [Timed] = &[Timed::Attempt];
}

/// Positions of which a list may have some.
#[derive(Clone, Debug)]
pub(super) enum Set {
    /// The keys below any of these prefixes.
    Keys(Vec<keys::Key>),
    /// These, in order.
    Known(Vec<DeliveryKey>),
}

/// How a list is found.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Its rows are in all of these; all rows are, where there is none.
    pub(super) sets: Vec<Set>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

/// What one look along a list found.
#[derive(Debug)]
pub enum Look<T> {
    Row(DeliveryKey, T),
    /// Nothing yet; the list goes on.
    Passed,
    End,
}

/// A list that is gone through.
pub struct Lister<'a, T> {
    store: &'a Store,
    sets: Vec<Open<'a>>,
    /// The only set is all rows: its keys have them as values.
    whole: bool,
    zones: Option<ZoneWalk>,
    /// From here on, in the direction of the list; `None` past its end.
    at: Option<DeliveryKey>,
    ascending: bool,
    row: PhantomData<T>,
}

impl Store {
    /// The rows of a plan beyond a position.
    pub fn lister<T: Listed>(
        &self,
        plan: &Plan,
        beyond: Option<DeliveryKey>,
        ascending: bool,
    ) -> Lister<'_, T> {
        let open = |set: &Set| Open::new(self, set, ascending);
        let whole = plan.sets.is_empty();
        let zones = (plan.since.is_some() || plan.until.is_some()).then_some(ZoneWalk {
            timed: T::TIMED,
            since: plan.since,
            until: plan.until,
            met: None,
        });
        Lister {
            store: self,
            sets: if whole {
                vec![open(&Set::Keys(vec![keys::of_kind(T::KIND)]))]
            } else {
                plan.sets.iter().map(open).collect()
            },
            whole,
            zones,
            at: match beyond {
                Some(beyond) => next_to(beyond, ascending),
                None if ascending => Some(DeliveryKey::MIN),
                None => Some(LAST),
            },
            ascending,
            row: PhantomData,
        }
    }
}

/// No row stands after it.
const LAST: DeliveryKey = DeliveryKey::new(Lsn::MAX, u32::MAX);

impl<T: Listed> Lister<'_, T> {
    /// Where the next look begins; `None` at the end.
    pub const fn at(&self) -> Option<DeliveryKey> {
        self.at
    }

    /// Looks at one position.
    ///
    /// # Errors
    /// When sled fails or a row is damaged.
    pub fn look(&mut self) -> Result<Look<T>, StoreError> {
        let Some(at) = self.at else {
            return Ok(Look::End);
        };
        let found = self.agree_beyond(at)?;
        let Some(found) = found else {
            self.at = None;
            return Ok(Look::End);
        };
        if found != at {
            self.at = Some(found);
            // One set alone has nobody to agree with.
            if self.sets.len() > 1 || self.zones.is_some() {
                return Ok(Look::Passed);
            }
        }
        self.at = next_to(found, self.ascending);
        let row = match self.sets.first() {
            Some(set) if self.whole => set.value().map(<[u8]>::to_vec),
            _ => self.store.table.get(&row_key::<T>(found))?,
        };
        match row {
            // It was forgotten since its index was read.
            None => Ok(Look::Passed),
            Some(row) => Ok(Look::Row(found, decode(&row_key::<T>(found), &row)?)),
        }
    }

    /// The first position from `at` on that nothing speaks against yet.
    fn agree_beyond(&mut self, at: DeliveryKey) -> Result<Option<DeliveryKey>, StoreError> {
        let mut found = at;
        if let Some(zones) = &mut self.zones {
            match zones.seek(self.store, found, self.ascending)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        for set in &mut self.sets {
            match set.seek(found)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }
}

fn row_key<T: Listed>(at: DeliveryKey) -> keys::Key {
    match T::KIND {
        keys::EVENT => keys::event(at.lsn),
        keys::ATTEMPT => keys::attempt(at.lsn),
        _ => keys::delivery(at),
    }
}

/// Passes over zones that have no time of a range.
struct ZoneWalk {
    timed: &'static [Timed],
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// The last zone that has one.
    met: Option<u64>,
}

impl ZoneWalk {
    fn seek(
        &mut self,
        store: &Store,
        at: DeliveryKey,
        ascending: bool,
    ) -> Result<Option<DeliveryKey>, StoreError> {
        let here = zone_of(at.lsn);
        if self.met == Some(here) {
            return Ok(Some(at));
        }
        let kind = keys::of_kind(keys::ZONE);
        let range = if ascending {
            store.table.range(&keys::zone(here), Some(&keys::after(&kind)))
        } else {
            let high = keys::after(&keys::zone(here));
            store.table.range(&kind, Some(&high)).descending()
        };
        for entry in range {
            let (key, row) = entry?;
            let row: ZoneRow = decode(&key, &row)?;
            if !self
                .timed
                .iter()
                .any(|timed| row.of(*timed).meets(self.since, self.until))
            {
                continue;
            }
            let zone = keys::lsn_in(&key);
            self.met = Some(zone);
            let edge = if ascending {
                at.max(DeliveryKey::new(first_of(zone), 0))
            } else {
                at.min(DeliveryKey::new(first_of(zone + 1) - 1, u32::MAX))
            };
            return Ok(Some(edge));
        }
        Ok(None)
    }
}

/// A set that is gone through.
enum Open<'a> {
    Keys(Union<'a>),
    Known { all: Vec<DeliveryKey>, ascending: bool },
}

impl<'a> Open<'a> {
    fn new(store: &'a Store, set: &Set, ascending: bool) -> Self {
        match set {
            Set::Known(all) => Self::Known {
                all: all.clone(),
                ascending,
            },
            Set::Keys(prefixes) => Self::Keys(Union {
                streams: prefixes
                    .iter()
                    .map(|prefix| Stream::new(store, prefix, ascending))
                    .collect(),
                heads: BinaryHeap::new(),
                begun: false,
                ascending,
            }),
        }
    }

    /// Its first position at or beyond `from`; no later call may ask for an earlier one.
    fn seek(&mut self, from: DeliveryKey) -> Result<Option<DeliveryKey>, StoreError> {
        match self {
            Self::Keys(union) => union.seek(from),
            Self::Known { all, ascending: true } => {
                Ok(all.get(all.partition_point(|at| *at < from)).copied())
            }
            Self::Known { all, .. } => {
                let below = all.partition_point(|at| *at <= from);
                Ok(below.checked_sub(1).and_then(|last| all.get(last)).copied())
            }
        }
    }

    /// The value of the row that was found last.
    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Keys(union) => {
                let (_, stream) = union.heads.peek()?;
                union
                    .streams
                    .get(*stream)?
                    .head
                    .as_ref()
                    .map(|(_, value)| &**value)
            }
            Self::Known { .. } => None,
        }
    }
}

/// Streams, merged.
struct Union<'a> {
    streams: Vec<Stream<'a>>,
    /// The streams that have not ended, by where they stand: that with the largest rank is the first.
    heads: BinaryHeap<(Rank, usize)>,
    begun: bool,
    ascending: bool,
}

/// A position so that the larger is the earlier in the direction of the list.
type Rank = (u64, u32);

impl Union<'_> {
    fn seek(&mut self, from: DeliveryKey) -> Result<Option<DeliveryKey>, StoreError> {
        if !self.begun {
            self.begun = true;
            for (stream, number) in self.streams.iter_mut().zip(0..) {
                let head = stream.seek(from)?;
                self.heads
                    .extend(head.map(|head| (rank(head, self.ascending), number)));
            }
        }
        let from_rank = rank(from, self.ascending);
        while let Some(&(first, number)) = self.heads.peek() {
            if first <= from_rank {
                return Ok(Some(of_rank(first, self.ascending)));
            }
            self.heads.pop();
            if let Some(stream) = self.streams.get_mut(number) {
                let head = stream.seek(from)?;
                self.heads
                    .extend(head.map(|head| (rank(head, self.ascending), number)));
            }
        }
        Ok(None)
    }
}

const fn rank(at: DeliveryKey, ascending: bool) -> Rank {
    if ascending {
        (u64::MAX - at.lsn, u32::MAX - at.index)
    } else {
        (at.lsn, at.index)
    }
}

const fn of_rank((lsn, index): Rank, ascending: bool) -> DeliveryKey {
    if ascending {
        DeliveryKey::new(u64::MAX - lsn, u32::MAX - index)
    } else {
        DeliveryKey::new(lsn, index)
    }
}

/// The positions below one prefix.
struct Stream<'a> {
    store: &'a Store,
    prefix: keys::Key,
    ascending: bool,
    range: Option<Range<'a>>,
    /// Where it stands, and the value there.
    head: Option<(DeliveryKey, Vec<u8>)>,
    ended: bool,
}

/// Steps that are taken before the key is looked up instead: as long as they are in the portion that was read, they cost
/// less.
const STEPS: usize = 12;

impl<'a> Stream<'a> {
    fn new(store: &'a Store, prefix: &keys::Key, ascending: bool) -> Self {
        Self {
            store,
            prefix: prefix.clone(),
            ascending,
            range: None,
            head: None,
            ended: false,
        }
    }

    fn seek(&mut self, from: DeliveryKey) -> Result<Option<DeliveryKey>, StoreError> {
        if let Some((head, _)) = &self.head
            && self.reaches(*head, from)
        {
            return Ok(Some(*head));
        }
        if self.range.is_some() {
            for _ in 0..STEPS {
                match self.step()? {
                    Some(head) if self.reaches(head, from) => return Ok(Some(head)),
                    Some(_) => {}
                    None => return Ok(None),
                }
            }
        }
        if self.ended {
            return Ok(None);
        }
        self.range = Some(self.range_from(from));
        self.step()
    }

    fn reaches(&self, head: DeliveryKey, from: DeliveryKey) -> bool {
        if self.ascending {
            head >= from
        } else {
            head <= from
        }
    }

    fn step(&mut self) -> Result<Option<DeliveryKey>, StoreError> {
        let next = match &mut self.range {
            Some(range) => range.next().transpose()?,
            None => None,
        };
        self.ended = next.is_none();
        self.head = next.map(|(key, value)| (keys::position_in(&key), value));
        Ok(self.head.as_ref().map(|(head, _)| *head))
    }

    fn range_from(&self, from: DeliveryKey) -> Range<'a> {
        let key = keys::at_position(&self.prefix, from, self.ascending);
        let table = &self.store.table;
        let end = keys::after(&self.prefix);
        if self.ascending {
            table.range(&key.max(self.prefix.clone()), Some(&end))
        } else {
            let high = [&key[..], &[0]].concat();
            table.range(&self.prefix, Some(&high.min(end))).descending()
        }
    }
}
