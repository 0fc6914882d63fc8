//! The audit log: who has changed what.
//!
//! Who asks is known where a request comes in, which has it carried out by [`asked_by`]; every change that is saved meanwhile is
//! saved with an entry that names them: what it changes of the configuration in the same record, what it does to deliveries and events
//! in the same write, behind the entry. What the server does of its own accord, such as disabling an
//! endpoint by a rule, is no entry: it is told of by operational events.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    document,
    engine::{Engine, Shared},
    erase::Erase,
    error::EngineError,
    lists::Patience,
    queries::{bad_cursor, filled},
    recover::{RecoverRequest, Recovered},
    view::{Listed, Page},
};
use crate::{
    domain::{
        audit::{ACTIONS, AuditEntry, AuditFilter},
        configuration::ConfigChange,
        endpoint::Endpoint,
        event::Label,
        id::{AuditId, EndpointId},
        limits,
        record::{EventTypePut, KeyPut},
        time::Timestamp,
    },
    runtime::random,
    storage::{
        DeliveryChange,
        stored::{EventFacts, StoredDelivery},
    },
};

/// Who asks for something, and by what way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// An API key's id, or another name.
    pub actor: String,
    pub from: String,
    /// What they say about it.
    pub reason: Option<String>,
}

tokio::task_local! {
    static ASKED: Asked;
}

/// Carries out what somebody asks for: what it changes is noted as theirs.
pub async fn asked_by<T>(asked: Asked, work: impl Future<Output = T>) -> T {
    ASKED.scope(asked, work).await
}

/// An entry as it is shown.
#[derive(Debug, Serialize)]
pub struct AuditView {
    pub id: AuditId,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub target: String,
    pub tenant: Option<Label>,
    pub before: Value,
    pub after: Value,
    pub from: String,
    pub reason: Option<String>,
}

impl Engine {
    /// The audit log, newest first unless the page says otherwise.
    ///
    /// # Errors
    /// `Invalid` when the cursor is none of ours.
    pub async fn audit(&self, filter: &AuditFilter, page: &Page) -> Result<Listed<AuditView>, EngineError> {
        let shared = &self.0;
        let beyond = page.cursor.as_deref().map(str::parse).transpose();
        let mut beyond: Option<AuditId> = beyond.map_err(|_| bad_cursor())?;
        let filter = AuditFilter {
            since: shared.past(filter.since),
            until: shared.past(filter.until),
            ..filter.clone()
        };
        let patience = Patience::begin();
        let mut rows = Vec::new();
        loop {
            let lacking = page.limit + 1 - rows.len();
            let portion = shared
                .data
                .audit_entries(filter.clone(), beyond, page.ascending, lacking)
                .await?;
            rows.extend(portion.entries);
            beyond = portion.next;
            if rows.len() > page.limit || beyond.is_none() || patience.is_over().await {
                break;
            }
        }
        let cursor = |entry: &AuditEntry| entry.id.to_string();
        let mut listed = filled(rows, page.limit, cursor, |entry| Some(shown(shared, entry)));
        // All that was read is shown: what was not read goes on.
        listed.next = listed.next.or_else(|| beyond.map(|beyond| beyond.to_string()));
        Ok(listed)
    }
}

fn shown(shared: &Shared, entry: &AuditEntry) -> AuditView {
    let side = |side: &Option<String>| side.as_deref().map_or(Value::Null, read);
    AuditView {
        id: entry.id,
        at: shared.clock.shown(entry.at),
        actor: entry.actor.clone(),
        action: entry.action.clone(),
        target: entry.target.clone(),
        tenant: entry.tenant.clone(),
        before: side(&entry.before),
        after: side(&entry.after),
        from: entry.from.clone(),
        reason: entry.reason.clone(),
    }
}

fn read(side: &str) -> Value {
    serde_json::from_str(side).unwrap_or_default()
}

/// What an entry is about.
struct About {
    action: &'static str,
    target: String,
    tenant: Option<Label>,
    before: Option<Map<String, Value>>,
    after: Option<Map<String, Value>>,
}

/// The entry for a change, if somebody has asked for it.
fn entry(shared: &Shared, about: About) -> Option<Box<AuditEntry>> {
    debug_assert!(ACTIONS.contains(&about.action), "{}", about.action);
    let asked = ASKED.try_with(Clone::clone).ok()?;
    let at = shared.clock.now();
    Some(Box::new(AuditEntry {
        id: AuditId::new(at, u128::from_le_bytes(random::secure())),
        at,
        actor: asked.actor,
        action: about.action.to_owned(),
        target: about.target,
        tenant: about.tenant,
        before: about.before.map(kept),
        after: about.after.map(kept),
        from: asked.from,
        reason: asked.reason,
    }))
}

fn kept(side: Map<String, Value>) -> String {
    let text = Value::Object(side).to_string();
    match text.len() {
        bytes if bytes > limits::AUDIT_BYTES => json!({ "not_kept_bytes": bytes }).to_string(),
        _ => text,
    }
}

/// Gives entries that are saved at once ids in the order of the changes: of one millisecond, chance alone would order them.
pub(super) fn put_in_order(changes: &mut [ConfigChange]) {
    let id = |change: &ConfigChange| match change {
        ConfigChange::Audited(entry) => Some(entry.id),
        _ => None,
    };
    let mut ids: Vec<AuditId> = changes.iter().filter_map(id).collect();
    ids.sort_unstable();
    let mut ids = ids.into_iter();
    for change in changes {
        if let ConfigChange::Audited(entry) = change
            && let Some(id) = ids.next()
        {
            entry.id = id;
        }
    }
}

