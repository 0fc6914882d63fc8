//! Labels and secrets of an endpoint's document, as they are spelled.
//!
//! Only what a document gives is looked at: what was saved by an earlier release stays as it is, and can be changed
//! member by member.

use serde_json::Value;

use super::{document::HIDDEN, error::EngineError};
use crate::domain::text;

/// Where labels stand, and where secrets do: in which member, and in which of that.
const LABELS: [&str; 2] = ["name", "tenant"];
const SECRETS: [(&str, &str); 4] = [
    ("auth", "username"),
    ("auth", "password"),
    ("auth", "token"),
    ("auth", "client_secret"),
];

/// Refuses labels and secrets that are not seen as what they are. Never shows one.
///
/// # Errors
/// `Invalid` names the member and the rule.
pub(super) fn check(given: &Value) -> Result<(), EngineError> {
    for name in LABELS {
        check_text(|| name.to_owned(), &given[name])?;
    }
    for (channel, at) in items(&given["channels"]) {
        check_text(|| format!("channels[{at}]"), channel)?;
    }
    for (member, name) in SECRETS {
        check_text(|| format!("{member}.{name}"), &given[member][name])?;
    }
    for (signature, at) in items(&given["signatures"]) {
        check_text(|| format!("signatures[{at}].secret"), &signature["secret"])?;
    }
    Ok(())
}

/// Refuses one label or secret. Of another kind than text, or the text that hides a secret, is somebody else's affair.
///
/// # Errors
/// `Invalid` names the member and the rule.
pub(super) fn check_text(field: impl FnOnce() -> String, value: &Value) -> Result<(), EngineError> {
    let text = value.as_str().filter(|text| *text != HIDDEN);
    let rule = text.and_then(|text| text::check_seen(text).err());
    rule.map_or(Ok(()), |rule| {
        Err(EngineError::Invalid {
            field: field(),
            rule: rule.to_owned(),
        })
    })
}

fn items(list: &Value) -> impl Iterator<Item = (&Value, usize)> {
    list.as_array().into_iter().flatten().zip(0..)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_secrets_that_are_not_seen_are_refused_by_their_place() {
        let field = |given: Value| match check(&given) {
            Err(EngineError::Invalid { field, .. }) => Some(field),
            _ => None,
        };
        for (given, place) in [
            (json!({"tenant": "a "}), "tenant"),
            (json!({"name": "\u{a0}a"}), "name"),
            (json!({"channels": ["a", "b\u{200b}"]}), "channels[1]"),
            (
                json!({"auth": {"type": "basic", "username": "a", "password": "p "}}),
                "auth.password",
            ),
            (json!({"auth": {"token": "\u{feff}t"}}), "auth.token"),
            (
                json!({"signatures": [{"scheme": "github"}, {"scheme": "svix", "secret": "a\n"}]}),
                "signatures[1].secret",
            ),
        ] {
            assert_eq!(field(given.clone()).as_deref(), Some(place), "{given}");
        }
        for fine in [
            json!({}),
            json!({"tenant": "a b", "channels": null, "auth": "x", "name": 5}),
            json!({"signatures": [{"scheme": "github", "secret": "It's a Secret"}], "auth": {"password": "***"}}),
        ] {
            assert_eq!(field(fine.clone()), None, "{fine}");
        }
    }

    #[test]
    fn an_error_never_shows_the_secret() {
        let error = check(&json!({"auth": {"password": "hunter2\u{feff}"}})).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
