//! What others can make large is counted in bytes: bodies that are sent, requests and answers of the API, endpoints. The
//! server stays within its memory whatever is asked of it, and goes on serving.

use std::{
    fs,
    future::pending,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::{
    receiver::Receiver,
    server::{Server, wait_for},
    sink::Sink,
    skip::{Need, skip},
};

const MIB: u64 = 1024 * 1024;
/// What a debug build has with its caches, and some to spare, without what is attacked.
const PLAIN: u64 = 110 * MIB;

fn started(folder: &tempfile::TempDir, memory: &str) -> Server {
    let environment = [("POSTHASTE_LIMITS__MEMORY", memory)];
    Server::start_with(&folder.path().join("data"), &["--no-listen"], &environment)
}

/// Resident memory of the server at its peak, in bytes.
fn peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Takes connections and reads nothing.
async fn deaf() -> Receiver {
    Receiver::start(|_, stream| async move {
        pending::<()>().await;
        drop(stream);
    })
    .await
}

/// An event that is `bytes` long as a form, and far shorter as JSON.
fn blown_up(bytes: usize) -> Value {
    let name = "n".repeat(128);
    json!({"type": "form", "data": {name: vec![1; bytes / 138]}})
}

/// An endpoint of which some 180 KB are shown.
fn large_endpoint(number: usize, tenant: &str) -> Value {
    let long = |place: usize, letters: usize| format!("{}{place}", "x".repeat(letters));
    let metadata: serde_json::Map<_, _> = (0..64).map(|n| (long(n, 4), long(n, 1000).into())).collect();
    json!({
        "url": "https://example.com/", "name": format!("large-{number}"), "tenant": tenant, "metadata": metadata,
        "events": (0..256).map(|n| long(n, 200)).collect::<Vec<_>>(),
        "channels": (0..256).map(|n| long(n, 200)).collect::<Vec<_>>(),
    })
}

/// Sends the beginning of something, and keeps the connection open.
fn begun(server: &Server, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    // The server may have answered and closed before all of it is written.
    _ = stream.write_all(bytes);
    stream
}

/// The status of an answer that nothing more is read of.
fn status(stream: &mut UnixStream) -> u16 {
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    String::from_utf8_lossy(&line[9..]).parse().unwrap()
}

/// Asks for a list, and reads nothing.
fn unread(server: &Server) -> UnixStream {
    begun(server, b"GET /v1/endpoints?limit=500 HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// An event of which all but the last byte is there.
fn unfinished(server: &Server, letters: usize) -> UnixStream {
    let body = json!({"type": "never", "data": "x".repeat(letters)}).to_string();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    begun(
        server,
        &[head.as_bytes(), &body.as_bytes()[..body.len() - 1]].concat(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_its_encoding_blows_up_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, "16MiB");
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url(), "events": ["form"], "envelope": "bare", "encoding": "form"}));
    let event = server.event(&blown_up(15 * 1024 * 1024));
    let attempt = wait_for("the attempt", || server.attempts(&event).pop());
    let seen = (&attempt["outcome"], &attempt["reason"]);
    assert_eq!(seen, (&json!("event_error"), &json!("encoding")), "{attempt}");
    assert_eq!(sink.count(), 0);
    // Sixteen times the largest payload is still sent.
    let event = server.event(&json!({"type": "form", "data": {"n".repeat(120): vec![1; 25_000]}}));
    server.delivery_in(&event, "delivered");
    let largest = sink.received().iter().map(|received| received.body.len()).max();
    assert!(largest > Some(3_000_000), "{largest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_to_receivers_that_read_nothing_stay_within_the_memory_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, "32MiB");
    let (deaf, sink) = (deaf().await, Sink::accepting());
    for number in 0..12 {
        server.endpoint(&json!({
            "url": deaf.url("/"), "name": format!("deaf-{number}"), "events": ["form"], "envelope": "bare",
            "encoding": "form", "timeout": "300s", "tenant": "evil",
        }));
    }
    server.endpoint(&json!({"url": sink.url(), "events": ["small"]}));
    for _ in 0..8 {
        let mut event = blown_up(3_500_000);
        event["tenant"] = "evil".into();
        server.event(&event);
    }
    wait_for("the first bodies to be out", || {
        (deaf.accepted() >= 4).then_some(())
    });
    for number in 0..20 {
        let event = server.event(&json!({"type": "small", "data": number}));
        server.delivery_in(&event, "delivered");
    }
    // The deliveries that wait for memory keep no request from being taken.
    server.event(&json!({"type": "none", "tenant": "evil", "data": "x".repeat(250_000)}));
    assert!(
        deaf.accepted() <= 9,
        "{} bodies of 3.5 MB in 32 MiB",
        deaf.accepted()
    );
    assert!(peak(&server) < PLAIN + 48 * MIB, "{} MiB", peak(&server) / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_rows_ends_early_and_the_next_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, "64MiB");
    for number in 0..12 {
        server.endpoint(&large_endpoint(number, "t"));
    }
    for order in ["asc", "desc"] {
        let answer = server.request(
            "GET",
            &format!("/v1/endpoints?limit=500&order={order}"),
            None,
            b"",
        );
        assert!(answer.body.len() < 1_500_000, "{}", answer.body.len());
        assert!(answer.json()["next"].is_string());
        let names = server.list(&format!("/v1/endpoints?order={order}"));
        let mut numbers: Vec<String> = names.iter().map(|row| row["name"].to_string()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), 12, "{numbers:?}");
    }
    // Ordinary rows fill their page.
    for number in 0..60 {
        server.event(&json!({"type": "a.b", "data": number}));
    }
    let page = server.get("/v1/events?limit=50");
    assert_eq!(page["data"].as_array().unwrap().len(), 50);
    // So do events with large attributes, which end early too.
    let attributes: serde_json::Map<_, _> = (0..60)
        .map(|n| (format!("a{n}"), "x".repeat(1000).into()))
        .collect();
    for number in 0..40 {
        server.event(&json!({"type": "a.c", "data": number, "attributes": attributes}));
    }
    let answer = server.request("GET", "/v1/events?limit=500&type=a.c", None, b"");
    assert!(answer.body.len() < 1_500_000 && answer.json()["next"].is_string());
    assert_eq!(server.list("/v1/events?type=a.c").len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_stay_within_the_memory_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, "64MiB");
    for number in 0..24 {
        server.endpoint(&large_endpoint(number, "t"));
    }
    let mut lists: Vec<UnixStream> = (0..60).map(|_| unread(&server)).collect();
    let statuses: Vec<u16> = lists.iter_mut().map(status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    assert!(peak(&server) < PLAIN + 80 * MIB, "{} MiB", peak(&server) / MIB);
    // What is small is answered all the same.
    assert_eq!(server.request("GET", "/healthz", None, b"").status, 200);
    assert_eq!(
        server.post("/v1/events", &json!({"type": "a", "data": 1})).status,
        202
    );
    drop(lists);
    wait_for("lists to be answered again", || {
        let answer = server.request("GET", "/v1/endpoints", None, b"");
        (answer.status == 200).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_end_stay_within_the_memory_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = started(&folder, "16MiB");
    let mut requests: Vec<UnixStream> = (0..100).map(|_| unfinished(&server, 250_000)).collect();
    let refused = wait_for("a request to be refused", || {
        requests.iter_mut().find_map(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut line = [0; 12];
            stream.read_exact(&mut line).ok()?;
            Some(String::from_utf8_lossy(&line[9..]).into_owned())
        })
    });
    assert_eq!(refused, "429");
    assert_eq!(
        server.post("/v1/events", &json!({"type": "a", "data": 1})).status,
        202
    );
    drop(requests);
    wait_for("large requests to be taken again", || {
        let event = json!({"type": "a", "data": "x".repeat(200_000)});
        (server.post("/v1/events", &event).status == 202).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_are_kept_in_memory_are_counted_and_one_tenant_leaves_room_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = started(&folder, "16MiB");
    let mut ids = Vec::new();
    let refused = loop {
        let answer = server.post("/v1/endpoints", &large_endpoint(ids.len(), "evil"));
        match answer.status {
            201 => ids.push(answer.json()["id"].as_str().unwrap().to_owned()),
            _ => break answer,
        }
        assert!(ids.len() < 100, "18 MB of endpoints in 8 MiB");
    };
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(refused.json()["type"], "/problems/limit-reached");
    server.endpoint(&json!({"url": "https://example.com/", "name": "good", "tenant": "good"}));
    // What is there stays usable: after a restart, and to be made smaller.
    server.restart();
    let path = format!("/v1/endpoints/{}", ids[0]);
    let patch = br#"{"metadata": null, "events": ["a"], "channels": []}"#;
    let patched = server.request("PATCH", &path, Some("application/merge-patch+json"), patch);
    assert_eq!(patched.status, 200, "{}", patched.text());
    server.endpoint(&large_endpoint(1000, "evil"));
}

/// A control group of the test's own with so much memory; `None` where the machine lets us make none.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = own
            .lines()
            .find_map(|line| Some(line.split_once(":memory:")?.1))?;
        let parent = Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/'));
        let group = Self(parent.join(format!("posthaste-test-{}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join("memory.limit_in_bytes"), bytes.to_string()).ok()?;
        Some(group)
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty once the server has ended.
        _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_128_mib_survives_all_of_it_at_once() {
    let Some(group) = Group::new(128 * MIB) else {
        skip(Need::Cgroup, "no control group for memory can be made here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut server = started(&folder, "16MiB");
    group.take(server.pid());
    let (deaf, sink) = (deaf().await, Sink::accepting());
    for number in 0..12 {
        server.endpoint(&json!({
            "url": deaf.url("/"), "name": format!("deaf-{number}"), "events": ["form"], "envelope": "bare",
            "encoding": "form", "timeout": "300s", "tenant": "evil",
        }));
    }
    server.endpoint(&json!({"url": sink.url(), "events": ["small"]}));
    for number in 0..30 {
        server.post("/v1/endpoints", &large_endpoint(number, "evil"));
    }
    for _ in 0..4 {
        for bytes in [3_000_000, 15_000_000] {
            let mut event = blown_up(bytes);
            event["tenant"] = "evil".into();
            server.event(&event);
        }
    }
    let lists: Vec<UnixStream> = (0..60).map(|_| unread(&server)).collect();
    let requests: Vec<UnixStream> = (0..60).map(|_| unfinished(&server, 250_000)).collect();
    for number in 0..20 {
        let event = wait_for("an event to be accepted", || {
            let answer = server.post("/v1/events", &json!({"type": "small", "data": number}));
            (answer.status == 202).then(|| answer.json()["id"].as_str().unwrap().to_owned())
        });
        server.delivery_in(&event, "delivered");
    }
    assert!(server.ended().is_none(), "{}", server.log());
    drop((lists, requests));
    server.kill();
}
