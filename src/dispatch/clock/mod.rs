//! The engine's time: it follows the wall clock, never runs backward, and does not believe everything.
//!
//! # The cast
//!
//! The **wall clock** is what people and time servers set. The **running clock** counts time that passes, also while the
//! machine is suspended, and nobody sets it; it means nothing in another boot. **Engine time** is what due times, ages and
//! deadlines are reckoned in. The [`History`] says how far engine time is ahead of the wall clock, and which engine time
//! was passed over without elapsing; it is empty as long as the wall clock is right to a few minutes.
//!
//! # The flow
//!
//! Engine time goes on by the running clock. Where the wall clock shows up to [`NEAR`] more, it follows at once; up to as
//! much less, it goes slower by one part in [`HEALING`] until the wall clock has caught up. A larger difference is a
//! **doubt**: it is told, and changes nothing until the wall clock has gone on by the running clock from its new time for
//! [`CONFIRMED_AFTER`]. Then the wall clock is followed:
//!
//! - **Forward**, engine time goes to the wall clock's time at once, so that what is due by then is due. What it passed over
//!   is noted as a gap: nothing ages by it.
//! - **Backward**, engine time goes on, and how far it is ahead of the wall clock from here on is noted. Due times in the
//!   store are engine time, so that every delay that was left is left, and no row is written anew.
//!
//! A start goes on by the running clock too, where it is in the same boot, and believes a wall clock that was set back
//! meanwhile. In another boot the wall clock tells how long the machine was off.
//!
//! # What it guarantees
//!
//! - Engine time never goes back, also over a restart.
//! - A wall clock that goes wrong ends nothing, expires nothing and makes nothing due within [`CONFIRMED_AFTER`].
//! - Ages ([`EngineClock::elapsed_since`], [`EngineClock::ago`]) are time that passed, up to the [`NEAR`] of a small step.
//! - Times that people give and see go through [`EngineClock::to_come`], [`EngineClock::past`] and [`EngineClock::shown`]: they
//!   are the wall clock's, the one that was believed at the time.
//!
//! # What it does not
//!
//! Tell a wall clock that is wrong for long from one that was set right. A virtual machine that was paused for more than
//! [`NEAR`] has lost time that its own clocks do not know of: its wall clock is followed once it is confirmed.

mod history;
mod keeper;
mod saved;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub(crate) use self::history::History;
pub(super) use self::{
    keeper::{Keeper, write},
    saved::Saved,
};
use crate::{
    domain::{duration::Span, time::Timestamp},
    runtime::{clock::Clock, folder::boot_id},
};

/// Engine time loses one part in this many while it is ahead of the wall clock: a day's delay is late by less than a
/// minute, and a step of a minute heals in 33 hours.
const HEALING: u64 = 2000;
/// A difference that is followed without more ado: what time servers correct in passing, and no event is much too early by.
const NEAR: Duration = Duration::from_secs(120);
/// How long the wall clock has to go on from a time far away before it is followed. Clocks that jump and come back do so
/// within a minute or two; what waits for a clock that was set right is late by this.
pub(super) const CONFIRMED_AFTER: Duration = Duration::from_secs(600);
/// The same where there is good reason to believe it sooner: the wall clock that a start had to believe is corrected back as
/// soon as the network is there, and one that showed 1970 was certainly wrong.
const CONFIRMED_SOON: Duration = Duration::from_secs(60);
/// 2026-01-01T00:00:00Z. This program is younger: a wall clock that has gone back to before it is that of a machine without a
/// battery, and is never followed there.
const EARLIEST: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// A machine may have been off for as long as this: a later time at its next boot is believed.
const LONGEST_OFF: Duration = Duration::from_secs(400 * 86_400);
/// As much of the time that a machine was off counts as age. What is held while it is off for longer is not ended when it
/// comes back.
const OFF_COUNTS: Duration = Duration::from_secs(86_400);

