//! One thing at a time.

use std::{fs, time::Duration};

use super::{
    super::Retention,
    world::{START, WINDOW, World, accepted, attempt, audited, endpoint},
};
use crate::{
    domain::{
        audit::AuditEntry,
        configuration::{ConfigChange, Configured},
        delivery::Stage,
        endpoint::StateChange,
        id::DeliveryKey,
        record::{DeliveriesEnded, DeliveriesRetried, EndpointDeleted, EndpointPut, EventReplayed, Record},
    },
    storage::local::{codec, index::keys},
};

const HOUR: Duration = Duration::from_secs(3600);

fn kept_for_an_hour() -> Retention {
    Retention {
        events: HOUR,
        attempts: HOUR,
        audit: HOUR * 24,
        minutes: HOUR * 48,
        hours: HOUR * 24 * 30,
        max_journal_bytes: 0,
        max_held_bytes: 0,
    }
}

fn put(number: u8) -> Record {
    Record::from(ConfigChange::EndpointPut(EndpointPut {
        id: endpoint(number),
        at: START,
        initial: StateChange::Enable { discard: false },
        sealed: vec![1, 2, 3],
    }))
}

/// Fills a few segments with events that are delivered at once.
fn fill(world: &mut World) {
    let segments = world.journal.segments().len();
    while world.journal.segments().len() < segments + 4 {
        world.delivered(&[endpoint(1)]);
    }
}

#[test]
fn what_is_settled_and_past_its_time_goes_and_nothing_younger() {
    let mut world = World::new(kept_for_an_hour());
    world.append(&[put(1)]);
    fill(&mut world);
    let (events, totals) = (world.all_events().len(), world.store.totals().unwrap());
    world.pass(HOUR - Duration::from_secs(1));
    assert_eq!(world.journal.first_lsn(), 1, "nothing is past its time");
    let young = world.delivered(&[endpoint(1)]);
    world.pass(Duration::from_secs(2));
    let first = world.journal.first_lsn();
    assert!(first > 1 && first <= young);
    let left = world.all_events();
    assert!(left.len() < events && left.iter().all(|(lsn, _)| *lsn >= first));
    assert_eq!(
        world.store.totals().unwrap().events,
        totals.events + 1,
        "what went stays counted"
    );
    assert!(world.store.endpoint(endpoint(1)).unwrap().is_some());
    world.check(100);
}

#[test]
fn what_still_waits_is_carried_again_and_again() {
    let mut world = World::new(kept_for_an_hour());
    world.append(&[put(1)]);
    let event = world.new_event(&[endpoint(2)]);
    let waiting = world.append(&[Record::EventAccepted(event)]);
    let key = DeliveryKey::new(waiting, 0);
    let mut places = Vec::new();
    for _ in 0..5 {
        fill(&mut world);
        let due = world.now;
        world.settle(key, Stage::Scheduled { due });
        world.pass(HOUR * 2);
        let row = world.store.event(waiting).unwrap().unwrap();
        assert!(row.place.segment >= world.journal.first_lsn());
        assert!(!places.contains(&row.place), "it was carried once more");
        places.push(row.place);
        world.check(7);
    }
    assert_eq!(world.store.delivery(key).unwrap().unwrap().attempts, 5);
    world.settle(key, Stage::Delivered);
    fill(&mut world);
    world.pass(HOUR * 2);
    assert!(world.store.event(waiting).unwrap().is_none(), "settled, it goes");
    world.check(7);
}

/// Writing out the store's memory takes as long as the disk likes: nothing is to wait for that but the reclaimer.
#[test]
fn nothing_is_written_out_while_nothing_is_accepted() {
    let mut world = World::with_buffer(kept_for_an_hour(), 32 * 1024);
    world.append(&[put(1), put(2)]);
    for _ in 0..150 {
        let event = world.new_event(&[endpoint(2)]);
        world.append(&[Record::EventAccepted(event)]);
        for _ in 0..3 {
            world.delivered(&[endpoint(1)]);
        }
    }
    let pauses = world.journal.stats().pauses;
    for _ in 0..4 {
        world.pass(HOUR * 2);
        fill(&mut world);
    }
    assert!(world.journal.first_lsn() > 600, "waiting events were carried");
    assert!(world.journal.stats().pauses > pauses);
    assert!(world.folds.otherwise > 0, "memory was written out");
    assert_eq!(world.folds.under_pause, 0, "{:?}", world.folds);
    world.check(100);
}

