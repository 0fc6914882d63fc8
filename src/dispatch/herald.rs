//! Someone is told: an endpoint that a rule has disabled becomes an operational event, `endpoint.disabled`, and one that
//! could not prove itself again `endpoint.unverified`.
//!
//! It is an event like any other: durable, retried, listed. It goes to the endpoints of the same tenant, and to those
//! without a tenant, whose patterns name it (`endpoint.disabled`, `endpoint.*`, `endpoint.**`); `*` alone does not,
//! so that no customer gets another's operational news by accident. The store remembers that the notice is due
//! until it is accepted, so that a crash in between does not swallow it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;

use super::{
    document,
    engine::Shared,
    error::{EngineError, chain},
    registry::Audience,
};
use crate::domain::{
    endpoint::{Endpoint, EndpointState},
    event::{EventType, NewEvent, Payload},
    id::EndpointId,
    record::{EventAccepted, Record},
    time::Timestamp,
};

/// Between tries when the journal refuses.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until the server stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut paid = Paid::default();
    loop {
        // Registered before looking, so that no wake-up is lost.
        let woken = shared.herald.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        if let Err(error) = pay_debts(&shared, &mut paid).await {
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

/// What was done already in this life of the process.
#[derive(Default)]
struct Paid {
    /// Notices that are durable, though the store may not know yet: for which standing of which endpoint.
    announced: HashMap<EndpointId, Timestamp>,
    /// Deleted endpoints that have nothing scheduled any more.
    cleared: HashSet<EndpointId>,
}

/// Does what is owed: notices, and the end of what deleted endpoints had scheduled.
async fn pay_debts(shared: &Shared, paid: &mut Paid) -> Result<(), EngineError> {
    if !shared.storage.is_ready() {
        return Ok(());
    }
    for endpoint in shared.registry.all() {
        let since = endpoint.standing.since;
        if endpoint.standing.notice_due && paid.announced.get(&endpoint.id) != Some(&since) {
            announce(shared, &endpoint).await?;
            paid.announced.insert(endpoint.id, since);
        }
    }
    paid.announced.retain(|id, _| {
        shared
            .registry
            .get(*id)
            .is_some_and(|endpoint| !endpoint.is_active())
    });
    // A crash may have come between an endpoint's deletion and the end of what it had scheduled.
    for id in shared.registry.deleted() {
        if !paid.cleared.contains(&id) {
            shared.cancel_scheduled(id).await?;
            paid.cleared.insert(id);
        }
    }
    Ok(())
}

async fn announce(shared: &Shared, endpoint: &Endpoint) -> Result<(), EngineError> {
    let name = match endpoint.standing.state {
        EndpointState::Unverified => "endpoint.unverified",
        EndpointState::Active | EndpointState::Paused | EndpointState::Disabled => "endpoint.disabled",
    };
    let Ok(event_type) = name.parse::<EventType>() else {
        return Ok(());
    };
    let held = shared
        .storage
        .get()?
        .tally(endpoint.id)
        .map_err(|error| shared.storage.failure(error))?;
    let mut data = json!({
        "endpoint_id": endpoint.id,
        "name": endpoint.spec.name,
        "url": endpoint.spec.url.redacted(),
        "state": endpoint.standing.state,
        "disabled_reason": document::disabled(&endpoint.standing),
        "held_deliveries": held.deliveries.scheduled,
    });
    if endpoint.standing.state == EndpointState::Unverified {
        data["verification"] = json!(document::verification(endpoint));
    }
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
    let mut record = shared.record_for(event, hash, None, shared.clock.now(), Vec::new());
    record.fan_out = audience(shared, Some(endpoint.id), &record);
    record.notice_for = Some(endpoint.id);
    shared.write(&Record::EventAccepted(record)).await?;
    Ok(())
}

/// The endpoints that get an operational event, without the one it is about.
pub(super) fn audience(
    shared: &Shared,
    about: Option<EndpointId>,
    notice: &EventAccepted,
) -> Vec<EndpointId> {
    let own = Audience::of(notice);
    let mut ids = shared.registry.matching_by_name(&own);
    if own.tenant.is_some() {
        ids.extend(
            shared
                .registry
                .matching_by_name(&Audience { tenant: None, ..own }),
        );
    }
    ids.retain(|&id| Some(id) != about);
    ids.sort_unstable();
    ids
}
