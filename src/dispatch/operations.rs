//! What a person may ask of deliveries: try again, cancel, replay, test.

use super::{
    attempt,
    engine::{Engine, Shared},
    error::{BUSY, EngineError},
    queries,
    view::{AttemptView, DeliveryView, TestRequest},
};
use crate::{
    domain::{
        delivery::{Delivery, Stage},
        endpoint::Endpoint,
        event::{Label, NewEvent, Payload},
        id::{AttemptId, DeliveryId, DeliveryKey, EndpointId, EventId},
        record::{DeliveriesEnded, DeliveriesRetried, EventReplayed},
    },
    storage::local::index::{Store, rows::EventRow},
};

impl Engine {
    /// Makes a delivery due now: at once when it is scheduled, with a fresh retry budget when it had ended.
    ///
    /// # Errors
    /// `NotNow` while it is in flight.
    pub async fn retry_delivery(&self, id: &DeliveryId) -> Result<DeliveryView, EngineError> {
        let shared = &self.0;
        let delivery = shared.resting(id).await?;
        shared.endpoint(delivery.endpoint)?;
        shared.refuse_erased(&delivery)?;
        let retried = DeliveriesRetried {
            keys: vec![delivery.key],
            due: self.now(),
        };
        shared.data.retry_deliveries(retried).await?;
        self.delivery(id).await
    }

    /// Ends a delivery that has not ended.
    ///
    /// # Errors
    /// `NotNow` while it is in flight, or when it has ended.
    pub async fn cancel_delivery(&self, id: &DeliveryId) -> Result<DeliveryView, EngineError> {
        let shared = &self.0;
        let delivery = shared.resting(id).await?;
        if delivery.stage.is_final() {
            return Err(EngineError::NotNow(
                "the delivery has ended; there is nothing to cancel",
            ));
        }
        let keys = vec![delivery.key];
        let ended = DeliveriesEnded {
            keys,
            at: self.now(),
            stage: Stage::Cancelled,
        };
        shared.data.end_deliveries(ended).await?;
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
        let store = shared.storage.caught_up_with(shared.journal.last_lsn()).await?;
        let failure = |error| shared.storage.failure(error);
        let (lsn, row) = shared.event_row(&store, id, within)?;
        if row.erased.is_some() {
            return Err(EngineError::Erased);
        }
        let mut fan_out = match endpoint {
            Some(endpoint) => {
                let endpoint = shared.endpoint(endpoint)?;
                check_tenant(&endpoint, &row)?;
                vec![endpoint.id]
            }
            None => shared.replay_targets(&store, lsn, &row).await?,
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
            event: lsn,
            due: self.now(),
            fan_out,
        };
        // A store that is held while the write is waited for could not be opened again meanwhile.
        drop(store);
        let at = shared.data.replay_events(vec![replayed]).await?;
        let store = shared.storage.get().map_err(|_| EngineError::NotVisible)?;
        let at = at.first().copied().unwrap_or_default();
        (0..count)
            .map(|index| {
                let delivery = store.delivery(DeliveryKey::new(at, index)).map_err(failure)?;
                // Nothing was created if the event was forgotten at this very moment.
                let delivery = delivery.ok_or(EngineError::NotFound("event"))?;
                Ok(shared.delivery_view(&delivery, &row))
            })
            .collect()
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
        let record = attempt::standalone(id, about, started_at, 1, seen);
        let lsn = shared.data.record_standalone_attempt(record.clone()).await?;
        let id = AttemptId::new(started_at, DeliveryKey::new(lsn, 0));
        Ok(shared.clock.show(queries::attempt_view(id, None, &record, true)))
    }
}

fn check_tenant(endpoint: &Endpoint, row: &EventRow) -> Result<(), EngineError> {
    if endpoint.spec.tenant == row.tenant {
        return Ok(());
    }
    Err(EngineError::Invalid {
        field: "endpoint".to_owned(),
        rule: "belongs to another tenant than the event".to_owned(),
    })
}

impl Shared {
    fn refuse_erased(&self, delivery: &Delivery) -> Result<(), EngineError> {
        let event = self.storage.get()?.event(delivery.event);
        let event = event.map_err(|error| self.storage.failure(error))?;
        match event.and_then(|event| event.erased) {
            Some(_) => Err(EngineError::Erased),
            None => Ok(()),
        }
    }

    /// A delivery that is not in flight.
    async fn resting(&self, id: &DeliveryId) -> Result<Delivery, EngineError> {
        let store = self.storage.caught_up_with(self.journal.last_lsn()).await?;
        let found = store
            .delivery(id.key)
            .map_err(|error| self.storage.failure(error))?;
        let delivery = found
            .filter(|delivery| delivery.id() == *id)
            .ok_or(EngineError::NotFound("delivery"))?;
        if self.in_flight.contains(delivery.key) {
            return Err(EngineError::NotNow(
                "the delivery is in flight; wait for the attempt to end",
            ));
        }
        Ok(delivery)
    }

    async fn replay_targets(
        &self,
        store: &Store,
        lsn: u64,
        row: &EventRow,
    ) -> Result<Vec<EndpointId>, EngineError> {
        let had = store
            .deliveries_of(lsn, self.options.max_endpoints)
            .map_err(|error| self.storage.failure(error))?;
        if had.is_empty() {
            // A damaged record cannot be sent again.
            return match self.event_record(lsn, row) {
                Some(event) => self.fan_out(&event, &Engine::request_budget()).await,
                None => Ok(Vec::new()),
            };
        }
        let mut targets: Vec<EndpointId> = had.iter().map(|delivery| delivery.endpoint).collect();
        targets.sort_unstable();
        targets.dedup();
        targets.retain(|id| self.registry.get(*id).is_some());
        Ok(targets)
    }
}
