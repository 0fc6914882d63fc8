//! Events: what was accepted is there, whole, and becomes its deliveries.

use super::{
    Bench, Subject,
    parts::{at, change, delete, endpoint, event, label, named, put, unnamed},
    rules,
};
use crate::{
    domain::{
        delivery::{Progress, Stage, Trigger},
        endpoint::StateChange,
        id::DeliveryKey,
        ordering::Strand,
        record::EventAccepted,
    },
    storage::{Acceptance, Effect, StorageError},
};

rules!(
    an_accepted_event_is_read_back_whole,
    an_event_becomes_a_delivery_for_each_endpoint_of_its_fan_out,
    a_delivery_begins_with_what_its_event_says,
    sequences_grow_in_the_order_of_acceptance,
    an_event_without_endpoints_is_kept_and_schedules_nothing,
    a_sequence_that_stands_for_no_event_is_answered_with_none,
    a_delayed_event_is_due_when_it_says,
    a_delivery_to_a_deleted_endpoint_is_cancelled_from_the_start,
    a_delivery_to_an_endpoint_that_nobody_knows_is_scheduled,
    an_event_that_tells_of_an_endpoint_gives_its_notice,
    without_space_events_are_refused_and_people_can_manage,
    nothing_is_accepted_after_the_end,
);

async fn an_accepted_event_is_read_back_whole<S: Subject>(bench: Bench<S>) {
    let whole = EventAccepted {
        tenant: Some(label("acme")),
        channel: Some(label("eu")),
        ordering_key: Some(label("order-7")),
        expires_at: Some(at(900)),
        attributes: [("region".to_owned(), "north".to_owned())].into(),
        idempotency_key: Some("once".to_owned()),
        ..event("a", &[1, 2])
    };
    let sequence = bench.accept(whole.clone()).await;
    assert_eq!(bench.storage.event(sequence).await.unwrap(), Some(whole));
}

async fn an_event_becomes_a_delivery_for_each_endpoint_of_its_fan_out<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[3, 1, 2])).await;
    for (number, index) in [3, 1, 2].into_iter().zip(0..) {
        assert_eq!(
            bench.keys(number).await,
            [DeliveryKey::new(sequence, index)],
            "{number}"
        );
    }
    assert_eq!(bench.keys(4).await, []);
}

async fn a_delivery_begins_with_what_its_event_says<S: Subject>(bench: Bench<S>) {
    let sequence = bench
        .accept(EventAccepted {
            ordering_key: Some(label("order-7")),
            expires_at: Some(at(900)),
            ..event("a", &[1])
        })
        .await;
    let row = bench.schedule(1).await.remove(0);
    let delivery = row.delivery;
    assert_eq!(
        (row.due, row.strand),
        (at(0), Some(Strand::of_key(&label("order-7"))))
    );
    assert_eq!((delivery.event, delivery.endpoint), (sequence, endpoint(1)));
    assert_eq!((delivery.created_at, delivery.expires_at), (at(0), Some(at(900))));
    assert_eq!(
        (delivery.stage, delivery.progress),
        (Stage::Scheduled { due: at(0) }, Progress::default())
    );
    assert_eq!(
        (delivery.attempts, delivery.last, delivery.settled_at),
        (0, None, None)
    );
    assert_eq!(delivery.next_trigger(), Trigger::Initial);
}

async fn sequences_grow_in_the_order_of_acceptance<S: Subject>(bench: Bench<S>) {
    let mut last = 0;
    for round in 0..3 {
        let events = ["a", "b", "c"].map(|name| unnamed(event(&format!("{name}{round}"), &[1])));
        for answer in bench.storage.accept_events(events.into(), at(0)).await {
            let Ok(Acceptance::New(sequence)) = answer else {
                panic!("{answer:?}");
            };
            assert!(sequence > last, "{sequence} after {last}");
            last = sequence;
        }
    }
}

async fn an_event_without_endpoints_is_kept_and_schedules_nothing<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[])).await;
    assert!(bench.storage.event(sequence).await.unwrap().is_some());
    assert_eq!(bench.storage.endpoints_with_work(None, 9).await.unwrap(), []);
}

