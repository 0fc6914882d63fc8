//! Keys of one tenant themselves: made, shown, by role, over a restart, revoked, and at the command line.

use super::*;

#[test]
fn roles_hold_within_the_tenant() {
    let world = World::new();
    let own = |pattern: &str| world.own.path(pattern);
    let endpoint = json!({"url": world.sink.url()}).to_string();
    // Viewer, sender, manager, admin.
    let routes = [
        ("GET", "/v1/events".to_owned(), "", [200, 403, 200, 200]),
        ("POST", "/v1/events".to_owned(), EVENT, [403, 202, 403, 202]),
        ("GET", own("/v1/endpoints/{id}"), "", [200, 403, 200, 200]),
        (
            "PATCH",
            own("/v1/endpoints/{id}"),
            r#"{"name":"n"}"#,
            [403, 403, 200, 200],
        ),
        (
            "POST",
            "/v1/endpoints".to_owned(),
            &endpoint,
            [403, 403, 201, 201],
        ),
        ("GET", own("/v1/endpoints/{id}/secret"), "", [403, 403, 403, 200]),
        (
            "POST",
            own("/v1/endpoints/{id}/preview"),
            EVENT,
            [403, 403, 403, 200],
        ),
        ("GET", "/v1/keys".to_owned(), "", [403; 4]),
        (
            "POST",
            "/v1/keys".to_owned(),
            r#"{"role":"admin","name":"n"}"#,
            [403; 4],
        ),
        ("PUT", "/v1/endpoints".to_owned(), r#"{"endpoints":[]}"#, [403; 4]),
        ("GET", "/v1/status".to_owned(), "", [403; 4]),
        ("GET", "/metrics".to_owned(), "", [403; 4]),
    ];
    for (place, role) in ["viewer", "sender", "manager", "admin"].into_iter().enumerate() {
        let key = world.key(role);
        for (method, path, body, statuses) in &routes {
            let answer = world.ask(&key, method, path, body);
            assert_eq!(
                answer.status,
                statuses[place],
                "{role}: {method} {path}: {}",
                answer.text()
            );
        }
    }
    let (_, free) = new_key(&world.server, &json!({"role": "viewer", "name": "all"}));
    assert_eq!(world.list(&free, "/v1/endpoints").len(), 5);
}

#[test]
fn a_restart_and_a_rebuild_keep_a_key_to_its_tenant() {
    let mut world = World::new();
    let key = world.key("viewer");
    let list = |world: &World| {
        assert_eq!(world.list(&key, "/v1/events").len(), 1);
        let foreign = world.foreign[0].path("/v1/events/{id}");
        assert_eq!(world.ask(&key, "GET", &foreign, "").problem().0, 404);
        assert_eq!(world.ask(&key, "GET", "/v1/keys", "").problem().0, 403);
    };
    list(&world);
    for store_is_lost in [false, true] {
        world.server.kill();
        if store_is_lost {
            std::fs::remove_dir_all(world.server.socket().with_file_name("store")).unwrap();
        }
        world.server.restart();
        world.address = address(&world.server);
        list(&world);
    }
    let listed = world.server.get("/v1/keys")["data"].as_array().unwrap().clone();
    let of = |name: &str| listed.iter().find(|key| key["name"] == name).unwrap()["tenant"].clone();
    assert_eq!((of("ci"), of("first")), (json!("acme"), Value::Null));
}

#[test]
fn a_key_of_one_tenant_is_made_listed_and_revoked_at_the_command_line() {
    let world = World::new();
    let cli = |arguments: &[&str]| {
        let (text, status) = world.server.cli(arguments);
        assert!(status.success(), "{arguments:?}: {text}");
        text
    };
    let create = ["key", "create", "--role", "sender", "--name", "shop"];
    let made: Value = serde_json::from_str(&cli(
        &[&create[..], &["--tenant", "acme", "--output", "json"]].concat()
    ))
    .unwrap();
    assert_eq!(
        (&made["tenant"], &made["role"], &made["name"]),
        (&json!("acme"), &json!("sender"), &json!("shop"))
    );
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let table = cli(&["key", "list"]);
    let row = table.lines().find(|line| line.contains(id)).unwrap();
    assert!(
        row.contains("acme") && row.contains("sender") && !table.contains(key),
        "{table}"
    );
    let server = format!("http://{}", world.address);
    let send = |tenant: &[&str]| {
        let base = ["send", "user.created", "{}", "--server", &server, "--key", key];
        world.server.cli(&[&base[..], tenant].concat())
    };
    assert!(send(&[]).1.success());
    let (told, status) = send(&["--tenant", "globex"]);
    assert_eq!(status.code(), Some(1));
    assert!(told.contains("tenant"), "{told}");
    let events = world.server.list("/v1/events?tenant=acme");
    assert_eq!(events.len(), 2);
    cli(&["key", "revoke", id]);
    assert!(!cli(&["key", "list"]).contains(id));
    assert!(!send(&[]).1.success());
    let (told, status) = world.server.cli(&[&create[..], &["--tenant", ""]].concat());
    assert!(!status.success() && told.contains("tenant"), "{told}");
}
