//! Writes verdicts to the journal, in order, in groups.
//!
//! A verdict is written lazily: synced with the next group, at most 50 ms later. Losing one to a power cut means that
//! its attempt is made again. On a full disk the settler waits and tries again; the scheduler stops making attempts
//! while too many verdicts wait.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{engine::Shared, error::chain};
use crate::{
    domain::record::Record,
    storage::{Outcome, StorageError},
};

/// Verdicts that may wait to be written. The scheduler never has more out.
pub(super) const CAPACITY: usize = 8192;
/// Verdicts written at once.
const GROUP: usize = 512;
/// Between tries on a full disk, or while descriptors or memory are short.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs until the scheduler hangs up and everything is written, or storage fails.
pub(super) async fn run(shared: Arc<Shared>, mut verdicts: mpsc::Receiver<Record>) {
    let mut group = Vec::with_capacity(GROUP);
    while verdicts.recv_many(&mut group, GROUP).await > 0 {
        let outcomes: Vec<Outcome> = group.drain(..).filter_map(outcome).collect();
        if !write(&shared, &outcomes).await {
            return;
        }
    }
}

async fn write(shared: &Shared, outcomes: &[Outcome]) -> bool {
    let mut said = false;
    loop {
        match shared.data.record_outcomes(outcomes).await {
            Ok(()) => return true,
            Err(error @ (StorageError::Full | StorageError::Short)) if !shared.stopping.is_cancelled() => {
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

fn outcome(record: Record) -> Option<Outcome> {
    match record {
        Record::AttemptSettled(attempt) => Some(Outcome::attempt(attempt)),
        Record::DeliveriesEnded(ended) => Some(Outcome::ended(ended)),
        _ => None,
    }
}