#[test]
fn an_idempotency_key_is_honoured_though_space_is_short() {
    let mut world = World::new(Retention {
        max_journal_bytes: 1,
        ..kept_for_an_hour()
    });
    let mut event = world.new_event(&[endpoint(1)]);
    event.idempotency_key = Some("once".to_owned());
    let tenant = event.tenant.clone();
    let lsn = world.append(&[Record::EventAccepted(event)]);
    world.settle(DeliveryKey::new(lsn, 0), Stage::Delivered);
    fill(&mut world);
    world.pass(WINDOW - Duration::from_secs(5));
    assert!(world.journal.first_lsn() > lsn, "space was short");
    let remembered = |world: &World| world.store.idempotency(tenant.as_ref(), "once").unwrap();
    assert_eq!(remembered(&world).unwrap().0.event, lsn);
    assert!(world.store.event(lsn).unwrap().is_some());
    world.check(9);
    fill(&mut world);
    world.pass(Duration::from_secs(10));
    assert!(remembered(&world).is_none());
    assert!(world.store.event(lsn).unwrap().is_none());
    world.check(9);
}

#[test]
fn a_journal_full_of_what_waits_is_left_alone() {
    let mut world = World::new(Retention {
        max_journal_bytes: 1,
        ..kept_for_an_hour()
    });
    for _ in 0..200 {
        let event = world.new_event(&[endpoint(1)]);
        world.append(&[Record::EventAccepted(event)]);
    }
    let last = world.journal.last_lsn();
    world.pass(HOUR * 2);
    assert_eq!(
        (world.journal.first_lsn(), world.journal.last_lsn()),
        (1, last),
        "nothing is carried for nothing"
    );
}

#[test]
fn a_replay_of_a_forgotten_event_creates_nothing() {
    let mut world = World::new(kept_for_an_hour());
    let lsn = world.delivered(&[endpoint(1)]);
    fill(&mut world);
    world.pass(HOUR * 2);
    assert!(world.store.event(lsn).unwrap().is_none());
    let replayed = EventReplayed {
        event: lsn,
        due: world.now,
        fan_out: vec![endpoint(1)],
    };
    let at = world.append(&[Record::EventReplayed(replayed)]);
    assert_eq!(world.store.delivery(DeliveryKey::new(at, 0)).unwrap(), None);
    assert_eq!(world.scheduled(endpoint(1)), 0);
    world.check(3);
}

/// Whatever was cut off, it is done again by the next life.
#[test]
fn a_crash_after_any_piece_of_work_loses_nothing() {
    for pieces in 0..60 {
        let mut world = World::new(kept_for_an_hour());
        world.append(&[put(1), put(2)]);
        let event = world.new_event(&[endpoint(1), endpoint(2)]);
        let waiting = world.append(&[Record::EventAccepted(event)]);
        world.append(&[Record::from(ConfigChange::EndpointDeleted(EndpointDeleted {
            id: endpoint(2),
            at: START,
        }))]);
        fill(&mut world);
        world.now = world.now.plus(HOUR * 2);
        for _ in 0..pieces {
            world.step();
        }
        world.restart();
        assert_eq!(world.scheduled(endpoint(1)), 1, "after {pieces} pieces");
        world.check(5);
        world.pass(HOUR);
        assert!(world.journal.first_lsn() > waiting, "after {pieces} pieces");
        assert_eq!(world.scheduled(endpoint(1)), 1, "after {pieces} pieces");
        world.check(5);
    }
}

#[test]
fn nothing_is_deleted_while_a_copy_is_made_and_all_is_afterwards() {
    let mut world = World::new(kept_for_an_hour());
    fill(&mut world);
    let kept = world.journal.keep();
    world.pass(HOUR * 2);
    assert_eq!(world.journal.first_lsn(), 1);
    drop(kept);
    world.pass(HOUR);
    assert!(world.journal.first_lsn() > 1);
    world.check(50);
}

