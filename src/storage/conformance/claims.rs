//! Claims: within a tenant, an event's id and its idempotency key are used once.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    Bench, Subject,
    parts::{REMEMBERED, at, different, event, label, named, unnamed},
    rules,
};
use crate::{
    domain::record::EventAccepted,
    storage::{Acceptance, Claimed, EventName, KnownEvent},
};

rules!(
    an_event_that_comes_again_with_its_id_is_known,
    an_event_that_comes_again_with_its_key_is_known,
    an_id_that_was_used_with_other_content_is_refused,
    a_key_that_was_used_with_other_content_is_refused,
    ids_and_keys_are_each_tenant_s_own,
    an_id_that_was_made_up_is_known_from_then_on,
    an_event_that_claims_nothing_is_new_each_time,
    of_callers_at_the_same_time_exactly_one_is_first,
    of_callers_with_other_content_at_the_same_time_exactly_one_is_first,
    within_one_call_the_first_is_first,
    of_one_call_an_event_is_refused_and_the_next_accepted,
    a_key_is_free_again_when_its_time_is_over,
    names_are_answered_in_order_and_ids_before_keys,
    an_event_whose_caller_goes_away_is_accepted_at_most_once,
);

fn keyed(name: &str, key: &str) -> EventAccepted {
    EventAccepted {
        idempotency_key: Some(key.to_owned()),
        ..event(name, &[1])
    }
}

fn of(tenant: Option<&str>, event: EventAccepted) -> EventAccepted {
    EventAccepted {
        tenant: tenant.map(label),
        ..event
    }
}

fn known(sequence: u64, event: &EventAccepted) -> KnownEvent {
    KnownEvent {
        sequence,
        id: event.id.clone(),
        event_type: event.event_type.clone(),
        content_hash: event.content_hash,
        deliveries: u32::try_from(event.fan_out.len()).unwrap(),
    }
}

impl<S: Subject> Bench<S> {
    async fn first(&self, event: EventAccepted) -> u64 {
        match self.try_accept(named(event)).await.unwrap() {
            Acceptance::New(sequence) => sequence,
            other => panic!("{other:?}"),
        }
    }

    async fn again(&self, event: EventAccepted) -> Acceptance {
        self.try_accept(named(event)).await.unwrap()
    }
}

async fn an_event_that_comes_again_with_its_id_is_known<S: Subject>(bench: Bench<S>) {
    let first = event("a", &[1, 2]);
    let sequence = bench.first(first.clone()).await;
    bench.until_due(sequence, 2).await;
    // Whatever its fan-out would be by now: the first answer is repeated.
    let again = bench.again(event("a", &[3])).await;
    assert_eq!(again, Acceptance::Known(known(sequence, &first)));
    assert_eq!(bench.keys(3).await, []);
}

async fn an_event_that_comes_again_with_its_key_is_known<S: Subject>(bench: Bench<S>) {
    let first = keyed("a", "once");
    let sequence = bench.first(first.clone()).await;
    bench.until_due(sequence, 1).await;
    let again = EventAccepted {
        id: "made-up".parse().unwrap(),
        ..first.clone()
    };
    let answer = bench.try_accept(unnamed(again)).await.unwrap();
    assert_eq!(answer, Acceptance::Known(known(sequence, &first)));
    assert_eq!(bench.keys(1).await.len(), 1);
}

async fn an_id_that_was_used_with_other_content_is_refused<S: Subject>(bench: Bench<S>) {
    bench.first(event("a", &[1])).await;
    let answer = bench.again(different(event("a", &[1]))).await;
    assert_eq!(answer, Acceptance::Different(Claimed::EventId));
    bench.accept(event("b", &[2])).await;
    assert_eq!(bench.keys(1).await.len(), 1);
}

