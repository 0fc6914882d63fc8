//! Svix: `EndpointOut` of its public API, version 1.
//!
//! Svix sends the payload as it is, signed with the headers `svix-id`, `svix-timestamp` and `svix-signature`, and tries
//! again after 5 s, 5 m, 30 m, 2 h, 5 h, 10 h and 10 h.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Imported, signature};

/// The answer of a list, or the list itself.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Listed {
    Page {
        data: Vec<Endpoint>,
        #[serde(default)]
        done: Option<bool>,
    },
    All(Vec<Endpoint>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Endpoint {
    id: String,
    uid: Option<String>,
    url: String,
    #[serde(default)]
    description: String,
    filter_types: Option<Vec<String>>,
    /// The newer name of `filterTypes`.
    event_types: Option<Vec<String>>,
    channels: Option<Vec<String>>,
    throttle_rate: Option<u32>,
    /// The older name of `throttleRate`.
    rate_limit: Option<u32>,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    headers: Option<BTreeMap<String, String>>,
    secret: Option<Secret>,
}

/// A secret, or the answer that holds it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Secret {
    Key { key: String },
    Text(String),
}

impl Secret {
    /// With the prefix, which Svix takes as understood.
    fn text(self) -> String {
        let (Self::Key { key: text } | Self::Text(text)) = self;
        if text.starts_with("wh") {
            text
        } else {
            format!("whsec_{text}")
        }
    }
}

const RETRIES: [&str; 7] = ["5s", "5m", "30m", "2h", "5h", "10h", "10h"];

pub(super) fn entries(
    listed: Listed,
    mut secrets: BTreeMap<String, Secret>,
    new_secrets: bool,
) -> anyhow::Result<Imported> {
    let (endpoints, done) = match listed {
        Listed::Page { data, done } => (data, done),
        Listed::All(endpoints) => (endpoints, None),
    };
    let mut imported = Imported::default();
    if done == Some(false) {
        imported.leave("the list", "there are more pages; import each of them");
    }
    for endpoint in endpoints {
        let secret = endpoint.secret.clone().or_else(|| secrets.remove(&endpoint.id));
        imported.entries.push(endpoint.entry(secret, new_secrets)?);
    }
    Ok(imported)
}

impl Endpoint {
    fn entry(self, secret: Option<Secret>, new_secrets: bool) -> anyhow::Result<Map<String, Value>> {
        let name = self.uid.unwrap_or_else(|| self.id.clone());
        let secret = secret.map(Secret::text);
        let rate = self.throttle_rate.or(self.rate_limit).filter(|rate| *rate > 0);
        let members = [
            ("name", Some(json!(name))),
            (
                "description",
                (!self.description.is_empty()).then(|| json!(self.description)),
            ),
            ("url", Some(json!(self.url))),
            (
                "events",
                self.event_types.or(self.filter_types).map(|types| json!(types)),
            ),
            ("channels", self.channels.map(|channels| json!(channels))),
            (
                "rate",
                rate.map(|rate| json!({ "per_second": rate, "burst": rate })),
            ),
            ("enabled", self.disabled.then_some(json!(false))),
            ("headers", self.headers.map(|headers| json!(headers))),
            ("metadata", Some(json!(self.metadata))),
            ("envelope", Some(json!("bare"))),
            ("retry", Some(json!({ "delays": RETRIES }))),
            ("signatures", Some(signature(&name, "svix", secret, new_secrets)?)),
        ];
        Ok(members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"{"data": [
        {"id": "ep_1srOrx2ZWZBpBUvZwXKQmoEYga2", "uid": "billing", "url": "https://example.com/webhook/",
         "version": 1, "description": "An example", "filterTypes": ["user.signup"], "channels": ["project_123"],
         "rateLimit": 10, "throttleRate": null, "disabled": true, "metadata": {"k": "v"},
         "createdAt": "2019-08-24T14:15:22Z", "updatedAt": "2019-08-24T14:15:22Z"},
        {"id": "ep_2", "url": "https://example.com/2", "version": 1, "description": "", "metadata": {},
         "secret": {"key": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
         "createdAt": "2019-08-24T14:15:22Z", "updatedAt": "2019-08-24T14:15:22Z"}
      ], "iterator": "i", "done": true}"#;

    fn imported(page: &str, secrets: &str) -> anyhow::Result<Imported> {
        entries(
            serde_json::from_str(page).unwrap(),
            serde_json::from_str(secrets).unwrap(),
            false,
        )
    }

    #[test]
    fn endpoints_keep_their_secrets_types_and_pace() {
        let secrets = r#"{"ep_1srOrx2ZWZBpBUvZwXKQmoEYga2": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}"#;
        let entries = imported(PAGE, secrets).unwrap().entries;
        let first = Value::Object(entries[0].clone());
        assert_eq!(first["name"], "billing");
        assert_eq!(
            (&first["events"], &first["channels"]),
            (&json!(["user.signup"]), &json!(["project_123"]))
        );
        assert_eq!(
            (&first["enabled"], &first["rate"]["per_second"]),
            (&json!(false), &json!(10))
        );
        assert_eq!(
            first["signatures"],
            json!([{"scheme": "svix", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}])
        );
        assert_eq!(
            (&first["envelope"], &first["retry"]["delays"][6]),
            (&json!("bare"), &json!("10h"))
        );
        let second = Value::Object(entries[1].clone());
        assert_eq!(second["name"], "ep_2");
        assert!(second.get("events").is_none() && second.get("enabled").is_none());
        assert_eq!(
            second["signatures"][0]["secret"],
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
        );
    }

    #[test]
    fn an_endpoint_without_its_secret_is_refused_and_a_page_too_few_is_named() {
        let error = imported(PAGE, "{}").unwrap_err().to_string();
        assert!(
            error.contains("billing") && error.contains("--new-secrets"),
            "{error}"
        );
        let cut = PAGE.replace("\"done\": true", "\"done\": false");
        let secrets =
            r#"{"ep_1srOrx2ZWZBpBUvZwXKQmoEYga2": {"key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}"#;
        assert!(imported(&cut, secrets).unwrap().left_behind[0].contains("more pages"));
    }
}
