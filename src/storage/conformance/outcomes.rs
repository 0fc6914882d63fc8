//! Outcomes: what an attempt makes of its delivery and of its endpoint.

use bytes::Bytes;

use super::{
    Bench, Subject,
    parts::{at, attempt, change, delete, endpoint, event, put, test_of},
    rules,
};
use crate::{
    domain::{
        delivery::{Progress, Stage, Trigger},
        endpoint::{DisableWhy, DisabledReason, EndpointState, StateChange},
        health::Health,
        id::DeliveryKey,
        record::{AttemptSettled, DeliveriesEnded, DeliveriesRetried},
    },
    storage::{Effect, Outcome},
};

rules!(
    a_delivered_delivery_leaves_the_schedule,
    a_delivery_that_is_tried_again_stands_where_it_is_due_next,
    a_delivery_that_is_tried_again_keeps_the_place_that_it_took_first,
    attempts_are_counted,
    outcomes_of_one_call_take_effect_in_their_order,
    an_endpoint_s_health_is_what_the_last_attempt_says,
    a_failure_from_before_a_change_of_state_is_forgiven,
    an_attempt_disables_its_endpoint,
    an_attempt_from_before_a_change_of_state_disables_nothing,
    who_ends_a_delivery_first_has_ended_it,
    a_delivery_to_a_deleted_endpoint_is_not_tried_again,
    a_delivery_that_has_expired_leaves_the_schedule,
    an_attempt_of_an_unknown_delivery_schedules_nothing,
    an_attempt_of_no_delivery_is_recorded_and_schedules_nothing,
    an_attempt_is_found_with_all_that_was_recorded_of_it,
);

fn again(seconds: u64) -> Stage {
    Stage::Scheduled { due: at(seconds) }
}

const REASON: DisabledReason = DisabledReason {
    why: DisableWhy::EndpointError,
    reason: None,
    status: Some(410),
};

async fn a_delivered_delivery_leaves_the_schedule<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1, 2])).await;
    let delivery = bench.only(1).await;
    bench.settle(&[attempt(&delivery, Stage::Delivered)]).await;
    assert_eq!(bench.keys(1).await, []);
    assert_eq!(bench.keys(2).await.len(), 1);
    assert_eq!(
        bench.storage.endpoints_with_work(None, 9).await.unwrap(),
        [endpoint(2)]
    );
}

async fn a_delivery_that_is_tried_again_stands_where_it_is_due_next<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    let failed = attempt(&delivery, again(30));
    bench.settle(std::slice::from_ref(&failed)).await;
    let row = bench.schedule(1).await.remove(0);
    assert_eq!((row.due, row.delivery.stage), (at(30), again(30)));
    assert_eq!(row.delivery.progress, failed.progress);
    assert_eq!(row.delivery.next_trigger(), Trigger::Retry);
    let last = row.delivery.last.unwrap();
    assert_eq!(
        (last.at, last.class, last.status),
        (failed.started_at, failed.class, failed.status)
    );
}

/// So that those behind it in an endpoint's order know whom they wait for.
async fn a_delivery_that_is_tried_again_keeps_the_place_that_it_took_first<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    assert_eq!(bench.entries(1).await[0].since, None);
    for due in [30, 90] {
        let delivery = bench.only(1).await;
        bench.settle(&[attempt(&delivery, again(due))]).await;
        let entry = bench.entries(1).await.remove(0);
        assert_eq!((entry.at.0, entry.since), (at(due), Some(at(0))));
    }
}

async fn attempts_are_counted<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let key = bench.only(1).await.key;
    for count in 0..3 {
        assert_eq!(bench.attempts(key).await, Some(count));
        let delivery = bench.only(1).await;
        assert_eq!(delivery.attempts, count);
        bench
            .settle(&[attempt(&delivery, again(30 + u64::from(count)))])
            .await;
    }
}

async fn outcomes_of_one_call_take_effect_in_their_order<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let mut delivery = bench.only(1).await;
    let failed = attempt(&delivery, again(30));
    delivery.attempts += 1;
    let delivered = attempt(&delivery, Stage::Delivered);
    bench.settle(&[failed, delivered]).await;
    assert_eq!(bench.keys(1).await, []);
    assert_eq!(bench.attempts(delivery.key).await, Some(2));
}

async fn an_endpoint_s_health_is_what_the_last_attempt_says<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    assert_eq!(bench.health(1).await, Health::default());
    for failures in [1, 2] {
        let delivery = bench.only(1).await;
        let health = Health {
            failures,
            last_failure_at: Some(at(failures.into())),
            ..Health::default()
        };
        let failed = AttemptSettled {
            health,
            ..attempt(&delivery, again(30))
        };
        bench.settle(&[failed]).await;
        assert_eq!(bench.health(1).await, health);
    }
}

async fn a_failure_from_before_a_change_of_state_is_forgiven<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    bench.accept(event("a", &[1])).await;
    bench.accept(event("b", &[1])).await;
    bench
        .save(vec![change(1, 2, StateChange::Enable { discard: false })])
        .await;
    let [first, second] = &bench.schedule(1).await[..] else {
        panic!("two deliveries");
    };
    // Begun after a second, and the endpoint was enabled after two.
    bench.settle(&[attempt(&first.delivery, again(30))]).await;
    assert_eq!(bench.health(1).await, Health::default());
    // A success is welcome at any time.
    let delivered = AttemptSettled {
        health: Health::default().delivered(at(1)),
        ..attempt(&second.delivery, Stage::Delivered)
    };
    bench.settle(&[delivered]).await;
    assert_eq!(bench.health(1).await.last_success_at, Some(at(1)));
}

