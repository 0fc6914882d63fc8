//! A disk that fills up: nothing accepted is harmed, and room is enough to go on.
//!
//! Needs a file system of its own: a small tmpfs, which only root may mount. Skipped, loudly, where that is not
//! allowed.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::supervision::told;
use crate::support::{
    gate::Gate,
    server::{Answer, Server, wait_for, wait_for_all},
    sink::{Sink, answer},
    skip::{Need, skip},
};

const MIB: u64 = 1024 * 1024;
const DISK: u64 = 48 * MIB;
const MIN_FREE: u64 = 8 * MIB;

/// A mounted tmpfs; unmounted when dropped, also by a panic.
struct SmallDisk {
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK}"), "posthaste-test"])
            .arg(&path)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { path, dir }),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr).into_owned();
                skip(Need::Disk, &format!("a tmpfs cannot be mounted here: {reason}"));
                None
            }
            Err(error) => {
                skip(Need::Disk, &format!("mount cannot be run: {error}"));
                None
            }
        }
    }

    /// A data folder on the disk, by a path that is not: the server's log, beside it, has room.
    fn data(&self) -> PathBuf {
        let (path, folder) = (self.dir.path().join("data"), self.path.join("data"));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(folder, &path).unwrap();
        path
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.path).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Fills the disk until at most `left` bytes are free.
    fn fill(&self, left: u64) {
        let mut filler = File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        while self.free() > left {
            let piece = (self.free() - left).min(MIB) as usize;
            // The server writes too, and may have taken the last piece first.
            if filler.write_all(&vec![1; piece]).is_err() {
                return;
            }
        }
    }

    /// Makes the filler larger or smaller, so that about `left` bytes are free.
    fn leave(&self, left: u64) {
        let filler = File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        let free = self.free();
        let size = filler.metadata().unwrap().len();
        if free < left {
            filler.set_len(size.saturating_sub(left - free)).unwrap();
        }
        self.fill(left);
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server of a failed test may still be ending.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} stays mounted", self.path.display());
        }
    }
}

fn start(data: &Path, min_free: u64) -> Server {
    let min_free = format!("{min_free}B");
    let environment = [
        ("POSTHASTE_STORAGE__MIN_FREE_BYTES", min_free.as_str()),
        ("POSTHASTE_STORAGE__SEGMENT_BYTES", "1MiB"),
    ];
    Server::start_with(data, &["--no-listen"], &environment)
}

fn event(number: u32) -> Value {
    json!({"id": format!("e{number}"), "type": "a", "data": {"filler": "x".repeat(500)}})
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 507, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.json()["type"], "/problems/disk-full");
    assert!(answer.head.contains("\r\nretry-after: "), "{}", answer.head);
}

fn delivered(server: &Server) -> u64 {
    server.get("/v1/status")["deliveries"]["delivered"]
        .as_u64()
        .unwrap()
}

/// Sends events, numbered from `next`, until one is refused; answers its number. What is free is asked ten times a
/// second, so that some slip in before.
fn wait_refused(server: &Server, mut next: u32) -> u32 {
    wait_for("a refusal", || {
        let answer = server.post("/v1/events", &event(next));
        if answer.status == 202 {
            next += 1;
            return None;
        }
        assert_refused(&answer);
        Some(next)
    })
}

/// Sends one event until it is accepted.
fn accept_again(server: &Server, number: u32) {
    wait_for("an event to be accepted", || {
        let answer = server.post("/v1/events", &event(number));
        // 503 while a store that failed is rebuilt.
        assert!(matches!(answer.status, 202 | 503 | 507), "{answer:?}");
        (answer.status == 202).then_some(())
    });
}

