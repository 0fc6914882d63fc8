//! Rollups: what happened is counted where and when it happened, once.

use super::{
    Bench, Subject,
    parts::{at, attempt, endpoint, event, label, test_of},
    rules,
};
use crate::{
    domain::{
        delivery::Stage,
        outcome::Class,
        record::{AttemptSettled, EventAccepted},
        rollup::{Interval, Rollup, Series},
        time::Timestamp,
    },
    storage::{Outcome, rollups::RollupQuery},
};

rules!(
    events_are_counted_in_all_in_their_tenant_and_at_their_endpoints,
    attempts_are_counted_by_outcome_and_duration_when_they_end,
    a_test_is_not_counted,
    the_server_s_own_events_are_no_tenant_s,
    hours_are_the_sums_of_their_minutes,
    intervals_out_of_the_range_and_those_without_anything_are_left_out,
);

/// Of the hours after the start.
async fn rollups<S: Subject>(
    bench: &Bench<S>,
    interval: Interval,
    series: Series,
) -> Vec<(Timestamp, Rollup)> {
    between(bench, (interval, series), 0, 36_000).await
}

async fn between<S: Subject>(
    bench: &Bench<S>,
    (interval, series): (Interval, Series),
    since: u64,
    until: u64,
) -> Vec<(Timestamp, Rollup)> {
    let query = RollupQuery {
        series,
        interval,
        since: at(since),
        until: at(until),
    };
    let read = bench.storage.rollups(query).await.unwrap().unwrap();
    assert!(!read.left_out);
    read.intervals
}

/// The only interval that there is.
async fn only<S: Subject>(bench: &Bench<S>, series: Series) -> Rollup {
    let mut all = rollups(bench, Interval::Minute, series).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].0, Interval::Minute.of(at(0)));
    all.remove(0).1
}

fn of_tenant(event: EventAccepted) -> EventAccepted {
    EventAccepted {
        tenant: Some(label("acme")),
        ..event
    }
}

fn tenant() -> Series {
    Series::Tenant(label("acme"))
}

async fn events_are_counted_in_all_in_their_tenant_and_at_their_endpoints<S: Subject>(bench: Bench<S>) {
    bench.accept(of_tenant(event("a", &[1, 2]))).await;
    bench.accept(of_tenant(event("b", &[2]))).await;
    bench.accept(event("c", &[2])).await;
    for (series, count) in [
        (Series::All, 3),
        (tenant(), 2),
        (Series::Endpoint(endpoint(1)), 1),
        (Series::Endpoint(endpoint(2)), 3),
    ] {
        assert_eq!(only(&bench, series.clone()).await.accepted(), count, "{series:?}");
    }
    let unknown = Series::Endpoint(endpoint(9));
    assert_eq!(rollups(&bench, Interval::Minute, unknown).await, []);
}

async fn attempts_are_counted_by_outcome_and_duration_when_they_end<S: Subject>(bench: Bench<S>) {
    bench.accept(of_tenant(event("a", &[1]))).await;
    let delivery = bench.only(1).await;
    let failed = AttemptSettled {
        tenant: Some(label("acme")),
        duration_millis: 90_000,
        ..attempt(&delivery, Stage::Scheduled { due: at(100) })
    };
    let mut again = delivery;
    again.attempts += 1;
    let given_up = AttemptSettled {
        class: Class::EventError,
        ..attempt(&again, Stage::Failed)
    };
    bench.settle(&[failed, given_up]).await;
    for series in [Series::All, Series::Endpoint(endpoint(1))] {
        let found = rollups(&bench, Interval::Minute, series.clone()).await;
        let [(_, first), (later, second)] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(*later, Interval::Minute.of(at(91)));
        assert_eq!(
            (
                first.attempts(Class::EventError),
                first.failed(),
                first.accepted()
            ),
            (1, 1, 1)
        );
        assert_eq!((second.attempts(Class::Transient), second.failed()), (1, 0));
        let buckets = |rollup: &Rollup| rollup.durations().buckets().to_vec();
        assert_eq!((buckets(first)[3], buckets(second)[15]), (1, 1), "{series:?}");
    }
    // The second attempt says no tenant.
    let own = rollups(&bench, Interval::Minute, tenant()).await;
    assert_eq!(own.len(), 2);
    assert_eq!(own[0].1.durations().count(), 0);
}

async fn a_test_is_not_counted<S: Subject>(bench: Bench<S>) {
    let outcome = Outcome::attempt(test_of(endpoint(1)));
    bench.storage.record_outcomes(&[outcome]).await.unwrap();
    bench.accept(event("a", &[1])).await;
    assert_eq!(
        only(&bench, Series::Endpoint(endpoint(1)))
            .await
            .durations()
            .count(),
        0
    );
}

/// They go to endpoints without a tenant as well.
async fn the_server_s_own_events_are_no_tenant_s<S: Subject>(bench: Bench<S>) {
    let own = EventAccepted {
        event_type: "endpoint.disabled".parse().unwrap(),
        ..of_tenant(event("a", &[1]))
    };
    bench.accept(own).await;
    assert_eq!(only(&bench, Series::All).await.accepted(), 1);
    assert_eq!(only(&bench, Series::Endpoint(endpoint(1))).await.accepted(), 1);
    assert_eq!(rollups(&bench, Interval::Minute, tenant()).await, []);
}

async fn hours_are_the_sums_of_their_minutes<S: Subject>(bench: Bench<S>) {
    for seconds in [0, 70, 4000, 4001, 9000] {
        let event = EventAccepted {
            accepted_at: at(seconds),
            ..event(&format!("e{seconds}"), &[1])
        };
        bench.accept(event).await;
    }
    for series in [Series::All, Series::Endpoint(endpoint(1))] {
        let minutes = rollups(&bench, Interval::Minute, series.clone()).await;
        let mut sums: Vec<(Timestamp, u32)> = Vec::new();
        for (minute, rollup) in &minutes {
            let hour = Interval::Hour.of(*minute);
            match sums.last_mut().filter(|(last, _)| *last == hour) {
                Some((_, sum)) => *sum += rollup.accepted(),
                None => sums.push((hour, rollup.accepted())),
            }
        }
        let hours = rollups(&bench, Interval::Hour, series).await;
        let hours: Vec<_> = hours.iter().map(|(at, of)| (*at, of.accepted())).collect();
        assert_eq!(hours, sums);
        assert_eq!((minutes.len(), hours.len()), (4, 3));
    }
}

async fn intervals_out_of_the_range_and_those_without_anything_are_left_out<S: Subject>(bench: Bench<S>) {
    for seconds in [0, 600, 1200] {
        let event = EventAccepted {
            accepted_at: at(seconds),
            ..event(&format!("e{seconds}"), &[1])
        };
        bench.accept(event).await;
    }
    let minutes = (Interval::Minute, Series::All);
    let found = between(&bench, minutes.clone(), 1, 600).await;
    let found: Vec<Timestamp> = found.into_iter().map(|(at, _)| at).collect();
    assert_eq!(found, [0, 600].map(|seconds| Interval::Minute.of(at(seconds))));
    assert_eq!(between(&bench, minutes, 1300, 2000).await, []);
}
