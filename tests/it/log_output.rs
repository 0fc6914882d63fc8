//! What happens to stderr costs log lines, and nothing else.

use std::{
    fs::File,
    io::{PipeReader, Write as _, pipe},
    os::fd::AsFd,
    process::{Command, Stdio},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde_json::json;

use crate::support::{
    server::{Server, wait_for},
    sink::{Sink, answer},
};

/// A pipe that takes nothing more, and its other end.
fn full_pipe() -> (Stdio, PipeReader) {
    let (reader, mut writer) = pipe().unwrap();
    let flags = fcntl_getfl(writer.as_fd()).unwrap();
    fcntl_setfl(writer.as_fd(), flags | OFlags::NONBLOCK).unwrap();
    for size in [1024, 1] {
        while writer.write_all(&vec![b'.'; size]).is_ok() {}
    }
    fcntl_setfl(writer.as_fd(), flags).unwrap();
    (writer.into(), reader)
}

fn closed_pipe() -> Stdio {
    pipe().unwrap().1.into()
}

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// Starts a server whose stderr this is, has it log something while it delivers, and stops it.
fn serves(stderr: Stdio, lost: bool) {
    let dir = tempfile::tempdir().unwrap();
    let gone = Sink::deciding(|_, _| answer(410, ""));
    let sink = Sink::accepting();
    let mut server = Server::spawn_logging_to(&dir.path().join("data"), stderr);
    server.wait_ready();
    server.endpoint(&json!({"url": gone.url(), "events": ["gone"]}));
    server.endpoint(&json!({"url": sink.url(), "events": ["there"]}));
    // An endpoint that is disabled is logged.
    server.event(&json!({"type": "gone", "data": 1}));
    wait_for("the endpoint to be disabled", || {
        let endpoints = server.list("/v1/endpoints");
        endpoints
            .iter()
            .any(|endpoint| endpoint["state"] == "disabled")
            .then_some(())
    });
    let event = server.event(&json!({"type": "there", "data": 1}));
    server.delivery_in(&event, "delivered");
    let counted = |server: &Server| {
        let metrics = server.request("GET", "/metrics", None, b"").text();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("posthaste_log_lines_lost_total "));
        line.unwrap().parse::<u64>().unwrap() > 0
    };
    if lost {
        wait_for("lost lines to be counted", || counted(&server).then_some(()));
    }
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_server_whose_log_nobody_reads_starts_delivers_and_stops() {
    let (stderr, _reader) = full_pipe();
    serves(stderr, false);
}

#[test]
fn a_server_whose_log_has_no_reader_any_more_starts_delivers_and_stops() {
    serves(closed_pipe(), true);
}

#[test]
fn a_server_whose_log_is_on_a_full_disk_starts_delivers_and_stops() {
    serves(full_disk(), true);
}

#[test]
fn a_command_that_cannot_say_what_went_wrong_still_ends_with_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let cases: [(&[&str], i32); 3] = [
        (&["status", "--socket", socket.to_str().unwrap()], 1),
        (&["status", "--no-such-flag"], 2),
        (&["serve", "--data", "/dev/null/data", "--no-listen"], 1),
    ];
    for stderr in [closed_pipe, full_disk] {
        for (arguments, code) in cases {
            let status = Command::new(env!("CARGO_BIN_EXE_posthaste"))
                .args(arguments)
                .stderr(stderr())
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(code), "{arguments:?}");
        }
    }
}

#[test]
fn a_command_whose_reader_has_gone_ends_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    server.event(&json!({"type": "a", "data": 1}));
    let socket = server.socket();
    let socket = socket.to_str().unwrap();
    for arguments in [
        &["--help"][..],
        &["config", "show"],
        &["event", "list", "--socket", socket],
        &["status", "--socket", socket],
        &["attempts", "--socket", socket],
        &["export", "--socket", socket],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(arguments)
            .stdout(closed_pipe())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{arguments:?}");
    }
}
