//! What memory storage does as a database at the other end of a network.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{MemoryStorage, Remote};
use crate::{
    domain::{
        event::Payload,
        id::{DeliveryKey, EndpointId},
        record::EventAccepted,
        time::Timestamp,
    },
    storage::{
        AcceptEvent, Acceptance, Change, Effect, Events, Host, StorageError,
        schedule::{FRONT, Portion, Schedule, ScheduleRead},
    },
};

const AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const ENDPOINT: EndpointId = EndpointId::from_bytes([1; 16]);

/// What was told, in short.
#[derive(Default)]
struct Told(Mutex<Vec<Saw>>);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Saw {
    Configured,
    Reset,
    Suspended,
    Due(DeliveryKey),
}

impl Host for Told {
    fn changed(&self, change: Change) {
        let saw = match change {
            Change::Configured(_) => vec![Saw::Configured],
            Change::Reset => vec![Saw::Reset],
            Change::Suspended => vec![Saw::Suspended],
            Change::Applied(applied) => applied.effects.iter().filter_map(due).collect(),
            Change::HeldExpired(_) => Vec::new(),
        };
        self.0.lock().unwrap().extend(saw);
    }

    fn now(&self) -> Timestamp {
        AT
    }

    fn ago(&self, span: Duration) -> Timestamp {
        AT.minus(span)
    }

    fn over(&self, span: Duration) -> Timestamp {
        AT.minus(span)
    }

    fn inactive(&self) -> Vec<EndpointId> {
        Vec::new()
    }
}

const fn due(effect: &Effect) -> Option<Saw> {
    match effect {
        Effect::Due { entry, .. } => Some(Saw::Due(entry.at.1)),
        _ => None,
    }
}

impl Told {
    fn all(&self) -> Vec<Saw> {
        self.0.lock().unwrap().clone()
    }
}

fn open(remote: Remote) -> (Arc<MemoryStorage>, Arc<Told>) {
    let (storage, told) = (MemoryStorage::new(remote), Arc::new(Told::default()));
    storage.attach(told.clone());
    (storage, told)
}

fn event(name: usize) -> AcceptEvent {
    AcceptEvent {
        has_own_id: true,
        event: EventAccepted {
            id: format!("e{name}").parse().unwrap(),
            event_type: "a".parse().unwrap(),
            tenant: None,
            channel: None,
            ordering_key: None,
            accepted_at: AT,
            occurred_at: AT,
            due: AT,
            expires_at: None,
            attributes: Default::default(),
            content_hash: [0; 16],
            idempotency_key: None,
            idempotency_until: AT,
            fan_out: vec![ENDPOINT],
            notice_for: None,
            payload: Payload {
                content_type: None,
                bytes: Bytes::from_static(b"1"),
            },
        },
    }
}

async fn accept(storage: &MemoryStorage, name: usize) -> Result<Acceptance, StorageError> {
    storage.accept_events(vec![event(name)], AT).await.remove(0)
}

async fn scheduled(storage: &MemoryStorage) -> usize {
    let portion = Portion {
        endpoint: ENDPOINT,
        from: FRONT,
        limit: 1000,
    };
    let read = ScheduleRead {
        due: vec![portion],
        now: AT,
        ..ScheduleRead::default()
    };
    storage.read_schedules(read).await.unwrap().due[0]
        .deliveries
        .len()
}

#[tokio::test(start_paused = true)]
async fn commits_that_overtake_each_other_are_told_in_the_order_in_which_they_arrive() {
    let (storage, told) = open(Remote {
        seed: 1,
        way_millis: 100,
        ..Remote::default()
    });
    let accepted = join_all((0..20).map(|name| accept(&storage, name))).await;
    assert!(accepted.iter().all(Result::is_ok));
    let keys: Vec<Saw> = told.all().split_off(2);
    assert_eq!(keys.len(), 20);
    assert!(!keys.is_sorted_by_key(|saw| match saw {
        Saw::Due(key) => key.lsn,
        other => panic!("{other:?}"),
    }));
}

/// Half of what is not answered was committed; whoever asks again learns which.
#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_not_answered_is_committed_or_not() {
    let (storage, _) = open(Remote {
        seed: 1,
        unknown_commits: 50,
        ..Remote::default()
    });
    let (mut stored, mut lost) = (0, 0);
    for name in 0..100 {
        let before = scheduled(&storage).await;
        match accept(&storage, name).await {
            Ok(Acceptance::New(_)) => assert_eq!(scheduled(&storage).await, before + 1),
            Err(StorageError::Unknown) if scheduled(&storage).await > before => stored += 1,
            Err(StorageError::Unknown) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(stored > 10 && lost > 10, "{stored} {lost}");
}

#[tokio::test(start_paused = true)]
async fn changes_that_are_not_told_of_are_followed_by_a_reset() {
    let (storage, told) = open(Remote {
        seed: 1,
        lost_changes: 50,
        refresh_millis: 1000,
        ..Remote::default()
    });
    for name in 0..20 {
        accept(&storage, name).await.unwrap();
    }
    let told_of = told.all().len() - 2;
    assert!((1..20).contains(&told_of), "{told_of}");
    let feed = storage.tell_late_changes();
    _ = tokio::time::timeout(Duration::from_secs(1), feed).await;
    assert_eq!(told.all()[told_of + 2..], [Saw::Configured, Saw::Reset]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_told_late_comes_before_the_next_one_that_is_told_at_once() {
    let (storage, told) = open(Remote {
        seed: 1,
        late_millis: 60_000,
        ..Remote::default()
    });
    let Ok(Acceptance::New(sequence)) = accept(&storage, 0).await else {
        panic!("it is new");
    };
    let key = DeliveryKey::new(sequence, 0);
    assert_eq!(told.all(), [Saw::Configured, Saw::Reset]);
    let retried = crate::domain::record::DeliveriesRetried {
        keys: vec![key],
        due: AT,
    };
    crate::storage::Deliveries::retry_deliveries(&*storage, retried)
        .await
        .unwrap();
    assert_eq!(told.all()[2..], [Saw::Due(key), Saw::Due(key)]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_not_answered_says_so() {
    let (storage, _) = open(Remote {
        seed: 1,
        failed_reads: 50,
        ..Remote::default()
    });
    let mut failed = 0;
    for _ in 0..100 {
        match storage.endpoints_with_work(None, 1).await {
            Ok(_) => {}
            Err(StorageError::TimedOut) => failed += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!((20..80).contains(&failed), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn while_nothing_can_be_read_only_what_claims_nothing_is_accepted() {
    let (storage, told) = open(Remote::default());
    storage.suspend();
    assert!(matches!(accept(&storage, 0).await, Err(StorageError::NotReady)));
    let unnamed = AcceptEvent {
        has_own_id: false,
        ..event(1)
    };
    let accepted = storage.accept_events(vec![unnamed], AT).await.remove(0);
    assert!(matches!(accepted, Ok(Acceptance::New(_))), "{accepted:?}");
    let read = storage.endpoints_with_work(None, 1).await;
    assert!(matches!(read, Err(StorageError::NotReady)), "{read:?}");
    assert_eq!(told.all(), [Saw::Configured, Saw::Reset, Saw::Suspended]);
    storage.resume();
    assert_eq!(told.all()[3..], [Saw::Configured, Saw::Reset]);
    assert_eq!(scheduled(&storage).await, 1);
}
