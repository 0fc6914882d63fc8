//! Someone is told: an endpoint that a rule has disabled becomes an operational event, `endpoint.disabled`, and one that
//! could not prove itself again `endpoint.unverified`.
//!
//! When deliveries that were held for too long have ended, `endpoint.deliveries_expired` says how many, at most once
//! an hour for an endpoint.
//!
//! Each is a [`Notice`]: `*` alone does not reach them, so that no customer gets another's operational news by accident. The
//! store remembers that the notice of a standing is due until it is accepted, so that a crash in between does not swallow
//! it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::time::Instant;

use super::{
    document,
    engine::Shared,
    error::{EngineError, chain},
    notice::Notice,
};
use crate::domain::{
    endpoint::{Endpoint, EndpointState},
    id::EndpointId,
    operational,
    time::Timestamp,
};

/// Between tries when the journal refuses.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two notices of an endpoint's expired deliveries.
const EXPIRED_EVERY: Duration = Duration::from_secs(3600);

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
                biased;
                () = tokio::time::sleep(PAUSE) => continue,
                () = shared.stopping.cancelled() => return,
            }
        }
        tokio::select! {
            biased;
            () = &mut woken => {}
            () = tokio::time::sleep(EXPIRED_EVERY) => {}
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
    /// When it was last told of an endpoint's expired deliveries.
    expired: HashMap<EndpointId, Instant>,
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
    tell_expired(shared, paid).await?;
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
        EndpointState::Unverified => operational::ENDPOINT_UNVERIFIED,
        EndpointState::Active | EndpointState::Paused | EndpointState::Disabled => {
            operational::ENDPOINT_DISABLED
        }
    };
    let tally = shared.tally(endpoint.id).await?;
    let mut data = json!({
        "state": endpoint.standing.state,
        "disabled_reason": shared.clock.show(document::disabled(&endpoint.standing)),
        "held_deliveries": tally.deliveries.scheduled,
    });
    if endpoint.standing.state == EndpointState::Unverified {
        data["verification"] = json!(shared.clock.show(document::verification(endpoint)));
    }
    Notice::of_standing(name, endpoint, data).write(shared).await
}

/// Tells of held deliveries that were ended. What a crash swallows of the count can still be listed.
async fn tell_expired(shared: &Shared, paid: &mut Paid) -> Result<(), EngineError> {
    let now = Instant::now();
    paid.expired
        .retain(|_, at| now.duration_since(*at) < EXPIRED_EVERY);
    let owed: Vec<(EndpointId, u64)> = {
        let expired = shared.expired.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = expired.iter().filter(|(id, _)| !paid.expired.contains_key(id));
        untold.map(|(id, count)| (*id, *count)).collect()
    };
    for (id, count) in owed {
        if let Some(endpoint) = shared.registry.get(id) {
            let data = json!({ "state": endpoint.standing.state, "expired_deliveries": count });
            let now = shared.clock.now();
            let notice = Notice::of_endpoint(operational::ENDPOINT_DELIVERIES_EXPIRED, &endpoint, now, data);
            notice.write(shared).await?;
        }
        paid.expired.insert(id, now);
        let mut expired = shared.expired.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = expired.get_mut(&id) {
            *left = left.saturating_sub(count);
        }
        expired.retain(|_, left| *left > 0);
    }
    Ok(())
}

impl Shared {
    /// Takes note of held deliveries that were ended, so that they are told of.
    pub(super) fn announce_expired(&self, ended: BTreeMap<EndpointId, u64>) {
        if ended.is_empty() {
            return;
        }
        for (id, count) in &ended {
            tracing::warn!(endpoint.id = %id, deliveries = count, "held deliveries have expired");
        }
        let mut expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, count) in ended {
            *expired.entry(id).or_default() += count;
        }
        drop(expired);
        self.herald.notify_one();
    }
}
