//! What is no declaration.

use super::*;

/// Documents that are refused: the field and the place that the problem names.
fn bad_documents() -> Vec<(Value, &'static str, &'static str)> {
    let schema = |schema: Value| json!({"schema": schema});
    let property = |of: Value| json!({"schema": {"properties": {"a": of}}});
    vec![
        (json!({"shcema": {}}), "shcema", ""),
        (json!({"type": "another"}), "type", ""),
        (json!({"type": "a..b"}), "type", ""),
        (json!({"deprecated": "yes"}), "deprecated", ""),
        (json!({"description": 7}), "description", ""),
        (json!({"description": ""}), "description", ""),
        (json!({"description": "\u{1b}[2J"}), "description", ""),
        (json!({"description": "\u{202e}"}), "description", ""),
        (json!({"description": "x".repeat(4097)}), "description", ""),
        (json!({"example": "x".repeat(64 * 1024)}), "example", ""),
        (schema(json!("string")), "schema", "/schema"),
        (schema(json!([])), "schema", "/schema"),
        (schema(json!(7)), "schema", "/schema"),
        (
            schema(json!({"description": "x".repeat(64 * 1024)})),
            "schema",
            "/schema",
        ),
        (schema(json!({"type": "strnig"})), "schema", "/schema/type"),
        (
            schema(json!({"$schema": "https://example.com/own"})),
            "schema",
            "/schema/$schema",
        ),
        (schema(json!({"$ref": "#"})), "schema", "/schema"),
        (
            property(json!({"required": "id"})),
            "schema",
            "/schema/properties/a/required",
        ),
        (
            property(json!({"pattern": "(?<=a)b"})),
            "schema",
            "/schema/properties/a/pattern",
        ),
        (
            property(json!({"pattern": "("})),
            "schema",
            "/schema/properties/a/pattern",
        ),
        (
            property(json!({"$id": "b"})),
            "schema",
            "/schema/properties/a/$id",
        ),
        (
            property(json!({"$ref": "http://127.0.0.1:1/x"})),
            "schema",
            "/schema/properties/a/$ref",
        ),
        (
            property(json!({"$ref": "https://json-schema.org/draft/2020-12/schema"})),
            "schema",
            "/schema/properties/a/$ref",
        ),
        (
            property(json!({"$ref": "file:///etc/hostname"})),
            "schema",
            "/schema/properties/a/$ref",
        ),
        (
            property(json!({"$ref": "#/$defs/no"})),
            "schema",
            "/schema/properties/a/$ref",
        ),
        (
            json!({"schema": {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "items": {"$ref": "#/$defs/a"}}}),
            "schema",
            "/schema/$defs/a",
        ),
        (
            json!({"schema": user(), "example": {"id": "x"}}),
            "example",
            "/example/id",
        ),
        (
            json!({"schema": {"type": "string"}, "example": 1}),
            "example",
            "/example",
        ),
    ]
}

#[test]
fn a_declaration_at_fault_names_the_field_and_the_place_and_changes_nothing() {
    let (_dir, server) = started();
    for (document, field, pointer) in bad_documents() {
        let shown = document.to_string().chars().take(200).collect::<String>();
        let answer = put(&server, "a.b", &document);
        let expected = vec![(field.to_owned(), pointer.to_owned())];
        assert_eq!(problem(&answer), (422, expected), "{shown}: {}", answer.text());
    }
    assert!(server.list("/v1/event-types").is_empty());
    assert_eq!(
        server
            .post("/v1/events", &json!({"type": "a.b", "data": 1}))
            .status,
        202
    );
}

#[test]
fn documents_that_do_not_read_and_names_that_are_none_are_refused() {
    let (_dir, server) = started();
    let raw = |body: &[u8]| server.request("PUT", "/v1/event-types/a.b", Some("application/json"), body);
    let deep = format!(r#"{{"schema":{}1{}}}"#, r#"{"not":"#.repeat(200), "}".repeat(200));
    for (body, status) in [
        (&b""[..], 400),
        (b"{", 400),
        (b"[]", 422),
        (br#"{"schema":{"type":"string","type":"object"}}"#, 422),
        (br#"{"schema":{},"schema":{}}"#, 422),
        (deep.as_bytes(), 400),
        (&[b'x'; 300_000], 413),
    ] {
        assert_eq!(
            raw(body).problem().0,
            status,
            "{}",
            String::from_utf8_lossy(&body[..body.len().min(80)])
        );
    }
    for name in ["a..b", "%00", "a%3Fb", "*", "a%20", "%E2%80%AE", "%ff"] {
        for method in ["GET", "PUT", "DELETE"] {
            let body = if method == "PUT" { &b"{}"[..] } else { b"" };
            let answer = server.request(method, &format!("/v1/event-types/{name}"), None, body);
            assert_eq!(answer.problem().0, 400, "{method} {name}");
        }
    }
    for method in ["GET", "DELETE"] {
        let answer = server.request(method, "/v1/event-types/not.declared", None, b"");
        assert_eq!(answer.problem().0, 404, "{method}");
    }
    assert_eq!(server.post("/v1/event-types/a.b", &json!({})).problem().0, 405);
}

#[test]
fn a_schema_that_asks_for_endless_work_holds_nobody_up() {
    let (_dir, server) = started();
    // Each level of the data is looked at twice as often as the one above.
    let level = |at: usize| {
        let inner = json!({"properties": {"a": {"$ref": format!("#/$defs/d{}", at + 1)}}});
        (format!("d{at}"), json!({"allOf": [inner, inner]}))
    };
    let mut defs: serde_json::Map<String, Value> = (0..60).map(level).collect();
    defs.insert("d60".to_owned(), json!({"type": "string"}));
    declare(
        &server,
        "slow",
        &json!({"schema": {"$defs": defs, "$ref": "#/$defs/d0"}}),
    );
    declare(&server, "pattern", &json!({"schema": {"pattern": "^(a+)+$"}}));
    let nested = (0..60).fold(json!("x"), |inner, _| json!({"a": inner}));
    let slow = server.post("/v1/events", &json!({"type": "slow", "data": nested}));
    assert_eq!(
        problem(&slow),
        (422, vec![("data".to_owned(), "/data".to_owned())])
    );
    let text = "a".repeat(200_000) + "!";
    let refused = server.post("/v1/events", &json!({"type": "pattern", "data": text}));
    assert_eq!(problem(&refused).1[0].1, "/data");
    // A tree of any form, as deep as documents may be.
    let tree = json!({"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "additionalProperties": false});
    declare(&server, "tree", &json!({"schema": tree}));
    let deepest = (0..120).fold(json!({"c": 1}), |inner, _| json!({"a": inner}));
    let refused = server.post("/v1/events", &json!({"type": "tree", "data": deepest}));
    let pointer = format!("/data{}", "/a".repeat(120));
    assert_eq!(problem(&refused), (422, vec![("data".to_owned(), pointer)]));
}
