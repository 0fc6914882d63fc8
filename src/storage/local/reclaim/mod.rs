//! Giving space back: what is settled and past its time goes, what still waits is carried forward.
//!
//! # The cast
//!
//! The [`Reclaimer`] works in the applier's thread, a bounded piece at a time, between the batches that that applies.
//! [`weigh`] finds out what of the oldest segments is still needed, [`moving`] carries that forward and has the segments
//! deleted, [`held`] ends what was held for too long. [`begin()`] is how a store begins whose journal has lost its oldest
//! records in this way.
//!
//! # The flow
//!
//! A segment is looked at when every event and attempt in it is past its time, or when space is short. Its records are
//! read: an event whose deliveries have all ended is **forgotten** (one record names it), one that still waits is
//! **carried** (one record holds a copy of it, and its rows as they are). Both under a pause of the journal, with every
//! record applied, so that what is said of an event is so at that place in the journal and nowhere contradicted. Then
//! follow the configuration that stood there, and at last all counts; then the journal deletes the segments.
//!
//! # What it guarantees
//!
//! - What is not settled is never lost: it is durable further on before it is deleted in front, and whatever the store
//!   knows of that still points below the new floor is sought once more before.
//! - A store made from what is left of the journal equals the one that lived through it, byte for byte.
//! - Whatever it is interrupted in can be done again. Carrying twice is harmless.
//! - A segment is taken only when at least half of it is of no more use, or some of those behind it make up for it, so that
//!   the same events are not carried round and round.
//!
//! # What it does not
//!
//! It frees nothing of the segment that is being written, and never deletes in the middle: see docs/adr/0006. sled's own
//! files do not shrink by it.

mod begin;
mod carry;
mod held;
mod limits;
mod moving;
mod reading;
mod weigh;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

pub(super) use begin::begin;
pub(super) use limits::RECORDS_AT_ONCE;
use tokio::time::Instant;

use self::{held::Round, limits as at_most, moving::Move, weigh::Weigher};
use super::codec;
use crate::{
    domain::{
        id::{EndpointId, Lsn},
        reclaim::{AttemptsForgotten, AuditForgotten, IdempotencyForgotten, RollupsFolded},
        record::Record,
        rollup::Interval,
        time::Timestamp,
    },
    runtime::{chain::chain, codec::CodecError},
    storage::local::index::{Store, StoreError},
    storage::local::journal::{AppendError, Draft, Journal, Pause, ReadError, ReclaimError},
};

/// How long things are kept, and how much of them.
#[derive(Copy, Clone, Debug)]
pub struct Retention {
    /// Settled events, and held deliveries.
    pub events: Duration,
    /// Attempts; no longer than events.
    pub attempts: Duration,
    /// Entries of the audit log.
    pub audit: Duration,
    /// Rollups by the minute; older ones are folded into hours.
    pub minutes: Duration,
    /// Rollups by the hour.
    pub hours: Duration,
    /// Bytes of the journal past which the oldest settled events go before their time; 0 for none.
    pub max_journal_bytes: u64,
    /// Bytes of held deliveries' events past which the oldest are ended before their time; 0 for none.
    pub max_held_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        let month = Duration::from_secs(30 * 86_400);
        Self {
            events: month,
            attempts: month,
            audit: Duration::from_secs(365 * 86_400),
            minutes: Duration::from_secs(2 * 86_400),
            hours: month,
            max_journal_bytes: 8 << 30,
            max_held_bytes: 4 << 30,
        }
    }
}

impl Retention {
    fn attempts(&self) -> Duration {
        self.attempts.min(self.events)
    }

    fn look_every(&self) -> Duration {
        (self.events / 8).clamp(at_most::SHORTEST_LOOK, at_most::LONGEST_LOOK)
    }
}

/// What stands in the way. Only a failure of the store is more than a reason to try again later.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("cannot read the journal")]
    Read(#[from] ReadError),
    #[error("cannot append to the journal")]
    Append(#[from] AppendError),
    #[error("cannot delete segments")]
    Reclaim(#[from] ReclaimError),
    #[error("cannot encode a record")]
    Encode(#[from] CodecError),
    #[error("the store is behind the journal")]
    Behind,
    #[error("events below record {0} could be neither forgotten nor carried")]
    Stuck(Lsn),
}

/// What the reclaimer works on: a store that has caught up.
pub(super) struct Bench<'a> {
    pub journal: &'a Journal,
    pub store: &'a Store,
    /// Engine time.
    pub now: Timestamp,
    /// The engine time since which so much time has passed.
    pub ago: &'a dyn Fn(Duration) -> Timestamp,
    /// Idempotency keys are over whose end is not after this.
    pub keys_over: Timestamp,
    pub tick: Instant,
    /// The endpoints that may not be sent to now.
    pub inactive: &'a dyn Fn() -> Vec<EndpointId>,
    /// Applies everything that is published.
    pub catch_up: &'a mut dyn FnMut() -> Result<(), Trouble>,
}

impl Bench<'_> {
    /// Stands still, with everything applied. What takes time is done before: the backlog is applied, and the store has room
    /// for what the pause will write, so that under it nobody waits for the store's memory to be written out.
    fn pause(&mut self) -> Result<Pause, Trouble> {
        for _ in 0..at_most::PREPARATIONS {
            (self.catch_up)()?;
            if !self.store.make_room()? {
                break;
            }
        }
        let pause = self.journal.pause()?;
        (self.catch_up)()?;
        Ok(pause)
    }

    /// Appends under a pause, and applies.
    fn append(&mut self, pause: &Pause, records: &[Record]) -> Result<(), Trouble> {
        if records.is_empty() {
            return Ok(());
        }
        let drafts: Result<Vec<Draft>, _> = records.iter().map(codec::encode).collect();
        pause.append(drafts?)?;
        (self.catch_up)()
    }
}

/// When to call again.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// There is more to do.
    Now,
    /// There is nothing to do before this, unless a segment is sealed.
    In(Duration),
}

