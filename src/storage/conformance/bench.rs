//! A subject at work.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Recorder, Subject,
    parts::{FAR, START, endpoint, unnamed},
};
use crate::{
    domain::{
        audit::{AuditEntry, AuditFilter},
        configuration::ConfigChange,
        delivery::Delivery,
        endpoint::Standing,
        health::Health,
        id::{DeliveryKey, Lsn},
        record::{AttemptSettled, EventAccepted},
    },
    storage::{
        AcceptEvent, Acceptance, Change, Configuration, Effect, Outcome, Storage, StorageError,
        schedule::{DueDelivery, Entry, FRONT, Portion, ScheduleAnswer, ScheduleRead},
        stored::StoredEndpoint,
    },
};

/// More than any rule schedules.
const ALL: usize = 10_000;

/// A subject that is open.
pub(super) struct Bench<S> {
    pub subject: S,
    pub storage: Arc<dyn Storage>,
    pub host: Arc<Recorder>,
}

impl<S: Subject> Bench<S> {
    pub async fn open() -> Self {
        Self::begin(S::new()).await
    }

    async fn begin(mut subject: S) -> Self {
        let host = Arc::new(Recorder::default());
        let storage = subject.open(host.clone());
        host.until(is_ready).await;
        Self {
            subject,
            storage,
            host,
        }
    }

    pub async fn audit_log(&self) -> Vec<AuditEntry> {
        let page = self.storage.audit_entries(AuditFilter::default(), None, true, 9);
        page.await.unwrap().entries
    }

    /// The process is killed, and another begins.
    pub async fn crash(self) -> Self {
        let Self {
            mut subject, storage, ..
        } = self;
        drop(storage);
        subject.kill().await;
        Self::begin(subject).await
    }

    pub async fn try_accept(&self, event: AcceptEvent) -> Result<Acceptance, StorageError> {
        let mut answers = self.storage.accept_events(vec![event], START).await;
        assert_eq!(answers.len(), 1, "one answer for one event");
        answers.remove(0)
    }

    /// Accepts an event without an id of its own, and waits until its deliveries are told of; answers its sequence.
    pub async fn accept(&self, event: EventAccepted) -> Lsn {
        let count = event.fan_out.len();
        let Acceptance::New(sequence) = self.try_accept(unnamed(event)).await.unwrap() else {
            panic!("an event without an id is new");
        };
        self.until_due(sequence, count).await;
        sequence
    }

    /// Waits until so many deliveries are told of as scheduled.
    pub async fn until_due(&self, sequence: Lsn, count: usize) {
        for index in (0..).take(count) {
            self.until_told_due(DeliveryKey::new(sequence, index)).await;
        }
    }

    /// Waits until a delivery is told of as scheduled.
    pub async fn until_told_due(&self, wanted: DeliveryKey) {
        let is_it = |effect: &Effect| matches!(effect, Effect::Due { entry, .. } if entry.at.1 == wanted);
        self.host.until_effect(is_it).await;
    }

    /// Waits until reads show all that was accepted and recorded before.
    pub async fn catch_up(&self) {
        self.storage.totals().await.unwrap();
    }

    /// Records attempts, and waits until their verdicts are told of.
    pub async fn settle(&self, attempts: &[AttemptSettled]) {
        let outcomes: Vec<Outcome> = attempts.iter().cloned().map(Outcome::attempt).collect();
        self.storage.record_outcomes(&outcomes).await.unwrap();
        for attempt in attempts {
            let Some(wanted) = attempt.delivery else { continue };
            let is_it = |effect: &Effect| matches!(effect, Effect::Settled { key, number, .. } if (*key, *number) == (wanted, attempt.number));
            self.host.until_effect(is_it).await;
        }
    }

    pub async fn save(&self, changes: Vec<ConfigChange>) {
        self.storage.save_configuration(changes).await.unwrap();
    }