#[test]
fn below_the_reserve_events_are_refused_and_deliveries_go_on() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut server = start(&disk.data(), MIN_FREE);
    let gate = Gate::default();
    let door = gate.clone();
    let sink = Sink::deciding(move |_, _| {
        door.pass();
        answer(200, "")
    });
    let news = Sink::accepting();
    server.endpoint(&json!({"url": sink.url(), "timeout": "5m"}));
    server.endpoint(&json!({"url": news.url(), "events": ["server.*"]}));
    (0..50).for_each(|number| _ = server.event(&event(number)));
    disk.fill(MIN_FREE - MIB);
    let next = wait_refused(&server, 50);
    assert_refused(&server.post("/v1/events", &event(next)));
    let unready = wait_for("a probe that says so", || {
        Some(server.request("GET", "/readyz", None, b"")).filter(|answer| answer.status == 503)
    });
    assert!(
        unready.text().contains("storage.min_free_bytes"),
        "{}",
        unready.text()
    );
    let degraded = wait_for("news of the disk", || told(&news, "server.degraded").pop());
    assert_eq!(degraded["reasons"][0]["reason"], "disk_full");
    let known = server.post("/v1/events", &event(7));
    assert_eq!((known.status, &known.json()["duplicate"]), (200, &json!(true)));
    // The news alone.
    assert!(delivered(&server) <= 1);
    gate.open();
    wait_for("deliveries on a full disk", || {
        (delivered(&server) >= 50).then_some(())
    });
    disk.make_room();
    accept_again(&server, next);
    let recovered = wait_for("news of its end", || told(&news, "server.recovered").pop());
    assert_eq!(recovered["reasons"], json!(["disk_full"]));
    server.wait_ready();
    wait_for("the last delivery", || {
        sink.received()
            .iter()
            .any(|got| got.event_id() == format!("e{next}"))
            .then_some(())
    });
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.assert_whole();
}

#[test]
fn a_disk_without_a_byte_left_loses_nothing_and_recovers_by_itself() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut server = start(&disk.data(), MIN_FREE);
    let gate = Gate::default();
    let door = gate.clone();
    let sink = Sink::deciding(move |_, _| {
        door.pass();
        answer(200, "")
    });
    server.endpoint(&json!({"url": sink.url(), "timeout": "5m"}));
    (0..200).for_each(|number| _ = server.event(&event(number)));
    disk.fill(0);
    let next = wait_refused(&server, 200);
    // Verdicts come in, for which there is no room.
    gate.open();
    // Unless the store wanted room first: it is opened again when there is some, and until then nothing is attempted.
    wait_for("attempts", || {
        let waits = server.get("/v1/status")["state"] != "ready";
        (waits || sink.count() >= 200).then_some(())
    });
    // How many of their verdicts still found room, in what was reserved before, is the file system's affair.
    disk.make_room();
    accept_again(&server, next);
    wait_for("every delivery", || {
        (delivered(&server) > u64::from(next)).then_some(())
    });
    for number in 0..=next {
        let deliveries = server.list(&format!("/v1/events/e{number}/deliveries"));
        assert_eq!(deliveries[0]["state"], "delivered", "{deliveries:?}");
    }
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.assert_whole();
    server.restart();
    assert_eq!(
        delivered(&server),
        server.get("/v1/status")["events"].as_u64().unwrap()
    );
}

/// How much is left on the disk in each round, in bytes: less than a segment grows by, so that each ends in a refusal.
const LEFT: [u64; 10] = [0, 96, 4, 180, 32, 1, 64, 128, 16, 0];
/// Events that surely fill what is left, and what the newest segment has reserved.
const MORE_THAN_FITS: u32 = 10_000;

#[test]
fn a_disk_that_is_full_now_and_then_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    // Without a reserve, so that journal and store meet the last byte.
    let mut server = start(&disk.data(), 0);
    let sink = Sink::accepting();
    server.endpoint(&json!({"url": sink.url(), "concurrency": 64}));
    let (mut next, mut accepted) = (0, Vec::new());
    for left in LEFT {
        if server.get("/v1/status")["state"] != "ready" {
            // The store could not write. With room again it is rebuilt, and fails again.
            disk.make_room();
            server.wait_ready();
        }
        disk.leave(left * 1024);
        let refused = (next..next + MORE_THAN_FITS).find(|number| {
            let answer = server.post("/v1/events", &event(*number));
            match answer.status {
                202 => accepted.push(*number),
                503 => {}
                _ => assert_refused(&answer),
            }
            answer.status != 202
        });
        next = 1 + refused.unwrap_or_else(|| panic!("with {left} KiB left the disk was never full"));
    }
    disk.make_room();
    accept_again(&server, next);
    accepted.push(next);
    let missing = wait_for_all(|| {
        let got: HashSet<String> = sink
            .received()
            .iter()
            .map(|got| got.event_id().to_owned())
            .collect();
        let lacking = accepted
            .iter()
            .filter(|number| !got.contains(&format!("e{number}")));
        lacking.copied().collect()
    });
    assert!(missing.is_empty(), "lost {missing:?}\n{}", server.log());
    let rebuilds = server.get("/v1/status")["store"]["rebuilds"].clone();
    println!("{} accepted, {rebuilds} rebuilds", accepted.len());
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    server.assert_whole();
}
