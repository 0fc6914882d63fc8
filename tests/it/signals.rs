//! Signals that a server gets beside those that stop it.

use std::{fs, path::Path};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    authority::{Authority, http1},
    server::{Server, wait_for},
    sink::Sink,
};

/// A server with a configuration file of this content.
fn configured(dir: &Path, text: &str) -> Server {
    let file = dir.join("posthaste.toml");
    fs::write(&file, text).unwrap();
    let arguments = ["--no-listen", "--config", file.to_str().unwrap()];
    Server::start_with(&dir.join("data"), &arguments, &[])
}

fn wait_for_log(server: &Server, text: &str) {
    wait_for(&format!("{text:?} in the log"), || {
        server.log().contains(text).then_some(())
    });
}

/// Whether something that is logged at level debug is there now.
fn logs_requests(server: &Server) -> bool {
    let before = server.log().len();
    server.get("/v1/status");
    server.event(&json!({"type": "a", "data": 1}));
    server.log()[before..].contains("a request was answered")
}

#[test]
fn a_hangup_reloads_the_log_level_and_the_endpoints_file_and_names_what_needs_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (config, endpoints) = (
        dir.path().join("posthaste.toml"),
        dir.path().join("endpoints.toml"),
    );
    let sink = Sink::accepting();
    let entry = |name: &str| format!("[[endpoints]]\nname = \"{name}\"\nurl = \"{}\"\n", sink.url());
    fs::write(&endpoints, entry("one")).unwrap();
    let delivery = format!("[delivery]\nendpoints_file = {:?}\n", endpoints.to_str().unwrap());
    let server = configured(dir.path(), &delivery);
    let names = || {
        let endpoints = server.list("/v1/endpoints?order=asc");
        let names = endpoints
            .iter()
            .map(|endpoint| endpoint["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    wait_for("the first endpoint", || (names() == ["one"]).then_some(()));
    assert!(!logs_requests(&server));
    let changed = format!("{delivery}timeout = \"7s\"\n[log]\nlevel = \"debug\"\n");
    fs::write(&config, changed).unwrap();
    fs::write(&endpoints, entry("one") + &entry("two")).unwrap();
    server.signal(Signal::HUP);
    wait_for("both endpoints", || (names() == ["one", "two"]).then_some(()));
    wait_for_log(&server, "log.level, delivery.ca_file, delivery.endpoints_file");
    wait_for_log(&server, "delivery.timeout");
    wait_for("requests in the log", || logs_requests(&server).then_some(()));
}

#[test]
fn a_hangup_with_a_configuration_that_does_not_hold_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = configured(dir.path(), "[log]\nlevel = \"debug\"\n");
    fs::write(dir.path().join("posthaste.toml"), "[log]\nlevel = \"inof\"\n").unwrap();
    server.signal(Signal::HUP);
    wait_for_log(&server, "the old one stays in force");
    assert_eq!(server.ended(), None);
    wait_for("requests in the log", || logs_requests(&server).then_some(()));
    fs::write(
        dir.path().join("posthaste.toml"),
        "[delivery]\nendpoints_file = \"/none.toml\"\n",
    )
    .unwrap();
    server.signal(Signal::HUP);
    wait_for_log(&server, "delivery.endpoints_file was not reloaded");
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
}

#[test]
fn other_signals_are_ignored_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&dir.path().join("data"));
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        server.signal(signal);
        wait_for_log(&server, name);
    }
    let event = server.event(&json!({"type": "a", "data": 1}));
    assert_eq!(server.get(&format!("/v1/events/{event}"))["id"], event);
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_ca_file_are_believed_from_the_next_hangup_on() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::named("the old one"), Authority::named("the new one"));
    let receiver = http1(new.acceptor("127.0.0.1", &[], |_| {})).await;
    let file = dir.path().join("ca.pem");
    fs::write(&file, old.pem()).unwrap();
    let url = format!("https://{}/", receiver.address);
    let server = configured(
        dir.path(),
        &format!("[delivery]\nca_file = {:?}\n", file.to_str().unwrap()),
    );
    tokio::task::spawn_blocking(move || {
        server.endpoint(&json!({"url": url, "retry": {"retries": 0, "delay": "1h"}, "disable_on": "never"}));
        let event = server.event(&json!({"type": "a", "data": 1}));
        server.delivery_in(&event, "failed");
        fs::write(&file, new.pem()).unwrap();
        server.signal(Signal::HUP);
        wait_for_log(&server, "the configuration was read again");
        let event = server.event(&json!({"type": "a", "data": 2}));
        server.delivery_in(&event, "delivered");
    })
    .await
    .unwrap();
}
