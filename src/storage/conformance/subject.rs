//! Storage under test.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Recorder;
use crate::storage::{
    Host, Storage,
    memory::{MemoryStorage, Remote},
};

/// Storage under test, and what befalls it.
pub(super) trait Subject: Send + Sized {
    fn new() -> Self;

    /// A process opens it.
    fn open(&mut self, host: Arc<Recorder>) -> Arc<dyn Storage>;

    /// The process is killed; all of its handles but the subject's own are gone.
    async fn kill(&mut self);

    /// For a while nothing can be read.
    fn interrupt(&self);

    /// When it is opened the next time, there is too little space for events.
    fn fill(&mut self);

    /// Storage is closed.
    fn close(&self);
}

/// [`MemoryStorage`], which outlives the processes that use it.
pub(super) struct Memory {
    storage: Arc<MemoryStorage>,
    /// What the process does in the background.
    tasks: JoinSet<()>,
}

impl Memory {
    fn over(remote: Remote) -> Self {
        Self {
            storage: MemoryStorage::new(remote),
            tasks: JoinSet::new(),
        }
    }
}

impl Subject for Memory {
    fn new() -> Self {
        Self::over(Remote::default())
    }

    fn open(&mut self, host: Arc<Recorder>) -> Arc<dyn Storage> {
        let host: Arc<dyn Host> = host;
        self.storage.attach(host);
        let storage = self.storage.clone();
        self.tasks.spawn(async move { storage.tell_late_changes().await });
        self.storage.clone()
    }

    async fn kill(&mut self) {
        self.tasks.shutdown().await;
        self.storage.detach();
    }

    fn interrupt(&self) {
        self.storage.suspend();
        self.storage.resume();
    }

    fn fill(&mut self) {
        self.storage.set_full(true);
    }

    fn close(&self) {
        self.storage.close();
    }
}

/// The same at the other end of a slow network.
pub(super) struct RemoteMemory(Memory);

impl Subject for RemoteMemory {
    fn new() -> Self {
        Self(Memory::over(Remote {
            seed: 1,
            way_millis: 20,
            late_millis: 50,
            ..Remote::default()
        }))
    }

    fn open(&mut self, host: Arc<Recorder>) -> Arc<dyn Storage> {
        self.0.open(host)
    }

    async fn kill(&mut self) {
        self.0.kill().await;
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