/// Tells engine time.
pub(super) struct EngineClock {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    /// What was shown at `at`, by the running clock; what is shown later is reckoned from here, so that asking often does
    /// not slow it.
    micros: u64,
    at: Duration,
    history: History,
    doubt: Option<Doubt>,
    /// No start before this one has written what it knew of time.
    is_first: bool,
    /// When, by the running clock, this start had to believe the wall clock without knowing better.
    unproven_since: Option<Duration>,
}

/// The wall clock is far from where it is expected.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Doubt {
    /// Since when, by the running clock, it has gone on from there.
    since: Duration,
    /// The running clock's reading when it would have shown the epoch, in milliseconds.
    epoch: i64,
}

/// A wall clock that is not believed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspicious {
    pub wall: Timestamp,
    pub expected: Timestamp,
}

impl Suspicious {
    /// How far the wall clock is ahead, in milliseconds; negative when it is behind.
    pub fn ahead_millis(&self) -> i64 {
        millis(self.wall) - millis(self.expected)
    }
}

impl fmt::Display for Suspicious {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ahead = self.ahead_millis();
        let by = Span::from_secs(ahead.unsigned_abs() / 1000);
        let side = if ahead < 0 { "behind" } else { "ahead of" };
        write!(
            f,
            "the wall clock shows {}, {by} {side} the expected time {}; it is not followed before it is confirmed for {}; \
             look at the time server",
            self.wall,
            self.expected,
            Span::from_secs(CONFIRMED_AFTER.as_secs()),
        )
    }
}

fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// One look at both clocks.
#[derive(Copy, Clone)]
struct Look {
    wall: Timestamp,
    running: Duration,
}

impl Look {
    fn epoch(self) -> i64 {
        i64::try_from(self.running.as_millis()).unwrap_or(i64::MAX) - millis(self.wall)
    }
}

impl EngineClock {
    /// A clock that goes on from what an earlier start has written, if one has, and from the `newest` time that is recorded.
    pub fn new(clock: Arc<dyn Clock>, saved: Option<Saved>, newest: Timestamp) -> Self {
        let look = Look {
            wall: clock.now(),
            running: clock.running(),
        };
        let state = match saved {
            Some(saved) => State::after(saved, newest, look),
            None => State::first(newest, look),
        };
        Self {
            clock,
            state: Mutex::new(state),
        }
    }