    pub async fn read(&self, read: ScheduleRead) -> ScheduleAnswer {
        self.storage.read_schedules(read).await.unwrap()
    }

    /// An endpoint's whole schedule.
    pub async fn schedule(&self, number: u8) -> Vec<DueDelivery> {
        let read = ScheduleRead {
            due: vec![whole(number)],
            now: FAR,
            ..ScheduleRead::default()
        };
        self.read(read).await.due.remove(0).deliveries
    }

    pub async fn entries(&self, number: u8) -> Vec<Entry> {
        let read = ScheduleRead {
            entries: vec![whole(number)],
            ..ScheduleRead::default()
        };
        self.read(read).await.entries.remove(0).entries
    }

    /// The one delivery that an endpoint has scheduled.
    pub async fn only(&self, number: u8) -> Delivery {
        let schedule = self.schedule(number).await;
        assert_eq!(schedule.len(), 1, "{schedule:?}");
        schedule[0].delivery
    }

    pub async fn keys(&self, number: u8) -> Vec<DeliveryKey> {
        let schedule = self.schedule(number).await;
        schedule.iter().map(|row| row.delivery.key).collect()
    }

    pub async fn health(&self, number: u8) -> Health {
        let read = ScheduleRead {
            health: vec![endpoint(number)],
            ..ScheduleRead::default()
        };
        self.read(read).await.health.remove(0)
    }

    pub async fn attempts(&self, key: DeliveryKey) -> Option<u32> {
        self.storage.attempts_recorded(vec![key]).await.unwrap().remove(0)
    }

    /// An endpoint as it was told of last.
    pub fn endpoint(&self, number: u8) -> Option<StoredEndpoint> {
        self.host.told(|told| last_row(told, number))
    }

    pub fn standing(&self, number: u8) -> Standing {
        self.endpoint(number).unwrap().standing
    }

    /// The configuration as it was told last when everything could be read.
    pub fn configuration(&self) -> BTreeMap<String, String> {
        self.host.told(|told| {
            let configured = told.iter().rev().find_map(|change| match change {
                Change::Configured(configuration) => Some(configuration),
                _ => None,
            });
            described(configured.unwrap())
        })
    }
}

/// All that is configured, by its name.
fn described(configuration: &Configuration) -> BTreeMap<String, String> {
    let endpoints = configuration.endpoints.iter();
    let endpoints = endpoints.map(|(id, row)| (id.to_string(), format!("{row:?}")));
    let keys = configuration.api_keys.iter();
    let keys = keys.map(|key| (key.id.to_string(), format!("{key:?}")));
    let types = configuration.event_types.iter();
    let types = types.map(|declared| {
        (
            declared.declaration.event_type.to_string(),
            format!("{declared:?}"),
        )
    });
    endpoints.chain(keys).chain(types).collect()
}

/// When everything can be read, after a reset that no suspension follows.
fn is_ready(told: &[Change]) -> Option<()> {
    let last = told
        .iter()
        .rev()
        .find(|change| matches!(change, Change::Reset | Change::Suspended));
    matches!(last, Some(Change::Reset)).then_some(())
}

fn last_row(told: &[Change], number: u8) -> Option<StoredEndpoint> {
    let of = |rows: &[(crate::domain::id::EndpointId, StoredEndpoint)]| {
        let row = rows.iter().find(|(id, _)| *id == endpoint(number));
        row.map(|(_, row)| row.clone())
    };
    told.iter().rev().find_map(|change| match change {
        Change::Applied(applied) => of(&applied.endpoints),
        Change::Configured(configuration) => of(&configuration.endpoints),
        Change::Suspended | Change::Reset | Change::HeldExpired(_) => None,
    })
}

/// All of an endpoint's schedule.
pub(super) const fn whole(number: u8) -> Portion {
    Portion {
        endpoint: endpoint(number),
        from: FRONT,
        limit: ALL,
    }
}
