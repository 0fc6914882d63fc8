//! Deliveries: listed, answered by their keys, and counted.

use super::super::{
    Bench, Subject,
    parts::{at, attempt, endpoint, event, label, put, test_of},
    rules,
};
use crate::{
    domain::{
        delivery::{Counts, Stage, StageKind},
        id::{DeliveryKey, Lsn},
        outcome::Class,
        record::{DeliveriesEnded, EventAccepted},
    },
    storage::{
        queries::{ByEventFilter, DeliveryFilter, Endpoints, ListRange},
        stored::Listed,
    },
};

rules!(
    a_list_goes_on_from_any_position,
    deliveries_are_filtered_by_each_of_their_properties,
    a_delivery_s_row_says_how_it_ended,
    deliveries_are_listed_in_the_order_of_their_events,
    deliveries_are_answered_by_their_keys,
    an_event_s_deliveries_are_those_of_its_fan_out_and_then_of_its_replays,
    counts_follow_every_change,
);

/// Also where nothing stands, and in front of and behind all.
async fn a_list_goes_on_from_any_position<S: Subject>(bench: Bench<S>) {
    let mut all = Vec::new();
    for number in 0..5 {
        let sequence = bench.accept(event(&format!("e{number}"), &[1, 2, 3])).await;
        all.extend((0..3).map(|index| DeliveryKey::new(sequence, index)));
    }
    let between = DeliveryKey::new(all[4].lsn, 77);
    let ends = [DeliveryKey::MIN, between, DeliveryKey::new(1 << 40, 0)];
    for beyond in all.iter().copied().chain(ends) {
        for ascending in [true, false] {
            let range = ListRange {
                beyond: Some(beyond),
                ascending,
                limit: 100,
            };
            let page = bench
                .storage
                .list_deliveries(DeliveryFilter::default(), range)
                .await
                .unwrap();
            let found: Vec<_> = page.rows.iter().map(Listed::position).collect();
            let wanted = all.iter().copied();
            let wanted: Vec<_> = if ascending {
                wanted.filter(|at| *at > beyond).collect()
            } else {
                wanted.rev().filter(|at| *at < beyond).collect()
            };
            assert_eq!((found, page.next), (wanted, None), "{beyond:?} {ascending}");
        }
    }
}

async fn deliveries_are_filtered_by_each_of_their_properties<S: Subject>(bench: Bench<S>) {
    let first = bench.accept_at("a", 10, &[1, 2]).await;
    let of_tenant = EventAccepted {
        tenant: Some(label("acme")),
        accepted_at: at(20),
        due: at(20),
        ..event("b", &[1, 2])
    };
    let second = bench.accept(of_tenant).await;
    let notice = EventAccepted {
        event_type: "server.degraded".parse().unwrap(),
        accepted_at: at(30),
        due: at(30),
        ..event("c", &[2])
    };
    let third = bench.accept(notice).await;
    let replay = bench.replay_to(first, 3).await;
    let [a1, a2, b1, b2, c2] = [(first, 0), (first, 1), (second, 0), (second, 1), (third, 0)]
        .map(|(lsn, index)| DeliveryKey::new(lsn, index));
    let delivery = bench.schedule(1).await.remove(0).delivery;
    bench.settle(&[attempt(&delivery, Stage::Delivered)]).await;
    let delivery = bench.schedule(2).await.remove(0).delivery;
    bench.settle(&[attempt(&delivery, Stage::Failed)]).await;
    let any = DeliveryFilter::default;
    let only = |numbers: &[u8]| Endpoints::Only(numbers.iter().copied().map(endpoint).collect());
    let except = |numbers: &[u8]| Endpoints::Except(numbers.iter().copied().map(endpoint).collect());
    let filters: [(DeliveryFilter, &[DeliveryKey]); 16] = [
        (any(), &[a1, a2, b1, b2, c2, replay]),
        (
            DeliveryFilter {
                event: Some(first),
                ..any()
            },
            &[a1, a2, replay],
        ),
        (
            DeliveryFilter {
                endpoints: only(&[1, 3]),
                ..any()
            },
            &[a1, b1, replay],
        ),
        (
            DeliveryFilter {
                endpoints: except(&[1, 3]),
                ..any()
            },
            &[a2, b2, c2],
        ),
        (
            DeliveryFilter {
                endpoints: only(&[2]),
                event: Some(first),
                ..any()
            },
            &[a2],
        ),
        (
            DeliveryFilter {
                stage: Some(StageKind::Delivered),
                ..any()
            },
            &[a1],
        ),
        (
            DeliveryFilter {
                stage: Some(StageKind::Failed),
                ..any()
            },
            &[a2],
        ),
        (
            DeliveryFilter {
                stage: Some(StageKind::Scheduled),
                endpoints: only(&[2]),
                ..any()
            },
            &[b2, c2],
        ),
        (
            DeliveryFilter {
                stage: Some(StageKind::Scheduled),
                event: Some(first),
                ..any()
            },
            &[replay],
        ),
        (
            DeliveryFilter {
                among: Some([a1, c2].into()),
                ..any()
            },
            &[a1, c2],
        ),
        (
            DeliveryFilter {
                except: [a1, c2].into(),
                ..any()
            },
            &[a2, b1, b2, replay],
        ),
        (
            DeliveryFilter {
                status: Some(503),
                ..any()
            },
            &[a2],
        ),
        (
            DeliveryFilter {
                tenant: Some(label("acme")),
                ..any()
            },
            &[b1, b2],
        ),
        (
            DeliveryFilter {
                operational: except(&[2]),
                ..any()
            },
            &[a1, a2, b1, b2, replay],
        ),
        (
            DeliveryFilter {
                since: Some(at(20)),
                until: Some(at(30)),
                ..any()
            },
            &[b1, b2, c2],
        ),
        // A replay was made when it was asked for.
        (
            DeliveryFilter {
                since: Some(at(31)),
                ..any()
            },
            &[replay],
        ),
    ];
    for (filter, wanted) in filters {
        assert_eq!(bench.deliveries(&filter).await, wanted, "{filter:?}");
    }
}

