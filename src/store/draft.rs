//! A batch in the making: writes are gathered and seen by later reads, then committed at once.

use std::collections::HashMap;

use super::{
    Store, StoreError, keys,
    rows::{self, Row},
};
use crate::{
    domain::id::EndpointId,
    runtime::{
        codec::{CodecError, decode_row, encode_row},
        hex,
    },
};

/// Rows by key; `None` removes one.
pub(super) type Changes = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// Gathered writes over the store as it is.
pub(super) struct Draft<'a> {
    store: &'a Store,
    changes: Changes,
    tallies: HashMap<EndpointId, rows::Tally>,
    totals: rows::Totals,
}

impl<'a> Draft<'a> {
    pub fn new(store: &'a Store) -> Result<Self, StoreError> {
        let totals = store.row(&keys::totals())?.unwrap_or_default();
        Ok(Self {
            store,
            changes: HashMap::new(),
            tallies: HashMap::new(),
            totals,
        })
    }

    pub fn get<T: Row>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        match self.changes.get(key) {
            Some(Some(row)) => decode(key, row).map(Some),
            Some(None) => Ok(None),
            None => self.store.row(key),
        }
    }

    pub fn put<T: Row>(&mut self, key: Vec<u8>, row: &T) -> Result<(), StoreError> {
        let row = encode_row(T::VERSION, row).map_err(StoreError::Encode)?;
        self.changes.insert(key, Some(row));
        Ok(())
    }

    pub fn remove(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    pub const fn totals(&mut self) -> &mut rows::Totals {
        &mut self.totals
    }

    pub fn tally(&mut self, endpoint: EndpointId) -> Result<&mut rows::Tally, StoreError> {
        use std::collections::hash_map::Entry;
        match self.tallies.entry(endpoint) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let row = self.store.row(&keys::endpoint_tally(endpoint))?;
                Ok(entry.insert(row.unwrap_or_default()))
            }
        }
    }

    /// Changes one endpoint's counts and the totals alike.
    pub fn count(
        &mut self,
        endpoint: EndpointId,
        change: impl Fn(&mut rows::Counts),
    ) -> Result<(), StoreError> {
        change(&mut self.totals.deliveries);
        change(&mut self.tally(endpoint)?.deliveries);
        Ok(())
    }

    /// Commits everything as one atomic batch, with `applied`.
    pub fn commit(mut self, applied: &rows::Applied) -> Result<(), StoreError> {
        for (endpoint, tally) in std::mem::take(&mut self.tallies) {
            self.put(keys::endpoint_tally(endpoint), &tally)?;
        }
        let totals = self.totals;
        self.put(keys::totals(), &totals)?;
        self.put(keys::applied(), applied)?;
        let mut batch = sled::Batch::default();
        for (key, row) in &self.changes {
            match row {
                Some(row) => batch.insert(&**key, &**row),
                None => batch.remove(&**key),
            }
        }
        super::guarded(|| Ok(self.store.db.apply_batch(batch)?))?;
        self.store.twin.follow(&self.changes);
        Ok(())
    }
}

pub(crate) fn decode<T: Row>(key: &[u8], row: &[u8]) -> Result<T, StoreError> {
    let read = match (decode_row(T::VERSION, row), row) {
        (Err(CodecError::Version(version)), [_, body @ ..]) => T::read_old(version, body),
        (read, _) => read,
    };
    read.map_err(|source| StoreError::Row {
        key: hex::encode(key),
        source,
    })
}
