//! Schemas and payloads, good, bad and costly.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn compile(schema: &Value) -> Result<Schema, InvalidSchema> {
    let text = schema.to_string();
    on_a_deep_stack(|| Schema::compile(&text)).unwrap()
}

fn places(schema: &Value, payload: &str) -> Vec<String> {
    match compile(schema).unwrap().check(payload.as_bytes()) {
        Ok(()) => Vec::new(),
        Err(Mismatch::Violations(found)) => found.into_iter().map(|violation| violation.pointer).collect(),
        Err(other) => panic!("{payload}: {other:?}"),
    }
}

/// Every object has an `a` that meets the same schema twice.
fn doubling(leaf: &Value) -> Value {
    let inner = json!({"properties": {"a": {"$ref": "#"}}});
    json!({"anyOf": [leaf, {"allOf": [inner, inner]}], "type": ["object", "string"]})
}

fn nested(depth: usize, leaf: &str) -> String {
    format!("{}{leaf}{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

#[test]
fn violations_say_where_in_the_data() {
    let schema = json!({
        "type": "object",
        "required": ["id", "tags"],
        "properties": {"id": {"type": "integer"}, "tags": {"items": {"pattern": "^[a-z]+$"}}, "a/b": {"maxLength": 2}},
        "additionalProperties": false,
    });
    assert_eq!(places(&schema, r#"{"id": 1, "tags": []}"#), Vec::<String>::new());
    let mut found = places(&schema, r#"{"id": "x", "tags": ["ok", "NO"], "a/b": "long"}"#);
    found.sort();
    assert_eq!(found, ["/a~1b", "/id", "/tags/1"]);
    assert_eq!(places(&schema, r#"{"id": 1}"#), [""]);
    assert_eq!(places(&json!(false), "1"), [""]);
}

#[test]
fn a_violation_does_not_repeat_the_data() {
    let schema = compile(&json!({"type": "integer", "maximum": 5})).unwrap();
    let Err(Mismatch::Violations(found)) = schema.check(br#""top secret""#) else {
        panic!("no violation");
    };
    assert_eq!(found[0].rule, "the value is not of type \"integer\"");
}

#[test]
fn the_draft_is_the_one_that_the_schema_names() {
    let items = json!([{"type": "string"}]);
    let draft_7 = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": items});
    assert_eq!(places(&draft_7, "[1]"), ["/0"]);
    assert_eq!(places(&json!({"prefixItems": items}), "[1]"), ["/0"]);
    // A list of items is no schema of the present draft.
    assert_eq!(compile(&json!({"items": items})).unwrap_err().pointer, "/items");
}

#[test]
fn a_schema_at_fault_is_named_by_its_place() {
    for (schema, place) in [
        (json!({"type": "strnig"}), "/type"),
        (
            json!({"properties": {"a": {"minLength": -1}}}),
            "/properties/a/minLength",
        ),
        (json!({"required": "id"}), "/required"),
        (json!({"properties": []}), "/properties"),
        (
            json!({"properties": {"a": {"pattern": "("}}}),
            "/properties/a/pattern",
        ),
        (
            json!({"properties": {"a": {"pattern": "^(?=x)y"}}}),
            "/properties/a/pattern",
        ),
        (
            json!({"properties": {"a": {"pattern": r"(a)\1"}}}),
            "/properties/a/pattern",
        ),
        (json!({"patternProperties": {"[": {}}}), "/patternProperties/["),
        (json!({"pattern": "((a{100}){100}){100}"}), "/pattern"),
    ] {
        let error = compile(&schema).unwrap_err();
        assert_eq!(error.pointer, place, "{schema}: {error}");
        assert!(!error.rule.is_empty());
    }
    assert_eq!(Schema::compile("{").unwrap_err().pointer, "");
    let twice = Schema::compile(r#"{"type":"string","type":"object"}"#).unwrap_err();
    assert!(twice.rule.contains("twice"), "{twice}");
    let huge = json!({"description": "x".repeat(limits::SCHEMA_BYTES)});
    assert!(compile(&huge).unwrap_err().rule.contains("bytes"));
}

#[test]
fn a_pattern_that_would_backtrack_for_ever_is_matched_in_linear_time() {
    let schema = json!({"pattern": "^(a+)+$"});
    assert_eq!(places(&schema, &format!("\"{}!\"", "a".repeat(100_000))), [""]);
    // Patterns that people write fit.
    for pattern in [
        "^.{1,255}$",
        r"^\p{L}[\p{L}\p{N} '-]*$",
        "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    ] {
        assert!(compile(&json!({"pattern": pattern})).is_ok(), "{pattern}");
    }
}

#[test]
fn what_cannot_be_read_in_one_way_only_is_not_valid() {
    let any = compile(&json!({})).unwrap();
    for bad in [r#"{"a": 1, "a": 2}"#, "1e400", r#""\ud83d""#, "{", ""] {
        assert!(
            matches!(any.check(bad.as_bytes()), Err(Mismatch::Unreadable(_))),
            "{bad}"
        );
    }
    assert_eq!(any.check(b"12345678901234567890123"), Ok(()));
}

#[test]
fn violations_are_named_up_to_a_bound() {
    let schema = json!({"items": {"type": "string"}});
    let many = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    assert_eq!(places(&schema, &many(5)).len(), 5);
    assert_eq!(places(&schema, &many(1000)).len(), limits::VIOLATIONS);
    // Too many to be gathered: the first one is told.
    assert_eq!(places(&schema, &many(100_000)), ["/0"]);
}

#[test]
fn work_that_doubles_with_each_level_of_the_data_ends() {
    // Recursive references are remembered while validity alone is asked for.
    let schema = compile(&doubling(&json!({"const": "leaf"}))).unwrap();
    assert_eq!(schema.check(nested(60, r#""leaf""#).as_bytes()), Ok(()));
    assert!(matches!(
        schema.check(nested(60, "7").as_bytes()),
        Err(Mismatch::Violations(_))
    ));
}

#[test]
fn work_that_is_not_remembered_runs_out_of_steps() {
    // Without recursion nothing is remembered: level n is looked at 2^n times.
    let level = |at: usize| {
        let inner = json!({"properties": {"a": {"$ref": format!("#/$defs/d{}", at + 1)}}});
        (format!("d{at}"), json!({"allOf": [inner, inner]}))
    };
    let mut defs: Map<String, Value> = (0..60).map(level).collect();
    defs.insert("d60".to_owned(), json!({"type": "string"}));
    let schema = compile(&json!({"$defs": defs, "$ref": "#/$defs/d0"})).unwrap();
    assert_eq!(schema.check(nested(5, "{}").as_bytes()), Ok(()));
    assert_eq!(
        schema.check(nested(60, "\"x\"").as_bytes()),
        Err(Mismatch::TooCostly)
    );
}

#[test]
fn the_longest_chains_and_the_deepest_data_fit_on_a_worker_s_stack() {
    // One behind the other at each level, by the kinds of keyword that take most of the stack.
    let wrap = |inner: Value, at: usize| match at % 4 {
        0 => json!({"allOf": [inner]}),
        1 => json!({"anyOf": [inner]}),
        2 => json!({"oneOf": [inner]}),
        _ => json!({"if": inner, "then": true, "else": false}),
    };
    for chain in [1, 2, 4, 8, 16, limits::SCHEMA_CHAIN] {
        let leaf = json!({
            "properties": {"a": {"$ref": "#"}}, "unevaluatedProperties": {"$ref": "#"}, "type": ["object", "string"],
        });
        let schema = (1..chain.saturating_sub(1)).fold(leaf, &wrap);
        let schema = compile(&schema).unwrap();
        let deepest = (limits::SCHEMA_FRAMES / schema.chain).min(limits::JSON_DEPTH - 1);
        for payload in [nested(deepest - 1, "\"x\""), nested(deepest - 1, "7")] {
            // Half of a worker's stack.
            let worker = thread::Builder::new().stack_size(1024 * 1024);
            let checked = thread::scope(|scope| {
                let worker = worker.spawn_scoped(scope, || schema.check(payload.as_bytes()).is_err());
                worker.unwrap().join().unwrap()
            });
            assert_eq!(checked, payload.contains('7'));
        }
        let deeper = nested(limits::SCHEMA_FRAMES / schema.chain, "7");
        let refused = schema.check(deeper.as_bytes()).unwrap_err();
        assert!(
            matches!(refused, Mismatch::TooDeep | Mismatch::Unreadable(_)),
            "{refused:?}"
        );
    }
}

#[test]
fn a_schema_of_any_depth_is_compiled_or_refused() {
    let mut deep = String::new();
    for _ in 0..110 {
        write!(deep, r#"{{"properties":{{"a":"#).unwrap();
    }
    deep.push_str("{}");
    deep.push_str(&"}}".repeat(110));
    let answer = on_a_deep_stack(|| Schema::compile(&deep).map(|_| ())).unwrap();
    assert!(answer.unwrap_err().rule.contains("recursion"));
    let deep = (0..60).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
    assert_eq!(places(&deep, &nested(60, "1")), Vec::<String>::new());
}

/// Any small JSON, of names and values that the schemas below care about.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..4_i64).prop_map(Value::from),
        Just(json!(1.0)),
        Just(json!(1.5)),
        "[abé]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Schemas that use every kind of keyword.
fn every_keyword() -> Vec<Value> {
    vec![
        json!({"type": ["object", "array"], "minProperties": 1, "maxItems": 2}),
        json!({"properties": {"a": {"type": "integer"}, "b": {"$ref": "#"}}, "additionalProperties": false}),
        json!({"patternProperties": {"^[ab]$": {"enum": [1, "a", null, [], {"a": 1}]}}, "required": ["a"]}),
        json!({"propertyNames": {"maxLength": 1, "pattern": "a|b"}, "dependentRequired": {"a": ["b"]}}),
        json!({"prefixItems": [{"type": "string"}], "items": {"$ref": "#"}, "uniqueItems": true}),
        json!({"contains": {"const": 1}, "minContains": 1, "maxContains": 2}),
        json!({"oneOf": [{"type": "number"}, {"minimum": 1}, {"minLength": 2}]}),
        json!({"anyOf": [{"multipleOf": 0.5}, {"exclusiveMaximum": 0}, {"pattern": "^a"}]}),
        json!({"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": {"type": "null"}}),
        json!({"if": {"type": "array"}, "then": {"unevaluatedItems": false, "prefixItems": [true]}, "else": {"not": {"type": "null"}}}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}], "additionalItems": {"$ref": "#"}, "dependencies": {"a": ["b"], "b": {"maxProperties": 2}}}),
    ]
}

proptest! {
    #[test]
    fn the_verdict_is_that_of_the_library_on_plain_values(value in any_json(), at in 0..11_usize) {
        let schema = &every_keyword()[at];
        let plain = jsonschema::options().should_validate_formats(false).build(schema).unwrap();
        let checked = compile(schema).unwrap().check(value.to_string().as_bytes());
        prop_assert_eq!(plain.is_valid(&value), checked.is_ok(), "{} {}: {:?}", schema, value, checked);
        if let Err(mismatch) = checked {
            let Mismatch::Violations(found) = mismatch else {
                panic!("{mismatch:?}");
            };
            for violation in found {
                prop_assert!(value.pointer(&violation.pointer).is_some(), "{violation:?} in {value}");
            }
        }
    }
}
