//! Accepting events: one record, event and fan-out together, durable before the answer.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{
    LocalStorage, Readers, ServedIndex,
    claims::{Claim, Claims, Reserve},
    codec,
    events::encode_failure,
    index::{Store, StoreError, rows::EventRow},
    journal::Journal,
};
use crate::{
    domain::{
        id::Lsn,
        record::{EventAccepted, Record},
        time::Timestamp,
    },
    storage::{AcceptEvent, Acceptance, Claimed, KnownEvent, StorageError},
};

/// Between looks at an id that another caller has under way.
const WAIT: Duration = Duration::from_millis(20);

/// What accepting takes; cheap to clone, so that it can go on when its caller has gone.
#[derive(Clone)]
pub(super) struct Accepting {
    pub journal: Journal,
    pub served: Arc<ServedIndex>,
    pub claims: Arc<Claims>,
    pub readers: Arc<Readers>,
}

/// An event that is to be appended, and its place among the answers.
struct Open {
    place: usize,
    reserved: Reserved,
    event: EventAccepted,
}

/// Claims that are reserved; they are freed when nothing comes of it.
struct Reserved {
    owner: Arc<Claims>,
    claims: Vec<Claim>,
}

impl Reserved {
    fn answer(mut self, known: &KnownEvent) {
        let claims = std::mem::take(&mut self.claims);
        if !claims.is_empty() {
            self.owner.answer(claims, known.sequence, known);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.claims.is_empty() {
            self.owner.give_up(&self.claims);
        }
    }
}

type Answer = Result<Acceptance, StorageError>;

impl LocalStorage {
    /// Accepts events. Those that claim something go on to their end when the caller stops waiting: until the journal has
    /// answered, nobody else may be told that the id is free.
    pub(super) async fn accept(&self, events: Vec<AcceptEvent>, keys_over: Timestamp) -> Vec<Answer> {
        let count = events.len();
        if !events.iter().any(claims_something) {
            return self.accepting.accept(events, keys_over).await;
        }
        let accepting = self.accepting.clone();
        let task = async move { accepting.accept(events, keys_over).await };
        let accepted = self.writing.spawn(task).await;
        accepted.unwrap_or_else(|_| (0..count).map(|_| Err(StorageError::Closed)).collect())
    }

