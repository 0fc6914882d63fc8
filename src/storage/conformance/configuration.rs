//! Configuration: all changes of a request or none, in force when it is answered.

use super::{
    Bench, Subject,
    parts::{at, attempt, audited, change, declaration, delete, endpoint, event, key, put, put_sealed},
    rules,
};
use crate::{
    domain::{
        audit::{AuditEntry, AuditFilter},
        configuration::ConfigChange,
        delivery::Stage,
        endpoint::{EndpointState, StateChange},
        id::AuditId,
        record::{DeliveriesEnded, DeliveriesRetried, EventTypeDeleted, EventTypePut, KeyRevoked},
    },
    storage::{Applied, Change, DeliveryChange, StorageError},
};

rules!(
    a_saved_change_is_told_before_it_is_answered,
    all_changes_of_a_request_are_told_at_once,
    later_changes_of_a_request_see_the_earlier_ones,
    changes_that_are_too_large_are_refused_whole,
    no_changes_are_no_change,
    a_new_endpoint_begins_in_its_initial_state,
    an_endpoint_that_is_put_again_keeps_its_state_and_its_age,
    a_deleted_endpoint_is_remembered_without_its_configuration,
    a_change_of_an_unknown_endpoint_changes_nothing,
    enabling_forgives_failures,
    keys_are_put_and_revoked,
    a_declaration_that_is_put_again_keeps_its_age,
    a_declaration_is_deleted,
    deliveries_end_with_the_change,
    the_audit_log_is_read_in_pages_in_both_directions,
    the_audit_log_is_filtered_and_a_page_says_whether_there_may_be_more,
    an_audit_entry_that_is_said_again_is_one_entry,
);

impl<S: Subject> Bench<S> {
    fn applied<T>(&self, look: impl FnOnce(Vec<&Applied>) -> T) -> T {
        self.host.told(|told| {
            let applied = told.iter().filter_map(|change| match change {
                Change::Applied(applied) => Some(applied),
                _ => None,
            });
            look(applied.collect())
        })
    }
}

fn enable() -> StateChange {
    StateChange::Enable { discard: false }
}

async fn a_saved_change_is_told_before_it_is_answered<S: Subject>(bench: Bench<S>) {
    for number in 1..20 {
        bench.save(vec![put(number)]).await;
        assert!(bench.endpoint(number).is_some(), "{number}");
    }
}

async fn all_changes_of_a_request_are_told_at_once<S: Subject>(bench: Bench<S>) {
    let changes = vec![
        put(1),
        put(2),
        ConfigChange::KeyPut(key(1)),
        ConfigChange::EventTypePut(declaration("order.paid", 0)),
    ];
    bench.save(changes).await;
    bench.applied(|applied| {
        let one = applied
            .iter()
            .find(|applied| !applied.endpoints.is_empty())
            .unwrap();
        let ids: Vec<_> = one.endpoints.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [endpoint(1), endpoint(2)]);
        assert_eq!(one.api_keys, Some(vec![key(1)]));
        assert_eq!(one.event_types[0].declaration, declaration("order.paid", 0));
    });
}

async fn later_changes_of_a_request_see_the_earlier_ones<S: Subject>(bench: Bench<S>) {
    let twice = put_sealed(1, b"second");
    bench
        .save(vec![put(1), change(1, 1, StateChange::Pause), twice])
        .await;
    let row = bench.endpoint(1).unwrap();
    assert_eq!(
        (row.standing.state, &row.sealed[..]),
        (EndpointState::Paused, &b"second"[..])
    );
    bench
        .save(vec![
            ConfigChange::KeyPut(key(1)),
            ConfigChange::KeyRevoked(KeyRevoked {
                id: key(1).id,
                at: at(1),
            }),
        ])
        .await;
    bench.applied(|applied| assert_eq!(applied.last().unwrap().api_keys, Some(Vec::new())));
}

async fn changes_that_are_too_large_are_refused_whole<S: Subject>(bench: Bench<S>) {
    let large = |number: usize| {
        ConfigChange::EventTypePut(EventTypePut {
            schema: Some("x".repeat(60_000)),
            ..declaration(&format!("type.{number}"), 0)
        })
    };
    let changes = |count| [put(1)].into_iter().chain((0..count).map(large)).collect();
    for count in [300, 3000] {
        let refused = bench.storage.save_configuration(changes(count)).await;
        assert!(
            matches!(refused, Err(StorageError::TooLarge { .. })),
            "{refused:?}"
        );
    }
    bench.save(vec![put(2)]).await;
    assert!(bench.endpoint(1).is_none());
    let bench = bench.crash().await;
    assert_eq!(bench.configuration().len(), 1);
}

async fn no_changes_are_no_change<S: Subject>(bench: Bench<S>) {
    bench.save(Vec::new()).await;
    bench.save(vec![put(1)]).await;
    bench.applied(|applied| assert_eq!(applied.len(), 1));
}