/// A damaged record in a segment that goes: its event is not forgotten with it.
#[test]
fn a_waiting_event_whose_record_is_damaged_stays_known() {
    let mut world = World::new(kept_for_an_hour());
    let event = world.new_event(&[endpoint(1)]);
    let lsn = world.append(&[Record::EventAccepted(event)]);
    fill(&mut world);
    let place = world.store.event(lsn).unwrap().unwrap().place;
    let path = world
        .dir
        .path()
        .join(format!("journal/{:016x}.seg", place.segment));
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(place.offset).unwrap() + 40] ^= 1;
    fs::write(&path, bytes).unwrap();
    world.pass(HOUR * 2);
    assert!(world.journal.first_lsn() > lsn);
    let row = world.store.event(lsn).unwrap().unwrap();
    assert!(world.event(&row).is_none(), "its payload is lost");
    assert_eq!(world.scheduled(endpoint(1)), 1, "and will fail visibly");
    assert_eq!(world.store.dump().unwrap(), world.rebuilt(20));
}

#[test]
fn the_audit_log_outlives_the_records_that_it_stood_in_until_its_own_time_is_over() {
    let mut world = World::new(kept_for_an_hour());
    let entries = [1, 2, 3].map(|n| audited(START.plus(HOUR * n / 4), 7));
    let change = |entry: &AuditEntry| ConfigChange::Audited(Box::new(entry.clone()));
    let changes = entries.iter().map(change).collect();
    let first = world.append(&[put(1), Record::Configured(Configured { changes })]);
    let listed = |world: &World, end, ascending| -> Vec<AuditEntry> {
        let entries = world.store.audit_entries(None, end, ascending);
        entries.collect::<Result<_, _>>().unwrap()
    };
    let kept = |world: &World| listed(world, None, true);
    for _ in 0..3 {
        fill(&mut world);
        world.pass(HOUR * 2);
        assert_eq!(kept(&world), entries);
        world.check(3);
    }
    assert!(world.journal.first_lsn() > first + 1, "its record is gone");
    let newest_first = listed(&world, Some(entries[2].id), false);
    assert_eq!(newest_first, [entries[1].clone(), entries[0].clone()]);
    world.now = entries[1].at.plus(HOUR * 24).plus(Duration::from_millis(1));
    world.pass(Duration::ZERO);
    assert_eq!(kept(&world), entries[2..]);
    world.check(3);
    world.pass(HOUR);
    assert_eq!(kept(&world), []);
    world.check(3);
}

/// Who ends a delivery first has ended it.
#[test]
fn an_attempt_that_was_out_when_its_delivery_ended_is_logged_and_ends_nothing() {
    let due = START.plus(HOUR);
    for end in [Stage::Cancelled, Stage::Expired] {
        for met in [Stage::Delivered, Stage::Failed, Stage::Scheduled { due }] {
            let mut world = World::new(kept_for_an_hour());
            world.append(&[put(1)]);
            let event = world.new_event(&[endpoint(1)]);
            let key = DeliveryKey::new(world.append(&[Record::EventAccepted(event)]), 0);
            let (keys, at) = (vec![key], world.now);
            world.append(&[Record::DeliveriesEnded(DeliveriesEnded { keys, at, stage: end })]);
            world.now = world.now.plus(Duration::from_secs(9));
            let attempt = world.settle(key, met);
            let delivery = world.store.delivery(key).unwrap().unwrap();
            assert_eq!((delivery.stage, delivery.settled_at), (end, Some(at)), "{met:?}");
            assert_eq!(
                (delivery.attempts, delivery.last.map(|last| last.lsn)),
                (1, Some(attempt))
            );
            assert!(world.store.attempt(attempt).unwrap().is_some());
            let mut counts = world.store.tally(endpoint(1)).unwrap().deliveries;
            assert_eq!((*counts.of(end), counts.attempts), (1, 1));
            assert_eq!((counts.delivered, counts.failed, counts.scheduled), (0, 0, 0));
            world.check(3);
            // A person may want it all the same.
            let (keys, due) = (vec![key], world.now);
            world.append(&[Record::DeliveriesRetried(DeliveriesRetried { keys, due })]);
            world.settle(key, Stage::Delivered);
            let delivery = world.store.delivery(key).unwrap().unwrap();
            assert_eq!(delivery.stage, Stage::Delivered);
            world.check(3);
        }
    }
}

