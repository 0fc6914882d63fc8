//! From the records that were found in a damaged stretch, wherever they stand, to the order of their lsns.

use std::{
    cmp::Reverse,
    collections::{HashSet, VecDeque},
};

use super::{
    entry::{Entry, Lsn, LsnRange},
    scan::BadRange,
};

/// Where a valid record stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordPlace {
    pub lsn: Lsn,
    pub offset: u64,
    pub len: u32,
}

impl RecordPlace {
    pub fn of(entry: &Entry) -> Self {
        Self {
            lsn: entry.lsn,
            offset: entry.location.offset,
            len: entry.location.len,
        }
    }

    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}

/// What there is in a stretch, to be told in this order.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Record(RecordPlace),
    Bad(BadRange),
    Tail(BadRange),
}

/// The records of a stretch by lsn, each once.
pub(super) struct Sorted {
    records: Vec<RecordPlace>,
    pub misplaced: u64,
    /// Where the last valid record ends, which may be a copy.
    end: Option<u64>,
}

/// Whether a record stands right behind the one before it, or right before the one after it.
fn has_neighbour(records: &[RecordPlace], at: usize) -> bool {
    let follow = |one: &RecordPlace, next: &RecordPlace| one.lsn + 1 == next.lsn && one.end() == next.offset;
    let before = at > 0 && follow(&records[at - 1], &records[at]);
    before || records.get(at + 1).is_some_and(|next| follow(&records[at], next))
}

impl Sorted {
    /// `records` are in the order in which they stand, from `from` on, where the one after `last` was to begin.
    pub fn new(mut records: Vec<RecordPlace>, from: u64, last: Lsn) -> Self {
        let misplaced = records
            .windows(2)
            .filter(|pair| pair[1].lsn <= pair[0].lsn)
            .count() as u64;
        let end = records.last().map(RecordPlace::end);
        if misplaced > 0 {
            // Two records of one segment with one lsn are copies of each other: the one among its neighbours stays.
            let alone: HashSet<u64> = (0..records.len())
                .filter(|&at| {
                    !has_neighbour(&records, at) && (records[at].offset, records[at].lsn) != (from, last + 1)
                })
                .map(|at| records[at].offset)
                .collect();
            records.sort_by_key(|place| (place.lsn, alone.contains(&place.offset), Reverse(place.offset)));
            records.dedup_by_key(|place| place.lsn);
        }
        Self {
            records,
            misplaced,
            end,
        }
    }
}

/// A part of a segment that was looked through.
pub(super) struct Stretch {
    pub segment: Lsn,
    pub from: u64,
    pub limit: u64,
    /// The lsn before it.
    pub last: Lsn,
}

impl Stretch {
    /// Records by lsn, what lies between them and belongs to none, and the lsns that are not there.
    pub fn findings(&self, sorted: Sorted) -> VecDeque<Found> {
        let Sorted {
            records,
            misplaced,
            end,
        } = sorted;
        let mut holes = self.holes(&records, misplaced > 0);
        let mut tail = holes.pop_if(|hole| hole.end == self.limit);
        // What ends in a copy is no tail that may be cut: the copy may be the one that is known by its place.
        if let (Some(hole), Some(end)) = (&mut tail, end)
            && hole.start < end
        {
            holes.push(Hole {
                start: hole.start,
                end,
                told: false,
            });
            hole.start = end;
        }
        let tail = tail.filter(|hole| hole.start < hole.end);
        let mut found = VecDeque::with_capacity(records.len() + holes.len() + 1);
        let (mut last, mut stood) = (self.last, self.from);
        for record in &records {
            if let Some(missing) = LsnRange::new(last + 1, record.lsn - 1) {
                let at = holes.binary_search_by_key(&stood, |hole| hole.start);
                let at = at.or_else(|_| holes.binary_search_by_key(&record.offset, |hole| hole.end));
                let hole = at.ok().map(|at| &mut holes[at]).filter(|hole| !hole.told);
                let (offset, bytes) = hole.map_or((record.offset, 0), |hole| {
                    hole.told = true;
                    (hole.start, hole.end - hole.start)
                });
                found.push_back(Found::Bad(self.bad(offset, bytes, Some(missing))));
            } else if misplaced == 0
                && let Ok(at) = holes.binary_search_by_key(&stood, |hole| hole.start)
            {
                holes[at].told = true;
                found.push_back(Found::Bad(self.bad(stood, record.offset - stood, None)));
            }
            found.push_back(Found::Record(*record));
            (last, stood) = (record.lsn, record.end());
        }
        let untold = holes.iter().filter(|hole| !hole.told);
        found.extend(untold.map(|hole| Found::Bad(self.bad(hole.start, hole.end - hole.start, None))));
        found.extend(tail.map(|hole| Found::Tail(self.bad(hole.start, hole.end - hole.start, None))));
        found
    }

