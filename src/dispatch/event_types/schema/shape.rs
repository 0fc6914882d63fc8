//! What a schema may be made of, and how much work it can ask for, before it is compiled.
//!
//! References lead to places in the schema itself, so that nothing is ever fetched. One that leads back to where it
//! stands without going into the data has no end, and is refused. So is a schema that applies too many schemas to one
//! value: ten `allOf` of two references each, one behind the other, are a thousand.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    InvalidSchema,
    keywords::{self, Applies, REFERENCES},
};
use crate::domain::limits;

/// The work that a schema asks for at each value of the data.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Schemas applied to it.
    pub schemas: usize,
    /// Of these, the longest chain of one inside the other.
    pub chain: usize,
}

/// The meta-schemas that `$schema` may name, without a `#` at the end.
const DIALECTS: [&str; 7] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
    "http://json-schema.org/schema",
];

/// Checks a schema, and measures it.
///
/// # Errors
/// Names the place and the rule.
pub fn measure(root: &Value) -> Result<Work, InvalidSchema> {
    if !keywords::is_schema(root) {
        return Err(refuse("", "is not a JSON Schema; use an object"));
    }
    check_dialect(root)?;
    let mut walk = Walk {
        root,
        anchors: anchors(root),
        measured: HashMap::new(),
        open: HashSet::new(),
        inside: Vec::new(),
        most: Work::default(),
        patterns: 0,
    };
    walk.inside.push((root, String::new()));
    while let Some((schema, pointer)) = walk.inside.pop() {
        let work = walk.enter(schema, &pointer, 1)?;
        walk.most = Work {
            schemas: walk.most.schemas.max(work.schemas),
            chain: walk.most.chain.max(work.chain),
        };
    }
    Ok(walk.most)
}

fn check_dialect(root: &Value) -> Result<(), InvalidSchema> {
    let known = |text: &str| DIALECTS.contains(&text.trim_end_matches('#'));
    match root.get("$schema") {
        None => Ok(()),
        Some(Value::String(text)) if known(text) => Ok(()),
        Some(_) => Err(refuse(
            "/$schema",
            "is not a draft that is known here; use https://json-schema.org/draft/2020-12/schema, or leave it out",
        )),
    }
}

/// The schemas that have a name, wherever they stand.
fn anchors(root: &Value) -> HashMap<&str, (&Value, String)> {
    let mut found = HashMap::new();
    let mut waiting = vec![(root, String::new())];
    while let Some((schema, pointer)) = waiting.pop() {
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(name) = schema.get(keyword).and_then(Value::as_str) {
                found.insert(name, (schema, pointer.clone()));
            }
        }
        for keyword in ["$id", "id"] {
            let id = schema.get(keyword).and_then(Value::as_str);
            if let Some(name) = id.and_then(|id| id.strip_prefix('#')) {
                found.insert(name, (schema, pointer.clone()));
            }
        }
        for held in keywords::held(schema) {
            waiting.push((held.schema, pointer.clone() + &held.pointer));
        }
    }
    found
}