/// Version 1 of the record was applied by another rule, and is for ever: what is made from an old journal is what was.
#[test]
fn a_success_in_a_record_of_version_1_still_ends_what_had_ended() {
    let mut world = World::new(kept_for_an_hour());
    world.append(&[put(1)]);
    let event = world.new_event(&[endpoint(1)]);
    let key = DeliveryKey::new(world.append(&[Record::EventAccepted(event)]), 0);
    let (keys, at, stage) = (vec![key], world.now, Stage::Cancelled);
    world.append(&[Record::DeliveriesEnded(DeliveriesEnded { keys, at, stage })]);
    world.now = world.now.plus(Duration::from_secs(9));
    let delivery = world.store.delivery(key).unwrap().unwrap();
    let settled = attempt(&delivery, world.now, Stage::Delivered);
    let ended_at = settled.ended_at();
    let mut draft = codec::encode(&Record::AttemptSettled(settled)).unwrap();
    draft.version = 1;
    // Version 1 has no detail behind the attempt: here the eight bytes of an empty one's length.
    draft.body.truncate(draft.body.len() - 8);
    world.append_drafts(vec![draft]);
    let delivery = world.store.delivery(key).unwrap().unwrap();
    assert_eq!(
        (delivery.stage, delivery.settled_at),
        (Stage::Delivered, Some(ended_at))
    );
    world.check(3);
}

#[test]
fn a_held_delivery_ends_as_expired_after_the_retention_and_not_before() {
    let mut world = World::new(kept_for_an_hour());
    world.append(&[put(1), put(2)]);
    let event = world.new_event(&[endpoint(1), endpoint(2)]);
    let lsn = world.append(&[Record::EventAccepted(event)]);
    let mut later = world.new_event(&[endpoint(1)]);
    later.due = START.plus(HOUR * 100);
    let later = world.append(&[Record::EventAccepted(later)]);
    world.inactive = vec![endpoint(1)];
    world.pass(HOUR - Duration::from_secs(1));
    assert_eq!(world.scheduled(endpoint(1)), 2);
    world.pass(Duration::from_secs(2));
    let delivery = |world: &World, key| world.store.delivery(key).unwrap().unwrap();
    let ended = delivery(&world, DeliveryKey::new(lsn, 0));
    assert_eq!((ended.stage, ended.settled_at), (Stage::Expired, Some(world.now)));
    assert_eq!(
        world.reclaimer.take_expired().into_iter().collect::<Vec<_>>(),
        [(endpoint(1), 1)]
    );
    assert!(world.reclaimer.take_expired().is_empty());
    let active = delivery(&world, DeliveryKey::new(lsn, 1));
    assert!(!active.stage.is_final(), "an active endpoint gets it yet");
    let delayed = delivery(&world, DeliveryKey::new(later, 0));
    assert!(!delayed.stage.is_final(), "what is not due is not held");
    world.check(10);
}

#[test]
fn a_clock_that_leaps_ends_nothing_that_is_held_and_forgets_nothing() {
    let mut world = World::new(kept_for_an_hour());
    world.append(&[put(1)]);
    let mut event = world.new_event(&[endpoint(1)]);
    event.idempotency_key = Some("once".to_owned());
    let tenant = event.tenant.clone();
    let held = world.append(&[Record::EventAccepted(event)]);
    let settled = world.delivered(&[endpoint(2)]);
    let remembered = |world: &World| {
        world
            .store
            .idempotency(tenant.as_ref(), "once")
            .unwrap()
            .is_some()
    };
    world.inactive = vec![endpoint(1)];
    fill(&mut world);
    world.pass(WINDOW / 2);
    world.leap(HOUR * 24 * 3650);
    fill(&mut world);
    world.pass(WINDOW / 4);
    assert_eq!(world.scheduled(endpoint(1)), 1);
    assert!(remembered(&world));
    assert!(world.store.event(settled).unwrap().is_some());
    let attempts = world.store.count(keys::ATTEMPT).unwrap();
    assert!(attempts > 0);
    // Of all of them only the time counts that has passed.
    world.pass(WINDOW / 2);
    assert!(!remembered(&world));
    world.pass(HOUR - WINDOW * 5 / 4 + Duration::from_secs(1));
    let delivery = world.store.delivery(DeliveryKey::new(held, 0)).unwrap();
    assert!(delivery.is_none_or(|delivery| delivery.stage == Stage::Expired));
    assert!(world.store.event(settled).unwrap().is_none());
    world.check(10);
}

