//! Where a JSON Schema holds further schemas. What stands elsewhere (`enum`, `const`, `default`, a property named
//! `$ref`) is data.

use serde_json::Value;

/// What a keyword's value is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A schema.
    One,
    /// A list of schemas; or, in older drafts, a schema.
    Many,
    /// Schemas by name. What is no schema (the lists of `dependencies`) is passed over.
    Named,
}

/// To what a keyword's schemas are applied.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Applies {
    /// To the same value.
    Here,
    /// To values inside.
    Inside,
    /// To nothing, unless something refers to them.
    Nowhere,
}

/// The keywords of all drafts from 4 to 2020-12 that hold schemas.
const HOLDERS: [(&str, Holds, Applies); 22] = [
    ("allOf", Holds::Many, Applies::Here),
    ("anyOf", Holds::Many, Applies::Here),
    ("oneOf", Holds::Many, Applies::Here),
    ("not", Holds::One, Applies::Here),
    ("if", Holds::One, Applies::Here),
    ("then", Holds::One, Applies::Here),
    ("else", Holds::One, Applies::Here),
    ("dependentSchemas", Holds::Named, Applies::Here),
    ("dependencies", Holds::Named, Applies::Here),
    ("properties", Holds::Named, Applies::Inside),
    ("patternProperties", Holds::Named, Applies::Inside),
    ("additionalProperties", Holds::One, Applies::Inside),
    ("unevaluatedProperties", Holds::One, Applies::Inside),
    ("propertyNames", Holds::One, Applies::Inside),
    ("items", Holds::Many, Applies::Inside),
    ("prefixItems", Holds::Many, Applies::Inside),
    ("additionalItems", Holds::One, Applies::Inside),
    ("unevaluatedItems", Holds::One, Applies::Inside),
    ("contains", Holds::One, Applies::Inside),
    ("contentSchema", Holds::One, Applies::Inside),
    ("$defs", Holds::Named, Applies::Nowhere),
    ("definitions", Holds::Named, Applies::Nowhere),
];

/// The keywords whose value names a schema elsewhere, applied to the same value.
pub const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// What the keyword holds, if it holds schemas.
pub fn holder(keyword: &str) -> Option<(Holds, Applies)> {
    let (_, holds, applies) = HOLDERS.iter().find(|(name, ..)| *name == keyword)?;
    Some((*holds, *applies))
}

/// A schema within a schema.
pub struct Held<'a> {
    pub schema: &'a Value,
    /// From the schema that holds it, as a JSON pointer.
    pub pointer: String,
    pub applies: Applies,
}

/// The schemas that one holds, each of which is an object or a boolean.
pub fn held(schema: &Value) -> Vec<Held<'_>> {
    let mut found = Vec::new();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        let Some((holds, applies)) = holder(keyword) else {
            continue;
        };
        let mut push = |pointer: String, schema| {
            if is_schema(schema) {
                found.push(Held {
                    schema,
                    pointer,
                    applies,
                });
            }
        };
        match (holds, value) {
            (Holds::One, schema) => push(format!("/{keyword}"), schema),
            (Holds::Many, Value::Array(items)) => {
                for (index, schema) in items.iter().enumerate() {
                    push(format!("/{keyword}/{index}"), schema);
                }
            }
            (Holds::Many, schema) => push(format!("/{keyword}"), schema),
            (Holds::Named, Value::Object(named)) => {
                for (name, schema) in named {
                    push(format!("/{keyword}/{}", escaped(name)), schema);
                }
            }
            (Holds::Named, _) => {}
        }
    }
    found
}

/// Whether a value has the form of a schema.
pub const fn is_schema(value: &Value) -> bool {
    matches!(value, Value::Object(_) | Value::Bool(_))
}

/// A name as a token of a JSON pointer (RFC 6901).
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The JSON pointer in a reference's fragment, percent-decoded; `None` when the fragment is an anchor's name, or is
/// no UTF-8.
pub fn pointer_in(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let decoded = (byte == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if decoded.is_some() {
            rest = &after[2..];
        }
        bytes.push(decoded.unwrap_or(byte));
    }
    let pointer = String::from_utf8(bytes).ok()?;
    (pointer.is_empty() || pointer.starts_with('/')).then_some(pointer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_told_from_data_that_looks_like_them() {
        let schema = json!({
            "properties": {"$ref": {"type": "string"}, "a/b": true},
            "enum": [{"$ref": "#/x"}],
            "items": [{}, false],
            "dependencies": {"a": ["b"], "c": {}},
            "const": {"allOf": [{}]},
            "not": {},
        });
        let mut found: Vec<_> = held(&schema).into_iter().map(|held| held.pointer).collect();
        found.sort();
        let expected = [
            "/dependencies/c",
            "/items/0",
            "/items/1",
            "/not",
            "/properties/$ref",
            "/properties/a~1b",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_fragment_is_a_pointer_or_a_name() {
        assert_eq!(pointer_in("").as_deref(), Some(""));
        assert_eq!(pointer_in("/a%20b/c~1d").as_deref(), Some("/a b/c~1d"));
        assert_eq!(pointer_in("/100%").as_deref(), Some("/100%"));
        assert_eq!(pointer_in("name"), None);
        assert_eq!(pointer_in("/%ff"), None);
    }
}
