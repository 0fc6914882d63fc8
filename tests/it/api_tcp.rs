//! The API over TCP: the first key, roles, revocation, and what needs no key.

use std::{
    fs,
    io::{BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    thread,
};

use posthaste::telemetry::names;
use serde_json::{Value, json};

use crate::support::{
    server::{Answer, PATIENCE, Server, read_answer, wait_for},
    sink::Sink,
};

fn started() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--listen", "127.0.0.1:0"], &[]);
    (dir, server)
}

/// Where the server listens now: its log says so.
pub fn address(server: &Server) -> SocketAddr {
    let line = wait_for("an address in the log", || {
        let log = server.log();
        let mut lines = log.lines();
        let line = lines.rfind(|line| line.contains("listening") && line.contains("address="));
        line.map(ToOwned::to_owned)
    });
    let text = line.split("address=").nth(1).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Where the key of the first start is, as no terminal could show it.
fn key_file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("data/first-admin-key")
}

/// The key that was made at the first start.
fn first_key(dir: &tempfile::TempDir) -> String {
    let text = wait_for("the first key", || {
        fs::read_to_string(key_file(dir))
            .ok()
            .filter(|text| text.ends_with('\n'))
    });
    text.trim().to_owned()
}

/// One request over TCP with header lines of its own, each ended by CRLF.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    // It may be answered, and closed, before all of it was read.
    _ = stream.write_all((head + body).as_bytes());
    read_answer(&mut BufReader::new(stream)).unwrap()
}

pub fn with_key(address: SocketAddr, key: &str, method: &str, path: &str, body: &str) -> Answer {
    ask(
        address,
        method,
        path,
        &format!("authorization: Bearer {key}\r\n"),
        body,
    )
}

fn get(address: SocketAddr, key: &str, path: &str) -> u16 {
    with_key(address, key, "GET", path, "").status
}

