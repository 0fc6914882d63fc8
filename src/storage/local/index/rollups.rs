//! Rollups: what a batch adds to minutes is added up in memory, and to their rows once, when the batch is committed.
//!
//! Which tenants and endpoints have rows of their own in an interval depends on the order of the records alone, never on where
//! batches begin, so that a store that is made again has the same rows.
//!
//! An hour's rows are those of its minutes that were folded ([`RollupsFolded`]). Whoever asks for hours adds the minutes that
//! were not.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Indexes, Store, StoreError,
    apply::Writer,
    check::CheckReport,
    draft::{self, Draft},
    keys,
    rows::Row,
};
use crate::{
    domain::{
        reclaim::{RollupsFolded, State},
        record::{AttemptSettled, EventAccepted},
        rollup::{Interval, Rollup, Series, Sums, WholeInterval},
        time::Timestamp,
    },
    runtime::hex,
    storage::rollups::{RollupQuery, RollupsRead},
};

impl Row for Rollup {}

/// What a batch adds, by the minute that it is about: mostly there is one.
#[derive(Default)]
pub(super) struct Minutes(Vec<(Timestamp, Sums)>);

impl Minutes {
    fn of(&mut self, at: Timestamp) -> &mut Sums {
        let minute = Interval::Minute.of(at);
        let place = match self.0.iter().rposition(|(known, _)| *known == minute) {
            Some(place) => place,
            None => {
                self.0.push((minute, Sums::default()));
                self.0.len() - 1
            }
        };
        &mut self.0[place].1
    }
}

/// The beginnings of the first and the last interval that have rollups.
type Span = (Option<Timestamp>, Option<Timestamp>);

impl Writer<'_> {
    fn rolls_up(&self) -> bool {
        self.draft.indexes() == Indexes::All
    }

    pub(super) fn roll_event(&mut self, event: &EventAccepted) {
        if self.rolls_up() {
            self.draft.minutes.of(event.accepted_at).event(event);
        }
    }

    pub(super) fn roll_attempt(&mut self, attempt: &AttemptSettled) {
        if self.rolls_up() {
            self.draft.minutes.of(attempt.ended_at()).attempt(attempt);
        }
    }

    /// Makes an interval's rollups be these.
    pub(super) fn carried_rollups(&mut self, whole: &WholeInterval) -> Result<(), StoreError> {
        if !self.rolls_up() {
            return Ok(());
        }
        self.draft.write_minutes()?;
        let WholeInterval { interval, at, series } = whole;
        let known = keys::rollups_at(*interval, *at);
        for key in self.draft.keys_between(&known, &keys::after(&known))? {
            self.draft.remove(key);
        }
        for (series, rollup) in series {
            self.draft.put(keys::rollup(*interval, *at, series), rollup)?;
        }
        Ok(())
    }

    pub(super) fn rollups_folded(&mut self, folded: &RollupsFolded) -> Result<(), StoreError> {
        if !self.rolls_up() {
            return Ok(());
        }
        self.draft.write_minutes()?;
        let mut hours: Vec<(Timestamp, Sums)> = Vec::new();
        for key in self.rollups_before(Interval::Minute, folded.minutes_before)? {
            let rollup: Option<Rollup> = self.draft.get(&key)?;
            if let (Some((at, series)), Some(rollup)) = (keys::rollup_in(&key), rollup) {
                let hour = Interval::Hour.of(at);
                if hours.last().is_none_or(|(last, _)| *last != hour) {
                    hours.push((hour, Sums::default()));
                }
                if let Some((_, sums)) = hours.last_mut() {
                    sums.add(&series, &rollup);
                }
            }
            self.draft.remove(key);
        }
        for (at, sums) in hours {
            self.draft.add_rollups(Interval::Hour, at, sums)?;
        }
        for key in self.rollups_before(Interval::Hour, folded.hours_before)? {
            self.draft.remove(key);
        }
        Ok(())
    }

    fn rollups_before(
        &self,
        interval: Interval,
        before: Timestamp,
    ) -> Result<impl Iterator<Item = keys::Key> + use<>, StoreError> {
        let low = keys::rollups_of(interval);
        let high = keys::rollups_at(interval, before);
        Ok(self.draft.keys_between(&low, &high)?.into_iter())
    }
}

