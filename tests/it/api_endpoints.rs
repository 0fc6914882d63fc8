//! Endpoints over the API: created, changed, hidden, deleted, listed; and what is refused about them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    server::{Answer, Server, wait_for},
    sink::Sink,
};

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    (dir, server)
}

fn create(server: &Server, document: &Value) -> Answer {
    server.post("/v1/endpoints", document)
}

fn patch(server: &Server, id: &str, document: &Value) -> Answer {
    let kind = Some("application/merge-patch+json");
    server.request(
        "PATCH",
        &format!("/v1/endpoints/{id}"),
        kind,
        document.to_string().as_bytes(),
    )
}

fn ask(server: &Server, method: &str, path: &str) -> Answer {
    server.request(method, path, None, b"")
}

/// Asserts that a document is refused with 422 for this field.
fn refused(server: &Server, document: &Value, field: &str) {
    let (status, fields) = create(server, document).problem();
    assert_eq!((status, fields), (422, vec![field.to_owned()]), "{document}");
}

#[test]
fn secrets_are_shown_at_creation_and_on_demand_and_hidden_everywhere_else() {
    let (dir, server) = started();
    let answer = create(
        &server,
        &json!({
            "url": "http://127.0.0.1:9/hook", "name": "n", "headers": {"X-Token": "header-secret"},
            "auth": {"type": "basic", "username": "u", "password": "auth-secret"}, "metadata": {"plan": "gold"},
        }),
    );
    let created = answer.json();
    let id = created["id"].as_str().unwrap();
    assert_eq!(answer.status, 201);
    assert!(
        answer.head.contains(&format!("location: /v1/endpoints/{id}\r\n")),
        "{}",
        answer.head
    );
    let secret = created["signatures"][0]["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{created}");
    let shown = server.get(&format!("/v1/endpoints/{id}"));
    assert_eq!(
        (
            &shown["signatures"],
            &shown["headers"],
            &shown["auth"],
            &shown["state"],
            &shown["metadata"]
        ),
        (
            &json!([{"scheme": "standard", "secret": "***"}]),
            &json!({"X-Token": "***"}),
            &json!({"type": "basic", "username": "u", "password": "***"}),
            &json!("active"),
            &json!({"plan": "gold"}),
        )
    );
    assert_eq!(server.list("/v1/endpoints"), [shown.clone()]);
    assert_eq!(
        server.get(&format!("/v1/endpoints/{id}/secret")),
        json!({"signatures": [{"scheme": "standard", "secret": secret}]})
    );
    // Nor do they stand in the log or, as they are, on the disk.
    server.event(&json!({"type": "a", "data": 1}));
    let written = files(dir.path());
    for hidden in [secret, "header-secret", "auth-secret"] {
        assert!(!server.log().contains(hidden), "{hidden} is in the log");
        let found = written
            .iter()
            .find(|(_, bytes)| contains(bytes, hidden.as_bytes()));
        assert!(found.is_none(), "{hidden} is in {}", found.unwrap().0);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Every file below a folder, with its path.
fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            found.push((entry.path().display().to_string(), bytes));
        }
    }
    found
}

#[test]
fn hidden_secrets_that_are_patched_back_stay_as_they_are() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let id = server.endpoint(&json!({
        "url": sink.url(), "headers": {"X-Token": "keep", "X-Old": "drop"},
        "auth": {"type": "bearer", "token": "tok"},
    }));
    let secret = server.get(&format!("/v1/endpoints/{id}/secret"));
    let shown = server.get(&format!("/v1/endpoints/{id}"));
    let back = json!({
        "headers": {"X-Token": shown["headers"]["X-Token"], "X-Old": null, "X-New": "new"},
        "auth": shown["auth"], "signatures": shown["signatures"], "name": "changed",
    });
    let patched = patch(&server, &id, &back);
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(patched.json()["name"], "changed");
    assert_eq!(server.get(&format!("/v1/endpoints/{id}/secret")), secret);
    server.event(&json!({"type": "a", "data": 1}));
    wait_for("the delivery", || (sink.count() == 1).then_some(()));
    let got = &sink.received()[0].headers;
    assert_eq!(
        (
            got["x-token"].as_str(),
            got["x-new"].as_str(),
            got["authorization"].as_str(),
            got.get("x-old")
        ),
        ("keep", "new", "Bearer tok", None)
    );
}

