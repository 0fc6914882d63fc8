//! Convoy: endpoints and subscriptions of its public API, version 1.
//!
//! Convoy sends the event's data as it is and signs it with the header `X-Convoy-Signature`, simple or advanced
//! (`pkg/signature` of frain-dev/convoy). A project may have chosen another hash, encoding or header; those choices are
//! not in these answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Imported, signature};

/// The answer of a list, its data, or the list itself.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Listed<T> {
    Answer { data: Page<T> },
    Page(Page<T>),
    All(Vec<T>),
}

#[derive(Deserialize)]
pub(super) struct Page<T> {
    content: Vec<T>,
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    #[serde(default)]
    has_next_page: bool,
}

impl<T> Listed<T> {
    fn rows(self, what: &str, imported: &mut Imported) -> Vec<T> {
        let page = match self {
            Self::Answer { data } => data,
            Self::Page(page) => page,
            Self::All(rows) => return rows,
        };
        if page.pagination.is_some_and(|pagination| pagination.has_next_page) {
            imported.leave(
                what,
                "there are more pages; ask for all of them at once with perPage",
            );
        }
        page.content
    }
}

#[derive(Deserialize)]
pub(super) struct Endpoint {
    uid: String,
    #[serde(alias = "title")]
    name: Option<String>,
    #[serde(alias = "target_url")]
    url: String,
    #[serde(default)]
    description: String,
    status: Option<String>,
    #[serde(default)]
    secrets: Vec<Secret>,
    #[serde(default)]
    advanced_signatures: bool,
    #[serde(default)]
    rate_limit: u32,
    #[serde(default)]
    rate_limit_duration: u32,
    #[serde(default)]
    http_timeout: u32,
    authentication: Option<Authentication>,
    owner_id: Option<String>,
    support_email: Option<String>,
}

#[derive(Deserialize)]
struct Secret {
    value: String,
    expires_at: Option<String>,
    deleted_at: Option<String>,
}

#[derive(Deserialize)]
struct Authentication {
    #[serde(rename = "type")]
    kind: Option<String>,
    api_key: Option<ApiKey>,
    basic_auth: Option<Basic>,
}

#[derive(Deserialize)]
struct ApiKey {
    header_name: String,
    header_value: String,
}

#[derive(Deserialize)]
struct Basic {
    username: String,
    password: String,
}

#[derive(Deserialize)]
pub(super) struct Subscription {
    #[serde(default)]
    name: String,
    endpoint_id: Option<String>,
    endpoint_metadata: Option<EndpointId>,
    filter_config: Option<Filter>,
    retry_config: Option<Retry>,
    function: Option<String>,
}

#[derive(Deserialize)]
struct EndpointId {
    uid: String,
}

#[derive(Deserialize)]
struct Filter {
    event_types: Option<Vec<String>>,
    filter: Option<Value>,
}

#[derive(Deserialize)]
struct Retry {
    #[serde(rename = "type")]
    kind: Option<String>,
    retry_count: Option<u32>,
    interval_seconds: Option<u64>,
    duration: Option<Value>,
}

impl Subscription {
    fn endpoint(&self) -> Option<&str> {
        let by_metadata = self
            .endpoint_metadata
            .as_ref()
            .map(|endpoint| endpoint.uid.as_str());
        by_metadata.or(self.endpoint_id.as_deref())
    }
}

pub(super) fn entries(
    endpoints: Listed<Endpoint>,
    subscriptions: Listed<Subscription>,
    new_secrets: bool,
) -> anyhow::Result<Imported> {
    let mut imported = Imported::default();
    let endpoints = endpoints.rows("the endpoints", &mut imported);
    let subscriptions = subscriptions.rows("the subscriptions", &mut imported);
    let mut names: BTreeMap<String, u32> = BTreeMap::new();
    for endpoint in &endpoints {
        *names.entry(endpoint.title().to_owned()).or_default() += 1;
    }
    for endpoint in endpoints {
        let own: Vec<_> = subscriptions
            .iter()
            .filter(|subscription| subscription.endpoint() == Some(&endpoint.uid))
            .collect();
        let alone = names.get(endpoint.title()) == Some(&1);
        let name = if alone {
            endpoint.title().to_owned()
        } else {
            endpoint.uid.clone()
        };
        if let Some(entry) = endpoint.entry(&name, &own, new_secrets, &mut imported)? {
            imported.entries.push(entry);
        }
    }
    Ok(imported)
}

impl Endpoint {
    fn title(&self) -> &str {
        self.name
            .as_deref()
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .unwrap_or(&self.uid)
    }

