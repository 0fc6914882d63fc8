//! JSON as JavaScript writes it: the text of `JSON.stringify(JSON.parse(document))` (ECMA-262, 25.5).
//!
//! Some senders are written in JavaScript, and their documentation has receivers compute the signature over
//! `JSON.stringify(request.body)`. That verifies only a body that such a round trip leaves as it is: no white space,
//! no escape but those that JSON requires, numbers as JavaScript writes a double, names that are array indices first and
//! in ascending order, and of a name that is there twice the first place and the last value.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::{EncodeError, bounded};
use crate::domain::limits;

/// Writes a JSON document as JavaScript does.
///
/// A number beyond a double's range becomes `null`, and one with more digits than a double holds is rounded: the
/// receiver's parser makes the same of it.
///
/// # Errors
/// A document that is not JSON, or becomes too large.
pub(in crate::wire) fn stringify(json: &[u8]) -> Result<String, EncodeError> {
    let value: &RawValue = serde_json::from_slice(json)?;
    let mut rest = value.get();
    let mut open: Vec<Container> = vec![Container::List(String::with_capacity(json.len()))];
    loop {
        rest = rest.trim_start_matches([',', ':', ' ', '\t', '\n', '\r']);
        let Some(first) = rest.bytes().next() else { break };
        let length = match first {
            b'{' | b'[' => {
                if open.len() > limits::STRINGIFIED_DEPTH {
                    return Err(EncodeError::TooDeep);
                }
                open.push(Container::new(first == b'{'));
                1
            }
            b'}' | b']' => {
                let closed = open.pop().map(Container::close).unwrap_or_default();
                bounded(&closed, json.len().saturating_mul(limits::ENCODED_TIMES))?;
                add(&mut open, &closed);
                1
            }
            b'"' => {
                let length = string_length(rest);
                let text = string(&rest[1..length - 1]);
                match open.last_mut() {
                    Some(Container::Object { name, .. }) if name.is_none() => *name = Some(text),
                    _ => add(&mut open, &text),
                }
                length
            }
            _ => {
                let ends = [',', ']', '}', ' ', '\t', '\n', '\r'];
                let length = rest.find(ends).unwrap_or(rest.len());
                let word = &rest[..length];
                match word {
                    "null" | "true" | "false" => add(&mut open, word),
                    digits => add(&mut open, &number(digits)),
                }
                length
            }
        };
        rest = &rest[length..];
    }
    match open.pop() {
        Some(Container::List(text)) => Ok(text),
        _ => Ok(String::new()),
    }
}

/// An object or a list whose end has not come, with what is written of it. The document itself stands in a list.
enum Container {
    List(String),
    Object {
        members: Vec<(String, String)>,
        name: Option<String>,
    },
}

impl Container {
    fn new(is_object: bool) -> Self {
        if is_object {
            Self::Object {
                members: Vec::new(),
                name: None,
            }
        } else {
            Self::List(String::new())
        }
    }

    fn close(self) -> String {
        let members = match self {
            Self::List(items) => return format!("[{items}]"),
            Self::Object { members, .. } => in_order(members),
        };
        let mut text = String::from("{");
        for (name, value) in members {
            if text.len() > 1 {
                text.push(',');
            }
            text.extend([&name, ":", &value]);
        }
        text.push('}');
        text
    }
}

/// Adds a value to what was opened last.
fn add(open: &mut [Container], value: &str) {
    match open.last_mut() {
        Some(Container::List(items)) => {
            if !items.is_empty() {
                items.push(',');
            }
            items.push_str(value);
        }
        Some(Container::Object { members, name }) => {
            members.extend(name.take().map(|name| (name, value.to_owned())));
        }
        None => {}
    }
}

/// Each name once, array indices first.
fn in_order(members: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut places: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    let mut unique: Vec<(String, String)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        match places.get(&name) {
            Some(&place) => unique[place].1 = value,
            None => {
                places.insert(name.clone(), unique.len());
                unique.push((name, value));
            }
        }
    }
    // Stable: what is no index stays in the order in which it came.
    unique.sort_by_key(|(name, _)| array_index(name).map_or((1, 0), |index| (0, index)));
    unique
}

/// The index that a quoted name is: an integer below 2^32 - 1 in its only spelling.
fn array_index(quoted: &str) -> Option<u32> {
    let digits = &quoted[1..quoted.len() - 1];
    let index: u32 = digits.parse().ok()?;
    (index != u32::MAX && index.to_string() == digits).then_some(index)
}

/// Bytes of the string at the beginning of `text`, both quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |at| at + 2)
}

/// A string with its quotes, from what stood between them.
fn string(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len() + 2);
    text.push('"');
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let length = escape(after, &mut text);
        rest = after.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    text.push('"');
    text
}

/// Writes what an escape stands for; answers its length behind the backslash.
fn escape(after: &str, text: &mut String) -> usize {
    match after.as_bytes().first() {
        Some(b'u') => return unicode(after, text),
        Some(b'/') => text.push('/'),
        Some(&letter) => text.extend(['\\', char::from(letter)]),
        None => {}
    }
    1
}

