//! Which segments to take: those at the front of which, taken together, at least half is of no more use.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Bench, Chore, Piece, Reclaimer, Trouble, at_most,
    moving::Move,
    reading::{Reading, Standing},
};
use crate::{
    domain::{
        event::Label,
        id::{AuditId, Lsn},
        rollup::Interval,
        time::Timestamp,
    },
    storage::local::index::{Mention, Store, StoreError, keys, rows::EventRow},
    storage::local::journal::{Entry, SegmentInfo, SegmentRecords},
};

/// What segments weigh, as far as that is known.
#[derive(Default)]
pub(super) struct Weigher {
    known: BTreeMap<Lsn, Weight>,
    scale: Option<Scale>,
}

#[derive(Copy, Clone, Debug, Default)]
struct Weight {
    bytes: u64,
    /// What would have to be carried.
    live: u64,
}

/// A segment that is being weighed.
struct Scale {
    segment: SegmentInfo,
    records: SegmentRecords,
    live: u64,
    mentions: BTreeSet<Mention>,
    audited: Vec<AuditId>,
    rolled: BTreeSet<(Interval, Timestamp)>,
}

impl Reclaimer {
    /// Weighs the oldest segments until enough of them is of no use.
    pub(super) fn weigh(&mut self, bench: &mut Bench<'_>) -> Result<Piece, Trouble> {
        if let Some(scale) = self.weigher.scale.take() {
            return self.weigh_on(bench, scale);
        }
        let raised = bench.store.floor()?.floor;
        if raised > bench.journal.first_lsn() {
            // It was interrupted at its end. Nothing may be left to do, and if so, that is soon found.
            return Ok(Piece::Go(Chore::Move(Box::new(Move::new(raised, bench)?))));
        }
        let segments = bench.journal.segments();
        let short = self.is_short(bench, &segments);
        let begins = segments.iter().skip(1).map(|segment| segment.first);
        let (mut garbage, mut live) = (0, 0);
        let mut looked = false;
        let mut best = None;
        let ahead = segments.iter().zip(begins).take(at_most::SEGMENTS_AHEAD);
        for (segment, next) in ahead.filter(|(segment, _)| segment.sealed) {
            let enough = best.is_some() && garbage + live >= at_most::MOVED_BYTES;
            if enough || (!short && !self.is_old(bench, next)?) {
                break;
            }
            if !looked {
                // All counts are said again, whatever goes.
                let counts = bench.store.count(keys::ENDPOINT_TALLY)? * at_most::TALLY_BYTES;
                live += counts as u64;
            }
            looked = true;
            let Some(weight) = self.weigher.known.get(&segment.first) else {
                self.weigher.scale = Some(Scale::new(bench, *segment)?);
                return Ok(Piece::Go(Chore::Weigh));
            };
            live += weight.live;
            garbage += weight.bytes.saturating_sub(weight.live);
            if garbage >= live {
                best = Some(next);
            }
        }
        if let Some(next) = best {
            return Ok(Piece::Go(Chore::Move(Box::new(Move::new(next, bench)?))));
        }
        if looked {
            tracing::debug!(garbage, live, "the oldest segments are still needed");
            self.back_off(bench.tick);
        }
        Ok(Piece::Done)
    }

    /// Whether the journal is larger than it should be, or the disk nearly full.
    fn is_short(&self, bench: &Bench<'_>, segments: &[SegmentInfo]) -> bool {
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let most = self.retention.max_journal_bytes;
        (most > 0 && bytes > most) || bench.journal.is_full()
    }

    /// Whether everything below `next` is past its time.
    fn is_old(&self, bench: &Bench<'_>, next: Lsn) -> Result<bool, StoreError> {
        let newest = bench.store.newest_below(next)?;
        let over = |at: Option<Timestamp>, kept| at.is_none_or(|at| at < (bench.ago)(kept));
        Ok(over(newest.event, self.retention.events) && over(newest.attempt, self.retention.attempts()))
    }

    /// Weighs a portion of a segment.
    fn weigh_on(&mut self, bench: &Bench<'_>, mut scale: Scale) -> Result<Piece, Trouble> {
        let mut bytes = 0;
        for _ in 0..at_most::RECORDS_AT_ONCE {
            match scale.records.next() {
                Some(entry) => {
                    let entry = entry?;
                    bytes += entry.body.len();
                    scale.add(bench, &entry)?;
                }
                None => {
                    let (first, weight) = scale.done(bench.store)?;
                    self.weigher.known.insert(first, weight);
                    return Ok(Piece::Go(Chore::Weigh));
                }
            }
            if bytes > at_most::RECORD_BYTES_AT_ONCE {
                break;
            }
        }
        self.weigher.scale = Some(scale);
        Ok(Piece::Go(Chore::Weigh))
    }

    /// Forgets what segments that are gone weighed.
    pub(super) fn weighed_up_to(&mut self, before: Lsn) {
        self.weigher.known = self.weigher.known.split_off(&before);
    }
}

impl Scale {
    fn new(bench: &Bench<'_>, segment: SegmentInfo) -> Result<Self, Trouble> {
        Ok(Self {
            segment,
            records: bench.journal.records_of(segment.first)?,
            live: 0,
            mentions: BTreeSet::new(),
            audited: Vec::new(),
            rolled: BTreeSet::new(),
        })
    }

    fn add(&mut self, bench: &Bench<'_>, entry: &Entry) -> Result<(), StoreError> {
        // What does not decode is of no use to anybody.
        let Ok(reading) = Reading::of(entry) else {
            return Ok(());
        };
        self.mentions.extend(reading.mentions);
        self.audited.extend(reading.audited);
        self.rolled.extend(reading.rolled);
        let Some(standing) = reading.event else {
            return Ok(());
        };
        let here = |row: &EventRow| row.place.segment == self.segment.first;
        let Some(row) = bench.store.event(standing.event)?.filter(here) else {
            return Ok(());
        };
        let settled = bench.store.is_settled(standing.event, row.deliveries)?;
        if !settled || remembers(bench.store, row.tenant.as_ref(), &standing, bench.keys_over)? {
            let rows = row.deliveries as usize * at_most::DELIVERY_BYTES;
            self.live += u64::from(entry.location.len) + rows as u64;
        }
        Ok(())
    }

    fn done(mut self, store: &Store) -> Result<(Lsn, Weight), StoreError> {
        let mut live = self.live;
        for mention in self.mentions {
            let found = store.mentioned(&mention)?;
            live += found.map_or(0, |(state, _)| state.size() as u64);
        }
        for id in self.audited {
            live += store.audit_entry(id)?.map_or(0, |entry| entry.size() as u64);
        }
        store.retain_rolled_up(&mut self.rolled)?;
        for (interval, at) in self.rolled {
            let rows = store.series_in(interval, at)? * at_most::ROLLUP_BYTES;
            live += rows as u64;
        }
        let bytes = self.segment.bytes;
        Ok((self.segment.first, Weight { bytes, live }))
    }
}

/// Whether an event's idempotency key is still to be answered with it.
pub(super) fn remembers(
    store: &Store,
    tenant: Option<&Label>,
    standing: &Standing,
    over: Timestamp,
) -> Result<bool, StoreError> {
    match &standing.idempotency_key {
        Some(text) if standing.until > over => store.stands_for(tenant, text, standing.event),
        _ => Ok(false),
    }
}
