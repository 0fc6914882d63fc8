//! Questions of reclaim: what belongs to an event, what lies below a sequence number, rows as they stand.

use super::{
    Store, StoreError,
    draft::decode,
    keys,
    query::Window,
    rows::{AttemptRow, EndpointRow, EventRow, EventTypeRow, FloorRow, Forgotten, IdempotencyRow},
};
use crate::domain::{
    delivery::Delivery,
    event::EventType,
    id::{DeliveryKey, EndpointId, Lsn},
    reclaim::RowCopy,
    record::KeyPut,
    time::Timestamp,
};

/// An event's row, and all that belongs to it.
#[derive(Clone, Debug)]
pub struct Belongings {
    pub row: EventRow,
    pub deliveries: Vec<Delivery>,
    /// Those beyond its fan-out.
    pub added: Vec<DeliveryKey>,
    /// All attempts of them that have a row.
    pub attempts: Vec<Lsn>,
}

impl Belongings {
    /// Whether all its deliveries have ended.
    pub fn is_settled(&self) -> bool {
        self.deliveries.iter().all(|delivery| delivery.stage.is_final())
    }
}

/// A row of configuration that was carried forward.
#[derive(Clone, Debug)]
pub enum CarriedRow {
    Endpoint(EndpointId, Box<EndpointRow>),
    ApiKey(Box<KeyPut>),
    EventType(EventType, EventTypeRow),
}

impl CarriedRow {
    /// Nothing when it is another row, or does not decode.
    pub fn read(copy: &RowCopy) -> Option<Self> {
        let key = &copy.key[..];
        match *key.first()? {
            keys::ENDPOINT => {
                let row = decode(key, &copy.row).ok()?;
                Some(Self::Endpoint(keys::endpoint_in(key)?, Box::new(row)))
            }
            keys::API_KEY => Some(Self::ApiKey(Box::new(decode(key, &copy.row).ok()?))),
            keys::EVENT_TYPE => Some(Self::EventType(
                keys::event_type_in(key)?,
                decode(key, &copy.row).ok()?,
            )),
            _ => None,
        }
    }
}

/// The newest times below a sequence number.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// When the newest event was accepted.
    pub event: Option<Timestamp>,
    /// When the newest attempt was begun.
    pub attempt: Option<Timestamp>,
}

impl Store {
    /// # Errors
    /// When sled fails or a row is damaged; so for all that follow.
    pub fn belongings(&self, event: Lsn) -> Result<Option<Belongings>, StoreError> {
        let Some(row) = self.event(event)? else {
            return Ok(None);
        };
        let added = self.added(event)?;
        let own = (0..row.deliveries).map(|index| DeliveryKey::new(event, index));
        let (mut deliveries, mut attempts) = (Vec::new(), Vec::new());
        for key in own.chain(added.iter().copied()) {
            let Some(delivery) = self.delivery(key)? else {
                continue;
            };
            let mut next = delivery.last.map(|last| last.lsn);
            while let Some(lsn) = next.take() {
                if let Some(attempt) = self.attempt(lsn)? {
                    attempts.push(lsn);
                    next = attempt.previous;
                }
            }
            deliveries.push(delivery);
        }
        Ok(Some(Belongings {
            row,
            deliveries,
            added,
            attempts,
        }))
    }

    fn added(&self, event: Lsn) -> Result<Vec<DeliveryKey>, StoreError> {
        let rows = self.table.prefix(&keys::added_to(event));
        rows.map(|row| Ok(keys::delivery_in(&row?.0))).collect()
    }

