//! The applier: one thread that follows the journal, applies what it reads, and says what changed.
//!
//! It is also the one that repairs: when the store fails, it is closed and opened again, or begun afresh, and the
//! journal is replayed into it, while the journal goes on accepting ([`reopen`]).

mod reopen;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    LocalStorage, codec,
    open::Opened,
    reclaim::{self, Again, Bench, Reclaimer, Trouble},
    rewriter::{Rewriter, Work},
    unreadable::Unreadable,
};
use crate::{
    domain::id::Lsn,
    runtime::chain::chain,
    storage::local::index::{Placed, Store, StoreError, open},
    storage::local::journal::{Entry, Follower, Next, ReadError, Stopper},
    storage::{Applied, Change, Changes, Effect, Host},
};

/// Records applied as one batch: a few milliseconds of work.
const BATCH_RECORDS: usize = 1024;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// At least this long from one batch to the next. Every batch, however small, costs sled two writes and the waking of
/// all its threads, so while records keep coming they are let gather; one that comes alone is applied at once.
const PACE: Duration = Duration::from_millis(2);
/// At least this long from one writing out of the store's memory to the next that is not for want of room: soon after a
/// change of what is configured, which must not depend on the journal alone; sometimes in any case, so that the replay
/// after a crash stays short.
const FOLD_SOON: Duration = Duration::from_secs(1);
const FOLD_LATER: Duration = Duration::from_secs(60);
/// Between looks whether the store has caught up.
const UNTIL_READY: Duration = Duration::from_secs(60);

/// Stops the applier.
#[derive(Clone)]
pub struct ApplierStop {
    stopped: Arc<AtomicBool>,
    stopper: Arc<std::sync::Mutex<Stopper>>,
}

impl ApplierStop {
    /// Ends the applier for good.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Makes the applier look up: the store is to be opened again.
    pub fn wake(&self) {
        self.stopper
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .stop();
    }
}

pub struct Applier {
    storage: Arc<LocalStorage>,
    host: Arc<dyn Host>,
    /// `None` while it is being opened again.
    store: Option<Store>,
    follower: Follower,
    open: open::Options,
    stop: ApplierStop,
    /// The store is behind until it has applied this record.
    target: Lsn,
    applied_at: Instant,
    folded_at: Option<Instant>,
    /// When the store's memory is to be written out, if there is anything in it.
    fold_at: Option<Instant>,
    reopened_at: Option<Instant>,
    unreadable: Unreadable,
    rewriter: Rewriter,
    /// Gives space back, between batches.
    reclaimer: Reclaimer,
    /// Records applied since it was last its turn.
    applied: usize,
}

/// Why the applier looks up from the journal.
enum Pause {
    Stopped,
    Reopen,
    /// The copy of the store is whole.
    Swap,
}

impl Applier {
    pub fn new(
        storage: Arc<LocalStorage>,
        host: Arc<dyn Host>,
        Opened {
            store,
            options: open,
            rewriter,
        }: Opened,
    ) -> Self {
        let applied = storage.served.applied();
        let follower = storage.journal.follow(applied);
        let stop = ApplierStop {
            stopped: Arc::new(AtomicBool::new(false)),
            stopper: Arc::new(std::sync::Mutex::new(follower.stopper())),
        };
        let target = storage.journal.last_lsn();
        let reclaimer = storage.reclaimer();
        Self {
            reclaimer,
            applied: 0,
            storage,
            host,
            store: Some(store),
            follower,
            open,
            stop,
            target,
            applied_at: Instant::now(),
            folded_at: None,
            fold_at: None,
            reopened_at: None,
            unreadable: Unreadable::default(),
            rewriter,
        }
    }

    pub fn stopper(&self) -> ApplierStop {
        self.stop.clone()
    }

    /// Runs until stopped. Gives the store back flushed.
    pub fn run(mut self) {
        loop {
            match self.follow() {
                Ok(Pause::Stopped) => break,
                // A store that fails at the end is not opened again for it.
                _ if self.stop.stopped.load(Ordering::Acquire) => break,
                Ok(Pause::Reopen) => self.reopen(false),
                Ok(Pause::Swap) => self.swap(),
                Err(error) => {
                    tracing::error!(error = %chain(&error), "the store failed");
                    self.reopen(error.is_temporary());
                }
            }
        }
        if let Some(Err(error)) = self.store.as_ref().map(Store::flush) {
            tracing::warn!(error = %chain(&error), "the store could not be flushed; it will be replayed");
        }
    }

