//! Rollups outlive what they count.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::Retention,
    expected::{self, ENDPOINTS},
    world::{START, World, endpoint},
};
use crate::{
    domain::{
        delivery::Stage,
        id::DeliveryKey,
        record::Record,
        rollup::{Interval, MOST_SERIES, Series},
        time::Timestamp,
    },
    storage::rollups::RollupQuery,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn kept(minutes: Duration, hours: Duration) -> Retention {
    Retention {
        events: HOUR,
        attempts: HOUR,
        audit: HOUR,
        minutes,
        hours,
        max_journal_bytes: 0,
        max_held_bytes: 0,
    }
}

/// How many events were accepted in each interval.
fn accepted(world: &World, interval: Interval, series: Series) -> BTreeMap<Timestamp, u32> {
    let query = RollupQuery {
        series,
        interval,
        since: Timestamp::EPOCH,
        until: world.now,
    };
    let read = world.store.rollups(&query).unwrap().unwrap();
    let counts = read.intervals.iter();
    counts.map(|(at, rollup)| (*at, rollup.accepted())).collect()
}

/// So many minutes, in each so many events, each delivered at once.
fn minutes(world: &mut World, count: u32, events: u32) {
    for _ in 0..count {
        for _ in 0..events {
            world.delivered(&[endpoint(1)]);
        }
        world.now = world.now.plus(MINUTE);
    }
}

#[test]
fn rollups_are_carried_as_often_as_the_segments_they_stand_in_go() {
    let mut world = World::new(kept(HOUR * 1000, HOUR * 1000));
    minutes(&mut world, 20, 10);
    let old = accepted(&world, Interval::Minute, Series::All);
    assert_eq!(old.len(), 20);
    let mut first = world.journal.first_lsn();
    for _ in 0..3 {
        minutes(&mut world, 30, 10);
        world.pass(HOUR * 2);
        assert!(world.journal.first_lsn() > first, "segments went");
        first = world.journal.first_lsn();
        world.check(9);
    }
    assert!(world.all_events().len() < 100);
    let now = accepted(&world, Interval::Minute, Series::All);
    assert_eq!(now.len(), 110);
    assert!(old.iter().all(|(at, count)| now[at] == *count));
    assert_eq!(
        accepted(&world, Interval::Minute, Series::Endpoint(endpoint(1))),
        now
    );
    assert!(!expected::hold(&world));
}

#[test]
fn minutes_become_hours_and_hours_go() {
    let mut world = World::new(kept(HOUR, HOUR * 6));
    minutes(&mut world, 240, 1);
    let hours = accepted(&world, Interval::Hour, Series::All);
    assert_eq!(hours.values().sum::<u32>(), 240);
    world.pass(Duration::ZERO);
    let by_minute = accepted(&world, Interval::Minute, Series::All);
    assert!(by_minute.len() < 180, "{} minutes are left", by_minute.len());
    assert_eq!(accepted(&world, Interval::Hour, Series::All), hours);
    world.check(50);
    // A record that comes late is of an hour that was folded already.
    let mut late = world.new_event(&[endpoint(2)]);
    late.accepted_at = START;
    world.append(&[Record::EventAccepted(late)]);
    world.pass(Duration::ZERO);
    let first = Interval::Hour.of(START);
    assert_eq!(
        accepted(&world, Interval::Hour, Series::All)[&first],
        hours[&first] + 1
    );
    assert!(!accepted(&world, Interval::Minute, Series::All).contains_key(&Interval::Minute.of(START)));
    world.check(50);
    world.pass(HOUR * 4);
    let left = accepted(&world, Interval::Hour, Series::All);
    assert!(!left.contains_key(&first) && !left.is_empty(), "{left:?}");
    world.check(3);
    world.pass(HOUR * 6);
    assert_eq!(accepted(&world, Interval::Hour, Series::All), BTreeMap::new());
    assert!(
        world
            .store
            .whole_interval(Interval::Minute, first)
            .unwrap()
            .is_none()
    );
    world.check(3);
}

/// Which endpoints were first in an interval nobody can tell any more once its first records are gone.
#[test]
fn the_first_endpoints_of_an_interval_keep_their_rollups() {
    let mut world = World::new(kept(HOUR * 1000, HOUR * 1000));
    let mut all: Vec<_> = (1..=ENDPOINTS).map(endpoint).collect();
    all.reverse();
    // They fill several segments within a minute.
    for endpoint in all.iter().cycle().take(60) {
        world.delivered(&[*endpoint]);
    }
    let of =
        |world: &World, number: u8| accepted(world, Interval::Minute, Series::Endpoint(endpoint(number)));
    let before: Vec<_> = (1..=ENDPOINTS).map(|number| of(&world, number)).collect();
    let counted = before.iter().filter(|counts| !counts.is_empty()).count();
    assert_eq!(counted, MOST_SERIES as usize);
    assert!(before[0].is_empty(), "it came last");
    world.pass(HOUR * 2);
    assert!(world.journal.first_lsn() > 60);
    let after: Vec<_> = (1..=ENDPOINTS).map(|number| of(&world, number)).collect();
    assert_eq!(after, before);
    assert_eq!(
        accepted(&world, Interval::Minute, Series::All)
            .values()
            .sum::<u32>(),
        60
    );
    assert!(expected::hold(&world));
    world.check(5);
}

/// What was not written out is replayed; what was is not counted again.
#[test]
fn a_crash_counts_nothing_twice() {
    let mut world = World::with_buffer(kept(HOUR, HOUR * 24), 1 << 20);
    minutes(&mut world, 5, 1);
    world.store.flush().unwrap();
    minutes(&mut world, 5, 1);
    let event = world.new_event(&[endpoint(1)]);
    let lsn = world.append(&[Record::EventAccepted(event)]);
    world.settle(DeliveryKey::new(lsn, 0), Stage::Failed);
    for _ in 0..3 {
        world.restart();
        let counts = accepted(&world, Interval::Minute, Series::All);
        assert_eq!(counts.values().sum::<u32>(), 11);
        assert!(!expected::hold(&world));
        world.check(1);
    }
    let query = RollupQuery {
        series: Series::Endpoint(endpoint(1)),
        interval: Interval::Hour,
        since: START,
        until: world.now,
    };
    let read = world.store.rollups(&query).unwrap().unwrap();
    let failed: u32 = read.intervals.iter().map(|(_, of)| of.failed()).sum();
    assert_eq!(failed, 1);
}