struct Walk<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, (&'a Value, String)>,
    /// By the schema's address.
    measured: HashMap<usize, Work>,
    /// Those that are being measured: the way from the value's first schema to the present one.
    open: HashSet<usize>,
    /// Schemas for values inside, still to be looked at.
    inside: Vec<(&'a Value, String)>,
    most: Work,
    patterns: usize,
}

impl<'a> Walk<'a> {
    /// Measures a schema with all that it applies to the same value. `chain` is its place on the way there, which
    /// bounds the recursion.
    fn enter(&mut self, schema: &'a Value, pointer: &str, chain: usize) -> Result<Work, InvalidSchema> {
        let address = std::ptr::from_ref(schema).addr();
        if let Some(work) = self.measured.get(&address) {
            return Ok(*work);
        }
        if chain > limits::SCHEMA_CHAIN {
            return Err(refuse(pointer, TOO_LONG));
        }
        if !self.open.insert(address) {
            return Err(refuse(
                pointer,
                "refers to itself without going into the data, which has no end; refer to it from a property or an item",
            ));
        }
        check_identifier(schema, pointer)?;
        self.count_patterns(schema, pointer)?;
        let mut work = Work { schemas: 1, chain: 1 };
        for (below, pointer) in self.applied_here(schema, pointer)? {
            let inner = self.enter(below, &pointer, chain + 1)?;
            work.schemas = work.schemas.saturating_add(inner.schemas);
            work.chain = work.chain.max(inner.chain + 1);
        }
        if work.schemas > limits::SCHEMA_APPLIED {
            return Err(refuse(
                pointer,
                "applies too many schemas to one value, counting each time that one is referred to; at most 2,000",
            ));
        }
        if work.chain > limits::SCHEMA_CHAIN {
            return Err(refuse(pointer, TOO_LONG));
        }
        self.open.remove(&address);
        self.measured.insert(address, work);
        Ok(work)
    }

    fn count_patterns(&mut self, schema: &Value, pointer: &str) -> Result<(), InvalidSchema> {
        let of_names = schema.get("patternProperties").and_then(Value::as_object);
        self.patterns += usize::from(schema.get("pattern").is_some()) + of_names.map_or(0, Map::len);
        if self.patterns <= limits::SCHEMA_PATTERNS {
            return Ok(());
        }
        Err(refuse(
            pointer,
            "is where the schema passes 100 patterns; use enum or const where the values are known",
        ))
    }

    /// The schemas that one applies to the same value; those for values inside are put aside.
    fn applied_here(
        &mut self,
        schema: &'a Value,
        pointer: &str,
    ) -> Result<Vec<(&'a Value, String)>, InvalidSchema> {
        let mut here = Vec::new();
        for held in keywords::held(schema) {
            let pointer = format!("{pointer}{}", held.pointer);
            match held.applies {
                Applies::Here => here.push((held.schema, pointer)),
                Applies::Inside => self.inside.push((held.schema, pointer)),
                Applies::Nowhere => {}
            }
        }
        for keyword in REFERENCES {
            if let Some(reference) = schema.get(keyword) {
                here.push(self.resolve(reference, &format!("{pointer}/{keyword}"))?);
            }
        }
        Ok(here)
    }

    fn resolve(&self, reference: &Value, pointer: &str) -> Result<(&'a Value, String), InvalidSchema> {
        let Some(reference) = reference.as_str() else {
            return Err(refuse(
                pointer,
                "is not a text; use a reference such as #/$defs/name",
            ));
        };
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(refuse(
                pointer,
                "leads out of the schema, and nothing is fetched; copy what it names into $defs and use #/$defs/name",
            ));
        };
        let found = match keywords::pointer_in(fragment) {
            Some(at) => self.root.pointer(&at).map(|schema| (schema, at)),
            None => self.anchors.get(fragment).cloned(),
        };
        match found {
            Some((schema, at)) if keywords::is_schema(schema) => Ok((schema, at)),
            Some(_) => Err(refuse(pointer, "names something that is not a schema")),
            None => Err(refuse(pointer, "names nothing in this schema; use #/$defs/name")),
        }
    }
}

const TOO_LONG: &str =
    "is at the end of too long a chain of schemas for one value; at most 32 may stand one behind the other";

/// An identifier below the root would change what the references below it mean.
fn check_identifier(schema: &Value, pointer: &str) -> Result<(), InvalidSchema> {
    if pointer.is_empty() {
        return Ok(());
    }
    for keyword in ["$id", "$schema"] {
        let text = schema.get(keyword).and_then(Value::as_str);
        if text.is_some_and(|text| !text.starts_with('#')) {
            return Err(refuse(
                &format!("{pointer}/{keyword}"),
                "is not taken below the top of a schema; leave it out",
            ));
        }
    }
    Ok(())
}

