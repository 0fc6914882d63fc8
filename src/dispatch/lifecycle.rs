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
    applier::{Applier, ApplierStop},
    backup::Backups,
    clock::{self, EngineClock, Keeper, Saved},
    damage::DamagedEvents,
    engine::{Engine, EngineOptions, InFlight, Shared},
    erase::Erasures,
    error::chain,
    event_types::Catalogue,
    herald,
    locks::Locks,
    outage::SharedOutage,
    reclaim,
    registry::Registry,
    reservations::Reservations,
    rewriter::Rewriter,
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
        space,
        work_pool::WorkPool,
    },
    sender::Sender,
    storage::local::index::{
        StoreError, TableOptions,
        open::{self, Distrust, Trust},
    },
    storage::local::journal::{self, Journal},
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

/// Stores up to this size are read and compared whole at every start: well under a second.
const CHECK_BYTES: u64 = 8 * 1024 * 1024;

/// Tries at a store that cannot be opened at the moment, and the pause between them: ten seconds in all. After that
/// whoever started the server is told.
const OPEN_TRIES: u32 = 40;
const OPEN_PAUSE: Duration = Duration::from_millis(250);

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot open the journal")]
    Journal(#[from] journal::OpenError),
    #[error("cannot read the journal")]
    Read(#[from] journal::ReadError),
    #[error("cannot open the store")]
    OpenStore(#[from] open::OpenError),
    #[error("cannot read the store")]
    Store(#[from] StoreError),
    #[error("cannot begin the store where the journal begins")]
    Begin(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

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
        let opened = Journal::open(journal::Options {
            power_was_cut: !folder.unsynced_files_hold(),
            crashed: folder.crashed(),
            ..options.journal.clone()
        })?;
        let (mut running, applier) = Self::assemble(folder, opened, options)?;
        running.follow_with(applier)?;
        Ok(running)
    }

    /// Everything but the applier's thread and the supervisor of threads, over an open journal.
    pub(super) fn assemble(
        folder: Folder,
        (journal, recovery): (Journal, journal::Recovery),
        options: StartOptions,
    ) -> Result<(Self, Applier), StartError> {
        report(&recovery);
        // Without a segment the journal cannot make the store again.
        let is_lost = recovery.created || recovery.emptied;
        let kept = is_lost
            .then(|| open::keep_last_copy(folder.path()))
            .transpose()?
            .flatten();
        let discarded = !folder.unsynced_files_hold() && open::discard(folder.path())?;
        folder.begin()?;
        // What the disk does not give today is not gone: it is neither reclaimed nor is the store without it to go.
        let segments_unread = !recovery.unread.is_empty();
        let open = open::Options {
            data: folder.path().to_owned(),
            table: options.store,
            journal: journal.uuid(),
            last_lsn: recovery.last_lsn,
            first_lsn: if segments_unread { 1 } else { journal.first_lsn() },
            trust: Trust::Yes,
            check_bytes: CHECK_BYTES,
        };
        let opened = open_patiently(&open)?;
        if segments_unread {
            open::mark_incomplete(&open.data);
        }
        let distrusted = opened.distrusted.or(discarded.then_some(Distrust::Reboot));
        if let Some(distrust) = &distrusted {
            tracing::warn!(reason = %chain(distrust), "the store is being rebuilt from the journal");
        }
        let mut warnings = damage(&recovery);
        if let Some(kept) = kept {
            let text = format!(
                "all segments of the journal are gone; the store, the last copy of what it says of their events, is kept as \
                 {}: restore a backup, or put the segments back",
                kept.display()
            );
            tracing::error!("{text}");
            warnings.push(text);
        }
        if let Some(Distrust::Ahead { applied, last }) = &distrusted {
            warnings.push(format!(
                "journal damaged: it ends with record {last}, but records up to {applied} had been written: they are gone"
            ));
        }
        let store = opened.store;
        if !segments_unread {
            reclaim::begin(&journal, &store).map_err(|error| StartError::Begin(Box::new(error)))?;
        }
        let clock = EngineClock::new(options.clock, Saved::read(folder.path()), store.newest()?);
        let (verifier, asks) = Verifier::new();
        let slots = Slots::new(options.engine.max_in_flight);
        let memory = Memory::new(options.engine.memory);
        let shared = Arc::new(Shared {
            started_at: clock.now(),
            options: options.engine,
            clock,
            jitter: options.jitter,
            journal,
            storage: Arc::default(),
            segments_unread,
            registry: Registry::default(),
            event_types: Catalogue::default(),
            reservations: Reservations::default(),
            sealer: folder.sealer().clone(),
            sender: options.sender,
            in_flight: InFlight::default(),
            slots,
            work: options.work,
            erasures: Erasures::default(),
            memory,
            committing: TaskTracker::new(),
            configuring: Locks::default(),
            creating: AtomicUsize::new(0),
            recovering: Locks::default(),
            applying: Arc::default(),
            expired: Mutex::default(),
            backups: Backups::of(&folder),
            herald: tokio::sync::Notify::new(),
            verifier,
            vitals: Vitals::default(),
            outage: SharedOutage::default(),
            stopping: CancellationToken::new(),
            stopping_now: CancellationToken::new(),
            #[cfg(test)]
            stage: std::sync::OnceLock::new(),
            warnings: Mutex::new(warnings),
            found_damaged: (recovery.quarantined.len() + recovery.missing.len()) as u64,
            damaged_events: DamagedEvents::default(),
        });
        let applied = store.applied()?.lsn;
        shared.storage.begin(store.clone(), applied, distrusted.is_some());
        if applied < recovery.last_lsn {
            shared.load_configuration()?;
        } else {
            shared.load_registry(&store)?;
        }
        let runtime = options.deliveries.unwrap_or_else(tokio::runtime::Handle::current);
        let rewriter = Rewriter::new(open.data.clone(), open.table, options.store_rewrite_bytes);
        Ok(Self::spawn(
            folder,
            shared,
            store,
            (open, rewriter),
            asks,
            &runtime,
        ))
    }

    fn spawn(
        folder: Folder,
        shared: Arc<Shared>,
        store: crate::storage::local::index::Store,
        (open, rewriter): (open::Options, Rewriter),
        asks: mpsc::Receiver<Ask>,
        deliveries: &tokio::runtime::Handle,
    ) -> (Self, Applier) {
        let (signals, inbox) = mpsc::channel(INBOX);
        let (verdicts, to_write) = mpsc::channel(settler::CAPACITY);
        let applier = Applier::new(shared.clone(), store, open, signals, rewriter);
        let applier_stop = applier.stopper();
        let applier_ended = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn_on(Scheduler::new(shared.clone(), verdicts).run(inbox), deliveries);
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
        (running, applier)
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

/// Opens the store. What is short at the moment is waited for, for a while; the store is kept as it is meanwhile, and
/// also when that does not help.
fn open_patiently(options: &open::Options) -> Result<open::Opened, open::OpenError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match open::open(options) {
            Err(error) if error.lacks_space() && space::release(&options.data) => {}
            Err(error) if error.is_temporary() && tries < OPEN_TRIES => {
                if tries == 1 {
                    tracing::warn!(error = %chain(&error), "trying again");
                }
                thread::sleep(OPEN_PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Says what opening the journal found; damage louder than the rest.
fn report(recovery: &journal::Recovery) {
    for (line, place) in recovery.lines().into_iter().zip(0..) {
        if place > 0 && recovery.is_damaged() {
            tracing::warn!("{line}");
        } else {
            tracing::info!("{line}");
        }
    }
}

/// What a person should look at; the first line only says what was opened.
fn damage(recovery: &journal::Recovery) -> Vec<String> {
    if recovery.is_damaged() {
        recovery.lines().split_off(1)
    } else {
        Vec::new()
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