async fn a_key_that_was_used_with_other_content_is_refused<S: Subject>(bench: Bench<S>) {
    bench.first(keyed("a", "once")).await;
    let answer = bench.again(keyed("b", "once")).await;
    assert_eq!(answer, Acceptance::Different(Claimed::IdempotencyKey));
    // What was refused has claimed nothing.
    bench.first(event("b", &[1])).await;
}

async fn ids_and_keys_are_each_tenant_s_own<S: Subject>(bench: Bench<S>) {
    let mut sequences = Vec::new();
    let tenants = [None, Some("a"), Some("ab"), Some("b")];
    for tenant in tenants {
        sequences.push(bench.first(of(tenant, keyed("x", "k"))).await);
    }
    for (tenant, sequence) in tenants.into_iter().zip(sequences) {
        let event = of(tenant, keyed("x", "k"));
        assert_eq!(
            bench.again(event.clone()).await,
            Acceptance::Known(known(sequence, &event))
        );
    }
}

async fn an_id_that_was_made_up_is_known_from_then_on<S: Subject>(bench: Bench<S>) {
    let sequence = bench.accept(event("made-up", &[1])).await;
    let answer = bench.again(event("made-up", &[1])).await;
    assert_eq!(
        answer,
        Acceptance::Known(known(sequence, &event("made-up", &[1])))
    );
}

async fn an_event_that_claims_nothing_is_new_each_time<S: Subject>(bench: Bench<S>) {
    for name in ["a", "b"] {
        let same = EventAccepted {
            content_hash: [7; 16],
            ..event(name, &[1])
        };
        bench.accept(same).await;
    }
    assert_eq!(bench.keys(1).await.len(), 2);
}

async fn of_callers_at_the_same_time_exactly_one_is_first<S: Subject>(bench: Bench<S>) {
    for round in 0..8 {
        let event = keyed(&format!("e{round}"), &format!("k{round}"));
        let calls = (0..8).map(|_| bench.again(event.clone()));
        let answers = join_all(calls).await;
        let new: Vec<u64> = answers.iter().filter_map(first_of).collect();
        assert_eq!(new.len(), 1, "{answers:?}");
        let others = answers.iter().filter(|answer| first_of(answer).is_none());
        for answer in others {
            assert_eq!(*answer, Acceptance::Known(known(new[0], &event)));
        }
        bench.until_due(new[0], 1).await;
        assert_eq!(bench.keys(1).await.len(), round + 1);
    }
}

const fn first_of(answer: &Acceptance) -> Option<u64> {
    match answer {
        Acceptance::New(sequence) => Some(*sequence),
        Acceptance::Known(_) | Acceptance::Different(_) => None,
    }
}

async fn of_callers_with_other_content_at_the_same_time_exactly_one_is_first<S: Subject>(bench: Bench<S>) {
    for round in 0..8 {
        let calls = (0..6).map(|caller| {
            let event = keyed(&format!("e{round}-{caller}"), &format!("k{round}"));
            bench.try_accept(unnamed(event))
        });
        let answers: Vec<Acceptance> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter_map(first_of).count(), 1, "{answers:?}");
        let refused = Acceptance::Different(Claimed::IdempotencyKey);
        assert_eq!(
            answers.iter().filter(|answer| **answer == refused).count(),
            5,
            "{answers:?}"
        );
    }
}

async fn within_one_call_the_first_is_first<S: Subject>(bench: Bench<S>) {
    let events = vec![
        named(event("a", &[1])),
        named(event("a", &[1])),
        named(different(event("a", &[1]))),
    ];
    let answers = bench.storage.accept_events(events, at(0)).await;
    let answers: Vec<Acceptance> = answers.into_iter().map(Result::unwrap).collect();
    let sequence = first_of(&answers[0]).unwrap();
    assert_eq!(answers[1], Acceptance::Known(known(sequence, &event("a", &[1]))));
    assert_eq!(answers[2], Acceptance::Different(Claimed::EventId));
}

