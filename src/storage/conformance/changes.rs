//! Changes: in the order in which they took effect, and nothing between a suspension and the next reset.

use super::{
    Bench, Subject,
    parts::{at, attempt, event, put},
    rules,
};
use crate::{
    domain::{
        delivery::Stage,
        id::DeliveryKey,
        record::{DeliveriesRetried, EventAccepted},
    },
    storage::{Change, Effect, StorageError, schedule::ScheduleRead},
};

rules!(
    the_configuration_is_told_before_everything_can_be_read,
    a_scheduled_delivery_is_told_with_its_entry,
    a_verdict_is_told_with_what_follows_from_it,
    changes_come_in_the_order_in_which_they_took_effect,
    a_read_shows_all_that_was_told_of,
    nothing_is_told_between_a_suspension_and_a_reset,
    everything_is_there_after_a_reset,
);

fn names(told: &[Change]) -> Vec<&'static str> {
    let name = |change: &Change| match change {
        Change::Suspended => "suspended",
        Change::Configured(_) => "configured",
        Change::Reset => "reset",
        Change::Applied(_) => "applied",
        Change::HeldExpired(_) => "held expired",
    };
    told.iter().map(name).collect()
}

async fn the_configuration_is_told_before_everything_can_be_read<S: Subject>(bench: Bench<S>) {
    let told = bench.host.told(names);
    assert_eq!(told.first(), Some(&"configured"));
    assert_eq!(told.last(), Some(&"reset"));
    assert_eq!(told[told.len() - 2], "configured");
    assert_eq!(
        told.iter().filter(|name| **name == "reset").count(),
        1,
        "{told:?}"
    );
}

async fn a_scheduled_delivery_is_told_with_its_entry<S: Subject>(bench: Bench<S>) {
    for (name, expires_at) in [("a", None), ("b", Some(at(900)))] {
        bench
            .accept(EventAccepted {
                expires_at,
                ..event(name, &[1])
            })
            .await;
    }
    let delivery = bench.schedule(1).await[1].delivery;
    bench
        .settle(&[attempt(&delivery, Stage::Scheduled { due: at(30) })])
        .await;
    let found = bench.entries(1).await;
    let told = bench.host.effects();
    for wanted in found {
        let is_it = |effect: &Effect| match effect {
            Effect::Due { entry, .. } => *entry == wanted,
            _ => false,
        };
        assert!(told.iter().any(is_it), "{wanted:?} in {told:?}");
    }
}

async fn a_verdict_is_told_with_what_follows_from_it<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    bench
        .settle(&[attempt(&delivery, Stage::Scheduled { due: at(30) })])
        .await;
    bench.host.told(|told| {
        let Some(Change::Applied(applied)) = told.last() else {
            panic!("{told:?}");
        };
        let [.., settled, due] = &applied.effects[..] else {
            panic!("{applied:?}");
        };
        assert!(matches!(settled, Effect::Settled { number: 1, key, .. } if *key == delivery.key));
        assert!(matches!(due, Effect::Due { entry, .. } if entry.at == (at(30), delivery.key)));
    });
}

async fn changes_come_in_the_order_in_which_they_took_effect<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let key = bench.only(1).await.key;
    for due in [40, 20, 60, 10] {
        let retried = DeliveriesRetried {
            keys: vec![key],
            due: at(due),
        };
        bench.storage.retry_deliveries(retried).await.unwrap();
    }
    let dues: Vec<_> = bench
        .host
        .effects()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Due { entry, .. } => Some(entry.at.0),
            _ => None,
        })
        .collect();
    assert_eq!(dues, [0, 40, 20, 60, 10].map(at));
}

async fn a_read_shows_all_that_was_told_of<S: Subject>(bench: Bench<S>) {
    let accept = async |name: String| bench.try_accept(super::parts::unnamed(event(&name, &[1]))).await;
    let names = (0..40).map(|number| accept(format!("e{number}")));
    let accepting = futures_util::future::join_all(names);
    let reading = async {
        let mut seen = 0;
        while seen < 40 {
            let told: Vec<DeliveryKey> = bench.host.effects().iter().filter_map(due_key).collect();
            let shown = bench.keys(1).await;
            assert!(told.iter().all(|key| shown.contains(key)), "{told:?} {shown:?}");
            seen = told.len();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let (accepted, ()) = futures_util::future::join(accepting, reading).await;
    assert!(accepted.iter().all(Result::is_ok));
}

const fn due_key(effect: &Effect) -> Option<DeliveryKey> {
    match effect {
        Effect::Due { entry, .. } => Some(entry.at.1),
        _ => None,
    }
}

/// Waits until everything was told anew after an interruption.
async fn interrupted<S: Subject>(bench: &Bench<S>) {
    let resets = |told: &[Change]| names(told).iter().filter(|name| **name == "reset").count();
    let before = bench.host.told(resets);
    bench.subject.interrupt();
    bench
        .host
        .until(|told| (resets(told) > before).then_some(()))
        .await;
}

async fn nothing_is_told_between_a_suspension_and_a_reset<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    let writing = async {
        for number in 0..20 {
            // One that claims nothing is accepted at any time.
            let event = event(&format!("e{number}"), &[1]);
            bench.try_accept(super::parts::unnamed(event)).await.unwrap();
        }
    };
    futures_util::future::join(writing, interrupted(&bench)).await;
    let told = bench.host.told(names);
    let suspended = told.iter().position(|name| *name == "suspended").unwrap();
    assert_eq!(
        told[suspended..suspended + 3],
        ["suspended", "configured", "reset"],
        "{told:?}"
    );
}

async fn everything_is_there_after_a_reset<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    bench.accept(event("a", &[1, 2])).await;
    let before = (bench.entries(1).await, bench.entries(2).await);
    let read = async {
        // Either nothing can be read, or everything.
        while bench.host.told(|told| !names(told).contains(&"suspended")) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let read = bench.storage.read_schedules(ScheduleRead::default()).await;
        if let Err(error) = read {
            assert!(matches!(error, StorageError::NotReady), "{error:?}");
        }
    };
    futures_util::future::join(interrupted(&bench), read).await;
    assert_eq!((bench.entries(1).await, bench.entries(2).await), before);
    assert!(bench.configuration().len() == 1);
    let sequence = bench.accept(event("b", &[3])).await;
    assert_eq!(bench.keys(3).await, [DeliveryKey::new(sequence, 0)]);
}