async fn a_new_endpoint_begins_in_its_initial_state<S: Subject>(bench: Bench<S>) {
    for (number, initial, state) in [
        (1, enable(), EndpointState::Active),
        (2, StateChange::Pause, EndpointState::Paused),
        (3, StateChange::Unverify, EndpointState::Unverified),
    ] {
        let ConfigChange::EndpointPut(new) = put(number) else {
            unreachable!("put makes no other");
        };
        bench
            .save(vec![ConfigChange::EndpointPut(
                crate::domain::record::EndpointPut { initial, ..new },
            )])
            .await;
        let row = bench.endpoint(number).unwrap();
        assert_eq!((row.standing.state, row.standing.since), (state, at(0)));
        assert_eq!(
            (row.created_at, row.updated_at, row.deleted_at),
            (at(0), at(0), None)
        );
    }
}

async fn an_endpoint_that_is_put_again_keeps_its_state_and_its_age<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1), change(1, 1, StateChange::Pause)]).await;
    let ConfigChange::EndpointPut(again) = put_sealed(1, b"new") else {
        unreachable!("put makes no other");
    };
    bench
        .save(vec![ConfigChange::EndpointPut(
            crate::domain::record::EndpointPut { at: at(7), ..again },
        )])
        .await;
    let row = bench.endpoint(1).unwrap();
    assert_eq!(
        (row.created_at, row.updated_at, &row.sealed[..]),
        (at(0), at(7), &b"new"[..])
    );
    assert_eq!(
        (row.standing.state, row.standing.since),
        (EndpointState::Paused, at(1))
    );
}

async fn a_deleted_endpoint_is_remembered_without_its_configuration<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1), delete(1)]).await;
    let row = bench.endpoint(1).unwrap();
    assert_eq!((row.deleted_at, row.sealed.len()), (Some(at(1)), 0));
    // Nothing brings it back.
    bench
        .save(vec![put_sealed(1, b"again"), change(1, 9, enable()), put(2)])
        .await;
    assert_eq!(bench.endpoint(1).unwrap(), row);
}

async fn a_change_of_an_unknown_endpoint_changes_nothing<S: Subject>(bench: Bench<S>) {
    bench.save(vec![change(1, 1, StateChange::Pause), put(2)]).await;
    assert!(bench.endpoint(1).is_none());
}

async fn enabling_forgives_failures<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1)]).await;
    bench.accept(event("a", &[1])).await;
    let delivery = bench.only(1).await;
    bench
        .settle(&[attempt(&delivery, Stage::Scheduled { due: at(30) })])
        .await;
    assert_eq!(bench.health(1).await.failures, 1);
    bench.save(vec![change(1, 2, StateChange::Pause)]).await;
    assert_eq!(bench.health(1).await.failures, 1);
    bench.save(vec![change(1, 3, enable())]).await;
    assert_eq!(bench.health(1).await.failures, 0);
}

async fn keys_are_put_and_revoked<S: Subject>(bench: Bench<S>) {
    bench
        .save(vec![ConfigChange::KeyPut(key(2)), ConfigChange::KeyPut(key(1))])
        .await;
    bench.applied(|applied| assert_eq!(applied.last().unwrap().api_keys, Some(vec![key(1), key(2)])));
    let revoked = KeyRevoked {
        id: key(2).id,
        at: at(1),
    };
    bench.save(vec![ConfigChange::KeyRevoked(revoked)]).await;
    bench.applied(|applied| assert_eq!(applied.last().unwrap().api_keys, Some(vec![key(1)])));
}

async fn a_declaration_that_is_put_again_keeps_its_age<S: Subject>(bench: Bench<S>) {
    for seconds in [1, 9] {
        let put = ConfigChange::EventTypePut(declaration("order.paid", seconds));
        bench.save(vec![put]).await;
        bench.applied(|applied| {
            let declared = &applied.last().unwrap().event_types[0];
            assert_eq!(declared.created_at, at(1));
            assert_eq!(declared.declaration, declaration("order.paid", seconds));
        });
    }
}

async fn a_declaration_is_deleted<S: Subject>(bench: Bench<S>) {
    bench
        .save(vec![ConfigChange::EventTypePut(declaration("order.paid", 1))])
        .await;
    let deleted = EventTypeDeleted {
        event_type: "order.paid".parse().unwrap(),
        at: at(2),
    };
    bench.save(vec![ConfigChange::EventTypeDeleted(deleted)]).await;
    bench.applied(|applied| {
        let last = applied.last().unwrap();
        assert_eq!(
            (last.event_types.len(), &last.undeclared[..]),
            (0, &["order.paid".parse().unwrap()][..])
        );
    });
}

