//! Threads for work that uses much CPU time or waits for the disk: conditions, templates, schemas, lists.
//!
//! # The cast
//!
//! A [`WorkPool`] is a small runtime of its own. A job is a future that is polled there, one [`limits::WORK_SLICE`] at a
//! time. An [`Owner`] is whom a job's time is counted against: a tenant, or the server's operator where there is none.
//!
//! # The flow
//!
//! Each poll of a job needs a turn. Turns go round the owners that wait, whatever the number of their jobs. Work that is
//! long calls [`pass`] between its steps: after a slice it lines up again behind the other jobs of its owner. A job that waits
//! for something else, such as a commit, has no turn meanwhile.
//!
//! # What it guarantees
//!
//! - The async threads do none of this work, so that probes, plain events and plain deliveries do not wait for it.
//! - A tenant has at most half of the threads, so that one evaluation that cannot be interrupted leaves room for others.
//! - A tenant has at most [`limits::WORK_JOBS`] jobs of requests; more are refused as [`Refused::Busy`].
//! - A job whose caller has stopped waiting ends at its next step. A job that has used [`limits::WORK_REQUEST_MOST`] of
//!   CPU time ends as [`Refused::TooLong`].
//!
//! # What it does not
//!
//! It does not interrupt a single step: a condition, a template, a row. Each of these has a budget of its own.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZero,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use crate::domain::{event::Label, limits};

/// Whom a job's time is counted against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    tenant: Option<Label>,
    kind: Kind,
}

/// What a job is for. The two kinds of one tenant have lines of their own, so that a backlog of deliveries does not keep
/// the tenant's requests waiting.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Request,
    Attempt,
}

impl Owner {
    /// For something that a tenant, or the operator, asked for.
    pub const fn request(tenant: Option<Label>) -> Self {
        let kind = Kind::Request;
        Self { tenant, kind }
    }

    /// For a delivery. The caller bounds how many there are.
    pub const fn attempt(tenant: Option<Label>) -> Self {
        let kind = Kind::Attempt;
        Self { tenant, kind }
    }

    /// The operator's requests are bounded by the connections there may be.
    fn is_bounded(&self) -> bool {
        self.tenant.is_some() && self.kind == Kind::Request
    }
}

/// Why a job was not carried out, or not to its end.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("too many requests of this tenant are at work or wait; try again in a second")]
    Busy,
    #[error("the request needs too much computing time; ask for less at once")]
    TooLong,
    #[error("the server is stopping")]
    Stopping,
}

/// How a job stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Pace {
    GoOn,
    /// The request's time is used up: answer with what there is.
    Finish,
}

/// The threads, and whose turn it is. Cheap to clone.
#[derive(Clone)]
pub struct WorkPool(Option<Pool>);

#[derive(Clone)]
struct Pool {
    runtime: Handle,
    turns: Arc<Turns>,
}

impl WorkPool {
    /// A pool, and the runtime with its threads: as many as there are cores, and at least two. The caller shuts it down.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn start() -> std::io::Result<(Self, Runtime)> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::with_threads(cores.max(2))
    }

    fn with_threads(threads: usize) -> std::io::Result<(Self, Runtime)> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("work")
            .enable_all()
            .build()?;
        let pool = Pool {
            runtime: runtime.handle().clone(),
            turns: Arc::new(Turns::new(threads)),
        };
        Ok((Self(Some(pool)), runtime))
    }

    /// No threads: jobs run where they are asked for. For tests, and for simulations, which have one thread.
    pub const fn inline() -> Self {
        Self(None)
    }

    pub const fn has_threads(&self) -> bool {
        self.0.is_some()
    }

    /// Carries out a job in its owner's turns. Within a job this is the job itself.
    ///
    /// # Errors
    /// See [`Refused`].
    ///
    /// # Cancel safety
    /// The job ends at its next step when this is dropped.
    pub async fn run<F>(&self, owner: Owner, work: F) -> Result<F::Output, Refused>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Some(pool) = self.0.as_ref().filter(|_| !is_job()) else {
            return Ok(work.await);
        };
        let job = Job {
            place: pool.turns.clone().admit(owner)?,
            work: Box::pin(work),
            waiting: None,
            spent: Duration::ZERO,
        };
        let handle = AbortOnDropHandle::new(pool.runtime.spawn(job));
        match handle.await {
            Ok(done) => done,
            // A panic is the caller's to handle, as if it had done the work itself.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err(Refused::Stopping),
        }
    }
}

