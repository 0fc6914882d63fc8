//! A machine whose power can be cut: a disk, a server on it, and what outlives both.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    time::{Duration, Instant},
};

use fastrand::Rng;
use tempfile::TempDir;

use crate::support::{
    disk::{Cut, Disk, Fault, Image},
    server::{PATIENCE, Server, raw_within},
};

/// A server whose disk stands still does not answer, though it takes the request.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Every boot has a mount point and a boot id of its own. The way to the data folder, the socket and the log stay.
pub struct Machine {
    // Before the disk, which cannot be unmounted well under a process that waits for it.
    server: Option<Server>,
    disk: Option<Disk>,
    dir: TempDir,
    boots: u64,
    lies: Vec<Fault>,
}

impl Machine {
    /// A machine without a disk as yet, whose disks will lie as they are told.
    pub fn new(lies: Vec<Fault>) -> Self {
        Self {
            server: None,
            disk: None,
            dir: tempfile::tempdir().unwrap(),
            boots: 0,
            lies,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("server.sock")
    }

    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().unwrap()
    }

    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().unwrap()
    }

    pub fn log(&self) -> String {
        self.server.as_ref().map(Server::log).unwrap_or_default()
    }

    /// Mounts a disk. Answers whether that is possible here.
    pub fn mount(&mut self, image: Image) -> bool {
        self.boots += 1;
        let mount_point = self.dir.path().join(format!("mount-{}", self.boots));
        let Some(disk) = Disk::mount(&mount_point, image) else {
            return false;
        };
        self.disk = Some(disk);
        let (way, next) = (self.dir.path().join("disk"), self.dir.path().join("next"));
        symlink(&mount_point, &next).unwrap();
        fs::rename(next, way).unwrap();
        true
    }

    /// The data folder: below a directory that is not there before the first start.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("disk/var/data")
    }

    /// Starts a server in this boot, without waiting. What a lie counts, it counts from here.
    pub fn spawn(&mut self) {
        self.lies.iter().for_each(|lie| self.disk().arm(lie.clone()));
        let socket = self.socket().to_str().unwrap().to_owned();
        let arguments = ["--dev", "--no-listen", "--socket", &socket].map(str::to_owned);
        let environment = [
            ("POSTHASTE_BOOT_ID", format!("boot {}", self.boots)),
            ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB".to_owned()),
            ("POSTHASTE_LIMITS__PAYLOAD", "8KiB".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let server = Server::spawn(&self.data(), arguments.into(), environment.into());
        self.server = Some(server);
    }

    /// Whether the server says at once that it is ready.
    pub fn is_ready(&mut self) -> bool {
        let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = raw_within(&self.socket(), request, AT_ONCE);
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until the server is ready; otherwise answers why it will not be.
    pub fn wait_ready(&mut self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.server().ended() {
                return Err(format!("the server ended with {status}:\n{}", self.log()));
            }
            if self.is_ready() {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("the server is not ready:\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the disk stands still, or `otherwise` is so.
    pub fn wait_frozen(&mut self, mut otherwise: impl FnMut(&mut Self) -> bool) {
        let started = Instant::now();
        while !self.disk().wait_frozen(Duration::from_millis(10)) {
            if otherwise(self) || started.elapsed() > PATIENCE {
                break;
            }
        }
    }

    /// The server is killed, the disk goes on.
    pub fn crash(&mut self) {
        self.server().kill();
    }

    /// The power is cut: the disk stops where it is, the server is gone. Answers what is on the disk when it is back.
    pub fn cut(&mut self, cut: Cut, rng: &mut Rng) -> Image {
        let disk = self.disk.take().unwrap();
        disk.freeze();
        let mut server = self.server.take().unwrap();
        if server.ended().is_none() {
            server.shoot();
        }
        disk.die();
        server.wait();
        disk.cut(cut, rng)
    }
}