    fn follow(&mut self) -> Result<Pause, StoreError> {
        let Some(store) = self.store.clone() else {
            return Ok(Pause::Reopen);
        };
        loop {
            self.pace();
            self.fold(&store)?;
            let work = self.rewrite(&store);
            if work == Work::Swap {
                return Ok(Pause::Swap);
            }
            let again = match (work, self.keep_up(&store)?) {
                (Work::More, Again::In(patience)) => Again::In(patience.min(PACE)),
                (_, again) => again,
            };
            let again = self.no_later_than_fold(again);
            let entries = self.next(&store, again)?;
            if self.follower.take_unread() {
                open::mark_incomplete(&self.open.data);
            }
            match entries {
                None if self.stop.stopped.load(Ordering::Acquire) => return Ok(Pause::Stopped),
                // Without a journal there is nothing to follow; the process is about to end.
                None if self.storage.journal.failure().borrow().is_some() => return Ok(Pause::Stopped),
                None => return Ok(Pause::Reopen),
                Some(entries) => self.apply(&store, entries)?,
            }
        }
    }

    /// Lets records gather until the next batch may be applied.
    fn pace(&self) {
        std::thread::sleep(PACE.saturating_sub(self.applied_at.elapsed()));
    }

    /// Copies a portion of the store, if it is to be written afresh.
    fn rewrite(&mut self, store: &Store) -> Work {
        if self.storage.served.is_ready() {
            self.rewriter.work(store)
        } else {
            Work::None
        }
    }

    /// The next records; waits for them when there are none and nothing else to do.
    fn next(&mut self, store: &Store, again: Again) -> Result<Option<Vec<Entry>>, StoreError> {
        match self.read() {
            Ok(entries) if entries.is_empty() => {
                // Not what is written or synced: that is so a moment before it is handed out.
                self.caught_up(store, self.follower.passed())?;
                let patience = match again {
                    Again::Now => Duration::ZERO,
                    Again::In(patience) => patience,
                };
                let next = self.follower.next_within(BATCH_RECORDS, BATCH_BYTES, patience);
                Ok(match next {
                    Ok(Next::Records(entries)) => Some(entries),
                    Ok(Next::Late) => Some(Vec::new()),
                    Ok(Next::Ended) => None,
                    Err(error) => {
                        self.wait_until_readable(&error);
                        Some(Vec::new())
                    }
                })
            }
            Ok(entries) => Ok(Some(entries)),
            Err(error) => {
                self.wait_until_readable(&error);
                Ok(Some(Vec::new()))
            }
        }
    }

    fn read(&mut self) -> Result<Vec<Entry>, ReadError> {
        let entries = self.follower.try_next(BATCH_RECORDS, BATCH_BYTES)?;
        self.unreadable.worked(&self.storage.unreadable);
        Ok(entries)
    }

    fn wait_until_readable(&mut self, error: &ReadError) {
        let pause = self.unreadable.failed(error, &self.storage.unreadable);
        self.follower.rest(pause);
    }

    fn apply(&mut self, store: &Store, entries: Vec<Entry>) -> Result<(), StoreError> {
        let Some(last) = entries.last().map(|entry| entry.lsn) else {
            return Ok(());
        };
        let placed: Vec<Placed> = entries.iter().filter_map(|entry| self.placed(entry)).collect();
        self.applied_at = Instant::now();
        self.applied += placed.len();
        let changes = store.apply(self.storage.journal.uuid(), &placed)?;
        self.plan_fold(&changes);
        self.publish(store, changes)?;
        self.advance(last);
        Ok(())
    }

    fn plan_fold(&mut self, changes: &Changes) {
        let at = match self.folded_at {
            None => self.applied_at,
            Some(folded) if changes.configure() => folded + FOLD_SOON,
            Some(folded) => folded + FOLD_LATER,
        };
        self.fold_at = Some(self.fold_at.map_or(at, |planned| planned.min(at)));
    }