/// Something to be done, piece by piece.
enum Chore {
    Attempts,
    Audit,
    Rollups,
    /// Beyond this key.
    Keys(Option<Vec<u8>>),
    Held(Box<Round>),
    Weigh,
    Move(Box<Move>),
}

/// What came of a piece of work.
enum Piece {
    /// Go on with this.
    Go(Chore),
    Done,
}

pub(super) struct Reclaimer {
    retention: Retention,
    /// How long an idempotency key is remembered.
    idempotency_window: Duration,
    chores: VecDeque<Chore>,
    weigher: Weigher,
    /// When everything is looked at again.
    look_at: Option<Instant>,
    /// Segments are left alone until then.
    segments_at: Option<Instant>,
    /// How long they are left alone the next time that nothing is worth the while.
    patience: Duration,
    keys_at: Option<Instant>,
    held_at: Option<Instant>,
    /// Below this record there are no attempts any more.
    attempts_from: Lsn,
    /// Segments begun, when that was last looked at.
    rolls: u64,
    /// Deliveries that were ended though held, by endpoint, and not told of yet.
    expired: BTreeMap<EndpointId, u64>,
}

impl Reclaimer {
    pub fn new(retention: Retention, idempotency_window: Duration) -> Self {
        Self {
            idempotency_window,
            patience: at_most::FIRST_PATIENCE,
            retention,
            chores: VecDeque::new(),
            weigher: Weigher::default(),
            look_at: None,
            segments_at: None,
            keys_at: None,
            held_at: None,
            attempts_from: 0,
            rolls: 0,
            expired: BTreeMap::new(),
        }
    }

    /// Drops what is half done: the store is another one.
    pub fn reset(&mut self) {
        self.chores.clear();
        self.weigher = Weigher::default();
        self.attempts_from = 0;
    }

    /// How many held deliveries of which endpoints have been ended since this was last asked, once a round is through.
    pub fn take_expired(&mut self) -> BTreeMap<EndpointId, u64> {
        let counting = self.chores.iter().any(|chore| matches!(chore, Chore::Held(_)));
        if counting {
            BTreeMap::new()
        } else {
            std::mem::take(&mut self.expired)
        }
    }

    /// Does a bounded piece of work.
    ///
    /// # Errors
    /// When the store fails. Other trouble is said, and tried again later.
    pub fn step(&mut self, bench: &mut Bench<'_>) -> Result<Again, StoreError> {
        if self.chores.is_empty() && !self.look(bench) {
            return Ok(Again::In(self.rest(bench.tick)));
        }
        let Some(chore) = self.chores.pop_front() else {
            return Ok(Again::Now);
        };
        match self.work(bench, chore) {
            Ok(Piece::Go(chore)) => self.chores.push_front(chore),
            Ok(Piece::Done) => {}
            Err(Trouble::Store(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "space cannot be given back now; it is tried again");
                self.chores.clear();
                self.back_off(bench.tick);
            }
        }
        Ok(Again::Now)
    }

    fn work(&mut self, bench: &mut Bench<'_>, chore: Chore) -> Result<Piece, Trouble> {
        match chore {
            Chore::Attempts => self.forget_attempts(bench),
            Chore::Audit => self.forget_audit(bench),
            Chore::Rollups => self.fold_rollups(bench),
            Chore::Keys(beyond) => forget_keys(bench, beyond),
            Chore::Held(round) => self.end_held(bench, round),
            Chore::Weigh => self.weigh(bench),
            Chore::Move(task) => self.go_on(bench, task),
        }
    }

    /// Finds something to do, if it is time; answers whether there is anything.
    fn look(&mut self, bench: &Bench<'_>) -> bool {
        let rolls = bench.journal.stats().rolls;
        let due = |at: Option<Instant>| at.is_none_or(|at| at <= bench.tick);
        let all = due(self.look_at);
        let waited = self.segments_at.is_some() && due(self.segments_at);
        let rolled = std::mem::replace(&mut self.rolls, rolls) != rolls;
        if all {
            self.look_at = Some(bench.tick + self.retention.look_every());
            self.chores.push_back(Chore::Attempts);
            self.chores.push_back(Chore::Audit);
            self.chores.push_back(Chore::Rollups);
            if due(self.keys_at) {
                self.keys_at = Some(bench.tick + self.keys_every());
                self.chores.push_back(Chore::Keys(None));
            }
            if due(self.held_at) {
                self.chores.push_back(Chore::Held(Box::default()));
            }
        }
        if (all || waited || rolled) && due(self.segments_at) {
            self.segments_at = None;
            self.chores.push_back(Chore::Weigh);
        }
        !self.chores.is_empty()
    }

