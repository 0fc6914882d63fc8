//! The newest damaged ranges with what stood in them. What the disk gives of a damaged range is read once, since a disk that is
//! failing may take seconds for it, and who asks for the status again learns nothing new.

use std::sync::{Mutex, PoisonError};

use super::{
    LocalStorage,
    damage::{self, DamagedRange},
    index::{Store, StoreError},
    journal::{BadRange, Fragment},
};

/// Ranges that were read.
#[derive(Default)]
pub(super) struct Described(Mutex<Vec<Known>>);

#[derive(Clone)]
struct Known {
    bad: BadRange,
    fragments: Vec<Fragment>,
    /// With what the index knew of it.
    range: Option<DamagedRange>,
}

impl LocalStorage {
    /// The newest damaged ranges, named as far as they can be. Blocks on the disk when there are new ones.
    pub fn damaged_ranges(&self) -> Vec<DamagedRange> {
        let newest: Vec<BadRange> = self
            .journal
            .damaged()
            .into_iter()
            .rev()
            .take(damage::RANGES)
            .collect();
        let store = self.served.get().ok();
        let read = |bad: &BadRange| self.journal.fragments(bad).unwrap_or_default();
        let described = self.described.of(&newest, store.as_ref(), read);
        drop(store);
        let failed = |error| drop(self.served.failure(error));
        described.map_err(failed).unwrap_or_default()
    }
}

impl Described {
    fn of(
        &self,
        newest: &[BadRange],
        store: Option<&Store>,
        read: impl Fn(&BadRange) -> Vec<Fragment>,
    ) -> Result<Vec<DamagedRange>, StoreError> {
        // Not held while the disk is read.
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = |bad: &BadRange| before.iter().find(|known| known.bad == *bad).cloned();
        let mut now: Vec<Known> = newest
            .iter()
            .map(|bad| {
                known(bad).unwrap_or_else(|| Known {
                    bad: *bad,
                    fragments: read(bad),
                    range: None,
                })
            })
            .collect();
        let mut ranges = Vec::with_capacity(now.len());
        let mut failed = None;
        for known in &mut now {
            let described = match &known.range {
                Some(range) => Ok(range.clone()),
                None => damage::describe(&known.bad, &known.fragments, store),
            };
            match described {
                Ok(range) => {
                    if store.is_some() {
                        known.range = Some(range.clone());
                    }
                    ranges.push(range);
                }
                Err(error) => failed = Some(error),
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
        failed.map_or(Ok(ranges), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::storage::local::index::{Indexes, TableOptions, open};

    #[test]
    fn a_damaged_range_is_read_once_also_while_there_is_no_index() {
        let dir = tempfile::tempdir().unwrap();
        let table = TableOptions {
            cache_bytes: 1 << 20,
            buffer_bytes: 4096,
            indexes: Indexes::All,
        };
        let store = open::open_as_is(dir.path(), table).unwrap();
        let bad = |segment| BadRange {
            segment,
            offset: 64,
            bytes: 10,
            missing: None,
        };
        let (described, reads) = (Described::default(), Cell::new(0));
        let ask = |newest: &[BadRange], store: Option<&Store>| {
            let read = |_: &BadRange| {
                reads.set(reads.get() + 1);
                Vec::new()
            };
            let ranges = described.of(newest, store, read).unwrap();
            ranges.into_iter().map(|range| range.segment).collect::<Vec<_>>()
        };
        for store in [None, Some(&store), Some(&store)] {
            assert_eq!(
                ask(&[bad(9), bad(1)], store),
                ["0000000000000009", "0000000000000001"]
            );
        }
        assert_eq!(reads.get(), 2);
        assert_eq!(ask(&[bad(17), bad(9)], Some(&store)).len(), 2);
        assert_eq!(reads.get(), 3);
    }
}
