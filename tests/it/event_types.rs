//! The registry of event types: what is declared, kept and refused, and what it means for events.

mod import;
mod lasting;
mod names;
mod refused;

use serde_json::{Value, json};

use crate::support::server::{Answer, Server, wait_for};

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

fn put(server: &Server, name: &str, document: &Value) -> Answer {
    let body = document.to_string();
    server.request(
        "PUT",
        &format!("/v1/event-types/{name}"),
        Some("application/json"),
        body.as_bytes(),
    )
}

/// Declares a type, which has to be taken.
fn declare(server: &Server, name: &str, document: &Value) -> Value {
    let answer = put(server, name, document);
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

/// The status of a problem, and its errors as field and pointer.
fn problem(answer: &Answer) -> (u16, Vec<(String, String)>) {
    let (status, fields) = answer.problem();
    let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
    let pointers = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap_or_default().to_owned());
    (status, fields.into_iter().zip(pointers).collect())
}

fn user() -> Value {
    json!({
        "type": "object", "required": ["id"],
        "properties": {"id": {"type": "integer", "minimum": 1}, "tags": {"type": "array", "items": {"type": "string"}}},
    })
}

fn event(server: &Server, data: &Value) -> Answer {
    server.post("/v1/events", &json!({"type": "user.created", "data": data}))
}

