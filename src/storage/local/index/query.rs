//! Questions. Every scan is bounded; a scan that stops early says where to go on.

use std::ops::ControlFlow;

use super::{
    Store, StoreError,
    draft::decode,
    keys,
    rows::{AttemptRow, EventRow, EventTypeRow, Row, Slot, StoredEndpoint, Tally, Totals},
};
use crate::{
    domain::{
        audit::AuditEntry,
        delivery::Delivery,
        event::EventType,
        id::{AuditId, DeliveryKey, EndpointId, Lsn},
        record::KeyPut,
        time::Timestamp,
    },
    runtime::hex,
    storage::schedule::{DueDelivery, DuePage, EventHandle},
};

pub use crate::storage::schedule::Position;

/// How a walk along a schedule ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Walk {
    /// There is nothing more.
    End,
    /// The visitor had enough.
    Stopped,
    /// So many entries were looked at; the walk goes on here.
    Limit(Position),
}

/// Rows in key order, and the key to go on after when the scan stopped before the end.
#[derive(Debug)]
pub struct Rows<T> {
    pub found: Vec<(Vec<u8>, T)>,
    pub stopped_at: Option<Vec<u8>>,
}

/// Which part of a kind of rows to look at, and how long.
#[derive(Debug)]
pub struct Window {
    /// All keys of the answer start so.
    pub prefix: Vec<u8>,
    /// Only keys beyond this one, in the direction of the scan.
    pub beyond: Option<Vec<u8>>,
    pub ascending: bool,
    /// Rows wanted.
    pub limit: usize,
    /// Rows looked at.
    pub looks: usize,
}

impl Store {
    /// The endpoint's deliveries due by `now`, at most `limit`, from the position `from` of its schedule on.
    ///
    /// # Errors
    /// When sled fails or a row is damaged.
    pub fn due(
        &self,
        endpoint: EndpointId,
        from: Position,
        now: Timestamp,
        limit: usize,
    ) -> Result<DuePage, StoreError> {
        let start = keys::due(endpoint, from.0, from.1);
        let end = keys::after(&keys::due_of(endpoint));
        let mut page = DuePage::default();
        for entry in self.table.range(&start, Some(&end)) {
            let (entry, _) = entry?;
            let (due, key) = (keys::due_in(&entry), keys::delivery_in(&entry));
            if due > now || page.deliveries.len() == limit {
                page.next = Some((due, key));
                break;
            }
            match self.due_row(due, key) {
                // It was settled, and has gone with its event, since the schedule was read.
                Err(StoreError::Missing(_)) if !self.table.contains(&entry)? => {}
                row => page.deliveries.push(row?),
            }
        }
        Ok(page)
    }

    fn due_row(&self, due: Timestamp, key: DeliveryKey) -> Result<DueDelivery, StoreError> {
        let delivery: Delivery = self.expect(&keys::delivery(key))?;
        let event: EventRow = self.expect(&keys::event(delivery.event))?;
        Ok(DueDelivery {
            due,
            delivery,
            event: EventHandle {
                sequence: delivery.event,
                place: event.place,
            },
            strand: event.key,
        })
    }

    /// The scheduled delivery at this position of the endpoint's schedule, if it still stands there.
    ///
    /// # Errors
    /// When sled fails or a row is damaged.
    pub fn due_at(&self, endpoint: EndpointId, at: Position) -> Result<Option<DueDelivery>, StoreError> {
        let entry = keys::due(endpoint, at.0, at.1);
        let stands = || self.table.contains(&entry);
        if !stands()? {
            return Ok(None);
        }
        match self.due_row(at.0, at.1) {
            Err(StoreError::Missing(_)) if !stands()? => Ok(None),
            row => row.map(Some),
        }
    }

    /// Walks along the endpoint's schedule from `from` on, `limit` entries at the most, reading nothing but the
    /// schedule itself.
    ///
    /// # Errors
    /// When sled fails or a row is damaged.
    pub fn walk(
        &self,
        endpoint: EndpointId,
        from: Position,
        limit: usize,
        mut visit: impl FnMut(Position, Slot) -> ControlFlow<()>,
    ) -> Result<Walk, StoreError> {
        let start = keys::due(endpoint, from.0, from.1);
        let end = keys::after(&keys::due_of(endpoint));
        for (entry, looked) in self.table.range(&start, Some(&end)).zip(0..) {
            let (entry, value) = entry?;
            let at = (keys::due_in(&entry), keys::delivery_in(&entry));
            if looked == limit {
                return Ok(Walk::Limit(at));
            }
            let mut slot: Slot = decode(&entry, &value)?;
            if slot.unsaid {
                let row = self.due_row(at.0, at.1)?;
                slot = Slot::of_old(&row.delivery, row.strand);
            }
            if visit(at, slot).is_break() {
                return Ok(Walk::Stopped);
            }
        }
        Ok(Walk::End)
    }

