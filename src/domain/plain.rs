//! What a reader of documents says is wrong, in words of JSON.
//!
//! serde names what it expected as Rust does (`u32`, `a map`, `struct Retry`), and offers it as text alone. The text is
//! changed for people to read; nothing is decided by it.

/// The same message in plain words. A place (` at line 1 column 2`) at its end stays.
pub fn words(message: &str) -> String {
    let (said, place) = match message.rfind(" at line ") {
        Some(at) => message.split_at(at),
        None => (message, ""),
    };
    let kinds = ["invalid type: ", "invalid value: ", "invalid length "];
    if !kinds.iter().any(|kind| said.starts_with(kind)) {
        return message.to_owned();
    }
    match said.rsplit_once(", expected ") {
        None => message.to_owned(),
        Some((found, expected)) => format!("{}, expected {}{place}", value(found), form(expected)),
    }
}

/// What was found.
fn value(found: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("floating point `", "number `"),
        ("integer `", "number `"),
        ("unit value", "null"),
        ("sequence", "list"),
        ("map", "object"),
        ("newtype struct", "object"),
    ];
    let Some((kind, found)) = found.split_once(": ") else {
        return found.to_owned();
    };
    let known = WORDS.iter().find_map(|(theirs, ours)| {
        let rest = found.strip_prefix(theirs)?;
        Some(format!("{ours}{rest}"))
    });
    format!("{kind}: {}", known.unwrap_or_else(|| found.to_owned()))
}

/// What was expected.
fn form(expected: &str) -> String {
    let whole = |most: u64| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "usize" | "u128" => "a whole number that is not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" | "i128" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a map" => "an object".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a borrowed string" | "string" => "a string".to_owned(),
        "unit" => "null".to_owned(),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other if other.starts_with("enum ") => "one of the documented names".to_owned(),
        other if other.starts_with("tuple ") => "a list".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, de::DeserializeOwned};

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Retry {
        #[allow(dead_code, reason = "it is only read")]
        count: u16,
    }

    fn said<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
        words(&serde_json::from_str::<T>(text).unwrap_err().to_string())
    }

    #[test]
    fn no_type_of_rust_is_named() {
        for (said, expected) in [
            (
                said::<Retry>("5"),
                "invalid type: number `5`, expected an object at line 1 column 1",
            ),
            (
                said::<Retry>(r#"{"count":-1}"#),
                "invalid value: number `-1`, expected a whole number from 0 to 65535 at line 1 column 11",
            ),
            (
                said::<Retry>(r#"{"count":1.5}"#),
                "invalid type: number `1.5`, expected a whole number from 0 to 65535 at line 1 column 12",
            ),
            (
                said::<f64>("\"x\""),
                "invalid type: string \"x\", expected a number at line 1 column 3",
            ),
            (
                said::<String>("{}"),
                "invalid type: object, expected a string at line 1 column 0",
            ),
            (
                said::<Vec<u8>>("null"),
                "invalid type: null, expected a list at line 1 column 4",
            ),
            (
                said::<bool>("[]"),
                "invalid type: list, expected true or false at line 1 column 0",
            ),
            (
                said::<BTreeMap<String, u8>>("[]"),
                "invalid type: list, expected an object at line 1 column 0",
            ),
        ] {
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn what_is_no_such_message_stays() {
        for text in [
            "missing field `url`",
            "unknown field `x`, expected one of `a`, `b`",
            "use a whole number; the range is 1 to 1024",
            "not a duration, expected u32",
        ] {
            assert_eq!(words(text), text);
        }
    }
}
