//! Endpoints as a file: applied, applied again, exported, and at every start.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    server::{Server, wait_for},
    sink::Sink,
};

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn posthaste(server: &Server, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(arguments)
        .arg("--socket")
        .arg(server.socket())
        .env("ACME_SECRET", "from the environment")
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn applied(server: &Server, file: &Path, more: &[&str]) -> String {
    let ran = posthaste(server, &[&["apply", file.to_str().unwrap()], more].concat());
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    ran.out
}

fn names(server: &Server) -> Vec<String> {
    let rows = server.list("/v1/endpoints?order=asc");
    rows.iter()
        .map(|row| row["name"].as_str().unwrap_or("-").to_owned())
        .collect()
}

const FILE: &str = r#"
[[endpoints]]
name = "billing"
url = "https://billing.test/in"
events = ["invoice.*"]
retry = { retries = 3, delay = "5s" }
headers = { x-one = "1", x-two = "2" }
treat_as = { 404 = "transient" }

[[endpoints]]
name = "code"
profile = "github"
url = "https://code.test/in"
signatures = [{ scheme = "github", secret = { "$env" = "ACME_SECRET" } }]
"#;

#[test]
fn a_file_applied_twice_changes_nothing_the_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let file = dir.path().join("endpoints.toml");
    fs::write(&file, FILE).unwrap();

    let dry = applied(&server, &file, &["--dry-run"]);
    assert!(
        dry.contains("2 created") && dry.contains("nothing was changed"),
        "{dry}"
    );
    assert_eq!(names(&server), Vec::<String>::new());
    let first = applied(&server, &file, &[]);
    assert!(
        first.contains("+ billing  ep_") && first.contains("2 created, 0 changed, 0 removed, 0 unchanged"),
        "{first}"
    );
    let before = server.list("/v1/endpoints?order=asc");
    let second = applied(&server, &file, &[]);
    assert!(
        second.contains("0 created, 0 changed, 0 removed, 2 unchanged"),
        "{second}"
    );
    assert_eq!(server.list("/v1/endpoints?order=asc"), before);
    let id = before[1]["id"].as_str().unwrap();
    let secrets = server.get(&format!("/v1/endpoints/{id}/secret"));
    assert_eq!(secrets["signatures"][0]["secret"], "from the environment");

    // What an entry no longer says goes back to its default; a generated secret stays.
    let billing = before[0]["id"].as_str().unwrap();
    let secret = server.get(&format!("/v1/endpoints/{billing}/secret"));
    let changed = FILE
        .replace("retry = { retries = 3, delay = \"5s\" }\n", "")
        .replace(", x-two = \"2\"", "")
        .replace("invoice.*", "invoice.**");
    fs::write(&file, changed).unwrap();
    let third = applied(&server, &file, &[]);
    for part in [
        "~ billing",
        "events: [\"invoice.*\"] -> [\"invoice.**\"]",
        "retry:",
        "headers:",
        "1 changed",
    ] {
        assert!(third.contains(part), "{part}: {third}");
    }
    let shown = server.get(&format!("/v1/endpoints/{billing}"));
    assert_eq!(
        (&shown["headers"], &shown["treat_as"]),
        (&json!({"x-one": "***"}), &json!({"404": "transient"}))
    );
    assert_eq!(shown["retry"]["delays"].as_array().unwrap().len(), 9);
    assert_eq!(server.get(&format!("/v1/endpoints/{billing}/secret")), secret);
}

