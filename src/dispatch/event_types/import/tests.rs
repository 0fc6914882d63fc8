//! Descriptions as people write them.

use serde_json::{Map, json};

use super::*;
use crate::{dispatch::event_types::schema::on_a_deep_stack, domain::time::Timestamp};

/// What a description's webhooks become, by name: a declaration, or place and rule.
fn read(description: &Value) -> Map<String, Value> {
    let webhooks = openapi::webhooks(description).unwrap();
    let show = |put: EventTypePut| {
        let json = |text: Option<String>| text.map(|text| serde_json::from_str::<Value>(&text).unwrap());
        json!({
            "description": put.description, "schema": json(put.schema), "example": json(put.example),
            "deprecated": put.deprecated,
        })
    };
    let one = |(name, item): (&str, &Value)| {
        let read = openapi::declaration(description, name, item, Timestamp::EPOCH);
        let read = read.map_err(|unfit| refused(name, unfit)).and_then(checked);
        let shown = read.map_or_else(|refused| json!([refused.pointer, refused.rule]), show);
        (name.to_owned(), shown)
    };
    on_a_deep_stack(|| webhooks.into_iter().map(one).collect()).unwrap()
}

/// Version 3.1 with these webhooks, and some components.
fn description(webhooks: &Value) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Pets", "version": "1"},
        "webhooks": webhooks,
        "components": {
            "schemas": {
                "Pet": {
                    "type": "object", "required": ["id", "name"],
                    "properties": {
                        "id": {"type": "integer", "format": "int64"}, "name": {"type": "string"},
                        "tag": {"$ref": "#/components/schemas/Tag"},
                        "parent": {"oneOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "null"}]},
                    },
                },
                "Tag": {"type": "string", "maxLength": 8},
                "Envelope": {
                    "type": "object", "required": ["type", "timestamp", "data"],
                    "properties": {"type": {"type": "string"}, "timestamp": {"format": "date-time"}, "data": {}},
                },
            },
            "requestBodies": {"Pet": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}},
            "pathItems": {"adopted": {"post": {"requestBody": {"$ref": "#/components/requestBodies/Pet"}}}},
            "examples": {"rex": {"value": {"id": 7, "name": "Rex"}}},
        },
    })
}

fn post(content: &Value) -> Value {
    json!({"post": {"requestBody": {"content": content}}})
}

#[test]
fn a_webhook_is_read_with_all_that_it_refers_to() {
    let webhooks = json!({"pet.created": {"post": {
        "summary": "A pet came", "deprecated": true,
        "requestBody": {"description": "the pet", "content": {"application/json; charset=utf-8": {
            "schema": {"$ref": "#/components/schemas/Pet"},
            "examples": {"a": {"$ref": "#/components/examples/rex"}},
        }}},
        "responses": {"200": {"description": "ok"}},
    }}});
    let read = read(&description(&webhooks));
    let expected = json!({
        "description": "A pet came",
        "deprecated": true,
        "example": {"id": 7, "name": "Rex"},
        "schema": {"$ref": "#/$defs/Pet", "$defs": {
            "Pet": {
                "type": "object", "required": ["id", "name"],
                "properties": {
                    "id": {"type": "integer", "format": "int64"}, "name": {"type": "string"},
                    "tag": {"$ref": "#/$defs/Tag"},
                    "parent": {"oneOf": [{"$ref": "#/$defs/Pet"}, {"type": "null"}]},
                },
            },
            "Tag": {"type": "string", "maxLength": 8},
        }},
    });
    assert_eq!(read["pet.created"], expected);
}

#[test]
fn bodies_and_items_may_stand_in_components() {
    let webhooks = json!({"pet.adopted": {"$ref": "#/components/pathItems/adopted"}});
    let read = read(&description(&webhooks));
    assert_eq!(read["pet.adopted"]["schema"]["$ref"], "#/$defs/Pet");
}

