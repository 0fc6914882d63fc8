//! When the store is written afresh: sled keeps the space of what was removed or replaced.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;

use crate::{
    runtime::chain::chain,
    storage::local::index::{
        Store, TableOptions,
        rewrite::{self, Progress},
    },
    telemetry::metrics,
};

/// Between two looks at the store's size.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After a rewrite that failed: the disk may be full.
const FAILED_PAUSE: Duration = Duration::from_secs(600);
/// Rows copied between two batches of records: some milliseconds of work.
const PORTION: usize = 1000;
/// How many times as large as what it holds the store may become, and as it was when it was last written afresh.
const GROWTH: u64 = 3;

/// Decides, and does the copying; driven by the applier.
pub(super) struct Rewriter {
    data: PathBuf,
    table: TableOptions,
    /// Smaller stores are left alone, in bytes.
    least: u64,
    written: u64,
    look_at: Option<Instant>,
}

/// What the applier is to do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// There is nothing to copy.
    None,
    /// There is more to copy: come back soon.
    More,
    /// The copy is whole: let it take the store's place.
    Swap,
}

impl Rewriter {
    pub fn new(data: PathBuf, table: TableOptions, least: u64) -> Self {
        Self {
            written: rewrite::written_size(&data),
            data,
            table,
            least,
            look_at: None,
        }
    }

    /// Copies a portion, if a copy is in the making or due.
    pub fn work(&mut self, store: &Store) -> Work {
        let done = if store.is_being_rewritten() {
            store.rewrite_some(PORTION)
        } else if self.is_due(store) {
            tracing::info!(
                bytes = store.size_on_disk(),
                "the store is written afresh, to free space"
            );
            store
                .begin_rewrite(&self.data, self.table)
                .map(|()| Progress::More)
        } else {
            return Work::None;
        };
        match done {
            Ok(Progress::More) => Work::More,
            Ok(Progress::Done) => Work::Swap,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the store could not be written afresh; later");
                self.look_at = Some(Instant::now() + FAILED_PAUSE);
                Work::None
            }
        }
    }

    fn is_due(&mut self, store: &Store) -> bool {
        let now = Instant::now();
        if self.look_at.is_some_and(|at| now < at) {
            return false;
        }
        self.look_at = Some(now + LOOK_EVERY);
        let size = store.size_on_disk();
        size >= self.least && size / GROWTH >= self.written.max(store.live_bytes())
    }

    /// Closes the copy and lets it take the place of the store. A store that somebody still reads is given back, open as
    /// it is: it goes on serving, and is written afresh another time.
    pub fn swap(&mut self, store: Store) -> Option<Store> {
        if !store.is_let_go() {
            tracing::warn!("a reader does not finish; the store is written afresh later");
            store.abandon_rewrite();
            self.look_at = Some(Instant::now() + FAILED_PAUSE);
            return Some(store);
        }
        let before = store.size_on_disk();
        let swapped = store.end_rewrite().map_err(|error| chain(&error));
        drop(store);
        let swapped = swapped.and_then(|()| rewrite::exchange(&self.data).map_err(|error| chain(&error)));
        match swapped {
            Ok(()) => {
                metrics::store_rewritten();
                tracing::info!(was = before, "the store was written afresh");
                self.written = 0;
            }
            Err(error) => {
                tracing::warn!(%error, "the store could not be written afresh; later");
                self.look_at = Some(Instant::now() + FAILED_PAUSE);
            }
        }
        None
    }

    /// Takes note of how large the store is now.
    pub fn opened(&mut self, store: &Store) {
        if self.written == 0 {
            self.written = store.size_on_disk();
            rewrite::note_written_size(&self.data, self.written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::index::open;

    const TABLE: TableOptions = TableOptions {
        cache_bytes: 1 << 20,
        buffer_bytes: 4096,
        indexes: crate::storage::local::index::Indexes::All,
    };

    fn copied(rewriter: &mut Rewriter, store: &Store) {
        rewriter.look_at = None;
        while rewriter.work(store) != Work::Swap {}
    }

    #[tokio::test]
    async fn a_store_that_is_still_read_keeps_serving_and_is_exchanged_when_it_is_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = open::open_as_is(dir.path(), TABLE).unwrap();
        // Any size is due.
        let mut rewriter = Rewriter::new(dir.path().to_owned(), TABLE, 0);
        store.begin_rewrite(dir.path(), TABLE).unwrap();
        copied(&mut rewriter, &store);
        let reader = store.clone();
        let kept = rewriter.swap(store).unwrap();
        assert!(!kept.is_being_rewritten());
        assert_eq!(kept.applied().unwrap().lsn, 0);
        drop(reader);
        kept.begin_rewrite(dir.path(), TABLE).unwrap();
        copied(&mut rewriter, &kept);
        assert!(rewriter.swap(kept).is_none());
        open::open_as_is(dir.path(), TABLE).unwrap();
    }
}
