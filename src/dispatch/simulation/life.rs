//! A process's life: the whole engine over a folder that outlives it, with the journal's committer and the store's
//! applier as tasks beside the others.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    super::{
        Retention,
        clock::Keeper,
        codec,
        engine::{EngineOptions, Shared},
        lifecycle::{Running, StartOptions},
    },
    profile::Profile,
    stage::Stage,
};
use crate::{
    domain::{address::AddressRules, attempt_detail::DetailBudget, profile::Profiles, time::Timestamp},
    runtime::{
        clock::Clock,
        folder::{Folder, boot_id},
        random::Jitter,
        work_pool::WorkPool,
    },
    sender::{Sender, SenderOptions},
    storage::local::journal::{
        self, Durability, Follower, Journal,
        in_place::{Plate, Stepper},
    },
    storage::local::{applier::Applier, index::open::Trust, open::Opening},
};

/// The first of January 2100: the files' real times never come after it.
pub(super) const START: u64 = 4_102_444_800_000;

/// The wall clock, which people and time servers set.
pub(super) struct Wall {
    /// True time, in milliseconds, when this life began.
    base: u64,
    born: Instant,
    pub offset: AtomicI64,
}

impl Wall {
    pub fn truth(&self) -> u64 {
        self.base + u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn set(&self, to_millis: u64) {
        let offset = i64::try_from(to_millis).unwrap_or(i64::MAX) - i64::try_from(self.truth()).unwrap_or(0);
        self.offset.store(offset, Relaxed);
    }
}

impl Clock for Wall {
    /// Of one machine, which is not off between two lives.
    fn running(&self) -> Duration {
        Duration::from_millis(self.truth() - START)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.truth().saturating_add_signed(self.offset.load(Relaxed)))
    }
}

/// What outlives every process.
pub(super) struct World {
    pub dir: PathBuf,
    pub stage: Arc<Stage>,
    pub plate: Arc<Plate>,
    pub truth: u64,
    pub offset: i64,
    pub lives: u64,
    pub cuts: u64,
}

/// How a life ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Shut down by a person.
    Stopped,
    Killed,
    /// The power is cut; of what was written and not synced, so many thousandths stay.
    Cut(u64),
    /// The store's files are gone or useless at the next start as well.
    KilledWithoutStore,
}

/// Holds up parts of the machine.
#[derive(Default)]
pub(super) struct Machine {
    /// The device does not answer until then, by simulation time.
    pub committer_stalls: AtomicU64,
    pub applier_stalls: AtomicU64,
    /// The store has failed and is to be opened again, as it is or empty.
    pub reopen: AtomicBool,
    pub distrust: AtomicBool,
    published: Notify,
}

/// A process that runs.
pub(super) struct Life {
    pub running: Running,
    pub shared: Arc<Shared>,
    pub wall: Arc<Wall>,
    pub machine: Arc<Machine>,
    pub stage: Arc<Stage>,
    pub plate: Arc<Plate>,
    parts: JoinSet<()>,
    keeper: Mutex<Keeper>,
}

impl World {
    /// Starts a process over the folder.
    pub fn boot(&mut self, profile: &Profile) -> Life {
        self.lives += 1;
        let wall = Arc::new(Wall {
            base: self.truth,
            born: Instant::now(),
            offset: AtomicI64::new(self.offset),
        });
        let folder = Folder::open(&self.dir, None).unwrap();
        let options = options(profile, self.dir.join("journal"), wall.clone(), self.lives);
        let (journal, recovery, stepper) =
            Stepper::open(options.journal.clone(), self.plate.clone()).unwrap();
        self.stage.born(recovery.last_lsn);
        self.stage.set_reads(profile.read_millis, profile.read_failures);
        let follower = journal.follow(recovery.last_lsn);
        let opening = Opening::over(&folder, (journal.clone(), recovery), options.local().unwrap()).unwrap();
        let (running, applier) = Running::assemble(folder, opening, options).unwrap();
        let shared = running.engine().0.clone();
        assert!(
            shared.stage.set(self.stage.clone()).is_ok(),
            "a stage for each life"
        );
        self.stage.applied(shared.storage.applied());
        let machine = Arc::new(Machine::default());
        let mut parts = JoinSet::new();
        let rng = fastrand::Rng::with_seed(profile.seed ^ (self.lives << 32));
        let committing = Committing {
            stepper,
            follower,
            stage: self.stage.clone(),
            machine: machine.clone(),
            rng: rng.clone(),
            most: profile.sync_millis,
        };
        parts.spawn(committing.run());
        let applying = Applying {
            applier,
            journal,
            shared: shared.clone(),
            stage: self.stage.clone(),
            machine: machine.clone(),
            rng,
            most: profile.apply_millis,
        };
        parts.spawn(applying.run());
        Life {
            running,
            shared,
            wall,
            machine,
            stage: self.stage.clone(),
            plate: self.plate.clone(),
            parts,
            keeper: Mutex::new(Keeper::new(self.dir.clone())),
        }
    }

