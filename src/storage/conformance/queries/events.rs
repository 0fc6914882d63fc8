//! Events: found by their ids, and listed.

use super::{
    super::{
        Bench, Subject,
        parts::{START, at, attempt, endpoint, event, label, named, unnamed},
        rules,
    },
    walk,
};
use crate::{
    domain::{
        delivery::Stage,
        id::{DeliveryKey, Lsn},
        record::EventAccepted,
    },
    storage::{
        Outcome,
        queries::{AttemptFilter, EventFilter, FoundEvent, ListRange, MissingFilter},
        stored::EventDetails,
    },
};

rules!(
    an_event_is_found_by_its_id_and_its_tenant,
    a_query_shows_all_that_was_answered_before,
    events_are_listed_in_both_directions,
    events_are_filtered_by_each_of_their_properties,
    an_event_s_row_says_what_it_is_and_that_it_was_erased,
    missing_events_are_those_that_an_endpoint_never_had,
);

async fn an_event_is_found_by_its_id_and_its_tenant<S: Subject>(bench: Bench<S>) {
    let of = |name: &str, tenant: Option<&str>| EventAccepted {
        tenant: tenant.map(label),
        ..event(name, &[])
    };
    for (name, tenant) in [
        ("both", None),
        ("both", Some("a")),
        ("one", Some("a")),
        ("two", Some("a")),
        ("two", Some("b")),
    ] {
        bench.try_accept(named(of(name, tenant))).await.unwrap();
    }
    let found = async |name: &str, tenant: Option<&str>| {
        let (id, tenant) = (name.parse().unwrap(), tenant.map(label));
        match bench.storage.find_event(&id, tenant.as_ref()).await.unwrap() {
            FoundEvent::None => "none".to_owned(),
            FoundEvent::Several => "several".to_owned(),
            FoundEvent::One(facts) => {
                assert_eq!(facts.id, id);
                facts
                    .tenant
                    .map_or("without".to_owned(), |tenant| tenant.to_string())
            }
        }
    };
    assert_eq!(found("both", None).await, "without");
    assert_eq!(found("both", Some("a")).await, "a");
    assert_eq!(found("both", Some("b")).await, "none");
    assert_eq!(found("one", None).await, "a");
    assert_eq!(found("two", None).await, "several");
    assert_eq!(found("two", Some("b")).await, "b");
    assert_eq!(found("nobody", None).await, "none");
}

/// Whether or not its change is told of by then.
async fn a_query_shows_all_that_was_answered_before<S: Subject>(bench: Bench<S>) {
    for number in 0..20 {
        let name = format!("e{number}");
        bench.try_accept(unnamed(event(&name, &[1]))).await.unwrap();
        let found = bench
            .storage
            .find_event(&name.parse().unwrap(), None)
            .await
            .unwrap();
        let FoundEvent::One(facts) = found else {
            panic!("{found:?}");
        };
        let key = DeliveryKey::new(facts.sequence, 0);
        let found = bench.stored(key).await;
        let outcome = Outcome::attempt(attempt(&found.delivery, Stage::Delivered));
        bench.storage.record_outcomes(&[outcome]).await.unwrap();
        let filter = AttemptFilter {
            delivery: Some(key),
            ..AttemptFilter::default()
        };
        assert_eq!(bench.attempts_of(&filter).await.len(), 1);
    }
}

async fn events_are_listed_in_both_directions<S: Subject>(bench: Bench<S>) {
    let mut all = Vec::new();
    for number in 0..7 {
        all.push(bench.accept(event(&format!("e{number}"), &[])).await);
    }
    let filter = EventFilter::default();
    for limit in [1, 2, 7, 100] {
        assert_eq!(bench.events(&filter, true, limit).await, all, "{limit}");
    }
    all.reverse();
    for limit in [1, 3, 7, 100] {
        assert_eq!(bench.events(&filter, false, limit).await, all, "{limit}");
    }
}

