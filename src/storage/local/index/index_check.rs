//! Whether the indexes for lists have what their rows say, and nothing else.

use std::collections::{BTreeMap, HashMap};

use super::{
    Indexes, Store, StoreError,
    check::CheckReport,
    draft::decode,
    indexing::marks_of,
    keys::{self, Key},
    rollups::SeenRollups,
    rows::{AttemptRow, EventRow},
    zones::{Timed, ZoneRow, zone_of},
};
use crate::{
    domain::{
        delivery::Delivery,
        event::EventType,
        id::{DeliveryKey, Lsn},
        time::Timestamp,
    },
    runtime::hex,
};

/// What the rows say of the indexes, and how much of each there is.
#[derive(Default)]
pub(super) struct SeenIndexes {
    /// Rows that there should be, and that there are, by kind.
    wanted: BTreeMap<u8, u64>,
    found: BTreeMap<u8, u64>,
    types: HashMap<EventType, u64>,
    zones: BTreeMap<u64, ZoneRow>,
    rollups: SeenRollups,
}

impl SeenIndexes {
    pub fn event(
        &mut self,
        store: &Store,
        lsn: Lsn,
        row: &EventRow,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        self.time(Timed::Event, lsn, row.accepted_at);
        if store.indexes == Indexes::All {
            *self.types.entry(row.event_type.clone()).or_default() += 1;
            for mark in marks_of(row) {
                self.want(store, &keys::marked(mark, lsn), report)?;
            }
        }
        Ok(())
    }

    pub fn delivery(
        &mut self,
        store: &Store,
        row: &Delivery,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let DeliveryKey { lsn, .. } = row.key;
        if lsn != row.event {
            self.time(Timed::Added, lsn, row.created_at);
        }
        let stage = row.stage.kind();
        if store.indexes.has_stage(stage) {
            self.want(store, &keys::staged(row.endpoint, stage, row.key), report)?;
        }
        Ok(())
    }

    pub fn attempt(
        &mut self,
        store: &Store,
        lsn: Lsn,
        row: &AttemptRow,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        self.time(Timed::Attempt, lsn, row.started_at);
        if store.indexes == Indexes::All {
            self.want(store, &keys::judged(row.endpoint, row.class, lsn), report)?;
            if let Some(delivery) = row.delivery {
                self.want(store, &keys::tried(delivery.lsn, lsn), report)?;
            }
        }
        Ok(())
    }

    /// Takes note of a row of an index.
    pub fn index_row(&mut self, key: &[u8], row: &[u8], report: &mut CheckReport) -> Result<(), StoreError> {
        let Some(kind @ (&keys::MARKED | &keys::STAGED | &keys::JUDGED | &keys::TRIED)) = key.first() else {
            return self.summary(key, row, report);
        };
        *self.found.entry(*kind).or_default() += 1;
        Ok(())
    }

    /// Rows that sum others up come after those: their kinds are larger, but for the counts of types.
    fn summary(&mut self, key: &[u8], row: &[u8], report: &mut CheckReport) -> Result<(), StoreError> {
        if key.first() == Some(&keys::ROLLUP) {
            return self.rollups.row(key, row, report);
        }
        if key.first() == Some(&keys::ZONE) {
            let found: ZoneRow = decode(key, row)?;
            let wanted = self.zones.remove(&keys::lsn_in(key)).unwrap_or_default();
            if found != wanted {
                report.fault(format!(
                    "zone {}: its row says {found:?}, its records {wanted:?}",
                    keys::lsn_in(key)
                ));
            }
        }
        Ok(())
    }

    pub fn compare(&self, store: &Store, report: &mut CheckReport) -> Result<(), StoreError> {
        self.rollups.compare(report);
        for zone in self.zones.keys() {
            report.fault(format!("zone {zone} has no row"));
        }
        for kind in [keys::MARKED, keys::STAGED, keys::JUDGED, keys::TRIED] {
            let count = |of: &BTreeMap<u8, u64>| of.get(&kind).copied().unwrap_or_default();
            let (wanted, found) = (count(&self.wanted), count(&self.found));
            if wanted != found {
                report.fault(format!("index {kind:02x} has {found} rows instead of {wanted}"));
            }
        }
        let mut types = self.types.clone();
        for entry in store.table.prefix(&keys::of_kind(keys::TYPE_COUNT)) {
            let (key, row) = entry?;
            let count: u64 = decode(&key, &row)?;
            let wanted = keys::event_type_in(&key).and_then(|name| types.remove(&name));
            if wanted != Some(count) {
                report.fault(format!(
                    "row {} counts {count} events of a type, of which there are {wanted:?}",
                    hex::encode(&key)
                ));
            }
        }
        for name in types.keys() {
            report.fault(format!("the events of type {name} are not counted"));
        }
        Ok(())
    }

    fn time(&mut self, timed: Timed, lsn: Lsn, at: Timestamp) {
        self.zones.entry(zone_of(lsn)).or_default().of_mut(timed).add(at);
    }

    fn want(&mut self, store: &Store, key: &Key, report: &mut CheckReport) -> Result<(), StoreError> {
        if let Some(kind) = key.first() {
            *self.wanted.entry(*kind).or_default() += 1;
        }
        if !store.table.contains(key)? {
            report.fault(format!("row {} of an index is missing", hex::encode(key)));
        }
        Ok(())
    }
}