#[test]
fn only_pruning_removes_and_a_mistake_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.endpoint(&json!({"url": "https://h.test/by-hand", "name": "by hand"}));
    let file = dir.path().join("endpoints.toml");
    fs::write(&file, FILE).unwrap();
    applied(&server, &file, &[]);
    assert_eq!(names(&server), ["by hand", "billing", "code"]);

    for (text, part) in [
        (
            FILE.replace("https://code.test", "ftp://code.test"),
            "endpoints[1].url",
        ),
        (FILE.replace("invoice.*", "a..b"), "endpoints[0].events[0]"),
        (
            FILE.replace("name = \"code\"", "name = \"billing\""),
            "endpoints[1].name",
        ),
        (FILE.replace("name = \"code\"\n", ""), "endpoints[1].name"),
        (
            FILE.replace("profile = \"github\"", "profile = \"nobody\""),
            "endpoints[1].profile",
        ),
        (
            FILE.replace("x-one = \"1\"", "host = \"1\""),
            "endpoints[0].headers",
        ),
        (
            FILE.replace("billing.test", "elsewhere.test")
                .replace("$env", "$file"),
            "ACME_SECRET",
        ),
    ] {
        fs::write(&file, &text).unwrap();
        let before = server.list("/v1/endpoints");
        let ran = posthaste(&server, &["apply", file.to_str().unwrap(), "--prune"]);
        assert_eq!(ran.code, Some(1), "{part}");
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
        assert_eq!(server.list("/v1/endpoints"), before, "{part}");
    }

    fs::write(&file, FILE).unwrap();
    let pruned = applied(&server, &file, &["--prune"]);
    assert!(
        pruned.contains("- by hand") && pruned.contains("1 removed"),
        "{pruned}"
    );
    assert_eq!(names(&server), ["billing", "code"]);
}

#[test]
fn a_file_does_not_overrule_the_rule_that_disabled_an_endpoint_but_pauses_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let apply = |entry: Value| {
        let answer = server.request(
            "PUT",
            "/v1/endpoints",
            Some("application/json"),
            json!({"endpoints": [entry]}).to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let entry = |enabled: Value| json!({"name": "a", "url": "https://h.test/", "enabled": enabled});
    apply(entry(json!(false)));
    let state = || server.list("/v1/endpoints")[0]["state"].clone();
    assert_eq!(state(), "paused");
    assert_eq!(
        apply(entry(json!(true)))["changed"][0]["members"]["enabled"],
        json!([false, true])
    );
    assert_eq!(state(), "active");
    let id = server.list("/v1/endpoints")[0]["id"].as_str().unwrap().to_owned();
    server.post(&format!("/v1/endpoints/{id}/disable"), &json!({}));
    assert_eq!(apply(entry(json!(true)))["unchanged"], 1);
    assert_eq!(state(), "disabled");
}

#[test]
fn what_is_exported_applies_without_a_change_and_holds_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.endpoint(&json!({"url": "https://h.test/plain"}));
    server.endpoint(&json!({
        "url": "https://h.test/full", "name": "full", "tenant": "t", "events": ["a.*"], "headers": {"x-token": "hush-1"},
        "auth": {"type": "basic", "username": "u", "password": "hush-2"}, "profile": "github",
        "signatures": [{"scheme": "github", "secret": "hush-hush-3"}], "treat_as": {"404": "transient"},
    }));
    for format in ["toml", "yaml", "json"] {
        let ran = posthaste(&server, &["export", "--format", format]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(
            !ran.out.contains("hush") && !ran.out.contains("whsec_"),
            "{}",
            ran.out
        );
        let file = dir.path().join(format!("export.{format}"));
        fs::write(&file, &ran.out).unwrap();
        let again = applied(&server, &file, &["--prune", "--dry-run"]);
        assert!(
            again.contains("0 created, 0 changed, 0 removed, 2 unchanged"),
            "{again}"
        );
    }
    let file = dir.path().join("export.toml");
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Server::start(elsewhere.path());
    let ran = posthaste(&other, &["apply", file.to_str().unwrap()]);
    assert!(
        ran.code == Some(1) && ran.err.contains("endpoints[1].headers.x-token"),
        "{}",
        ran.err
    );
}

#[test]
fn a_server_applies_its_file_at_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("endpoints.yaml");
    let sink = Sink::accepting();
    fs::write(
        &file,
        format!("endpoints:\n  - name: one\n    url: {}\n", sink.url()),
    )
    .unwrap();
    let mut server = Server::start_with(
        &dir.path().join("data"),
        &["--no-listen"],
        &[("POSTHASTE_DELIVERY__ENDPOINTS_FILE", file.to_str().unwrap())],
    );
    wait_for("the endpoint", || (names(&server) == ["one"]).then_some(()));
    let event = server.event(&json!({"type": "a", "data": 1}));
    server.delivery_in(&event, "delivered");
    fs::write(
        &file,
        format!("endpoints:\n  - name: two\n    url: {}\n", sink.url()),
    )
    .unwrap();
    server.stop();
    server.restart();
    wait_for("both endpoints", || {
        (names(&server) == ["one", "two"]).then_some(())
    });
    fs::write(&file, "endpoints:\n  - name: three\n    url: nowhere\n").unwrap();
    server.stop();
    server.restart();
    wait_for("a warning", || {
        let warnings = server.get("/v1/status")["warnings"].to_string();
        warnings.contains("endpoints[0].url").then_some(())
    });
    fs::write(&file, "endpoints: 5\n").unwrap();
    server.stop();
    server.respawn();
    assert_eq!(server.wait().code(), Some(64));
    assert!(
        server.log().contains("delivery.endpoints_file"),
        "{}",
        server.log()
    );
}