    /// What a death leaves behind; called when the process is gone.
    pub fn bury(&mut self, death: Death) {
        self.stage.died(&format!("{death:?}"));
        match death {
            Death::Stopped | Death::Killed => {}
            Death::KilledWithoutStore => {
                let store = self.dir.join("store");
                if store.exists() {
                    fs::remove_dir_all(store).unwrap();
                }
            }
            Death::Cut(thousandths) => {
                self.cuts += 1;
                self.plate.cut(&self.dir.join("journal"), thousandths).unwrap();
                fs::write(self.dir.join("boot"), "another boot").unwrap();
                let clock = self.dir.join("clock");
                if let Ok(noted) = fs::read_to_string(&clock) {
                    fs::write(clock, noted.replace(&boot_id(), "another boot")).unwrap();
                }
            }
        }
    }
}

impl Life {
    /// Takes note of the time for the world, which goes on from it.
    pub fn note_time(&self, world: &mut World) {
        note_time(world, &self.wall, &self.stage);
    }

    /// Ends the process in order.
    pub async fn stop(self, world: &mut World) {
        let Self {
            running,
            shared,
            wall,
            stage,
            mut parts,
            ..
        } = self;
        drop(shared);
        running
            .stop(tokio_util::sync::CancellationToken::new())
            .await
            .unwrap();
        // The committer syncs when the journal is closed.
        sleep(Duration::from_secs(60)).await;
        parts.shutdown().await;
        note_time(world, &wall, &stage);
    }

    /// Looks whether everything is as it should be.
    pub fn tick(&self) {
        let ready = self.shared.storage.is_ready();
        self.keeper.lock().unwrap().look_now(&self.shared.clock);
        let mut stage = self.stage.lock();
        stage.wall = self.wall.now();
        stage.tick(&self.shared, ready);
    }
}

fn note_time(world: &mut World, wall: &Wall, stage: &Stage) {
    world.truth = wall.truth();
    world.offset = wall.offset.load(Relaxed);
    stage.stands_still();
}

fn options(profile: &Profile, dir: PathBuf, clock: Arc<Wall>, life: u64) -> StartOptions {
    let rules = AddressRules::dev();
    StartOptions {
        engine: EngineOptions {
            durability: Durability::Fsync,
            concurrency: profile.concurrency,
            timeout: Duration::from_secs(15),
            max_in_flight: profile.max_in_flight,
            breaker_after: profile.breaker_after,
            shutdown_grace: profile.grace,
            overdue_after: Duration::from_secs(300),
            retention: Retention::default(),
            idempotency_window: Duration::from_secs(86_400),
            max_endpoints: 100,
            memory: 64 * 1024 * 1024,
            encoded_limit: 4 * 1024 * 1024,
            attempt_detail: DetailBudget::new(2048),
            profiles: Profiles::default(),
            rules: rules.clone(),
            require_https: false,
            cloudevents_source: "/posthaste".to_owned(),
            origin: "posthaste.test".to_owned(),
        },
        journal: journal::Options {
            segment_bytes: profile.segment_bytes,
            ..journal::Options::new(dir)
        },
        store: crate::storage::local::index::TableOptions {
            cache_bytes: 1024 * 1024,
            buffer_bytes: 16 * 1024,
            indexes: crate::storage::local::index::Indexes::All,
        },
        // The applier is stepped without it.
        store_rewrite_bytes: u64::MAX,
        clock,
        jitter: Jitter::seeded(profile.seed ^ life),
        work: WorkPool::inline(),
        deliveries: None,
        sender: Sender::new(SenderOptions {
            rules,
            ..SenderOptions::default()
        }),
    }
}

