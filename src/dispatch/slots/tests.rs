use serde_json::json;

use super::*;
use crate::domain::{
    endpoint::{Notes, Standing, StateChange},
    time::Timestamp,
};

fn endpoint(number: u8, tenant: Option<&str>) -> Arc<Endpoint> {
    let document = json!({"url": "https://h.test/", "tenant": tenant});
    Arc::new(Endpoint {
        id: EndpointId::from_bytes([number; 16]),
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
        standing: Standing::new(&StateChange::Enable { discard: false }, Timestamp::EPOCH),
        spec: serde_json::from_value(document).unwrap(),
        notes: Notes::default(),
    })
}

/// Takes all slots that an endpoint gets for its deliveries.
fn all(slots: &Arc<Slots>, endpoint: &Arc<Endpoint>) -> Vec<Slot> {
    let mut held = Vec::new();
    while let Ok((slot, _)) = slots.take(endpoint, held.is_empty()) {
        held.push(slot);
    }
    held
}

#[test]
fn one_tenant_alone_gets_nearly_all_and_leaves_a_reserve() {
    let slots = Slots::new(512);
    let busy = all(&slots, &endpoint(1, None));
    assert_eq!(busy.len(), 448);
    // Its other endpoints still find something for a first attempt.
    let others: Vec<_> = (2..=200)
        .map_while(|number| slots.take(&endpoint(number, None), true).ok())
        .collect();
    assert_eq!(others.len(), 32);
    // And another tenant finds a slot for each attempt it has to make.
    assert_eq!(all(&slots, &endpoint(201, Some("good"))).len(), 28);
}

#[test]
fn tenants_that_want_all_they_can_get_end_with_the_same() {
    let slots = Slots::new(512);
    let (one, other) = (endpoint(1, Some("one")), endpoint(2, Some("other")));
    let mut ones = all(&slots, &one);
    let mut others = all(&slots, &other);
    // As attempts of the first end, the second takes what it may.
    for _ in 0..512 {
        ones.pop();
        others.extend(slots.take(&other, false).ok().map(|(slot, _)| slot));
        ones.extend(slots.take(&one, false).ok().map(|(slot, _)| slot));
    }
    assert!(
        ones.len().abs_diff(others.len()) <= 8,
        "{} {}",
        ones.len(),
        others.len()
    );
    assert!(ones.len() + others.len() >= 470);
}

#[test]
fn few_slots_are_all_of_use() {
    for most in 1..8 {
        assert_eq!(all(&Slots::new(most), &endpoint(1, None)).len(), most);
    }
}

#[test]
fn an_attempt_that_lingers_gives_its_slot_back_while_there_is_room() {
    let slots = Slots::new(64);
    let mut held = all(&slots, &endpoint(1, Some("evil")));
    assert_eq!(held.len(), 56);
    held.iter_mut().for_each(Slot::linger);
    let lingering = held.iter().filter(|slot| slot.phase == Phase::Lingering).count();
    assert_eq!(lingering, 14, "7/8 of a quarter");
    assert_eq!(slots.state().out, 42);
    drop(held);
    let state = slots.state();
    assert_eq!(
        (
            state.out,
            state.lingering,
            state.tenants.len(),
            state.endpoints.len()
        ),
        (0, 0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_asked_for_counts_towards_its_endpoint_and_goes_before_its_deliveries() {
    let slots = Slots::new(64);
    let endpoint = endpoint(1, None);
    let (delivery, _) = slots.take(&endpoint, true).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn({
        let (slots, endpoint) = (slots.clone(), endpoint.clone());
        async move { slots.ask(&endpoint, 1).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(
        slots.ask(&endpoint, 1).await.err(),
        Some(Busy),
        "one waits already"
    );
    let (next, asked) = slots.take(&endpoint, false).unwrap();
    assert_eq!(asked, 1, "the lane learns that somebody waits");
    drop(next);
    drop(delivery);
    let asked = tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(slots.state().endpoints[&endpoint.id].asked_out, 1);
    drop(asked);
    slots.freed().await;
    assert_eq!(slots.left(), HashSet::from([endpoint.id]));
    assert!(slots.state().endpoints.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_no_slot_in_time_is_refused_and_leaves_nothing_behind() {
    let slots = Slots::new(1);
    let (held, _) = slots.take(&endpoint(1, Some("evil")), true).unwrap();
    assert_eq!(slots.ask(&endpoint(2, None), 8).await.err(), Some(Busy));
    drop(held);
    let state = slots.state();
    assert_eq!((state.out, state.waiting, state.endpoints.len()), (0, 0, 0));
}