    fn look(&self) -> Look {
        Look {
            wall: self.clock.now(),
            running: self.clock.running(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Timestamp {
        let look = self.look();
        self.state().go_on(look)
    }

    /// Engine time, and what the wall clock shows as far as it is believed.
    pub fn now_and_shown(&self) -> (Timestamp, Timestamp) {
        let look = self.look();
        let mut state = self.state();
        let engine = state.go_on(look);
        (engine, state.history.shown(engine))
    }

    /// Never shows less than `newest` from now on: a time that was found recorded.
    pub fn raise(&self, newest: Timestamp) {
        let look = self.look();
        let mut state = self.state();
        state.go_on(look);
        state.raise(newest, look);
    }

    /// The wall clock's own time.
    pub fn wall(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the wall clock showed, or will show, at an engine time.
    pub fn shown(&self, at: Timestamp) -> Timestamp {
        self.state().history.shown(at)
    }

    /// The engine time of a time to come that a person or a receiver has named.
    pub fn to_come(&self, at: Timestamp) -> Timestamp {
        self.state().history.to_come(at)
    }

    /// The engine time of a past time that a person has named.
    pub fn past(&self, at: Timestamp) -> Timestamp {
        self.state().history.past(at)
    }

    /// How much time has passed since an engine time.
    pub fn elapsed_since(&self, at: Timestamp) -> Duration {
        let now = self.now();
        self.state().history.elapsed(at, now)
    }

    /// The engine time since which `span` has passed.
    pub fn ago(&self, span: Duration) -> Timestamp {
        let now = self.now();
        self.state().history.ago(now, span)
    }

    /// What was to last for `span` is over when its end, as it was reckoned then, is not after this.
    pub fn over(&self, span: Duration) -> Timestamp {
        self.ago(span).plus(span)
    }

    /// Looks whether the wall clock is where it is expected, and tells of it when that changes. Answers whether it is
    /// confirmed at a time far away, and is to be followed. To be called every few seconds.
    pub fn observe(&self) -> bool {
        let look = self.look();
        let mut state = self.state();
        let engine = state.go_on(look);
        let before = state.doubt;
        let confirmed = state.observe(look);
        let (expected, after) = (state.history.shown(engine), state.doubt);
        drop(state);
        match (before, after) {
            (None, Some(_)) => tracing::warn!(
                clock.wall = %look.wall,
                clock.expected = %expected,
                "the wall clock has jumped; it is not followed before it has gone on from there for {} s",
                CONFIRMED_AFTER.as_secs()
            ),
            (Some(_), None) => {
                tracing::info!(clock.wall = %look.wall, "the wall clock shows the expected time again")
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        confirmed
    }

    /// Follows a wall clock that is confirmed at a time far away; answers whether it still is.
    pub fn follow(&self) -> bool {
        let look = self.look();
        let mut state = self.state();
        let engine = state.go_on(look);
        if !state.observe(look) {
            return false;
        }
        let expected = state.history.shown(engine);
        state.follow(look);
        drop(state);
        tracing::warn!(
            clock.wall = %look.wall,
            clock.expected = %expected,
            "the wall clock is confirmed at its new time, and followed; ages go by elapsed time"
        );
        true
    }

    /// Whether the wall clock is believed.
    pub fn suspicious(&self) -> Option<Suspicious> {
        let look = self.look();
        let mut state = self.state();
        let engine = state.go_on(look);
        state.doubt.map(|_| Suspicious {
            wall: look.wall,
            expected: state.history.shown(engine),
        })
    }

    /// What a later start has to know; `followed` as it will be once the wall clock is followed.
    pub fn saved(&self, followed: bool) -> Saved {
        let look = self.look();
        let mut state = self.state();
        state.go_on(look);
        let (mut micros, mut history) = (state.micros_at(look), state.history.clone());
        if followed {
            (micros, history) = state.followed(look);
        }
        drop(state);
        Saved {
            engine: Timestamp::from_millis(micros / 1000),
            running_ms: u64::try_from(look.running.as_millis()).unwrap_or(u64::MAX),
            boot: boot_id(),
            history,
        }
    }
}

impl State {
    /// Of a folder that no start has kept the time of: a new one, a restored one, or one of an older version. Its newest
    /// record may be from a moment when the clock was wrong.
    fn first(newest: Timestamp, look: Look) -> Self {
        let mut state = Self::at(look.wall, look, History::default());
        state.is_first = true;
        state.unproven_since = Some(look.running);
        if newest > look.wall {
            state.raise(newest, look);
        } else if newest > Timestamp::EPOCH {
            state.off(newest, look);
        }
        state
    }

    fn after(saved: Saved, newest: Timestamp, look: Look) -> Self {
        let (was_running, same_boot) = (saved.running(), saved.boot == boot_id());
        let Saved { engine, history, .. } = saved;
        let last = engine.max(newest);
        let off = look.wall.since(history.shown(engine));
        let mut state = Self::at(last, look, history);
        match look.running.checked_sub(was_running) {
            // The running clock tells how long the process was away, whatever the wall clock shows.
            Some(passed) if same_boot => {
                state.micros = micros(last.max(engine.plus(passed)));
                state.believe_earlier(look);
            }
            _ if engine.plus(off) > last && off <= LONGEST_OFF => {
                state.micros = micros(engine.plus(off));
                state.unproven_since = Some(look.running);
                state.off(last, look);
            }
            _ => {}
        }
        state
    }

    /// A wall clock that is earlier than the process left it was set meanwhile, most likely by who has started it again.
    fn believe_earlier(&mut self, look: Look) {
        let engine = Timestamp::from_millis(self.micros_at(look) / 1000);
        if self.history.shown(engine).since(look.wall) > NEAR && look.wall >= EARLIEST {
            self.history.mark(engine, engine.since(look.wall));
        }
    }

    fn at(engine: Timestamp, look: Look, history: History) -> Self {
        Self {
            micros: micros(engine),
            at: look.running,
            history,
            doubt: None,
            is_first: false,
            unproven_since: None,
        }
    }

    /// The machine was off since engine time `last`: little of that counts as age.
    fn off(&mut self, last: Timestamp, look: Look) {
        let now = Timestamp::from_millis(self.micros_at(look) / 1000);
        self.history.skip(last.plus(OFF_COUNTS), now);
    }

    fn micros_at(&self, look: Look) -> u64 {
        let passed = look.running.saturating_sub(self.at).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.micros.saturating_add(passed - passed / HEALING)
    }

    /// Engine time at this look.
    fn go_on(&mut self, look: Look) -> Timestamp {
        let steady = self.micros_at(look);
        let wanted = micros(self.history.to_come(look.wall));
        if wanted >= steady && wanted - steady <= NEAR.as_micros() as u64 {
            (self.micros, self.at) = (wanted, look.running);
            return Timestamp::from_millis(wanted / 1000);
        }
        Timestamp::from_millis(steady / 1000)
    }

    fn raise(&mut self, newest: Timestamp, look: Look) {
        let now = Timestamp::from_millis(self.micros_at(look) / 1000);
        if newest <= now {
            return;
        }
        if self.is_first && newest.since(now) > NEAR && look.wall >= EARLIEST {
            // The records are from a wrong clock. They keep their order, and their delays; the wall clock is believed.
            let ahead = self.history.ahead() + newest.since(now);
            self.history.skip(now, newest);
            self.history.mark(newest, ahead);
        }
        (self.micros, self.at) = (micros(newest), look.running);
    }

    /// Whether a wall clock that is far from where it is expected is confirmed there.
    fn observe(&mut self, look: Look) -> bool {
        let engine = Timestamp::from_millis(self.micros_at(look) / 1000);
        let expected = self.history.shown(engine);
        let is_behind = look.wall < expected;
        if look.wall.since(expected).max(expected.since(look.wall)) <= NEAR {
            self.doubt = None;
            return false;
        }
        let near = u64::try_from(NEAR.as_millis()).unwrap_or(u64::MAX);
        let doubt = match self.doubt {
            Some(doubt) if doubt.epoch.abs_diff(look.epoch()) <= near => doubt,
            Some(_) | None => Doubt {
                since: look.running,
                epoch: look.epoch(),
            },
        };
        self.doubt = Some(doubt);
        let stayed = look.running.saturating_sub(doubt.since);
        stayed >= self.confirmed_after(doubt, expected, is_behind) && !(is_behind && look.wall < EARLIEST)
    }

    fn confirmed_after(&self, doubt: Doubt, expected: Timestamp, is_behind: bool) -> Duration {
        match self.unproven_since {
            _ if expected < EARLIEST => CONFIRMED_SOON,
            // Nothing comes to harm by a clock that is followed back, and it has stood for as long as the other.
            Some(since) if is_behind => doubt
                .since
                .saturating_sub(since)
                .clamp(CONFIRMED_SOON, CONFIRMED_AFTER),
            Some(_) | None => CONFIRMED_AFTER,
        }
    }

    /// Engine time, in microseconds, and the history as they are once the wall clock is followed.
    fn followed(&self, look: Look) -> (u64, History) {
        let engine = Timestamp::from_millis(self.micros_at(look) / 1000);
        let mut history = self.history.clone();
        let ahead = engine.since(look.wall);
        if ahead != history.ahead() {
            history.mark(engine, ahead);
        }
        let followed = engine.max(look.wall);
        history.skip(engine, followed);
        (micros(followed), history)
    }

    fn follow(&mut self, look: Look) {
        (self.micros, self.history) = self.followed(look);
        self.at = look.running;
        self.doubt = None;
        self.unproven_since = None;
    }
}

fn micros(time: Timestamp) -> u64 {
    time.as_millis().saturating_mul(1000)
}
