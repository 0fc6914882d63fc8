//! Applying: making the endpoints be what a document says.
//!
//! Endpoints are told apart by their names, within their tenants. What an entry does not say goes back to its default;
//! secrets that it leaves out stay as they are, and so does the state of an endpoint that rules have disabled. The whole
//! document is judged before any of it is applied, and is saved at once: whatever goes wrong, all of it is applied or
//! nothing. Applied twice, it changes nothing the second time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;

use super::{
    audit, document,
    edit::Edit,
    endpoints::Room,
    engine::{Engine, Shared},
    error::EngineError,
    locks::Held,
    weight,
};
use crate::domain::{
    configuration::ConfigChange,
    endpoint::{Endpoint, EndpointSpec, MEMBERS},
    event::Label,
    id::EndpointId,
    record::EndpointDeleted,
};

/// What became, or would become, of the endpoints.
#[derive(Debug, Default, Serialize)]
pub struct Applied {
    pub created: Vec<Change>,
    pub changed: Vec<Change>,
    pub removed: Vec<Change>,
    pub unchanged: u64,
    /// What is to be known of endpoints that were created or changed, each with its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Nothing was written.
    pub dry_run: bool,
}

/// One endpoint that differs.
#[derive(Debug, Serialize)]
pub struct Change {
    /// `None` for one that a dry run would create.
    pub id: Option<EndpointId>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The members that differ, before and after; secrets are hidden.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, (Value, Value)>,
}

/// An entry that was judged.
struct Planned {
    edit: Edit,
    /// What the endpoint takes of memory as it is; nothing for one that is created.
    before: Option<usize>,
    change: Change,
    warnings: Vec<String>,
}

impl Engine {
    /// Makes the endpoints be what `entries` say; with `prune`, those of their tenants that no entry names are deleted.
    ///
    /// # Errors
    /// `Invalid` names the entry and the member at fault. Nothing was changed, but with `NotVisible` and `Unknown`.
    pub async fn apply_endpoints(
        &self,
        entries: Vec<Map<String, Value>>,
        prune: bool,
        dry_run: bool,
    ) -> Result<Applied, EngineError> {
        let shared = &self.0;
        let one_at_a_time = shared.configuring_all_of(&entries).await;
        shared.storage.get()?;
        let mut applied = Applied {
            dry_run,
            ..Applied::default()
        };
        let (mut planned, mut left_over) = shared.plan(entries, &mut applied)?;
        put_in_order(&mut planned);
        if !prune {
            left_over.clear();
        }
        let room = shared.check_room(&planned, &left_over)?;
        let (mut changes, at) = (Vec::new(), self.now());
        let mut deleted = Vec::with_capacity(left_over.len());
        for endpoint in left_over {
            let id = endpoint.id;
            changes.push(ConfigChange::EndpointDeleted(EndpointDeleted { id, at }));
            changes.extend(audit::of_endpoint(
                shared,
                "endpoint.deleted",
                Some(&endpoint),
                None,
            ));
            deleted.push(id);
            applied.removed.push(Change {
                id: Some(id),
                name: named(&endpoint),
                tenant: endpoint.spec.tenant.as_ref().map(ToString::to_string),
                members: BTreeMap::new(),
            });
        }
        for Planned {
            edit,
            before,
            mut change,
            warnings,
        } in planned
        {
            let named = |warning| format!("endpoint {:?}: {warning}", change.name);
            applied.warnings.extend(warnings.into_iter().map(named));
            match before {
                Some(_) => applied.changed.push(change),
                None => {
                    change.id = (!dry_run).then_some(edit.endpoint.id);
                    applied.created.push(change);
                }
            }
            changes.extend(edit.into_changes(shared)?);
        }
        if !dry_run {
            let _held = shared
                .save_and_clear((one_at_a_time, room), changes, deleted)
                .await?;
        }
        Ok(applied)
    }
}

/// Keeps others from changing endpoints of some tenants.
struct Configuring {
    // In this order: another document waits for the first alone.
    _tenants: Vec<Held<Option<Label>>>,
    _applying: OwnedMutexGuard<()>,
}

