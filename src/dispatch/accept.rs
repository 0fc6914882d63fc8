//! Accepting: one record, event and fan-out together, durable before the answer.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{
    codec,
    engine::{Engine, Shared, refused},
    error::EngineError,
    view::Accepted,
};
use crate::{
    domain::{
        budget::Budget,
        event::NewEvent,
        id::{EndpointId, EventId},
        limits, operational,
        record::{EventAccepted, Record},
        time::Timestamp,
    },
    runtime::work_pool::{Owner, pass},
    storage::local::index::{Store, StoreError, rows::EventRow},
    storage::{
        KnownEvent, StorageError,
        local::{
            claims::{Claim, Reserve},
            journal::Draft,
        },
    },
    telemetry::metrics,
};

impl Engine {
    /// What the events of one request may spend on conditions.
    pub const fn request_budget() -> Budget {
        Budget::new(limits::REQUEST_CONDITIONS_BUDGET)
    }

    /// Accepts an event. Durable when it answers.
    ///
    /// # Errors
    /// `Invalid` and `Faults` name a member at fault; `DifferentContent` when the id or key was used before for something else;
    /// `Busy`, `DiskFull`, `Short`, `Rebuilding` and `Stopping` are worth another try.
    ///
    /// # Cancel safety
    /// A caller that stops waiting may have been too late: the event may be accepted all the same. With an id of its
    /// own, sending it again tells.
    pub async fn accept(
        &self,
        event: NewEvent,
        idempotency_key: Option<String>,
    ) -> Result<Accepted, EngineError> {
        if let Some(key) = &idempotency_key {
            check_key(key)?;
        }
        let mut event = event;
        let mut open = loop {
            match self.0.prepare(event, idempotency_key.clone())? {
                Prepared::Known(accepted) => return Ok(accepted),
                Prepared::New(open) => break vec![*open],
                Prepared::Wait(again, changed) => {
                    wait(&changed).await;
                    event = *again;
                }
            }
        };
        let answers = self.commit(&mut open, &Self::request_budget()).await;
        answers.into_iter().next().unwrap_or(Err(EngineError::Stopping))
    }

    /// Examines what is open, and commits what is to be accepted of it.
    async fn commit(&self, open: &mut Vec<Open>, request: &Budget) -> Vec<Result<Accepted, EngineError>> {
        let examined = self.0.examine(std::mem::take(open), request).await;
        let mut answers = Vec::with_capacity(examined.len());
        let (mut new, mut places) = (
            Vec::with_capacity(examined.len()),
            Vec::with_capacity(examined.len()),
        );
        for (examined, place) in examined.into_iter().zip(0..) {
            answers.push(match examined {
                Ok(Examined::Known(accepted)) => Some(Ok(accepted)),
                Ok(Examined::New(open)) => {
                    new.push(*open);
                    places.push(place);
                    None
                }
                Err(error) => Some(Err(error)),
            });
        }
        settle(&mut answers, &places, self.append(new).await);
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or(Err(EngineError::Stopping)))
            .collect()
    }

    /// Commits what was examined. Events with an id of their own go on to their end even when the caller stops waiting:
    /// until the journal has answered, nobody else may be told that the id is free.
    async fn append(&self, open: Vec<Open>) -> Vec<Result<Accepted, EngineError>> {
        if open.iter().all(|open| open.claims.is_empty()) {
            return self.0.commit(open).await;
        }
        let (shared, count) = (self.0.clone(), open.len());
        let committed = self
            .0
            .committing
            .spawn(async move { shared.commit(open).await })
            .await;
        committed.unwrap_or_else(|_| (0..count).map(|_| Err(EngineError::Stopping)).collect())
    }

    /// Accepts events of one request in groups; answers each, in order.
    pub async fn accept_all(
        &self,
        events: Vec<NewEvent>,
        request: &Budget,
    ) -> Vec<Result<Accepted, EngineError>> {
        let mut answers: Vec<Option<Result<Accepted, EngineError>>> = Vec::with_capacity(events.len());
        let mut open: Vec<Open> = Vec::with_capacity(events.len());
        let mut places: Vec<usize> = Vec::with_capacity(events.len());
        for (event, place) in events.into_iter().zip(0..) {
            let mut event = event;
            loop {
                match self.0.prepare(event, None) {
                    Err(error) => answers.push(Some(Err(error))),
                    Ok(Prepared::Known(accepted)) => answers.push(Some(Ok(accepted))),
                    Ok(Prepared::New(new)) => {
                        answers.push(None);
                        open.push(*new);
                        places.push(place);
                    }
                    Ok(Prepared::Wait(again, changed)) => {
                        // The id may be held by an earlier event of this very batch, or by a batch that waits for one
                        // of ours: nobody waits while holding.
                        settle(&mut answers, &places, self.commit(&mut open, request).await);
                        places.clear();
                        wait(&changed).await;
                        event = *again;
                        continue;
                    }
                }
                break;
            }
        }
        settle(&mut answers, &places, self.commit(&mut open, request).await);
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or(Err(EngineError::Stopping)))
            .collect()
    }
}

