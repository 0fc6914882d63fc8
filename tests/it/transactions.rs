//! All that a request changes of the configuration is there or none of it: whatever the journal ends with after a crash, on
//! a full disk.
//!
//! Where a process can die between two writes to the journal, the journal ends with a part of what the request wrote. So
//! what each request wrote is cut off again, at the end of each of its records and within it, and a server is started on
//! what is left.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    corruption::folder::copy_folder,
    support::{
        disk::{Disk, Effect, Errno, Fault, Image, Op},
        server::{Answer, Server},
    },
};

struct Request {
    method: &'static str,
    path: String,
    body: Value,
}

impl Request {
    fn new(method: &'static str, path: impl Into<String>, body: Value) -> Self {
        let path = path.into();
        Self { method, path, body }
    }

    fn send(&self, server: &Server) -> Answer {
        let body = self.body.to_string();
        server.request(self.method, &self.path, Some("application/json"), body.as_bytes())
    }
}

#[test]
fn a_patch_of_configuration_and_state_is_whole() {
    is_whole(|server| {
        let id = server.endpoint(&json!({"url": "http://127.0.0.1:9/a"}));
        let body = json!({"url": "http://127.0.0.1:9/b", "enabled": false});
        Request::new("PATCH", format!("/v1/endpoints/{id}"), body)
    });
}

#[test]
fn an_enabling_that_has_the_endpoint_prove_itself_is_whole() {
    is_whole(|server| {
        let document = json!({"url": "http://127.0.0.1:9/a", "handshake": "ping", "enabled": false});
        let id = server.endpoint(&document);
        Request::new("PATCH", format!("/v1/endpoints/{id}"), json!({"enabled": true}))
    });
}

#[test]
fn the_rotation_that_gives_an_endpoint_its_first_secret_is_whole() {
    is_whole(|server| {
        let id = server.endpoint(&json!({"url": "http://127.0.0.1:9/a", "profile": "flowplayer"}));
        let path = format!("/v1/endpoints/{id}/secret/rotate");
        Request::new("POST", path, json!({}))
    });
}

#[test]
fn an_enabling_that_discards_is_whole() {
    is_whole(|server| {
        let id = server.endpoint(&json!({"url": "http://127.0.0.1:9/a", "enabled": false}));
        for n in 0..5 {
            server.event(&json!({"type": "a.b", "data": n}));
        }
        let path = format!("/v1/endpoints/{id}/enable?discard=true");
        Request::new("POST", path, json!({}))
    });
}

#[test]
fn an_applied_file_is_whole() {
    is_whole(|server| {
        for name in ["goes", "changes", "stays"] {
            server.endpoint(&json!({"name": name, "url": format!("http://127.0.0.1:9/{name}")}));
        }
        let endpoints = json!([
            {"name": "stays", "url": "http://127.0.0.1:9/stays"},
            {"name": "changes", "url": "http://127.0.0.1:9/changed", "enabled": false},
            {"name": "comes", "url": "http://127.0.0.1:9/comes"},
            {"name": "comes too", "url": "http://127.0.0.1:9/comes", "tenant": "acme"},
        ]);
        let body = json!({"endpoints": endpoints, "prune": true});
        Request::new("PUT", "/v1/endpoints", body)
    });
}

#[test]
fn an_import_of_event_types_is_whole() {
    is_whole(|_| {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let content = json!({"application/json": {"schema": schema}});
        let webhook = json!({"post": {"requestBody": {"content": content}}});
        let webhooks = json!({"a.one": webhook, "a.two": webhook, "a.three": webhook});
        let info = json!({"title": "t", "version": "1"});
        let openapi = json!({"openapi": "3.1.0", "info": info, "webhooks": webhooks});
        Request::new("POST", "/v1/event-types/import", json!({"openapi": openapi}))
    });
}

/// Makes what a request is about, and says how to ask.
type Prepare = fn(&Server) -> Request;

fn is_whole(prepare: Prepare) {
    wherever_the_journal_ends(prepare);
    on_a_full_disk(prepare);
}

