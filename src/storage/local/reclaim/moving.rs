//! Emptying the oldest segments: what is past its time is forgotten, what is not is carried, and then they are deleted.

use std::collections::{BTreeSet, VecDeque};

use super::{
    Bench, Chore, Piece, Reclaimer, Trouble, at_most,
    carry::{self, Sorted},
    reading::{Reading, Standing},
};
use crate::{
    domain::{
        configuration::{ConfigChange, Configured},
        id::{AuditId, EndpointId, Lsn},
        reclaim::{EndpointFacts, EndpointsForgotten, FloorRaised, State},
        record::Record,
        rollup::Interval,
        time::Timestamp,
    },
    runtime::chain::chain,
    storage::local::index::{Mention, Store, StoreError},
    storage::local::journal::SegmentRecords,
    telemetry::metrics,
};

/// The segments below a record, on their way out.
pub(super) struct Move {
    /// Where the journal is to begin.
    before: Lsn,
    stage: Stage,
    /// The newest time at which an event below was accepted.
    accepted_at: Timestamp,
    /// Endpoints deleted below.
    deleted: BTreeSet<EndpointId>,
    /// Entries of the audit log that stand below.
    audited: BTreeSet<AuditId>,
    /// Intervals whose rollups records below added to, or carry.
    rolled: BTreeSet<(Interval, Timestamp)>,
    /// The configuration that records below are about.
    mentions: BTreeSet<Mention>,
    /// Events whose record cannot be read; they were carried without it.
    unreadable: BTreeSet<Lsn>,
}

#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Stage {
    /// The records of one segment after the other.
    Records {
        reading: Option<SegmentRecords>,
        left: VecDeque<Lsn>,
    },
    /// Events that no record told of, from this one on.
    Search {
        from: Lsn,
        met: bool,
        searches: usize,
    },
    Attempts,
    Configuration(VecDeque<Mention>),
    Audit,
    Rollups,
    Last,
}

const SEARCH: Stage = Stage::Search {
    from: 0,
    met: false,
    searches: 0,
};

impl Move {
    pub fn new(before: Lsn, bench: &Bench<'_>) -> Result<Self, StoreError> {
        let floor = bench.store.floor()?;
        let segments = bench.journal.segments().into_iter();
        let below = segments.filter(|segment| segment.sealed && segment.first < before);
        Ok(Self {
            before,
            stage: Stage::Records {
                reading: None,
                left: below.map(|segment| segment.first).collect(),
            },
            accepted_at: floor.accepted_at,
            deleted: floor.deleted.into_iter().collect(),
            audited: BTreeSet::new(),
            rolled: BTreeSet::new(),
            mentions: BTreeSet::new(),
            unreadable: BTreeSet::new(),
        })
    }
}

impl Reclaimer {
    /// A piece of a move.
    pub(super) fn go_on(&mut self, bench: &mut Bench<'_>, mut task: Box<Move>) -> Result<Piece, Trouble> {
        match &task.stage {
            Stage::Records { .. } => task.records(bench)?,
            Stage::Search { .. } => task.search(bench)?,
            Stage::Attempts => {
                if !self.attempts_are_gone(bench, task.before)? {
                    let mentions = task.mentions.iter().cloned();
                    task.stage = Stage::Configuration(mentions.collect());
                }
            }
            Stage::Configuration(_) => task.configuration(bench)?,
            Stage::Audit => task.audit(bench)?,
            Stage::Rollups => task.rollups(bench)?,
            Stage::Last => return self.finish(bench, &task),
        }
        Ok(Piece::Go(Chore::Move(task)))
    }

    /// Forgets a portion of the attempts whose records are about to go; answers whether there were any.
    fn attempts_are_gone(&mut self, bench: &mut Bench<'_>, before: Lsn) -> Result<bool, Trouble> {
        let found = bench
            .store
            .attempts_between(self.attempts_from, before, at_most::ATTEMPTS_AT_ONCE)?;
        let Some((last, _)) = found.last() else {
            return Ok(false);
        };
        self.forget_attempts_below(bench, last + 1)?;
        Ok(true)
    }