/// Between looks at an id that another caller has under way.
const WAIT: Duration = Duration::from_millis(20);

fn settle(
    answers: &mut [Option<Result<Accepted, EngineError>>],
    places: &[usize],
    committed: Vec<Result<Accepted, EngineError>>,
) {
    for (place, answer) in places.iter().zip(committed) {
        if let Some(slot) = answers.get_mut(*place) {
            *slot = Some(answer);
        }
    }
}

fn check_key(key: &str) -> Result<(), EngineError> {
    let fits = (1..=limits::IDEMPOTENCY_KEY_BYTES).contains(&key.len());
    if fits && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(EngineError::Invalid {
        field: "Idempotency-Key".to_owned(),
        rule: "use 1 to 256 visible ASCII characters".to_owned(),
    })
}

enum Prepared {
    Known(Accepted),
    New(Box<Open>),
    /// Another caller has an id of it under way: wait, holding nothing, then try again.
    Wait(Box<NewEvent>, Arc<Notify>),
}

/// Waits for another caller's answer. A wake-up that comes before the wait is lost; the next look makes up for it.
pub(super) async fn wait(changed: &Notify) {
    _ = tokio::time::timeout(WAIT, changed.notified()).await;
}

/// What an open event turned out to be.
enum Examined {
    Known(Accepted),
    New(Box<Open>),
}

/// What a used claim is called, and the event that it stands for.
type Used = Option<(&'static str, EventRow)>;

/// An event that is about to be appended; its claims are freed if that does not come about.
struct Open {
    shared: Arc<Shared>,
    claims: Vec<Claim>,
    record: EventAccepted,
    /// Its type is deprecated.
    deprecated: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.claims.is_empty() {
            self.shared.local.claims.give_up(&self.claims);
        }
    }
}

impl Shared {
    fn prepare(self: &Arc<Self>, event: NewEvent, key: Option<String>) -> Result<Prepared, EngineError> {
        if self.stopping.is_cancelled() {
            return Err(EngineError::Stopping);
        }
        let (now, wall) = self.clock.now_and_shown();
        event.check(wall)?;
        if operational::is_reserved(&event.event_type) {
            return Err(EngineError::Invalid {
                field: "type".to_owned(),
                rule: operational::RULE.to_owned(),
            });
        }
        let hash = event.content_hash();
        let claims = claims_of(&event, key.as_deref());
        if !claims.is_empty() {
            // Whether an id was used before is known only to a store that has caught up. A full disk may be why there
            // is none, and is what a caller can do something about.
            self.storage.get().map_err(|error| match error {
                StorageError::NotReady if self.journal.is_full() => EngineError::DiskFull,
                other => other.into(),
            })?;
            match self.local.claims.reserve(&claims, hash) {
                Reserve::First => {}
                Reserve::Known(known) => {
                    metrics::event_duplicate();
                    return Ok(Prepared::Known(self.known(known.into())));
                }
                Reserve::Different(what) => return Err(EngineError::DifferentContent(what)),
                Reserve::Wait(changed) => return Ok(Prepared::Wait(Box::new(event), changed)),
            }
        }
        Ok(Prepared::New(Box::new(Open {
            shared: self.clone(),
            claims,
            record: self.record_for(event, hash, key, now, Vec::new()),
            deprecated: false,
        })))
    }

