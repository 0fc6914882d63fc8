//! How a store begins that is made from a journal whose oldest records are gone.

use super::Trouble;
use crate::{
    domain::{reclaim::FloorRaised, record::Record},
    runtime::chain::chain,
    storage::local::codec,
    storage::local::index::Store,
    storage::local::journal::{Journal, ReadError},
};

/// Gives an empty store what the records that are gone have left behind. Does nothing to one that has no need of it.
///
/// # Errors
/// When the file system refuses to read, or the store fails.
pub(in crate::storage::local) fn begin(journal: &Journal, store: &Store) -> Result<(), Trouble> {
    let first = journal.first_lsn();
    if store.applied()?.lsn + 1 >= first {
        return Ok(());
    }
    let raised = floor_of(journal, first)?.unwrap_or_else(|| {
        tracing::error!(
            first_lsn = first,
            "no record tells of what was reclaimed; what there is is read without it"
        );
        FloorRaised::bare(first)
    });
    let raised = FloorRaised {
        floor: first,
        ..raised
    };
    Ok(store.begin_at(journal.uuid(), &raised)?)
}

/// The first record that tells of the floor at `first`; of one below it, should that be damaged.
fn floor_of(journal: &Journal, first: u64) -> Result<Option<FloorRaised>, ReadError> {
    let mut found: Option<FloorRaised> = None;
    for entry in journal.config_entries() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error @ ReadError::Io { .. }) => return Err(error),
            Err(error) => {
                tracing::error!(error = %chain(&error), "a configuration record is damaged; it is passed over");
                continue;
            }
        };
        if let Ok(Record::FloorRaised(raised)) = codec::decode(&entry)
            && raised.floor <= first
            && found.as_ref().is_none_or(|known| known.floor < raised.floor)
        {
            found = Some(raised);
        }
    }
    Ok(found)
}