    fn expect<T: Row>(&self, key: &[u8]) -> Result<T, StoreError> {
        self.row(key)?
            .ok_or_else(|| StoreError::Missing(hex::encode(key)))
    }

    /// Endpoints that have anything scheduled, at most `limit` beyond `after`, by their ids.
    ///
    /// # Errors
    /// When sled fails.
    pub fn endpoints_with_work(
        &self,
        after: Option<EndpointId>,
        limit: usize,
    ) -> Result<Vec<EndpointId>, StoreError> {
        let beyond = |id| keys::after(&keys::due_of(id));
        let mut start = after.map_or_else(|| vec![keys::DUE], beyond);
        let end = keys::after(&[keys::DUE]);
        let mut found = Vec::new();
        while found.len() < limit {
            let first = self.table.range(&start, Some(&end)).next().transpose()?;
            let Some(id) = first.and_then(|(key, _)| keys::endpoint_in(&key)) else {
                break;
            };
            start = beyond(id);
            found.push(id);
        }
        Ok(found)
    }

    /// Rows of one kind within a window, those that `keep` keeps.
    ///
    /// # Errors
    /// When sled fails or a row is damaged.
    pub fn window<T: Row>(
        &self,
        window: &Window,
        keep: impl Fn(&[u8], &T) -> bool,
    ) -> Result<Rows<T>, StoreError> {
        let (low, high) = (window.prefix.clone(), keys::after(&window.prefix));
        let (low, high) = match (&window.beyond, window.ascending) {
            (None, _) => (low, high),
            (Some(key), true) => (low.max([&key[..], &[0]].concat()), high),
            (Some(key), false) => (low, high.min(key.clone())),
        };
        let mut rows = Rows {
            found: Vec::new(),
            stopped_at: None,
        };
        let range = self.table.range(&low, Some(&high));
        let range = if window.ascending {
            range
        } else {
            range.descending()
        };
        for (entry, look) in range.zip(1..) {
            let (key, row) = entry?;
            let value: T = decode(&key, &row)?;
            let enough = look == window.looks;
            if keep(&key, &value) {
                rows.found.push((key.clone(), value));
            }
            if enough || rows.found.len() == window.limit {
                rows.stopped_at = Some(key);
                break;
            }
        }
        Ok(rows)
    }

    /// # Errors
    /// When sled fails or a row is damaged; so for all that follow.
    pub fn event(&self, lsn: Lsn) -> Result<Option<EventRow>, StoreError> {
        self.row(&keys::event(lsn))
    }

    /// Events from the one that this record accepted on, or the next, in the order of their acceptance.
    pub fn events_from(&self, lsn: Lsn, limit: usize) -> Result<Vec<(Lsn, EventRow)>, StoreError> {
        let range = self
            .table
            .range(&keys::event(lsn), Some(&keys::after(&[keys::EVENT])));
        range
            .take(limit)
            .map(|entry| {
                let (key, row) = entry?;
                Ok((keys::lsn_in(&key), decode(&key, &row)?))
            })
            .collect()
    }

    pub fn delivery(&self, key: DeliveryKey) -> Result<Option<Delivery>, StoreError> {
        self.row(&keys::delivery(key))
    }

    /// An event's deliveries, those of its fan-out first; at most `limit`.
    pub fn deliveries_of(&self, event: Lsn, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let first = self.table.prefix(&keys::deliveries_of(event));
        let added = self.table.prefix(&keys::added_to(event));
        let found = first.chain(added).take(limit);
        // One that is gone by now was forgotten while this was read.
        found
            .map(|row| self.delivery(keys::delivery_in(&row?.0)))
            .filter_map(Result::transpose)
            .collect()
    }

    pub fn audit_entry(&self, id: AuditId) -> Result<Option<AuditEntry>, StoreError> {
        self.row(&keys::audit(id))
    }

