//! Starting and stopping: in which order the parts come and go.

use std::{
    sync::{Arc, Mutex, atomic::AtomicUsize},
    thread,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    clock::{self, EngineClock, Keeper, Saved},
    engine::{Engine, EngineOptions, InFlight, Shared},
    erase::Erasures,
    error::chain,
    event_types::Catalogue,
    feed::Feed,
    herald,
    locks::Locks,
    outage::SharedOutage,
    registry::Registry,
    scheduler::{INBOX, Scheduler},
    settler,
    slots::Slots,
    supervision::{self, Vitals},
    verify::{self, Ask, Verifier},
};
use crate::{
    runtime::{
        clock::Clock,
        folder::{Folder, FolderError},
        memory::Memory,
        random::Jitter,
        work_pool::WorkPool,
    },
    sender::Sender,
    storage::local::{
        Readers,
        applier::{Applier, ApplierStop},
        index::TableOptions,
        journal,
        open::{self, LocalOptions, Opening},
    },
};

/// What an engine is made of.
pub struct StartOptions {
    pub engine: EngineOptions,
    pub journal: journal::Options,
    pub store: TableOptions,
    /// A smaller store is never written afresh, in bytes.
    pub store_rewrite_bytes: u64,
    pub clock: Arc<dyn Clock>,
    pub jitter: Jitter,
    pub sender: Sender,
    /// Where what takes CPU time or the disk is done.
    pub work: WorkPool,
    /// Where attempts are made and judged: the present runtime, unless it is another. On threads of their own they wake
    /// nobody, and wait for nobody.
    pub deliveries: Option<tokio::runtime::Handle>,
}

impl StartOptions {
    /// What storage needs of it.
    pub(super) fn local(&self) -> std::io::Result<LocalOptions> {
        let readers = |bound| {
            if self.work.has_threads() {
                Readers::start(READERS, bound).map(Arc::new)
            } else {
                Ok(Arc::new(Readers::inline()))
            }
        };
        Ok(LocalOptions {
            readers: readers(READS)?,
            list_readers: readers(READS)?,
            schedule_readers: readers(SCHEDULE_READS)?,
            journal: self.journal.clone(),
            index: self.store,
            index_rewrite_bytes: self.store_rewrite_bytes,
            retention: self.engine.retention,
            idempotency_window: self.engine.idempotency_window,
        })
    }
}

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] open::OpenError),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// Threads that look up single things, and as many that read for lists, and for the scheduler.
const READERS: usize = 2;
/// Reads of the scheduler that may wait. It has few out at once; those that it has given up wait on.
const SCHEDULE_READS: usize = 64;
/// Reads that may wait for one of them.
const READS: usize = 4096;

/// Within this time the failure of the journal shows that has ended another part.
const FAILURE_SHOWS: Duration = Duration::from_secs(1);

/// Why the engine did not stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the journal has failed, what was written last may not be durable")]
    Journal(#[source] Arc<journal::Failure>),
}

/// A running engine, to be stopped.
pub struct Running {
    engine: Engine,
    folder: Folder,
    tasks: JoinSet<()>,
    background: JoinSet<()>,
    applier: Option<thread::JoinHandle<()>>,
    applier_stop: ApplierStop,
    applier_ended: CancellationToken,
}

impl Running {
    /// Opens the journal and the store in an owned folder, and begins to deliver. Answers as soon as events can be
    /// accepted; a store that is behind is caught up in the background.
    ///
    /// # Errors
    /// When something cannot be opened that is not simply damaged; damage is set aside and reported.
    pub fn start(folder: Folder, options: StartOptions) -> Result<Self, StartError> {
        let opening = Opening::open(&folder, options.local().map_err(StartError::Thread)?)?;
        let (mut running, applier) = Self::assemble(folder, opening, options)?;
        running.follow_with(applier)?;
        Ok(running)
    }

    /// Everything but the applier's thread and the supervisor of threads, over open storage.
    pub(super) fn assemble(
        folder: Folder,
        mut opening: Opening,
        options: StartOptions,
    ) -> Result<(Self, Applier), StartError> {
        let local = opening.storage.clone();
        let warnings = std::mem::take(&mut opening.warnings);
        let clock = EngineClock::new(options.clock, Saved::read(folder.path()), opening.newest);
        let (verifier, asks) = Verifier::new();
        let slots = Slots::new(options.engine.max_in_flight);
        let memory = Memory::new(options.engine.memory);
        let shared = Arc::new(Shared {
            started_at: clock.now(),
            options: options.engine,
            clock,
            jitter: options.jitter,
            journal: local.journal.clone(),
            storage: local.served.clone(),
            data: local.clone(),
            local,
            registry: Registry::default(),
            event_types: Catalogue::default(),
            sealer: folder.sealer().clone(),
            sealed_urls: Default::default(),
            sender: options.sender,
            in_flight: InFlight::default(),
            slots,
            work: options.work,
            erasures: Erasures::default(),
            memory,
            committing: TaskTracker::new(),
            configuring: Locks::default(),
            listing: Locks::default(),
            creating: AtomicUsize::new(0),
            recovering: Locks::default(),
            applying: Arc::default(),
            expired: Mutex::default(),
            herald: tokio::sync::Notify::new(),
            verifier,
            vitals: Vitals::default(),
            outage: SharedOutage::default(),
            stopping: CancellationToken::new(),
            stopping_now: CancellationToken::new(),
            #[cfg(test)]
            stage: std::sync::OnceLock::new(),
            warnings: Mutex::new(warnings),
        });
        let runtime = options.deliveries.unwrap_or_else(tokio::runtime::Handle::current);
        Self::spawn(folder, shared, opening, asks, &runtime)
    }

