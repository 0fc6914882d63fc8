//! What a person may ask of deliveries: try again, cancel, replay, test.

use super::{
    attempt, audit,
    engine::{Engine, Shared},
    error::{BUSY, EngineError},
    queries,
    view::{AttemptView, DeliveryView, TestRequest},
};
use crate::{
    domain::{
        delivery::Stage,
        endpoint::Endpoint,
        event::{Label, NewEvent, Payload},
        id::{AttemptId, DeliveryId, DeliveryKey, EndpointId, EventId, Lsn},
        record::{DeliveriesEnded, DeliveriesRetried, EventReplayed},
    },
    storage::{
        DeliveryChange,
        stored::{EventFacts, StoredDelivery},
    },
};

impl Engine {
    /// Makes a delivery due now: at once when it is scheduled, with a fresh retry budget when it had ended.
    ///
    /// # Errors
    /// `NotNow` while it is in flight.
    pub async fn retry_delivery(&self, id: &DeliveryId) -> Result<DeliveryView, EngineError> {
        let shared = &self.0;
        let found = shared.resting(id).await?;
        shared.endpoint(found.delivery.endpoint)?;
        let event = found.event.as_ref();
        if event.is_some_and(|event| event.erased.is_some()) {
            return Err(EngineError::Erased);
        }
        let retried = DeliveriesRetried {
            keys: vec![found.delivery.key],
            due: self.now(),
        };
        let audited = audit::of_delivery(shared, "delivery.retried", &found, "scheduled");
        shared
            .change_deliveries(audited, vec![DeliveryChange::Retried(retried)])
            .await?;
        self.delivery(id).await
    }

    /// Ends a delivery that has not ended.
    ///
    /// # Errors
    /// `NotNow` while it is in flight, or when it has ended.
    pub async fn cancel_delivery(&self, id: &DeliveryId) -> Result<DeliveryView, EngineError> {
        let shared = &self.0;
        let found = shared.resting(id).await?;
        if found.delivery.stage.is_final() {
            return Err(EngineError::NotNow(
                "the delivery has ended; there is nothing to cancel",
            ));
        }
        let ended = DeliveriesEnded {
            keys: vec![found.delivery.key],
            at: self.now(),
            stage: Stage::Cancelled,
        };
        let audited = audit::of_delivery(shared, "delivery.cancelled", &found, "cancelled");
        shared
            .change_deliveries(audited, vec![DeliveryChange::Ended(ended)])
            .await?;
        self.delivery(id).await
    }

    /// New deliveries of an event, which is looked for `within` a tenant if one is given: to one endpoint, or to all it
    /// went to; to those that want it now when it went to none. With `only_to`, to no other tenant's.
    pub async fn replay_event(
        &self,
        (id, within): (&EventId, Option<&Label>),
        endpoint: Option<EndpointId>,
        only_to: Option<&Label>,
    ) -> Result<Vec<DeliveryView>, EngineError> {
        let shared = &self.0;
        let event = shared.find_event(id, within).await?;
        if event.erased.is_some() {
            return Err(EngineError::Erased);
        }
        let mut fan_out = match endpoint {
            Some(endpoint) => {
                let endpoint = shared.endpoint(endpoint)?;
                check_tenant(&endpoint, &event)?;
                vec![endpoint.id]
            }
            None => shared.replay_targets(&event).await?,
        };
        if let Some(tenant) = only_to {
            fan_out.retain(|id| shared.tenant_has(tenant, *id) == Some(true));
        }
        if fan_out.is_empty() {
            return Err(EngineError::NotNow(
                "no endpoint wants this event; name one to replay it to",
            ));
        }
        let count = u32::try_from(fan_out.len()).unwrap_or(u32::MAX);
        let replayed = EventReplayed {
            event: event.sequence,
            due: self.now(),
            fan_out,
        };
        let audited = audit::of_replay(shared, &event, endpoint, count);
        let replayed = vec![DeliveryChange::Replayed(replayed)];
        let at = shared.change_deliveries(audited, replayed).await?;
        let keys = (0..count).map(|index| DeliveryKey::new(at, index)).collect();
        let made = shared.data.deliveries(keys).await;
        let made = made.map_err(|_| EngineError::NotVisible)?;
        // Nothing was created if the event was forgotten at this very moment.
        let shown = |found: Option<StoredDelivery>| found.map(|found| shared.delivery_view(&found));
        let shown: Option<Vec<DeliveryView>> = made.into_iter().map(shown).collect();
        shown.ok_or(EngineError::NotFound("event"))
    }

