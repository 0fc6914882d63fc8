//! An endpoint's configuration as a document: read, merged, sealed, shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    error::EngineError,
    rotation, spelling, veil,
    view::{DisabledView, EndpointView, ShortfallView, VerificationView},
};
use crate::{
    domain::{
        endpoint::{Endpoint, EndpointSpec, MEMBERS, Notes, Standing},
        format::Algorithm,
        id::{AttemptId, DeliveryKey, EndpointId},
        outcome::Reason,
        plain,
        profile::{Preset, Profiles, SETTLED},
        refusal::without_value,
    },
    runtime::seal::{SealError, Sealer},
    storage::stored::StoredEndpoint,
};

/// What is shown in place of a secret, and means "unchanged" when it comes back.
pub(super) const HIDDEN: &str = "***";

/// The members that are secrets whole, beside headers and signatures: of which member, and which.
const SECRETS: [(&str, &str); 4] = [
    ("auth", "password"),
    ("auth", "token"),
    ("auth", "client_secret"),
    ("tls", "client_key_pem"),
];

/// Why a stored configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("cannot unseal an endpoint")]
    Seal(#[from] SealError),
    #[error("cannot read an endpoint's configuration")]
    Json(#[from] serde_json::Error),
}

/// What is sealed: an endpoint's configuration, and what the server notes of it. The first releases sealed the
/// configuration alone, which reads as one without notes.
#[derive(Serialize, Deserialize)]
struct Kept<Spec> {
    spec: Spec,
    #[serde(default)]
    notes: Notes,
}

pub(super) fn seal(
    sealer: &Sealer,
    id: EndpointId,
    spec: &EndpointSpec,
    notes: &Notes,
) -> Result<Vec<u8>, DocumentError> {
    let notes = notes.clone();
    Ok(sealer.seal(id.as_bytes(), &serde_json::to_vec(&Kept { spec, notes })?))
}

pub(super) fn unseal(
    sealer: &Sealer,
    id: EndpointId,
    row: &StoredEndpoint,
) -> Result<Endpoint, DocumentError> {
    let document: Value = serde_json::from_slice(&sealer.open(id.as_bytes(), &row.sealed)?)?;
    let Kept { spec, notes } = if document.get("spec").is_some() {
        serde_json::from_value(document)?
    } else {
        let spec = serde_json::from_value(document)?;
        let notes = Notes::default();
        Kept { spec, notes }
    };
    Ok(Endpoint {
        id,
        created_at: row.created_at,
        updated_at: row.updated_at,
        standing: row.standing,
        spec,
        notes,
    })
}

/// Reads an endpoint's document: its profile fills in what it leaves out, and every scheme gets a secret unless the
/// profile wants it from a person.
///
/// # Errors
/// `Invalid` names the member at fault.
pub(super) fn read(
    profiles: &Profiles,
    mut document: Map<String, Value>,
) -> Result<EndpointSpec, EngineError> {
    // A null is a member left out.
    document.retain(|_, value| !value.is_null());
    let given = Value::Object(document);
    spelling::check(&given)?;
    let preset = preset(profiles, given.get("profile"))?;
    let mut document = given;
    if let Value::Object(document) = &mut document {
        preset.fill(document);
    }
    refuse_hidden(&document)?;
    let mut spec: EndpointSpec = parse(document)?;
    rotation::complete(&mut spec.signatures, &[], preset.secret_required)?;
    Ok(spec)
}

fn parse(document: Value) -> Result<EndpointSpec, EngineError> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let field = error.path().to_string();
        let rule = without_value(&plain::words(&error.into_inner().to_string()));
        EngineError::Invalid { field, rule }
    })
}

fn preset<'a>(profiles: &'a Profiles, name: Option<&Value>) -> Result<&'a Preset, EngineError> {
    let invalid = |rule: String| EngineError::Invalid {
        field: "profile".to_owned(),
        rule,
    };
    let name = match name {
        None => Default::default(),
        Some(name) => serde_json::from_value(name.clone())
            .map_err(|error| invalid(without_value(&error.to_string())))?,
    };
    profiles.get(&name).ok_or_else(|| {
        let known: Vec<&str> = profiles.names().map(|name| name.as_str()).collect();
        invalid(format!(
            "there is no profile {name}; those are {}",
            known.join(", ")
        ))
    })
}

