//! From signs of life to troubles: pure, so that every one of them can be tested.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::id::Lsn;

/// The scheduler sleeps at most 15 s; twice that without a turn is no sleep.
const SCHEDULER: Duration = Duration::from_secs(30);
/// An applier that applies nothing for so long, though there is something, does not apply.
const STORE: Duration = Duration::from_secs(30);
/// A group is written and synced in milliseconds, on a bad disk in seconds.
const JOURNAL: Duration = Duration::from_secs(10);

/// What could not be read for so long is told of: a moment's shortage of descriptors is not.
const UNREADABLE: Duration = Duration::from_secs(2);

/// What is the matter.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    SchedulerStuck,
    StoreStuck,
    JournalStuck,
    DiskFull,
    JournalUnreadable,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SchedulerStuck => "scheduler_stuck",
            Self::StoreStuck => "store_stuck",
            Self::JournalStuck => "journal_stuck",
            Self::DiskFull => "disk_full",
            Self::JournalUnreadable => "journal_unreadable",
        }
    }

    /// Whether it will not pass by itself.
    pub const fn is_stuck(self) -> bool {
        match self {
            Self::SchedulerStuck | Self::StoreStuck | Self::JournalStuck => true,
            // A fresh start does not make a disk readable.
            Self::DiskFull | Self::JournalUnreadable => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Trouble {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// The signs of life at one look.
pub(super) struct Sample {
    /// How often the scheduler's loop has come round.
    pub turns: u64,
    /// The store has caught up and is served; while it is not, that is said elsewhere.
    pub serving: bool,
    pub applied: Lsn,
    /// The last record that the applier can have.
    pub written: Lsn,
    /// How long the committer has been at its present group.
    pub committing: Option<Duration>,
    pub full: bool,
    /// Why the journal cannot be read on, and since when.
    pub unreadable: Option<(String, Instant)>,
}

/// Remembers when things last moved.
pub(super) struct Assessor {
    turns: (u64, Instant),
    applied: (Lsn, Instant),
}

impl Assessor {
    pub const fn new(now: Instant) -> Self {
        Self {
            turns: (0, now),
            applied: (0, now),
        }
    }

    /// What is the matter at `now`.
    pub fn look(&mut self, sample: &Sample, now: Instant) -> Vec<Trouble> {
        if self.turns.0 != sample.turns {
            self.turns = (sample.turns, now);
        }
        let moves = self.applied.0 != sample.applied || sample.applied >= sample.written;
        if moves || !sample.serving || sample.unreadable.is_some() {
            self.applied = (sample.applied, now);
        }
        let mut troubles = Vec::new();
        let mut found = |kind, text: String| troubles.push(Trouble { kind, text });
        let still = now.duration_since(self.turns.1);
        if still >= SCHEDULER {
            let text = format!(
                "the scheduler has not moved for {} s; no delivery is begun",
                still.as_secs()
            );
            found(Kind::SchedulerStuck, text);
        }
        let still = now.duration_since(self.applied.1);
        if still >= STORE {
            let behind = sample.written - sample.applied;
            let text = format!(
                "the store has not followed the journal for {} s; {behind} records wait",
                still.as_secs()
            );
            found(Kind::StoreStuck, text);
        }
        if let Some(busy) = sample.committing.filter(|busy| *busy >= JOURNAL) {
            let text = format!(
                "the journal has been writing or syncing one group for {} s; nothing is acknowledged; look at the disk",
                busy.as_secs()
            );
            found(Kind::JournalStuck, text);
        }
        if sample.full {
            let text =
                "the disk has less than storage.min_free_bytes free; events are answered 507; make space";
            found(Kind::DiskFull, text.to_owned());
        }
        let unreadable = sample.unreadable.as_ref();
        if let Some((error, _)) = unreadable.filter(|(_, since)| now.duration_since(*since) >= UNREADABLE) {
            let text = format!(
                "the journal cannot be read on, what comes after is not delivered; look at the disk: {error}"
            );
            found(Kind::JournalUnreadable, text);
        }
        troubles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn well(turns: u64, applied: Lsn) -> Sample {
        Sample {
            turns,
            serving: true,
            applied,
            written: 10,
            committing: None,
            full: false,
            unreadable: None,
        }
    }

    fn kinds(troubles: &[Trouble]) -> Vec<&'static str> {
        troubles.iter().map(|trouble| trouble.kind.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_no_trouble() {
        let mut assessor = Assessor::new(Instant::now());
        for turn in 1..100 {
            tokio::time::advance(Duration::from_secs(14)).await;
            assert_eq!(assessor.look(&well(turn, 10), Instant::now()), []);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scheduler_without_a_turn_for_half_a_minute_is_stuck_until_it_turns() {
        let mut assessor = Assessor::new(Instant::now());
        assessor.look(&well(1, 10), Instant::now());
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(assessor.look(&well(1, 10), Instant::now()), []);
        tokio::time::advance(Duration::from_secs(1)).await;
        let troubles = assessor.look(&well(1, 10), Instant::now());
        assert_eq!(kinds(&troubles), ["scheduler_stuck"]);
        assert!(troubles[0].kind.is_stuck() && troubles[0].text.contains("30 s"));
        assert_eq!(assessor.look(&well(2, 10), Instant::now()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_stands_still_behind_the_journal_is_stuck() {
        let mut assessor = Assessor::new(Instant::now());
        let mut look = |applied, turns, serving| {
            let sample = Sample {
                serving,
                ..well(turns, applied)
            };
            kinds(&assessor.look(&sample, Instant::now()))
        };
        assert!(look(3, 1, true).is_empty());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(look(4, 2, true).is_empty());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(look(4, 3, true).is_empty());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(look(4, 4, true), ["store_stuck"]);
        // While it is rebuilt, that is what is said.
        assert!(look(4, 5, false).is_empty());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(look(10, 6, true).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_cannot_be_read_is_told_of_and_no_reason_for_a_fresh_start() {
        let mut assessor = Assessor::new(Instant::now());
        let since = Instant::now();
        let sample = |turns| Sample {
            unreadable: Some(("no".to_owned(), since)),
            ..well(turns, 3)
        };
        assert_eq!(assessor.look(&sample(1), Instant::now()), []);
        for turn in 2..10 {
            tokio::time::advance(Duration::from_secs(25)).await;
            let troubles = assessor.look(&sample(turn), Instant::now());
            assert_eq!(kinds(&troubles), ["journal_unreadable"]);
            assert!(!troubles[0].kind.is_stuck() && troubles[0].text.contains("no"));
        }
        assert_eq!(assessor.look(&well(10, 10), Instant::now()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_takes_ten_seconds_and_a_full_disk_are_troubles() {
        let mut assessor = Assessor::new(Instant::now());
        let sample = Sample {
            committing: Some(Duration::from_secs(10)),
            full: true,
            ..well(1, 10)
        };
        let troubles = assessor.look(&sample, Instant::now());
        assert_eq!(kinds(&troubles), ["journal_stuck", "disk_full"]);
        assert!(troubles[0].kind.is_stuck() && !troubles[1].kind.is_stuck());
    }
}