    /// Whether all deliveries of an event have ended; an event that is not there has none.
    pub fn is_settled(&self, event: Lsn, own: u32) -> Result<bool, StoreError> {
        let own = (0..own).map(|index| DeliveryKey::new(event, index));
        for key in own.chain(self.added(event)?) {
            if self
                .delivery(key)?
                .is_some_and(|delivery| !delivery.stage.is_final())
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every row that an event has, as it stands: of its attempts those that were settled from `floor` on, and that
    /// of its idempotency key, if it stands for this event.
    pub fn copies_of_event(
        &self,
        event: Lsn,
        belongings: &Belongings,
        idempotency_key: Option<&str>,
        floor: Lsn,
    ) -> Result<Vec<RowCopy>, StoreError> {
        let mut keys = vec![keys::event(event)];
        keys.extend(self.rows_of_id(event, &belongings.row)?);
        if let Some(text) = idempotency_key {
            keys.extend(self.rows_of_key(belongings.row.tenant.as_ref(), text, event)?);
        }
        keys.extend(belongings.added.iter().map(|added| keys::added(event, *added)));
        for delivery in &belongings.deliveries {
            let (endpoint, key) = (delivery.endpoint, delivery.key);
            keys.push(keys::delivery(key));
            keys.push(match delivery.stage.due() {
                Some(due) => keys::due(endpoint, due, key),
                None => keys::failed(endpoint, key),
            });
        }
        let attempts = belongings.attempts.iter().filter(|lsn| **lsn >= floor);
        keys.extend(attempts.map(|lsn| keys::attempt(*lsn)));
        let copies = keys.into_iter().map(|key| self.copy(&key));
        copies.filter_map(Result::transpose).collect()
    }

    /// A row as it stands.
    pub fn copy(&self, key: &[u8]) -> Result<Option<RowCopy>, StoreError> {
        let row = self.table.get(key)?;
        Ok(row.map(|row| RowCopy {
            key: key.to_vec().into(),
            row: row.into(),
        }))
    }

    /// All rows of a kind as they stand.
    pub fn copies(&self, kind: u8) -> Result<Vec<RowCopy>, StoreError> {
        let rows = self.table.prefix(&[kind]);
        rows.map(|entry| {
            let (key, row) = entry?;
            Ok(RowCopy {
                key: key.into(),
                row: row.into(),
            })
        })
        .collect()
    }

    /// How many rows there are of a kind.
    pub fn count(&self, kind: u8) -> Result<usize, StoreError> {
        let mut rows = self.table.prefix(&[kind]);
        rows.try_fold(0, |count, row| row.map(|_| count + 1))
    }

    /// The newest times that rows of records below `lsn` tell.
    pub fn newest_below(&self, lsn: Lsn) -> Result<Newest, StoreError> {
        let last = |kind: u8, beyond: Vec<u8>| Window {
            prefix: vec![kind],
            beyond: Some(beyond),
            ascending: false,
            limit: 1,
            looks: 1,
        };
        let events = self.window::<EventRow>(&last(keys::EVENT, keys::event(lsn).to_vec()), |_, _| true)?;
        let attempts =
            self.window::<AttemptRow>(&last(keys::ATTEMPT, keys::attempt(lsn).to_vec()), |_, _| true)?;
        Ok(Newest {
            event: events.found.first().map(|(_, row)| row.accepted_at),
            attempt: attempts.found.first().map(|(_, row)| row.started_at),
        })
    }

    /// Attempts from the record `from` on, below `before`, with when they began; at most `limit`.
    pub fn attempts_between(
        &self,
        from: Lsn,
        before: Lsn,
        limit: usize,
    ) -> Result<Vec<(Lsn, Timestamp)>, StoreError> {
        if from >= before {
            return Ok(Vec::new());
        }
        let range = self
            .table
            .range(&keys::attempt(from), Some(&keys::attempt(before)));
        range
            .take(limit)
            .map(|entry| {
                let (key, row) = entry?;
                let row: AttemptRow = decode(&key, &row)?;
                Ok((keys::lsn_in(&key), row.started_at))
            })
            .collect()
    }

    /// Idempotency keys whose time is over at `now`, among `looks` rows beyond `beyond`; and where to go on.
    pub fn keys_over(
        &self,
        beyond: Option<Vec<u8>>,
        now: Timestamp,
        looks: usize,
    ) -> Result<(Vec<String>, Option<Vec<u8>>), StoreError> {
        let window = Window {
            prefix: vec![keys::IDEMPOTENCY],
            beyond,
            ascending: true,
            limit: looks,
            looks,
        };
        let rows = self.window(&window, |_, row: &IdempotencyRow| row.until <= now)?;
        let texts = rows.found.iter();
        let texts = texts.filter_map(|(key, _)| keys::idempotency_in(key).map(ToOwned::to_owned));
        Ok((texts.collect(), rows.stopped_at))
    }

    /// What is counted and has no row any more.
    pub fn forgotten(&self) -> Result<Forgotten, StoreError> {
        Ok(self.row(&keys::forgotten())?.unwrap_or_default())
    }

    /// Below which sequence number records are gone.
    pub fn floor(&self) -> Result<FloorRow, StoreError> {
        Ok(self.row(&keys::floor())?.unwrap_or_default())
    }
}
