//! What people do to deliveries, shown as soon as it is answered.

use super::{
    Bench, Subject,
    parts::{at, attempt, delete, event, label, put},
    rules,
};
use crate::{
    domain::{
        delivery::{Progress, Stage, Trigger},
        id::{DeliveryKey, Lsn},
        ordering::Strand,
        record::{DeliveriesEnded, DeliveriesRetried, EventAccepted, EventReplayed},
    },
    storage::Effect,
};

rules!(
    a_scheduled_delivery_is_retried_with_what_it_has_spent,
    an_ended_delivery_is_retried_with_a_fresh_budget,
    a_delivery_that_was_tried_keeps_its_place_when_it_is_retried,
    a_delivery_to_a_deleted_endpoint_is_not_retried,
    a_delivery_of_an_erased_event_is_not_retried,
    retrying_again_changes_nothing_more,
    a_delivery_that_is_ended_leaves_the_schedule,
    a_delivery_that_has_ended_stays_as_it_ended,
    deliveries_that_nobody_knows_are_passed_over,
    a_replay_makes_new_deliveries_under_its_own_sequence,
    replays_are_answered_in_their_order,
    an_event_that_is_not_there_is_not_replayed,
    an_erased_event_shows_its_payload_to_nobody_and_is_not_delivered,
    an_erased_event_is_not_replayed,
    an_event_is_erased_once,
    a_change_is_told_before_it_is_answered,
);

impl<S: Subject> Bench<S> {
    async fn retry(&self, keys: &[DeliveryKey], seconds: u64) {
        let retried = DeliveriesRetried {
            keys: keys.to_vec(),
            due: at(seconds),
        };
        self.storage.retry_deliveries(retried).await.unwrap();
    }

    async fn end(&self, keys: &[DeliveryKey], stage: Stage) {
        let ended = DeliveriesEnded {
            keys: keys.to_vec(),
            at: at(5),
            stage,
        };
        self.storage.end_deliveries(ended).await.unwrap();
    }

    async fn replay(&self, events: &[(Lsn, &[u8])]) -> Vec<Lsn> {
        let replayed = events.iter().map(|(event, to)| EventReplayed {
            event: *event,
            due: at(60),
            fan_out: to.iter().copied().map(super::parts::endpoint).collect(),
        });
        self.storage.replay_events(replayed.collect()).await.unwrap()
    }

    async fn erase(&self, sequence: Lsn, seconds: u64) {
        let by = format!("after {seconds} s");
        self.storage
            .erase_payload(sequence, at(seconds), by, None)
            .await
            .unwrap();
    }
}

async fn a_scheduled_delivery_is_retried_with_what_it_has_spent<S: Subject>(bench: Bench<S>) {
    bench
        .accept(EventAccepted {
            expires_at: Some(at(900)),
            ..event("a", &[1])
        })
        .await;
    let delivery = bench.only(1).await;
    let failed = attempt(&delivery, Stage::Scheduled { due: at(500) });
    bench.settle(std::slice::from_ref(&failed)).await;
    bench.retry(&[delivery.key], 9).await;
    let retried = bench.only(1).await;
    assert_eq!(retried.stage, Stage::Scheduled { due: at(9) });
    assert_eq!((retried.progress, retried.attempts), (failed.progress, 1));
    assert_eq!((retried.replay, retried.expires_at), (false, Some(at(900))));
}

async fn an_ended_delivery_is_retried_with_a_fresh_budget<S: Subject>(bench: Bench<S>) {
    for (name, stage) in [("a", Stage::Failed), ("b", Stage::Delivered)] {
        bench
            .accept(EventAccepted {
                expires_at: Some(at(900)),
                ..event(name, &[1])
            })
            .await;
        let delivery = bench.only(1).await;
        bench.settle(&[attempt(&delivery, stage)]).await;
        bench.retry(&[delivery.key], 9).await;
        let retried = bench.only(1).await;
        assert_eq!(retried.stage, Stage::Scheduled { due: at(9) });
        assert_eq!((retried.progress, retried.attempts), (Progress::default(), 1));
        assert_eq!((retried.expires_at, retried.settled_at), (None, None));
        assert_eq!(retried.next_trigger(), Trigger::Replay);
        let entry = bench.entries(1).await.remove(0);
        assert_eq!((entry.since, entry.expires_at), (None, None));
        bench.settle(&[attempt(&retried, Stage::Delivered)]).await;
    }
}

async fn a_delivery_that_was_tried_keeps_its_place_when_it_is_retried<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    bench
        .settle(&[attempt(&delivery, Stage::Scheduled { due: at(500) })])
        .await;
    bench.retry(&[delivery.key], 9).await;
    let entry = bench.entries(1).await.remove(0);
    assert_eq!((entry.at.0, entry.since), (at(9), Some(at(0))));
}

async fn a_delivery_to_a_deleted_endpoint_is_not_retried<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    bench.settle(&[attempt(&delivery, Stage::Failed)]).await;
    bench.save(vec![delete(1)]).await;
    bench.retry(&[delivery.key], 9).await;
    assert_eq!(bench.keys(1).await, []);
}

async fn a_delivery_of_an_erased_event_is_not_retried<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    bench.settle(&[attempt(&delivery, Stage::Failed)]).await;
    bench.erase(sequence, 9).await;
    bench.retry(&[delivery.key], 9).await;
    assert_eq!(bench.keys(1).await, []);
}

async fn retrying_again_changes_nothing_more<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    bench.settle(&[attempt(&delivery, Stage::Failed)]).await;
    bench.retry(&[delivery.key], 9).await;
    let once = bench.only(1).await;
    bench.retry(&[delivery.key], 9).await;
    assert_eq!(bench.only(1).await, once);
}

