//! Attempts: listed with their records.

use std::collections::BTreeSet;

use super::super::{
    Bench, Subject,
    parts::{at, attempt, endpoint, event, label, test_of},
    rules,
};
use crate::{
    domain::{
        delivery::Stage,
        id::{DeliveryKey, Lsn},
        outcome::Class,
        record::AttemptSettled,
    },
    storage::queries::{AttemptFilter, Endpoints, ListRange},
};

rules!(
    attempts_are_filtered_by_each_of_their_properties,
    an_attempt_s_row_holds_its_record,
);

async fn attempts_are_filtered_by_each_of_their_properties<S: Subject>(bench: Bench<S>) {
    let (first, second) = (
        bench.accept(event("a", &[1, 2])).await,
        bench.accept(event("b", &[1])).await,
    );
    let replay = bench.replay_to(first, 1).await;
    let [a1, a2, b1] = [(first, 0), (first, 1), (second, 0)].map(|(lsn, index)| DeliveryKey::new(lsn, index));
    let mut sequences = Vec::new();
    for (key, seconds, stage, event_type, tenant) in [
        (a1, 10, Stage::Scheduled { due: at(99) }, "user.created", None),
        (a1, 20, Stage::Delivered, "user.created", None),
        (a2, 30, Stage::Failed, "server.degraded", None),
        (b1, 40, Stage::Delivered, "order.paid", Some("acme")),
        (replay, 50, Stage::Failed, "user.created", None),
    ] {
        let found = bench.stored(key).await;
        let attempt = AttemptSettled {
            started_at: at(seconds),
            event_type: event_type.parse().unwrap(),
            tenant: tenant.map(label),
            ..attempt(&found.delivery, stage)
        };
        bench.settle(&[attempt]).await;
        sequences.push(bench.sequence_of(key).await);
    }
    sequences.push(
        bench
            .storage
            .record_standalone_attempt(test_of(endpoint(2)))
            .await
            .unwrap(),
    );
    let any = AttemptFilter::default;
    let pattern = |text: &str| Some(serde_json::from_value(text.into()).unwrap());
    let only = |number| Endpoints::Only(BTreeSet::from([endpoint(number)]));
    let except = |number| Endpoints::Except(BTreeSet::from([endpoint(number)]));
    let filters: [(AttemptFilter, &[usize]); 14] = [
        (any(), &[0, 1, 2, 3, 4, 5]),
        (
            AttemptFilter {
                event: Some(first),
                ..any()
            },
            &[0, 1, 2, 4],
        ),
        (
            AttemptFilter {
                delivery: Some(a1),
                ..any()
            },
            &[0, 1],
        ),
        (
            AttemptFilter {
                delivery: Some(a1),
                event: Some(first),
                ..any()
            },
            &[0, 1],
        ),
        (
            AttemptFilter {
                delivery: Some(a1),
                event: Some(second),
                ..any()
            },
            &[],
        ),
        (
            AttemptFilter {
                endpoints: only(1),
                ..any()
            },
            &[0, 1, 3, 4],
        ),
        (
            AttemptFilter {
                endpoints: except(1),
                ..any()
            },
            &[2, 5],
        ),
        (
            AttemptFilter {
                endpoints: only(1),
                event: Some(second),
                ..any()
            },
            &[3],
        ),
        (
            AttemptFilter {
                outcome: Some(Class::Delivered),
                ..any()
            },
            &[1, 3],
        ),
        (
            AttemptFilter {
                event_type: pattern("user.*"),
                ..any()
            },
            &[0, 1, 4],
        ),
        (
            AttemptFilter {
                tenant: Some(label("acme")),
                ..any()
            },
            &[3],
        ),
        (
            AttemptFilter {
                operational: except(2),
                ..any()
            },
            &[0, 1, 3, 4, 5],
        ),
        (
            AttemptFilter {
                status: Some(503),
                endpoints: only(1),
                ..any()
            },
            &[0, 4],
        ),
        (
            AttemptFilter {
                since: Some(at(20)),
                until: Some(at(40)),
                ..any()
            },
            &[1, 2, 3],
        ),
    ];
    for (filter, wanted) in filters {
        let wanted: Vec<Lsn> = wanted.iter().map(|place| sequences[*place]).collect();
        assert_eq!(bench.attempts_of(&filter).await, wanted, "{filter:?}");
    }
}

async fn an_attempt_s_row_holds_its_record<S: Subject>(bench: Bench<S>) {
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    let record = attempt(&delivery, Stage::Delivered);
    bench.settle(std::slice::from_ref(&record)).await;
    let test = test_of(endpoint(2));
    let sequence = bench
        .storage
        .record_standalone_attempt(test.clone())
        .await
        .unwrap();
    let range = ListRange {
        beyond: None,
        ascending: false,
        limit: 9,
    };
    let page = bench
        .storage
        .list_attempts(AttemptFilter::default(), range)
        .await
        .unwrap();
    let [of_none, of_delivery] = &page.rows[..] else {
        panic!("{page:?}");
    };
    assert_eq!((of_none.sequence, of_none.delivery), (sequence, None));
    assert_eq!(of_none.record, Ok(test));
    assert_eq!(of_delivery.delivery, Some(delivery.id()));
    assert_eq!(of_delivery.event, Some(record.event_id.clone()));
    let facts = &of_delivery.facts;
    assert_eq!(
        (facts.class, facts.status, facts.started_at),
        (record.class, record.status, record.started_at)
    );
    assert_eq!(of_delivery.record, Ok(record));
}
