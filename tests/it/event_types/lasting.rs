//! Declarations last: through restarts, crashes, and the loss of the store.

use std::fs;

use super::*;
use crate::support::sink::{Sink, answer};

/// Everything that is declared, whole.
fn declared(server: &Server) -> Vec<Value> {
    let names = server.list("/v1/event-types?order=asc");
    let show = |row: &Value| server.get(&format!("/v1/event-types/{}", row["type"].as_str().unwrap()));
    names.iter().map(show).collect()
}

fn populate(server: &Server) {
    declare(server, "gone", &json!({"schema": {"type": "string"}}));
    declare(
        server,
        "user.created",
        &json!({"schema": true, "description": "first"}),
    );
    declare(
        server,
        "plain",
        &json!({"deprecated": true, "example": {"a": [1, 2.50]}}),
    );
    declare(
        server,
        "user.created",
        &json!({"schema": user(), "example": {"id": 1}}),
    );
    let deleted = server.request("DELETE", "/v1/event-types/gone", None, b"");
    assert_eq!(deleted.status, 204);
    // Declared again after it was deleted, it is a new one.
    declare(server, "again", &json!({"description": "old"}));
    assert_eq!(
        server
            .request("DELETE", "/v1/event-types/again", None, b"")
            .status,
        204
    );
    declare(server, "again", &json!({"description": "new"}));
}

/// The schemas are in force.
fn assert_in_force(server: &Server) {
    assert_eq!(problem(&event(server, &json!({"id": "x"}))).1[0].1, "/data/id");
    assert_eq!(event(server, &json!({"id": 1})).status, 202);
    let gone = server.post("/v1/events", &json!({"type": "gone", "data": 7}));
    assert_eq!(gone.status, 202);
}

#[test]
fn declarations_outlive_restarts_crashes_and_the_store() {
    let (dir, mut server) = started();
    let data = dir.path().join("data");
    populate(&server);
    let before = declared(&server);
    let names: Vec<_> = before.iter().map(|row| row["type"].as_str().unwrap()).collect();
    assert_eq!(names, ["user.created", "plain", "again"]);
    assert_in_force(&server);

    server.kill();
    server.restart();
    assert_eq!(declared(&server), before, "killed");
    assert_in_force(&server);

    assert_eq!(server.stop().code(), Some(0));
    server.assert_whole();
    server.restart();
    assert_eq!(declared(&server), before, "stopped");
    assert_in_force(&server);

    for clean in [true, false] {
        if clean {
            assert_eq!(server.stop().code(), Some(0));
        } else {
            server.kill();
        }
        fs::remove_dir_all(data.join("store")).unwrap();
        server.restart();
        assert_eq!(declared(&server), before, "without its store, clean: {clean}");
        assert_in_force(&server);
    }
    assert_eq!(server.stop().code(), Some(0));
    server.assert_whole();
}

#[test]
fn a_declaration_that_was_answered_survives_a_kill_at_once() {
    let (_dir, mut server) = started();
    for round in 0..5 {
        declare(
            &server,
            "user.created",
            &json!({"schema": user(), "description": format!("round {round}")}),
        );
        server.kill();
        server.restart();
        let shown = server.get("/v1/event-types/user.created");
        assert_eq!(shown["description"], format!("round {round}"));
        assert_eq!(event(&server, &json!({})).status, 422);
    }
}

#[test]
fn what_the_server_sends_of_its_own_accord_is_never_held_against_a_schema() {
    let (_dir, server) = started();
    for own in [
        "endpoint.disabled",
        "endpoint.unverified",
        "endpoint.ping",
        "endpoint.test",
    ] {
        let refused = put(&server, own, &json!({"schema": false}));
        assert_eq!(refused.problem(), (422, vec!["schema".to_owned()]), "{own}");
        declare(&server, own, &json!({"description": "the server's own"}));
    }
    declare(&server, "user.created", &json!({"schema": false}));
    let (told, gone) = (Sink::accepting(), Sink::deciding(|_, _| answer(410, "")));
    server.endpoint(&json!({"url": told.url(), "events": ["endpoint.disabled"]}));
    let failing = server.endpoint(&json!({"url": gone.url(), "events": ["other"]}));
    // A test is the operator's, whatever type it bears.
    let test = server.post(
        &format!("/v1/endpoints/{failing}/test"),
        &json!({"type": "user.created", "data": 1}),
    );
    assert_eq!(test.status, 200, "{}", test.text());
    server.event(&json!({"type": "other", "data": 1}));
    wait_for("the notice", || (told.count() == 1).then_some(()));
}
