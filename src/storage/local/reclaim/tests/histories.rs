//! Random histories, reclaimed at random moments and interrupted at random ones.

use std::time::Duration;

use fastrand::Rng;

use super::{
    super::Retention,
    expected::{self, ENDPOINTS},
    world::{World, attempt, audited, endpoint},
};
use crate::domain::{
    configuration::{ConfigChange, Configured},
    delivery::Stage,
    endpoint::{DisableWhy, DisabledReason, StateChange},
    id::{DeliveryKey, EndpointId, KeyId, Lsn},
    outcome::Class,
    record::{
        DeliveriesEnded, DeliveriesRetried, EndpointChanged, EndpointDeleted, EndpointPut, EventReplayed,
        EventTypeDeleted, EventTypePut, KeyPut, KeyRevoked, Record, Role,
    },
};
use crate::runtime::seed::{is_soak, number, seed};

/// Counters that underflow, rows that a rebuild lacks, events that go though they wait: all of it shows here.
#[test]
fn a_store_made_from_a_reclaimed_journal_equals_the_one_that_lived_through_it() {
    let rounds = number("POSTHASTE_RECLAIM_ROUNDS").unwrap_or(if is_soak() { 1500 } else { 25 });
    let first = seed("POSTHASTE_RECLAIM_SEED");
    let (mut reclaimed, mut left_out) = (0, false);
    for seed in first..first + rounds {
        println!("POSTHASTE_RECLAIM_SEED={seed}");
        let (segments, some) = history(&mut Rng::with_seed(seed));
        reclaimed += segments;
        left_out |= some;
    }
    println!("{reclaimed} segments were reclaimed in {rounds} histories");
    assert!(reclaimed > 0);
    assert!(
        left_out,
        "more endpoints were active in an interval than have a rollup of their own"
    );
}

/// Answers how many segments went, and whether an endpoint had no rollup of its own.
fn history(rng: &mut Rng) -> (u64, bool) {
    let mut world = World::new(Retention {
        events: Duration::from_secs(1000),
        attempts: Duration::from_secs(rng.u64(300..2000)),
        audit: Duration::from_secs(rng.u64(300..5000)),
        minutes: Duration::from_secs(rng.u64(0..4000)),
        hours: Duration::from_secs(rng.u64(4000..20_000)),
        max_journal_bytes: [0, 20_000][rng.usize(0..2)],
        max_held_bytes: [0, 4000][rng.usize(0..2)],
    });
    let (mut reclaimed, mut left_out) = (0, false);
    for _ in 0..rng.usize(50..400) {
        let longest = if rng.u8(0..30) == 0 { 3_600_000 } else { 20_000 };
        world.now = world.now.plus(Duration::from_millis(rng.u64(0..longest)));
        match rng.u8(0..40) {
            0..3 => {
                let all: Vec<EndpointId> = (1..=ENDPOINTS).map(endpoint).collect();
                world.inactive = rng.choose_multiple(all, 3);
            }
            3..8 => {
                for _ in 0..rng.usize(1..60) {
                    world.tick += Duration::from_millis(rng.u64(0..500_000));
                    let waiting = waiting(&world);
                    world.step();
                    let still = |key: &DeliveryKey| world.store.delivery(*key).unwrap().is_some();
                    assert!(waiting.iter().all(still), "a delivery that waited is gone");
                }
            }
            8 => {
                reclaimed += world.journal.stats().reclaimed_segments;
                world.restart();
            }
            _ => {
                let records = happening(&mut world, rng);
                if !records.is_empty() {
                    world.append(&records);
                }
            }
        }
        if rng.u8(0..20) == 0 {
            world.check(rng.usize(1..300));
        }
    }
    world.pass(Duration::from_secs(3000));
    world.check(rng.usize(1..300));
    left_out |= expected::hold(&world);
    (reclaimed + world.journal.stats().reclaimed_segments, left_out)
}

fn waiting(world: &World) -> Vec<DeliveryKey> {
    let all = world.deliveries().into_iter();
    all.filter(|delivery| !delivery.stage.is_final())
        .map(|delivery| delivery.key)
        .collect()
}

/// What may be written next, given what there is.
fn happening(world: &mut World, rng: &mut Rng) -> Vec<Record> {
    match rng.u8(0..24) {
        0..9 => (0..rng.usize(1..6)).map(|_| accept(world, rng)).collect(),
        9..16 => settle(world, rng),
        16 => on_deliveries(world, rng),
        17 => replay(world, rng),
        18..22 => vec![on_endpoint(world, rng)],
        22 => vec![on_key(world, rng)],
        _ => vec![on_type(world, rng)],
    }
}

/// The registry knows no deleted endpoint; only what was on its way may still name one.
fn is_long_gone(world: &World, id: EndpointId) -> bool {
    let long_ago = world.now.minus(Duration::from_secs(600));
    let row = world.store.endpoint(id).unwrap();
    let deleted_at = row.map(|row| row.deleted_at);
    world.deleted.contains(&id) && deleted_at.flatten().is_none_or(|at| at <= long_ago)
}

