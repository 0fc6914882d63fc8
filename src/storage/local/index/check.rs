//! Whether the rows agree with each other.
//!
//! sled checks the bytes of what it reads; this checks that nothing is missing: counts against rows, indexes against
//! what they index.

use std::collections::HashMap;

use super::{
    Store, StoreError,
    draft::decode,
    index_check::SeenIndexes,
    keys,
    rows::{AttemptRow, EventRow, EventTypeRow, Tally},
};
use crate::{
    domain::{
        delivery::{Counts, Delivery, Stage},
        id::EndpointId,
    },
    runtime::hex,
};

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    pub rows: u64,
    /// What does not agree, in words; at most [`MOST_FAULTS`].
    pub faults: Vec<String>,
}

/// Faults that are named; the first few say enough.
const MOST_FAULTS: usize = 20;

impl CheckReport {
    pub const fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn fault(&mut self, text: String) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(text);
        }
    }
}

impl Store {
    /// Reads every row and compares.
    ///
    /// # Errors
    /// When sled fails or a row does not decode, which is a fault too.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        let mut report = CheckReport::default();
        let mut seen = Seen::default();
        for entry in self.table.prefix(&[]) {
            let (key, row) = entry?;
            report.rows += 1;
            seen.row(self, &key, &row, &mut report)?;
        }
        self.compare(&seen, &mut report)?;
        seen.indexes.compare(self, &mut report)?;
        Ok(report)
    }

    fn compare(&self, seen: &Seen, report: &mut CheckReport) -> Result<(), StoreError> {
        let (totals, forgotten) = (self.totals()?, self.forgotten()?);
        let mut sum = Counts {
            attempts: seen.attempts,
            ..Counts::default()
        };
        for (endpoint, found) in &seen.deliveries {
            self.compare_endpoint(*endpoint, found, report)?;
            for stage in stages() {
                *sum.of(stage) += *found.clone().of(stage);
            }
        }
        let mut known = sum;
        for stage in stages() {
            *known.of(stage) += *forgotten.deliveries.clone().of(stage);
        }
        known.attempts += forgotten.deliveries.attempts;
        if known != totals.deliveries {
            report.fault(format!(
                "counts {:?}, but the rows, and what was forgotten, are {known:?}",
                totals.deliveries
            ));
        }
        let events = seen.events + forgotten.events;
        if events != totals.events {
            report.fault(format!(
                "counts {} events, but there are, or were forgotten, {events}",
                totals.events
            ));
        }
        if seen.schedule != sum.scheduled {
            report.fault(format!(
                "{} schedule entries for {} deliveries",
                seen.schedule, sum.scheduled
            ));
        }
        Ok(())
    }
}

impl Store {
    /// An endpoint's counts go on counting what was forgotten, so that of what has ended there may be more than rows;
    /// what is scheduled is never forgotten. One that was forgotten itself has no counts.
    fn compare_endpoint(
        &self,
        endpoint: EndpointId,
        found: &Counts,
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        let mut counted = self.tally(endpoint)?.deliveries;
        let mut found = *found;
        let gone = self.endpoint(endpoint)?.is_none();
        let ended = stages().into_iter().filter(|stage| stage.is_final());
        let fewer = ended
            .into_iter()
            .any(|stage| *counted.of(stage) < *found.of(stage));
        if counted.scheduled != found.scheduled || (fewer && !gone) {
            report.fault(format!(
                "endpoint {endpoint}: counts {counted:?}, but its rows are {found:?}"
            ));
        }
        Ok(())
    }
}

fn stages() -> [Stage; 5] {
    [
        Stage::Scheduled {
            due: crate::domain::time::Timestamp::EPOCH,
        },
        Stage::Delivered,
        Stage::Failed,
        Stage::Expired,
        Stage::Cancelled,
    ]
}

#[derive(Default)]
struct Seen {
    events: u64,
    attempts: u64,
    schedule: u64,
    deliveries: HashMap<EndpointId, Counts>,
    indexes: SeenIndexes,
}

impl Seen {
    fn row(
        &mut self,
        store: &Store,
        key: &[u8],
        row: &[u8],
        report: &mut CheckReport,
    ) -> Result<(), StoreError> {
        match key.first() {
            Some(&keys::EVENT) => {
                let event: EventRow = decode(key, row)?;
                self.events += 1;
                self.indexes.event(store, keys::lsn_in(key), &event, report)?;
            }
            Some(&keys::ATTEMPT) => {
                let attempt: AttemptRow = decode(key, row)?;
                self.attempts += 1;
                self.indexes.attempt(store, keys::lsn_in(key), &attempt, report)?;
            }
            Some(&keys::ENDPOINT_TALLY) => {
                let _: Tally = decode(key, row)?;
                if let Some(endpoint) = keys::endpoint_in(key) {
                    self.deliveries.entry(endpoint).or_default();
                }
            }
            Some(&keys::EVENT_TYPE) => {
                let _: EventTypeRow = decode(key, row)?;
                if keys::event_type_in(key).is_none() {
                    report.fault(format!("row {} names no event type", hex::encode(key)));
                }
            }
            Some(&keys::DUE) => self.schedule += 1,
            Some(&keys::DELIVERY) => {
                let delivery: Delivery = decode(key, row)?;
                self.indexes.delivery(store, &delivery, report)?;
                *self
                    .deliveries
                    .entry(delivery.endpoint)
                    .or_default()
                    .of(delivery.stage) += 1;
                if let Stage::Scheduled { due } = delivery.stage {
                    let entry = keys::due(delivery.endpoint, due, delivery.key);
                    if !store.table.contains(&entry)? {
                        report.fault(format!(
                            "delivery {} is scheduled but not in the schedule",
                            delivery.id()
                        ));
                    }
                }
            }
            _ => self.indexes.index_row(key, row, report)?,
        }
        Ok(())
    }
}
