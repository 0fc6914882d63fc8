//! A server on a disk that fails, a receiver, and what was promised to those who sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    disk::{Cut, Disk, Fault, Image},
    server::{Answer, PATIENCE, Server, raw, wait_for, wait_for_all},
    sink::Sink,
};

/// So large that some dozen events fill a segment of the tests.
const FILLER: usize = 4000;

/// What the clients share: what was answered, and to whom.
pub struct Load {
    socket: PathBuf,
    over: AtomicBool,
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<String>>,
    /// Answers by status; 0 stands for a connection that ended without one.
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Load {
    fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            answers: Mutex::default(),
        }
    }

    pub fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// How many requests were answered so.
    pub fn answered(&self, status: u16) -> u64 {
        self.answers.lock().unwrap().get(&status).copied().unwrap_or(0)
    }

    pub fn next_id(&self) -> String {
        format!("e{}", self.next.fetch_add(1, Relaxed))
    }

    /// POSTs an event under an id; `None` when there was no answer since the server went away. One that hangs fails
    /// the test.
    pub fn post(&self, id: &str) -> Option<Answer> {
        let body = json!({"id": id, "type": "a.b", "data": {"filler": "x".repeat(FILLER)}}).to_string();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let answer = raw(&self.socket, [head, body].concat().as_bytes());
        if let Err(error) = &answer {
            let hung = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            assert!(!hung, "no answer for {id}");
        }
        let answer = answer.ok();
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        *self.answers.lock().unwrap().entry(status).or_default() += 1;
        if matches!(status, 200 | 202) {
            self.acknowledged.lock().unwrap().insert(id.to_owned());
        }
        answer
    }

    /// Sends events one after the other, each again and again until it is acknowledged.
    fn client(&self) {
        loop {
            let id = self.next_id();
            loop {
                if self.over.load(Relaxed) {
                    return;
                }
                let status = self.post(&id).map_or(0, |answer| answer.status);
                assert!(matches!(status, 0 | 200 | 202 | 503 | 507), "{id}: {status}");
                if matches!(status, 200 | 202) {
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

pub struct Bench {
    pub server: Server,
    pub sink: Sink,
    pub load: Arc<Load>,
    disk: Option<Disk>,
    dir: TempDir,
    boots: u32,
    /// What of the log was looked at.
    read: usize,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A server that waits for its disk cannot be killed.
        if let Some(disk) = &self.disk {
            disk.die();
        }
        _ = self.server.ended().is_none().then(|| self.server.kill());
    }
}

impl Bench {
    /// A server with one endpoint, on a disk of which nothing is wrong. `None`: disks cannot be mounted here.
    pub fn start() -> Option<Self> {
        let mut bench = Self::spawn(&[])?;
        bench.server.wait_ready();
        bench.receive();
        Some(bench)
    }

    /// A server's first start on a new disk on which the faults are armed; without waiting for it, and without an endpoint.
    pub fn spawn(faults: &[Fault]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let disk = mount(&dir, 1, Image::default())?;
        fs::create_dir(disk.path().join("data")).unwrap();
        fs::File::open(disk.path()).unwrap().sync_all().unwrap();
        faults.iter().for_each(|fault| disk.arm(fault.clone()));
        let socket = dir.path().join("server.sock");
        let arguments = ["--dev", "--no-listen", "--socket", socket.to_str().unwrap()];
        // Without a reserve, so that the journal meets the last byte; small segments, so that there are several.
        let environment = [
            ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
            ("POSTHASTE_STORAGE__MIN_FREE_BYTES", "0B"),
            ("POSTHASTE_LIMITS__PAYLOAD", "8KiB"),
            ("POSTHASTE_BOOT_ID", "boot 1"),
        ];
        let server = Server::spawn(
            &dir.path().join("disk/data"),
            arguments.map(str::to_owned).into(),
            environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        );
        Some(Self {
            server,
            sink: Sink::accepting(),
            load: Arc::new(Load::new(socket)),
            disk: Some(disk),
            dir,
            boots: 1,
            read: 0,
        })
    }

    /// Makes the receiver an endpoint. It is not tried twice: what fails for the disk's sake must not count.
    pub fn receive(&self) {
        self.server.endpoint(&json!({
            "url": self.sink.url(), "events": ["**"], "concurrency": 32,
            "retry": {"retries": 0, "delay": "1h"}, "disable_on": "never",
        }));
    }

    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().unwrap()
    }

    pub fn arm(&self, fault: Fault) {
        self.disk().arm(fault);
    }

    /// Sends events; they must be accepted.
    pub fn accept(&self, count: usize) {
        for _ in 0..count {
            let id = self.load.next_id();
            let answer = self
                .load
                .post(&id)
                .unwrap_or_else(|| panic!("{id}: no answer\n{}", self.server.log()));
            assert_eq!(answer.status, 202, "{}\n{}", answer.text(), self.server.log());
        }
    }

    /// Sends events until one is answered with a status, and answers that.
    pub fn send_until(&self, status: u16) -> Answer {
        wait_for(&format!("an answer {status}"), || {
            let answer = self.load.post(&self.load.next_id())?;
            (answer.status == status).then_some(answer)
        })
    }

    /// Does something while clients send without a break.
    pub fn under_load<T>(&mut self, clients: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        /// Ends the load however the work ends.
        struct Over(Arc<Load>);
        impl Drop for Over {
            fn drop(&mut self) {
                self.0.over.store(true, Relaxed);
            }
        }
        let load = self.load.clone();
        load.over.store(false, Relaxed);
        thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| load.client());
            }
            let _over = Over(load.clone());
            work(self)
        })
    }

    /// Waits until so many more events are acknowledged.
    pub fn wait_acknowledged(&self, more: usize) {
        let count = || self.load.acknowledged.lock().unwrap().len();
        let wanted = count() + more;
        wait_for("acknowledged events", || (count() >= wanted).then_some(()));
    }

    /// What the server has written to its log since this was last asked.
    pub fn news(&mut self) -> String {
        let log = self.server.log();
        let news = log[self.read.min(log.len())..].to_owned();
        self.read = log.len();
        news
    }

    /// Waits for the server to end by itself, with exit code 1 and a line for people that says all of this. A thread that
    /// closes the store may log something after it.
    pub fn ends_saying(&mut self, wanted: &[&str]) {
        let status = self.server.wait();
        let log = self.news();
        let said = log.lines().rfind(|line| line.starts_with("posthaste: "));
        assert_eq!(status.code(), Some(1), "{log}");
        let said = said.unwrap_or_else(|| panic!("no reason: {log}"));
        for wanted in wanted {
            assert!(said.contains(wanted), "{wanted}: {log}");
        }
    }

    /// The disk is well again, and the server runs.
    pub fn heal(&mut self) {
        self.disk().disarm();
        self.disk().set_space(None);
        self.disk().set_read_only(false);
        if self.server.ended().is_some() {
            self.server.respawn();
        }
        self.server.wait_ready();
    }

    /// Waits until the server is ready, and starts it again if it ends before: of something that it met when the disk
    /// was not well yet.
    pub fn comes_back(&mut self) {
        let started = Instant::now();
        loop {
            if self.server.ended().is_some() {
                self.server.respawn();
            }
            let answer = self.server.try_request("GET", "/readyz", None, b"");
            if answer.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            if started.elapsed() > PATIENCE {
                let log = self.server.log();
                let lines: Vec<_> = log.lines().rev().take(40).collect();
                let lines: Vec<_> = lines.into_iter().rev().collect();
                panic!("the server neither ends nor is ready:\n{}", lines.join("\n"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The power is cut and comes back: another boot, of what was on the device.
    pub fn cut(&mut self, cut: Cut, rng: &mut Rng) {
        self.disk().freeze();
        if self.server.ended().is_none() {
            self.server.shoot();
        }
        self.disk().die();
        self.server.wait();
        let image = self.disk.take().unwrap().cut(cut, rng);
        self.boots += 1;
        self.disk = mount(&self.dir, self.boots, image);
        self.server
            .set_environment("POSTHASTE_BOOT_ID", &format!("boot {}", self.boots));
        self.server.restart();
    }

    /// Fails the test if the server does not know every event that was acknowledged.
    pub fn knows_all(&self) {
        for id in self.load.acknowledged() {
            let answer = self.server.request("GET", &format!("/v1/events/{id}"), None, b"");
            assert_eq!(
                answer.status,
                200,
                "{id}: {}\n{}",
                answer.text(),
                self.server.log()
            );
        }
    }

    /// Waits until every event that was acknowledged has arrived.
    pub fn all_arrive(&self) {
        let acknowledged = self.load.acknowledged();
        let missing = wait_for_all(|| {
            let received = self.sink.received();
            let got: BTreeSet<&str> = received.iter().map(|got| got.event_id()).collect();
            let missing = acknowledged.iter().filter(|id| !got.contains(id.as_str()));
            missing.cloned().collect()
        });
        assert!(missing.is_empty(), "lost: {missing:?}\n{}", self.server.log());
    }

    /// The end: everything has arrived and is settled, the server stops as it should, and its folder is whole.
    pub fn is_whole(&mut self) {
        self.all_arrive();
        self.settles();
        assert_eq!(self.server.stop().code(), Some(0), "{}", self.server.log());
        self.server.assert_whole();
    }

    /// Waits until nothing is left to deliver; answers the status.
    pub fn settles(&self) -> Value {
        wait_for("everything to be settled", || {
            let answer = self.server.request("GET", "/v1/status", None, b"").json();
            let open = ["scheduled", "in_flight", "held"].map(|state| answer["deliveries"][state].as_u64());
            let caught_up = answer["store"]["applied_lsn"] == answer["journal"]["last_lsn"];
            (answer["state"] == "ready" && caught_up && open == [Some(0); 3]).then_some(answer)
        })
    }
}

/// Mounts a disk for a boot, where the way to the data folder leads.
fn mount(dir: &TempDir, boot: u32, image: Image) -> Option<Disk> {
    let mount_point = dir.path().join(format!("boot-{boot}"));
    let disk = Disk::mount(&mount_point, image)?;
    let (way, next) = (dir.path().join("disk"), dir.path().join("next"));
    symlink(&mount_point, &next).unwrap();
    fs::rename(next, way).unwrap();
    Some(disk)
}
