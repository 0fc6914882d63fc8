//! Accepting CloudEvents: of two sources within a tenant that use the same id, neither hides the other.
//!
//! A CloudEvent is named by its source and its id together, an event by its id alone. The first with an id keeps it; one
//! of another source that comes later gets an id derived from both, and keeps its own beside it. Which of the two an event
//! got is found again when it is repeated, because the one that has the id is still known, or because the derived id is.

use super::{
    engine::{Engine, Shared},
    error::EngineError,
    view::Accepted,
};
use crate::{
    domain::{budget::Budget, cloud_event as ce, event::NewEvent, id::EventId},
    storage::{EventName, StorageError},
};

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
            let named = self.0.told_apart(vec![event.clone()]).await?.remove(0);
            if tried.as_ref() == Some(&named.id) {
                return answer;
            }
            tried = Some(named.id.clone());
            answer = self.accept(named, idempotency_key.clone()).await;
            if !matches!(answer, Err(EngineError::DifferentContent(_))) {
                return answer;
            }
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
            Err(error) => return events.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let mut answers = self.accept_all(named, request).await;
        for (event, answer) in events.into_iter().zip(&mut answers) {
            if matches!(answer, Err(EngineError::DifferentContent(_))) {
                *answer = self.accept_cloud_event(event, None).await;
            }
        }
        answers
    }
}

impl Shared {
    /// The events under the ids that they have, or had when they came before.
    async fn told_apart(&self, events: Vec<NewEvent>) -> Result<Vec<NewEvent>, StorageError> {
        let name = |event: &NewEvent, id: &EventId| EventName {
            tenant: event.tenant.clone(),
            id: Some(id.clone()),
            key: None,
        };
        let asked: Vec<EventName> = events
            .iter()
            .filter_map(|event| Some((event, Names::of(event)?)))
            .flat_map(|(event, names)| [name(event, &names.derived), name(event, names.id)])
            .collect();
        let mut known = match self.data.known_events(asked, self.keys_over()).await {
            // Accepting says why.
            Err(StorageError::NotReady) => return Ok(events),
            known => known?.into_iter(),
        };
        let mut told = Vec::with_capacity(events.len());
        for event in events {
            let is_taken = match Names::of(&event) {
                None => false,
                Some(names) => match (known.next().flatten(), known.next().flatten()) {
                    (Some(_), _) => true,
                    (None, Some(known)) if known.content_hash != event.content_hash() => {
                        let known = self.data.event(known.sequence).await?;
                        let source = known.and_then(|mut known| known.attributes.remove(ce::SOURCE));
                        source.as_deref() != Some(names.source)
                    }
                    (None, _) => false,
                },
            };
            told.push(if is_taken { under_derived_id(event) } else { event });
        }
        Ok(told)
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