    fn keys_every(&self) -> Duration {
        let part = self.idempotency_window / 24;
        part.clamp(self.retention.look_every().min(part), at_most::LONGEST_KEYS_ROUND)
    }

    fn rest(&self, tick: Instant) -> Duration {
        let next = self.look_at.into_iter().chain(self.segments_at).min();
        let until = next.map_or(Duration::ZERO, |at| at.saturating_duration_since(tick));
        until.max(Duration::from_millis(1))
    }

    /// Leaves segments alone for a while, longer each time.
    fn back_off(&mut self, tick: Instant) {
        self.segments_at = Some(tick + self.patience);
        self.patience = (self.patience * 2).min(self.retention.look_every() * at_most::LONGEST_PATIENCE);
        self.weigher = Weigher::default();
    }

    fn succeeded(&mut self) {
        self.patience = at_most::FIRST_PATIENCE;
        self.segments_at = None;
    }

    /// Forgets the oldest attempts, a portion of those that are past their time.
    fn forget_attempts(&mut self, bench: &mut Bench<'_>) -> Result<Piece, Trouble> {
        let cut = (bench.ago)(self.retention.attempts());
        let found = bench
            .store
            .attempts_between(self.attempts_from, Lsn::MAX, at_most::ATTEMPTS_AT_ONCE)?;
        let old = found.iter().take_while(|(_, at)| *at < cut).count();
        let Some((last, _)) = old.checked_sub(1).and_then(|last| found.get(last)) else {
            return Ok(Piece::Done);
        };
        let before = last + 1;
        self.forget_attempts_below(bench, before)?;
        Ok(if old == at_most::ATTEMPTS_AT_ONCE {
            Piece::Go(Chore::Attempts)
        } else {
            Piece::Done
        })
    }

    /// Forgets the oldest entries of the audit log, a portion of those that are past their time.
    fn forget_audit(&self, bench: &mut Bench<'_>) -> Result<Piece, Trouble> {
        let cut = (bench.ago)(self.retention.audit);
        let oldest = bench.store.audit_entries(None, None, true);
        let oldest: Vec<_> = oldest.take(at_most::AUDIT_AT_ONCE).collect::<Result<_, _>>()?;
        let old = oldest.iter().take_while(|entry| entry.at < cut);
        let Some(last) = old.last() else {
            return Ok(Piece::Done);
        };
        let before = last.at.plus(Duration::from_millis(1));
        let pause = bench.pause()?;
        bench.append(&pause, &[Record::AuditForgotten(AuditForgotten { before })])?;
        Ok(Piece::Go(Chore::Audit))
    }

    /// Folds a portion of the minutes that are past their time into hours, and forgets an hour that is past its time.
    fn fold_rollups(&self, bench: &mut Bench<'_>) -> Result<Piece, Trouble> {
        let cut = |kept| Interval::Hour.of((bench.ago)(kept));
        let minutes = bench
            .store
            .minutes_to_fold(cut(self.retention.minutes), at_most::ROLLUPS_AT_ONCE)?;
        let (oldest, _) = bench.store.rollup_span(Interval::Hour)?;
        let hour = oldest.filter(|oldest| *oldest < cut(self.retention.hours));
        if minutes.is_none() && hour.is_none() {
            return Ok(Piece::Done);
        }
        let folded = RollupsFolded {
            minutes_before: minutes.unwrap_or_default(),
            hours_before: hour.map_or(Timestamp::EPOCH, |hour| Interval::Hour.after(hour)),
        };
        let pause = bench.pause()?;
        bench.append(&pause, &[Record::RollupsFolded(folded)])?;
        Ok(Piece::Go(Chore::Rollups))
    }

    fn forget_attempts_below(&mut self, bench: &mut Bench<'_>, before: Lsn) -> Result<(), Trouble> {
        let pause = bench.pause()?;
        let gone = AttemptsForgotten {
            from: self.attempts_from,
            before,
        };
        bench.append(&pause, &[Record::AttemptsForgotten(gone)])?;
        self.attempts_from = before;
        Ok(())
    }
}

/// Forgets idempotency keys whose time is over, among a portion of all.
fn forget_keys(bench: &mut Bench<'_>, beyond: Option<Vec<u8>>) -> Result<Piece, Trouble> {
    let (keys, stopped_at) = bench
        .store
        .keys_over(beyond, bench.keys_over, at_most::KEYS_AT_ONCE)?;
    if !keys.is_empty() {
        let pause = bench.pause()?;
        let at = bench.keys_over;
        bench.append(
            &pause,
            &[Record::IdempotencyForgotten(IdempotencyForgotten { keys, at })],
        )?;
    }
    Ok(stopped_at.map_or(Piece::Done, |key| Piece::Go(Chore::Keys(Some(key)))))
}