    /// Entries of the audit log from one on and before another, in the order of their ids or against it.
    pub fn audit_entries(
        &self,
        first: Option<AuditId>,
        end: Option<AuditId>,
        ascending: bool,
    ) -> impl Iterator<Item = Result<AuditEntry, StoreError>> + '_ {
        let kind = keys::of_kind(keys::AUDIT);
        let low = first.map_or_else(|| kind.to_vec(), |first| keys::audit(first).to_vec());
        let high = end.map_or_else(|| keys::after(&kind), |end| keys::audit(end).to_vec());
        let range = self.table.range(&low, Some(&high));
        let range = if ascending { range } else { range.descending() };
        range.map(|entry| {
            let (key, row) = entry?;
            decode(&key, &row)
        })
    }

    /// An event's deliveries beyond its fan-out.
    pub fn added_deliveries_of(&self, event: Lsn) -> Result<Vec<Delivery>, StoreError> {
        let rows = self.table.prefix(&keys::added_to(event));
        rows.map(|row| self.delivery(keys::delivery_in(&row?.0)))
            .filter_map(Result::transpose)
            .collect()
    }

    /// The deliveries that were added to events from one to another, before which it ends, later than those were accepted: in
    /// the order of the events, and each with its event.
    pub fn added_between(
        &self,
        from: Lsn,
        end: Lsn,
    ) -> impl Iterator<Item = Result<(Lsn, DeliveryKey), StoreError>> + '_ {
        let (low, high) = (keys::added_to(from), keys::added_to(end));
        self.table.range(&low, Some(&high)).map(|entry| {
            let (key, _) = entry?;
            Ok((keys::lsn_in(&key), keys::delivery_in(&key)))
        })
    }

    pub fn attempt(&self, lsn: Lsn) -> Result<Option<AttemptRow>, StoreError> {
        self.row(&keys::attempt(lsn))
    }

    pub fn tally(&self, endpoint: EndpointId) -> Result<Tally, StoreError> {
        Ok(self.row(&keys::endpoint_tally(endpoint))?.unwrap_or_default())
    }

    pub fn totals(&self) -> Result<Totals, StoreError> {
        Ok(self.row(&keys::totals())?.unwrap_or_default())
    }

    pub fn endpoint(&self, id: EndpointId) -> Result<Option<StoredEndpoint>, StoreError> {
        self.row(&keys::endpoint(id))
    }

    /// Every endpoint, deleted ones too.
    pub fn endpoints(&self) -> Result<Vec<(EndpointId, StoredEndpoint)>, StoreError> {
        let rows = self.all::<StoredEndpoint>(keys::ENDPOINT)?;
        Ok(rows
            .into_iter()
            .filter_map(|(key, row)| Some((keys::endpoint_in(&key)?, row)))
            .collect())
    }

    pub fn api_keys(&self) -> Result<Vec<KeyPut>, StoreError> {
        Ok(self
            .all::<KeyPut>(keys::API_KEY)?
            .into_iter()
            .map(|(_, key)| key)
            .collect())
    }

    pub fn event_type(&self, name: &EventType) -> Result<Option<EventTypeRow>, StoreError> {
        self.row(&keys::event_type(name))
    }

    pub fn event_types(&self) -> Result<Vec<(EventType, EventTypeRow)>, StoreError> {
        let rows = self.all::<EventTypeRow>(keys::EVENT_TYPE)?;
        Ok(rows
            .into_iter()
            .filter_map(|(key, row)| Some((keys::event_type_in(&key)?, row)))
            .collect())
    }

    fn all<T: Row>(&self, kind: u8) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let whole = Window {
            prefix: vec![kind],
            beyond: None,
            ascending: true,
            limit: usize::MAX,
            looks: usize::MAX,
        };
        Ok(self.window(&whole, |_, _| true)?.found)
    }
}

impl Store {
    /// The newest time that a row records.
    pub fn newest(&self) -> Result<Timestamp, StoreError> {
        let last = |kind: u8| Window {
            prefix: vec![kind],
            beyond: None,
            ascending: false,
            limit: 1,
            looks: 1,
        };
        let events = self.window::<EventRow>(&last(keys::EVENT), |_, _| true)?.found;
        let attempts = self
            .window::<AttemptRow>(&last(keys::ATTEMPT), |_, _| true)?
            .found;
        let deliveries = self.window::<Delivery>(&last(keys::DELIVERY), |_, _| true)?.found;
        let event = events.first().map(|(_, row)| row.accepted_at);
        let attempt = attempts.first().map(|(_, row)| row.started_at);
        let delivery = deliveries.first().map(|(_, row)| row.created_at);
        // What stands since a time to come would be sent to from before it stood so.
        let endpoints = self.endpoints()?;
        let endpoint = endpoints.iter().map(|(_, row)| row.newest()).max();
        Ok(event
            .max(attempt)
            .max(delivery)
            .max(endpoint)
            .unwrap_or_default()
            .max(self.totals()?.accepted_at))
    }
}