#[test]
fn a_patch_replaces_removes_and_leaves_what_it_does_not_name() {
    let (_dir, mut server) = started();
    let id = server.endpoint(&json!({
        "url": "http://127.0.0.1:9/", "name": "n", "events": ["user.*"], "retry": {"delays": ["5s"]},
        "metadata": {"a": "1", "b": "2"}, "timeout": "5s", "concurrency": 3,
    }));
    let answer = patch(
        &server,
        &id,
        &json!({
            "name": null, "events": ["order.**"], "retry": {"retries": 3, "delay": "1s"},
            "metadata": {"a": null, "c": "3"}, "timeout": null,
        }),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let path = format!("/v1/endpoints/{id}");
    let check = |server: &Server| {
        let shown = server.get(&path);
        assert_eq!((shown.get("name"), shown.get("timeout")), (None, None), "{shown}");
        assert_eq!(
            (
                &shown["events"],
                &shown["retry"],
                &shown["metadata"],
                &shown["concurrency"],
                &shown["url"]
            ),
            (
                &json!(["order.**"]),
                &json!({"retries": 3, "delay": "1s"}),
                &json!({"b": "2", "c": "3"}),
                &json!(3),
                &json!("http://127.0.0.1:9/"),
            )
        );
    };
    check(&server);
    for (document, field) in [
        (json!({"url": "ftp://h/"}), "url"),
        (json!({"timeout": "1000s"}), "timeout"),
        (json!({"events": ["a..b"]}), "events[0]"),
        (json!({"tenant": "other"}), "tenant"),
        (json!({"evnts": ["a"]}), "evnts"),
        (json!({"state": "active"}), "state"),
    ] {
        let (status, fields) = patch(&server, &id, &document).problem();
        assert_eq!((status, fields), (422, vec![field.to_owned()]), "{document}");
    }
    assert_eq!(patch(&server, &id, &json!({"url": null})).problem().0, 422);
    assert_eq!(patch(&server, &id, &json!([])).problem().0, 422);
    check(&server);
    server.kill();
    server.restart();
    check(&server);
}

#[test]
fn an_endpoint_is_enabled_disabled_and_paused_by_hand() {
    let (_dir, server) = started();
    let id = server.endpoint(&json!({"url": "http://127.0.0.1:9/", "enabled": false}));
    let path = format!("/v1/endpoints/{id}");
    assert_eq!(server.get(&path)["state"], "paused");
    for (verb, state, why) in [
        ("enable", "active", Value::Null),
        ("disable", "disabled", json!("manual")),
        ("pause", "paused", Value::Null),
        ("enable?discard=true", "active", Value::Null),
    ] {
        let answer = ask(&server, "POST", &format!("{path}/{verb}"));
        assert_eq!(
            (answer.status, &answer.json()["state"]),
            (200, &json!(state)),
            "{verb}"
        );
        let shown = server.get(&path);
        assert_eq!(
            (&shown["state"], &shown["disabled_reason"]["why"]),
            (&json!(state), &why),
            "{verb}"
        );
    }
    for (enabled, state) in [(false, "paused"), (true, "active")] {
        let patched = patch(&server, &id, &json!({"enabled": enabled})).json();
        assert_eq!(patched["state"], state);
    }
    let (status, fields) = ask(&server, "POST", &format!("{path}/enable?discard=yes")).problem();
    assert_eq!((status, fields), (400, vec!["discard".to_owned()]));
}

#[test]
fn a_deleted_endpoint_is_gone_for_every_route_also_after_a_restart() {
    let (_dir, mut server) = started();
    let id = server.endpoint(&json!({"url": "http://127.0.0.1:9/"}));
    let path = format!("/v1/endpoints/{id}");
    assert_eq!(ask(&server, "DELETE", &path).status, 204);
    let check = |server: &Server| {
        for (method, route) in [
            ("GET", ""),
            ("DELETE", ""),
            ("GET", "/stats"),
            ("GET", "/secret"),
            ("POST", "/enable"),
            ("POST", "/disable"),
            ("POST", "/pause"),
            ("POST", "/test"),
        ] {
            let answer = ask(server, method, &format!("{path}{route}"));
            assert_eq!(answer.problem().0, 410, "{method} {route}");
        }
        assert_eq!(patch(server, &id, &json!({"name": "n"})).problem().0, 410);
        let since = json!({"since": "2026-01-01T00:00:00Z"});
        assert_eq!(server.post(&format!("{path}/recover"), &since).problem().0, 410);
        assert_eq!(server.list("/v1/endpoints").len(), 0);
        let event = server.post("/v1/events", &json!({"type": "a", "data": 1}));
        assert_eq!(event.json()["deliveries"], 0);
    };
    check(&server);
    server.kill();
    server.restart();
    check(&server);
}

#[test]
fn stats_count_what_became_of_deliveries() {
    let (_dir, server) = started();
    let sink = Sink::deciding(|got, _| {
        let status = if got.body.windows(3).any(|part| part == b"bad") {
            422
        } else {
            200
        };
        crate::support::sink::answer(status, "")
    });
    let id = server.endpoint(&json!({"url": sink.url()}));
    for data in ["good", "bad", "good"] {
        server.event(&json!({"type": "a", "data": data}));
    }
    let later = crate::support::server::in_millis(3_600_000);
    server.event(&json!({"type": "a", "data": 1, "deliver_at": later}));
    let stats = wait_for("the counts", || {
        let stats = server.get(&format!("/v1/endpoints/{id}/stats"));
        (stats["deliveries"]["attempts"] == 3).then_some(stats)
    });
    let deliveries = &stats["deliveries"];
    assert_eq!(
        (
            &deliveries["delivered"],
            &deliveries["failed"],
            &deliveries["scheduled"],
            &deliveries["held"]
        ),
        (&json!(2), &json!(1), &json!(1), &json!(0))
    );
    assert!(
        stats["last_success_at"].is_string() && stats["last_failure_at"].is_string(),
        "{stats}"
    );
    assert_eq!(
        ask(&server, "POST", &format!("/v1/endpoints/{id}/pause")).status,
        200
    );
    let held = server.get(&format!("/v1/endpoints/{id}/stats"));
    assert_eq!(
        (&held["deliveries"]["held"], &held["state"]),
        (&json!(1), &json!("paused"))
    );
}

#[test]
fn the_number_of_endpoints_has_a_limit_and_a_deleted_one_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let limit = [("POSTHASTE_LIMITS__ENDPOINTS", "2")];
    let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &limit);
    let document = json!({"url": "http://127.0.0.1:9/"});
    let first = server.endpoint(&document);
    server.endpoint(&document);
    let answer = create(&server, &document);
    assert_eq!(answer.problem().0, 422);
    assert_eq!(answer.json()["type"], "/problems/limit-reached");
    assert_eq!(
        ask(&server, "DELETE", &format!("/v1/endpoints/{first}")).status,
        204
    );
    server.endpoint(&document);
}