/// A replay is as old as the wish for it, not as its event.
#[test]
fn a_held_replay_of_an_old_event_is_held_from_the_replay_on() {
    let mut world = World::new(kept_for_an_hour());
    world.append(&[put(1)]);
    let lsn = world.delivered(&[endpoint(1)]);
    world.inactive = vec![endpoint(1)];
    world.now = world.now.plus(HOUR * 3);
    let replayed = EventReplayed {
        event: lsn,
        due: world.now,
        fan_out: vec![endpoint(1)],
    };
    world.append(&[Record::EventReplayed(replayed)]);
    world.pass(HOUR / 2);
    assert_eq!(world.scheduled(endpoint(1)), 1);
    world.pass(HOUR);
    assert_eq!(world.scheduled(endpoint(1)), 0);
    world.check(10);
}

#[test]
fn of_too_much_that_is_held_the_oldest_ends() {
    let mut world = World::new(Retention {
        max_held_bytes: 20_000,
        ..kept_for_an_hour()
    });
    world.inactive = vec![endpoint(1), endpoint(2)];
    let mut keys = Vec::new();
    for number in 0..200_u32 {
        let id = format!("held-{number}");
        let event = accepted(&id, world.now, &[endpoint(1 + u8::try_from(number % 2).unwrap())]);
        let lsn = world.append(&[Record::EventAccepted(event)]);
        keys.push(DeliveryKey::new(lsn, 0));
    }
    world.pass(Duration::from_secs(10));
    let stages: Vec<bool> = keys
        .iter()
        .map(|key| world.store.delivery(*key).unwrap().unwrap().stage.is_final())
        .collect();
    let ended = stages.iter().filter(|ended| **ended).count();
    assert!(
        stages[..ended].iter().all(|ended| *ended),
        "the oldest: {stages:?}"
    );
    let held: u64 = keys[ended..]
        .iter()
        .map(|key| u64::from(world.store.event(key.lsn).unwrap().unwrap().place.len))
        .sum();
    assert!(held <= 20_000 && held > 15_000, "{held}");
}

#[test]
fn attempts_go_before_their_events_when_they_are_to() {
    let mut world = World::new(Retention {
        attempts: HOUR / 4,
        ..kept_for_an_hour()
    });
    let lsn = world.delivered(&[endpoint(1)]);
    world.pass(HOUR / 2);
    assert_eq!(world.store.count(keys::ATTEMPT).unwrap(), 0);
    let delivery = world.store.delivery(DeliveryKey::new(lsn, 0)).unwrap().unwrap();
    assert!(
        delivery.last.is_some(),
        "what came of the last one stays with the delivery"
    );
    assert_eq!(world.store.totals().unwrap().deliveries.attempts, 1);
    world.check(1);
}

/// Defect of other disk queues: counts that were taken down for what was not there go below zero after a recovery.
#[test]
fn counters_never_underflow_after_recovery() {
    let mut world = World::new(kept_for_an_hour());
    world.append(&[put(1)]);
    let event = world.new_event(&[endpoint(1); 3]);
    let waiting = world.append(&[Record::EventAccepted(event)]);
    fill(&mut world);
    world.pass(HOUR * 2);
    // In a rebuild these meet rows that were carried, and never counted there.
    for index in 0..3 {
        world.settle(DeliveryKey::new(waiting, index), Stage::Delivered);
    }
    for batch in [1, 2, 1000] {
        world.check(batch);
    }
    world.restart();
    let counts = world.store.totals().unwrap().deliveries;
    assert_eq!(counts.scheduled, 0);
    assert!(counts.delivered < 1_000_000, "{counts:?}");
    world.check(1);
}
