//! Writes verdicts to the journal, in order, in groups.
//!
//! A verdict is written lazily: synced with the next group, at most 50 ms later. Losing one to a power cut means that
//! its attempt is made again. On a full disk the settler waits and tries again; the scheduler stops making attempts
//! while too many verdicts wait.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{codec, engine::Shared, error::chain};
use crate::{
    domain::record::Record,
    storage::local::journal::{AppendError, Draft},
};

/// Verdicts that may wait to be written. The scheduler never has more out.
pub(super) const CAPACITY: usize = 8192;
/// Verdicts written at once.
const GROUP: usize = 512;
/// Between tries on a full disk, or while descriptors or memory are short.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs until the scheduler hangs up and everything is written, or the journal fails.
pub(super) async fn run(shared: Arc<Shared>, mut verdicts: mpsc::Receiver<Record>) {
    let mut group = Vec::with_capacity(GROUP);
    while verdicts.recv_many(&mut group, GROUP).await > 0 {
        if !write(&shared, &group).await {
            return;
        }
        group.clear();
    }
}

fn draft(record: &Record) -> Option<Draft> {
    codec::encode(record)
        .inspect_err(|error| tracing::error!(error = %chain(error), "cannot encode a verdict"))
        .ok()
}

async fn write(shared: &Shared, group: &[Record]) -> bool {
    let mut said = false;
    loop {
        let drafts = group.iter().filter_map(draft).collect();
        match shared.journal.append_lazy(drafts).await {
            Ok(_) => return true,
            Err(error @ (AppendError::Full { .. } | AppendError::Short))
                if !shared.stopping.is_cancelled() =>
            {
                if !said {
                    tracing::warn!(%error, "verdicts wait to be written");
                    said = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "cannot write verdicts; their attempts will be made again");
                return false;
            }
        }
    }
}
