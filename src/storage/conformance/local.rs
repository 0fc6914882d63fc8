//! [`LocalStorage`] under test.

use std::{fs, sync::Arc, thread, time::Duration};

use tempfile::TempDir;

use super::{Recorder, Subject};
use crate::{
    runtime::folder::Folder,
    storage::{
        Storage,
        local::{
            LocalStorage, Readers,
            applier::ApplierStop,
            index::{Indexes, TableOptions},
            journal,
            open::{LocalOptions, Opening},
            reclaim::Retention,
        },
    },
};

/// Storage in a folder, whose processes end without a clean stop.
pub(super) struct Local {
    dir: TempDir,
    running: Option<Running>,
    full: bool,
}

struct Running {
    storage: Arc<LocalStorage>,
    applier: ApplierStop,
    thread: thread::JoinHandle<()>,
    /// Locked until the process ends.
    _folder: Folder,
}

impl Local {
    fn options(&self) -> LocalOptions {
        let readers = || Arc::new(Readers::start(1, 64).unwrap());
        LocalOptions {
            journal: journal::Options {
                min_free_bytes: if self.full { u64::MAX } else { 0 },
                ..journal::Options::new(self.dir.path().join("journal"))
            },
            index: TableOptions {
                cache_bytes: 1024 * 1024,
                buffer_bytes: 16 * 1024,
                indexes: Indexes::All,
            },
            index_rewrite_bytes: u64::MAX,
            retention: Retention::default(),
            idempotency_window: Duration::from_secs(86_400),
            readers: readers(),
            list_readers: readers(),
            schedule_readers: readers(),
        }
    }
}

impl Subject for Local {
    /// In memory, where there is such a place: nothing here is about what a disk keeps.
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        Self {
            dir,
            running: None,
            full: false,
        }
    }

    fn open(&mut self, host: Arc<Recorder>) -> Arc<dyn Storage> {
        let folder = Folder::open(self.dir.path(), None).unwrap();
        let opening = Opening::open(&folder, self.options()).unwrap();
        let storage = opening.storage.clone();
        let applier = opening.begin(host).unwrap();
        let running = Running {
            storage: storage.clone(),
            applier: applier.stopper(),
            thread: thread::spawn(move || applier.run()),
            _folder: folder,
        };
        self.running = Some(running);
        storage
    }

    async fn kill(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.applier.stop();
        running.thread.join().unwrap();
        running.storage.journal.close();
        running.storage.settle().await;
        running.storage.served.withdraw();
    }

    fn interrupt(&self) {
        self.running.as_ref().unwrap().applier.wake();
    }

    fn fill(&mut self) {
        self.full = true;
    }

    fn close(&self) {
        let running = self.running.as_ref().unwrap();
        running.applier.stop();
        running.storage.journal.close();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.applier.stop();
            _ = running.thread.join();
        }
    }
}

/// The same, which loses its index whenever it is killed.
pub(super) struct Rebuilt(Local);

impl Subject for Rebuilt {
    fn new() -> Self {
        Self(Local::new())
    }

    fn open(&mut self, host: Arc<Recorder>) -> Arc<dyn Storage> {
        self.0.open(host)
    }

    async fn kill(&mut self) {
        self.0.kill().await;
        fs::remove_dir_all(self.0.dir.path().join("store")).unwrap();
    }

    fn interrupt(&self) {
        self.0.interrupt();
    }

    fn fill(&mut self) {
        self.0.fill();
    }

    fn close(&self) {
        self.0.close();
    }
}