#[test]
fn a_declaration_is_shown_as_it_was_written() {
    let (_dir, server) = started();
    let text =
        br#"{"description": "A user\nsigned up", "schema": { "maximum": 1.50, "a": 1 }, "example": 1.0}"#;
    let made = server.request(
        "PUT",
        "/v1/event-types/user.created",
        Some("application/json"),
        text,
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let shown = server.request("GET", "/v1/event-types/user.created", None, b"");
    assert_eq!(shown.text(), made.text());
    for part in [
        r#""type":"user.created""#,
        r#""schema":{ "maximum": 1.50, "a": 1 }"#,
        r#""example":1.0"#,
        r#""description":"A user\nsigned up""#,
        r#""deprecated":false"#,
        r#""validated":true"#,
    ] {
        assert!(shown.text().contains(part), "{part} in {}", shown.text());
    }
    // What was shown may be put again, and says nothing new.
    let again = server.request(
        "PUT",
        "/v1/event-types/user.created",
        Some("application/json"),
        &shown.body,
    );
    assert_eq!((again.status, again.text()), (200, shown.text()));
    let changed = declare(&server, "user.created", &json!({"deprecated": true}));
    assert_eq!(changed["created_at"], shown.json()["created_at"]);
    assert!(changed.get("schema").is_none() && changed["validated"] == false);
    assert!(changed["updated_at"].as_str() >= changed["created_at"].as_str());
}

#[test]
fn types_are_listed_in_pages_without_their_schemas() {
    let (_dir, server) = started();
    assert_eq!(server.get("/v1/event-types"), json!({"data": [], "next": null}));
    for number in 0..7 {
        declare(
            &server,
            &format!("t.n{number}"),
            &json!({"schema": true, "example": 1, "deprecated": number == 3}),
        );
    }
    let names = |order: &str| -> Vec<String> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = server.get(&format!("/v1/event-types?limit=2&order={order}{cursor}"));
            let rows = page["data"].as_array().unwrap();
            assert!(
                rows.iter()
                    .all(|row| row.get("schema").is_none() && row.get("example").is_none())
            );
            found.extend(rows.iter().map(|row| row["type"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                None => return found,
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    };
    let mut expected: Vec<_> = (0..7).map(|number| format!("t.n{number}")).collect();
    assert_eq!(names("asc"), expected);
    expected.reverse();
    assert_eq!(names("desc"), expected);
    for bad in ["cursor=x", "cursor=1:", "cursor=:a", "limit=0", "state=a"] {
        let answer = server.request("GET", &format!("/v1/event-types?{bad}"), None, b"");
        assert!(matches!(answer.problem().0, 400 | 422), "{bad}");
    }
}

#[test]
fn a_type_may_be_called_import() {
    let (_dir, server) = started();
    declare(&server, "import", &json!({"description": "goods"}));
    assert_eq!(server.get("/v1/event-types/import")["type"], "import");
    let deleted = server.request("DELETE", "/v1/event-types/import", None, b"");
    assert_eq!(deleted.status, 204);
    assert_eq!(
        server
            .request("GET", "/v1/event-types/import", None, b"")
            .problem()
            .0,
        404
    );
}

#[test]
fn data_that_does_not_meet_its_type_s_schema_is_refused_with_pointers() {
    let (_dir, server) = started();
    declare(&server, "user.created", &json!({"schema": user()}));
    assert_eq!(event(&server, &json!({"id": 7, "tags": ["a"]})).status, 202);
    let refused = event(&server, &json!({"id": 0, "tags": ["a", 5]}));
    let (status, mut errors) = problem(&refused);
    errors.sort();
    let at = |pointer: &str| ("data".to_owned(), pointer.to_owned());
    assert_eq!((status, errors), (422, vec![at("/data/id"), at("/data/tags/1")]));
    assert!(
        !refused.text().contains('5'),
        "the data is not repeated: {}",
        refused.text()
    );
    assert_eq!(problem(&event(&server, &json!({}))), (422, vec![at("/data")]));
    // At most twenty are named.
    let many = event(&server, &json!({"id": 1, "tags": vec![1; 1000]}));
    assert_eq!(problem(&many).1.len(), 20);
    // What would not be read in one way only, and what is no JSON, is not known to meet it.
    for (data, field) in [
        (r#""data":{"id":1,"id":2}"#, "data"),
        (r#""data":{"id":1e400}"#, "data"),
        (r#""data_base64":"AA==","content_type":"image/png""#, "data"),
    ] {
        let answer = server.enqueue(format!(r#"{{"type":"user.created",{data}}}"#).as_bytes());
        assert_eq!(answer.problem(), (422, vec![field.to_owned()]), "{data}");
    }
    // Another type, and this one without a schema, takes anything.
    assert_eq!(
        server
            .enqueue(br#"{"type":"user.deleted","data":{"id":1,"id":2}}"#)
            .status,
        202
    );
    declare(&server, "user.created", &json!({}));
    assert_eq!(event(&server, &json!([])).status, 202);
    assert_eq!(server.list("/v1/events").len(), 3);
}

#[test]
fn each_line_of_a_batch_is_held_against_its_own_type() {
    let (_dir, server) = started();
    declare(&server, "user.created", &json!({"schema": user()}));
    let lines = [
        r#"{"type":"user.created","data":{"id":1}}"#,
        r#"{"type":"user.created","data":{"id":"x"}}"#,
        r#"{"type":"other","data":{"id":"x"}}"#,
        r#"{"type":"user.created","id":"u-1","data":[]}"#,
        r#"{"type":"user.created","id":"u-1","data":{"id":2}}"#,
    ];
    let answer = server.request(
        "POST",
        "/v1/events",
        Some("application/x-ndjson"),
        lines.join("\n").as_bytes(),
    );
    assert_eq!(answer.status, 202, "{}", answer.text());
    let answer = answer.json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(3), &json!(2)));
    let pointer = |line: usize| answer["results"][line]["problem"]["errors"][0]["pointer"].clone();
    assert_eq!([pointer(1), pointer(3)], ["/data/id", "/data"]);
    // The id of a refused event is free.
    assert_eq!(answer["results"][4]["id"], "u-1");
}

#[test]
fn a_cloud_event_is_held_against_its_type_in_every_mode() {
    let (_dir, server) = started();
    declare(&server, "user.created", &json!({"schema": user()}));
    let structured = |data: &Value| {
        let event = json!({
            "specversion": "1.0", "id": format!("s{data}").len().to_string(), "source": "/users", "type": "user.created",
            "data": data,
        });
        let body = event.to_string();
        server.request(
            "POST",
            "/v1/events",
            Some("application/cloudevents+json"),
            body.as_bytes(),
        )
    };
    let binary = |id: &str, kind: &str, body: &str| {
        let headers = format!(
            "ce-specversion: 1.0\r\nce-id: {id}\r\nce-source: /users\r\nce-type: user.created\r\ncontent-type: {kind}\r\n"
        );
        server.ask("POST", "/v1/events", &headers, body.as_bytes())
    };
    assert_eq!(structured(&json!({"id": 1})).status, 202);
    assert_eq!(problem(&structured(&json!({"id": "one"}))).1[0].1, "/data/id");
    assert_eq!(binary("b-1", "application/json", r#"{"id": 2}"#).status, 202);
    assert_eq!(
        problem(&binary("b-2", "application/json", r#"{"id": 0}"#)).1[0].1,
        "/data/id"
    );
    let text = binary("b-3", "text/plain", "id 3");
    assert_eq!(text.problem(), (422, vec!["data".to_owned()]), "{}", text.text());
}

#[test]
fn what_was_accepted_stays_so_whatever_is_declared_later() {
    let (_dir, mut server) = started();
    let document = json!({"type": "user.created", "id": "u-1", "data": "anything"});
    assert_eq!(server.post("/v1/events", &document).status, 202);
    declare(&server, "user.created", &json!({"schema": user()}));
    // The same request again is the same event, before and after the store has forgotten the request.
    let again = server.post("/v1/events", &document);
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(true)));
    assert_eq!(server.stop().code(), Some(0));
    server.restart();
    assert_eq!(server.post("/v1/events", &document).status, 200);
    let other = json!({"type": "user.created", "id": "u-2", "data": "anything"});
    assert_eq!(server.post("/v1/events", &other).status, 422);
}

#[test]
fn a_deprecated_type_is_accepted_counted_and_said_so() {
    let (_dir, server) = started();
    let counted = || {
        let metrics = server.request("GET", "/metrics", None, b"").text();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("posthaste_events_deprecated_total"));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(counted(), "0");
    declare(&server, "user.created", &json!({"deprecated": true}));
    let document = json!({"type": "user.created", "id": "u-1", "data": 1});
    let first = server.post("/v1/events", &document);
    assert_eq!((first.status, &first.json()["deprecated"]), (202, &json!(true)));
    let again = server.post("/v1/events", &document);
    assert_eq!((again.status, &again.json()["deprecated"]), (200, &json!(true)));
    let other = server.post("/v1/events", &json!({"type": "other", "data": 1}));
    assert!(other.json().get("deprecated").is_none(), "{}", other.text());
    assert_eq!(counted(), "1");
    assert_eq!(server.cli(&["send", "user.created", "{}"]).1.code(), Some(0));
    wait_for("the second one", || (counted() == "2").then_some(()));
}