async fn of_one_call_an_event_is_refused_and_the_next_accepted<S: Subject>(bench: Bench<S>) {
    bench.first(event("a", &[1])).await;
    let events = vec![
        unnamed(event("b", &[1])),
        named(different(event("a", &[1]))),
        named(event("c", &[1])),
    ];
    let answers = bench.storage.accept_events(events, at(0)).await;
    let answers: Vec<Acceptance> = answers.into_iter().map(Result::unwrap).collect();
    let sequences = [&answers[0], &answers[2]].map(|answer| first_of(answer).unwrap());
    assert_eq!(answers[1], Acceptance::Different(Claimed::EventId));
    for sequence in sequences {
        bench.until_due(sequence, 1).await;
    }
    assert_eq!(bench.keys(1).await.len(), 3);
}

async fn a_key_is_free_again_when_its_time_is_over<S: Subject>(bench: Bench<S>) {
    bench.first(keyed("a", "once")).await;
    bench.catch_up().await;
    let accept_at = async |event, keys_over| {
        let mut answers = bench.storage.accept_events(vec![unnamed(event)], keys_over).await;
        answers.remove(0).unwrap()
    };
    let almost = crate::domain::time::Timestamp::from_millis(REMEMBERED.as_millis() - 1);
    let refused = accept_at(keyed("b", "once"), almost).await;
    assert_eq!(refused, Acceptance::Different(Claimed::IdempotencyKey));
    let answer = accept_at(keyed("c", "once"), REMEMBERED).await;
    let second = first_of(&answer).unwrap();
    bench.catch_up().await;
    // From then on it stands for the second.
    let again = accept_at(keyed("c", "once"), almost).await;
    assert_eq!(again, Acceptance::Known(known(second, &keyed("c", "once"))));
}

async fn names_are_answered_in_order_and_ids_before_keys<S: Subject>(bench: Bench<S>) {
    let events = [
        keyed("a", "key-a"),
        keyed("b", "key-b"),
        of(Some("t"), keyed("c", "key-c")),
    ];
    let mut sequences = Vec::new();
    for event in &events {
        sequences.push(bench.first(event.clone()).await);
    }
    bench.catch_up().await;
    let name = |tenant: Option<&str>, id: Option<&str>, key: Option<&str>| EventName {
        tenant: tenant.map(label),
        id: id.map(|id| id.parse().unwrap()),
        key: key.map(str::to_owned),
    };
    let asked = vec![
        name(None, Some("b"), None),
        name(None, Some("nobody"), Some("key-a")),
        name(None, Some("c"), Some("key-c")),
        name(Some("t"), Some("c"), None),
        name(None, Some("a"), Some("key-b")),
        name(None, None, None),
    ];
    let found = bench.storage.known_events(asked, at(0)).await.unwrap();
    let found: Vec<Option<u64>> = found.into_iter().map(|known| Some(known?.sequence)).collect();
    let [a, b, c] = sequences[..] else {
        panic!("{sequences:?}")
    };
    assert_eq!(found, [Some(b), Some(a), None, Some(c), Some(a), None]);
    let asked = vec![name(None, None, Some("key-a"))];
    assert_eq!(
        bench.storage.known_events(asked, REMEMBERED).await.unwrap(),
        [None]
    );
}

/// It may have been accepted, or not: whoever sends it again learns of it, or is the first.
async fn an_event_whose_caller_goes_away_is_accepted_at_most_once<S: Subject>(bench: Bench<S>) {
    for millis in 0..40 {
        let event = event(&format!("e{millis}"), &[1]);
        let call = bench.again(event.clone());
        _ = timeout(Duration::from_millis(millis), call).await;
        let sequence = match bench.again(event).await {
            Acceptance::New(sequence) => sequence,
            Acceptance::Known(known) => known.sequence,
            Acceptance::Different(claimed) => panic!("{claimed:?}"),
        };
        bench.until_due(sequence, 1).await;
    }
    assert_eq!(bench.keys(1).await.len(), 40);
}
