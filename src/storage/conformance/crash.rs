//! Crashes: what was answered is there, whole; what was not is there whole or not at all.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::timeout;

use super::{
    Bench, Subject, crash_rules,
    parts::{at, attempt, audited, change, declaration, delete, endpoint, event, key, label, named, put},
};
use crate::{
    domain::{
        configuration::ConfigChange,
        delivery::Stage,
        endpoint::StateChange,
        id::DeliveryKey,
        record::{DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed},
    },
    storage::{Acceptance, Claimed},
};

crash_rules!(
    an_accepted_event_outlives_a_crash,
    claims_outlive_a_crash,
    schedules_and_health_outlive_a_crash,
    configuration_outlives_a_crash,
    the_audit_log_outlives_a_crash,
    an_erasure_outlives_a_crash,
    sequences_grow_beyond_a_crash,
    a_disabling_outlives_a_crash,
    of_events_under_way_each_is_there_once_or_not_at_all,
    of_changes_under_way_all_are_there_or_none,
);

async fn an_accepted_event_outlives_a_crash<S: Subject>(bench: Bench<S>) {
    let whole = EventAccepted {
        tenant: Some(label("acme")),
        attributes: [("region".to_owned(), "north".to_owned())].into(),
        ..event("a", &[1])
    };
    let Ok(Acceptance::New(sequence)) = bench.try_accept(named(whole.clone())).await else {
        panic!("it is new");
    };
    let bench = bench.crash().await;
    assert_eq!(bench.storage.event(sequence).await.unwrap(), Some(whole));
    assert_eq!(bench.keys(1).await, [DeliveryKey::new(sequence, 0)]);
}

async fn claims_outlive_a_crash<S: Subject>(bench: Bench<S>) {
    let keyed = EventAccepted {
        idempotency_key: Some("once".to_owned()),
        ..event("a", &[1])
    };
    let first = bench.try_accept(named(keyed.clone())).await.unwrap();
    let Acceptance::New(sequence) = first else {
        panic!("{first:?}");
    };
    let bench = bench.crash().await;
    let again = bench.try_accept(named(keyed.clone())).await.unwrap();
    assert!(
        matches!(&again, Acceptance::Known(known) if known.sequence == sequence),
        "{again:?}"
    );
    let other = EventAccepted {
        id: "b".parse().unwrap(),
        ..super::parts::different(keyed)
    };
    let refused = bench.try_accept(named(other)).await.unwrap();
    assert_eq!(refused, Acceptance::Different(Claimed::IdempotencyKey));
}

/// A little of everything that moves deliveries.
async fn history<S: Subject>(bench: &Bench<S>) {
    bench.save(vec![put(1), put(2), put(3)]).await;
    let mut sequences = Vec::new();
    for number in 0..6_u64 {
        let event = EventAccepted {
            ordering_key: (number % 2 == 0).then(|| label("order-7")),
            due: at(number * 10),
            expires_at: (number % 3 == 0).then(|| at(9000)),
            ..event(&format!("e{number}"), &[1, 2, 3])
        };
        sequences.push(bench.accept(event).await);
    }
    let deliveries: Vec<_> = bench.schedule(1).await.iter().map(|row| row.delivery).collect();
    bench.settle(&[attempt(&deliveries[0], Stage::Delivered)]).await;
    bench
        .settle(&[attempt(&deliveries[1], Stage::Scheduled { due: at(500) })])
        .await;
    bench.settle(&[attempt(&deliveries[2], Stage::Failed)]).await;
    let ended = DeliveriesEnded {
        keys: vec![deliveries[3].key],
        at: at(5),
        stage: Stage::Cancelled,
    };
    bench.storage.end_deliveries(ended).await.unwrap();
    let retried = DeliveriesRetried {
        keys: deliveries[1..4].iter().map(|delivery| delivery.key).collect(),
        due: at(600),
    };
    bench.storage.retry_deliveries(retried).await.unwrap();
    let replayed = EventReplayed {
        event: sequences[5],
        due: at(700),
        fan_out: vec![endpoint(2), endpoint(4)],
    };
    bench.storage.replay_events(vec![replayed]).await.unwrap();
    bench
        .save(vec![change(2, 3, StateChange::Pause), delete(3)])
        .await;
}

async fn schedules_and_health_outlive_a_crash<S: Subject>(bench: Bench<S>) {
    history(&bench).await;
    let mut seen = Vec::new();
    for number in 1..=4 {
        let rows = format!("{:?}", deliveries(&bench, number).await);
        seen.push((rows, bench.entries(number).await, bench.health(number).await));
    }
    let bench = bench.crash().await;
    for (number, before) in (1..).zip(seen) {
        let rows = format!("{:?}", deliveries(&bench, number).await);
        let after = (rows, bench.entries(number).await, bench.health(number).await);
        assert_eq!(after, before, "{number}");
    }
    assert_eq!(bench.storage.endpoints_with_work(None, 9).await.unwrap().len(), 4);
}

async fn deliveries<S: Subject>(bench: &Bench<S>, number: u8) -> Vec<crate::domain::delivery::Delivery> {
    let schedule = bench.schedule(number).await;
    schedule.into_iter().map(|row| row.delivery).collect()
}