impl Draft<'_> {
    /// Adds what was gathered to the rows of its minutes.
    pub(super) fn write_minutes(&mut self) -> Result<(), StoreError> {
        for (at, sums) in std::mem::take(&mut self.minutes).0 {
            self.add_rollups(Interval::Minute, at, sums)?;
        }
        Ok(())
    }

    fn add_rollups(&mut self, interval: Interval, at: Timestamp, sums: Sums) -> Result<(), StoreError> {
        let key_of_all = keys::rollup(interval, at, &Series::All);
        let mut all: Rollup = self.get(&key_of_all)?.unwrap_or_default();
        all.add(&sums.all);
        for (tenant, rollup) in sums.tenants.in_order() {
            let key = keys::rollup(interval, at, &Series::Tenant(tenant));
            self.add_rollup(key, &rollup, || all.admit_tenant(&rollup))?;
        }
        for (endpoint, rollup) in sums.endpoints.in_order() {
            let key = keys::rollup(interval, at, &Series::Endpoint(endpoint));
            self.add_rollup(key, &rollup, || all.admit_endpoint(&rollup))?;
        }
        self.put(key_of_all, &all)
    }

    fn add_rollup(
        &mut self,
        key: keys::Key,
        rollup: &Rollup,
        admit: impl FnOnce() -> bool,
    ) -> Result<(), StoreError> {
        let known: Option<Rollup> = self.get(&key)?;
        match known {
            Some(mut known) => {
                known.add(rollup);
                self.put(key, &known)
            }
            None if admit() => self.put(key, rollup),
            None => Ok(()),
        }
    }
}

impl Store {
    /// The rollups of one series; nothing where none are kept.
    ///
    /// # Errors
    /// When sled fails or a row is damaged; so for all that follow.
    pub fn rollups(&self, query: &RollupQuery) -> Result<Option<RollupsRead>, StoreError> {
        if self.indexes != Indexes::All {
            return Ok(None);
        }
        loop {
            let minutes = self.rollup_span(Interval::Minute)?;
            let read = self.rollups_in(query, minutes)?;
            // Minutes that were folded meanwhile may have been counted twice, or not at all.
            if self.rollup_span(Interval::Minute)?.0 == minutes.0 {
                return Ok(Some(read));
            }
        }
    }

    fn rollups_in(&self, query: &RollupQuery, minutes: Span) -> Result<RollupsRead, StoreError> {
        let mut read = RollupsRead::default();
        let (first, last) = match query.interval {
            Interval::Minute => minutes,
            Interval::Hour => {
                let hours = self.rollup_span(Interval::Hour)?;
                let in_hours = |at: Option<Timestamp>| at.map(|at| Interval::Hour.of(at));
                let firsts = hours.0.into_iter().chain(in_hours(minutes.0));
                (firsts.min(), hours.1.max(in_hours(minutes.1)))
            }
        };
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(read);
        };
        let mut at = query.interval.of(query.since).max(first);
        while at <= last.min(query.until) {
            let mut sum = Rollup::default();
            self.add_interval(query, query.interval, at, &mut sum, &mut read.left_out)?;
            if query.interval == Interval::Hour {
                let mut minute = at.max(minutes.0.unwrap_or(Interval::Hour.after(at)));
                while minute < Interval::Hour.after(at) {
                    self.add_interval(query, Interval::Minute, minute, &mut sum, &mut read.left_out)?;
                    minute = Interval::Minute.after(minute);
                }
            }
            if sum != Rollup::default() {
                read.intervals.push((at, sum));
            }
            at = query.interval.after(at);
        }
        Ok(read)
    }

    fn add_interval(
        &self,
        query: &RollupQuery,
        interval: Interval,
        at: Timestamp,
        sum: &mut Rollup,
        left_out: &mut bool,
    ) -> Result<(), StoreError> {
        let Some(all) = self.row::<Rollup>(&keys::rollup(interval, at, &Series::All))? else {
            return Ok(());
        };
        *left_out |= all.has_left_out(&query.series);
        let own = match query.series {
            Series::All => Some(all),
            Series::Tenant(_) | Series::Endpoint(_) => {
                self.row(&keys::rollup(interval, at, &query.series))?
            }
        };
        if let Some(own) = own {
            sum.add(&own);
        }
        Ok(())
    }

    /// The first and the last interval of a length that have rollups.
    pub fn rollup_span(&self, interval: Interval) -> Result<Span, StoreError> {
        let end = |ascending| {
            let window = super::query::Window {
                prefix: keys::rollups_of(interval).to_vec(),
                beyond: None,
                ascending,
                limit: 1,
                looks: 1,
            };
            let rows = self.window(&window, |_, _: &Rollup| true)?;
            let found = rows.found.first().and_then(|(key, _)| keys::rollup_in(key));
            Ok::<_, StoreError>(found.map(|(at, _)| at))
        };
        Ok((end(true)?, end(false)?))
    }

    /// Drops the intervals that cannot have rollups.
    pub fn retain_rolled_up(
        &self,
        intervals: &mut BTreeSet<(Interval, Timestamp)>,
    ) -> Result<(), StoreError> {
        let [minutes, hours] = [
            self.rollup_span(Interval::Minute)?,
            self.rollup_span(Interval::Hour)?,
        ];
        intervals.retain(|(interval, at)| {
            let (first, last) = match interval {
                Interval::Minute => minutes,
                Interval::Hour => hours,
            };
            first.is_some_and(|first| *at >= first) && last.is_some_and(|last| *at <= last)
        });
        Ok(())
    }

    /// How many rollups there are of an interval.
    pub fn series_in(&self, interval: Interval, at: Timestamp) -> Result<usize, StoreError> {
        let all: Option<Rollup> = self.row(&keys::rollup(interval, at, &Series::All))?;
        Ok(all.map_or(0, |all| {
            let (tenants, endpoints) = all.series();
            1 + tenants as usize + endpoints as usize
        }))
    }

    /// The minute after as many of the oldest minutes as have about `rows` rollups together, at most `before`. Nothing when no
    /// minute begins before that.
    pub fn minutes_to_fold(&self, before: Timestamp, rows: usize) -> Result<Option<Timestamp>, StoreError> {
        let low = keys::rollups_of(Interval::Minute);
        let high = keys::rollups_at(Interval::Minute, before);
        let mut last = None;
        for entry in self.table.range(&low, Some(&high)).take(rows) {
            last = keys::rollup_in(&entry?.0).map(|(at, _)| at).or(last);
        }
        Ok(last.map(|at| Interval::Minute.after(at)))
    }

    /// The rollups of one interval, all of them, if there are any.
    pub fn whole_interval(&self, interval: Interval, at: Timestamp) -> Result<Option<State>, StoreError> {
        let mut series = Vec::new();
        for entry in self.table.prefix(&keys::rollups_at(interval, at)) {
            let (key, row) = entry?;
            let rollup: Rollup = draft::decode(&key, &row)?;
            series.extend(keys::rollup_in(&key).map(|(_, of)| (of, rollup)));
        }
        let whole = WholeInterval { interval, at, series };
        Ok((!whole.series.is_empty()).then(|| State::Rollups(Box::new(whole))))
    }
}