fn accept(world: &mut World, rng: &mut Rng) -> Record {
    let known = |id: &EndpointId| world.store.endpoint(*id).unwrap().is_some() && !is_long_gone(world, *id);
    let endpoints: Vec<EndpointId> = (1..=ENDPOINTS).map(endpoint).filter(known).collect();
    let count = rng.usize(0..4);
    let fan_out = rng.choose_multiple(endpoints, count);
    let mut event = world.new_event(&fan_out);
    // Not quite in the order of the journal, as it comes with many callers.
    event.accepted_at = event.accepted_at.minus(Duration::from_millis(rng.u64(0..30_000)));
    event.due = event.accepted_at;
    if rng.u8(0..6) == 0 {
        event.due = event.due.plus(Duration::from_secs(rng.u64(0..5000)));
    }
    if rng.u8(0..10) == 0 {
        event.event_type = "endpoint.disabled".parse().unwrap();
    }
    if rng.bool() {
        event.ordering_key = Some(format!("key {}", rng.u8(0..3)).parse().unwrap());
    }
    if rng.u8(0..3) == 0 {
        let key = format!("once {}", rng.u8(0..30));
        let free = world
            .store
            .idempotency(event.tenant.as_ref(), &key)
            .unwrap()
            .is_none_or(|(row, _)| row.until <= world.now);
        event.idempotency_key = free.then_some(key);
    }
    if rng.u8(0..8) == 0 {
        event.notice_for = Some(endpoint(rng.u8(1..=ENDPOINTS)));
    }
    Record::EventAccepted(event)
}

/// Attempts of what is scheduled; one that was cancelled while it was out now and then.
fn settle(world: &World, rng: &mut Rng) -> Vec<Record> {
    let mut records = Vec::new();
    for delivery in world.deliveries() {
        let scheduled = delivery.stage.due().is_some();
        if records.len() > 8 || rng.u8(0..4) > u8::from(scheduled) {
            continue;
        }
        let due = world.now.plus(Duration::from_secs(rng.u64(0..300)));
        let stage = match rng.u8(0..6) {
            0..3 => Stage::Delivered,
            3 => Stage::Failed,
            _ => Stage::Scheduled { due },
        };
        if scheduled || rng.u8(0..30) == 0 {
            let mut settled = attempt(&delivery, world.now, stage);
            if let Some(event) = world.store.event(delivery.event).unwrap() {
                settled.tenant = event.tenant;
                settled.event_type = event.event_type;
            }
            settled.duration_millis = rng.u32(0..100_000);
            settled.class = match stage {
                Stage::Delivered => Class::Delivered,
                _ => Class::ALL[rng.usize(1..5)],
            };
            if rng.u8(0..10) == 0 {
                settled.disable = Some(DisabledReason {
                    why: DisableWhy::EndpointError,
                    reason: None,
                    status: Some(410),
                });
            }
            if rng.u8(0..20) == 0 {
                settled.delivery = None;
            }
            records.push(Record::AttemptSettled(settled));
        }
    }
    records
}

fn on_deliveries(world: &World, rng: &mut Rng) -> Vec<Record> {
    let mut keys: Vec<_> = world.deliveries().iter().map(|delivery| delivery.key).collect();
    rng.shuffle(&mut keys);
    keys.truncate(rng.usize(0..5));
    let retried = DeliveriesRetried {
        keys: keys.clone(),
        due: world.now,
    };
    let ended = DeliveriesEnded {
        keys,
        at: world.now,
        stage: Stage::Cancelled,
    };
    vec![if rng.bool() {
        Record::DeliveriesRetried(retried)
    } else {
        Record::DeliveriesEnded(ended)
    }]
}

fn replay(world: &World, rng: &mut Rng) -> Vec<Record> {
    let events: Vec<Lsn> = world.all_events().into_iter().map(|(lsn, _)| lsn).collect();
    let Some(&event) = rng.choice(&events) else {
        return Vec::new();
    };
    let fan_out = [endpoint(rng.u8(1..=ENDPOINTS)), endpoint(rng.u8(1..=ENDPOINTS))];
    vec![Record::EventReplayed(EventReplayed {
        event,
        due: world.now,
        fan_out: fan_out
            .into_iter()
            .filter(|id| !is_long_gone(world, *id))
            .collect(),
    })]
}

/// An id is nobody's again once its endpoint was deleted.
fn on_endpoint(world: &mut World, rng: &mut Rng) -> Record {
    let (id, at) = (endpoint(rng.u8(1..=ENDPOINTS)), world.now);
    match rng.u8(0..8) {
        0..4 if !world.deleted.contains(&id) => Record::from(ConfigChange::EndpointPut(EndpointPut {
            id,
            at,
            initial: StateChange::Pause,
            sealed: vec![rng.u8(..); rng.usize(1..200)],
        })),
        7 if world.deleted.insert(id) => {
            Record::from(ConfigChange::EndpointDeleted(EndpointDeleted { id, at }))
        }
        _ => Record::from(ConfigChange::EndpointChanged(EndpointChanged {
            id,
            at,
            change: StateChange::Pause,
        })),
    }
}

fn on_key(world: &World, rng: &mut Rng) -> Record {
    let id = KeyId::from_bytes([rng.u8(0..5); 16]);
    if rng.u8(0..3) == 0 {
        return Record::from(ConfigChange::KeyRevoked(KeyRevoked { id, at: world.now }));
    }
    let put = ConfigChange::KeyPut(KeyPut {
        id,
        name: "a key".to_owned(),
        role: Role::Viewer,
        tenant: None,
        created_at: world.now,
        expires_at: None,
        hash: [rng.u8(..); 32],
    });
    let audited = ConfigChange::Audited(Box::new(audited(world.now, rng.u128(..))));
    Record::Configured(Configured {
        changes: vec![put, audited],
    })
}

fn on_type(world: &World, rng: &mut Rng) -> Record {
    let event_type = format!("type.{}", rng.u8(0..4)).parse().unwrap();
    if rng.u8(0..4) == 0 {
        return Record::from(ConfigChange::EventTypeDeleted(EventTypeDeleted {
            event_type,
            at: world.now,
        }));
    }
    Record::from(ConfigChange::EventTypePut(EventTypePut {
        event_type,
        at: world.now,
        description: Some("x".repeat(rng.usize(0..100))),
        schema: None,
        example: None,
        deprecated: rng.bool(),
    }))
}
