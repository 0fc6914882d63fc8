//! Accepting: an event is checked, matched against the endpoints, and stored with its fan-out before the answer.

use super::{
    engine::{Engine, Shared},
    error::EngineError,
    view::Accepted,
};
use crate::{
    domain::{
        budget::Budget,
        event::{EventType, NewEvent},
        id::{EndpointId, EventId},
        limits, operational,
        record::EventAccepted,
        time::Timestamp,
    },
    storage::{AcceptEvent, Acceptance, EventName, KnownEvent},
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
        let budget = Self::request_budget();
        let mut answers = self.0.accept(vec![(event, idempotency_key)], &budget).await;
        answers.pop().unwrap_or(Err(EngineError::Stopping))
    }

    /// Accepts events of one request as one group; answers each, in order.
    pub async fn accept_all(
        &self,
        events: Vec<NewEvent>,
        request: &Budget,
    ) -> Vec<Result<Accepted, EngineError>> {
        let events = events.into_iter().map(|event| (event, None)).collect();
        self.0.accept(events, request).await
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

/// An event that is about to be stored, without what storage has to know of it.
struct Pending {
    id: EventId,
    event_type: EventType,
    deliveries: u32,
    /// Its type is deprecated.
    deprecated: bool,
    /// Its place among the answers.
    place: usize,
}

impl Shared {
    async fn accept(
        &self,
        events: Vec<(NewEvent, Option<String>)>,
        request: &Budget,
    ) -> Vec<Result<Accepted, EngineError>> {
        let mut answers: Vec<Option<Result<Accepted, EngineError>>> = events.iter().map(|_| None).collect();
        let mut examined = Vec::with_capacity(events.len());
        for (place, (event, key)) in events.into_iter().enumerate() {
            match self.examine(event, key, request).await {
                Ok(Examined::New(event, deprecated)) => examined.push((place, *event, deprecated)),
                Ok(Examined::Known(accepted)) => answers[place] = Some(Ok(accepted)),
                Err(error) => answers[place] = Some(Err(error)),
            }
        }
        let now = self.clock.now();
        let (mut pending, mut new) = (
            Vec::with_capacity(examined.len()),
            Vec::with_capacity(examined.len()),
        );
        for (place, mut accept, deprecated) in examined {
            self.stamp(&mut accept.event, now);
            let event = &accept.event;
            pending.push(Pending {
                id: event.id.clone(),
                event_type: event.event_type.clone(),
                deliveries: u32::try_from(event.fan_out.len()).unwrap_or(u32::MAX),
                deprecated,
                place,
            });
            new.push(accept);
        }
        if !new.is_empty() {
            let stored = self.data.accept_events(new, self.keys_over()).await;
            let mut accepted = 0;
            for (pending, stored) in pending.into_iter().zip(stored) {
                let place = pending.place;
                accepted += u64::from(matches!(stored, Ok(Acceptance::New(_))));
                answers[place] = Some(match stored {
                    Ok(Acceptance::New(_)) => Ok(pending.accepted()),
                    Ok(Acceptance::Known(known)) => Ok(self.known(known)),
                    Ok(Acceptance::Different(claimed)) => {
                        Err(EngineError::DifferentContent(claimed.as_str()))
                    }
                    Err(error) => Err(error.into()),
                });
            }
            metrics::events_accepted(accepted);
        }
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or(Err(EngineError::Stopping)))
            .collect()
    }

    /// Idempotency keys whose time ended by then are forgotten.
    pub(super) fn keys_over(&self) -> Timestamp {
        self.clock.over(self.options.idempotency_window)
    }

    /// Checks an event, holds its data against its type's schema, and finds its fan-out. What was accepted before is so
    /// whatever its type's schema says today.
    async fn examine(
        &self,
        event: NewEvent,
        key: Option<String>,
        request: &Budget,
    ) -> Result<Examined, EngineError> {
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
        let has_own_id = event.id.is_some();
        let hash = event.content_hash();
        let mut event = self.record_for(event, hash, key, now, Vec::new());
        let deprecated = match self.match_endpoints(&mut event, request).await {
            Ok(deprecated) => deprecated,
            Err(refused) => return self.known_all_the_same(&event, has_own_id, refused).await,
        };
        Ok(Examined::New(
            Box::new(AcceptEvent { event, has_own_id }),
            deprecated,
        ))
    }

    /// Answers whether the event's type is deprecated.
    async fn match_endpoints(
        &self,
        event: &mut EventAccepted,
        request: &Budget,
    ) -> Result<bool, EngineError> {
        let deprecated = self.check_data(event).await?;
        event.fan_out = self.fan_out(event, request).await?;
        Ok(deprecated)
    }

    /// An event that would be refused today and was accepted before.
    async fn known_all_the_same(
        &self,
        event: &EventAccepted,
        has_own_id: bool,
        refused: EngineError,
    ) -> Result<Examined, EngineError> {
        let name = EventName {
            tenant: event.tenant.clone(),
            id: has_own_id.then(|| event.id.clone()),
            key: event.idempotency_key.clone(),
        };
        if name.id.is_none() && name.key.is_none() {
            return Err(refused);
        }
        let mut known = self.data.known_events(vec![name], self.keys_over()).await?;
        match known.pop().flatten() {
            Some(known) if known.content_hash == event.content_hash => Ok(Examined::Known(self.known(known))),
            _ => Err(refused),
        }
    }

    /// What was accepted before.
    fn known(&self, known: KnownEvent) -> Accepted {
        metrics::event_duplicate();
        Accepted {
            deprecated: self.event_types.is_deprecated(&known.event_type),
            id: known.id,
            event_type: known.event_type,
            deliveries: known.deliveries,
            duplicate: true,
        }
    }

    /// Sets the time at which it is accepted, which is after its conditions were asked: records lie in the order of
    /// their times.
    fn stamp(&self, event: &mut EventAccepted, now: Timestamp) {
        event.due = match event.due > event.accepted_at {
            true => event.due.max(now),
            false => now,
        };
        event.accepted_at = now;
        event.idempotency_until = now.plus(self.options.idempotency_window);
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
}

/// What an event turned out to be.
enum Examined {
    Known(Accepted),
    /// And whether its type is deprecated.
    New(Box<AcceptEvent>, bool),
}

impl Pending {
    fn accepted(self) -> Accepted {
        if self.deprecated {
            metrics::event_deprecated();
        }
        Accepted {
            id: self.id,
            event_type: self.event_type,
            deliveries: self.deliveries,
            duplicate: false,
            deprecated: self.deprecated,
        }
    }
}