async fn configuration_outlives_a_crash<S: Subject>(bench: Bench<S>) {
    bench
        .save(vec![
            put(1),
            put(2),
            put(3),
            change(2, 3, StateChange::Lapse),
            delete(3),
            ConfigChange::KeyPut(key(1)),
            ConfigChange::EventTypePut(declaration("order.paid", 0)),
        ])
        .await;
    bench
        .save(vec![ConfigChange::EventTypePut(declaration("order.paid", 5))])
        .await;
    let rows = [1, 2, 3].map(|number| bench.endpoint(number));
    let bench = bench.crash().await;
    assert_eq!([1, 2, 3].map(|number| bench.endpoint(number)), rows);
    let configuration = bench.configuration();
    assert_eq!(configuration.len(), 5);
    assert_eq!(configuration[&key(1).id.to_string()], format!("{:?}", key(1)));
    let declared = crate::storage::DeclaredType {
        created_at: at(0),
        declaration: declaration("order.paid", 5),
    };
    assert_eq!(configuration["order.paid"], format!("{declared:?}"));
}

async fn the_audit_log_outlives_a_crash<S: Subject>(bench: Bench<S>) {
    let entry = |seconds| ConfigChange::Audited(Box::new(audited(seconds)));
    bench.save(vec![put(1), entry(1), entry(2)]).await;
    let bench = bench.crash().await;
    assert_eq!(bench.audit_log().await, [1, 2].map(audited));
}

async fn an_erasure_outlives_a_crash<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[1])).await;
    bench
        .storage
        .erase_payload(sequence, at(9), "key_1".to_owned(), Some(Box::new(audited(3))))
        .await
        .unwrap();
    let bench = bench.crash().await;
    let left = bench.storage.event(sequence).await.unwrap().unwrap();
    assert_eq!((left.payload.bytes.len(), bench.keys(1).await.len()), (0, 0));
    assert_eq!(bench.audit_log().await, [audited(3)]);
}

async fn sequences_grow_beyond_a_crash<S: Subject>(bench: Bench<S>) {
    let before = bench.accept(event("a", &[1])).await;
    let bench = bench.crash().await;
    let after = bench.accept(event("b", &[1])).await;
    assert!(after > before, "{after} after {before}");
    assert_eq!(bench.keys(1).await.len(), 2);
}

async fn a_disabling_outlives_a_crash<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    let mut gone = attempt(&delivery, Stage::Scheduled { due: at(1) });
    gone.disable = Some(crate::domain::endpoint::DisabledReason {
        why: crate::domain::endpoint::DisableWhy::EndpointError,
        reason: None,
        status: Some(410),
    });
    bench.settle(&[gone]).await;
    let standing = bench.standing(1);
    assert!(standing.disabled.is_some() && standing.notice_due);
    // A verdict is durable with whatever is made durable next.
    bench.save(vec![put(2)]).await;
    let bench = bench.crash().await;
    assert_eq!(bench.standing(1), standing);
}

async fn of_events_under_way_each_is_there_once_or_not_at_all<S: Subject>(bench: Bench<S>) {
    const COUNT: usize = 40;
    let events: Vec<EventAccepted> = (0..COUNT)
        .map(|number| event(&format!("e{number}"), &[1]))
        .collect();
    let mut acknowledged = BTreeSet::new();
    {
        let mut calls: FuturesUnordered<_> = events
            .iter()
            .map(|event| bench.try_accept(named(event.clone())))
            .collect();
        while acknowledged.len() < COUNT / 4
            && let Some(answer) = calls.next().await
        {
            let Ok(Acceptance::New(sequence)) = answer else {
                panic!("{answer:?}");
            };
            acknowledged.insert(sequence);
        }
    }
    let bench = bench.crash().await;
    let there: BTreeSet<u64> = bench.keys(1).await.iter().map(|key| key.lsn).collect();
    assert!(there.is_superset(&acknowledged), "{acknowledged:?} {there:?}");
    // Whoever was not answered sends again.
    for event in events {
        match bench.try_accept(named(event)).await.unwrap() {
            Acceptance::New(sequence) => bench.until_due(sequence, 1).await,
            Acceptance::Known(known) => assert!(there.contains(&known.sequence)),
            Acceptance::Different(claimed) => panic!("{claimed:?}"),
        }
    }
    assert_eq!(bench.keys(1).await.len(), COUNT);
}

async fn of_changes_under_way_all_are_there_or_none<S: Subject>(mut bench: Bench<S>) {
    for millis in [0, 1, 2, 4, 8, 16] {
        let before = bench.configuration().len();
        let declare = |number| ConfigChange::EventTypePut(declaration(&format!("type.{millis}.{number}"), 0));
        let call = bench.storage.save_configuration((0..50).map(declare).collect());
        let answered = timeout(Duration::from_millis(millis), call).await;
        bench = bench.crash().await;
        let added = bench.configuration().len() - before;
        match answered {
            Ok(answer) => {
                answer.unwrap();
                assert_eq!(added, 50);
            }
            Err(_) => assert!([0, 50].contains(&added), "{added}"),
        }
    }
}