/// A cancelled delivery stays so, whatever an attempt that was out says later.
async fn a_delivery_s_row_says_how_it_ended<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    let ended = DeliveriesEnded {
        keys: vec![delivery.key],
        at: at(5),
        stage: Stage::Cancelled,
    };
    bench.storage.end_deliveries(ended).await.unwrap();
    bench.settle(&[attempt(&delivery, Stage::Delivered)]).await;
    let found = bench.stored(delivery.key).await;
    assert_eq!(
        (found.delivery.stage, found.delivery.settled_at),
        (Stage::Cancelled, Some(at(5)))
    );
    assert_eq!(
        (found.delivery.attempts, found.delivery.last.unwrap().class),
        (1, Class::Delivered)
    );
    assert_eq!(found.event.unwrap().id.as_str(), "a");
    // One that ends by an attempt ends when that does.
    bench.accept(event("b", &[1])).await;
    let delivery = bench.only(1).await;
    let delivered = attempt(&delivery, Stage::Delivered);
    let ended_at = delivered.ended_at();
    bench.settle(&[delivered]).await;
    let found = bench.stored(delivery.key).await;
    assert_eq!(
        (found.delivery.stage, found.delivery.settled_at),
        (Stage::Delivered, Some(ended_at))
    );
}

async fn deliveries_are_listed_in_the_order_of_their_events<S: Subject>(bench: Bench<S>) {
    let first = bench.accept_at("a", 10, &[1]).await;
    let second = bench.accept_at("b", 20, &[1]).await;
    let third = bench.accept_at("c", 30, &[2, 1]).await;
    let replay = bench.replay_to(first, 1).await;
    for row in bench.schedule(1).await {
        bench.settle(&[attempt(&row.delivery, Stage::Failed)]).await;
    }
    let filter = ByEventFilter {
        endpoint: endpoint(1),
        stage: StageKind::Failed,
        status: None,
        since: at(0),
        until: None,
    };
    let [a, b, c] = [(first, 0), (second, 0), (third, 1)].map(|(lsn, index)| DeliveryKey::new(lsn, index));
    let listed = async |filter: &ByEventFilter, from: Lsn| {
        let (mut found, mut from) = (Vec::new(), Some(from));
        while let Some(sequence) = from {
            let page = bench
                .storage
                .list_by_event(filter.clone(), sequence, 1)
                .await
                .unwrap();
            found.extend(page.rows.iter().map(|row| row.delivery.key));
            from = page.next;
        }
        found
    };
    assert_eq!(listed(&filter, 0).await, [a, replay, b, c]);
    assert_eq!(listed(&filter, second).await, [b, c]);
    let in_time = ByEventFilter {
        since: at(11),
        until: Some(at(20)),
        ..filter.clone()
    };
    assert_eq!(listed(&in_time, 0).await, [b]);
    let answered = |status| ByEventFilter {
        status: Some(status),
        ..filter.clone()
    };
    assert_eq!(listed(&answered(503), 0).await.len(), 4);
    assert_eq!(listed(&answered(200), 0).await, []);
    let delivered = ByEventFilter {
        stage: StageKind::Delivered,
        ..filter.clone()
    };
    assert_eq!(listed(&delivered, 0).await, []);
}