    /// The parts that no record covers, in the order in which they stand.
    fn holes(&self, records: &[RecordPlace], disordered: bool) -> Vec<Hole> {
        let mut places: Vec<(u64, u64)> = records.iter().map(|place| (place.offset, place.end())).collect();
        if disordered {
            places.sort_unstable();
        }
        let mut holes = Vec::new();
        let mut at = self.from;
        for (start, end) in places.into_iter().chain([(self.limit, self.limit)]) {
            if start > at {
                holes.push(Hole {
                    start: at,
                    end: start,
                    told: false,
                });
            }
            at = at.max(end);
        }
        holes
    }

    fn bad(&self, offset: u64, bytes: u64, missing: Option<LsnRange>) -> BadRange {
        BadRange {
            segment: self.segment,
            offset,
            bytes,
            missing,
        }
    }
}

struct Hole {
    start: u64,
    end: u64,
    told: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lsn: Lsn, offset: u64, len: u32) -> RecordPlace {
        RecordPlace { lsn, offset, len }
    }

    fn told(records: Vec<RecordPlace>) -> Vec<String> {
        let stretch = Stretch {
            segment: 1,
            from: 100,
            limit: 1000,
            last: 4,
        };
        let found = stretch.findings(Sorted::new(records, 100, 4));
        let text = |found: Found| match found {
            Found::Record(place) => format!("{}", place.lsn),
            Found::Bad(bad) => format!(
                "bad {}+{} {}",
                bad.offset,
                bad.bytes,
                bad.missing.map(|range| range.to_string()).unwrap_or_default()
            ),
            Found::Tail(bad) => format!("tail {}+{}", bad.offset, bad.bytes),
        };
        found.into_iter().map(text).collect()
    }

    #[test]
    fn records_in_their_order_are_told_with_the_damage_before_each() {
        assert_eq!(
            told(vec![place(6, 200, 100), place(7, 300, 100), place(9, 500, 500)]),
            ["bad 100+100 5", "6", "7", "bad 400+100 8", "9"]
        );
        assert_eq!(
            told(vec![place(5, 150, 50)]),
            ["bad 100+50 ", "5", "tail 200+800"]
        );
        assert_eq!(told(vec![]), ["tail 100+900"]);
        assert_eq!(told(vec![place(7, 100, 900)]), ["bad 100+0 5..=6", "7"]);
    }

    #[test]
    fn records_that_changed_places_are_told_by_their_lsns() {
        let swapped = vec![
            place(8, 100, 300),
            place(6, 450, 50),
            place(7, 500, 100),
            place(5, 600, 350),
            place(9, 950, 50),
        ];
        assert_eq!(told(swapped), ["5", "6", "7", "8", "9", "bad 400+50 "]);
    }

    #[test]
    fn a_copy_of_a_record_is_told_once_and_its_place_is_damage() {
        let at_the_end = vec![place(5, 100, 100), place(6, 250, 50), place(5, 900, 50)];
        assert_eq!(
            told(at_the_end),
            ["5", "6", "bad 200+50 ", "bad 300+650 ", "tail 950+50"]
        );
        let copied = vec![place(5, 100, 100), place(5, 200, 100), place(7, 300, 700)];
        assert_eq!(told(copied), ["5", "bad 200+100 6", "7"]);
    }
}
