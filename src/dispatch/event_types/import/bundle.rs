//! A schema out of a description, made to stand by itself: what it refers to is copied into `$defs`, and the
//! references lead there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::{Unfit, openapi};
use crate::{
    dispatch::event_types::schema::keywords::{self, Holds, REFERENCES},
    domain::limits,
};

/// Members of a schema that are about documents, not about data; they may be long, and refer to places that are
/// not copied.
const LEFT_OUT: [&str; 4] = ["discriminator", "xml", "externalDocs", "$defs"];

/// Makes one schema, as text, of those that all have to hold.
pub fn bundle(description: &Value, schemas: &[&Value], place: &str) -> Result<String, Unfit> {
    let mut bundling = Bundling {
        description,
        names: BTreeMap::new(),
        taken: BTreeSet::new(),
        waiting: VecDeque::new(),
        left: limits::SCHEMA_BYTES,
    };
    let mut copies = Vec::new();
    for schema in schemas {
        copies.push(bundling.copy(schema, place)?);
    }
    let mut defs = Map::new();
    while let Some((pointer, name)) = bundling.waiting.pop_front() {
        let schema = description.pointer(&pointer).unwrap_or(&Value::Null);
        let copy = bundling.copy(schema, &pointer)?;
        defs.insert(name, copy);
    }
    let mut bundled = match copies.pop() {
        Some(Value::Object(members)) if copies.is_empty() => members,
        last => Map::from_iter([("allOf".to_owned(), copies.into_iter().chain(last).collect())]),
    };
    if let Some(dialect) = description
        .get("jsonSchemaDialect")
        .filter(|dialect| is_plain(dialect))
    {
        bundled.entry("$schema").or_insert_with(|| dialect.clone());
    }
    if !defs.is_empty() {
        bundled.insert("$defs".to_owned(), defs.into());
    }
    Ok(Value::Object(bundled).to_string())
}

/// Whether a dialect is one of JSON Schema's own. OpenAPI's base dialect is 2020-12 with some members of its own, which
/// say nothing about data.
fn is_plain(dialect: &Value) -> bool {
    dialect
        .as_str()
        .is_some_and(|text| text.contains("json-schema.org/"))
}

struct Bundling<'a> {
    description: &'a Value,
    /// The names in `$defs`, by the pointer of what they stand for.
    names: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    /// Pointers and names of what is still to be copied.
    waiting: VecDeque<(String, String)>,
    /// Values that may still be copied: none has less than a byte of text.
    left: usize,
}

impl Bundling<'_> {
    fn copy(&mut self, schema: &Value, place: &str) -> Result<Value, Unfit> {
        let Value::Object(members) = schema else {
            return match schema {
                Value::Bool(_) => Ok(schema.clone()),
                _ => Err(Unfit::new(place, "is not a schema")),
            };
        };
        if let Some(id) = members.get("$id") {
            let place = format!("{place}/$id");
            return Err(Unfit::new(
                place,
                format!("{id} would change what the references mean; leave it out"),
            ));
        }
        let mut copy = Map::new();
        for (keyword, value) in members {
            let place = format!("{place}/{keyword}");
            let value = match keywords::holder(keyword) {
                _ if LEFT_OUT.contains(&keyword.as_str()) => continue,
                _ if REFERENCES.contains(&keyword.as_str()) => self.reference(value, &place)?,
                Some((holds, _)) => self.copy_held(holds, value, &place)?,
                None => {
                    self.count(size(value), &place)?;
                    value.clone()
                }
            };
            self.count(1, &place)?;
            copy.insert(keyword.clone(), value);
        }
        Ok(copy.into())
    }

    fn copy_held(&mut self, holds: Holds, value: &Value, place: &str) -> Result<Value, Unfit> {
        match (holds, value) {
            (Holds::Many, Value::Array(items)) => {
                let copies = items.iter().zip(0..);
                copies
                    .map(|(item, index)| self.copy(item, &format!("{place}/{index}")))
                    .collect()
            }
            (Holds::Named, Value::Object(named)) => {
                let mut copies = Map::new();
                for (name, schema) in named {
                    let place = format!("{place}/{}", keywords::escaped(name));
                    let copy = if keywords::is_schema(schema) {
                        self.copy(schema, &place)?
                    } else {
                        self.count(size(schema), &place)?;
                        schema.clone()
                    };
                    copies.insert(name.clone(), copy);
                }
                Ok(copies.into())
            }
            (Holds::One | Holds::Many, schema) if keywords::is_schema(schema) => self.copy(schema, place),
            // Of another form than it should have: whoever compiles it says so.
            (Holds::One | Holds::Many | Holds::Named, other) => {
                self.count(size(other), place)?;
                Ok(other.clone())
            }
        }
    }

    fn reference(&mut self, reference: &Value, place: &str) -> Result<Value, Unfit> {
        let (_, pointer) = openapi::target(self.description, reference, place)?;
        if let Some(name) = self.names.get(&pointer) {
            return Ok(format!("#/$defs/{name}").into());
        }
        let name = self.name_for(&pointer);
        self.names.insert(pointer.clone(), name.clone());
        self.waiting.push_back((pointer, name.clone()));
        Ok(format!("#/$defs/{name}").into())
    }

    /// The last part of the pointer, with a number behind it if another has that name.
    fn name_for(&mut self, pointer: &str) -> String {
        let last = pointer.rsplit('/').next().unwrap_or_default();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
        let name: String = last
            .chars()
            .map(|letter| if plain(letter) { letter } else { '_' })
            .collect();
        let name = if name.is_empty() {
            "schema".to_owned()
        } else {
            name
        };
        let mut unique = name.clone();
        for number in 2.. {
            if self.taken.insert(unique.clone()) {
                break;
            }
            unique = format!("{name}-{number}");
        }
        unique
    }

    fn count(&mut self, values: usize, place: &str) -> Result<(), Unfit> {
        match self.left.checked_sub(values) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let most = limits::SCHEMA_BYTES;
                let rule = format!("is where the schema, with all that it refers to, passes {most} bytes");
                Err(Unfit::new(place, rule))
            }
        }
    }
}

