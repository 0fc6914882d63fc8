//! What rollups should be, counted record by record as the test writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::world::World;
use crate::{
    domain::{
        delivery::Stage,
        outcome::Class,
        record::Record,
        rollup::{Interval, MOST_SERIES, Rollup, Series},
        time::Timestamp,
    },
    storage::rollups::RollupQuery,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    accepted: u32,
    /// By outcome.
    attempts: [u32; 5],
    failed: u32,
    /// How many attempts have their duration in the histogram.
    durations: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Expected(BTreeMap<(Timestamp, Series), Counts>);

impl Expected {
    fn add(&mut self, at: Timestamp, series: &[Series], add: impl Fn(&mut Counts)) {
        for series in [Series::All].iter().chain(series) {
            let minute = Interval::Minute.of(at);
            add(self.0.entry((minute, series.clone())).or_default());
        }
    }

    fn sums(&self, interval: Interval, series: &Series) -> BTreeMap<Timestamp, Counts> {
        let mut sums: BTreeMap<Timestamp, Counts> = BTreeMap::new();
        for ((minute, _), counts) in self.0.iter().filter(|((_, of), _)| of == series) {
            let sum = sums.entry(interval.of(*minute)).or_default();
            sum.accepted += counts.accepted;
            for place in 0..5 {
                sum.attempts[place] += counts.attempts[place];
            }
            sum.durations += counts.durations;
            sum.failed += counts.failed;
        }
        sums
    }
}

fn counts(rollup: &Rollup) -> Counts {
    Counts {
        accepted: rollup.accepted(),
        attempts: Class::ALL.map(|class| rollup.attempts(class)),
        failed: rollup.failed(),
        durations: rollup.durations().count(),
    }
}

/// Takes note of records that are applied.
pub fn note(expected: &mut Expected, records: &[Record]) {
    for record in records {
        match record {
            Record::EventAccepted(event) => {
                let own = event.event_type.as_str() == "user.created";
                let tenant = event.tenant.clone().filter(|_| own).map(Series::Tenant);
                let endpoints = event.fan_out.iter().map(|id| Series::Endpoint(*id));
                let series: Vec<_> = tenant.into_iter().chain(endpoints).collect();
                expected.add(event.accepted_at, &series, |counts| counts.accepted += 1);
            }
            Record::AttemptSettled(attempt) if attempt.delivery.is_some() => {
                let own = attempt.event_type.as_str() == "user.created";
                let tenant = attempt.tenant.clone().filter(|_| own).map(Series::Tenant);
                let series: Vec<_> = tenant
                    .into_iter()
                    .chain([Series::Endpoint(attempt.endpoint)])
                    .collect();
                let place = Class::ALL.iter().position(|class| *class == attempt.class);
                expected.add(attempt.ended_at(), &series, |counts| {
                    counts.attempts[place.unwrap()] += 1;
                    counts.failed += u32::from(attempt.stage == Stage::Failed);
                    counts.durations += 1;
                });
            }
            _ => {}
        }
    }
}

/// The rollups of a world are what they should be, as far as they are kept. Answers whether any were left out.
pub fn hold(world: &World) -> bool {
    let kept_from = |kept: Duration| Interval::Hour.after(Interval::Hour.of(world.now.minus(kept)));
    let all: BTreeSet<Series> = world
        .expected
        .0
        .keys()
        .map(|(_, series)| series.clone())
        .collect();
    let mut left_out = false;
    for series in all {
        for (interval, from) in [
            (Interval::Minute, kept_from(world.retention.minutes)),
            (Interval::Hour, kept_from(world.retention.hours)),
        ] {
            let query = RollupQuery {
                series: series.clone(),
                interval,
                since: from,
                until: world.now.plus(Duration::from_secs(86_400)),
            };
            let read = world.store.rollups(&query).unwrap().unwrap();
            let found: BTreeMap<_, _> = read.intervals.iter().map(|(at, of)| (*at, counts(of))).collect();
            let mut wanted = world.expected.sums(interval, &series);
            wanted.retain(|at, _| *at >= from);
            if read.left_out {
                left_out = true;
                assert!(found.iter().all(|(at, of)| of.accepted <= wanted[at].accepted));
                assert!(matches!(series, Series::Endpoint(_)), "there are few tenants");
            } else {
                assert_eq!(found, wanted, "{series:?} by {interval:?}");
            }
        }
    }
    left_out
}

/// More endpoints than have a rollup of their own, so that the order in which they were first met is seen.
pub const ENDPOINTS: u8 = MOST_SERIES as u8 + 4;