async fn events_are_filtered_by_each_of_their_properties<S: Subject>(bench: Bench<S>) {
    let mut all = Vec::new();
    for (name, event_type, tenant, region, seconds) in [
        ("a", "user.created", None, "north", 10),
        ("b", "user.deleted", Some("acme"), "north", 20),
        ("c", "order.paid", Some("acme"), "south", 30),
        ("d", "user.created", Some("other"), "south", 40),
    ] {
        let event = EventAccepted {
            event_type: event_type.parse().unwrap(),
            tenant: tenant.map(label),
            attributes: [("region", region), ("name", name)]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into(),
            idempotency_key: Some(format!("key-{name}")),
            accepted_at: at(seconds),
            ..event(name, &[])
        };
        all.push(bench.accept(event).await);
    }
    let pattern = |text: &str| Some(serde_json::from_value(text.into()).unwrap());
    let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let any = EventFilter::default;
    let filters: [(EventFilter, &[usize]); 12] = [
        (
            EventFilter {
                event_type: pattern("user.created"),
                ..any()
            },
            &[0, 3],
        ),
        (
            EventFilter {
                event_type: pattern("user.*"),
                ..any()
            },
            &[0, 1, 3],
        ),
        (
            EventFilter {
                event_type: pattern("nothing.*"),
                ..any()
            },
            &[],
        ),
        (
            EventFilter {
                tenant: Some(label("acme")),
                ..any()
            },
            &[1, 2],
        ),
        (
            EventFilter {
                attributes: vec![attribute("region", "south")],
                ..any()
            },
            &[2, 3],
        ),
        (
            EventFilter {
                attributes: vec![attribute("region", "south"), attribute("name", "c")],
                ..any()
            },
            &[2],
        ),
        (
            EventFilter {
                attributes: vec![attribute("region", "c")],
                ..any()
            },
            &[],
        ),
        (
            EventFilter {
                idempotency_key: Some("key-b".to_owned()),
                ..any()
            },
            &[1],
        ),
        (
            EventFilter {
                since: Some(at(20)),
                ..any()
            },
            &[1, 2, 3],
        ),
        (
            EventFilter {
                until: Some(at(20)),
                ..any()
            },
            &[0, 1],
        ),
        (
            EventFilter {
                since: Some(at(20)),
                until: Some(at(30)),
                ..any()
            },
            &[1, 2],
        ),
        (
            EventFilter {
                event_type: pattern("user.*"),
                tenant: Some(label("acme")),
                ..any()
            },
            &[1],
        ),
    ];
    for (filter, wanted) in filters {
        let mut wanted: Vec<Lsn> = wanted.iter().map(|place| all[*place]).collect();
        assert_eq!(bench.events(&filter, true, 2).await, wanted, "{filter:?}");
        wanted.reverse();
        assert_eq!(bench.events(&filter, false, 2).await, wanted, "{filter:?}");
    }
}

async fn an_event_s_row_says_what_it_is_and_that_it_was_erased<S: Subject>(bench: Bench<S>) {
    let whole = EventAccepted {
        tenant: Some(label("acme")),
        channel: Some(label("eu")),
        ordering_key: Some(label("order-7")),
        expires_at: Some(at(900)),
        attributes: [("region".to_owned(), "north".to_owned())].into(),
        ..event("a", &[1, 2])
    };
    let sequence = bench.accept(whole.clone()).await;
    let row = async || {
        let range = ListRange {
            beyond: None,
            ascending: true,
            limit: 9,
        };
        let page = bench
            .storage
            .list_events(EventFilter::default(), range)
            .await
            .unwrap();
        page.rows.into_iter().next().unwrap()
    };
    let before = row().await;
    assert_eq!(before.details, Ok(EventDetails::of(&whole)));
    let facts = before.facts;
    assert_eq!(
        (facts.sequence, &facts.id, &facts.event_type),
        (sequence, &whole.id, &whole.event_type)
    );
    assert_eq!(
        (facts.tenant, facts.accepted_at, facts.deliveries),
        (whole.tenant, START, 2)
    );
    assert_eq!(facts.erased, None);
    for (seconds, by) in [(9, "key_1"), (10, "key_2")] {
        bench
            .storage
            .erase_payload(sequence, at(seconds), by.to_owned(), None)
            .await
            .unwrap();
        let after = row().await;
        let erased = after.facts.erased.unwrap();
        assert_eq!((erased.at, erased.by.as_str()), (at(9), "key_1"));
        assert_eq!(after.details.unwrap().payload_bytes, 0);
    }
}

async fn missing_events_are_those_that_an_endpoint_never_had<S: Subject>(bench: Bench<S>) {
    let mut all = Vec::new();
    for (name, seconds, tenant, event_type, to) in [
        ("had", 10, None, "user.created", 1),
        ("missed", 20, None, "user.created", 2),
        ("replayed", 30, None, "user.created", 2),
        ("of another", 40, Some("acme"), "user.created", 2),
        ("other type", 50, None, "order.paid", 2),
        ("erased", 60, None, "user.created", 2),
        ("late", 70, None, "user.deleted", 2),
    ] {
        let event = EventAccepted {
            accepted_at: at(seconds),
            tenant: tenant.map(label),
            event_type: event_type.parse().unwrap(),
            ..event(&name.replace(' ', "-"), &[to])
        };
        all.push(bench.accept(event).await);
    }
    bench.replay_to(all[2], 1).await;
    bench
        .storage
        .erase_payload(all[5], at(99), "key_1".to_owned(), None)
        .await
        .unwrap();
    let filter = MissingFilter {
        endpoint: endpoint(1),
        tenant: None,
        event_types: vec![serde_json::from_value("user.*".into()).unwrap()],
        since: at(0),
        until: None,
    };
    let missing = async |filter: &MissingFilter| {
        let found = walk(true, 1, |range| bench.storage.list_missing(filter.clone(), range)).await;
        found.into_iter().map(|at| at.lsn).collect::<Vec<_>>()
    };
    assert_eq!(missing(&filter).await, [all[1], all[6]]);
    let early = MissingFilter {
        until: Some(at(69)),
        ..filter.clone()
    };
    assert_eq!(missing(&early).await, [all[1]]);
    let late = MissingFilter {
        since: at(21),
        ..filter.clone()
    };
    assert_eq!(missing(&late).await, [all[6]]);
    let of_tenant = MissingFilter {
        tenant: Some(label("acme")),
        ..filter
    };
    assert_eq!(missing(&of_tenant).await, [all[3]]);
}