/// The same for `uXXXX`, or a pair of them that makes one character. A lone surrogate stays an escape.
fn unicode(after: &str, text: &mut String) -> usize {
    let unit = |at: usize| {
        let digits = after.get(at..at + 4);
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let first = unit(1).unwrap_or(0xfffd);
    let second = after
        .get(5..7)
        .filter(|mark| *mark == "\\u")
        .and_then(|_| unit(7));
    let letter = char::decode_utf16([Some(first), second].into_iter().flatten()).next();
    let Some(Ok(letter)) = letter else {
        let _ = write!(text, "\\u{first:04x}");
        return 5;
    };
    match letter {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        control if control < ' ' => _ = write!(text, "\\u{:04x}", u32::from(control)),
        other => text.push(other),
    }
    if letter.len_utf16() == 2 { 11 } else { 5 }
}

/// A number as JavaScript writes it (ECMA-262, 6.1.6.1.20): the shortest digits that read as the same double.
fn number(digits: &str) -> String {
    let value: f64 = digits.parse().unwrap_or(f64::NAN);
    if !value.is_finite() {
        return "null".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // The place of the decimal point: behind so many digits.
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let sign = if value < 0.0 { "-" } else { "" };
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    match point {
        1..=21 if point >= count => format!("{sign}{digits}{}", zeros(point - count)),
        1..=21 => {
            let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or_default());
            format!("{sign}{whole}.{fraction}")
        }
        -5..=0 => format!("{sign}0.{}{digits}", zeros(-point)),
        _ => {
            let (first, more) = digits.split_at(1);
            let fraction = if more.is_empty() {
                String::new()
            } else {
                format!(".{more}")
            };
            let exponent = point - 1;
            let plus = if exponent < 0 { "" } else { "+" };
            format!("{sign}{first}{fraction}e{plus}{exponent}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> String {
        stringify(json.as_bytes()).unwrap()
    }

    /// Each was written by `JSON.stringify(JSON.parse(…))` of Node 20.
    #[test]
    fn documents_are_written_as_node_writes_them() {
        for (json, expected) in [
            (
                " { \"b\" : 1 ,\n\"a\":[ 1, 2 ,{ } , [ ] ] } ",
                r#"{"b":1,"a":[1,2,{},[]]}"#,
            ),
            (r#""\/\u0041\u00e9\u2028\u007f""#, "\"/Aé\u{2028}\u{7f}\""),
            (r#""\b\f\n\r\t\u0008\u001F\"\\""#, r#""\b\f\n\r\t\b\u001f\"\\""#),
            (r#""\u0022\u005c\u000a""#, r#""\"\\\n""#),
            (r#""\ud83e\udda9\uD83E""#, "\"\u{1f9a9}\\ud83e\""),
            (r#""\udda9\ud83e\ud83e\udda9""#, "\"\\udda9\\ud83e\u{1f9a9}\""),
            (
                r#"{"b":1,"10":2,"9":3,"a":4,"01":5,"4294967295":6,"4294967294":7}"#,
                r#"{"9":3,"10":2,"4294967294":7,"b":1,"a":4,"01":5,"4294967295":6}"#,
            ),
            (r#"{"a":1,"b":2,"\u0061":3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"__proto__":1,"":2}"#, r#"{"__proto__":1,"":2}"#),
            ("[null,true,false,\"\"]", "[null,true,false,\"\"]"),
            ("60.0", "60"),
            ("\"x\"", "\"x\""),
        ] {
            assert_eq!(written(json), expected, "{json}");
        }
    }

    #[test]
    fn numbers_are_written_as_node_writes_them() {
        for (json, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e3", "1000"),
            ("1.10", "1.1"),
            ("-12.50", "-12.5"),
            ("123456789012345678901234567890", "1.2345678901234568e+29"),
            ("9007199254740993", "9007199254740992"),
            ("100000000000000000000", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5e300", "1.5e+300"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1.25e-7", "1.25e-7"),
            ("0.1e-5", "0.000001"),
            ("5e-324", "5e-324"),
            ("1e-400", "0"),
            ("1e400", "null"),
            ("-1e400", "null"),
            ("0.1", "0.1"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            assert_eq!(written(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_written_stays_as_it_is_when_it_is_written_again() {
        let json = r#" {"a": [1.0, 1e22, -0.00012, "\u00e9\ud800"], "2": {"x": "\/"}, "1": null} "#;
        assert_eq!(written(&written(json)), written(json));
    }

    #[test]
    fn what_is_too_deep_or_not_json_is_refused() {
        let deep = |levels| [vec![b'['; levels], vec![b']'; levels]].concat();
        let most = deep(limits::STRINGIFIED_DEPTH);
        assert_eq!(stringify(&most).unwrap().into_bytes(), most);
        let more = stringify(&deep(limits::STRINGIFIED_DEPTH + 1));
        assert!(matches!(more, Err(EncodeError::TooDeep)));
        assert!(stringify(b"{").is_err());
    }
}
