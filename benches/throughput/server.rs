//! The real server, as a process of its own in a folder of its own.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::json;

use crate::{client::Client, settings::Settings};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; killed, and its folder deleted, when dropped.
pub struct Server {
    dir: tempfile::TempDir,
    child: Child,
}

impl Server {
    /// Starts `serve --dev --no-listen` and waits until it is ready.
    pub async fn start(settings: &Settings, durability: &str) -> Self {
        fs::create_dir_all(&settings.dir).unwrap();
        let dir = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(&settings.dir)
            .unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(&settings.server)
            .args(["serve", "--dev", "--no-listen", "--data"])
            .arg(dir.path().join("data"))
            .env("POSTHASTE_STORAGE__DURABILITY", durability)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { dir, child };
        server.wait_ready().await;
        server
    }

    async fn wait_ready(&mut self) {
        let started = Instant::now();
        loop {
            if let Ok(mut client) = Client::unix(&self.socket()).await
                && client.get("/readyz").await.0 == StatusCode::OK
            {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < PATIENCE,
                "not ready: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("data/posthaste.sock")
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

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
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

    /// Waits until the store holds everything that the journal does.
    pub async fn settle(&self) {
        let started = Instant::now();
        loop {
            let applied = self.metric("posthaste_store_applied_lsn").await;
            if applied >= self.metric("posthaste_journal_last_lsn").await {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the store does not catch up: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
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