/// Creates a key over the socket.
pub fn new_key(server: &Server, document: &Value) -> (String, String) {
    let answer = server.post("/v1/keys", document);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

#[test]
fn the_first_key_is_written_once_for_its_owner_alone_and_works_after_a_restart() {
    let (dir, mut server) = started();
    let key = first_key(&dir);
    let mode = fs::metadata(key_file(&dir)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(get(address(&server), &key, "/v1/keys"), 200);
    let path = key_file(&dir).display().to_string();
    wait_for("the line that says where it is", || {
        let log = server.log();
        (log.contains(&path) && log.contains("posthaste key create")).then_some(())
    });
    fs::remove_file(key_file(&dir)).unwrap();
    for ending in ["stop", "kill"] {
        if ending == "stop" {
            server.stop();
        } else {
            server.kill();
        }
        server.restart();
        assert_eq!(get(address(&server), &key, "/v1/keys"), 200, "{ending}");
        let shown = [server.log(), server.stdout()].concat();
        assert!(!shown.contains("ph_"), "{shown}");
        assert!(!key_file(&dir).exists(), "there is a key");
    }
    assert_eq!(server.get("/v1/keys")["data"].as_array().unwrap().len(), 1);
}

#[test]
fn the_first_key_replaces_no_file_and_follows_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    // Without a listener no key is made.
    Server::start(&dir.path().join("data")).stop();
    symlink(&target, key_file(&dir)).unwrap();
    let mut server = Server::start_with(&dir.path().join("data"), &["--listen", "127.0.0.1:0"], &[]);
    wait_for("the line that says what to do", || {
        let log = server.log();
        (log.contains("no API key was made") && log.contains("posthaste key create")).then_some(())
    });
    assert!(!target.exists());
    assert_eq!(server.get("/v1/keys")["data"], json!([]));
    // What is in the way is moved away: the next start makes one.
    fs::remove_file(key_file(&dir)).unwrap();
    server.stop();
    server.restart();
    assert_eq!(get(address(&server), &first_key(&dir), "/v1/keys"), 200);
}

#[test]
fn what_is_no_key_is_refused_wherever_it_stands() {
    let (dir, server) = started();
    let (address, key) = (address(&server), first_key(&dir));
    let (prefix, long) = (&key[..key.len() - 1], format!("ph_{}", "0".repeat(20_000)));
    let other = format!("ph_{}", "0".repeat(64));
    for headers in [
        String::new(),
        "authorization: \r\n".to_owned(),
        "authorization: Bearer\r\n".to_owned(),
        "authorization: Bearer \r\n".to_owned(),
        format!("authorization: {key}\r\n"),
        format!("authorization: Basic {key}\r\n"),
        format!("authorization: Bearer {prefix}\r\n"),
        format!("authorization: Bearer {key}0\r\n"),
        format!("authorization: Bearer {}\r\n", key.to_uppercase()),
        format!("authorization: Bearer {other}\r\n"),
        format!("authorization: Bearer {long}\r\n"),
        format!("authorization: Bearer {key}\r\nauthorization: Bearer {key}\r\n"),
        format!("x-api-key: {key}\r\ncookie: key={key}\r\n"),
    ] {
        let answer = ask(address, "GET", "/v1/status", &headers, "");
        assert_eq!(answer.problem().0, 401, "{headers:.60}");
        assert!(
            answer.head.contains("www-authenticate: bearer\r\n"),
            "{}",
            answer.head
        );
    }
    for name in ["key", "token", "access_token", "api_key"] {
        let in_query = ask(address, "GET", &format!("/v1/status?{name}={key}"), "", "");
        assert_eq!(in_query.problem().0, 401, "{name}");
        // Beside a good key too: whoever writes it there once does so again.
        assert_eq!(
            get(address, &key, &format!("/v1/status?{name}={key}")),
            401,
            "{name}"
        );
    }
    let event = ask(address, "POST", "/v1/events", "", r#"{"type":"a","data":1}"#);
    assert_eq!(event.problem().0, 401);
    assert_eq!(ask(address, "GET", "/v1/nothing", "", "").problem().0, 401);
    assert_eq!(server.list("/v1/events").len(), 0);
    assert_eq!(get(address, &key, "/v1/status"), 200);
    assert!(!server.log().contains(&key));
}

#[test]
fn guessers_are_slowed_down_and_others_are_not_held_up() {
    let (dir, server) = started();
    let (address, key) = (address(&server), first_key(&dir));
    let statuses: Vec<u16> = thread::scope(|scope| {
        let guesses: Vec<_> = (0..60)
            .map(|place| scope.spawn(move || get(address, &format!("ph_{place:064}"), "/v1/status")))
            .collect();
        for _ in 0..20 {
            assert_eq!(get(address, &key, "/v1/status"), 200);
        }
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 429)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&401), "{statuses:?}");
}

#[test]
fn a_role_may_do_what_the_documentation_says_and_nothing_else() {
    let (_dir, server) = started();
    let address = address(&server);
    let sink = Sink::accepting();
    let endpoint = server.endpoint(&json!({"url": sink.url()}));
    let own = format!("/v1/endpoints/{endpoint}");
    let (secret, pause, enable, test) = (
        format!("{own}/secret"),
        format!("{own}/pause"),
        format!("{own}/enable"),
        format!("{own}/test"),
    );
    let event = server.event(&json!({"type": "a", "data": 1}));
    let delivery = server.delivery_in(&event, "delivered")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (replay, retry) = (
        format!("/v1/events/{event}/replay"),
        format!("/v1/deliveries/{delivery}/retry"),
    );
    let document = json!({"url": sink.url()}).to_string();
    let new_event = r#"{"type":"b","data":1}"#;
    let import = r#"{"openapi":{"openapi":"3.1.0","webhooks":{}}}"#;
    let new_key_document = r#"{"role":"viewer","name":"n"}"#;
    // Viewer, sender, manager, admin.
    let routes: [(&str, &str, &str, [u16; 4]); 18] = [
        ("POST", "/v1/events", new_event, [403, 202, 403, 202]),
        ("GET", "/v1/events", "", [200, 403, 200, 200]),
        ("GET", "/v1/status", "", [200, 403, 200, 200]),
        ("GET", "/metrics", "", [200, 403, 200, 200]),
        ("GET", "/v1/event-types", "", [200, 403, 200, 200]),
        ("PUT", "/v1/event-types/a.b", "{}", [403, 403, 201, 200]),
        ("POST", "/v1/event-types/import", import, [403, 403, 200, 200]),
        ("GET", "/v1/attempts", "", [200, 403, 200, 200]),
        ("GET", &own, "", [200, 403, 200, 200]),
        ("POST", "/v1/endpoints", &document, [403, 403, 201, 201]),
        ("PATCH", &own, r#"{"name":"n"}"#, [403, 403, 200, 200]),
        ("POST", &pause, "", [403, 403, 200, 200]),
        ("POST", &enable, "", [403, 403, 200, 200]),
        ("POST", &test, "", [403, 403, 200, 200]),
        ("POST", &replay, "", [403, 403, 202, 202]),
        ("POST", &retry, "", [403, 403, 200, 200]),
        ("GET", &secret, "", [403, 403, 403, 200]),
        ("POST", "/v1/keys", new_key_document, [403, 403, 403, 201]),
    ];
    for (place, role) in ["viewer", "sender", "manager", "admin"].into_iter().enumerate() {
        let (_, key) = new_key(&server, &json!({"role": role, "name": role}));
        for (method, path, body, statuses) in &routes {
            // A delivery that is out cannot be retried; it is back soon.
            let answer = wait_for("an answer other than not now", || {
                Some(with_key(address, &key, method, path, body)).filter(|answer| answer.status != 409)
            });
            assert_eq!(
                answer.status,
                statuses[place],
                "{role}: {method} {path}: {}",
                answer.text()
            );
        }
    }
}

#[test]
fn a_key_ends_when_it_is_revoked_or_expires() {
    let (_dir, mut server) = started();
    let address_before = address(&server);
    let (id, key) = new_key(&server, &json!({"role": "viewer", "name": "ci"}));
    let (_, short) = new_key(
        &server,
        &json!({"role": "viewer", "name": "short", "expires_in": "300ms"}),
    );
    assert_eq!(get(address_before, &key, "/v1/status"), 200);
    wait_for("the short key to expire", || {
        (get(address_before, &short, "/v1/status") == 401).then_some(())
    });
    let listed = server.get("/v1/keys");
    assert!(
        !listed.to_string().contains("ph_") && !listed.to_string().contains("hash"),
        "{listed}"
    );
    let revoke = |server: &Server| server.request("DELETE", &format!("/v1/keys/{id}"), None, b"");
    assert_eq!(revoke(&server).status, 204);
    assert_eq!(get(address_before, &key, "/v1/status"), 401);
    assert_eq!(revoke(&server).problem().0, 404);
    server.kill();
    server.restart();
    assert_eq!(get(address(&server), &key, "/v1/status"), 401);
    for (document, field) in [
        (json!({"role": "root", "name": "n"}), "role"),
        (json!({"role": "viewer"}), "name"),
        (json!({"role": "viewer", "name": "n", "tenant": ""}), "tenant"),
        (
            json!({"role": "viewer", "name": "n", "expires_in": "-5s"}),
            "expires_in",
        ),
    ] {
        let (status, fields) = server.post("/v1/keys", &document).problem();
        assert_eq!((status, fields), (422, vec![field.to_owned()]), "{document}");
    }
}

#[test]
fn probes_need_no_key_and_metrics_have_every_name() {
    let (dir, server) = started();
    let (address, key) = (address(&server), first_key(&dir));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(address, "GET", path, "", "").status, 200, "{path}");
    }
    assert_eq!(ask(address, "GET", "/metrics", "", "").problem().0, 401);
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url(), "events": ["a"]}));
    let event = server.event(&json!({"type": "a", "data": 1, "id": "m"}));
    server.delivery_in(&event, "delivered");
    server.post("/v1/events", &json!({"type": "a", "data": 1, "id": "m"}));
    server.post("/v1/events", &json!({"type": "a..b", "data": 1}));
    let gone = Sink::deciding(|_, _| crate::support::sink::answer(410, ""));
    let broken = server.endpoint(&json!({"url": gone.url(), "events": ["b"]}));
    server.event(&json!({"type": "b", "data": 1}));
    wait_for("the disabling", || {
        (server.get(&format!("/v1/endpoints/{broken}"))["state"] == "disabled").then_some(())
    });
    let metrics = with_key(address, &key, "GET", "/metrics", "");
    assert!(
        metrics.head.contains("content-type: text/plain; version=0.0.4"),
        "{}",
        metrics.head
    );
    let text = metrics.text();
    for metric in names::ALL {
        let help = format!("# HELP {} ", metric.name);
        assert!(
            text.contains(&help) || text.contains(&format!("\n{}", metric.name)),
            "{} is missing in {text}",
            metric.name
        );
    }
    for line in [
        "posthaste_events_rejected_total{reason=\"invalid\"} 1",
        "posthaste_endpoints_disabled_total{reason=\"endpoint_error\"} 1",
        "posthaste_events_duplicate_total 1",
        "posthaste_deliveries_settled_total{state=\"delivered\"} 1",
        "posthaste_endpoints{state=\"active\"} 1",
        "posthaste_attempts_total{outcome=\"delivered\",reason=\"status\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is missing in {text}"
        );
    }
}

#[test]
fn a_smuggled_request_is_refused_and_its_connection_closed() {
    let (dir, server) = started();
    let (address, key) = (address(&server), first_key(&dir));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = r#"{"type":"a","data":1}"#;
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\
         transfer-encoding: chunked\r\n\r\n{body}GET /v1/keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n",
        body.len()
    );
    _ = stream.write_all(request.as_bytes());
    let mut reader = BufReader::new(stream);
    assert_eq!(read_answer(&mut reader).unwrap().status, 400);
    assert!(read_answer(&mut reader).is_err(), "nothing more is answered");
    assert_eq!(server.list("/v1/events").len(), 0);
}