/// Applies a JSON merge patch (RFC 7396) to a configuration. Hidden secrets that come back stay as they are.
///
/// A member set to null goes back to what the profile says; another profile takes all that it settles with it, but for
/// what the patch says itself.
pub(super) fn patch(
    profiles: &Profiles,
    spec: &EndpointSpec,
    patch: &Value,
) -> Result<EndpointSpec, EngineError> {
    let Value::Object(members) = patch else {
        return Err(EngineError::Invalid {
            field: String::new(),
            rule: "the patch is not a JSON object".to_owned(),
        });
    };
    spelling::check(patch)?;
    let storage = |error| EngineError::Storage(Box::new(DocumentError::Json(error)));
    let mut document = serde_json::to_value(spec).map_err(storage)?;
    let before = document.clone();
    if let (Some(profile), Value::Object(document)) = (members.get("profile"), &mut document)
        && *profile != before["profile"]
    {
        document.retain(|name, _| !SETTLED.contains(&name.as_str()));
    }
    for (name, value) in members {
        if value.is_null() && !MEMBERS.contains(&name.as_str()) {
            return Err(EngineError::Invalid {
                field: name.clone(),
                rule: format!("is no member of an endpoint; those are {}", MEMBERS.join(", ")),
            });
        }
        merge_member(&mut document, name, value);
    }
    let preset = preset(profiles, document.get("profile"))?;
    if let Value::Object(document) = &mut document {
        preset.fill(document);
    }
    restore(&mut document, &before);
    refuse_hidden(&document)?;
    let saved = &spec.signatures;
    let mut spec = parse(document)?;
    rotation::complete(&mut spec.signatures, saved, preset.secret_required)?;
    Ok(spec)
}

fn merge_member(target: &mut Value, name: &str, value: &Value) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    match value {
        Value::Null => _ = members.remove(name),
        // These are chosen among shapes: a new one replaces the old one whole.
        Value::Object(_) if name == "retry" || name == "auth" => {
            _ = members.insert(name.to_owned(), value.clone());
        }
        Value::Object(inner) => {
            let place = members.entry(name.to_owned()).or_insert(Value::Null);
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            for (name, value) in inner {
                merge_member(place, name, value);
            }
        }
        other => _ = members.insert(name.to_owned(), other.clone()),
    }
}

/// Puts back what was hidden, where the same place held it before; a signature given without its secret keeps it.
fn restore(document: &mut Value, before: &Value) {
    veil::lift(document, before);
    // A client's secret is for the token endpoint that it was given for.
    let elsewhere = document["auth"]["token_url"] != before["auth"]["token_url"];
    for (member, name) in SECRETS {
        if name != "client_secret" || !elsewhere {
            restore_at(document, before, &format!("/{member}/{name}"));
        }
    }
    let names: Vec<String> = document["headers"]
        .as_object()
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default();
    for name in names {
        restore_at(
            document,
            before,
            &format!("/headers/{}", name.replace('~', "~0").replace('/', "~1")),
        );
    }
    let old = before["signatures"].as_array().cloned().unwrap_or_default();
    for signature in document["signatures"].as_array_mut().into_iter().flatten() {
        let same = old.iter().find(|old| old["scheme"] == signature["scheme"]);
        let saved = same.and_then(|same| Some((same, same.get("secret")?)));
        // Another algorithm, and no secret of it: one is made. What hides a secret stays where there is none to keep, and
        // is refused: to make one would change what the receiver has to know.
        let is_kept = |same| match signature.get("secret") {
            None => has_algorithm_of(signature, same),
            Some(secret) => secret == HIDDEN,
        };
        let kept = saved.filter(|(same, _)| is_kept(same)).map(|(_, secret)| secret);
        if let (Some(secret), Some(members)) = (kept, signature.as_object_mut()) {
            members.insert("secret".into(), secret.clone());
        }
    }
}

/// Whether a signature is said to be of the algorithm of a saved one, or not said to be of another.
fn has_algorithm_of(signature: &Value, saved: &Value) -> bool {
    let unsaid = Value::from(Algorithm::Hmac.as_str());
    let saved = saved.get("algorithm").unwrap_or(&unsaid);
    signature.get("algorithm").is_none_or(|said| said == saved)
}

/// A hidden secret that stands for nothing must not be sent as if it were one.
fn refuse_hidden(document: &Value) -> Result<(), EngineError> {
    let headers = document["headers"].as_object().into_iter().flatten();
    let header = headers
        .filter(|(_, value)| *value == HIDDEN)
        .map(|(name, _)| format!("headers.{name}"))
        .next();
    let secret = SECRETS
        .into_iter()
        .find(|(member, name)| document[member][name] == HIDDEN)
        .map(|(member, name)| format!("{member}.{name}"));
    let signatures = document["signatures"].as_array().into_iter().flatten();
    let signature = signatures
        .zip(0_usize..)
        .find(|(signature, _)| signature["secret"] == HIDDEN)
        .map(|(_, at)| format!("signatures[{at}].secret"));
    match header.or_else(|| veil::left(document)).or(secret).or(signature) {
        None => Ok(()),
        Some(field) => Err(EngineError::Invalid {
            field,
            rule: "is the text that hides a secret, and there is none to keep; give the secret itself"
                .to_owned(),
        }),
    }
}

