//! Operational events: what the server tells of itself and of endpoints.
//!
//! They are events like any other: durable, retried, listed. They reach the endpoints that name them in their patterns
//! (`server.*`, `endpoint.overdue`); those about an endpoint the endpoints of its tenant and those without one, those about
//! the server only the latter. Nobody is told of itself.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{engine::Shared, error::EngineError, registry::Audience};
use crate::domain::{
    endpoint::Endpoint,
    event::{EventType, Label, NewEvent, Payload},
    id::EndpointId,
    record::EventAccepted,
    time::Timestamp,
};

pub(super) struct Notice {
    name: &'static str,
    tenant: Option<Label>,
    about: Option<EndpointId>,
    /// It says what the endpoint's standing had due; once it is durable, that is due no more.
    pays: bool,
    /// Engine time.
    occurred_at: Timestamp,
    data: Value,
}

impl Notice {
    pub const fn of_server(name: &'static str, occurred_at: Timestamp, data: Value) -> Self {
        Self {
            name,
            tenant: None,
            about: None,
            pays: false,
            occurred_at,
            data,
        }
    }

    /// `data` is an object; what names the endpoint is added to it.
    pub fn of_endpoint(
        name: &'static str,
        endpoint: &Endpoint,
        occurred_at: Timestamp,
        mut data: Value,
    ) -> Self {
        data["endpoint_id"] = json!(endpoint.id);
        data["name"] = json!(endpoint.spec.name);
        data["url"] = json!(endpoint.spec.url.redacted());
        Self {
            name,
            tenant: endpoint.spec.tenant.clone(),
            about: Some(endpoint.id),
            pays: false,
            occurred_at,
            data,
        }
    }

    /// The notice that the endpoint's standing has due.
    pub fn of_standing(name: &'static str, endpoint: &Endpoint, data: Value) -> Self {
        Self {
            pays: true,
            ..Self::of_endpoint(name, endpoint, endpoint.standing.since, data)
        }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// When the journal does not take it.
    pub async fn write(self, shared: &Shared) -> Result<(), EngineError> {
        let Ok(event_type) = self.name.parse::<EventType>() else {
            return Ok(());
        };
        let event = NewEvent {
            id: None,
            event_type,
            tenant: self.tenant,
            channel: None,
            ordering_key: None,
            occurred_at: Some(shared.clock.shown(self.occurred_at)),
            deliver_at: None,
            expires_at: None,
            attributes: Default::default(),
            payload: Payload {
                content_type: None,
                bytes: Bytes::from(self.data.to_string()),
            },
        };
        let hash = event.content_hash();
        let mut record = shared.record_for(event, hash, None, shared.clock.now(), Vec::new());
        record.fan_out = audience(shared, self.about, &record).await;
        record.notice_for = self.about.filter(|_| self.pays);
        shared.data.accept_notice(record).await?;
        Ok(())
    }
}

/// The endpoints that get an operational event, without the one it is about.
async fn audience(shared: &Shared, about: Option<EndpointId>, notice: &EventAccepted) -> Vec<EndpointId> {
    let own = Audience::of(notice);
    let mut ids = shared.notice_fan_out(&own, notice).await;
    if own.tenant.is_some() {
        let others = Audience { tenant: None, ..own };
        ids.extend(shared.notice_fan_out(&others, notice).await);
    }
    ids.retain(|&id| Some(id) != about);
    ids.sort_unstable();
    ids
}