#[test]
fn urls_that_lead_inside_or_mislead_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_guarded(&dir.path().join("data"), &["--no-listen"], &[]);
    let (label, host) = (
        format!("http://{}.test/", "a".repeat(64)),
        format!("http://{}test/", "a.".repeat(127)),
    );
    let long = format!("http://h.test/{}", "a".repeat(2048));
    let loopback = [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://①②⑦.⓪.⓪.①/",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1./",
        "http://localhost/",
        "http://localhost./",
        "http://x.localhost/",
        "http://LOCALHOST:8080/",
    ];
    let six = [
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b:1::]/",
        "http://[2002:7f00:1::]/",
        "http://[2001::]/",
        "http://[fec0::1]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00:ec2::254]/",
        "http://[100::1]/",
        "http://[2001:db8::1]/",
        "http://[3fff::1]/",
        "http://[5f00::1]/",
        "http://[fc00::1]/",
        "http://[ff02::1]/",
    ];
    let four = [
        "http://169.254.169.254/",
        "http://100.100.100.200/",
        "http://metadata.google.internal/",
        "http://0.0.0.0/",
        "http://10.1.2.3/",
        "http://172.16.0.1/",
        "http://192.0.0.1/",
        "http://192.0.2.1/",
        "http://192.88.99.1/",
        "http://192.168.0.1/",
        "http://198.18.0.1/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://224.0.0.1/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
    ];
    let misleading = [
        "http://user:pw@h.test/",
        "http://h.test@127.0.0.1/",
        "http://a@b@c.test/",
        "http://h.test\\@127.0.0.1/",
        "http:\\\\h\\x",
        "http:h",
        "https:/h",
        "http://h.test/\ta",
        "http://h.te\nst/",
        " http://h.test/",
        "http://h.test/ ",
        "file:///etc/passwd",
        "ftp://h.test/",
        "javascript:alert(1)",
        "unix:/run/x",
        "http+unix://x/",
        "http://h.test:0/",
        "http://h.test:65536/",
        "http://h.test/#a",
        "",
        "//h.test/",
        "http://",
        "http://a..b/",
        &label,
        &host,
        &long,
    ];
    for url in [&loopback[..], &six, &four, &misleading].concat() {
        refused(&server, &json!({"url": url}), "url");
    }
    assert_eq!(server.list("/v1/endpoints").len(), 0);
    for url in [
        "http://h.test/%0d%0aX:",
        "https://93.184.216.34/",
        "HTTP://H.test:8080/a?b=c",
        "http://[2606:4700::1111]/",
    ] {
        let answer = create(&server, &json!({"url": url}));
        assert_eq!((answer.status, &answer.json()["url"]), (201, &json!(url)));
    }
}

