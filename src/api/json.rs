//! Reading JSON documents from outside: depth first, then text, then shape, each refusal with a place.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer as _,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, error::Category, value::RawValue};

use super::problem::{Kind, Problem};
use crate::domain::{limits, plain, refusal::without_value, text, unique::Unique};

/// Reads a document whose members `T` names. Unknown members are refused if `T` refuses them.
///
/// # Errors
/// [`Kind::MalformedDocument`] when it is not JSON; [`Kind::Invalid`], with the member's path, when it has another
/// shape than `T`.
pub fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let of_the_whole = path == "." && error.inner().classify() == Category::Data;
        match of_the_whole.then(|| doubled_member(text)).flatten() {
            Some(name) => Problem::of_field(Kind::Invalid, name, "is there twice; give it once"),
            None => refused(text, &path, error.inner()),
        }
    })?;
    json.end().map_err(|error| refused(text, ".", &error))?;
    Ok(value)
}

/// A document that is an object.
pub trait Shape: DeserializeOwned {
    /// Members that have to be there. serde only says in words that one is missing.
    const REQUIRED: &'static [&'static str];
}

/// Reads a document, and refuses one that names a member of any object twice. Answers it as `T` and as it came.
///
/// # Errors
/// As [`read`].
pub fn read_strictly<T: Shape>(bytes: &[u8]) -> Result<(T, Map<String, Value>), Problem> {
    let text = checked_text(bytes)?;
    let Unique(Value::Object(members)) = read(text)? else {
        return Err(not_an_object());
    };
    match T::REQUIRED.iter().find(|name| !members.contains_key(**name)) {
        Some(missing) => Err(Problem::of_field(Kind::Invalid, *missing, "is missing")),
        None => Ok((read(text)?, members)),
    }
}

/// Reads a document as `T` alone. What a member of `T` keeps unread may be any JSON, with numbers of any size and halves of
/// surrogate pairs.
///
/// # Errors
/// As [`read`].
pub fn read_alone<T: Shape>(bytes: &[u8]) -> Result<T, Problem> {
    let text = checked_text(bytes)?;
    let document: &RawValue = read(text)?;
    if !document.get().starts_with('{') {
        return Err(not_an_object());
    }
    let members: BTreeMap<String, IgnoredAny> = read(text)?;
    match T::REQUIRED.iter().find(|name| !members.contains_key(**name)) {
        Some(missing) => Err(Problem::of_field(Kind::Invalid, *missing, "is missing")),
        None => read(text),
    }
}

fn not_an_object() -> Problem {
    Problem::new(Kind::Invalid, "the document is not an object; send {…}")
}

/// The bytes as text that may be handed to a parser, without a byte order mark.
///
/// # Errors
/// [`Kind::MalformedDocument`] when there is nothing, when it is not UTF-8, or when it is nested too deeply.
pub fn checked_text(bytes: &[u8]) -> Result<&str, Problem> {
    let malformed = |detail: String| Err(Problem::new(Kind::MalformedDocument, detail));
    if text::is_utf16(bytes) {
        return malformed(format!("the body {}", text::UTF16));
    }
    let bytes = text::without_mark(bytes);
    if bytes.is_empty() {
        return malformed("the body is empty; send a JSON document".into());
    }
    // One level is the document's own.
    if deeper_than(bytes, limits::JSON_DEPTH + 1) {
        return malformed(format!(
            "the document is nested more than {} levels deep",
            limits::JSON_DEPTH
        ));
    }
    std::str::from_utf8(bytes).or_else(|error| {
        malformed(format!(
            "the body is not UTF-8; the first wrong byte is at {}",
            error.valid_up_to()
        ))
    })
}

/// Checks that bytes are one JSON value that may be handed to a parser; answers them without a byte order mark.
///
/// # Errors
/// As [`checked_text`], and when it is not JSON.
pub fn check(bytes: &Bytes) -> Result<Bytes, Problem> {
    let text = checked_text(bytes)?;
    let _: &RawValue = read(text)?;
    Ok(bytes.slice_ref(text.as_bytes()))
}