tokio::task_local! {
    /// The turn of the job that is being polled.
    static TURN: Turn;
}

#[derive(Copy, Clone)]
struct Turn {
    began: Instant,
    /// What the job had used before.
    spent: Duration,
}

fn is_job() -> bool {
    TURN.try_with(|_| ()).is_ok()
}

/// To be called between the steps of long work: after a slice of time the others have their turns. Outside a pool it does
/// nothing.
///
/// # Cancel safety
/// Safe.
pub async fn pass() -> Pace {
    let Ok(turn) = TURN.try_with(|turn| *turn) else {
        return Pace::GoOn;
    };
    let used = turn.began.elapsed();
    if used >= limits::WORK_SLICE {
        tokio::task::yield_now().await;
    }
    if turn.spent + used < limits::WORK_REQUEST {
        Pace::GoOn
    } else {
        Pace::Finish
    }
}

/// A job: its work, polled only in a turn.
struct Job<F> {
    place: Place,
    work: Pin<Box<F>>,
    /// It is in line.
    waiting: Option<oneshot::Receiver<Permit>>,
    /// Time under a permit.
    spent: Duration,
}

impl<F: Future> Future for Job<F> {
    type Output = Result<F::Output, Refused>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let job = self.get_mut();
        let permit = match &mut job.waiting {
            Some(waiting) => ready!(Pin::new(waiting).poll(context)),
            None => match job.place.take_turn() {
                Ok(permit) => Ok(permit),
                Err(waiting) => ready!(Pin::new(job.waiting.insert(waiting)).poll(context)),
            },
        };
        job.waiting = None;
        let Ok(_permit) = permit else {
            return Poll::Ready(Err(Refused::Stopping));
        };
        if job.spent >= limits::WORK_REQUEST_MOST {
            return Poll::Ready(Err(Refused::TooLong));
        }
        let turn = Turn {
            began: Instant::now(),
            spent: job.spent,
        };
        let polled = TURN.sync_scope(turn, || job.work.as_mut().poll(context));
        job.spent += turn.began.elapsed();
        polled.map(Ok)
    }
}

/// Whose turn it is.
struct Turns {
    state: Mutex<State>,
    threads: usize,
}

#[derive(Default)]
struct State {
    running: usize,
    /// Of those, each tenant's.
    running_of: HashMap<Option<Label>, usize>,
    lines: HashMap<Owner, Line>,
    /// Owners with jobs in line, in the order of their turns.
    ring: VecDeque<Owner>,
}

#[derive(Default)]
struct Line {
    jobs: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// A job's place among its owner's.
struct Place {
    turns: Arc<Turns>,
    owner: Owner,
}

/// The right to use a thread.
struct Permit {
    turns: Arc<Turns>,
    tenant: Option<Label>,
}

impl Turns {
    fn new(threads: usize) -> Self {
        Self {
            state: Mutex::default(),
            threads,
        }
    }

    fn admit(self: Arc<Self>, owner: Owner) -> Result<Place, Refused> {
        let mut state = self.lock();
        let line = state.lines.entry(owner.clone()).or_default();
        if owner.is_bounded() && line.jobs >= limits::WORK_JOBS {
            return Err(Refused::Busy);
        }
        line.jobs += 1;
        drop(state);
        Ok(Place { turns: self, owner })
    }

    /// Threads that one tenant may have. The operator is trusted with all.
    fn share(&self, tenant: Option<&Label>) -> usize {
        match tenant {
            None => self.threads,
            Some(_) => (self.threads / 2).max(1),
        }
    }

