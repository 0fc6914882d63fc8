//! What is told, as operational events.
//!
//! They reach the endpoints that subscribe to them by name (`server.*`, `endpoint.overdue`), as those of the herald
//! do. News of the server go to endpoints without a tenant only.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{assess::Trouble, vitals::Late};
use crate::{
    dispatch::{engine::Shared, error::EngineError, herald},
    domain::{
        endpoint::Endpoint,
        event::{EventType, Label, NewEvent, Payload},
        id::EndpointId,
        record::Record,
        time::Timestamp,
    },
};

pub(super) struct Notice {
    name: &'static str,
    tenant: Option<Label>,
    /// Whom it is about; it is not told of itself.
    about: Option<EndpointId>,
    occurred_at: Timestamp,
    data: Value,
}

impl Notice {
    pub fn degraded(troubles: &[Trouble], now: Timestamp) -> Self {
        let reasons: Vec<_> = troubles
            .iter()
            .map(|trouble| json!({ "reason": trouble.kind.as_str(), "text": trouble.text }))
            .collect();
        Self::of_server("server.degraded", now, json!({ "reasons": reasons }))
    }

    pub fn recovered(since: Timestamp, kinds: &BTreeSet<&'static str>, now: Timestamp) -> Self {
        Self::of_server(
            "server.recovered",
            now,
            json!({ "since": since, "reasons": kinds }),
        )
    }

    const fn of_server(name: &'static str, occurred_at: Timestamp, data: Value) -> Self {
        Self {
            name,
            tenant: None,
            about: None,
            occurred_at,
            data,
        }
    }

    pub fn overdue(endpoint: &Endpoint, late: &Late, now: Timestamp) -> Self {
        let data = json!({ "waiting_since": late.due, "waits_for": late.why.as_str() });
        Self::of_endpoint("endpoint.overdue", endpoint, now, data)
    }

    pub fn caught_up(endpoint: &Endpoint, since: Timestamp, now: Timestamp) -> Self {
        Self::of_endpoint(
            "endpoint.caught_up",
            endpoint,
            now,
            json!({ "waited_since": since }),
        )
    }

    fn of_endpoint(name: &'static str, endpoint: &Endpoint, occurred_at: Timestamp, mut data: Value) -> Self {
        data["endpoint_id"] = json!(endpoint.id);
        data["name"] = json!(endpoint.spec.name);
        data["url"] = json!(endpoint.spec.url.redacted());
        Self {
            name,
            tenant: endpoint.spec.tenant.clone(),
            about: Some(endpoint.id),
            occurred_at,
            data,
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
            occurred_at: Some(self.occurred_at),
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
        record.fan_out = herald::audience(shared, self.about, &record);
        shared.write(&Record::EventAccepted(record)).await?;
        Ok(())
    }
}