/// Whether JSON text opens more than `limit` arrays and objects at once. It looks at each byte once and does not
/// recurse, so that no document can exhaust the stack; whether the text is JSON is not its question.
pub fn deeper_than(bytes: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

fn refused(document: &str, path: &str, error: &serde_json::Error) -> Problem {
    let text = plain::words(&error.to_string());
    match error.classify() {
        Category::Syntax if is_json(document) => unreadable(path, error),
        Category::Io | Category::Syntax | Category::Eof => {
            Problem::new(Kind::MalformedDocument, format!("not JSON: {text}"))
        }
        Category::Data if path == "." || path.is_empty() => Problem::new(Kind::Invalid, without_value(&text)),
        Category::Data => {
            // The path says where.
            let place = format!(" at line {} column {}", error.line(), error.column());
            let text = text.strip_suffix(&place).unwrap_or(&text);
            Problem::of_field(Kind::Invalid, path, without_value(text))
        }
    }
}

/// Whether a text is JSON, be it such that some of its values have no form in memory.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// What is said of JSON that has a value which cannot be read where it stands.
fn unreadable(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let what = if text.contains("number") {
        "has a number that is too large to be read; use one below 1.8e308"
    } else {
        "has a text with half of a surrogate pair, such as \\ud83d alone; write the whole character"
    };
    let rule = format!("{what} (line {}, column {})", error.line(), error.column());
    match path {
        "." | "" => Problem::new(Kind::MalformedDocument, format!("the document {rule}")),
        path => Problem::of_field(Kind::MalformedDocument, path, rule),
    }
}

/// The first member that an object names twice. Only for a document that was refused: it is read once more.
fn doubled_member(text: &str) -> Option<String> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Option<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let (mut seen, mut doubled) = (std::collections::BTreeSet::new(), None);
            while let Some(name) = access.next_key::<String>()? {
                access.next_value::<IgnoredAny>()?;
                doubled = doubled.or(seen.replace(name));
            }
            Ok(doubled)
        }
    }
    serde_json::Deserializer::from_str(text)
        .deserialize_map(Names)
        .ok()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::EndpointSpec;

    #[derive(Debug, Deserialize)]
    struct Anything {}

    impl Shape for Anything {
        const REQUIRED: &'static [&'static str] = &[];
    }

    fn kind(bytes: &[u8]) -> Kind {
        read_strictly::<Anything>(bytes).unwrap_err().kind()
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for bad in [
            &b""[..],
            b"{",
            b"{\"a\":1",
            b"nope",
            b"{\"a\":NaN}",
            b"{} {}",
            b"{\"a\":\"\xff\"}",
            b"1e400",
        ] {
            assert_eq!(kind(bad), Kind::MalformedDocument, "{bad:?}");
        }
        assert_eq!(kind(br#"{"a":"\ud800"}"#), Kind::MalformedDocument);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_document_and_utf_16_is_named() {
        let (_, members) = read_strictly::<Anything>(b"\xef\xbb\xbf{}").unwrap();
        assert!(members.is_empty());
        assert_eq!(check(&Bytes::from_static(b"\xef\xbb\xbf 1")).unwrap(), " 1");
        assert_eq!(kind(b"\xef\xbb\xbf"), Kind::MalformedDocument);
        for utf16 in [&b"\xff\xfe{\0}\0"[..], b"{\0}\0", b"\0{\0}"] {
            let problem = read_strictly::<Anything>(utf16).unwrap_err();
            assert!(problem.detail().contains("UTF-16"), "{}", problem.detail());
        }
    }

    #[test]
    fn json_with_a_value_that_cannot_be_read_is_not_called_other_than_json() {
        let problem = |text: &str| read_strictly::<Anything>(text.as_bytes()).unwrap_err();
        for (text, says) in [
            (r#"{"a":1e400}"#, "too large"),
            (r#"{"a":[{"b":-1e999}]}"#, "too large"),
            (r#"{"a":"\ud800"}"#, "surrogate"),
            (r#"{"a":"\udc00\u0041"}"#, "surrogate"),
            (r#"{"\ud83d":1}"#, "surrogate"),
        ] {
            let problem = problem(text);
            assert!(
                problem.detail().contains(says) && !problem.detail().contains("not JSON"),
                "{text}: {}",
                problem.detail()
            );
        }
        for text in [
            r#"{"a":1e}"#,
            r#"{"a":"\ud8"}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":1e400"#,
            r#"{"a":1e400} x"#,
        ] {
            assert!(problem(text).detail().contains("not JSON"), "{text}");
        }
    }

    #[test]
    fn a_number_of_the_wrong_kind_is_refused_with_the_rule_and_no_type_of_ours() {
        let rule = |members: &str| {
            let text = format!(r#"{{"url":"https://example.com/",{members}}}"#);
            let problem = read_strictly::<EndpointSpec>(text.as_bytes()).unwrap_err();
            format!("{}: {}", problem.errors()[0].field, problem.errors()[0].rule)
        };
        for (members, says) in [
            (
                r#""concurrency":-1"#,
                "concurrency: use a whole number; the range is 1 to 1024",
            ),
            (r#""concurrency":70000"#, "the range is 1 to 1024"),
            (r#""concurrency":"8""#, "expected a whole number from 1 to 1024"),
            (
                r#""disable_after":1.5"#,
                "disable_after: use a whole number; the range is 1 to 1000",
            ),
            (
                r#""rate":{"per_second":"x"}"#,
                "rate.per_second: is of the wrong kind; expected a number",
            ),
            (
                r#""rate":{"per_second":1,"burst":-1}"#,
                "rate.burst: use a whole number; the range is 1 to 100000",
            ),
            (
                r#""retry":{"retries":-1,"delay":"1s"}"#,
                "retry.retries: use a whole number; the range is 0 to 1000",
            ),
            (
                r#""treat_as":{"4xx":"transient"}"#,
                "treat_as: its names are status codes from 100 to 999",
            ),
            (r#""events":"a""#, "events: is of the wrong kind; expected a list"),
            (r#""rate":5"#, "rate: is of the wrong kind; expected an object"),
        ] {
            let said = rule(members);
            assert!(said.contains(says), "{members}: {said}");
        }
    }

    #[test]
    fn a_document_a_hundred_thousand_deep_is_refused_without_a_stack() {
        assert_eq!(kind(&b"[".repeat(100_000)), Kind::MalformedDocument);
        assert_eq!(kind(&br#"{"a":"#.repeat(100_000)), Kind::MalformedDocument);
        assert!(!deeper_than(br#"["[[[[[[", "\"[[[[["]"#, 1));
        assert!(deeper_than(b"[{\"a\":[]}]", 2) && !deeper_than(b"[{\"a\":[]},[[]]]", 3));
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_at_any_depth() {
        let problem = read_strictly::<Anything>(br#"{"a":{"b":[{"c":1,"c":1}]}}"#).unwrap_err();
        assert_eq!(problem.kind(), Kind::Invalid);
        assert!(problem.detail().contains("\"c\""), "{}", problem.detail());
    }

    #[test]
    fn an_endpoint_document_at_fault_names_the_path() {
        let problem = |text: &str| read_strictly::<EndpointSpec>(text.as_bytes()).unwrap_err();
        let unknown = problem(r#"{"url":"https://example.com/","evnets":[]}"#);
        assert_eq!(
            (unknown.kind(), unknown.errors()[0].field.as_str()),
            (Kind::Invalid, "evnets")
        );
        let wrong = problem(r#"{"url":"https://example.com/","events":["ok","not* ok"]}"#);
        assert_eq!(
            (wrong.kind(), wrong.errors()[0].field.as_str()),
            (Kind::Invalid, "events[1]")
        );
        assert!(
            !wrong.errors()[0].rule.contains("column"),
            "{}",
            wrong.errors()[0].rule
        );
        assert_eq!(problem("{}").errors()[0].field, "url");
        for not_an_object in ["[]", "5", "null", r#"["https://example.com/"]"#] {
            assert_eq!(problem(not_an_object).kind(), Kind::Invalid, "{not_an_object}");
        }
    }
}
