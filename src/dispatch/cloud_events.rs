//! Accepting CloudEvents: of two sources within a tenant that use the same id, neither hides the other.
//!
//! A CloudEvent is named by its source and its id together, an event by its id alone. The first with an id keeps it; one
//! of another source that comes later gets an id derived from both, and keeps its own beside it. Which of the two an event
//! got is found again when it is repeated, because the one that has the id is still known, or because the derived id is.

use std::sync::Arc;

use super::{
    accept::wait,
    engine::{Engine, Shared},
    error::EngineError,
    view::Accepted,
};
use crate::{
    domain::{budget::Budget, cloud_event as ce, event::NewEvent, id::EventId},
    runtime::work_pool::{Owner, Refused, pass},
    storage::local::claims::Claim,
};

/// An event under its id.
type Told = Result<NewEvent, EngineError>;

/// Rounds in which an id may change hands under an event before it is refused. Each takes another event with that id
/// which is accepted, or fails, at the same moment.
const ROUNDS: usize = 8;

impl Engine {
    /// Accepts an event whose attributes are a CloudEvent's. Durable when it answers.
    ///
    /// # Errors
    /// As [`Engine::accept`]; `DifferentContent` when the same source used the id before for something else.
    ///
    /// # Cancel safety
    /// As [`Engine::accept`].
    pub async fn accept_cloud_event(
        &self,
        event: NewEvent,
        idempotency_key: Option<String>,
    ) -> Result<Accepted, EngineError> {
        let (mut answer, mut tried) = (Err(EngineError::Stopping), None);
        for _ in 0..ROUNDS {
            let named = self.0.told_apart(vec![event.clone()]).await?.remove(0)?;
            let (tenant, id) = (named.tenant.clone(), named.id.clone());
            answer = self.accept(named, idempotency_key.clone()).await;
            let Err(EngineError::DifferentContent(_)) = answer else {
                return answer;
            };
            // Whose the id is may not be known yet, while it is on its way to the store.
            let claim = id.clone().map(|id| Claim::EventId(tenant, id));
            let was_open = match claim {
                Some(claim) => self.0.free(&claim).await?,
                None => false,
            };
            if !was_open && tried == Some(id.clone()) {
                return answer;
            }
            tried = Some(id);
        }
        answer
    }

    /// Accepts CloudEvents in groups; answers each, in order.
    pub async fn accept_cloud_events(
        &self,
        events: Vec<NewEvent>,
        request: &Budget,
    ) -> Vec<Result<Accepted, EngineError>> {
        let named = match self.0.told_apart(events.clone()).await {
            Ok(named) => named,
            Err(refused) => {
                return events.iter().map(|_| Err(EngineError::from(refused))).collect();
            }
        };
        let mut refused = Vec::with_capacity(named.len());
        let mut taken = Vec::with_capacity(named.len());
        for event in named {
            match event {
                Ok(event) => {
                    taken.push(event);
                    refused.push(None);
                }
                Err(error) => refused.push(Some(error)),
            }
        }
        let mut accepted = self.accept_all(taken, request).await.into_iter();
        let mut answers = Vec::with_capacity(refused.len());
        for (event, refused) in events.into_iter().zip(refused) {
            let answer = match refused {
                Some(error) => Err(error),
                None => accepted.next().unwrap_or(Err(EngineError::Stopping)),
            };
            answers.push(match answer {
                Err(EngineError::DifferentContent(_)) => self.accept_cloud_event(event, None).await,
                other => other,
            });
        }
        answers
    }
}

impl Shared {
    /// The events under the ids that they have, or had when they came before.
    async fn told_apart(self: &Arc<Self>, events: Vec<NewEvent>) -> Result<Vec<Told>, Refused> {
        let tenant = events.first().and_then(|event| event.tenant.clone());
        let shared = self.clone();
        let telling = async move {
            let mut told = Vec::with_capacity(events.len());
            for event in events {
                told.push(match shared.is_taken_by_another(&event) {
                    Ok(true) => Ok(under_derived_id(event)),
                    Ok(false) => Ok(event),
                    Err(error) => Err(error),
                });
                pass().await;
            }
            told
        };
        self.work.run(Owner::request(tenant), telling).await
    }

    /// Whether an event's id is known as another source's, or the event itself under its derived id.
    fn is_taken_by_another(&self, event: &NewEvent) -> Result<bool, EngineError> {
        // Without a store to ask, accepting says why; a derived id is nobody else's.
        let (Some(names), Ok(store)) = (Names::of(event), self.storage.get()) else {
            return Ok(false);
        };
        let failure = |error| self.storage.failure(error);
        let tenant = event.tenant.as_ref();
        let derived = store.event_of(tenant, &names.derived).map_err(failure)?;
        if derived.is_some() {
            return Ok(true);
        }
        let Some((lsn, row)) = store.event_of(tenant, names.id).map_err(failure)? else {
            return Ok(false);
        };
        if row.content_hash == event.content_hash() {
            return Ok(false);
        }
        let known = self.event_record(lsn, &row);
        Ok(known
            .is_none_or(|known| known.attributes.get(ce::SOURCE).map(String::as_str) != Some(names.source)))
    }

    /// Waits until nobody has the claim under way. Answers whether anybody had.
    async fn free(&self, claim: &Claim) -> Result<bool, EngineError> {
        let mut waited = false;
        while let Some(changed) = self.local.claims.holder(claim) {
            // What is under way is applied, or fails, unless the store has stopped.
            self.storage.get()?;
            if self.stopping.is_cancelled() {
                return Err(EngineError::Stopping);
            }
            waited = true;
            wait(&changed).await;
        }
        Ok(waited)
    }
}

/// What tells a CloudEvent apart, when it has not its derived id already.
struct Names<'a> {
    source: &'a str,
    id: &'a EventId,
    derived: EventId,
}

impl<'a> Names<'a> {
    fn of(event: &'a NewEvent) -> Option<Self> {
        let source = event.attributes.get(ce::SOURCE)?;
        let id = event.id.as_ref()?;
        if event.attributes.contains_key(ce::KEPT_ID) {
            return None;
        }
        let derived = ce::derived_id(source, id.as_str());
        Some(Self { source, id, derived })
    }
}

fn under_derived_id(mut event: NewEvent) -> NewEvent {
    let Some(derived) = Names::of(&event).map(|names| names.derived) else {
        return event;
    };
    if let Some(id) = event.id.replace(derived) {
        event.attributes.insert(ce::KEPT_ID.to_owned(), id.into());
    }
    event
}