    /// `None` when no subscription sends it anything.
    fn entry(
        &self,
        name: &str,
        subscriptions: &[&Subscription],
        new_secrets: bool,
        imported: &mut Imported,
    ) -> anyhow::Result<Option<Map<String, Value>>> {
        let events: BTreeSet<&str> = subscriptions
            .iter()
            .flat_map(|subscription| subscription.types())
            .collect();
        if events.is_empty() {
            imported.leave(name, "no subscription names it, so that it got nothing");
            return Ok(None);
        }
        for subscription in subscriptions {
            subscription.leave_behind(name, imported);
        }
        let scheme = if self.advanced_signatures {
            "convoy_advanced"
        } else {
            "convoy"
        };
        let rate = (self.rate_limit > 0).then(|| {
            let seconds = f64::from(self.rate_limit_duration.max(1));
            json!({ "per_second": f64::from(self.rate_limit) / seconds, "burst": self.rate_limit })
        });
        let off = self.status.as_deref().is_some_and(|status| status != "active");
        let (auth, headers) = self.credentials(name, imported);
        let members = [
            ("name", Some(json!(name))),
            (
                "description",
                (!self.description.is_empty()).then(|| json!(self.description)),
            ),
            ("url", Some(json!(self.url))),
            ("events", Some(json!(events))),
            ("rate", rate),
            (
                "timeout",
                (1..=300)
                    .contains(&self.http_timeout)
                    .then(|| json!(format!("{}s", self.http_timeout))),
            ),
            ("enabled", off.then_some(json!(false))),
            ("auth", auth),
            ("headers", headers),
            ("metadata", Some(self.metadata())),
            ("envelope", Some(json!("bare"))),
            (
                "retry",
                subscriptions.iter().find_map(|subscription| subscription.retry()),
            ),
            (
                "signatures",
                Some(signature(name, scheme, self.secret(name, imported), new_secrets)?),
            ),
        ];
        let members = members.into_iter();
        Ok(Some(
            members
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect(),
        ))
    }

    /// The newest secret in force: Convoy appends.
    fn secret(&self, name: &str, imported: &mut Imported) -> Option<String> {
        let lasting = |secret: &&Secret| {
            let none = |text: &Option<String>| {
                text.as_deref()
                    .is_none_or(|text| text.is_empty() || text.starts_with("0001-"))
            };
            none(&secret.expires_at) && none(&secret.deleted_at)
        };
        let found: Vec<&Secret> = self.secrets.iter().filter(lasting).collect();
        if self.secrets.len() > 1 && self.advanced_signatures {
            imported.leave(name, "its older secrets, which were in their grace period");
        }
        found.last().map(|secret| secret.value.clone())
    }

    fn credentials(&self, name: &str, imported: &mut Imported) -> (Option<Value>, Option<Value>) {
        let Some(authentication) = &self.authentication else {
            return (None, None);
        };
        match authentication {
            Authentication {
                api_key: Some(key), ..
            } if !key.header_name.is_empty() => {
                (None, Some(json!({ key.header_name.as_str(): key.header_value })))
            }
            Authentication {
                basic_auth: Some(basic),
                ..
            } if !basic.username.is_empty() => {
                let Basic { username, password } = basic;
                (
                    Some(json!({ "type": "basic", "username": username, "password": password })),
                    None,
                )
            }
            Authentication { kind: Some(kind), .. } if !kind.is_empty() => {
                imported.leave(name, &format!("its authentication ({kind}); set auth by hand"));
                (None, None)
            }
            _ => (None, None),
        }
    }

    fn metadata(&self) -> Value {
        let all = [
            ("convoy_uid", Some(&self.uid)),
            ("convoy_owner_id", self.owner_id.as_ref()),
            ("support_email", self.support_email.as_ref()),
        ];
        let given = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), Value::from(value.as_str())))
            .collect::<Map<_, _>>()
            .into()
    }
}

impl Subscription {
    fn types(&self) -> Vec<&str> {
        let types = self
            .filter_config
            .as_ref()
            .and_then(|filter| filter.event_types.as_ref());
        match types {
            Some(types) if !types.is_empty() => types.iter().map(String::as_str).collect(),
            _ => vec!["*"],
        }
    }

    fn leave_behind(&self, name: &str, imported: &mut Imported) {
        let filter = self
            .filter_config
            .as_ref()
            .and_then(|filter| filter.filter.as_ref());
        let filled = |part: &str| {
            let part = filter.and_then(|filter| filter.get(part));
            part.and_then(Value::as_object)
                .is_some_and(|part| !part.is_empty())
        };
        if filled("body") || filled("headers") {
            imported.leave(
                name,
                &format!(
                    "the filter of its subscription {}; write it as a condition",
                    self.name
                ),
            );
        }
        if self
            .function
            .as_deref()
            .is_some_and(|function| !function.is_empty())
        {
            imported.leave(
                name,
                &format!(
                    "the function of its subscription {}; write it as a transform",
                    self.name
                ),
            );
        }
    }