impl Shared {
    /// Waits until nobody changes the endpoints of the tenants that entries name. Only here is more than one tenant waited
    /// for, by one document at a time, so that nobody waits in a circle.
    async fn configuring_all_of(&self, entries: &[Map<String, Value>]) -> Configuring {
        let applying = self.applying.clone().lock_owned().await;
        let tenants: BTreeSet<Option<Label>> = entries
            .iter()
            // What is no tenant is refused when it is read.
            .filter_map(|entry| match entry.get("tenant") {
                None | Some(Value::Null) => Some(None),
                Some(tenant) => tenant.as_str()?.parse().ok().map(Some),
            })
            .collect();
        let mut held = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            held.push(self.configuring.lock(tenant).await);
        }
        Configuring {
            _tenants: held,
            _applying: applying,
        }
    }

    /// Whether the endpoints to come find room when those to go have gone.
    fn check_room(self: &Arc<Self>, planned: &[Planned], removed: &[Endpoint]) -> Result<Room, EngineError> {
        let planned_weights = planned.iter().map(|plan| {
            let spec = &plan.edit.endpoint.spec;
            let before = plan.before.unwrap_or_default();
            (&spec.tenant, before, weight::of_endpoint(spec))
        });
        let removed_weights = removed
            .iter()
            .map(|endpoint| (&endpoint.spec.tenant, weight::of_endpoint(&endpoint.spec), 0));
        self.check_memory(removed_weights.chain(planned_weights))?;
        let created = planned.iter().filter(|plan| plan.before.is_none()).count();
        self.room_for_endpoints(created.saturating_sub(removed.len()))
    }

    /// Judges every entry. Answers what there is to do, and the endpoints that no entry names.
    fn plan(
        &self,
        entries: Vec<Map<String, Value>>,
        applied: &mut Applied,
    ) -> Result<(Vec<Planned>, Vec<Endpoint>), EngineError> {
        let mut left: BTreeMap<(Option<String>, String), Vec<Endpoint>> = BTreeMap::new();
        for endpoint in self.registry.all() {
            let tenant = endpoint.spec.tenant.as_ref().map(ToString::to_string);
            left.entry((tenant, named(&endpoint)))
                .or_default()
                .push((*endpoint).clone());
        }
        let mut planned = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (entry, at) in entries.into_iter().zip(0_usize..) {
            let in_entry = |error| in_entry(error, at);
            let key = key_of(&entry).map_err(in_entry)?;
            if !seen.insert(key.clone()) {
                return Err(in_entry(invalid(
                    "name",
                    "is there twice in its tenant; give each endpoint one of its own",
                )));
            }
            let mut found = left.remove(&key).unwrap_or_default();
            let plan = match (found.pop(), found.is_empty()) {
                (None, _) => Some(self.plan_creation(entry, &key).map_err(in_entry)?),
                (Some(endpoint), true) => self.plan_change(entry, &endpoint).map_err(in_entry)?,
                (Some(_), false) => {
                    return Err(in_entry(invalid(
                        "name",
                        "is that of several endpoints; rename all but one of them",
                    )));
                }
            };
            match plan {
                Some(plan) => planned.push(plan),
                None => applied.unchanged += 1,
            }
        }
        // A file that says nothing of a tenant says nothing about its endpoints.
        left.retain(|(tenant, _), _| seen.iter().any(|(named, _)| named == tenant));
        Ok((planned, left.into_values().flatten().collect()))
    }

    fn plan_creation(
        &self,
        entry: Map<String, Value>,
        key: &(Option<String>, String),
    ) -> Result<Planned, EngineError> {
        let edit = self.to_create(document::read(&self.options.profiles, entry)?)?;
        Ok(Planned {
            warnings: self.warnings(&edit.endpoint.spec),
            edit,
            before: None,
            change: Change {
                id: None,
                name: key.1.clone(),
                tenant: key.0.clone(),
                members: BTreeMap::new(),
            },
        })
    }

    /// `None` when there is nothing to change.
    fn plan_change(
        &self,
        entry: Map<String, Value>,
        endpoint: &Endpoint,
    ) -> Result<Option<Planned>, EngineError> {
        let mut entry = entry;
        if endpoint.spec.name.is_none() {
            // It is known by its id, which does not become its name.
            entry.remove("name");
        }
        let patch = replacement(&endpoint.spec, &entry);
        let mut spec = document::patch(&self.options.profiles, &endpoint.spec, &patch)?;
        let paused = endpoint.standing.state == crate::domain::endpoint::EndpointState::Paused;
        let wanted = spec.enabled.take();
        let turned = match wanted {
            Some(true) => paused,
            Some(false) => endpoint.is_active(),
            None => false,
        };
        let mut members = document::differences(&endpoint.spec, &spec);
        if turned {
            members.insert(
                "enabled".to_owned(),
                (Value::from(paused ^ true), Value::from(paused)),
            );
        }
        if members.is_empty() {
            return Ok(None);
        }
        // A rule that has disabled it is not overruled by a file that says what was said before.
        let edit = self.to_patch(endpoint, spec, wanted.filter(|_| turned))?;
        let change = Change {
            id: Some(endpoint.id),
            name: named(endpoint),
            tenant: endpoint.spec.tenant.as_ref().map(ToString::to_string),
            members,
        };
        Ok(Some(Planned {
            warnings: self.warnings(&edit.endpoint.spec),
            edit,
            before: Some(weight::of_endpoint(&endpoint.spec)),
            change,
        }))
    }
}