/// All that is configured, and what becomes of deliveries.
fn state(server: &Server) -> Value {
    let endpoints = server.list("/v1/endpoints?order=asc");
    let secrets: Vec<Value> = endpoints
        .iter()
        .map(|endpoint| {
            server.get(&format!(
                "/v1/endpoints/{}/secret",
                endpoint["id"].as_str().unwrap()
            ))
        })
        .collect();
    json!({
        // An attempt at a handshake may be made at any time.
        "endpoints": endpoints.into_iter().map(without_tries).collect::<Vec<_>>(),
        "secrets": secrets,
        "event_types": server.list("/v1/event-types?order=asc"),
        "deliveries": server.list("/v1/deliveries?order=asc"),
    })
}

fn without_tries(mut endpoint: Value) -> Value {
    if let Some(members) = endpoint.as_object_mut() {
        members.remove("verification");
        members.remove("updated_at");
    }
    endpoint
}

/// The journal's only segment.
fn segment(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "seg"))
        .collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.pop().unwrap()
}

fn len(data: &Path) -> u64 {
    fs::metadata(segment(data)).unwrap().len()
}

/// Where records end, from `from` on: each begins with 24 bytes, at the 16th of which stands the length of the rest.
fn ends(segment: &[u8], from: usize) -> Vec<usize> {
    let mut ends = vec![from];
    let mut at = from;
    while at < segment.len() {
        let body = u32::from_le_bytes(segment[at + 16..at + 20].try_into().unwrap()) as usize;
        at += 24 + body;
        ends.push(at);
    }
    assert_eq!(ends.last(), Some(&segment.len()));
    ends
}

/// What a server finds whose journal ends there.
fn found_at(data: &Path, end: usize) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("data");
    copy_folder(data, &copy);
    // Nothing of what is cut off may come from there.
    fs::remove_dir_all(copy.join("store")).unwrap();
    let file = OpenOptions::new().write(true).open(segment(&copy)).unwrap();
    file.set_len(end as u64).unwrap();
    state(&Server::start(&copy))
}

fn wherever_the_journal_ends(prepare: Prepare) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    let request = prepare(&server);
    let (before, from) = (state(&server), len(&data));
    let answer = request.send(&server);
    assert!(answer.status < 300, "{}", answer.text());
    server.kill();
    let ends = ends(&fs::read(segment(&data)).unwrap(), usize::try_from(from).unwrap());
    let after = found_at(&data, ends[1]);
    assert_ne!(after, before, "nothing has changed");
    for pair in ends.windows(2) {
        let middle = usize::midpoint(pair[0], pair[1]);
        for end in [pair[0], pair[0] + 1, middle, pair[1] - 1, pair[1]] {
            let expected = if end < ends[1] { &before } else { &after };
            assert_eq!(found_at(&data, end), *expected, "cut at {end} of {ends:?}");
        }
    }
}

/// A server on a disk that can be full.
struct Full {
    server: Server,
    disk: Disk,
    _dir: TempDir,
}

impl Full {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::mount(&dir.path().join("disk"), Image::default())?;
        let socket = dir.path().join("server.sock");
        let arguments = ["--no-listen", "--socket", socket.to_str().unwrap()];
        let environment = [("POSTHASTE_STORAGE__MIN_FREE_BYTES", "0B")];
        let server = Server::start_with(&disk.path().join("data"), &arguments, &environment);
        Some(Self {
            server,
            disk,
            _dir: dir,
        })
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        // A server that waits for its disk cannot be killed.
        self.disk.die();
        _ = self.server.ended().is_none().then(|| self.server.kill());
    }
}

fn on_a_full_disk(prepare: Prepare) {
    // The disk is full at the first write to the journal, or at the second.
    for writes in 0..2 {
        let Some(mut full) = Full::start() else {
            return;
        };
        let request = prepare(&full.server);
        let before = state(&full.server);
        let fault = Fault::new(&[Op::Write], "data/journal/*.seg", Effect::Fail(Errno::ENOSPC));
        full.disk.arm(fault.after(writes));
        let answer = request.send(&full.server);
        let found = state(&full.server);
        full.disk.disarm();
        if answer.status == 507 {
            assert_eq!(found, before, "after {writes} writes");
        } else {
            assert!(answer.status < 300, "{}", answer.text());
            assert!(writes > 0, "it has written nothing");
            assert_ne!(found, before);
        }
        full.server.kill();
        full.server.restart();
        assert_eq!(state(&full.server), found, "after a restart");
    }
}
