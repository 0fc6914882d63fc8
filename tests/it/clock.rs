//! The real server under a wall clock that is set while it runs: a library before the C library's adds an offset to it.

use std::{fs, os::unix::fs::FileExt, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    api_tcp::{address, new_key, with_key},
    support::{
        server::{Server, in_millis, millis, wait_for},
        sink::{Sink, answer},
    },
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEARS: i64 = 3650 * DAY;

/// Adds the first eight bytes of a file, in seconds, to what the wall clock shows.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
static volatile long *offset;
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    if (!offset) {
        int file = open(getenv("POSTHASTE_TEST_CLOCK"), O_RDONLY);
        void *map = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
        if (map == MAP_FAILED) abort();
        close(file);
        offset = map;
    }
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) time->tv_sec += *offset;
    return result;
}
"#;

/// A wall clock of a server's own.
struct Wall {
    library: String,
    offset: String,
}

impl Wall {
    fn new(dir: &Path) -> Self {
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let (source, library, offset) = (path("clock.c"), path("clock.so"), path("offset"));
        fs::write(&source, SHIM).unwrap();
        fs::write(&offset, 0_i64.to_ne_bytes()).unwrap();
        // Rust links with it.
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o", &library, &source, "-ldl"])
            .status()
            .unwrap();
        assert!(built.success());
        Self { library, offset }
    }

    fn start(&self, dir: &Path) -> Server {
        let environment = [
            ("LD_PRELOAD", self.library.as_str()),
            ("POSTHASTE_TEST_CLOCK", &self.offset),
        ];
        Server::start_with(&dir.join("data"), &["--listen", "127.0.0.1:0"], &environment)
    }

    /// The wall clock is so many milliseconds from right.
    fn set(&self, off: i64) {
        let file = fs::OpenOptions::new().write(true).open(&self.offset).unwrap();
        file.write_all_at(&(off / 1000).to_ne_bytes(), 0).unwrap();
    }
}

fn believed(server: &Server, state: &str) -> Value {
    wait_for(&format!("a clock that is {state}"), || {
        Some(server.get("/v1/status")).filter(|status| status["clock"]["state"] == state)
    })
}

/// How far a time in a document is from now, in milliseconds.
fn from_now(time: &Value) -> i64 {
    millis(time) - jiff::Timestamp::now().as_millisecond()
}

/// What is accepted now goes out now, under a time that is right to a few minutes.
fn goes_out(server: &Server) {
    let id = server.event(&json!({"type": "d", "data": 1}));
    server.delivery_in(&id, "delivered");
    let accepted = from_now(&server.get(&format!("/v1/events/{id}"))["accepted_at"]);
    assert!(accepted.abs() < 5 * MINUTE, "{accepted}");
}

#[test]
fn a_clock_that_is_years_ahead_for_a_while_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let wall = Wall::new(dir.path());
    let mut server = wall.start(dir.path());
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url(), "events": ["d"]}));
    server.endpoint(&json!({"url": sink.url(), "events": ["h"], "enabled": false}));
    let (_, key) = new_key(
        &server,
        &json!({"name": "k", "role": "admin", "expires_in": "1h"}),
    );
    let once = |server: &Server| {
        let headers = "content-type: application/json\r\nidempotency-key: once\r\n";
        server.ask("POST", "/v1/events", headers, br#"{"type":"d","data":0}"#)
    };
    assert_eq!(once(&server).status, 202);
    let held = server.event(&json!({"type": "h", "data": 1}));
    let later = server.event(&json!({"type": "d", "data": 2, "deliver_at": in_millis(DAY)}));
    let unharmed = |server: &Server| {
        goes_out(server);
        assert_eq!(once(server).status, 200, "the key is remembered");
        assert_eq!(
            with_key(address(server), &key, "GET", "/v1/status", "").status,
            200
        );
        let brief =
            json!({"type": "d", "data": 3, "deliver_at": in_millis(HOUR), "expires_at": in_millis(2 * HOUR)});
        let brief = server.delivery_in(&server.event(&brief), "scheduled");
        assert!((from_now(&brief["due"]) - HOUR).abs() < 5 * MINUTE, "{brief}");
        server.delivery_in(&held, "held");
        server.delivery_in(&later, "scheduled");
    };
    wall.set(YEARS);
    let status = believed(&server, "suspicious");
    let ahead = status["clock"]["ahead_ms"].as_i64().unwrap();
    assert!((ahead - YEARS).abs() < 5 * MINUTE, "{status}");
    assert!(
        status["warnings"].to_string().contains("the wall clock shows"),
        "{status}"
    );
    assert!(from_now(&status["now"]).abs() < 5 * MINUTE);
    wait_for("the gauge", || {
        let metrics = server.request("GET", "/metrics", None, b"").text();
        metrics.contains("\nposthaste_clock_suspicious 1\n").then_some(())
    });
    assert!(server.log().contains("the wall clock has jumped"));
    unharmed(&server);
    // In the middle of it the process is started again.
    for ending in ["stop", "kill"] {
        if ending == "stop" {
            server.stop();
        } else {
            server.kill();
        }
        server.restart();
        believed(&server, "suspicious");
        unharmed(&server);
    }
    wall.set(0);
    believed(&server, "followed");
    unharmed(&server);
    assert!(
        server
            .log()
            .contains("the wall clock shows the expected time again")
    );
    server.stop();
    server.assert_whole();
}

