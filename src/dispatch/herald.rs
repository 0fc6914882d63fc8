//! Someone is told: an endpoint that a rule has disabled becomes an operational event, `endpoint.disabled`.
//!
//! It is an event like any other: durable, retried, listed. It goes to the endpoints of the same tenant, and to those
//! without a tenant, whose patterns name it (`endpoint.disabled`, `endpoint.*`, `endpoint.**`); `*` alone does not,
//! so that no customer gets another's operational news by accident. The store remembers that the notice is due
//! until it is accepted, so that a crash in between does not swallow it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;

use super::{
    document,
    engine::Shared,
    error::{EngineError, chain},
    registry::Audience,
};
use crate::domain::{
    endpoint::Endpoint,
    event::{EventType, NewEvent, Payload},
    id::EndpointId,
    record::Record,
};

/// Between tries when the journal refuses.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until the server stops.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        // Registered before looking, so that no wake-up is lost.
        let woken = shared.herald.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        if let Err(error) = pay_debts(&shared).await {
            tracing::warn!(error = %chain(&error), "an operational event waits");
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => continue,
                () = shared.stopping.cancelled() => return,
            }
        }
        tokio::select! {
            () = &mut woken => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// Does what is owed: notices, and the end of what deleted endpoints had scheduled.
async fn pay_debts(shared: &Shared) -> Result<(), EngineError> {
    if !shared.storage.is_ready() {
        return Ok(());
    }
    for endpoint in shared.registry.all() {
        if endpoint.standing.notice_due {
            announce(shared, &endpoint).await?;
        }
    }
    // A crash may have come between an endpoint's deletion and the end of what it had scheduled.
    for id in shared.registry.deleted() {
        shared.cancel_scheduled(id).await?;
    }
    Ok(())
}

async fn announce(shared: &Shared, endpoint: &Endpoint) -> Result<(), EngineError> {
    let Ok(event_type) = "endpoint.disabled".parse::<EventType>() else {
        return Ok(());
    };
    let held = shared
        .storage
        .get()?
        .tally(endpoint.id)
        .map_err(|error| shared.storage.failure(error))?;
    let data = json!({
        "endpoint_id": endpoint.id,
        "name": endpoint.spec.name,
        "url": endpoint.spec.url.redacted(),
        "state": endpoint.standing.state,
        "disabled_reason": document::disabled(&endpoint.standing),
        "held_deliveries": held.deliveries.scheduled,
    });
    let fan_out = audience(shared, endpoint, &event_type);
    let event = NewEvent {
        id: None,
        event_type,
        tenant: endpoint.spec.tenant.clone(),
        channel: None,
        ordering_key: None,
        occurred_at: Some(endpoint.standing.since),
        deliver_at: None,
        expires_at: None,
        attributes: Default::default(),
        payload: Payload {
            content_type: None,
            bytes: Bytes::from(data.to_string()),
        },
    };
    let hash = event.content_hash();
    let mut record = shared.record_for(event, hash, None, shared.clock.now(), fan_out);
    record.notice_for = Some(endpoint.id);
    shared.write_and_apply(&Record::EventAccepted(record)).await?;
    Ok(())
}

fn audience(shared: &Shared, endpoint: &Endpoint, event_type: &EventType) -> Vec<EndpointId> {
    let tenant = endpoint.spec.tenant.as_ref();
    let mut ids = shared.registry.matching_by_name(&Audience {
        event_type,
        channel: None,
        tenant,
    });
    if tenant.is_some() {
        ids.extend(shared.registry.matching_by_name(&Audience {
            event_type,
            channel: None,
            tenant: None,
        }));
    }
    ids.retain(|&id| id != endpoint.id);
    ids.sort_unstable();
    ids
}