async fn a_sequence_that_stands_for_no_event_is_answered_with_none<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let retried = bench.only(1).await;
    bench
        .settle(&[super::parts::attempt(&retried, Stage::Delivered)])
        .await;
    let last = bench.accept(event("b", &[])).await;
    // None before the first, what is between two events, and what is still to come.
    for sequence in [0]
        .into_iter()
        .chain(2..last)
        .chain([last + 1, last + 1000, u64::MAX >> 14])
    {
        assert_eq!(bench.storage.event(sequence).await.unwrap(), None, "{sequence}");
    }
}

async fn a_delayed_event_is_due_when_it_says<S: Subject>(bench: Bench<S>) {
    let delayed = EventAccepted {
        due: at(60),
        ..event("later", &[1])
    };
    let later = bench.accept(delayed).await;
    let now = bench.accept(event("now", &[1])).await;
    let keys = [now, later].map(|sequence| DeliveryKey::new(sequence, 0));
    assert_eq!(bench.keys(1).await, keys);
    assert_eq!(bench.schedule(1).await[1].due, at(60));
}

async fn a_delivery_to_a_deleted_endpoint_is_cancelled_from_the_start<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1), put(2), delete(1)]).await;
    let answer = bench.try_accept(unnamed(event("a", &[1, 2]))).await.unwrap();
    let Acceptance::New(sequence) = answer else {
        panic!("{answer:?}");
    };
    bench.until_told_due(DeliveryKey::new(sequence, 1)).await;
    assert_eq!(bench.keys(1).await, []);
    assert_eq!(bench.attempts(DeliveryKey::new(sequence, 0)).await, Some(0));
}

/// Its record may be damaged; the deliveries are not ours to drop.
async fn a_delivery_to_an_endpoint_that_nobody_knows_is_scheduled<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[9])).await;
    assert_eq!(bench.keys(9).await, [DeliveryKey::new(sequence, 0)]);
}

async fn an_event_that_tells_of_an_endpoint_gives_its_notice<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1), change(1, 1, StateChange::Lapse)]).await;
    assert!(bench.standing(1).notice_due);
    let notice = EventAccepted {
        notice_for: Some(endpoint(1)),
        ..event("notice", &[2])
    };
    bench.storage.accept_notice(notice).await.unwrap();
    let is_due = |effect: &Effect| matches!(effect, Effect::Due { endpoint: to, .. } if *to == endpoint(2));
    bench.host.until_effect(is_due).await;
    assert!(!bench.standing(1).notice_due);
    assert_eq!(bench.only(2).await.endpoint, endpoint(2));
}

async fn without_space_events_are_refused_and_people_can_manage<S: Subject>(mut bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[1])).await;
    bench.subject.fill();
    let bench = bench.crash().await;
    for refused in [unnamed(event("b", &[1])), named(event("c", &[1]))] {
        let answer = bench.try_accept(refused).await;
        assert!(matches!(answer, Err(StorageError::Full)), "{answer:?}");
    }
    bench.save(vec![put(1), change(1, 1, StateChange::Pause)]).await;
    let delivery = bench.only(1).await;
    assert_eq!(delivery.event, sequence);
    bench
        .settle(&[super::parts::attempt(&delivery, Stage::Delivered)])
        .await;
    assert_eq!(bench.keys(1).await, []);
}

async fn nothing_is_accepted_after_the_end<S: Subject>(bench: Bench<S>) {
    bench.subject.close();
    let accepted = bench.try_accept(unnamed(event("a", &[1]))).await;
    assert!(matches!(accepted, Err(StorageError::Closed)), "{accepted:?}");
    let saved = bench.storage.save_configuration(vec![put(1)]).await;
    assert!(matches!(saved, Err(StorageError::Closed)), "{saved:?}");
    let recorded = bench
        .storage
        .record_standalone_attempt(super::parts::test_of(endpoint(1)))
        .await;
    assert!(matches!(recorded, Err(StorageError::Closed)), "{recorded:?}");
}