#[test]
fn endpoints_of_other_senders_are_taken_over_so_that_receivers_notice_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let sink = Sink::accepting();
    let file = |name: &str, document: Value| {
        let path = dir.path().join(name);
        fs::write(&path, document.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let svix = file(
        "svix.json",
        json!({"data": [{
        "id": "ep_1srOrx2ZWZBpBUvZwXKQmoEYga2", "url": sink.url(), "version": 1, "description": "from svix",
        "filterTypes": ["user.signup"], "metadata": {}, "createdAt": "2019-08-24T14:15:22Z", "updatedAt": "2019-08-24T14:15:22Z",
    }], "done": true, "iterator": null}),
    );
    let secrets = file(
        "secrets.json",
        json!({"ep_1srOrx2ZWZBpBUvZwXKQmoEYga2": {"key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}),
    );
    let ran = posthaste(&server, &["import", "svix", &svix]);
    assert!(
        ran.code == Some(1) && ran.err.contains("--new-secrets"),
        "{}",
        ran.err
    );
    for count in ["1 created", "1 unchanged"] {
        let ran = posthaste(&server, &["import", "svix", &svix, "--secrets", &secrets]);
        assert!(
            ran.code == Some(0) && ran.out.contains(count),
            "{}{}",
            ran.out,
            ran.err
        );
    }
    let convoy = file(
        "convoy.json",
        json!({"data": {"content": [{
            "uid": "01A", "name": "Charges", "url": sink.url(), "status": "active", "advanced_signatures": false,
            "secrets": [{"uid": "1", "value": "convoy-webhook-secret"}],
        }]}}),
    );
    let subscriptions = file(
        "subscriptions.json",
        json!([{"name": "s", "endpoint_id": "01A",
        "filter_config": {"event_types": ["charge.success"]}}]),
    );
    let ran = posthaste(
        &server,
        &["import", "convoy", &convoy, "--subscriptions", &subscriptions],
    );
    assert!(
        ran.code == Some(0) && ran.out.contains("1 created"),
        "{}{}",
        ran.out,
        ran.err
    );

    let body = r#"{"event":"charge.success","amount":1000,"currency":"NGN"}"#;
    let charge = format!(r#"{{"type":"charge.success","data":{body}}}"#);
    assert_eq!(server.enqueue(charge.as_bytes()).status, 202);
    let got = wait_for("the charge", || sink.received().pop());
    assert_eq!(got.body, body.as_bytes());
    let published = "244449b7f48cbc2709060c9dcdc2b3aa47a78f540430579015c579fb12defbb4";
    assert_eq!(got.headers["x-convoy-signature"], published);
    server.event(&json!({"type": "user.signup", "id": "msg_1", "data": {"a": 1}}));
    let got = wait_for("the signup", || {
        sink.received()
            .into_iter()
            .find(|got| got.headers.contains_key("svix-id"))
    });
    assert_eq!(
        (got.headers["svix-id"].as_str(), &got.body[..]),
        ("msg_1", &br#"{"a":1}"#[..])
    );
    assert!(got.headers["svix-signature"].starts_with("v1,"));
}

#[test]
fn several_who_apply_the_same_file_at_once_make_each_endpoint_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let entries: Vec<Value> = (0..10)
        .map(|n| json!({"name": format!("e{n}"), "url": "https://h.test/"}))
        .collect();
    let body = json!({"endpoints": entries}).to_string();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let answer =
                    server.request("PUT", "/v1/endpoints", Some("application/json"), body.as_bytes());
                assert_eq!(answer.status, 200, "{}", answer.text());
            });
        }
    });
    assert_eq!(names(&server).len(), 10);
}

