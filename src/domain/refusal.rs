//! What a parser says of a value that it refused, without the value.
//!
//! serde puts the value into its messages. It may be a secret that somebody has written at the wrong place, and the message
//! goes to logs, terminals and tickets. The place is named beside the message, so that nothing is lost.

/// How the messages begin that name a value (`serde::de::Error`), and what is said instead. What was expected stands at
/// their ends.
const NAMING: [(&str, &str); 3] = [
    ("invalid type: ", "is of the wrong kind"),
    ("invalid value: ", "has a value that cannot be used"),
    ("unknown variant ", "is none of the words there are"),
];

/// The message of a serde error, without the value that it names.
pub fn without_value(message: &str) -> String {
    for (beginning, instead) in NAMING {
        if let Some(rest) = message.strip_prefix(beginning) {
            // The value may hold anything, also these words: the last ones are serde's.
            return match rest.rsplit_once(", expected ") {
                Some((_, expected)) => format!("{instead}; expected {expected}"),
                None => instead.to_owned(),
            };
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{endpoint::EndpointSpec, format::Scheme};

    #[test]
    fn what_was_expected_is_said_and_what_was_given_is_not() {
        let of = |error: serde_json::Error| without_value(&error.to_string());
        let number = of(serde_json::from_str::<Vec<String>>(r#"["a", 123456]"#).unwrap_err());
        assert!(
            number.starts_with("is of the wrong kind; expected a string"),
            "{number}"
        );
        let tricky = r#""hunter2, expected hunter2""#;
        let list = of(serde_json::from_str::<Vec<String>>(tricky).unwrap_err());
        assert!(
            list.starts_with("is of the wrong kind; expected a sequence"),
            "{list}"
        );
        let word = of(serde_json::from_str::<Scheme>(tricky).unwrap_err());
        assert!(
            word.starts_with("is none of the words there are; expected one of `standard`"),
            "{word}"
        );
        let range = of(serde_json::from_str::<u8>("4242").unwrap_err());
        assert!(
            range.starts_with("has a value that cannot be used; expected u8"),
            "{range}"
        );
        assert_eq!(without_value("is missing"), "is missing");
    }

    #[test]
    fn no_member_of_an_endpoint_shows_what_was_given_for_it() {
        for document in [
            r#"{"url": "https://a.test/", "auth": "hunter2"}"#,
            r#"{"url": "https://a.test/", "auth": {"type": "hunter2"}}"#,
            r#"{"url": "https://a.test/", "auth": {"type": "bearer", "token": ["hunter2"]}}"#,
            r#"{"url": "https://a.test/", "headers": "hunter2"}"#,
            r#"{"url": "https://a.test/", "headers": {"X-A": ["hunter2"]}}"#,
            r#"{"url": "https://a.test/", "headers": {"X A hunter2": "b"}}"#,
            r#"{"url": "https://a.test/", "headers": {"X-A": "hunter2\u0000"}}"#,
            r#"{"url": "https://a.test/", "signatures": "hunter2"}"#,
            r#"{"url": "https://a.test/", "signatures": ["hunter2"]}"#,
            r#"{"url": "https://a.test/", "signatures": [{"scheme": "hunter2"}]}"#,
            r#"{"url": "https://a.test/", "signatures": [{"scheme": "github", "secret": "hunter2\n"}]}"#,
            r#"{"url": "https://a.test/", "signatures": [{"scheme": "github", "algorithm": "hunter2"}]}"#,
            r#"{"url": "https://a.test/", "tls": "hunter2"}"#,
            r#"{"url": "https://a.test/", "tls": {"client_key_pem": "hunter2"}}"#,
            r#"{"url": "https://a.test/", "proxy": "http://u:hunter2@p"}"#,
            r#"{"url": "https://a.test/", "proxy": ["http://u:hunter2@p:1"]}"#,
            r#"{"url": "https://u:hunter2@a.test/"}"#,
            r#"{"url": "https://a.test/", "events": "hunter2"}"#,
            r#"{"url": "https://a.test/", "envelope": "hunter2"}"#,
        ] {
            let error = serde_json::from_str::<EndpointSpec>(document).unwrap_err();
            let said = without_value(&error.to_string());
            assert!(!said.contains("hunter2"), "{document}: {said}");
        }
    }
}
