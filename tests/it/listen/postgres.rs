//! The store in a real PostgreSQL.

use std::collections::BTreeSet;

use serde_json::json;

use super::{SECRET, delivered, endpoint, names, send_many};
use crate::support::{
    listener::{Listener, command},
    postgres::{Cluster, PASSWORD},
    server::{Server, wait_for},
};

#[test]
fn events_are_rows_of_postgresql_with_their_payload_as_json() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut listener = Listener::start(folder.path(), &["--secret", SECRET, "--store", &cluster.url()]);
    let server = Server::start(&folder.path().join("data"));
    server.endpoint(&endpoint(&listener, SECRET));
    server.event(&json!({"id": "e1", "type": "user.created", "data": {"name": "Ada"}}));
    server.delivery_in("e1", "delivered");
    let row = cluster.query(
        "SELECT id, type, payload->'data'->>'name', verified, headers->>'webhook-id', path,
                now() - received_at < '1 hour', payload = convert_from(body, 'UTF8')::jsonb
         FROM events",
    );
    let row: Vec<&str> = row[0].iter().map(|cell| cell.as_deref().unwrap()).collect();
    assert_eq!(row, ["e1", "user.created", "Ada", "t", "e1", "/in", "t", "t"]);
    assert_eq!(listener.stop().code(), Some(0));
    let said = listener.said();
    assert!(
        said.contains("storing in the table events of PostgreSQL at 127.0.0.1:"),
        "{said}"
    );
    assert!(said.contains("1 calls, 1 new, 1 stored\n"), "{said}");
    assert!(!said.contains(PASSWORD) && !listener.printed().contains(PASSWORD));
}

#[test]
fn what_jsonb_cannot_hold_is_stored_all_the_same() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), cluster.socket_url() + "\n").unwrap();
    let listener = Listener::start(folder.path(), &["--store", "@url", "--table", "Calls"]);
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (id, headers, body) in [
        ("1", "", "{\"a\":\"\\u0000\"}"),
        ("2", "", "{\"n\":1e400000}"),
        ("3", "", deep.as_str()),
        ("4", form, "event_type=a&b=%00"),
        ("5", "", "a\0b"),
        ("6", "", "{\"a\": 1.50}"),
    ] {
        let headers = format!("webhook-id: {id}\r\n{headers}");
        for _ in 0..2 {
            let answer = listener.post(&headers, body);
            assert_eq!(answer.status, 200, "{id}: {:?}", listener.lines().last());
        }
        let sql = format!("SELECT encode(body, 'hex') FROM \"Calls\" WHERE id = '{id}'");
        let hex: String = body.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(cluster.value(&sql), hex);
    }
    let payload =
        |id: &str| cluster.query(&format!("SELECT payload FROM \"Calls\" WHERE id = '{id}'"))[0][0].clone();
    assert_eq!(payload("1"), None);
    assert_eq!(
        payload("4").as_deref(),
        Some("\"event_type=a&b=%00\""),
        "text, as a JSON string"
    );
    assert_eq!(payload("5"), None);
    assert_eq!(payload("6").as_deref(), Some("{\"a\": 1.50}"));
}

#[test]
fn a_postgresql_that_dies_and_comes_back_loses_nothing_and_gets_nothing_twice() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--secret", SECRET, "--store", &cluster.url(), "--delay", "50ms"];
    let listener = Listener::start(folder.path(), &arguments);
    let server = Server::start(&folder.path().join("data"));
    server.endpoint(&endpoint(&listener, SECRET));
    for round in 0..3 {
        let before = listener.lines().len();
        send_many(&server, round);
        listener.wait_lines(before + 10);
        cluster.kill();
        wait_for("a call that cannot be stored", || {
            let lines = listener.lines();
            let refused = |line: &&serde_json::Value| line["status"] == 503 && line["stored"] == false;
            lines[before..].iter().find(refused).map(|_| ())
        });
        cluster.restart();
    }
    send_many(&server, 3);
    wait_for("every delivery", || (delivered(&server) == 400).then_some(()));
    let found = cluster
        .query("SELECT id FROM events")
        .into_iter()
        .flatten()
        .flatten();
    let found: Vec<String> = found.collect();
    assert_eq!(found.len(), 400);
    assert_eq!(
        found.into_iter().collect::<BTreeSet<_>>(),
        (0..4).flat_map(names).collect()
    );
    let taken = listener
        .lines()
        .iter()
        .filter(|line| line["status"] == 200)
        .count();
    assert!(taken >= 400, "{taken}");
}

#[test]
fn a_receiver_needs_no_more_rights_than_to_put_rows() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    drop(Listener::start(folder.path(), &["--store", &cluster.url()]));
    cluster.query(
        "CREATE ROLE bob LOGIN PASSWORD 'hunter3'; ALTER ROLE bob SET synchronous_commit = off;
         REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT INSERT, SELECT (id) ON events TO bob;
         CREATE TABLE other (id integer PRIMARY KEY)",
    );
    let bob = cluster.url().replace("ada:hunter2", "bob:hunter3");
    let listener = Listener::start(folder.path(), &["--store", &bob]);
    for _ in 0..2 {
        assert_eq!(listener.post("webhook-id: e1\r\n", "{}").status, 200);
    }
    assert_eq!(cluster.value("SELECT count(*) FROM events"), "1");
    for (url, table, told) in [
        (&bob, "other", "--table"),
        (&bob, "new", "permission denied"),
        (&cluster.url(), "other", "--table"),
        (
            &cluster.url().replace("hunter2", "hunter4"),
            "events",
            "password authentication failed",
        ),
    ] {
        let output = command("0", &["--store", url, "--table", table])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(told) && !said.contains("hunter"), "{said}");
    }
}

#[test]
fn a_table_that_is_locked_is_waited_for_and_then_the_sender_is_asked_to_come_again() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(folder.path(), &["--store", &cluster.url()]);
    let lock = cluster.hold("LOCK TABLE events IN ACCESS EXCLUSIVE MODE");
    let answer = listener.post("webhook-id: e1\r\n", "{}");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (503, "not stored; send it again")
    );
    let why = listener.wait_lines(1)[0]["why"].as_str().unwrap().to_owned();
    assert!(why.contains("statement timeout"), "{why}");
    drop(lock);
    assert_eq!(listener.post("webhook-id: e1\r\n", "{}").status, 200);
    assert_eq!(cluster.value("SELECT count(*) FROM events"), "1");
}