    /// For each list of claims, the event that is known under one of them.
    pub(super) async fn known(
        &self,
        asked: Vec<Vec<Claim>>,
        keys_over: Timestamp,
    ) -> Result<Vec<Option<KnownEvent>>, StorageError> {
        let mut known: Vec<Option<KnownEvent>> = Vec::with_capacity(asked.len());
        for claims in &asked {
            let mut found = None;
            for claim in claims {
                found = found.or(self.accepting.held(claim).await);
            }
            known.push(found);
        }
        let used = self.accepting.look_up(asked, keys_over).await?;
        Ok(known
            .into_iter()
            .zip(used)
            .map(|(held, used)| held.or(used.map(|(_, known)| known)))
            .collect())
    }
}

const fn claims_something(event: &AcceptEvent) -> bool {
    event.has_own_id || event.event.idempotency_key.is_some()
}

/// What must be nobody else's: the id and the key that an event comes with.
fn claims_of(event: &AcceptEvent) -> Vec<Claim> {
    let AcceptEvent { event, has_own_id } = event;
    let tenant = || event.tenant.clone();
    let id = has_own_id.then(|| Claim::EventId(tenant(), event.id.clone()));
    let key = event.idempotency_key.clone();
    let key = key.map(|key| Claim::IdempotencyKey(tenant(), key));
    id.into_iter().chain(key).collect()
}

/// Waits for another caller's answer. A wake-up that comes before the wait is lost; the next look makes up for it.
async fn wait(changed: &Notify) {
    _ = tokio::time::timeout(WAIT, changed.notified()).await;
}

impl Accepting {
    async fn accept(&self, events: Vec<AcceptEvent>, keys_over: Timestamp) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = events.iter().map(|_| None).collect();
        let mut pending: Vec<(usize, AcceptEvent)> = (0..).zip(events).collect();
        while !pending.is_empty() {
            let (mut open, mut later, mut held) = (Vec::with_capacity(pending.len()), Vec::new(), None);
            for (place, event) in pending {
                match self.reserve(place, event) {
                    Ok(Reservation::First(reserved)) => open.push(reserved),
                    Ok(Reservation::Answered(acceptance)) => answers[place] = Some(Ok(acceptance)),
                    // Another caller has it under way, or an earlier event of this very call, which comes first.
                    Ok(Reservation::Held(event, changed)) => {
                        later.push((place, event));
                        held = Some(changed);
                    }
                    Err(error) => answers[place] = Some(Err(error)),
                }
            }
            // Nobody waits while holding.
            let was_first = !open.is_empty();
            let new = self.new_ones(open, keys_over, &mut answers).await;
            self.append(new, &mut answers).await;
            if let (false, Some(changed)) = (was_first, held) {
                wait(&changed).await;
            }
            pending = later;
        }
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or(Err(StorageError::Closed)))
            .collect()
    }

    /// The event that holds a claim, once it is durable.
    async fn held(&self, claim: &Claim) -> Option<KnownEvent> {
        loop {
            match self.claims.held(claim)? {
                Ok(known) => return Some(known),
                Err(changed) => wait(&changed).await,
            }
        }
    }

    fn reserve(&self, place: usize, event: AcceptEvent) -> Result<Reservation, StorageError> {
        let claims = claims_of(&event);
        if !claims.is_empty() {
            // Whether an id was used before is known only to an index that has caught up. A full disk may be why there is
            // none, and is what a caller can do something about.
            self.served.get().map_err(|error| match error {
                StorageError::NotReady if self.journal.is_full() => StorageError::Full,
                other => other,
            })?;
            match self.claims.reserve(&claims, event.event.content_hash) {
                Reserve::First => {}
                Reserve::Known(known) => return Ok(Reservation::Answered(Acceptance::Known(known))),
                Reserve::Different(what) => {
                    return Ok(Reservation::Answered(Acceptance::Different(what)));
                }
                Reserve::Wait(changed) => return Ok(Reservation::Held(event, changed)),
            }
        }
        let reserved = Reserved {
            owner: self.claims.clone(),
            claims,
        };
        Ok(Reservation::First(Open {
            place,
            reserved,
            event: event.event,
        }))
    }

    /// Those of which no claim was used before.
    async fn new_ones(
        &self,
        open: Vec<Open>,
        keys_over: Timestamp,
        answers: &mut [Option<Answer>],
    ) -> Vec<Open> {
        if open.iter().all(|open| open.reserved.claims.is_empty()) {
            return open;
        }
        let claims = open.iter().map(|open| open.reserved.claims.clone()).collect();
        let found = match self.look_up(claims, keys_over).await {
            Ok(found) => found,
            Err(error) => {
                open.iter()
                    .for_each(|open| answers[open.place] = Some(Err(error.clone())));
                return Vec::new();
            }
        };
        let mut new = Vec::with_capacity(open.len());
        for (open, found) in open.into_iter().zip(found) {
            match found {
                None => new.push(open),
                Some((_, known)) if known.content_hash == open.event.content_hash => {
                    answers[open.place] = Some(Ok(Acceptance::Known(known)));
                }
                Some((what, _)) => answers[open.place] = Some(Ok(Acceptance::Different(what))),
            }
        }
        new
    }

    /// For each list of claims, the event that one of them stands for in the index. The disk may have to be waited for.
    async fn look_up(
        &self,
        claims: Vec<Vec<Claim>>,
        keys_over: Timestamp,
    ) -> Result<Vec<Used>, StorageError> {
        let served = self.served.clone();
        let read = move |store: &Store| {
            let used = claims.iter().map(|claims| used_before(store, claims, keys_over));
            used.collect()
        };
        self.readers.run(move || served.read(read)).await
    }

    /// Appends what is open, as one group, and answers each.
    async fn append(&self, open: Vec<Open>, answers: &mut [Option<Answer>]) {
        if open.is_empty() {
            return;
        }
        let mut places = Vec::with_capacity(open.len());
        let mut drafts = Vec::with_capacity(open.len());
        for Open {
            place,
            reserved,
            event,
        } in open
        {
            let known = (!reserved.claims.is_empty()).then(|| known(0, &event));
            match codec::encode(&Record::EventAccepted(event)) {
                Ok(draft) => {
                    drafts.push(draft);
                    places.push((place, reserved, known));
                }
                Err(error) => answers[place] = Some(Err(encode_failure(error))),
            }
        }
        match self.journal.append(drafts).await {
            Ok(durable) => {
                for ((place, reserved, known), sequence) in places.into_iter().zip(durable.first..) {
                    if let Some(known) = known {
                        reserved.answer(&KnownEvent { sequence, ..known });
                    }
                    answers[place] = Some(Ok(Acceptance::New(sequence)));
                }
            }
            Err(error) => {
                for (place, ..) in places {
                    answers[place] = Some(Err(error.into()));
                }
            }
        }
    }
}

/// What became of a try to reserve what an event claims.
enum Reservation {
    First(Open),
    Answered(Acceptance),
    Held(AcceptEvent, Arc<Notify>),
}

/// What a used claim is called, and the event that it stands for.
type Used = Option<(Claimed, KnownEvent)>;

/// The event that one of the claims stands for, when it was used before and is still remembered.
fn used_before(store: &Store, claims: &[Claim], keys_over: Timestamp) -> Result<Used, StoreError> {
    for claim in claims {
        let found = match claim {
            Claim::EventId(tenant, id) => store.event_of(tenant.as_ref(), id)?,
            Claim::IdempotencyKey(tenant, key) => store
                .idempotency(tenant.as_ref(), key)?
                .filter(|(remembered, _)| remembered.until > keys_over)
                .map(|(remembered, row)| (remembered.event, row)),
        };
        if let Some((sequence, row)) = found {
            return Ok(Some((claim.kind(), known_row(sequence, row))));
        }
    }
    Ok(None)
}

fn known_row(sequence: Lsn, row: EventRow) -> KnownEvent {
    KnownEvent {
        sequence,
        id: row.id,
        event_type: row.event_type,
        content_hash: row.content_hash,
        deliveries: row.deliveries,
    }
}

fn known(sequence: Lsn, event: &EventAccepted) -> KnownEvent {
    KnownEvent {
        sequence,
        id: event.id.clone(),
        event_type: event.event_type.clone(),
        content_hash: event.content_hash,
        deliveries: u32::try_from(event.fan_out.len()).unwrap_or(u32::MAX),
    }
}