fn restore_at(document: &mut Value, before: &Value, pointer: &str) {
    if let Some(place) = document.pointer_mut(pointer)
        && place == HIDDEN
        && let Some(old) = before.pointer(pointer)
    {
        *place = old.clone();
    }
}

/// The endpoint as it is shown: without secrets.
pub(super) fn show(endpoint: &Endpoint) -> EndpointView {
    let mut settings = match serde_json::to_value(&endpoint.spec) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    for own in ["url", "profile", "enabled"] {
        settings.remove(own);
    }
    hide(&mut settings);
    EndpointView {
        id: endpoint.id,
        url: endpoint.spec.url.to_string(),
        state: endpoint.standing.state,
        disabled_reason: disabled(&endpoint.standing),
        verification: verification(endpoint),
        state_since: endpoint.standing.since,
        created_at: endpoint.created_at,
        updated_at: endpoint.updated_at,
        profile: endpoint.spec.profile.clone(),
        warnings: Vec::new(),
        settings,
    }
}

/// The members of a configuration that say something, secrets hidden.
pub(super) fn settings(spec: &EndpointSpec) -> Map<String, Value> {
    let Ok(Value::Object(mut members)) = serde_json::to_value(spec) else {
        return Map::new();
    };
    hide(&mut members);
    members.retain(|_, value| !value.is_null());
    members
}

/// The members in which two configurations differ, before and after, secrets hidden.
pub(super) fn differences(before: &EndpointSpec, after: &EndpointSpec) -> BTreeMap<String, (Value, Value)> {
    let members = |spec| match serde_json::to_value(spec) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let hidden = |mut members: Map<String, Value>| {
        hide(&mut members);
        members
    };
    let (before, after) = (members(before), members(after));
    let (shown_before, shown_after) = (hidden(before.clone()), hidden(after.clone()));
    let of = |members: &Map<String, Value>, name: &str| members.get(name).cloned().unwrap_or_default();
    MEMBERS
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| (name.to_owned(), (of(&shown_before, name), of(&shown_after, name))))
        .collect()
}

/// Puts the text that hides a secret in its place.
pub(super) fn conceal(secret: &mut Value) {
    *secret = HIDDEN.into();
}

fn hide(settings: &mut Map<String, Value>) {
    for value in settings
        .get_mut("headers")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        conceal(value.1);
    }
    for (member, name) in SECRETS {
        if let Some(value) = settings.get_mut(member).and_then(|group| group.get_mut(name)) {
            conceal(value);
        }
    }
    veil::draw(settings);
    for signature in settings
        .get_mut("signatures")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(secret) = signature.get_mut("secret") {
            conceal(secret);
        }
    }
}

pub(super) fn disabled(standing: &Standing) -> Option<DisabledView> {
    standing.disabled.map(|disabled| DisabledView {
        why: disabled.why.as_str(),
        reason: disabled.reason.map(Reason::as_str),
        status: disabled.status,
        attempt_id: standing
            .disabled_by
            .map(|(began, lsn)| AttemptId::new(began, DeliveryKey::new(lsn, 0))),
        at: standing.since,
    })
}

/// How far an endpoint's handshake has come; never the code.
pub(super) fn verification(endpoint: &Endpoint) -> Option<VerificationView> {
    let noted = endpoint.notes.verification.as_ref()?;
    Some(VerificationView {
        state: noted.state.as_str(),
        method: endpoint.spec.handshake.as_str(),
        last_error: noted.last_error.as_ref().map(|error| ShortfallView {
            reason: error.reason.clone(),
            status: error.status,
            detail: error.detail.clone(),
        }),
        last_attempt_at: noted.last_attempt_at,
        verified_at: noted.verified_at,
        next_attempt_at: noted.next_at,
        tries_left: noted.code.as_ref().map(|code| code.tries_left),
        allowed_per_minute: noted.allowed_per_minute,
    })
}

/// The `signatures` member with its secrets.
pub(super) fn secrets(spec: &EndpointSpec) -> Vec<Value> {
    spec.signatures
        .iter()
        .filter_map(|signature| serde_json::to_value(signature).ok())
        .collect()
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
