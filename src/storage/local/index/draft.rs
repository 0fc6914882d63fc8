//! A batch in the making: writes are gathered and seen by later reads, then committed at once.

use std::{
    collections::{BTreeSet, HashMap, btree_map::Entry},
    ops::Bound,
};

use super::{
    Store, StoreError,
    indexing::{Indexes, TypeChanges},
    keys::{self, Key},
    rollups::Minutes,
    rows::{self, Row},
    table::{Change, Changes},
    zones::{Timed, Zones},
};
use crate::{
    domain::{
        delivery::Counts,
        event::EventType,
        id::{EndpointId, Lsn},
        reclaim::RowCopy,
        time::Timestamp,
    },
    runtime::{
        codec::{CodecError, decode_row, encode_row},
        hex,
    },
};

/// Gathered writes over the store as it is.
pub(super) struct Draft<'a> {
    store: &'a Store,
    changes: Changes,
    tallies: HashMap<EndpointId, rows::Tally>,
    totals: rows::Totals,
    /// Read when it is first asked for.
    forgotten: Option<rows::Forgotten>,
    types: TypeChanges,
    zones: Zones,
    /// What is to be added to rollups.
    pub(super) minutes: Minutes,
}

impl<'a> Draft<'a> {
    pub fn new(store: &'a Store) -> Result<Self, StoreError> {
        let totals = store.row(&keys::totals())?.unwrap_or_default();
        Ok(Self {
            store,
            changes: Changes::new(),
            tallies: HashMap::new(),
            totals,
            forgotten: None,
            types: TypeChanges::new(),
            zones: Zones::default(),
            minutes: Minutes::default(),
        })
    }

    pub const fn indexes(&self) -> Indexes {
        self.store.indexes
    }