    /// Looks at what may take time: whether the ids were used before, the data, the conditions of endpoints.
    async fn examine(&self, open: Vec<Open>, request: &Budget) -> Vec<Result<Examined, EngineError>> {
        let used = match self.used(&open).await {
            Ok(used) => used,
            Err(error) => return open.iter().map(|_| Err(again(&error))).collect(),
        };
        let mut examined = Vec::with_capacity(open.len());
        for (open, used) in open.into_iter().zip(used) {
            examined.push(match used {
                None => self.examined(open, request).await,
                Some((_, row)) if row.content_hash == open.record.content_hash => {
                    metrics::event_duplicate();
                    Ok(Examined::Known(self.known(answer(&row))))
                }
                Some((what, _)) => Err(EngineError::DifferentContent(what)),
            });
        }
        examined
    }

    /// What is new. What was accepted before is so whatever its type's schema says today.
    async fn examined(&self, mut open: Open, request: &Budget) -> Result<Examined, EngineError> {
        open.deprecated = self.check_data(&open.record).await?;
        open.record.fan_out = self.fan_out(&open.record, request).await?;
        open.stamp(self.clock.now(), self.options.idempotency_window);
        Ok(Examined::New(Box::new(open)))
    }

    /// For each open event, what its claims stand for when they were used before and are still remembered. Whether an id was
    /// used is known to the disk, which is not waited for here.
    async fn used(&self, open: &[Open]) -> Result<Vec<Used>, EngineError> {
        let Some(first) = open.iter().find(|open| !open.claims.is_empty()) else {
            return Ok(open.iter().map(|_| None).collect());
        };
        let store = self.storage.get()?;
        let owner = Owner::request(first.record.tenant.clone());
        let over = self.clock.over(self.options.idempotency_window);
        let asked: Vec<_> = open.iter().map(|open| open.claims.clone()).collect();
        let looking = async move {
            let mut found = Vec::with_capacity(asked.len());
            for claims in asked {
                found.push(used_before(&store, &claims, over)?);
                pass().await;
            }
            Ok(found)
        };
        let found: Result<_, StoreError> = self.work.run(owner, looking).await?;
        found.map_err(|error| self.storage.failure(error).into())
    }

    fn known(&self, accepted: Accepted) -> Accepted {
        let deprecated = self.event_types.is_deprecated(&accepted.event_type);
        Accepted {
            deprecated,
            ..accepted
        }
    }

    pub(super) fn record_for(
        &self,
        event: NewEvent,
        content_hash: [u8; 16],
        idempotency_key: Option<String>,
        now: Timestamp,
        fan_out: Vec<EndpointId>,
    ) -> EventAccepted {
        EventAccepted {
            id: event
                .id
                .unwrap_or_else(|| EventId::generate(now, fastrand::u128(..))),
            event_type: event.event_type,
            tenant: event.tenant,
            channel: event.channel,
            ordering_key: event.ordering_key,
            accepted_at: now,
            occurred_at: event.occurred_at.unwrap_or_else(|| self.clock.shown(now)),
            due: event.deliver_at.map_or(now, |at| self.clock.to_come(at).max(now)),
            expires_at: event.expires_at.map(|at| self.clock.to_come(at)),
            attributes: event.attributes,
            content_hash,
            idempotency_key,
            idempotency_until: now.plus(self.options.idempotency_window),
            fan_out,
            notice_for: None,
            payload: event.payload,
        }
    }