#[test]
fn of_the_standard_envelope_the_data_is_taken() {
    let envelope = json!({
        "properties": {
            "type": {"const": "pet.renamed"}, "timestamp": {"type": "string"},
            "data": {"$ref": "#/components/schemas/Pet"},
        },
        "required": ["type", "timestamp", "data"],
    });
    let composed = json!({"allOf": [
        {"$ref": "#/components/schemas/Envelope"}, {"properties": {"data": {"$ref": "#/components/schemas/Tag"}}},
    ]});
    let example =
        json!({"type": "pet.renamed", "timestamp": "2026-11-21T00:00:00Z", "data": {"id": 1, "name": "x"}});
    // An object that has other members beside is data.
    let other = json!({"properties": {"type": {}, "timestamp": {}, "data": {}, "account": {}}});
    let webhooks = json!({
        "pet.renamed": post(&json!({"application/json": {"schema": envelope, "example": example}})),
        "pet.tagged": post(&json!({"application/json": {"schema": composed}})),
        "pet.other": post(&json!({"application/json": {"schema": other, "example": {"data": 1}}})),
    });
    let read = read(&description(&webhooks));
    assert_eq!(read["pet.renamed"]["schema"]["$ref"], "#/$defs/Pet");
    assert_eq!(read["pet.renamed"]["example"], json!({"id": 1, "name": "x"}));
    let tagged = json!({
        "allOf": [{"$ref": "#/$defs/Tag"}, {}], "$defs": {"Tag": {"type": "string", "maxLength": 8}},
    });
    let mut found = read["pet.tagged"]["schema"].clone();
    found["allOf"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(ToString::to_string);
    let mut tagged = tagged;
    tagged["allOf"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(ToString::to_string);
    assert_eq!(found, tagged);
    assert_eq!(read["pet.other"]["schema"], other);
    assert_eq!(read["pet.other"]["example"], json!({"data": 1}));
}

#[test]
fn a_webhook_that_cannot_be_taken_says_where_and_why() {
    let json_of = |schema: Value| post(&json!({"application/json": {"schema": schema}}));
    let webhooks = json!({
        "new pet!": {"post": {}},
        "a": {"description": "no operation"},
        "b": post(&json!({"application/xml": {"schema": {}}})),
        "c": json_of(json!({"$ref": "https://example.com/pet.json"})),
        "d": json_of(json!({"properties": {"x": {"$ref": "#/components/schemas/Missing"}}})),
        "e": json_of(json!({"type": "strnig"})),
        "f": json_of(json!({"properties": {"x": {"$id": "x.json"}}})),
        "g": {"$ref": "#/webhooks/g"},
        "h": {"post": {"requestBody": {"$ref": "other.yaml#/x"}}},
        "i": json_of(json!({"$ref": "#/info"})),
        "j": json_of(json!(["no schema"])),
        "k": json_of(json!({"$ref": "#/webhooks/k/post/requestBody/content/application~1json/schema"})),
    });
    let read = read(&description(&webhooks));
    for (name, place) in [
        ("new pet!", "/webhooks/new pet!"),
        ("a", "/webhooks/a"),
        ("b", "/webhooks/b/post/requestBody/content"),
        (
            "c",
            "/webhooks/c/post/requestBody/content/application~1json/schema/$ref",
        ),
        (
            "d",
            "/webhooks/d/post/requestBody/content/application~1json/schema/properties/x/$ref",
        ),
        ("e", "/webhooks/e"),
        (
            "f",
            "/webhooks/f/post/requestBody/content/application~1json/schema/properties/x/$id",
        ),
        ("g", "/webhooks/g"),
        ("h", "/webhooks/h/post/requestBody/$ref"),
        (
            "j",
            "/webhooks/j/post/requestBody/content/application~1json/schema",
        ),
        ("k", "/webhooks/k"),
    ] {
        assert_eq!(read[name][0], place, "{name}: {}", read[name]);
        assert!(
            read[name][1].as_str().is_some_and(|rule| !rule.is_empty()),
            "{name}"
        );
    }
}

#[test]
fn a_webhook_without_a_body_is_a_type_without_a_schema() {
    let webhooks =
        json!({"ping": {"get": {"description": "  Are you\u{7} there?\n"}}, "empty": {"post": {}}});
    let read = read(&description(&webhooks));
    assert_eq!(read["ping"]["description"], "Are you  there?");
    assert_eq!(read["ping"]["schema"], Value::Null);
    assert_eq!(read["empty"]["description"], Value::Null);
}

#[test]
fn an_example_that_does_not_meet_its_schema_is_left_out() {
    let media = json!({"schema": {"type": "object"}, "example": "none"});
    let read = read(&description(
        &json!({"a": post(&json!({"application/json": media}))}),
    ));
    assert_eq!(read["a"]["example"], Value::Null);
    assert_eq!(read["a"]["schema"], json!({"type": "object"}));
}

#[test]
fn a_long_description_is_cut_between_words() {
    let words = "état ".repeat(2000);
    let read = read(&description(&json!({"a": {"description": words, "post": {}}})));
    let kept = read["a"]["description"].as_str().unwrap();
    assert!(
        kept.len() <= limits::DESCRIPTION_BYTES && kept.ends_with("état…"),
        "{}",
        kept.len()
    );
}

#[test]
fn only_a_description_with_webhooks_is_read() {
    let pointer = |description: Value| openapi::webhooks(&description).unwrap_err().pointer;
    assert_eq!(pointer(json!({})), "/openapi");
    assert_eq!(pointer(json!({"openapi": "3.0.3", "webhooks": {}})), "/openapi");
    assert_eq!(pointer(json!({"openapi": 3.1, "webhooks": {}})), "/openapi");
    assert_eq!(pointer(json!({"swagger": "2.0"})), "/openapi");
    assert_eq!(pointer(json!({"openapi": "3.1.0", "paths": {}})), "/webhooks");
    assert_eq!(pointer(json!({"openapi": "3.1.1", "webhooks": []})), "/webhooks");
    let many: Map<String, Value> = (0..=limits::EVENT_TYPES)
        .map(|at| (format!("t{at}"), json!({})))
        .collect();
    assert_eq!(
        pointer(json!({"openapi": "3.1.0", "webhooks": many})),
        "/webhooks"
    );
}
