//! `/v1/keys`: who may use the API over TCP.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    document::{All, Answer, Document, Id, all},
    json::Shape,
    params::NoParams,
    problem::{Kind, Problem},
    router::Api,
};
use crate::{
    dispatch::engine::KeyView,
    domain::{
        duration::Span,
        event::{Label, is_unsafe},
        id::KeyId,
        limits,
        record::Role,
        text,
        time::Timestamp,
    },
};

/// A key as it is shown: without its hash.
#[derive(Serialize)]
pub struct KeyDocument {
    id: KeyId,
    name: String,
    role: Role,
    /// The only one whose things it reaches; of none, it reaches everything that its role allows.
    tenant: Option<Label>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl From<&KeyView> for KeyDocument {
    fn from(key: &KeyView) -> Self {
        let KeyView {
            id,
            name,
            role,
            tenant,
            created_at,
            expires_at,
            hash: _,
        } = key.clone();
        Self {
            id,
            name,
            role,
            tenant,
            created_at,
            expires_at,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    name: String,
    role: Role,
    #[serde(default)]
    tenant: Option<Label>,
    #[serde(default)]
    expires_in: Option<Span>,
}

impl Shape for NewKey {
    const REQUIRED: &'static [&'static str] = &["name", "role"];
}

impl NewKey {
    fn check(&self) -> Answer<()> {
        let refuse = |field, rule| Err(Problem::of_field(Kind::Invalid, field, rule));
        if !(1..=limits::TEXT_BYTES).contains(&self.name.len()) || self.name.chars().any(is_unsafe) {
            return refuse("name", "use 1 to 1024 bytes without control characters");
        }
        let tenant = self.tenant.as_ref().map_or("", Label::as_str);
        for (field, text) in [("name", self.name.as_str()), ("tenant", tenant)] {
            if let Err(rule) = text::check_seen(text) {
                return refuse(field, rule);
            }
        }
        if self.expires_in == Some(Span::ZERO) {
            return refuse(
                "expires_in",
                "is not a length of time to come; leave it out for a key that does not expire",
            );
        }
        Ok(())
    }
}

/// Answers with the key itself, which is shown this once.
pub async fn create(
    State(api): State<Api>,
    _: NoParams,
    Document(new, _): Document<NewKey>,
) -> Answer<(StatusCode, Json<Value>)> {
    new.check()?;
    let expires_at = new
        .expires_in
        .map(|span| api.engine.now().plus(span.as_duration()));
    let (key, secret) = api
        .engine
        .create_key(new.name, new.role, new.tenant, expires_at)
        .await?;
    let mut document = serde_json::json!(KeyDocument::from(&*key));
    document["key"] = secret.into();
    Ok((StatusCode::CREATED, Json(document)))
}

pub async fn list(State(api): State<Api>, _: NoParams) -> Json<All<KeyDocument>> {
    all(api
        .engine
        .keys()
        .iter()
        .map(|key| KeyDocument::from(&**key))
        .collect())
}

pub async fn revoke(State(api): State<Api>, Id(id): Id<KeyId>, _: NoParams) -> Answer<StatusCode> {
    api.engine.revoke_key(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::json;

    fn field(text: &str) -> Option<String> {
        let read = json::read_strictly::<NewKey>(text.as_bytes());
        let problem = read.and_then(|(key, _)| key.check()).err()?;
        Some(problem.errors()[0].field.clone())
    }

    #[test]
    fn a_key_has_a_name_and_a_role() {
        assert_eq!(field(r#"{"name":"ci","role":"sender","expires_in":"90d"}"#), None);
        assert_eq!(field(r#"{"name":"","role":"sender"}"#).as_deref(), Some("name"));
        assert_eq!(
            field(r#"{"name":"a\u001b[0m","role":"sender"}"#).as_deref(),
            Some("name")
        );
        assert_eq!(field(r#"{"name":"ci"}"#).as_deref(), Some("role"));
        assert_eq!(field(r#"{"name":"ci","role":"root"}"#).as_deref(), Some("role"));
        assert_eq!(
            field(r#"{"name":"ci","role":"sender","expires_in":"0s"}"#).as_deref(),
            Some("expires_in")
        );
    }

    #[test]
    fn a_tenant_is_a_label() {
        assert_eq!(field(r#"{"name":"ci","role":"viewer","tenant":"a"}"#), None);
        assert_eq!(field(r#"{"name":"ci","role":"viewer","tenant":null}"#), None);
        for bad in ["\"\"", "1", "[]", r#""a\n""#] {
            assert_eq!(
                field(&format!(r#"{{"name":"ci","role":"viewer","tenant":{bad}}}"#)).as_deref(),
                Some("tenant"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_key_is_shown_without_its_hash() {
        let key = KeyView {
            id: KeyId::new(Timestamp::EPOCH, 1),
            name: "ci".into(),
            role: Role::Viewer,
            tenant: None,
            created_at: Timestamp::EPOCH,
            expires_at: None,
            hash: [7; 32],
        };
        let shown = serde_json::json!(KeyDocument::from(&key));
        let names: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["created_at", "expires_at", "id", "name", "role", "tenant"]
        );
    }
}