/// Of an endpoint that was created, changed or deleted.
pub(super) fn of_endpoint(
    shared: &Shared,
    action: &'static str,
    before: Option<&Endpoint>,
    after: Option<&Endpoint>,
) -> Option<ConfigChange> {
    let endpoint = after.or(before)?;
    let whole = |endpoint: &Endpoint| {
        let mut side = document::settings(&endpoint.spec);
        side.insert("state".to_owned(), json!(endpoint.standing.state));
        side
    };
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => {
            let (left, right) = differing(before, after);
            (Some(left), Some(right))
        }
        (before, after) => (before.map(whole), after.map(whole)),
    };
    let about = About {
        action,
        target: endpoint.id.to_string(),
        tenant: endpoint.spec.tenant.clone(),
        before,
        after,
    };
    entry(shared, about).map(ConfigChange::Audited)
}

/// The members in which an endpoint differs, before and after.
fn differing(before: &Endpoint, after: &Endpoint) -> (Map<String, Value>, Map<String, Value>) {
    let (mut left, mut right) = (Map::new(), Map::new());
    for (name, (was, is)) in document::differences(&before.spec, &after.spec) {
        left.insert(name.clone(), was);
        right.insert(name, is);
    }
    if before.standing.state != after.standing.state {
        left.insert("state".to_owned(), json!(before.standing.state));
        right.insert("state".to_owned(), json!(after.standing.state));
    }
    (left, right)
}

/// Of an API key that was created or revoked.
pub(super) fn of_key(shared: &Shared, action: &'static str, key: &KeyPut) -> Option<ConfigChange> {
    let side = json!({"name": key.name, "role": key.role, "tenant": key.tenant});
    let side = side.as_object().cloned();
    let revoked = action == "key.revoked";
    let about = About {
        action,
        target: key.id.to_string(),
        tenant: key.tenant.clone(),
        before: side.clone().filter(|_| revoked),
        after: side.filter(|_| !revoked),
    };
    entry(shared, about).map(ConfigChange::Audited)
}

/// Of an event type that was declared, declared again, or is not any more.
pub(super) fn of_event_type(
    shared: &Shared,
    before: Option<&EventTypePut>,
    after: Option<&EventTypePut>,
) -> Option<ConfigChange> {
    let action = match (before, after) {
        (None, _) => "event_type.created",
        (Some(_), Some(_)) => "event_type.updated",
        (Some(_), None) => "event_type.deleted",
    };
    let side = |put: &EventTypePut| {
        let json = |text: &Option<String>| text.as_deref().map_or(Value::Null, read);
        let side = json!({
            "description": put.description, "schema": json(&put.schema), "example": json(&put.example),
            "deprecated": put.deprecated,
        });
        side.as_object().cloned().unwrap_or_default()
    };
    let about = About {
        action,
        target: after.or(before)?.event_type.to_string(),
        tenant: None,
        before: before.map(side),
        after: after.map(side),
    };
    entry(shared, about).map(ConfigChange::Audited)
}

/// Of a delivery that is retried or cancelled.
pub(super) fn of_delivery(
    shared: &Shared,
    action: &'static str,
    found: &StoredDelivery,
    after: &'static str,
) -> Option<DeliveryChange> {
    let state = |state: &str| Some(members([("state", json!(state))]));
    let about = About {
        action,
        target: found.delivery.id().to_string(),
        tenant: found.event.as_ref().and_then(|event| event.tenant.clone()),
        before: state(shared.state_of(&found.delivery)),
        after: state(after),
    };
    entry(shared, about).map(DeliveryChange::Audited)
}

/// Of an event that is replayed: to how many endpoints, and to which one if one was named.
pub(super) fn of_replay(
    shared: &Shared,
    event: &EventFacts,
    endpoint: Option<EndpointId>,
    deliveries: u32,
) -> Option<DeliveryChange> {
    let after = [("deliveries", json!(deliveries)), ("endpoint", json!(endpoint))];
    let about = About {
        action: "event.replayed",
        target: event.id.to_string(),
        tenant: event.tenant.clone(),
        before: None,
        after: Some(members(after)),
    };
    entry(shared, about).map(DeliveryChange::Audited)
}

/// Of an event whose payload is erased.
pub(super) fn of_erasure(shared: &Shared, event: &EventFacts, erase: &Erase) -> Option<Box<AuditEntry>> {
    let about = About {
        action: "event.erased",
        target: event.id.to_string(),
        tenant: event.tenant.clone(),
        before: None,
        after: Some(members([("cancel", json!(erase.cancel))])),
    };
    entry(shared, about)
}

/// Of a recovery that begins; [`recovered_so_far`] says how far it has come.
pub(super) fn of_recovery(shared: &Shared, endpoint: &Endpoint) -> Option<Box<AuditEntry>> {
    let about = About {
        action: "endpoint.recovered",
        target: endpoint.id.to_string(),
        tenant: endpoint.spec.tenant.clone(),
        before: None,
        after: None,
    };
    entry(shared, about)
}

pub(super) fn recovered_so_far(
    begun: &AuditEntry,
    request: &RecoverRequest,
    recovered: &Recovered,
) -> DeliveryChange {
    let after = [
        ("what", json!(request.what)),
        ("since", json!(request.since)),
        ("until", json!(request.until)),
        ("status", json!(request.status)),
        ("failed", json!(recovered.failed)),
        ("delivered", json!(recovered.delivered)),
        ("missing", json!(recovered.missing)),
    ];
    DeliveryChange::Audited(Box::new(AuditEntry {
        after: Some(kept(members(after))),
        ..begun.clone()
    }))
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let members = members.into_iter();
    members.map(|(name, value)| (name.to_owned(), value)).collect()
}
