//! The demo's folder: made for it, gone with it.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::runtime::{hex, random};

/// What `statfs` says of a file system in memory (`TMPFS_MAGIC`, statfs(2)).
const TMPFS: i64 = 0x0102_1994;
/// Lines of the server's log that are worth showing when something went wrong.
const LAST_LINES: usize = 8;

/// A folder of its owner's alone, removed when dropped unless it is to be kept.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes one where temporary files go.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(keep: bool) -> anyhow::Result<Self> {
        let name = format!("posthaste-demo-{}", hex::encode(&random::secure::<5>()));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path).with_context(|| {
            format!(
                "cannot make the folder {} (TMPDIR names its place)",
                path.display()
            )
        })?;
        Ok(Self { path, keep })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The server's data folder.
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// What the server writes to stdout and stderr.
    pub fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// The end of the server's log.
    pub fn last_words(&self) -> Vec<String> {
        let log = fs::read(self.log()).unwrap_or_default();
        let lines: Vec<_> = String::from_utf8_lossy(&log).lines().map(str::to_owned).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
    }

    /// Whether the folder is in memory, where a sync costs nothing and saves nothing.
    pub fn is_in_memory(&self) -> bool {
        #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
        rustix::fs::statfs(&self.path).is_ok_and(|found| found.f_type as i64 == TMPFS)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is in a place that is cleaned of itself.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
