//! The audit log: who has changed what of the configuration.
//!
//! Who asks is known where a request comes in, which has it carried out by [`asked_by`]; every change that is saved meanwhile is
//! saved with an entry that names them, in the same record. What the server does of its own accord, such as disabling an
//! endpoint by a rule, is no entry: it is told of by operational events.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    document,
    engine::{Engine, Shared},
    error::EngineError,
    queries::{bad_cursor, filled},
    view::{Listed, Page},
};
use crate::{
    domain::{
        audit::AuditEntry,
        configuration::ConfigChange,
        endpoint::Endpoint,
        event::Label,
        id::AuditId,
        limits,
        record::{EventTypePut, KeyPut},
        time::Timestamp,
    },
    runtime::random,
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
    pub async fn audit(&self, page: &Page) -> Result<Listed<AuditView>, EngineError> {
        let shared = &self.0;
        let beyond = page.cursor.as_deref().map(str::parse).transpose();
        let beyond = beyond.map_err(|_| bad_cursor())?;
        let rows = shared
            .data
            .audit_entries(beyond, page.ascending, page.limit + 1)
            .await?;
        let cursor = |entry: &AuditEntry| entry.id.to_string();
        Ok(filled(rows, page.limit, cursor, |entry| {
            Some(shown(shared, entry))
        }))
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
fn entry(shared: &Shared, about: About) -> Option<ConfigChange> {
    let asked = ASKED.try_with(Clone::clone).ok()?;
    let at = shared.clock.now();
    Some(ConfigChange::Audited(Box::new(AuditEntry {
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
    })))
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
    entry(shared, about)
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
    entry(shared, about)
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
    entry(shared, about)
}
