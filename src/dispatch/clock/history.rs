//! How engine time relates to the wall clock and to elapsed time: what each correction of the wall clock changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// Corrections of each kind that are remembered. A clock is corrected once or twice in a device's life; a clock that is
/// set to and fro all day must not make the file grow.
const MOST: usize = 32;

/// Empty on a machine whose clock has always been right to a few minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    /// How far engine time is ahead of the wall clock, from when on; oldest first.
    #[serde(default)]
    marks: Vec<Mark>,
    /// Engine time that was passed over and did not elapse; oldest first, none overlapping another.
    #[serde(default)]
    gaps: Vec<Gap>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    from: Timestamp,
    ahead_ms: u64,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    from: Timestamp,
    to: Timestamp,
}

impl History {
    /// How far engine time is ahead of the wall clock now.
    pub fn ahead(&self) -> Duration {
        Duration::from_millis(self.marks.last().map_or(0, |mark| mark.ahead_ms))
    }

    /// Engine time is ahead of the wall clock by `ahead` from `from` on.
    pub fn mark(&mut self, from: Timestamp, ahead: Duration) {
        self.marks.retain(|mark| mark.from < from);
        if self.marks.len() == MOST {
            self.marks.remove(0);
        }
        let ahead_ms = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        self.marks.push(Mark { from, ahead_ms });
    }

    /// Engine time goes from `from` to `to` without any time passing.
    pub fn skip(&mut self, from: Timestamp, to: Timestamp) {
        if from >= to {
            return;
        }
        self.gaps.push(Gap { from, to });
        if self.gaps.len() > MOST {
            // What lies between them becomes younger than it is: kept longer, and never ended early.
            let first = self.gaps.remove(0);
            if let Some(second) = self.gaps.first_mut() {
                second.from = first.from;
            }
        }
    }

    /// What the wall clock showed, or will show, at an engine time.
    pub fn shown(&self, at: Timestamp) -> Timestamp {
        let mark = self.marks.iter().rev().find(|mark| mark.from <= at);
        mark.map_or(at, |mark| at.minus(Duration::from_millis(mark.ahead_ms)))
    }

    /// The engine time at which the wall clock will show `at`, as far as is known now.
    pub fn to_come(&self, at: Timestamp) -> Timestamp {
        at.plus(self.ahead())
    }

    /// The engine time at which the wall clock showed `at`, the latest where it did so more than once.
    pub fn past(&self, at: Timestamp) -> Timestamp {
        let since = self.marks.iter().rev().map(|mark| {
            let engine = at.plus(Duration::from_millis(mark.ahead_ms));
            (engine >= mark.from).then_some(engine)
        });
        since.flatten().next().unwrap_or(at)
    }

    /// How much time has elapsed from one engine time to another.
    pub fn elapsed(&self, from: Timestamp, to: Timestamp) -> Duration {
        let skipped = self
            .gaps
            .iter()
            .map(|gap| gap.to.min(to).since(gap.from.max(from)));
        to.since(from).saturating_sub(skipped.sum())
    }

    /// The engine time from which `span` has elapsed until `now`.
    pub fn ago(&self, now: Timestamp, span: Duration) -> Timestamp {
        let (mut at, mut left) = (now, span);
        for gap in self.gaps.iter().rev().filter(|gap| gap.to <= now) {
            let passed = at.since(gap.to);
            if passed >= left {
                break;
            }
            left -= passed;
            at = gap.from;
        }
        at.minus(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn without_corrections_all_times_are_one() {
        let history = History::default();
        for time in [at(0), at(7), at(1_000_000)] {
            assert_eq!(
                [history.shown(time), history.to_come(time), history.past(time)],
                [time; 3]
            );
        }
        assert_eq!(history.elapsed(at(3), at(10)), secs(7));
        assert_eq!(history.ago(at(10), secs(4)), at(6));
        assert_eq!(history.ago(at(3), secs(4)), at(0));
    }

    #[test]
    fn what_was_passed_over_has_not_elapsed() {
        let mut history = History::default();
        history.skip(at(100), at(1100));
        history.skip(at(1200), at(5000));
        assert_eq!(history.elapsed(at(90), at(5010)), secs(10 + 100 + 10));
        assert_eq!(history.elapsed(at(5001), at(5010)), secs(9));
        assert_eq!(history.elapsed(at(600), at(5010)), secs(110));
        for span in 0..200 {
            let then = history.ago(at(5010), secs(span));
            assert_eq!(history.elapsed(then, at(5010)), secs(span), "{span}");
        }
    }

    #[test]
    fn times_are_shown_by_the_clock_of_their_moment() {
        let mut history = History::default();
        history.mark(at(1000), secs(600));
        history.mark(at(2000), secs(100));
        let shown = [500, 1000, 1999, 2000, 9000].map(|time| history.shown(at(time)));
        assert_eq!(shown, [at(500), at(400), at(1399), at(1900), at(8900)]);
        assert_eq!(history.to_come(at(8900)), at(9000));
        assert_eq!(history.past(at(500)), at(1100), "the latest of two");
        for time in [100, 1000, 1500, 1999, 2000, 3000].map(at) {
            let again = history.past(history.shown(time));
            assert_eq!(history.shown(again), history.shown(time));
        }
    }

    #[test]
    fn a_clock_that_is_set_to_and_fro_leaves_a_bounded_history() {
        let mut history = History::default();
        for n in 1..1000 {
            history.mark(at(n * 100), secs(n % 2));
            history.skip(at(n * 100), at(n * 100 + 50));
        }
        assert_eq!((history.marks.len(), history.gaps.len()), (MOST, MOST));
        let all = history.elapsed(at(0), at(200_000));
        assert!(all <= secs(200_000 - 999 * 50), "never older than it is: {all:?}");
    }
}