    /// Says what else must be known, and has the segments deleted.
    fn finish(&mut self, bench: &mut Bench<'_>, task: &Move) -> Result<Piece, Trouble> {
        task.last(bench)?;
        // After a crash of the process the store must not need records that are gone.
        bench.store.flush()?;
        let reclaimed = bench.journal.reclaim(task.before)?;
        self.weighed_up_to(task.before);
        if reclaimed.segments == 0 {
            // Somebody keeps them, to copy them.
            self.back_off(bench.tick);
            return Ok(Piece::Done);
        }
        tracing::info!(
            segments = reclaimed.segments,
            bytes = reclaimed.bytes,
            first_lsn = bench.journal.first_lsn(),
            "the oldest journal segments were deleted; what still waits was carried forward"
        );
        self.succeeded();
        Ok(Piece::Go(Chore::Weigh))
    }
}

impl Move {
    /// Reads some records, and sees to the events that stand in them.
    fn records(&mut self, bench: &mut Bench<'_>) -> Result<(), Trouble> {
        let (mut bytes, mut standing) = (0, Vec::new());
        for _ in 0..at_most::RECORDS_AT_ONCE {
            let Stage::Records { reading, left } = &mut self.stage else {
                break;
            };
            let Some(records) = reading else {
                match left.pop_front() {
                    Some(next) => *reading = Some(bench.journal.records_of(next)?),
                    None => self.stage = SEARCH,
                }
                continue;
            };
            let Some(entry) = records.next() else {
                *reading = None;
                continue;
            };
            let entry = entry?;
            bytes += entry.body.len();
            match Reading::of(&entry) {
                Ok(reading) => standing.extend(self.note(reading)),
                Err(error) => {
                    tracing::error!(lsn = entry.lsn, error = %chain(&error), "a journal record does not decode; it goes with its segment");
                }
            }
            if bytes > at_most::RECORD_BYTES_AT_ONCE {
                break;
            }
        }
        self.see_to(bench, standing)
    }

    fn note(&mut self, reading: Reading) -> Option<Standing> {
        self.mentions.extend(reading.mentions);
        self.audited.extend(reading.audited);
        self.rolled.extend(reading.rolled);
        self.deleted.extend(reading.deleted);
        self.accepted_at = self.accepted_at.max(reading.accepted_at.unwrap_or_default());
        reading.event
    }

    /// Looks at some of the events that were accepted below, for those that still stand there: their records are
    /// damaged, or something came to them after they were seen to.
    fn search(&mut self, bench: &mut Bench<'_>) -> Result<(), Trouble> {
        let Stage::Search { from, met, searches } = self.stage else {
            return Ok(());
        };
        let found = bench.store.events_from(from, at_most::EVENTS_AT_ONCE)?;
        let below = found.iter().take_while(|(lsn, _)| *lsn < self.before);
        let last = below.clone().last().map(|(lsn, _)| *lsn);
        let stays = |lsn: &Lsn| !self.unreadable.contains(lsn);
        let left: Vec<Lsn> = below
            .filter(|(lsn, row)| row.place.segment < self.before && stays(lsn))
            .map(|(lsn, _)| *lsn)
            .collect();
        let met = met || !left.is_empty();
        let mut standing = Vec::with_capacity(left.len());
        for lsn in left {
            standing.push(carry::standing(bench, lsn)?);
        }
        self.see_to(bench, standing)?;
        self.stage = match last {
            Some(last) => Stage::Search {
                from: last + 1,
                met,
                searches,
            },
            None if !met => Stage::Attempts,
            None if searches < at_most::SEARCHES => Stage::Search {
                from: 0,
                met: false,
                searches: searches + 1,
            },
            None => return Err(Trouble::Stuck(self.before)),
        };
        Ok(())
    }

    /// Forgets or carries events, each pause a bounded portion of them.
    fn see_to(&mut self, bench: &mut Bench<'_>, standing: Vec<Standing>) -> Result<(), Trouble> {
        let mut rest = VecDeque::from(standing);
        while !rest.is_empty() {
            let pause = bench.pause()?;
            let mut sorted = Sorted::default();
            while sorted.bytes < at_most::CARRIED_BYTES
                && let Some(standing) = rest.pop_front()
            {
                sorted.add(bench, &standing, self.before)?;
            }
            bench.append(&pause, &sorted.records())?;
            drop(pause);
            metrics::reclaimed(sorted.carried, sorted.forgotten.len() as u64);
            self.unreadable.extend(sorted.unreadable);
        }
        Ok(())
    }