async fn deliveries_end_with_the_change<S: Subject>(bench: Bench<S>) {
    bench.save(vec![put(1), change(1, 1, StateChange::Pause)]).await;
    bench.accept(event("a", &[1])).await;
    let keys = bench.keys(1).await;
    let ended = ConfigChange::DeliveriesEnded(DeliveriesEnded {
        keys,
        at: at(2),
        stage: Stage::Cancelled,
    });
    bench
        .save(vec![change(1, 2, StateChange::Enable { discard: true }), ended])
        .await;
    assert_eq!(bench.keys(1).await, []);
    assert_eq!(bench.standing(1).state, EndpointState::Active);
}

async fn the_audit_log_is_read_in_pages_in_both_directions<S: Subject>(bench: Bench<S>) {
    let entries = [1, 2, 3, 4, 5].map(audited);
    for entry in [4, 1, 5, 2, 3] {
        let entry = Box::new(entries[entry - 1].clone());
        bench.save(vec![put(1), ConfigChange::Audited(entry)]).await;
    }
    let page = async |beyond: Option<AuditId>, ascending, limit| {
        let filter = AuditFilter::default();
        let page = bench.storage.audit_entries(filter, beyond, ascending, limit);
        page.await.unwrap().entries
    };
    assert_eq!(page(None, true, 9).await, entries);
    assert_eq!(page(None, true, 2).await, entries[..2]);
    assert_eq!(page(Some(entries[1].id), true, 2).await, entries[2..4]);
    assert_eq!(page(Some(entries[4].id), true, 2).await, []);
    let newest_first: Vec<_> = entries.iter().rev().cloned().collect();
    assert_eq!(page(None, false, 2).await, newest_first[..2]);
    assert_eq!(page(Some(entries[3].id), false, 9).await, newest_first[2..]);
    assert_eq!(page(Some(entries[0].id), false, 9).await, []);
}

async fn the_audit_log_is_filtered_and_a_page_says_whether_there_may_be_more<S: Subject>(bench: Bench<S>) {
    let mut entries = [1, 2, 3, 4, 5].map(audited);
    entries[1].action = "key.created".to_owned();
    entries[3].actor = "key_2".to_owned();
    entries[4].target = "ep_9".to_owned();
    let changes = entries
        .iter()
        .map(|entry| ConfigChange::Audited(Box::new(entry.clone())));
    bench.save(changes.collect()).await;
    // Follows the pages, of which some may be short.
    let found = async |filter: AuditFilter, ascending| {
        let (mut found, mut beyond) = (Vec::new(), None);
        loop {
            let page = bench.storage.audit_entries(filter.clone(), beyond, ascending, 2);
            let page = page.await.unwrap();
            assert!(page.entries.len() <= 2);
            found.extend(page.entries);
            beyond = page.next;
            if beyond.is_none() {
                return found;
            }
        }
    };
    let all = AuditFilter::default();
    let newest_first: Vec<_> = entries.iter().rev().cloned().collect();
    assert_eq!(found(all.clone(), true).await, entries);
    assert_eq!(found(all.clone(), false).await, newest_first);
    let of = |places: &[usize]| -> Vec<_> { places.iter().map(|place| entries[*place].clone()).collect() };
    let action = |text: &str| AuditFilter {
        action: Some(text.parse().unwrap()),
        ..AuditFilter::default()
    };
    assert_eq!(found(action("key.created"), true).await, of(&[1]));
    assert_eq!(found(action("key.*"), true).await, of(&[1]));
    let actor = AuditFilter {
        actor: Some("key_2".to_owned()),
        ..all.clone()
    };
    assert_eq!(found(actor, false).await, of(&[3]));
    let target = AuditFilter {
        target: Some("ep_9".to_owned()),
        ..all.clone()
    };
    assert_eq!(found(target, true).await, of(&[4]));
    let in_time = AuditFilter {
        since: Some(entries[1].at),
        until: Some(entries[3].at),
        ..all
    };
    assert_eq!(found(in_time.clone(), true).await, of(&[1, 2, 3]));
    assert_eq!(found(in_time, false).await, of(&[3, 2, 1]));
}

async fn an_audit_entry_that_is_said_again_is_one_entry<S: Subject>(bench: Bench<S>) {
    for _ in 0..2 {
        bench
            .save(vec![ConfigChange::Audited(Box::new(audited(1)))])
            .await;
    }
    assert_eq!(bench.audit_log().await, [audited(1)]);
    // Beside a change of deliveries, which has none to change here, it takes the place of the former as well.
    let newer = AuditEntry {
        after: Some(r#"{"failed":2}"#.to_owned()),
        ..audited(1)
    };
    let changes = vec![
        DeliveryChange::Audited(Box::new(newer.clone())),
        DeliveryChange::Retried(DeliveriesRetried {
            keys: Vec::new(),
            due: at(1),
        }),
    ];
    let sequences = bench.storage.change_deliveries(changes).await.unwrap();
    assert_eq!(sequences[1], sequences[0] + 1);
    assert_eq!(bench.audit_log().await, [newer]);
}