/// What a check has seen of rollups: of each interval how many tenants and endpoints it is said to have, and has.
#[derive(Default)]
pub(super) struct SeenRollups(BTreeMap<Vec<u8>, [(u32, u32); 2]>);

impl SeenRollups {
    pub fn row(&mut self, key: &[u8], row: &[u8], report: &mut CheckReport) -> Result<(), StoreError> {
        let rollup: Rollup = draft::decode(key, row)?;
        let Some((_, series)) = keys::rollup_in(key) else {
            report.fault(format!("row {} names no series", hex::encode(key)));
            return Ok(());
        };
        let [said, found] = self.0.entry(key[..6].to_vec()).or_default();
        match series {
            Series::All => *said = rollup.series(),
            Series::Tenant(_) => found.0 += 1,
            Series::Endpoint(_) => found.1 += 1,
        }
        Ok(())
    }

    pub fn compare(&self, report: &mut CheckReport) {
        for (interval, [said, found]) in &self.0 {
            if said != found {
                report.fault(format!(
                    "rollups {} are said to be of {said:?} tenants and endpoints, and are of {found:?}",
                    hex::encode(interval)
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::id::EndpointId,
        runtime::codec::encode_row,
        storage::local::index::{
            TableOptions,
            open::open_as_is,
            table::{Change, Changes},
        },
    };

    /// An endpoint that gets some events a minute, each of which takes some tens of milliseconds.
    fn busy(rng: &mut fastrand::Rng) -> Rollup {
        let counts = rng.u32(1..20);
        let mut places = vec![(0, counts), (1, counts)];
        places.extend((0..counts).map(|_| (16 + rng.u8(1..6), 1)));
        if rng.u8(0..10) == 0 {
            places.push((2, 1));
        }
        Rollup::from(places)
    }

    /// What docs/STORAGE.md says of the size of rollups.
    #[test]
    fn a_rollup_takes_a_few_dozen_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let options = TableOptions {
            cache_bytes: 1 << 20,
            buffer_bytes: 1 << 20,
            indexes: Indexes::All,
        };
        let store = open_as_is(dir.path(), options).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let endpoints: Vec<EndpointId> = (0..200)
            .map(|_| EndpointId::from_bytes(std::array::from_fn(|_| rng.u8(..))))
            .collect();
        let mut rows = 0;
        for minute in 0..50 {
            let at = Timestamp::from_millis(1_700_000_000_000 + minute * Interval::Minute.millis());
            let mut changes = Changes::new();
            for endpoint in &endpoints {
                let rollup = busy(&mut rng);
                let row = encode_row(Rollup::VERSION, &rollup).unwrap();
                let key = keys::rollup(
                    Interval::Minute,
                    Interval::Minute.of(at),
                    &Series::Endpoint(*endpoint),
                );
                changes.insert(key, Change::Put(row.into()));
                rows += 1;
            }
            store.table.apply(changes).unwrap();
        }
        store.flush().unwrap();
        let each = store.live_bytes() / rows;
        println!("{each} bytes for each rollup");
        assert!((20..80).contains(&each), "{each}");
    }
}