/// Gives endpoints that are created ids in the document's order, which is that of lists: of one millisecond, chance alone
/// would order them.
fn put_in_order(planned: &mut [Planned]) {
    let is_new = |plan: &&mut Planned| plan.before.is_none();
    let mut created: Vec<&mut Planned> = planned.iter_mut().filter(is_new).collect();
    let mut ids: Vec<EndpointId> = created.iter().map(|plan| plan.edit.endpoint.id).collect();
    ids.sort_unstable();
    for (plan, id) in created.iter_mut().zip(ids) {
        plan.edit.endpoint.id = id;
    }
}

/// What an endpoint is known by: its name, or its id when it has none.
fn named(endpoint: &Endpoint) -> String {
    endpoint
        .spec
        .name
        .clone()
        .unwrap_or_else(|| endpoint.id.to_string())
}

fn key_of(entry: &Map<String, Value>) -> Result<(Option<String>, String), EngineError> {
    let text = |name: &str| match entry.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid(name, "is not a text")),
    };
    let name = text("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| invalid("name", "is missing; an endpoint is found again by its name"))?;
    Ok((text("tenant")?, name))
}

/// The merge patch after which an endpoint says what `entry` says, and nothing else.
fn replacement(spec: &EndpointSpec, entry: &Map<String, Value>) -> Value {
    let current = serde_json::to_value(spec).unwrap_or_default();
    let mut patch = Map::new();
    for member in MEMBERS {
        if !entry.contains_key(member) && !["tenant", "enabled"].contains(&member) {
            patch.insert(member.to_owned(), Value::Null);
        }
    }
    for (name, value) in entry {
        let mut value = value.clone();
        if let (Value::Object(new), Some(Value::Object(old))) = (&mut value, current.get(name)) {
            for gone in old.keys() {
                new.entry(gone.clone()).or_insert(Value::Null);
            }
        }
        patch.insert(name.clone(), value);
    }
    Value::Object(patch)
}

fn invalid(field: &str, rule: &str) -> EngineError {
    EngineError::Invalid {
        field: field.to_owned(),
        rule: rule.to_owned(),
    }
}

fn in_entry(error: EngineError, at: usize) -> EngineError {
    match error {
        EngineError::Invalid { field, rule } => EngineError::Invalid {
            field: format!("endpoints[{at}].{field}"),
            rule,
        },
        other => other,
    }
}