#[test]
fn https_can_be_demanded_and_networks_allowed_and_denied() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_guarded(
        &dir.path().join("data"),
        &["--no-listen"],
        &[
            ("POSTHASTE_DELIVERY__REQUIRE_HTTPS", "true"),
            ("POSTHASTE_DELIVERY__ALLOW_NETWORKS", "10.0.0.0/8"),
            ("POSTHASTE_DELIVERY__DENY_NETWORKS", "93.184.216.0/24"),
        ],
    );
    refused(&server, &json!({"url": "http://h.test/"}), "url");
    refused(&server, &json!({"url": "https://93.184.216.34/"}), "url");
    refused(&server, &json!({"url": "https://192.168.0.1/"}), "url");
    server.endpoint(&json!({"url": "https://10.2.3.4/"}));
    server.endpoint(&json!({"url": "https://h.test/"}));
}

#[test]
fn our_own_listener_is_no_receiver_even_in_development() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--listen", "127.0.0.1:0"], &[]);
    let address = super::api_tcp::address(&server);
    refused(
        &server,
        &json!({"url": format!("http://{address}/v1/events")}),
        "url",
    );
    server.endpoint(&json!({"url": "http://127.0.0.1:9/"}));
}

#[test]
fn headers_that_break_framing_or_lines_are_refused_by_name() {
    let (_dir, server) = started();
    let with = |headers: Value| json!({"url": "http://127.0.0.1:9/", "headers": headers});
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Proxy-Authorization",
        "Proxy-x",
        "Expect",
        "HTTP2-Settings",
        "webhook-id",
        "Webhook-Anything",
        "",
        "a b",
        "a:b",
        "é",
        "a\r\nb",
    ] {
        let mut headers = serde_json::Map::new();
        headers.insert(name.to_owned(), json!("v"));
        let answer = create(&server, &with(Value::Object(headers)));
        let (status, fields) = answer.problem();
        assert_eq!(status, 422, "{name}");
        assert!(
            fields.iter().all(|field| field.starts_with("headers")) && fields.len() == 1,
            "{name}: {fields:?}"
        );
    }
    let long = "v".repeat(64 * 1024);
    for value in [
        "k7\r\nb", "k7\nb", "k7\0", "k7\u{7f}", "ék7", " k7", "k7 ", "k7\tb", &long,
    ] {
        let answer = create(&server, &with(json!({"X-A": value})));
        assert_eq!(answer.problem().0, 422, "{value:.9}");
        let rule = answer.json()["errors"][0]["rule"].as_str().unwrap().to_owned();
        assert!(
            rule.contains("X-A") && !rule.contains("k7") && !rule.contains("vvv"),
            "{rule}"
        );
    }
    let many = |count: usize| -> Value {
        (0..count)
            .map(|place| (format!("X-{place}"), json!("v")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    for (count, status) in [(64, 201), (65, 422), (1_000, 422)] {
        assert_eq!(create(&server, &with(many(count))).status, status, "{count}");
    }
    refused(&server, &with(json!({"X-A": "1", "x-a": "2"})), "headers");
    refused(
        &server,
        &json!({"url": "http://127.0.0.1:9/", "auth": {"type": "bearer", "token": "a b"}}),
        "auth",
    );
    refused(
        &server,
        &json!({"url": "http://127.0.0.1:9/", "auth": {"type": "basic", "username": "a:b", "password": "c"}}),
        "auth",
    );
}

#[test]
fn members_out_of_range_are_refused_by_name_with_the_range() {
    let (_dir, server) = started();
    let with = |name: &str, value: Value| {
        let mut document = json!({"url": "http://127.0.0.1:9/"});
        document[name] = value;
        document
    };
    for retry in [
        json!({"retries": -1, "delay": "5s"}),
        json!({"retries": 1_000_000_000, "delay": "5s"}),
        json!({"retries": 1001, "delay": "5s"}),
        json!({"retries": 3, "delay": "0s"}),
        json!({"retries": 3, "delay": "31d"}),
        json!({"retries": 3}),
        json!({"delays": ["5s", "0s"]}),
        json!({"delays": ["soon"]}),
        json!({"delays": ["5s"], "retries": 1}),
        json!({"base": "1s", "factor": 0, "max": "1h", "retries": 3}),
        json!({"base": "1h", "factor": 2, "max": "1s", "retries": 3}),
        json!({}),
        json!([]),
    ] {
        let answer = create(&server, &with("retry", retry.clone()));
        let (status, fields) = answer.problem();
        assert_eq!(status, 422, "{retry}");
        assert!(
            fields.len() == 1 && fields[0].starts_with("retry"),
            "{retry}: {}",
            answer.text()
        );
    }
    let long = "x".repeat(1025);
    for (name, value, field) in [
        ("timeout", json!("0s"), "timeout"),
        ("timeout", json!("301s"), "timeout"),
        ("timeout", json!(5), "timeout"),
        ("concurrency", json!(0), "concurrency"),
        ("concurrency", json!(1025), "concurrency"),
        ("rate", json!({"per_second": 0}), "rate.per_second"),
        ("rate", json!({"per_second": 1, "burst": 0}), "rate.burst"),
        ("disable_after", json!(0), "disable_after"),
        ("failing_for", json!("1s"), "failing_for"),
        ("disable_on", json!("sometimes"), "disable_on"),
        ("treat_as", json!({"99": "transient"}), "treat_as"),
        ("treat_as", json!({"404": "nice"}), "treat_as.404"),
        ("events", json!([]), "events"),
        ("events", json!(["a", "b..c"]), "events[1]"),
        ("events", json!("a"), "events"),
        ("channels", json!([""]), "channels[0]"),
        ("name", json!("a\u{1b}[0m"), "name"),
        ("name", json!(long), "name"),
        ("metadata", json!({"a": 1}), "metadata.a"),
        ("profile", json!("zoom"), "profile"),
        ("signatures", json!([{"scheme": "md5"}]), "signatures[0].scheme"),
        (
            "signatures",
            json!([{"scheme": "standard", "secret": "short"}]),
            "signatures[0].secret",
        ),
        ("unknown", json!(1), "unknown"),
    ] {
        refused(&server, &with(name, value), field);
    }
    let (status, fields) = create(&server, &json!({"name": "n"})).problem();
    assert_eq!((status, fields), (422, vec!["url".to_owned()]));
    let twice = br#"{"url":"http://127.0.0.1:9/","url":"http://127.0.0.1:8/"}"#;
    let answer = server.request("POST", "/v1/endpoints", Some("application/json"), twice);
    assert_eq!(answer.problem().0, 422);
    assert!(answer.text().contains("url"), "{}", answer.text());
    assert_eq!(
        server
            .request("POST", "/v1/endpoints", Some("text/plain"), b"{}")
            .problem()
            .0,
        415
    );
    assert_eq!(
        server.request("POST", "/v1/endpoints", None, b"").problem().0,
        400
    );
    assert_eq!(server.list("/v1/endpoints").len(), 0);
}

/// Every page of a list, by the rows' ids; something is added before each further page when `add` does so.
fn pages(server: &Server, path: &str, limit: usize, mut add: impl FnMut()) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = server.get(&format!("{path}{joint}limit={limit}{cursor}"));
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= limit);
        ids.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            None => return ids,
            Some(next) => cursor = format!("&cursor={next}"),
        }
        add();
    }
}