async fn deliveries_are_answered_by_their_keys<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[1, 2])).await;
    let keys = [(sequence, 1), (sequence, 2), (sequence, 0)].map(|(lsn, index)| DeliveryKey::new(lsn, index));
    let found = bench.storage.deliveries(keys.into()).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|found| found.as_ref().map(|found| found.delivery.key))
        .collect();
    assert_eq!(found, [Some(keys[0]), None, Some(keys[2])]);
}

async fn an_event_s_deliveries_are_those_of_its_fan_out_and_then_of_its_replays<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[3, 1])).await;
    let replays = [
        bench.replay_to(sequence, 9).await,
        bench.replay_to(sequence, 1).await,
    ];
    let own = [0, 1].map(|index| DeliveryKey::new(sequence, index));
    let wanted = [
        (endpoint(3), own[0]),
        (endpoint(1), own[1]),
        (endpoint(9), replays[0]),
        (endpoint(1), replays[1]),
    ];
    assert_eq!(bench.storage.deliveries_of(sequence).await.unwrap(), wanted);
    assert_eq!(bench.storage.deliveries_of(sequence + 1000).await.unwrap(), []);
}

async fn counts_follow_every_change<S: Subject>(bench: Bench<S>) {
    let counts = async || {
        let tallies = bench
            .storage
            .tallies(vec![endpoint(9), endpoint(1)])
            .await
            .unwrap();
        let [none, one] = tallies[..] else {
            panic!("{tallies:?}")
        };
        assert_eq!(none.deliveries, Counts::default());
        let totals = bench.storage.totals().await.unwrap();
        assert_eq!(totals.deliveries, one.deliveries);
        (totals.events, totals.unmatched, one.deliveries)
    };
    bench.accept(event("unmatched", &[])).await;
    assert_eq!(counts().await, (1, 1, Counts::default()));
    for name in ["a", "b", "c", "d"] {
        bench.accept(event(name, &[1])).await;
    }
    let mut wanted = Counts {
        scheduled: 4,
        ..Counts::default()
    };
    assert_eq!(counts().await, (5, 1, wanted));
    let rows = bench.schedule(1).await;
    for (row, stage) in rows
        .iter()
        .zip([Stage::Delivered, Stage::Failed, Stage::Scheduled { due: at(9) }])
    {
        bench.settle(&[attempt(&row.delivery, stage)]).await;
    }
    (wanted.scheduled, wanted.delivered, wanted.failed, wanted.attempts) = (2, 1, 1, 3);
    assert_eq!(counts().await, (5, 1, wanted));
    let keys = rows.iter().map(|row| row.delivery.key).collect::<Vec<_>>();
    let ended = DeliveriesEnded {
        keys: keys[2..3].to_vec(),
        at: at(5),
        stage: Stage::Expired,
    };
    bench.storage.end_deliveries(ended).await.unwrap();
    bench
        .storage
        .erase_payload(keys[3].lsn, at(9), "key_1".to_owned(), None)
        .await
        .unwrap();
    (wanted.scheduled, wanted.expired, wanted.cancelled) = (0, 1, 1);
    assert_eq!(counts().await, (5, 1, wanted));
    let retried = crate::domain::record::DeliveriesRetried {
        keys: vec![keys[1]],
        due: at(9),
    };
    bench.storage.retry_deliveries(retried).await.unwrap();
    (wanted.scheduled, wanted.failed) = (1, 0);
    assert_eq!(counts().await, (5, 1, wanted));
    bench
        .storage
        .record_standalone_attempt(test_of(endpoint(1)))
        .await
        .unwrap();
    wanted.attempts += 1;
    assert_eq!(counts().await, (5, 1, wanted));
}
