//! One id, an event of each tenant: by every route and command that names an event by its id.

use super::*;

fn started() -> (tempfile::TempDir, Server, Sink) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server, Sink::accepting())
}

/// Sends an event `x` of two tenants and of none, each to an endpoint of its own; answers the endpoints.
fn sent(server: &Server, sink: &Sink) -> Vec<(Option<&'static str>, String)> {
    let owners = [Some("acme"), Some("globex"), None];
    let endpoints = owners.map(|tenant| {
        let endpoint = server.endpoint(&json!({"url": sink.url(), "events": ["x.y"], "tenant": tenant}));
        server.event(&json!({"type": "x.y", "data": tenant, "id": "x", "tenant": tenant}));
        (tenant, endpoint)
    });
    endpoints.to_vec()
}

/// Rows of a list are about one endpoint and no other.
fn assert_about(rows: &[Value], endpoint: &str, what: &str) {
    assert!(!rows.is_empty(), "{what}: nothing");
    for row in rows {
        assert_eq!(row["endpoint_id"], endpoint, "{what}: {row}");
    }
}

#[test]
fn an_id_of_several_tenants_is_told_apart_by_every_route() {
    let (_dir, server, sink) = started();
    let sent = sent(&server, &sink);
    wait_for("all of them", || (sink.count() == sent.len()).then_some(()));
    for (tenant, endpoint) in &sent {
        // Without a tenant in the query it is the event without one.
        let of = |path: &str, joint: char| {
            let query = tenant.map(|tenant| format!("{joint}tenant={tenant}"));
            format!("{path}{}", query.unwrap_or_default())
        };
        let shown = server.get(&of("/v1/events/x", '?'));
        assert_eq!(
            (&shown["tenant"], &shown["data"]),
            (&json!(tenant), &json!(tenant))
        );
        for (path, joint) in [
            ("/v1/events/x/deliveries", '?'),
            ("/v1/events/x/explain", '?'),
            ("/v1/deliveries?event=x", '&'),
            ("/v1/attempts?event=x", '&'),
        ] {
            let rows = wait_for("its rows", || {
                Some(server.list(&of(path, joint))).filter(|rows| !rows.is_empty())
            });
            if path.ends_with("explain") {
                let about: Vec<_> = rows
                    .iter()
                    .filter(|row| row["matched"] == true)
                    .cloned()
                    .collect();
                assert_about(&about, endpoint, path);
            } else {
                assert_about(&rows, endpoint, path);
            }
            if path.contains("deliveries") {
                assert_eq!(rows[0]["tenant"], json!(tenant), "{path}");
            }
        }
        let replayed = server.post(&of("/v1/events/x/replay", '?'), &json!({}));
        assert_eq!(replayed.status, 202, "{}", replayed.text());
        let replayed = replayed.json();
        assert_about(replayed["data"].as_array().unwrap(), endpoint, "replay");
    }
    let unknown = server.request("GET", "/v1/events/x?tenant=initech", None, b"");
    assert_eq!(unknown.problem().0, 404);
}

#[test]
fn an_id_that_several_tenants_have_and_nobody_else_needs_a_tenant() {
    let world = World::new();
    let server = &world.server;
    server.event(&json!({"type": "a", "data": 1, "id": "one", "tenant": "acme"}));
    // While it is the only one, it is meant.
    assert_eq!(server.get("/v1/events/one")["tenant"], "acme");
    server.event(&json!({"type": "a", "data": 2, "id": "one", "tenant": "globex"}));
    for (method, path) in [
        ("GET", "/v1/events/one"),
        ("GET", "/v1/events/one/deliveries"),
        ("GET", "/v1/events/one/explain"),
        ("POST", "/v1/events/one/replay"),
        ("GET", "/v1/deliveries?event=one"),
        ("GET", "/v1/attempts?event=one"),
    ] {
        let answer = server.request(method, path, None, b"");
        assert_eq!(answer.problem(), (409, vec!["tenant".to_owned()]), "{path}");
        assert!(answer.text().contains("?tenant="), "{}", answer.text());
    }
    // To a key of a tenant it is its own, whoever else has one.
    let key = world.key("viewer");
    assert_eq!(world.ask(&key, "GET", "/v1/events/one", "").json()["data"], 1);
    let other = world.ask(&key, "GET", "/v1/events/one?tenant=globex", "");
    assert_eq!(other.problem(), (403, vec!["tenant".to_owned()]));
}

#[test]
fn an_id_of_several_tenants_is_told_apart_at_the_command_line() {
    let (_dir, server, sink) = started();
    let endpoint =
        |tenant: &str| server.endpoint(&json!({"url": sink.url(), "events": ["x.y"], "tenant": tenant}));
    let (first, second) = (endpoint("acme"), endpoint("globex"));
    for tenant in ["acme", "globex"] {
        let arguments = ["send", "x.y", "1", "--id", "x", "--tenant", tenant, "--wait"];
        let (said, status) = server.cli(&arguments);
        assert!(status.success(), "{said}");
    }
    let (said, status) = server.cli(&["event", "show", "x"]);
    assert!(!status.success() && said.contains("tenant"), "{said}");
    for (tenant, own, other) in [("acme", &first, &second), ("globex", &second, &first)] {
        for arguments in [
            vec!["event", "show", "x"],
            vec!["event", "explain", "x"],
            vec!["event", "replay", "x"],
            vec!["delivery", "list", "--event", "x"],
            vec!["attempts", "--event", "x"],
        ] {
            let arguments = [arguments, vec!["--tenant", tenant, "--output", "json"]].concat();
            let (said, status) = server.cli(&arguments);
            assert!(status.success() && !said.contains(other.as_str()), "{said}");
            let names = if arguments[1] == "show" { tenant } else { own };
            assert!(said.contains(names), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn ids_stay_a_tenants_own_through_a_restart_and_a_rebuild() {
    let mut world = World::new();
    let own = |world: &World| {
        for tenant in [Some("acme"), Some("globex"), None] {
            let event = |data: Value| json!({"type": "a", "data": data, "id": "one", "tenant": tenant});
            let answer = world.server.enqueue(event(json!(tenant)).to_string().as_bytes());
            assert_eq!(answer.status, 200, "{}", answer.text());
            let answer = world.server.enqueue(event(json!("other")).to_string().as_bytes());
            assert_eq!(answer.problem().0, 409, "{tenant:?}");
        }
    };
    for tenant in [Some("acme"), Some("globex"), None] {
        world
            .server
            .event(&json!({"type": "a", "data": tenant, "id": "one", "tenant": tenant}));
    }
    own(&world);
    world.server.kill();
    world.server.restart();
    own(&world);
    world.server.stop();
    std::fs::remove_dir_all(world._dir.path().join("data/store")).unwrap();
    world.server.restart();
    own(&world);
}