#[test]
fn pages_have_no_gaps_and_no_repeats_in_either_order() {
    let (_dir, server) = started();
    let sink = Sink::accepting();
    let endpoints: Vec<String> = (0..7)
        .map(|_| server.endpoint(&json!({"url": sink.url(), "events": ["a"]})))
        .collect();
    let events: Vec<String> = (0..5)
        .map(|count| server.event(&json!({"type": "a", "data": count})))
        .collect();
    wait_for("all attempts", || {
        (server.list("/v1/attempts").len() == 35).then_some(())
    });
    let reversed = |ids: &[String]| ids.iter().rev().cloned().collect::<Vec<_>>();
    for limit in [1, 3, 7, 500] {
        assert_eq!(pages(&server, "/v1/endpoints?order=asc", limit, || ()), endpoints);
        assert_eq!(
            pages(&server, "/v1/endpoints", limit, || ()),
            reversed(&endpoints)
        );
        assert_eq!(pages(&server, "/v1/events?order=asc", limit, || ()), events);
        assert_eq!(
            pages(&server, "/v1/events?order=desc", limit, || ()),
            reversed(&events)
        );
    }
    let one = format!("/v1/events/{}/deliveries", events[2]);
    let filtered = format!("/v1/deliveries?endpoint={}", endpoints[3]);
    let made_for_one = format!("/v1/attempts?event={}", events[1]);
    for (path, count) in [
        ("/v1/deliveries", 35),
        ("/v1/attempts", 35),
        (&one, 7),
        (&filtered, 5),
        (&made_for_one, 7),
    ] {
        let joint = if path.contains('?') { '&' } else { '?' };
        for limit in [2, 5, 500] {
            let rising = pages(&server, &format!("{path}{joint}order=asc"), limit, || ());
            assert_eq!(rising.iter().collect::<BTreeSet<_>>().len(), count, "{path}");
            assert_eq!(
                (rising.len(), pages(&server, path, limit, || ())),
                (count, reversed(&rising)),
                "{path}"
            );
        }
    }
    // What is added while someone turns the pages neither hides nor repeats what was there.
    let add = || _ = server.event(&json!({"type": "other", "data": 0}));
    assert_eq!(pages(&server, "/v1/events", 2, add), reversed(&events));
}