    pub fn get<T: Row>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        match self.changes.get(key) {
            Some(change) => change.row().map(|row| decode(key, row)).transpose(),
            None => self.store.row(key),
        }
    }

    pub fn put<T: Row>(&mut self, key: Key, row: &T) -> Result<(), StoreError> {
        let row = encode_row(T::VERSION, row).map_err(StoreError::Encode)?.into();
        match self.changes.entry(key) {
            Entry::Vacant(entry) => _ = entry.insert(Change::Put(row)),
            Entry::Occupied(mut entry) => {
                let is_new = matches!(entry.get(), Change::New(_));
                entry.insert(if is_new {
                    Change::New(row)
                } else {
                    Change::Put(row)
                });
            }
        }
        Ok(())
    }

    /// Writes a row where there is none.
    pub fn put_new<T: Row>(&mut self, key: Key, row: &T) -> Result<(), StoreError> {
        let row = encode_row(T::VERSION, row).map_err(StoreError::Encode)?.into();
        match self.changes.entry(key) {
            Entry::Vacant(entry) => _ = entry.insert(Change::New(row)),
            Entry::Occupied(mut entry) => _ = entry.insert(Change::Put(row)),
        }
        Ok(())
    }

    /// Writes a row of an index, which is all key, where there is none.
    pub fn put_bare(&mut self, key: Key) {
        match self.changes.entry(key) {
            Entry::Vacant(entry) => _ = entry.insert(Change::New(Box::default())),
            Entry::Occupied(mut entry) => _ = entry.insert(Change::Put(Box::default())),
        }
    }

    /// Counts events of a type: adds them, or takes them away.
    pub fn count_type(&mut self, event_type: &EventType, change: i64) {
        match self.types.get_mut(event_type) {
            Some(count) => *count += change,
            None => _ = self.types.insert(event_type.clone(), change),
        }
    }

    pub fn add_time(&mut self, timed: Timed, lsn: Lsn, at: Timestamp) -> Result<(), StoreError> {
        self.zones.add(self.store, timed, lsn, at)
    }

    pub fn take_time(&mut self, timed: Timed, lsn: Lsn, at: Timestamp) -> Result<(), StoreError> {
        self.zones.take(self.store, timed, lsn, at)
    }

    fn write_types(&mut self) -> Result<(), StoreError> {
        for (event_type, change) in std::mem::take(&mut self.types) {
            let key = keys::type_count(&event_type);
            let count: u64 = self.store.row(&key)?.unwrap_or_default();
            match count.saturating_add_signed(change) {
                0 => self.remove(key),
                count => self.put(key, &count)?,
            }
        }
        Ok(())
    }

    pub fn remove(&mut self, key: Key) {
        match self.changes.entry(key) {
            Entry::Occupied(entry) if matches!(entry.get(), Change::New(_)) => _ = entry.remove(),
            Entry::Occupied(mut entry) => _ = entry.insert(Change::Gone),
            Entry::Vacant(entry) => _ = entry.insert(Change::Gone),
        }
    }

    pub const fn totals(&mut self) -> &mut rows::Totals {
        &mut self.totals
    }

    pub fn tally(&mut self, endpoint: EndpointId) -> Result<&mut rows::Tally, StoreError> {
        use std::collections::hash_map::Entry as Known;
        match self.tallies.entry(endpoint) {
            Known::Occupied(entry) => Ok(entry.into_mut()),
            Known::Vacant(entry) => {
                let key = keys::endpoint_tally(endpoint);
                let row = match self.changes.get(&key) {
                    Some(_) => None,
                    None => self.store.row(&key)?,
                };
                Ok(entry.insert(row.unwrap_or_default()))
            }
        }
    }

    /// Takes an endpoint's counts away; what is counted later begins anew.
    pub fn remove_tally(&mut self, endpoint: EndpointId) {
        self.tallies.remove(&endpoint);
        self.remove(keys::endpoint_tally(endpoint));
    }

    /// What is counted and has no row any more.
    pub fn forgotten(&mut self) -> Result<&mut rows::Forgotten, StoreError> {
        let found = match self.forgotten {
            Some(found) => found,
            None => self.store.row(&keys::forgotten())?.unwrap_or_default(),
        };
        Ok(self.forgotten.insert(found))
    }

    /// Puts a row as it stood in another store.
    pub fn put_copy(&mut self, copy: &RowCopy) {
        let row = Change::Put((&*copy.row).into());
        self.changes.insert(copy.key[..].into(), row);
    }

    pub fn set_tally(&mut self, endpoint: EndpointId, tally: rows::Tally) {
        self.tallies.insert(endpoint, tally);
    }

    /// The keys from `low` on and below `high`, those of this batch among them.
    pub fn keys_between(&self, low: &[u8], high: &[u8]) -> Result<BTreeSet<Key>, StoreError> {
        let mut found = BTreeSet::new();
        for row in self.store.table.range(low, Some(high)) {
            found.insert(Key::from(&*row?.0));
        }
        for (key, change) in self
            .changes
            .range::<[u8], _>((Bound::Included(low), Bound::Excluded(high)))
        {
            match change {
                Change::New(_) | Change::Put(_) => _ = found.insert(key.clone()),
                Change::Gone => _ = found.remove(key),
            }
        }
        Ok(found)
    }

    /// Changes one endpoint's counts and the totals alike.
    pub fn count(&mut self, endpoint: EndpointId, change: impl Fn(&mut Counts)) -> Result<(), StoreError> {
        change(&mut self.totals.deliveries);
        change(&mut self.tally(endpoint)?.deliveries);
        Ok(())
    }

    /// Commits everything as one atomic batch, with `applied`.
    pub fn commit(mut self, applied: &rows::Applied) -> Result<(), StoreError> {
        for (endpoint, tally) in std::mem::take(&mut self.tallies) {
            self.put(keys::endpoint_tally(endpoint), &tally)?;
        }
        if let Some(forgotten) = self.forgotten {
            self.put(keys::forgotten(), &forgotten)?;
        }
        self.write_types()?;
        self.write_minutes()?;
        let zones = std::mem::take(&mut self.zones);
        self.write_zones(zones)?;
        let totals = self.totals;
        self.put(keys::totals(), &totals)?;
        self.put(keys::applied(), applied)?;
        let copied = self.store.twin.part_of(&self.changes);
        self.store.table.apply(self.changes)?;
        self.store.twin.follow(copied);
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