/// The journal's committer as a task.
struct Committing {
    stepper: Stepper,
    follower: Follower,
    stage: Arc<Stage>,
    machine: Arc<Machine>,
    rng: fastrand::Rng,
    most: u64,
}

impl Committing {
    async fn run(mut self) {
        loop {
            self.stepper.wait().await;
            if self.most > 0 {
                sleep(Duration::from_millis(self.rng.u64(..=self.most))).await;
            }
            stall(&self.stage, &self.machine.committer_stalls).await;
            if let Err(failure) = self.stepper.step() {
                self.stage.lock().wrong(format!("the journal failed: {failure}"));
                return;
            }
            for entry in self.follower.try_next(usize::MAX, usize::MAX).unwrap() {
                self.stage.published(entry.lsn, codec::decode(&entry).unwrap());
            }
            self.machine.published.notify_one();
        }
    }
}

/// The store's applier as a task.
struct Applying {
    applier: Applier,
    journal: Journal,
    shared: Arc<Shared>,
    stage: Arc<Stage>,
    machine: Arc<Machine>,
    rng: fastrand::Rng,
    most: u64,
}

/// How often a store that is still being closed is tried again; half a second and more each time.
const REOPEN_TRIES: u32 = 100;

impl Applying {
    async fn run(mut self) {
        let mut ready = false;
        loop {
            if self.machine.reopen.swap(false, Relaxed) {
                self.reopen().await;
                ready = false;
            }
            let most = self.rng.usize(1..64);
            let some = self.applier.step(most).unwrap();
            if !std::mem::replace(&mut ready, self.shared.storage.is_ready()) && ready {
                self.stage.store_is_ready();
            }
            self.stage.applied(self.shared.storage.applied());
            if !some && self.shared.storage.applied() >= self.journal.published_lsn() {
                self.machine.published.notified().await;
            }
            if self.most > 0 {
                sleep(Duration::from_millis(self.rng.u64(..=self.most))).await;
            }
            stall(&self.stage, &self.machine.applier_stalls).await;
        }
    }

    async fn reopen(&mut self) {
        self.stage.say("the store fails");
        self.applier.suspend();
        sleep(Duration::from_millis(self.rng.u64(1..3000))).await;
        let distrusted = self.machine.distrust.swap(false, Relaxed);
        let trust = if distrusted { Trust::No } else { Trust::Yes };
        // Somebody still reads from the old store, or its threads are closing it.
        let mut tries = 0;
        while let Err(error) = self.applier.resume(trust).map_err(|error| error.to_string()) {
            tries += 1;
            if tries == REOPEN_TRIES {
                // A panic of this task would be seen by nobody.
                return self
                    .stage
                    .lock()
                    .wrong(format!("the store does not open: {error}"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.stage
            .say(&format!("the store is back, distrusted: {distrusted}"));
    }
}

impl Machine {
    /// The applier is to look up.
    pub fn fail_store(&self, distrust: bool) {
        self.distrust.store(distrust, Relaxed);
        self.reopen.store(true, Relaxed);
        self.published.notify_one();
    }
}

/// Waits while something is held up.
async fn stall(stage: &Stage, until: &AtomicU64) {
    loop {
        let left = until.load(Relaxed).saturating_sub(stage.lock().now());
        if left == 0 {
            return;
        }
        sleep(Duration::from_millis(left)).await;
    }
}

/// A folder for one run, in memory where the machine has a place for that.
pub(super) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}