/// Its clock is set while it runs: what it has begun goes on.
#[test]
fn a_device_that_boots_in_1970_works_before_and_after_its_clock_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let wall = Wall::new(dir.path());
    wall.set(-jiff::Timestamp::now().as_millisecond());
    let server = wall.start(dir.path());
    let sink = Sink::deciding(|_, before| answer(if before % 2 == 0 { 503 } else { 200 }, ""));
    let retry = json!({"retries": 3, "delay": "1s"});
    server.endpoint(&json!({"url": sink.url(), "events": ["d"], "retry": retry}));
    server.endpoint(&json!({"url": sink.url(), "events": ["h"], "enabled": false}));
    let held = server.event(&json!({"type": "h", "data": 1}));
    let retried = |server: &Server| {
        let id = server.event(&json!({"type": "d", "data": 1}));
        server.delivery_in(&id, "delivered");
        assert_eq!(server.attempts(&id).len(), 2);
        id
    };
    let early = retried(&server);
    assert!(millis(&server.get(&format!("/v1/events/{early}"))["accepted_at"]) < DAY);
    assert_eq!(server.get("/v1/status")["clock"]["state"], "followed");
    wall.set(0);
    believed(&server, "suspicious");
    retried(&server);
    server.delivery_in(&held, "held");
}

/// Engine time stood at the height of a glitch for good, and the newest record with it; nothing else was written down.
#[test]
fn a_folder_of_an_older_version_whose_newest_time_is_years_ahead_goes_by_the_wall_clock() {
    let dir = tempfile::tempdir().unwrap();
    let wall = Wall::new(dir.path());
    wall.set(YEARS);
    let mut server = wall.start(dir.path());
    let sink = Sink::deciding(|got, _| {
        answer(
            if got.headers["webhook-id"] == "fails" {
                503
            } else {
                200
            },
            "",
        )
    });
    let retry = json!({"retries": 3, "delay": "1h"});
    server.endpoint(&json!({"url": sink.url(), "events": ["d"], "retry": retry}));
    server.endpoint(&json!({"url": sink.url(), "events": ["h"], "enabled": false}));
    let held = server.event(&json!({"type": "h", "data": 1}));
    server.event(&json!({"type": "d", "data": 1, "id": "fails"}));
    let attempted = || (server.attempts("fails").len() == 1).then_some(());
    wait_for("an attempt", attempted);
    server.stop();
    fs::remove_file(dir.path().join("data/clock")).unwrap();
    wall.set(0);
    server.restart();
    assert_eq!(server.get("/v1/status")["clock"]["state"], "followed");
    goes_out(&server);
    let due = from_now(&server.delivery_in("fails", "scheduled")["due"]);
    assert!(
        (1..2 * HOUR).contains(&due),
        "what was left of its delay is left: {due}"
    );
    let brief =
        json!({"type": "d", "data": 3, "deliver_at": in_millis(HOUR), "expires_at": in_millis(2 * HOUR)});
    let brief = server.delivery_in(&server.event(&brief), "scheduled");
    assert!((from_now(&brief["due"]) - HOUR).abs() < 5 * MINUTE, "{brief}");
    server.delivery_in(&held, "held");
    server.stop();
    server.assert_whole();
}
