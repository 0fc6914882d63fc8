//! A journal that cannot be read on: asked again after growing pauses, and told of as seldom.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::journal::ReadError;
use crate::runtime::{chain::chain, shortage};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// No pause is longer: a disk that is put right is noticed within a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// Why the journal cannot be read on, and since when, for whoever asks.
#[derive(Default)]
pub struct ReadTrouble(Mutex<Option<(String, Instant)>>);

impl ReadTrouble {
    pub fn get(&self) -> Option<(String, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, why: Option<(String, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// How often reading has failed in a row, and since when.
#[derive(Default)]
pub(super) struct Unreadable {
    failures: u32,
    since: Option<Instant>,
}

impl Unreadable {
    /// Reading has failed; answers how long to wait before the next try.
    pub fn failed(&mut self, error: &ReadError, trouble: &ReadTrouble) -> Duration {
        let since = *self.since.get_or_insert_with(Instant::now);
        let text = chain(error);
        let doublings = self.failures.min(6);
        self.failures += 1;
        let pause = match error {
            // Descriptors come back any moment.
            ReadError::Io { source, .. } if shortage::is_temporary(source) => FIRST,
            _ => LONGEST.min(FIRST * (1 << doublings)),
        };
        // The first time, the second, the fourth, …: the intervals grow with what is said.
        if self.failures.is_power_of_two() {
            tracing::error!(
                error = text,
                failures = self.failures,
                next_try_s = pause.as_secs(),
                "the journal cannot be read on"
            );
        }
        trouble.set(Some((text, since)));
        pause
    }

    /// Reading has worked.
    pub fn worked(&mut self, trouble: &ReadTrouble) {
        if self.since.take().is_some() {
            tracing::info!(failures = self.failures, "the journal can be read on again");
            self.failures = 0;
            trouble.set(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: rustix::io::Errno) -> ReadError {
        ReadError::Io {
            path: "a.seg".into(),
            source: std::io::Error::from_raw_os_error(code.raw_os_error()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_a_minute_and_begin_anew_after_a_success() {
        let (trouble, mut unreadable) = (ReadTrouble::default(), Unreadable::default());
        let broken = error(rustix::io::Errno::IO);
        let pauses: Vec<_> = (0..8)
            .map(|_| unreadable.failed(&broken, &trouble).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(trouble.get().is_some());
        unreadable.worked(&trouble);
        assert_eq!(trouble.get(), None);
        assert_eq!(unreadable.failed(&broken, &trouble), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_want_of_descriptors_is_not_waited_out_for_long() {
        let (trouble, mut unreadable) = (ReadTrouble::default(), Unreadable::default());
        let short = error(rustix::io::Errno::MFILE);
        assert!((0..20).all(|_| unreadable.failed(&short, &trouble) == FIRST));
    }
}