    fn retry(&self) -> Option<Value> {
        let retry = self.retry_config.as_ref()?;
        let retries = retry.retry_count?.min(1000);
        let seconds = retry.seconds().filter(|seconds| *seconds > 0)?;
        Some(match retry.kind.as_deref() {
            Some("exponential") => json!({
                "base": format!("{seconds}s"), "factor": 2, "max": format!("{}s", seconds.max(7200)), "retries": retries,
            }),
            _ => json!({ "retries": retries, "delay": format!("{seconds}s") }),
        })
    }
}

impl Retry {
    /// The pause, which stands as a number of seconds or as `20s`.
    fn seconds(&self) -> Option<u64> {
        let by_duration = match &self.duration {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.strip_suffix('s').and_then(|text| text.parse().ok()),
            _ => None,
        };
        self.interval_seconds
            .filter(|seconds| *seconds > 0)
            .or(by_duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: &str = r#"{"status": true, "message": "ok", "data": {"content": [
        {"uid": "01A", "name": "Invoices", "url": "https://a.test/in", "description": "d", "status": "active",
         "secrets": [{"uid": "s0", "value": "old", "expires_at": "2026-01-01T00:00:00Z"}, {"uid": "s1", "value": "convoy-webhook-secret"}],
         "advanced_signatures": true, "rate_limit": 60, "rate_limit_duration": 60, "http_timeout": 10,
         "authentication": {"type": "api_key", "api_key": {"header_name": "X-Api-Key", "header_value": "k"}}, "owner_id": "o1"},
        {"uid": "01B", "name": "Twin", "url": "https://b.test/in", "status": "paused", "secrets": [{"value": "b"}],
         "authentication": {"type": "basic_auth", "basic_auth": {"username": "u", "password": "p"}}},
        {"uid": "01C", "name": "Twin", "url": "https://c.test/in", "secrets": [{"value": "c"}]}
      ], "pagination": {"has_next_page": true}}}"#;
    const SUBSCRIPTIONS: &str = r#"[
        {"uid": "1", "name": "one", "endpoint_metadata": {"uid": "01A"},
         "filter_config": {"event_types": ["invoice.paid"], "filter": {"headers": {}, "body": {"a": 1}}},
         "retry_config": {"type": "exponential", "duration": "20s", "retry_count": 20}},
        {"uid": "2", "name": "two", "endpoint_id": "01A", "filter_config": {"event_types": ["invoice.failed"]}},
        {"uid": "3", "name": "three", "endpoint_id": "01B", "retry_config": {"type": "linear", "interval_seconds": 30, "retry_count": 3}}
      ]"#;

    #[test]
    fn endpoints_and_their_subscriptions_become_entries() {
        let imported = entries(
            serde_json::from_str(ENDPOINTS).unwrap(),
            serde_json::from_str(SUBSCRIPTIONS).unwrap(),
            false,
        )
        .unwrap();
        let [first, second] = &imported.entries[..] else {
            panic!("{imported:?}");
        };
        assert_eq!(first["events"], json!(["invoice.failed", "invoice.paid"]));
        assert_eq!(
            first["signatures"],
            json!([{"scheme": "convoy_advanced", "secret": "convoy-webhook-secret"}])
        );
        assert_eq!(
            first["retry"],
            json!({"base": "20s", "factor": 2, "max": "7200s", "retries": 20})
        );
        assert_eq!(
            (&first["rate"]["per_second"], &first["timeout"]),
            (&json!(1.0), &json!("10s"))
        );
        assert_eq!(first["headers"], json!({"X-Api-Key": "k"}));
        assert_eq!(
            first["metadata"],
            json!({"convoy_uid": "01A", "convoy_owner_id": "o1"})
        );
        assert_eq!(
            (&second["name"], &second["enabled"]),
            (&json!("01B"), &json!(false))
        );
        assert_eq!(
            (&second["events"], &second["auth"]["username"]),
            (&json!(["*"]), &json!("u"))
        );
        assert_eq!(second["retry"], json!({"retries": 3, "delay": "30s"}));
        let told = imported.left_behind.join("\n");
        for part in [
            "the endpoints: there are more pages",
            "Invoices: the filter",
            "01C: no subscription",
            "older secrets",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn an_endpoint_without_a_secret_is_refused() {
        let bare = r#"[{"uid": "01A", "url": "https://a.test/in"}]"#;
        let read = |new_secrets| {
            entries(
                serde_json::from_str(bare).unwrap(),
                serde_json::from_str(SUBSCRIPTIONS).unwrap(),
                new_secrets,
            )
        };
        assert!(read(false).unwrap_err().to_string().contains("01A"));
        assert!(
            read(true).unwrap().entries[0]["signatures"][0]
                .get("secret")
                .is_none()
        );
    }
}
