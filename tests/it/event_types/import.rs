//! Event types from an OpenAPI description, and the command line.

use std::fs;

use super::*;

/// A shop's description, as one writes it: everything shared in components, bodies in the standard envelope.
const SHOP: &str = r##"
openapi: 3.1.0
info: {title: Shop, version: 2.0.0}
paths: {}
webhooks:
  order.placed:
    post:
      summary: An order was placed
      description: |
        Sent once for each order.
        Its lines are final.
      operationId: onOrderPlaced
      tags: [orders]
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [type, timestamp, data]
              properties:
                type: {const: order.placed}
                timestamp: {type: string, format: date-time}
                data: {$ref: '#/components/schemas/Order'}
            examples:
              small:
                summary: One line
                value:
                  type: order.placed
                  timestamp: '2026-11-21T05:30:00Z'
                  data: {number: A-1, total: {amount: 1250, currency: EUR}, lines: [{sku: x1, quantity: 2}]}
      responses:
        '2XX': {description: taken}
  order.cancelled:
    post:
      deprecated: true
      requestBody: {$ref: '#/components/requestBodies/Cancellation'}
      responses:
        default: {description: any}
  shop.opened:
    post:
      description: Nothing more to say
      responses: {}
  label printed!:
    post: {responses: {}}
  label.pdf:
    post:
      requestBody: {content: {application/pdf: {}}}
components:
  requestBodies:
    Cancellation:
      content:
        application/vnd.shop+json:
          schema:
            allOf:
              - $ref: '#/components/schemas/Reference'
              - type: object
                properties:
                  reason: {type: [string, 'null'], maxLength: 20}
  schemas:
    Reference:
      type: object
      required: [number]
      properties:
        number: {type: string, pattern: '^[A-Z]-[0-9]+$'}
    Order:
      allOf:
        - $ref: '#/components/schemas/Reference'
        - type: object
          required: [total, lines]
          properties:
            total: {$ref: '#/components/schemas/Money'}
            lines: {type: array, minItems: 1, items: {$ref: '#/components/schemas/Line'}}
    Money:
      type: object
      required: [amount, currency]
      properties: {amount: {type: integer}, currency: {enum: [EUR, USD]}}
    Line:
      type: object
      required: [sku]
      properties:
        sku: {type: string}
        quantity: {type: integer, exclusiveMinimum: 0}
        parts: {type: array, items: {$ref: '#/components/schemas/Line'}}
"##;

