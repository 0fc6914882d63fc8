//! A journal without a thread, for benches: its groups are committed by whoever measures them.

use std::{
    fs::File,
    future::Future,
    io,
    path::Path,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    AppendError, Failure, Journal, OpenError, Options, committer::Committer, disk::Disk, entry::Draft,
};

/// The file system, but for the syncs, and a clock that stands still.
struct Unsynced;

impl Disk for Unsynced {
    fn sync_data(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// A journal whose committer is at hand.
pub(crate) struct Measured {
    journal: Journal,
    committer: Committer,
}

/// Why a group was not committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error("the journal failed")]
    Failed(#[from] Failure),
    #[error("an append was refused")]
    Refused(#[from] AppendError),
    #[error("an append still waits")]
    Waits,
}

impl Measured {
    /// Begins a journal in an empty folder.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let (journal, _, committer, _) = Journal::open_stepped(Options::new(dir), Arc::new(Unsynced))?;
        Ok(Self { journal, committer })
    }

    /// Writes a group of two appends and answers them; nothing is synced. Answers how many records there were.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn commit(&mut self, first: Vec<Draft>, second: Vec<Draft>) -> Result<usize, CommitError> {
        let (mut first, mut second) = (
            pin!(self.journal.append(first)),
            pin!(self.journal.append(second)),
        );
        let mut context = Context::from_waker(Waker::noop());
        _ = first.as_mut().poll(&mut context);
        _ = second.as_mut().poll(&mut context);
        self.committer.step()?;
        match (first.poll(&mut context), second.poll(&mut context)) {
            (Poll::Ready(first), Poll::Ready(second)) => Ok(first?.locations.len() + second?.locations.len()),
            _ => Err(CommitError::Waits),
        }
    }
}
