//! Rows that were written since the last fold.

use std::{
    collections::{BTreeMap, btree_map::Entry as Place},
    ops::Bound,
    sync::Arc,
};

use crate::storage::local::index::keys::Key;

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage::local::index) enum Change {
    /// It has this value, and there was no row. When it goes again before the next fold, nothing is left of it.
    New(Box<[u8]>),
    /// It has this value.
    Put(Box<[u8]>),
    Gone,
}

impl Change {
    /// The value that it leaves.
    pub fn row(&self) -> Option<&[u8]> {
        match self {
            Self::New(row) | Self::Put(row) => Some(row),
            Self::Gone => None,
        }
    }
}

#[derive(Debug)]
struct Entry {
    row: Option<Box<[u8]>>,
    /// No page can have the key.
    born: bool,
}

/// What an entry takes beside its row: the key, its share of nodes that are not full, and the allocator's waste.
const OVERHEAD: usize = 128;

/// Rows by key, those that are gone among them.
#[derive(Debug, Default)]
pub(super) struct Rows {
    entries: BTreeMap<Key, Entry>,
    bytes: usize,
}

impl Rows {
    pub fn change(&mut self, key: Key, change: Change) {
        let born = matches!(change, Change::New(_));
        let row = match change {
            Change::New(row) | Change::Put(row) => Some(row),
            Change::Gone => None,
        };
        let weight = |row: Option<&Box<[u8]>>| OVERHEAD + row.map_or(0, |row| row.len());
        match self.entries.entry(key) {
            Place::Vacant(place) => {
                self.bytes += weight(row.as_ref());
                place.insert(Entry { row, born });
            }
            Place::Occupied(place) if row.is_none() && place.get().born => {
                self.bytes -= weight(place.remove().row.as_ref());
            }
            Place::Occupied(mut place) => {
                self.bytes -= weight(place.get().row.as_ref());
                self.bytes += weight(row.as_ref());
                place.get_mut().row = row;
            }
        }
    }

    /// `None`: nothing is known of the key here; `Some(None)`: it is gone.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.entries.get(key).map(|entry| entry.row.as_deref())
    }

    /// What is known of the keys from `low` on and below `high`.
    pub fn range<'a>(
        &'a self,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let high = match high {
            // A range that ends before it begins is empty.
            Some(high) => Bound::Excluded(high.max(low)),
            None => Bound::Unbounded,
        };
        let range = self.entries.range::<[u8], _>((Bound::Included(low), high));
        range.map(|(key, entry)| (&key[..], entry.row.as_deref()))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About what it takes in memory.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// All that is not in pages, or on its way there.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub fresh: Rows,
    /// Being written into pages. What `fresh` says comes first.
    pub folding: Option<Arc<Rows>>,
    /// How many folds are done: a page that was read before the last of them may lack rows that are nowhere else.
    pub epoch: u64,
}

impl Memory {
    /// `None`: only the pages know.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.fresh
            .get(key)
            .or_else(|| self.folding.as_ref().and_then(|rows| rows.get(key)))
    }

    pub fn is_empty(&self) -> bool {
        self.folding.is_none() && self.fresh.is_empty()
    }

    /// Takes what is fresh to be folded. There must be nothing that is being folded.
    pub fn freeze(&mut self) -> Arc<Rows> {
        let rows = Arc::new(std::mem::take(&mut self.fresh));
        self.folding = Some(rows.clone());
        rows
    }

    /// What was taken is in the pages now.
    pub fn folded(&mut self) {
        self.folding = None;
        self.epoch += 1;
    }
}