    fn spawn(
        folder: Folder,
        shared: Arc<Shared>,
        opening: Opening,
        asks: mpsc::Receiver<Ask>,
        deliveries: &tokio::runtime::Handle,
    ) -> Result<(Self, Applier), StartError> {
        let (signals, inbox) = mpsc::channel(INBOX);
        let (verdicts, to_write) = mpsc::channel(settler::CAPACITY);
        let applier = opening.begin(Arc::new(Feed {
            shared: shared.clone(),
            signals,
        }))?;
        let applier_stop = applier.stopper();
        let applier_ended = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let scheduler = Scheduler::new(shared.clone(), shared.local.clone(), verdicts);
        tasks.spawn_on(scheduler.run(inbox), deliveries);
        tasks.spawn_on(settler::run(shared.clone(), to_write), deliveries);
        let mut background = JoinSet::new();
        background.spawn(herald::run(shared.clone()));
        background.spawn(verify::run(shared.clone(), asks));
        background.spawn(watch_store(shared.clone(), applier_stop.clone()));
        let running = Self {
            engine: Engine(shared),
            folder,
            tasks,
            background,
            applier: None,
            applier_stop,
            applier_ended,
        };
        Ok((running, applier))
    }

    /// Gives the applier its thread.
    fn follow_with(&mut self, applier: Applier) -> Result<(), StartError> {
        let keeper = Keeper::new(self.folder.path().to_owned());
        self.background
            .spawn(supervision::run(self.engine.0.clone(), keeper));
        let guard = self.applier_ended.clone().drop_guard();
        let thread = thread::Builder::new()
            .name("applier".to_owned())
            .spawn(move || {
                let _said_when_it_ends = guard;
                applier.run();
            })
            .map_err(StartError::Thread)?;
        self.applier = Some(thread);
        Ok(())
    }

    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Waits until something happens that leaves no way on: the journal has failed, or a part has come to grief.
    /// Answers with the reason.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn failed(&mut self) -> String {
        let journal = &self.engine.0.journal;
        let ended = tokio::select! {
            _ = journal.failed() => String::new(),
            ended = self.tasks.join_next() => how_it_ended(ended),
            ended = self.background.join_next() => how_it_ended(ended),
            () = self.applier_ended.cancelled() => "the applier ended; the store is not served any more".to_owned(),
        };
        // The journal's failure ends other parts too, which may be seen first: it is the one to name.
        match tokio::time::timeout(FAILURE_SHOWS, journal.failed()).await {
            Ok(failure) => {
                format!(
                    "the journal has failed, nothing more can be made durable: {}",
                    chain(&*failure)
                )
            }
            Err(_) => ended,
        }
    }

    /// Stops: no more attempts are begun, those that are out may end within the grace period, verdicts are written,
    /// everything is synced. `hurry` ends the grace period. After a failure the folder is not marked as left clean.
    ///
    /// # Errors
    /// When the last sync fails; then the store is rebuilt at the next start. When the journal has failed, now or before.
    pub async fn stop(mut self, hurry: CancellationToken) -> Result<(), StopError> {
        let shared = self.engine.0.clone();
        shared.stopping.cancel();
        let now = shared.stopping_now.clone();
        self.background.spawn(async move {
            hurry.cancelled().await;
            now.cancel();
        });
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of dispatch came to grief");
            }
        }
        self.background.shutdown().await;
        shared.committing.close();
        shared.committing.wait().await;
        shared.local.settle().await;
        self.applier_stop.stop();
        if let Some(thread) = self.applier.take() {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the applier came to grief");
            }
        }
        shared.storage.withdraw();
        shared.journal.close();
        shared.sender.close().await;
        if let Some(failure) = shared.journal.failure().borrow().clone() {
            return Err(StopError::Journal(failure));
        }
        clock::write(&shared.clock.saved(false), self.folder.path());
        drop(shared);
        drop(self.engine);
        Ok(self.folder.finish()?)
    }
}

fn how_it_ended(ended: Option<Result<(), JoinError>>) -> String {
    match ended {
        Some(Err(error)) => format!("a part of dispatch came to grief: {error}"),
        Some(Ok(())) | None => "a part of dispatch ended".to_owned(),
    }
}

/// Has the store opened again when a reader has met a failure.
async fn watch_store(shared: Arc<Shared>, applier: ApplierStop) {
    loop {
        shared.storage.failed().await;
        // A reader of a store that was withdrawn already has nothing new to say.
        if shared.storage.is_ready() {
            applier.wake();
        }
    }
}