#[test]
fn query_parameters_that_are_wrong_or_unknown_are_refused_by_name() {
    let (_dir, server) = started();
    for (path, field) in [
        ("/v1/events?lmit=5", "lmit"),
        ("/v1/events?limit=0", "limit"),
        ("/v1/events?limit=501", "limit"),
        ("/v1/events?limit=1&limit=2", "limit"),
        ("/v1/events?order=up", "order"),
        ("/v1/events?since=yesterday", "since"),
        ("/v1/events?type=a%20b", "type"),
        ("/v1/endpoints?state=gone", "state"),
        ("/v1/deliveries?state=lost", "state"),
        (
            "/v1/deliveries?endpoint=evt_01h455vb4pex5vsknk084sn02q",
            "endpoint",
        ),
        ("/v1/deliveries?event=a.b", "event"),
        ("/v1/attempts?outcome=bad", "outcome"),
        ("/v1/attempts?status=99", "status"),
        ("/v1/attempts?format=csv", "format"),
        ("/v1/status?verbose=1", "verbose"),
    ] {
        let (status, fields) = ask(&server, "GET", path).problem();
        assert_eq!((status, fields), (400, vec![field.to_owned()]), "{path}");
    }
    for path in ["/v1/events", "/v1/endpoints", "/v1/deliveries", "/v1/attempts"] {
        for cursor in ["x", "00", "-1", "%00", "evt_01h455vb4pex5vsknk084sn02q"] {
            let (status, fields) = ask(&server, "GET", &format!("{path}?cursor={cursor}")).problem();
            assert!(matches!(status, 400 | 422), "{path} {cursor}: {status}");
            assert_eq!(fields, ["cursor"], "{path} {cursor}");
        }
    }
}

#[test]
fn ids_that_are_none_unknown_or_of_another_kind_are_told_apart() {
    let (_dir, server) = started();
    let endpoint = server.endpoint(&json!({"url": "http://127.0.0.1:9/"}));
    for id in [
        "..%2f..%2fx",
        "%00",
        "%ff",
        "evt_01h455vb4pex5vsknk084sn02q",
        "ep_x",
        "ep_",
    ] {
        for path in [format!("/v1/endpoints/{id}"), format!("/v1/deliveries/{id}")] {
            assert_eq!(ask(&server, "GET", &path).problem().0, 400, "{path}");
        }
    }
    assert_eq!(
        ask(&server, "GET", &format!("/v1/deliveries/{endpoint}"))
            .problem()
            .0,
        400
    );
    for path in [
        "/v1/endpoints/ep_01h455vb4pex5vsknk084sn02q",
        "/v1/deliveries/dlv_01h455vb4pex5vsknk084sn02q",
        "/v1/events/evt_01h455vb4pex5vsknk084sn02q",
        "/v1/events/nobody/deliveries",
        "/v1/attempts?event=nobody",
        "/v1/endpoints/../../x",
        "/v2/events",
    ] {
        assert_eq!(ask(&server, "GET", path).problem().0, 404, "{path}");
    }
    let answer = ask(&server, "PUT", "/v1/events");
    assert_eq!(answer.problem().0, 405);
    assert!(answer.head.contains("allow: "), "{}", answer.head);
}