#[test]
fn the_limit_of_endpoints_is_judged_before_anything_changes_and_what_goes_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(
        dir.path(),
        &["--no-listen"],
        &[("POSTHASTE_LIMITS__ENDPOINTS", "2")],
    );
    let apply = |names: &[&str], more: Value| {
        let entries: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "url": "https://h.test/"}))
            .collect();
        let mut document = json!({"endpoints": entries});
        document
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = server.request(
            "PUT",
            "/v1/endpoints",
            Some("application/json"),
            document.to_string().as_bytes(),
        );
        answer.status
    };
    assert_eq!(apply(&["a", "b", "c"], json!({"dry_run": true})), 422);
    assert_eq!(apply(&["a", "b", "c"], json!({})), 422);
    assert_eq!(names(&server), Vec::<String>::new());
    assert_eq!(apply(&["a", "b"], json!({})), 200);
    assert_eq!(apply(&["a", "d"], json!({"prune": true})), 200);
    assert_eq!(names(&server), ["a", "d"]);
}

#[test]
fn pruning_keeps_to_the_tenants_of_the_file_and_an_export_keeps_what_a_person_paused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.endpoint(&json!({"url": "https://h.test/1", "name": "one", "tenant": "t1", "enabled": false}));
    server.endpoint(
        &json!({"url": "https://h.test/2", "name": "two", "tenant": "t2", "metadata": {"$env": "PATH"}}),
    );
    let ran = posthaste(&server, &["export", "--tenant", "t1"]);
    assert!(ran.out.contains("enabled = false"), "{}", ran.out);
    let file = dir.path().join("t1.toml");
    fs::write(&file, &ran.out).unwrap();
    let pruned = applied(&server, &file, &["--prune"]);
    assert!(
        pruned.contains("0 created, 0 changed, 0 removed, 1 unchanged"),
        "{pruned}"
    );
    // What looks like a place on this machine in a server's answer is none.
    let all = dir.path().join("all.json");
    fs::write(&all, posthaste(&server, &["export", "--format", "json"]).out).unwrap();
    let again = applied(&server, &all, &[]);
    assert!(again.contains("2 unchanged"), "{again}");
}

#[test]
fn no_mistake_in_a_file_or_a_document_repeats_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    for (name, text) in [
        (
            "a.toml",
            "[[endpoints]]\nname = \"a\"\n[endpoints.auth]\npassword = \"HUNTER\" x\n",
        ),
        (
            "a.yaml",
            "endpoints:\n  - name: a\n    auth:\n      password: HUNTER\n    url: *nowhere\n",
        ),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        let ran = posthaste(&server, &["apply", file.to_str().unwrap()]);
        assert!(ran.code == Some(1) && ran.err.contains("line "), "{}", ran.err);
        assert!(!ran.err.contains("HUNTER"), "{}", ran.err);
    }
    let endpoint = server.endpoint(&json!({"url": "https://h.test/"}));
    for patch in [
        json!({"signatures": [{"scheme": "standard", "secret": 5551234}]}),
        json!({"auth": {"type": "bearer", "token": 5551234}}),
        json!({"headers": {"x-s": 5551234}}),
        json!({"auth": "5551234"}),
        json!({"tls": "5551234"}),
    ] {
        let path = format!("/v1/endpoints/{endpoint}");
        let answer = server.request(
            "PATCH",
            &path,
            Some("application/json"),
            patch.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 422, "{patch}");
        assert!(!answer.text().contains("5551234"), "{}", answer.text());
    }
}

/// They are created at once: lists, which go by ids, would show them in any order.
#[test]
fn endpoints_of_one_file_are_listed_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let expected: Vec<String> = (0..30).map(|n| format!("endpoint {}", n * 7 % 30)).collect();
    let endpoint = |name: &String| json!({"name": name, "url": "https://e.test/in"});
    let endpoints: Vec<Value> = expected.iter().map(endpoint).collect();
    let document = json!({"endpoints": endpoints}).to_string();
    let answer = server.request(
        "PUT",
        "/v1/endpoints",
        Some("application/json"),
        document.as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(names(&server), expected);
}
