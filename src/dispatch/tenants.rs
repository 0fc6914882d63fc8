//! Whose a thing is: what those who may see one tenant's things are shown.
//!
//! An endpoint and an event name their tenant. A delivery, and an attempt, is a tenant's when its event and its endpoint
//! both are: an operational event (see `herald`) goes to endpoints without a tenant as well, and what becomes of it there is
//! not for the tenant to see, to repeat or to cancel. Of a deleted endpoint nothing says any more whose it was; what went
//! there is the event's tenant's, unless it was an operational event.

use super::{
    engine::{Engine, Shared},
    error::EngineError,
};
use crate::{
    domain::{
        event::{EventType, Label},
        id::{AttemptId, DeliveryId, EndpointId, EventId},
        operational,
    },
    storage::stored::{AttemptFacts, StoredDelivery},
};

/// Something that has a tenant, or none.
#[derive(Clone, Debug)]
pub enum Thing {
    Endpoint(EndpointId),
    Event(EventId),
    Delivery(DeliveryId),
    Attempt(AttemptId),
}

impl Engine {
    /// Whether a thing is there and a tenant's.
    ///
    /// # Errors
    /// `NotFound`, as for a thing that has never been there, when it is another tenant's or nobody's, and when it is an
    /// endpoint that was deleted.
    pub async fn belongs(&self, thing: &Thing, tenant: &Label) -> Result<(), EngineError> {
        let shared = &self.0;
        let (kind, own) = match thing {
            Thing::Endpoint(id) => ("endpoint", shared.tenant_has(tenant, *id) == Some(true)),
            Thing::Event(id) => {
                shared.find_event(id, Some(tenant)).await?;
                ("event", true)
            }
            Thing::Delivery(id) => {
                let found = shared.find_delivery(id).await?;
                ("delivery", shared.is_delivery_of(tenant, &found))
            }
            Thing::Attempt(id) => {
                let found = shared.find_attempt(id).await?;
                ("attempt", shared.is_attempt_of(tenant, &found.facts))
            }
        };
        if own {
            Ok(())
        } else {
            Err(EngineError::NotFound(kind))
        }
    }
}

impl Shared {
    /// Whether an endpoint is a tenant's; `None` when there is none.
    pub(super) fn tenant_has(&self, tenant: &Label, endpoint: EndpointId) -> Option<bool> {
        let endpoint = self.registry.get(endpoint)?;
        Some(endpoint.spec.tenant.as_ref() == Some(tenant))
    }

    /// Whether what went to an endpoint is a tenant's; the event, which is of this type, is.
    pub(super) fn goes_to_own(&self, tenant: &Label, endpoint: EndpointId, event_type: &EventType) -> bool {
        self.tenant_has(tenant, endpoint)
            .unwrap_or_else(|| !operational::is_reserved(event_type))
    }

    fn is_attempt_of(&self, tenant: &Label, attempt: &AttemptFacts) -> bool {
        attempt.tenant.as_ref() == Some(tenant)
            && self.goes_to_own(tenant, attempt.endpoint, &attempt.event_type)
    }

    /// Whether a delivery's event and endpoint are a tenant's. What cannot be read is nobody's.
    fn is_delivery_of(&self, tenant: &Label, found: &StoredDelivery) -> bool {
        found.event.as_ref().is_some_and(|event| {
            event.tenant.as_ref() == Some(tenant)
                && self.goes_to_own(tenant, found.delivery.endpoint, &event.event_type)
        })
    }
}