fn names(answer: &Value, list: &str) -> Vec<String> {
    let names = answer[list].as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_description_in_yaml_becomes_event_types_that_are_enforced() {
    let (dir, server) = started();
    let file = dir.path().join("shop.yaml");
    fs::write(&file, SHOP).unwrap();
    let file = file.to_str().unwrap();
    let import = |more: &[&str]| {
        let (text, status) =
            server.cli(&[&["event-type", "import", file, "--output", "json"], more].concat());
        let (answer, _) = text.split_once('\n').unwrap();
        (serde_json::from_str::<Value>(answer).unwrap(), status.code())
    };
    let (dry, code) = import(&["--dry-run"]);
    assert_eq!((&dry["dry_run"], code), (&json!(true), Some(1)));
    assert!(server.list("/v1/event-types").is_empty());

    let (made, code) = import(&[]);
    assert_eq!(
        names(&made, "created"),
        ["order.cancelled", "order.placed", "shop.opened"]
    );
    assert_eq!(code, Some(1), "two webhooks were refused");
    let refused = made["refused"].as_array().unwrap();
    let places: Vec<_> = refused
        .iter()
        .map(|refused| refused["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "/webhooks/label printed!",
            "/webhooks/label.pdf/post/requestBody/content"
        ]
    );
    for list in ["created", "changed", "unchanged", "refused"] {
        assert_eq!(dry[list], made[list], "{list}");
    }

    let placed = server.get("/v1/event-types/order.placed");
    assert_eq!(
        placed["description"],
        "Sent once for each order.\nIts lines are final."
    );
    assert_eq!(placed["example"]["number"], "A-1");
    assert_eq!(server.get("/v1/event-types/order.cancelled")["deprecated"], true);
    assert_eq!(server.get("/v1/event-types/shop.opened")["validated"], false);

    let send = |name: &str, data: &Value| server.post("/v1/events", &json!({"type": name, "data": data}));
    assert_eq!(send("order.placed", &placed["example"]).status, 202);
    let mut wrong = placed["example"].clone();
    wrong["lines"][0]["parts"] = json!([{"sku": "a"}, {"quantity": 1}]);
    assert_eq!(
        problem(&send("order.placed", &wrong)).1[0].1,
        "/data/lines/0/parts/1"
    );
    assert_eq!(
        problem(&send("order.cancelled", &json!({"number": "a"}))).1[0].1,
        "/data/number"
    );

    let (again, _) = import(&[]);
    assert_eq!(names(&again, "unchanged").len(), 3);
    fs::write(file, SHOP.replace("maxLength: 20", "maxLength: 30")).unwrap();
    let (changed, _) = import(&[]);
    assert_eq!(names(&changed, "changed"), ["order.cancelled"]);
    assert_eq!(names(&changed, "unchanged"), ["order.placed", "shop.opened"]);
}

#[test]
fn an_import_without_webhooks_to_read_is_refused_by_place() {
    let (_dir, server) = started();
    let import = |document: &Value| problem(&server.post("/v1/event-types/import", document));
    let at = |field: &str, pointer: &str| (422, vec![(field.to_owned(), pointer.to_owned())]);
    assert_eq!(import(&json!({})), at("openapi", ""));
    assert_eq!(import(&json!({"openapi": "3.1.0"})), at("openapi", ""));
    assert_eq!(import(&json!({"openapi": {}})), at("openapi", "/openapi/openapi"));
    let old = json!({"openapi": {"openapi": "3.0.3", "x-webhooks": {}}});
    assert_eq!(import(&old), at("openapi", "/openapi/openapi"));
    let none = json!({"openapi": {"openapi": "3.1.0", "paths": {}}});
    assert_eq!(import(&none), at("openapi", "/openapi/webhooks"));
    let unknown = json!({"openapi": {"openapi": "3.1.0", "webhooks": {}}, "dryrun": true});
    assert_eq!(import(&unknown), at("dryrun", ""));
    let fine = json!({"openapi": {"openapi": "3.1.0", "webhooks": {}}, "dry_run": true});
    assert_eq!(server.post("/v1/event-types/import", &fine).status, 200);
}

#[test]
fn a_large_import_is_durable_and_bounded() {
    let (_dir, mut server) = started();
    let webhook = |number: usize| {
        (
            format!("t.n{number}"),
            json!({"post": {"summary": format!("number {number}")}}),
        )
    };
    let of = |count: usize| -> Value {
        let webhooks: serde_json::Map<String, Value> = (0..count).map(webhook).collect();
        json!({"openapi": {"openapi": "3.1.0", "webhooks": webhooks}})
    };
    let answer = server.post("/v1/event-types/import", &of(990));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(names(&answer.json(), "created").len(), 990);
    server.kill();
    server.restart();
    assert_eq!(server.list("/v1/event-types").len(), 990);
    // There is room for ten more.
    let more = server.post("/v1/event-types/import", &of(1000)).json();
    assert_eq!(names(&more, "created").len(), 10);
    let over = put(&server, "one.more", &json!({}));
    assert_eq!(over.json()["type"], "/problems/limit-reached");
    assert_eq!(server.post("/v1/event-types/import", &of(1001)).problem().0, 422);
    assert_eq!(put(&server, "t.n5", &json!({"deprecated": true})).status, 200);
}

#[test]
fn the_command_line_declares_shows_changes_and_removes() {
    let (dir, server) = started();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        format!("@{}", path.display())
    };
    let (schema, example) = (
        file("schema.json", &user().to_string()),
        file("example.json", r#"{"id": 1}"#),
    );
    let ok = |arguments: &[&str]| {
        let (text, status) = server.cli(arguments);
        assert!(status.success(), "{arguments:?}: {text}");
        text
    };
    let set = |more: &[&str]| ok(&[&["event-type", "set", "user.created"], more].concat());
    set(&[
        "--schema",
        &schema,
        "--example",
        &example,
        "--description",
        "A user signed up",
    ]);
    let shown = set(&["--deprecated"]);
    assert!(
        shown.contains("A user signed up")
            && shown.contains("validated    true")
            && shown.contains(r#"{"properties":"#),
        "{shown}"
    );
    assert_eq!(server.get("/v1/event-types/user.created")["schema"], user());
    let (text, status) = server.cli(&["send", "user.created", r#"{"id": "x"}"#]);
    assert_eq!(status.code(), Some(1));
    assert!(
        text.contains("/data/id: the value is not of type \"integer\""),
        "{text}"
    );
    let listed = ok(&["event-type", "list"]);
    assert!(
        listed.contains("user.created") && listed.contains("true"),
        "{listed}"
    );
    let (text, status) = server.cli(&[
        "event-type",
        "set",
        "user.created",
        "--schema",
        r##"{"$ref": "#"}"##,
    ]);
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("/schema: refers to itself"), "{text}");
    set(&["--unset", "schema", "--deprecated=false"]);
    assert_eq!(server.get("/v1/event-types/user.created")["deprecated"], false);
    ok(&["event-type", "remove", "user.created"]);
    assert_eq!(
        server.cli(&["event-type", "show", "user.created"]).1.code(),
        Some(1)
    );
    let (text, status) = server.cli(&["event-type", "import", "/nonexistent.yaml"]);
    assert!(status.code() == Some(1) && text.contains("nonexistent"), "{text}");
}