    fn may_run(&self, state: &State, tenant: &Option<Label>) -> bool {
        let own = state.running_of.get(tenant).copied().unwrap_or_default();
        state.running < self.threads && own < self.share(tenant.as_ref())
    }

    fn permit(self: &Arc<Self>, state: &mut State, tenant: &Option<Label>) -> Permit {
        state.running += 1;
        *state.running_of.entry(tenant.clone()).or_default() += 1;
        Permit {
            turns: self.clone(),
            tenant: tenant.clone(),
        }
    }

    /// The next owner in the ring that may run, and its first job.
    fn next(self: &Arc<Self>, state: &mut State) -> Option<(oneshot::Sender<Permit>, Permit)> {
        let at = state
            .ring
            .iter()
            .position(|owner| self.may_run(state, &owner.tenant))?;
        let owner = state.ring.remove(at)?;
        let line = state.lines.get_mut(&owner)?;
        let first = line.waiting.pop_front()?;
        let (more, jobs) = (!line.waiting.is_empty(), line.jobs);
        let permit = self.permit(state, &owner.tenant);
        if more {
            state.ring.push_back(owner);
        } else if jobs == 0 {
            state.lines.remove(&owner);
        }
        Some((first, permit))
    }

    fn release(self: &Arc<Self>, tenant: &Option<Label>) {
        let mut granted = Vec::new();
        {
            let mut state = self.lock();
            state.running -= 1;
            if let Some(own) = state.running_of.get_mut(tenant) {
                *own -= 1;
                if *own == 0 {
                    state.running_of.remove(tenant);
                }
            }
            while let Some(next) = self.next(&mut state) {
                granted.push(next);
            }
        }
        for (job, permit) in granted {
            // A job that has gone meanwhile gives its permit back as it is dropped here.
            _ = job.send(permit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// A turn, or a place in line for one.
    fn take_turn(&self) -> Result<Permit, oneshot::Receiver<Permit>> {
        let mut state = self.turns.lock();
        if self.turns.may_run(&state, &self.owner.tenant) {
            return Ok(self.turns.permit(&mut state, &self.owner.tenant));
        }
        let (job, turn) = oneshot::channel();
        let line = state.lines.entry(self.owner.clone()).or_default();
        let first = line.waiting.is_empty();
        line.waiting.push_back(job);
        if first {
            state.ring.push_back(self.owner.clone());
        }
        Err(turn)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        if let Some(line) = state.lines.get_mut(&self.owner) {
            line.jobs -= 1;
            if line.jobs == 0 && line.waiting.is_empty() {
                state.lines.remove(&self.owner);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.turns.release(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    };

    use super::*;

    fn tenant(name: &str) -> Owner {
        Owner::request(Some(name.parse().unwrap()))
    }

    /// Answers when the other end is dropped. Blocks, as a long step does.
    fn until_released() -> (mpsc::SyncSender<()>, impl FnOnce() + Send + 'static) {
        let (held, released) = mpsc::sync_channel(1);
        (held, move || _ = released.recv())
    }

    fn ended(runtime: Runtime) {
        runtime.shutdown_background();
    }

    #[tokio::test]
    async fn one_tenants_steps_leave_a_thread_to_others() {
        let (pool, runtime) = WorkPool::with_threads(2).unwrap();
        let mut long = Vec::new();
        let mut waiting = Vec::new();
        for _ in 0..4 {
            let (held, step) = until_released();
            long.push(held);
            let pool = pool.clone();
            waiting.push(async move { pool.run(tenant("a"), async move { step() }).await });
        }
        let all = tokio::task::LocalSet::new();
        let jobs: Vec<_> = waiting.into_iter().map(|job| all.spawn_local(job)).collect();
        all.run_until(async {
            tokio::task::yield_now().await;
            for _ in 0..100 {
                assert_eq!(pool.run(tenant("b"), async { 7 }).await, Ok(7));
            }
            drop(long);
            for job in jobs {
                assert_eq!(job.await.unwrap(), Ok(()));
            }
        })
        .await;
        ended(runtime);
    }

    #[tokio::test]
    async fn long_jobs_take_turns() {
        let (pool, runtime) = WorkPool::with_threads(2).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let endless = |owner| {
            let (pool, stop) = (pool.clone(), stop.clone());
            async move {
                let work = async move {
                    while !stop.load(Ordering::Relaxed) {
                        pass().await;
                    }
                };
                pool.run(owner, work).await
            }
        };
        let all = tokio::task::LocalSet::new();
        let jobs: Vec<_> = ["a", "a", "b", "b"]
            .into_iter()
            .map(|name| all.spawn_local(endless(tenant(name))))
            .collect();
        all.run_until(async {
            tokio::task::yield_now().await;
            for _ in 0..20 {
                assert_eq!(pool.run(tenant("c"), async { 7 }).await, Ok(7));
                assert_eq!(pool.run(tenant("a"), async { 8 }).await, Ok(8));
            }
            stop.store(true, Ordering::Relaxed);
            for job in jobs {
                assert_eq!(job.await.unwrap(), Ok(()));
            }
        })
        .await;
        ended(runtime);
    }

    #[tokio::test]
    async fn a_job_whose_caller_has_gone_ends_at_its_next_step() {
        struct Gone(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                _ = self.0.take().map(|gone| gone.send(()));
            }
        }
        let (pool, runtime) = WorkPool::with_threads(2).unwrap();
        let (gone, was_dropped) = tokio::sync::oneshot::channel();
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let gone = Gone(Some(gone));
        let endless = async move {
            let _gone = gone;
            _ = began.send(());
            loop {
                pass().await;
            }
        };
        tokio::select! {
            _ = pool.run(tenant("a"), endless) => {}
            _ = has_begun => {}
        }
        was_dropped.await.unwrap();
        ended(runtime);
    }

    #[tokio::test]
    async fn a_tenant_has_so_many_jobs_and_no_more() {
        let (pool, runtime) = WorkPool::with_threads(2).unwrap();
        let mut jobs = Vec::new();
        for _ in 0..limits::WORK_JOBS {
            let mut idle = Box::pin(pool.run(tenant("a"), std::future::pending::<()>()));
            assert!(futures_util::poll!(&mut idle).is_pending());
            jobs.push(idle);
        }
        assert_eq!(pool.run(tenant("a"), async {}).await, Err(Refused::Busy));
        assert_eq!(pool.run(tenant("b"), async {}).await, Ok(()));
        assert_eq!(pool.run(Owner::request(None), async {}).await, Ok(()));
        let attempt = Owner::attempt(Some("a".parse().unwrap()));
        assert_eq!(pool.run(attempt, async {}).await, Ok(()));
        drop(jobs);
        // They end in their own time.
        while pool.run(tenant("a"), async {}).await.is_err() {
            tokio::task::yield_now().await;
        }
        ended(runtime);
    }

    #[tokio::test]
    async fn work_within_a_job_is_the_job() {
        let (pool, runtime) = WorkPool::with_threads(2).unwrap();
        let inner = pool.clone();
        let work = async move { inner.run(tenant("a"), async { is_job() }).await };
        assert_eq!(pool.run(tenant("a"), work).await, Ok(Ok(true)));
        assert_eq!(
            WorkPool::inline().run(tenant("a"), async { is_job() }).await,
            Ok(false)
        );
        ended(runtime);
    }

    #[tokio::test]
    async fn a_panic_is_the_callers() {
        use futures_util::FutureExt as _;
        let (pool, runtime) = WorkPool::with_threads(2).unwrap();
        let broken = pool.run(tenant("a"), async { panic!("broken") });
        let caught = std::panic::AssertUnwindSafe(broken).catch_unwind().await;
        assert!(caught.is_err());
        assert_eq!(pool.run(tenant("a"), async { 7 }).await, Ok(7));
        ended(runtime);
    }
}