fn refuse(pointer: &str, rule: &str) -> InvalidSchema {
    InvalidSchema {
        pointer: pointer.to_owned(),
        rule: rule.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(schema: &Value) -> String {
        measure(schema).unwrap_err().pointer
    }

    #[test]
    fn what_is_applied_to_one_value_is_counted_through_references() {
        let schema = json!({
            "$defs": {"text": {"type": "string"}, "both": {"allOf": [{"$ref": "#/$defs/text"}, {"minLength": 1}]}},
            "properties": {"a": {"$ref": "#/$defs/both"}},
        });
        // a, both, its two branches, text.
        let expected = Work { schemas: 5, chain: 4 };
        assert_eq!(measure(&schema).unwrap(), expected);
        assert_eq!(measure(&json!(true)).unwrap(), Work { schemas: 1, chain: 1 });
    }

    #[test]
    fn a_tree_may_refer_to_itself_through_the_data() {
        for keyword in ["$ref", "$dynamicRef"] {
            let tree = json!({
                "$dynamicAnchor": "node",
                "properties": {"children": {"type": "array", "items": {keyword: "#node"}}, "next": {"$ref": "#"}},
            });
            assert!(measure(&tree).is_ok(), "{keyword}");
        }
    }

    #[test]
    fn an_endless_reference_is_refused_where_it_closes() {
        assert_eq!(place(&json!({"$ref": "#"})), "");
        assert_eq!(place(&json!({"$recursiveRef": "#"})), "");
        let round = json!({
            "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"anyOf": [true, {"$ref": "#/$defs/a"}]}},
            "properties": {"x": {"$ref": "#/$defs/a"}},
        });
        assert_eq!(place(&round), "/$defs/a");
    }

    #[test]
    fn references_that_lead_out_or_nowhere_are_refused() {
        for bad in [
            json!("https://example.com/schema.json"),
            json!("http://127.0.0.1/x"),
            json!("file:///etc/passwd"),
            json!("other.json#/a"),
            json!("https://json-schema.org/draft/2020-12/schema"),
            json!("#/$defs/missing"),
            json!("#missing"),
            json!("#/enum"),
            json!(7),
        ] {
            let schema = json!({"enum": [1], "properties": {"a": {"$ref": bad}}});
            assert_eq!(place(&schema), "/properties/a/$ref", "{bad}");
        }
    }

    #[test]
    fn identifiers_and_dialects_are_those_of_the_top() {
        let named =
            json!({"$id": "https://example.com/a", "$schema": "http://json-schema.org/draft-07/schema#"});
        assert!(measure(&named).is_ok());
        let below = json!({"properties": {"a": {"$id": "b.json"}}});
        assert_eq!(place(&below), "/properties/a/$id");
        for unknown in [json!("https://example.com/meta"), json!(5)] {
            assert_eq!(place(&json!({"$schema": unknown})), "/$schema");
        }
        for no_schema in [json!("text"), json!([]), json!(null), json!(3)] {
            assert_eq!(place(&no_schema), "");
        }
    }

    #[test]
    fn patterns_are_counted() {
        let many = |count: usize| {
            let properties = (0..count).map(|at| (format!("p{at}"), json!({"pattern": "^a"})));
            json!({"properties": properties.collect::<Map<_, _>>(), "patternProperties": {"^x": true}})
        };
        assert!(measure(&many(limits::SCHEMA_PATTERNS - 1)).is_ok());
        let refused = measure(&many(limits::SCHEMA_PATTERNS)).unwrap_err();
        assert!(refused.rule.contains("100 patterns"), "{refused:?}");
    }

    #[test]
    fn work_that_doubles_with_each_reference_is_refused() {
        let link = |next: usize| {
            let reference = json!({"$ref": format!("#/$defs/d{next}")});
            (format!("d{}", next - 1), json!({"allOf": [reference, reference]}))
        };
        let mut defs: Map<String, Value> = (1..12).map(link).collect();
        defs.insert("d11".to_owned(), json!({}));
        let refused = measure(&json!({"$defs": defs, "$ref": "#/$defs/d0"})).unwrap_err();
        assert!(refused.rule.contains("too many"), "{refused:?}");
        let chain: Map<String, Value> = (0..1000)
            .map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)})))
            .chain([("d1000".to_owned(), json!({}))])
            .collect();
        let refused = measure(&json!({"$defs": chain, "$ref": "#/$defs/d0"})).unwrap_err();
        assert!(refused.rule.contains("too long"), "{refused:?}");
    }
}