async fn a_delivery_that_is_ended_leaves_the_schedule<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1, 2])).await;
    let key = bench.only(1).await.key;
    bench.end(&[key], Stage::Cancelled).await;
    assert_eq!((bench.keys(1).await.len(), bench.keys(2).await.len()), (0, 1));
}

/// Ending one that is delivered is no change, and nobody is told of one.
async fn a_delivery_that_has_ended_stays_as_it_ended<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1, 2])).await;
    let (delivered, other) = (bench.only(1).await, bench.only(2).await);
    bench.settle(&[attempt(&delivered, Stage::Delivered)]).await;
    bench.end(&[delivered.key, other.key], Stage::Cancelled).await;
    let moved = |key: DeliveryKey| {
        let effects = bench.host.effects();
        let is_it = |effect: &Effect| matches!(effect, Effect::Moved { key: moved, .. } if *moved == key);
        effects.iter().any(is_it)
    };
    assert!(!moved(delivered.key) && moved(other.key));
}

async fn deliveries_that_nobody_knows_are_passed_over<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    let unknown = [
        DeliveryKey::new(delivery.key.lsn, 9),
        DeliveryKey::new(1 << 40, 0),
    ];
    bench.retry(&[unknown[0], unknown[1], delivery.key], 9).await;
    assert_eq!(bench.only(1).await.stage, Stage::Scheduled { due: at(9) });
    bench
        .end(&[unknown[0], unknown[1], delivery.key], Stage::Cancelled)
        .await;
    assert_eq!(bench.keys(1).await, []);
}

async fn a_replay_makes_new_deliveries_under_its_own_sequence<S: Subject>(bench: Bench<S>) {
    let ordered = EventAccepted {
        ordering_key: Some(label("order-7")),
        expires_at: Some(at(900)),
        ..event("a", &[1])
    };
    let sequence = bench.accept(ordered).await;
    let original = bench.only(1).await;
    let replay = bench.replay(&[(sequence, &[1, 3])]).await[0];
    assert!(replay > sequence);
    let keys = [original.key, DeliveryKey::new(replay, 0)];
    assert_eq!(bench.keys(1).await, keys);
    let row = bench.schedule(3).await.remove(0);
    assert_eq!(row.delivery.key, DeliveryKey::new(replay, 1));
    assert_eq!((row.delivery.event, row.due), (sequence, at(60)));
    assert_eq!((row.delivery.created_at, row.delivery.expires_at), (at(60), None));
    assert_eq!(row.delivery.next_trigger(), Trigger::Replay);
    assert_eq!(row.strand, Some(Strand::of_key(&label("order-7"))));
}

async fn replays_are_answered_in_their_order<S: Subject>(bench: Bench<S>) {
    let first = bench.accept(event("a", &[])).await;
    let second = bench.accept(event("b", &[])).await;
    assert!(bench.replay(&[]).await.is_empty());
    let replays = bench.replay(&[(second, &[1]), (first, &[1])]).await;
    assert_eq!(replays.len(), 2);
    for (replay, event) in replays.into_iter().zip([second, first]) {
        let schedule = bench.schedule(1).await;
        let row = schedule
            .iter()
            .find(|row| row.delivery.key.lsn == replay)
            .unwrap();
        assert_eq!(row.delivery.event, event);
    }
}

async fn an_event_that_is_not_there_is_not_replayed<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[])).await;
    let replays = bench.replay(&[(sequence + 1000, &[1]), (sequence, &[2])]).await;
    assert_eq!(replays.len(), 2);
    assert_eq!(bench.keys(1).await, []);
    assert_eq!(bench.keys(2).await, [DeliveryKey::new(replays[1], 0)]);
}

async fn an_erased_event_shows_its_payload_to_nobody_and_is_not_delivered<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[1, 2])).await;
    bench.replay(&[(sequence, &[3])]).await;
    let delivered = bench.only(2).await;
    bench.settle(&[attempt(&delivered, Stage::Delivered)]).await;
    bench.erase(sequence, 9).await;
    let left = bench.storage.event(sequence).await.unwrap().unwrap();
    assert_eq!((left.payload.bytes.len(), left.id), (0, "a".parse().unwrap()));
    assert_eq!(bench.storage.endpoints_with_work(None, 9).await.unwrap(), []);
}

async fn an_erased_event_is_not_replayed<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[1])).await;
    bench.erase(sequence, 9).await;
    bench.replay(&[(sequence, &[1])]).await;
    assert_eq!(bench.keys(1).await, []);
}

/// The second erasure says nothing of an event that has nothing left.
async fn an_event_is_erased_once<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[1])).await;
    bench.erase(sequence, 9).await;
    let effects = bench.host.effects().len();
    bench.erase(sequence, 10).await;
    assert_eq!(bench.host.effects().len(), effects);
    assert!(bench.storage.event(sequence).await.unwrap().is_some());
}

async fn a_change_is_told_before_it_is_answered<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("a", &[1])).await;
    let key = bench.only(1).await.key;
    let told = |wanted: &dyn Fn(&Effect) -> bool| bench.host.effects().iter().any(wanted);
    bench.retry(&[key], 9).await;
    assert!(told(
        &|effect| matches!(effect, Effect::Due { entry, .. } if entry.at.0 == at(9))
    ));
    let replay = bench.replay(&[(sequence, &[2])]).await[0];
    assert!(told(
        &|effect| matches!(effect, Effect::Due { entry, .. } if entry.at.1.lsn == replay)
    ));
    bench.end(&[key], Stage::Cancelled).await;
    let moved = |effect: &&Effect| matches!(effect, Effect::Moved { .. });
    assert_eq!(bench.host.effects().iter().filter(moved).count(), 2);
    bench.erase(sequence, 10).await;
    assert_eq!(bench.host.effects().iter().filter(moved).count(), 3);
}