    /// Carries a portion of the configuration that the records below are about.
    fn configuration(&mut self, bench: &mut Bench<'_>) -> Result<(), Trouble> {
        let Stage::Configuration(left) = &mut self.stage else {
            return Ok(());
        };
        if left.is_empty() {
            self.stage = Stage::Audit;
            return Ok(());
        }
        let pause = bench.pause()?;
        let (mut records, mut state, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < at_most::CARRIED_BYTES
            && let Some(mention) = left.pop_front()
        {
            let Some((part, place)) = bench.store.mentioned(&mention)? else {
                continue;
            };
            bytes += part.size();
            match part {
                State::EventType(declared) => {
                    records.push(carry::event_type(bench, *declared, place, self.before)?);
                }
                part => state.push(part),
            }
        }
        records.extend(carry::in_portions(state, true));
        bench.append(&pause, &records)
    }

    /// Says a portion of the entries of the audit log again that are kept.
    fn audit(&mut self, bench: &mut Bench<'_>) -> Result<(), Trouble> {
        if self.audited.is_empty() {
            self.stage = Stage::Rollups;
            return Ok(());
        }
        let pause = bench.pause()?;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while bytes < at_most::CARRIED_BYTES
            && let Some(id) = self.audited.pop_first()
        {
            if let Some(entry) = bench.store.audit_entry(id)? {
                bytes += entry.size();
                changes.push(ConfigChange::Audited(Box::new(entry)));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        bench.append(&pause, &[Record::Configured(Configured { changes })])
    }

    /// Carries the rollups of a portion of the intervals: each whole, since which series have rollups of their own depends on
    /// all that was added.
    fn rollups(&mut self, bench: &mut Bench<'_>) -> Result<(), Trouble> {
        bench.store.retain_rolled_up(&mut self.rolled)?;
        let pause = bench.pause()?;
        let (mut state, mut bytes, mut looks) = (Vec::new(), 0, 0);
        while bytes < at_most::CARRIED_BYTES
            && looks < at_most::INTERVALS_AT_ONCE
            && let Some((interval, at)) = self.rolled.pop_first()
        {
            looks += 1;
            let part = bench.store.whole_interval(interval, at)?;
            bytes += part.as_ref().map_or(0, State::size);
            state.extend(part);
        }
        let records: Vec<Record> = carry::in_portions(state, false).collect();
        bench.append(&pause, &records)?;
        if self.rolled.is_empty() {
            self.stage = Stage::Last;
        }
        Ok(())
    }

    /// What applying later records depends on, and all counts, as they are: from here on, a store that is made of what
    /// is left is this one.
    fn last(&self, bench: &mut Bench<'_>) -> Result<(), Trouble> {
        let pause = bench.pause()?;
        let store = bench.store;
        let deleted = self.deleted(store)?;
        let gone = self.past_memory(bench, &deleted)?;
        let mut counts = store.counts()?;
        counts.retain(|part| !matches!(part, State::Tally(tally) if gone.contains(&tally.endpoint)));
        let mut records = Vec::new();
        if !gone.is_empty() {
            records.push(Record::EndpointsForgotten(EndpointsForgotten { endpoints: gone }));
        }
        records.extend(carry::in_portions(counts, false));
        records.push(Record::FloorRaised(FloorRaised {
            floor: self.before,
            accepted_at: self.accepted_at,
            deleted,
        }));
        bench.append(&pause, &records)
    }

    /// The endpoints deleted below that are remembered.
    fn deleted(&self, store: &Store) -> Result<Vec<EndpointFacts>, StoreError> {
        let mut deleted = Vec::new();
        // Ids begin with the time of their creation: the newest are the likelier to be asked for.
        for id in self.deleted.iter().rev().take(at_most::DELETED_TOLD) {
            let row = store.endpoint(*id)?.filter(|row| row.deleted_at.is_some());
            deleted.extend(row.map(|row| row.facts(*id)));
        }
        deleted.reverse();
        Ok(deleted)
    }

    /// Those of which nothing is to be remembered any more: what was on its way when they were deleted lies below, too.
    fn past_memory(
        &self,
        bench: &Bench<'_>,
        deleted: &[EndpointFacts],
    ) -> Result<Vec<EndpointId>, StoreError> {
        let cut = self.accepted_at.minus(at_most::DELETED_FOR);
        let mut gone = Vec::new();
        for facts in deleted {
            let long_ago = facts.deleted_at.is_some_and(|at| at < cut);
            if long_ago && bench.store.tally(facts.id)?.deliveries.scheduled == 0 {
                gone.push(facts.id);
            }
        }
        Ok(gone)
    }
}
