//! JSON laid out for people: aligned columns, or one member a line.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use super::limits::DETAIL_DEPTH;
use crate::config::text::{escaped, json_line};

/// A column's head, and the member that it shows.
pub type Column = (&'static str, &'static str);

/// Rows under their heads. A member that a row has not is shown as `-`.
pub fn table(columns: &[Column], rows: &[Box<RawValue>]) -> String {
    let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let body = rows.iter().map(|row| {
        let row: Value = serde_json::from_str(row.get()).unwrap_or(Value::Null);
        columns
            .iter()
            .map(|(_, member)| cell(row.get(member).unwrap_or(&Value::Null)))
            .collect()
    });
    aligned(&std::iter::once(head).chain(body).collect::<Vec<_>>())
}

/// Each member of an object on a line of its own, in the order in which they came.
pub fn details(document: &RawValue) -> String {
    details_but(document, &[])
}

/// The same without these members.
pub fn details_but(document: &RawValue, without: &[&str]) -> String {
    let mut lines = Vec::new();
    match serde_json::from_str(document.get()) {
        Ok(Members(members)) if !without.is_empty() => {
            for (name, value) in members
                .iter()
                .filter(|(name, _)| !without.contains(&name.as_str()))
            {
                lay_out(&mut lines, escaped(name).into_owned(), value, 1);
            }
        }
        _ => lay_out(&mut lines, String::new(), document, 0),
    }
    aligned(&lines)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => escaped(text).into_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Object(members) => summary(members).unwrap_or_else(|| json_line(&value.to_string())),
    }
}

/// What an outcome, or the reason of a disabling, comes down to: `delivered 200`, `transient timeout_total`.
fn summary(members: &Map<String, Value>) -> Option<String> {
    let what = members.get("outcome").or_else(|| members.get("why"))?.as_str()?;
    let by = match (members.get("status"), members.get("reason")) {
        (Some(Value::Number(status)), _) => status.to_string(),
        (_, Some(Value::String(reason))) => reason.clone(),
        _ => return Some(escaped(what).into_owned()),
    };
    Some(escaped(&format!("{what} {by}")).into_owned())
}

fn lay_out(lines: &mut Vec<Vec<String>>, path: String, document: &RawValue, depth: usize) {
    // Somebody else's data is shown as it is, however it is built.
    let opaque = matches!(path.as_str(), "data" | "schema" | "example") || depth >= DETAIL_DEPTH;
    let members = serde_json::from_str::<Members>(document.get());
    match members {
        Ok(Members(members)) if !opaque && !members.is_empty() => {
            for (name, value) in members {
                let name = escaped(&name).into_owned();
                let path = if path.is_empty() {
                    name
                } else {
                    format!("{path}.{name}")
                };
                lay_out(lines, path, &value, depth + 1);
            }
        }
        Ok(Members(members)) if !opaque && members.is_empty() => lines.push(vec![path, "-".to_owned()]),
        Ok(_) => lines.push(vec![path, json_line(document.get())]),
        Err(_) => lay_out_other(lines, path, document, if opaque { DETAIL_DEPTH } else { depth }),
    }
}

/// Lays out what is no object.
fn lay_out_other(lines: &mut Vec<Vec<String>>, path: String, document: &RawValue, depth: usize) {
    let text = document.get();
    let items: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap_or_default();
    if depth < DETAIL_DEPTH && items.iter().any(|item| item.get().starts_with('{')) {
        for (index, item) in items.iter().enumerate() {
            lay_out(lines, format!("{path}[{index}]"), item, depth + 1);
        }
        return;
    }
    let shown = match text.as_bytes().first() {
        Some(b'"' | b'n' | b'[') if depth < DETAIL_DEPTH => {
            serde_json::from_str(text).map_or_else(|_| json_line(text), |value| cell(&value))
        }
        _ => json_line(text),
    };
    lines.push(vec![path, shown]);
}

/// An object's members in their order, the values unread.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_what_is_missing_is_a_dash() {
        let rows = [
            raw(r#"{"id":"a","n":1,"to":["x","y"]}"#),
            raw(r#"{"id":"longer","to":[]}"#),
        ];
        let shown = table(&[("ID", "id"), ("N", "n"), ("TO", "to")], &rows);
        assert_eq!(shown, "ID      N  TO\na       1  x,y\nlonger  -  -\n");
    }

    #[test]
    fn an_outcome_in_a_column_is_words_and_other_objects_are_json() {
        let rows = [
            raw(r#"{"last":{"attempt_id":"att_1","outcome":"delivered","reason":"status","status":200}}"#),
            raw(r#"{"last":{"outcome":"transient","reason":"timeout_total","status":null}}"#),
            raw(r#"{"last":{"why":"endpoint_error","reason":"status","status":410}}"#),
            raw(r#"{"last":{"why":"manual","reason":null,"status":null}}"#),
            raw(r#"{"last":{"a":1}}"#),
        ];
        let shown = table(&[("LAST", "last")], &rows);
        let lines = [
            "LAST",
            "delivered 200",
            "transient timeout_total",
            "endpoint_error 410",
            "manual",
            "{\"a\":1}",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn a_name_cannot_repaint_the_screen_or_forge_a_row() {
        let rows = [raw(r#"{"id":"a\n\u001b[31mforged\u202e"}"#)];
        let shown = table(&[("ID", "id")], &rows);
        assert_eq!(shown, "ID\na\\n\\u{1b}[31mforged\\u{202e}\n");
        assert_eq!(details(&raw(r#"{"a\u001b":"b\rc"}"#)), "a\\u{1b}  b\\rc\n");
    }

    #[test]
    fn details_keep_the_order_and_leave_data_as_it_is() {
        let document = raw(
            r#"{"z":1,"retry":{"delays":["5s","5m"]},"signatures":[{"scheme":"standard"}],"none":null,"empty":{},
               "data":{"b":1.50,"a":{}}}"#,
        );
        let shown = details(&document);
        let lines: Vec<_> = shown.lines().map(|line| line.split_once("  ").unwrap()).collect();
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.trim())).collect();
        assert_eq!(
            lines,
            [
                ("z", "1"),
                ("retry.delays", "5s,5m"),
                ("signatures[0].scheme", "standard"),
                ("none", "-"),
                ("empty", "-"),
                ("data", "{\"b\":1.50,\"a\":{}}"),
            ]
        );
    }
}