async fn an_attempt_disables_its_endpoint<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    let gone = AttemptSettled {
        disable: Some(REASON),
        ..attempt(&delivery, again(1))
    };
    bench.settle(&[gone]).await;
    let standing = bench.standing(1);
    assert_eq!(
        (standing.state, standing.disabled),
        (EndpointState::Disabled, Some(REASON))
    );
    assert!(standing.notice_due);
    assert_eq!(standing.disabled_by.map(|(at, _)| at), Some(at(1)));
    let last = bench.only(1).await.last.unwrap();
    assert_eq!(standing.disabled_by.map(|(_, by)| by), Some(last.lsn));
}

async fn an_attempt_from_before_a_change_of_state_disables_nothing<S: Subject>(bench: Bench<S>) {
    let enable = StateChange::Enable { discard: false };
    for (number, changes) in [(1, change(1, 2, enable)), (2, change(2, 0, StateChange::Pause))] {
        bench.save(vec![put(number), changes]).await;
        bench.accept(event(&format!("to-{number}"), &[number])).await;
        let delivery = bench.only(number).await;
        let gone = AttemptSettled {
            disable: Some(REASON),
            ..attempt(&delivery, again(1))
        };
        let before = bench.standing(number);
        bench.settle(&[gone]).await;
        assert_eq!(bench.standing(number), before);
    }
}

async fn who_ends_a_delivery_first_has_ended_it<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    for (name, late) in [("a", Stage::Delivered), ("b", again(30))] {
        bench.accept(event(name, &[1])).await;
        let delivery = bench.only(1).await;
        let ended = DeliveriesEnded {
            keys: vec![delivery.key],
            at: at(5),
            stage: Stage::Cancelled,
        };
        bench.storage.end_deliveries(ended).await.unwrap();
        bench.settle(&[attempt(&delivery, late)]).await;
        assert_eq!(bench.keys(1).await, [], "{late:?}");
        assert_eq!(bench.attempts(delivery.key).await, Some(1));
        // A person may still begin it anew.
        let retried = DeliveriesRetried {
            keys: vec![delivery.key],
            due: at(9),
        };
        bench.storage.retry_deliveries(retried).await.unwrap();
        let row = bench.only(1).await;
        assert_eq!(
            (row.progress, row.replay, row.settled_at),
            (Progress::default(), true, None)
        );
        bench.settle(&[attempt(&row, Stage::Delivered)]).await;
    }
}

async fn a_delivery_to_a_deleted_endpoint_is_not_tried_again<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    bench.save(vec![delete(1)]).await;
    bench.settle(&[attempt(&delivery, again(30))]).await;
    assert_eq!(bench.keys(1).await, []);
    assert_eq!(bench.attempts(delivery.key).await, Some(1));
}

async fn a_delivery_that_has_expired_leaves_the_schedule<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1, 2])).await;
    let delivery = bench.only(1).await;
    let expired = Outcome::ended(DeliveriesEnded {
        keys: vec![delivery.key],
        at: at(9),
        stage: Stage::Expired,
    });
    bench.storage.record_outcomes(&[expired]).await.unwrap();
    let is_it = |effect: &Effect| matches!(effect, Effect::Moved { key, .. } if *key == delivery.key);
    bench.host.until_effect(is_it).await;
    assert_eq!(bench.keys(1).await, []);
    assert_eq!(
        (bench.keys(2).await.len(), bench.attempts(delivery.key).await),
        (1, Some(0))
    );
}

async fn an_attempt_of_an_unknown_delivery_schedules_nothing<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let mut delivery = bench.only(1).await;
    delivery.key = DeliveryKey::new(delivery.key.lsn, 77);
    let outcome = Outcome::attempt(attempt(&delivery, again(30)));
    bench.storage.record_outcomes(&[outcome]).await.unwrap();
    // One more event: what was recorded before it has taken effect.
    let sequence = bench.accept(event("b", &[2])).await;
    assert_eq!(bench.keys(1).await.len(), 1);
    assert_eq!(bench.attempts(delivery.key).await, None);
    assert_eq!(bench.keys(2).await, [DeliveryKey::new(sequence, 0)]);
}

async fn an_attempt_of_no_delivery_is_recorded_and_schedules_nothing<S: Subject>(bench: Bench<S>) {
    let event = bench.accept(event("a", &[2])).await;
    let first = bench
        .storage
        .record_standalone_attempt(test_of(endpoint(1)))
        .await
        .unwrap();
    let second = bench
        .storage
        .record_standalone_attempt(test_of(endpoint(1)))
        .await
        .unwrap();
    assert!(event < first && first < second, "{event} {first} {second}");
    assert_eq!(bench.keys(1).await, []);
    // A test says nothing of how the endpoint fares.
    assert_eq!(bench.health(1).await, Health::default());
}

async fn an_attempt_is_found_with_all_that_was_recorded_of_it<S: Subject>(bench: Bench<S>) {
    let accepted = bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    let failed = AttemptSettled {
        detail: Bytes::from_static(b"how it went"),
        ..attempt(&delivery, again(30))
    };
    bench.settle(std::slice::from_ref(&failed)).await;
    let last = bench.only(1).await.last.unwrap();
    let found = bench.storage.attempt(last.lsn).await.unwrap().unwrap();
    assert_eq!((found.sequence, found.record), (last.lsn, Ok(failed)));
    assert_eq!(found.delivery, Some(delivery.id()));
    let test = test_of(endpoint(1));
    let sequence = bench
        .storage
        .record_standalone_attempt(test.clone())
        .await
        .unwrap();
    let found = bench.storage.attempt(sequence).await.unwrap().unwrap();
    assert_eq!((found.delivery, found.record), (None, Ok(test)));
    for other in [accepted, sequence + 1] {
        assert_eq!(bench.storage.attempt(other).await.unwrap(), None);
    }
}