/// At most as many as the bytes of its text.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => {
            1 + members
                .iter()
                .map(|(name, value)| name.len() + size(value))
                .sum::<usize>()
        }
        Value::String(text) => 1 + text.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// The members of the standard envelope; `id` is in some documents.
const ENVELOPE: [&str; 4] = ["type", "timestamp", "data", "id"];
/// Schemas that are looked at to see whether one is an envelope, through references and `allOf`.
const ENVELOPE_LOOKS: usize = 64;

/// The schemas of `data`, if a schema describes the standard envelope: its properties are `type`, `timestamp`, `data`,
/// perhaps `id`, and no others.
pub fn data_of_envelope<'a>(description: &'a Value, schema: &'a Value) -> Option<Vec<&'a Value>> {
    let mut properties: Vec<(&str, &Value)> = Vec::new();
    let mut waiting = vec![schema];
    for _ in 0..ENVELOPE_LOOKS {
        let Some(schema) = waiting.pop() else {
            break;
        };
        let own = schema.get("properties").and_then(Value::as_object);
        properties.extend(
            own.into_iter()
                .flatten()
                .map(|(name, schema)| (name.as_str(), schema)),
        );
        let referred = schema
            .get("$ref")
            .and_then(|to| openapi::target(description, to, "").ok());
        waiting.extend(referred.map(|(schema, _)| schema));
        waiting.extend(
            schema
                .get("allOf")
                .and_then(Value::as_array)
                .into_iter()
                .flatten(),
        );
    }
    let has = |wanted: &str| properties.iter().any(|(name, _)| *name == wanted);
    let only_those = properties.iter().all(|(name, _)| ENVELOPE.contains(name));
    if !(only_those && has("type") && has("timestamp") && has("data")) {
        return None;
    }
    let data = properties.into_iter().filter(|(name, _)| *name == "data");
    Some(data.map(|(_, schema)| schema).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_plain_and_each_is_used_once() {
        let mut bundling = Bundling {
            description: &json!(null),
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
            waiting: VecDeque::new(),
            left: 0,
        };
        let names = ["/components/schemas/Übung 1", "/a/User", "/b/User", "/b/User", ""]
            .map(|pointer| bundling.name_for(pointer));
        assert_eq!(names, ["_bung_1", "User", "User-2", "User-3", "schema"]);
    }

    #[test]
    fn what_refers_to_itself_is_copied_once() {
        let description = json!({"components": {"schemas": {
            "Node": {"properties": {"next": {"$ref": "#/components/schemas/Node"}, "$ref": {"type": "string"}},
                     "examples": [{"$ref": "#/nowhere"}]},
        }}});
        let schema = json!({"$ref": "#/components/schemas/Node"});
        let bundled: Value = serde_json::from_str(&bundle(&description, &[&schema], "").unwrap()).unwrap();
        assert_eq!(
            bundled,
            json!({"$ref": "#/$defs/Node", "$defs": {"Node": {
                "properties": {"next": {"$ref": "#/$defs/Node"}, "$ref": {"type": "string"}},
                "examples": [{"$ref": "#/nowhere"}],
            }}})
        );
    }

    #[test]
    fn a_description_that_multiplies_is_stopped() {
        let level = |at: usize| {
            let next = json!({"$ref": format!("#/components/schemas/S{}", at + 1)});
            (
                format!("S{at}"),
                json!({"properties": {"text": {"description": "x".repeat(500)}, "next": next}}),
            )
        };
        let schemas: Map<String, Value> = (0..1000).map(level).collect();
        let description = json!({"components": {"schemas": schemas}});
        let first = json!({"$ref": "#/components/schemas/S0"});
        let unfit = bundle(&description, &[&first], "").unwrap_err();
        assert!(unfit.rule.contains("bytes"), "{unfit:?}");
    }
}