    fn fold(&mut self, store: &Store) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.fold_at.is_some_and(|at| at <= now) {
            self.fold_at = None;
            self.folded_at = Some(now);
            store.begin_fold()?;
        }
        Ok(())
    }

    fn no_later_than_fold(&self, again: Again) -> Again {
        match (again, self.fold_at) {
            (Again::In(patience), Some(at)) => {
                Again::In(patience.min(at.saturating_duration_since(Instant::now())))
            }
            (again, _) => again,
        }
    }

    /// As much of what gives space back as was applied since, so that it is not outrun; answers when more is due.
    fn keep_up(&mut self, store: &Store) -> Result<Again, StoreError> {
        let pieces = 1 + std::mem::take(&mut self.applied) / reclaim::RECORDS_AT_ONCE;
        let mut again = Again::Now;
        for _ in 0..pieces {
            again = self.reclaim(store)?;
            if again != Again::Now || self.stop.stopped.load(Ordering::Acquire) {
                break;
            }
        }
        Ok(again)
    }

    /// A piece of what gives space back; answers when the next is due.
    fn reclaim(&mut self, store: &Store) -> Result<Again, StoreError> {
        if !self.storage.served.is_ready() || self.storage.segments_unread {
            return Ok(Again::In(UNTIL_READY));
        }
        let (storage, host) = (self.storage.clone(), self.host.clone());
        let mut reclaimer = std::mem::replace(&mut self.reclaimer, storage.reclaimer());
        let again = reclaimer.step(&mut Bench {
            journal: &storage.journal,
            store,
            now: host.now(),
            ago: &|span| host.ago(span),
            keys_over: host.over(storage.idempotency_window),
            tick: Instant::now(),
            inactive: &|| host.inactive(),
            catch_up: &mut || self.drain(store),
        });
        let expired = reclaimer.take_expired();
        if !expired.is_empty() {
            host.changed(Change::HeldExpired(expired));
        }
        self.reclaimer = reclaimer;
        again
    }

    /// Applies everything that is published.
    fn drain(&mut self, store: &Store) -> Result<(), Trouble> {
        loop {
            let entries = self.follower.try_next(BATCH_RECORDS, BATCH_BYTES)?;
            if entries.is_empty() {
                break;
            }
            self.apply(store, entries)?;
        }
        self.advance(self.follower.passed());
        // One that is told to stop hands out nothing more, whatever there is.
        if self.follower.passed() < self.storage.journal.published_lsn() {
            return Err(Trouble::Behind);
        }
        Ok(())
    }

    /// A record that does not decode is passed over and named: it is as good as damaged.
    fn placed(&self, entry: &Entry) -> Option<Placed> {
        match codec::decode(entry) {
            Ok(record) => Some(Placed {
                lsn: entry.lsn,
                place: codec::place(entry.location),
                record,
            }),
            Err(error) => {
                tracing::error!(lsn = entry.lsn, error = %chain(&error), "a journal record does not decode");
                None
            }
        }
    }

    fn advance(&self, lsn: Lsn) {
        // Whoever sees it applied finds its claims in the index alone.
        self.storage.claims.applied(lsn);
        self.storage.served.set_applied(lsn);
    }

    /// Everything up to `lsn` is applied, or damaged.
    fn caught_up(&mut self, store: &Store, lsn: Lsn) -> Result<(), StoreError> {
        self.advance(lsn);
        if !self.storage.served.is_ready() && lsn >= self.target {
            let configuration = self.storage.configuration_in(store)?;
            self.host.changed(Change::Configured(configuration));
            self.storage.served.set_ready();
            self.host.changed(Change::Reset);
            open::remove_discarded(&self.open.data);
            tracing::info!(applied_lsn = lsn, "the store has caught up with the journal");
        }
        Ok(())
    }

    /// Tells the host. Nothing is told before the store has caught up.
    fn publish(&self, store: &Store, changes: Changes) -> Result<(), StoreError> {
        if !self.storage.served.is_ready() || changes.is_empty() {
            return Ok(());
        }
        let Changes {
            effects,
            api_keys,
            event_types,
        } = changes;
        let changed = |effect: &Effect| match effect {
            Effect::Endpoint(id) => Some(*id),
            Effect::Due { .. } | Effect::Settled { .. } | Effect::Moved { .. } => None,
        };
        let endpoints: BTreeSet<_> = effects.iter().filter_map(changed).collect();
        let mut applied = Applied {
            effects,
            api_keys: api_keys.then(|| store.api_keys()).transpose()?,
            ..Applied::default()
        };
        for id in endpoints {
            applied.endpoints.extend(store.endpoint(id)?.map(|row| (id, row)));
        }
        let mut rows = Vec::with_capacity(event_types.len());
        for name in event_types {
            match store.event_type(&name)? {
                None => applied.undeclared.push(name),
                Some(row) => rows.push((name, row)),
            }
        }
        applied.event_types = self.storage.declared(rows);
        self.host.changed(Change::Applied(applied));
        Ok(())
    }
}

/// What a simulation does in the thread's place.
#[cfg(test)]
impl Applier {
    /// Applies at most so many records, without waiting; answers whether there were any.
    pub fn step(&mut self, most: usize) -> Result<bool, StoreError> {
        let Some(store) = self.store.clone() else {
            return Ok(false);
        };
        let entries = self.follower.try_next(most, BATCH_BYTES).unwrap_or_default();
        if entries.is_empty() {
            self.caught_up(&store, self.follower.passed())?;
            return Ok(false);
        }
        self.apply(&store, entries).map(|()| true)
    }

    /// Takes the store away, as for one that failed.
    pub fn suspend(&mut self) {
        self.storage.served.withdraw();
        self.host.changed(Change::Suspended);
        self.store = None;
    }

    /// Opens it again.
    pub fn resume(&mut self, trust: open::Trust) -> Result<(), Box<dyn std::error::Error>> {
        self.try_reopen(trust)
    }
}