    /// Appends what is open, as one group, and answers each.
    async fn commit(&self, open: Vec<Open>) -> Vec<Result<Accepted, EngineError>> {
        if open.is_empty() {
            return Vec::new();
        }
        let drafts: Result<Vec<Draft>, _> = open
            .iter()
            .map(|open| codec::encode(&Record::EventAccepted(open.record.clone())))
            .collect();
        let appended = match drafts {
            Err(error) => Err(EngineError::Storage(Box::new(error))),
            Ok(drafts) => self.journal.append(drafts).await.map_err(refused),
        };
        match appended {
            Ok(durable) => {
                metrics::events_accepted(open.len() as u64);
                let first = durable.first;
                open.into_iter()
                    .zip(first..)
                    .map(|(open, lsn)| Ok(open.accepted(self, lsn)))
                    .collect()
            }
            Err(error) => open.iter().map(|_| Err(again(&error))).collect(),
        }
    }
}

impl Open {
    /// Sets the time at which it is accepted, which is after its conditions were asked: records lie in the order of
    /// their times.
    fn stamp(&mut self, now: Timestamp, idempotency_window: Duration) {
        let record = &mut self.record;
        record.due = match record.due > record.accepted_at {
            true => record.due.max(now),
            false => now,
        };
        record.accepted_at = now;
        record.idempotency_until = now.plus(idempotency_window);
    }

    fn accepted(mut self, shared: &Shared, lsn: u64) -> Accepted {
        let accepted = Accepted {
            id: self.record.id.clone(),
            event_type: self.record.event_type.clone(),
            deliveries: u32::try_from(self.record.fan_out.len()).unwrap_or(u32::MAX),
            duplicate: false,
            deprecated: self.deprecated,
        };
        if self.deprecated {
            metrics::event_deprecated();
        }
        let claims = std::mem::take(&mut self.claims);
        if !claims.is_empty() {
            let known = KnownEvent {
                sequence: lsn,
                id: accepted.id.clone(),
                event_type: accepted.event_type.clone(),
                deliveries: accepted.deliveries,
            };
            shared.local.claims.answer(claims, lsn, &known);
        }
        accepted
    }
}

/// The same refusal once more, for another event of the same group.
fn again(error: &EngineError) -> EngineError {
    match error {
        EngineError::Busy(why) => EngineError::Busy(why),
        EngineError::DiskFull => EngineError::DiskFull,
        EngineError::Rebuilding => EngineError::Rebuilding,
        EngineError::Short => EngineError::Short,
        EngineError::Invalid { field, rule } => EngineError::Invalid {
            field: field.clone(),
            rule: rule.clone(),
        },
        EngineError::Storage(source) => EngineError::Storage(super::error::chain(&**source).into()),
        _ => EngineError::Stopping,
    }
}

/// The event that one of the claims stands for, when it was used before and is still remembered: keys are forgotten whose end
/// is not after `over`.
fn used_before(store: &Store, claims: &[Claim], over: Timestamp) -> Result<Used, StoreError> {
    for claim in claims {
        let row = match claim {
            Claim::EventId(tenant, id) => store.event_of(tenant.as_ref(), id)?.map(|(_, row)| row),
            Claim::IdempotencyKey(tenant, key) => store
                .idempotency(tenant.as_ref(), key)?
                .filter(|(remembered, _)| remembered.until > over)
                .map(|(_, row)| row),
        };
        if let Some(row) = row {
            return Ok(Some((claim.name(), row)));
        }
    }
    Ok(None)
}

/// What must be nobody else's: the id and the key that an event comes with.
fn claims_of(event: &NewEvent, key: Option<&str>) -> Vec<Claim> {
    let tenant = || event.tenant.clone();
    let id = event.id.clone().map(|id| Claim::EventId(tenant(), id));
    let key = key.map(|key| Claim::IdempotencyKey(tenant(), key.to_owned()));
    id.into_iter().chain(key).collect()
}

impl From<KnownEvent> for Accepted {
    fn from(known: KnownEvent) -> Self {
        Self {
            id: known.id,
            event_type: known.event_type,
            deliveries: known.deliveries,
            duplicate: true,
            deprecated: false,
        }
    }
}

fn answer(row: &EventRow) -> Accepted {
    Accepted {
        id: row.id.clone(),
        event_type: row.event_type.clone(),
        deliveries: row.deliveries,
        duplicate: true,
        deprecated: false,
    }
}
