//! The committer without its thread, over a disk that knows what is synced: for simulations, which must do everything
//! in one place to be repeatable.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Failure, Journal, OpenError, Options, Recovery,
    committer::{Committer, Queue},
    disk::Disk,
    shared::lock,
};

/// What is free on a disk that is not full.
const ROOMY: u64 = 1 << 40;

/// The journal's disk in a simulation. It stays when the process dies.
#[derive(Default)]
pub(crate) struct Plate {
    /// How far each file was synced, by inode.
    synced: Mutex<HashMap<u64, u64>>,
    full: AtomicBool,
}

impl Plate {
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Relaxed);
    }

    /// The power is cut: of what each file holds beyond its last sync, so many thousandths stay.
    pub fn cut(&self, dir: &Path, thousandths: u64) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            let synced = lock(&self.synced).get(&meta.ino()).copied().unwrap_or(0);
            if entry.path().extension().is_some_and(|kind| kind == "seg") && meta.len() > synced {
                let kept = synced + (meta.len() - synced) * thousandths / 1000;
                OpenOptions::new().write(true).open(entry.path())?.set_len(kept)?;
            }
        }
        Ok(())
    }
}

struct SteppedDisk {
    plate: Arc<Plate>,
    started: Instant,
}

impl Disk for SteppedDisk {
    fn sync_data(&self, file: &File) -> io::Result<()> {
        let meta = file.metadata()?;
        lock(&self.plate.synced).insert(meta.ino(), meta.len());
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(if self.plate.full.load(Relaxed) { 0 } else { ROOMY })
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The committer, to be stepped.
pub(crate) struct Stepper {
    committer: Committer,
    queue: Arc<Queue>,
}

impl Stepper {
    /// Opens a journal whose committer is the caller's to step.
    pub fn open(options: Options, plate: Arc<Plate>) -> Result<(Journal, Recovery, Self), OpenError> {
        let disk = SteppedDisk {
            plate,
            started: Instant::now(),
        };
        let (journal, recovery, committer, queue) = Journal::open_stepped(options, Arc::new(disk))?;
        Ok((journal, recovery, Self { committer, queue }))
    }

    /// Writes what has gathered, syncs what is to be, acknowledges; answers whether there was anything.
    pub fn step(&mut self) -> Result<bool, Failure> {
        self.committer.step()
    }

    /// Returns when there may be something to do.
    pub async fn wait(&self) {
        let pushed = self.queue.pushed.notified();
        match self.committer.sync_due() {
            None => pushed.await,
            Some(due) => _ = tokio::time::timeout(due, pushed).await,
        }
    }
}