    /// Sends a test event to an endpoint now, whatever its state; the attempt is recorded, and changes nothing else.
    ///
    /// # Errors
    /// `Busy` when no slot becomes free in time: of the endpoint's concurrency, its tenant's share, or all.
    pub async fn test_endpoint(
        &self,
        id: EndpointId,
        request: TestRequest,
    ) -> Result<AttemptView, EngineError> {
        let shared = &self.0;
        let endpoint = shared.endpoint(id)?;
        let mut slot = shared.slot_to_ask(&endpoint).await?;
        let lease = attempt::lease(shared, &endpoint, request.data.len())
            .await
            .ok_or(BUSY)?;
        let started_at = self.now();
        let event = NewEvent {
            id: None,
            event_type: request.event_type,
            tenant: endpoint.spec.tenant.clone(),
            channel: None,
            ordering_key: None,
            occurred_at: None,
            deliver_at: None,
            expires_at: None,
            attributes: Default::default(),
            payload: Payload {
                content_type: None,
                bytes: request.data,
            },
        };
        let accepted = shared.record_for(event, [0; 16], None, started_at, Vec::new());
        let about = attempt::About {
            event_id: accepted.id.clone(),
            event_type: accepted.event_type.clone(),
            tenant: accepted.tenant.clone(),
        };
        let seen = attempt::send(shared, &endpoint, accepted, lease, &mut slot).await;
        drop(slot);
        let record = attempt::standalone(&shared.options, id, about, started_at, 1, seen);
        let lsn = shared.data.record_standalone_attempt(record.clone()).await?;
        let id = AttemptId::new(started_at, DeliveryKey::new(lsn, 0));
        Ok(shared.clock.show(queries::attempt_view(id, None, &record, true)))
    }
}

fn check_tenant(endpoint: &Endpoint, event: &EventFacts) -> Result<(), EngineError> {
    if endpoint.spec.tenant == event.tenant {
        return Ok(());
    }
    Err(EngineError::Invalid {
        field: "endpoint".to_owned(),
        rule: "belongs to another tenant than the event".to_owned(),
    })
}

impl Shared {
    /// Carries out changes behind the entry of the audit log that says who has asked for them; answers the sequence of the last.
    pub(super) async fn change_deliveries(
        &self,
        audited: Option<DeliveryChange>,
        changes: Vec<DeliveryChange>,
    ) -> Result<Lsn, EngineError> {
        let changes = audited.into_iter().chain(changes).collect();
        let at = self.data.change_deliveries(changes).await?;
        Ok(at.last().copied().unwrap_or_default())
    }

    /// A delivery that is not in flight.
    async fn resting(&self, id: &DeliveryId) -> Result<StoredDelivery, EngineError> {
        let found = self.find_delivery(id).await?;
        if self.in_flight.contains(found.delivery.key) {
            return Err(EngineError::NotNow(
                "the delivery is in flight; wait for the attempt to end",
            ));
        }
        Ok(found)
    }

    /// The endpoints that an event went to and that are still there; those that want it now when it went to none.
    async fn replay_targets(&self, event: &EventFacts) -> Result<Vec<EndpointId>, EngineError> {
        let had = self.data.deliveries_of(event.sequence).await?;
        if had.is_empty() {
            // A damaged record cannot be sent again.
            return match self.whole_event(event.sequence).await? {
                Ok(event) => self.fan_out(&event, &Engine::request_budget()).await,
                Err(_) => Ok(Vec::new()),
            };
        }
        let mut targets: Vec<EndpointId> = had.into_iter().map(|(endpoint, _)| endpoint).collect();
        targets.sort_unstable();
        targets.dedup();
        targets.retain(|id| self.registry.get(*id).is_some());
        Ok(targets)
    }
}
