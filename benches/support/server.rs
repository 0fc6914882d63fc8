//! The real server, as a process of its own in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::json;

use super::{client::Client, proc, settings::Settings};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; killed, and its folder deleted, when dropped.
pub struct Server {
    dir: tempfile::TempDir,
    child: Child,
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Server {
    /// Starts `serve --dev --no-listen` and waits until it is ready.
    pub async fn start(settings: &Settings, durability: &str) -> Self {
        Self::start_with(settings, durability, Vec::new()).await
    }

    /// Starts it with some more of an environment.
    pub async fn start_with(
        settings: &Settings,
        durability: &str,
        mut environment: Vec<(&'static str, String)>,
    ) -> Self {
        environment.push(("POSTHASTE_STORAGE__DURABILITY", durability.to_owned()));
        fs::create_dir_all(&settings.dir).unwrap();
        let dir = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&settings.dir)
            .unwrap();
        let child = spawn(&settings.server, dir.path(), &environment);
        let mut server = Self {
            dir,
            child,
            program: settings.server.clone(),
            environment,
        };
        server.wait_ready(PATIENCE).await;
        server
    }

    /// Waits until it is ready, so long at the most.
    pub async fn wait_ready(&mut self, patience: Duration) {
        let started = Instant::now();
        loop {
            if let Ok(mut client) = Client::unix(&self.socket()).await
                && client.get("/readyz").await.0 == StatusCode::OK
            {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < patience,
                "not ready: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has; answers how long that took.
    pub async fn stop(&mut self) -> Duration {
        let started = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "does not stop: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        started.elapsed()
    }

    /// Starts it again in its folder, once it has ended, and waits for nothing.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.program, self.dir.path(), &self.environment);
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Bytes of the files below a folder of its data folder.
    pub fn size(&self, folder: &str) -> f64 {
        proc::size(&self.data().join(folder))
    }

    pub fn socket(&self) -> PathBuf {
        self.data().join("posthaste.sock")
    }

    /// The folder on the disk that is measured.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub async fn client(&self) -> Client {
        let client = Client::unix(&self.socket()).await;
        client.unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Memory of its process in MiB: a figure of `/proc/PID/status`.
    pub fn mebibytes(&self, field: &str) -> f64 {
        proc::memory(self.pid(), field) / f64::from(1 << 20)
    }

    /// Its own word on how it stands.
    pub async fn status(&self) -> serde_json::Value {
        let (_, text) = self.client().await.get("/v1/status").await;
        serde_json::from_slice(&text).unwrap()
    }

    /// Creates an endpoint that wants everything; answers its path.
    pub async fn endpoint(&self, url: &str, concurrency: usize) -> String {
        let document = json!({"url": url, "concurrency": concurrency});
        let endpoint = self.client().await.command("/v1/endpoints", &document).await;
        format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap())
    }

    /// The figure of a metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.client().await.get("/metrics").await;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {text}"))
            .parse()
            .unwrap()
    }

    /// What the journal has committed.
    pub async fn journal(&self) -> Journal {
        Journal {
            groups: self.metric("posthaste_journal_groups_total").await,
            records: self.metric("posthaste_journal_records_total").await,
            bytes: self.metric("posthaste_journal_bytes_total").await,
        }
    }

    /// Waits until the store holds everything that the journal does, as long as it gets on.
    pub async fn settle(&self) {
        let (mut since, mut seen) = (Instant::now(), 0.0);
        loop {
            let applied = self.metric("posthaste_store_applied_lsn").await;
            if applied >= self.metric("posthaste_journal_last_lsn").await {
                return;
            }
            if applied > seen {
                (since, seen) = (Instant::now(), applied);
            }
            assert!(
                since.elapsed() < PATIENCE,
                "the store does not catch up: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn spawn(program: &Path, dir: &Path, environment: &[(&'static str, String)]) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .unwrap();
    Command::new(program)
        .args(["serve", "--dev", "--no-listen", "--data"])
        .arg(dir.join("data"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Counters of the journal.
#[derive(Clone, Copy)]
pub struct Journal {
    pub groups: f64,
    pub records: f64,
    pub bytes: f64,
}

impl Journal {
    pub fn since(self, before: Self) -> Self {
        Self {
            groups: self.groups - before.groups,
            records: self.records - before.records,
            bytes: self.bytes - before.bytes,
        }
    }
}
