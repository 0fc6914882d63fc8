//! Questions of reclaim: what belongs to an event, what lies below a sequence number, the state as it is.

use super::{
    Store, StoreError,
    draft::decode,
    keys,
    query::Window,
    rows::{AttemptRow, EventRow, EventTypeRow, FloorRow, Forgotten, IdempotencyRow, Slot, Tally, Totals},
};
use crate::domain::{
    delivery::Delivery,
    event::EventType,
    id::{DeliveryKey, EndpointId, KeyId, Lsn},
    ordering::Strand,
    reclaim::{AttemptLink, Declaration, DeliveryFacts, EventFacts, State},
    record::{KeyPut, Place},
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

/// What configuration a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mention {
    Endpoint(EndpointId),
    ApiKey(KeyId),
    EventType(EventType),
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

    /// All state of an event: of its attempts those that were settled from `floor` on, and its idempotency key, if that
    /// stands for this event.
    pub fn state_of_event(
        &self,
        event: Lsn,
        belongings: &Belongings,
        idempotency_key: Option<&str>,
        floor: Lsn,
        lost: bool,
    ) -> Result<Vec<State>, StoreError> {
        let row = &belongings.row;
        let facts = EventFacts {
            lsn: event,
            id: row.id.clone(),
            event_type: row.event_type.clone(),
            tenant: row.tenant.clone(),
            accepted_at: row.accepted_at,
            content_hash: row.content_hash,
            deliveries: row.deliveries,
            strand: row.key,
            idempotency: match idempotency_key {
                Some(text) => self.claim(row.tenant.as_ref(), text, event)?,
                None => None,
            },
            erased: row.erased.clone(),
            lost,
        };
        let mut state = vec![State::Event(Box::new(facts))];
        for delivery in &belongings.deliveries {
            state.push(State::Delivery(Box::new(DeliveryFacts {
                delivery: *delivery,
                since: self.since(delivery, row.key)?,
            })));
        }
        for lsn in belongings.attempts.iter().filter(|lsn| **lsn >= floor) {
            let attempt = self.attempt(*lsn)?;
            state.extend(attempt.map(|attempt| {
                State::Attempt(AttemptLink {
                    lsn: *lsn,
                    previous: attempt.previous,
                })
            }));
        }
        Ok(state)
    }

    /// When a scheduled delivery took its place in line, if it was tried since.
    fn since(&self, delivery: &Delivery, strand: Option<Strand>) -> Result<Option<Timestamp>, StoreError> {
        let Some(due) = delivery.stage.due() else {
            return Ok(None);
        };
        let slot: Option<Slot> = self.row(&keys::due(delivery.endpoint, due, delivery.key))?;
        Ok(match slot {
            Some(slot) if !slot.unsaid => slot.since,
            _ => Slot::of_old(delivery, strand).since,
        })
    }

    /// What is mentioned, as it is, and where the declaration lies of what is one.
    pub fn mentioned(&self, mention: &Mention) -> Result<Option<(State, Option<Place>)>, StoreError> {
        Ok(match mention {
            Mention::Endpoint(id) => self.endpoint_facts(*id)?.map(|facts| (facts, None)),
            Mention::ApiKey(id) => {
                let key: Option<KeyPut> = self.row(&keys::api_key(*id))?;
                key.map(|key| (State::ApiKey(Box::new(key)), None))
            }
            Mention::EventType(name) => {
                let row: Option<EventTypeRow> = self.row(&keys::event_type(name))?;
                row.map(|row| {
                    let facts = row.facts(name.clone(), Declaration::Elsewhere);
                    (State::EventType(Box::new(facts)), Some(row.place))
                })
            }
        })
    }

    fn endpoint_facts(&self, id: EndpointId) -> Result<Option<State>, StoreError> {
        let row = self.endpoint(id)?;
        Ok(row.map(|row| State::Endpoint(Box::new(row.facts(id)))))
    }

    /// All counts.
    pub fn counts(&self) -> Result<Vec<State>, StoreError> {
        let mut state = Vec::new();
        state.extend(self.row::<Totals>(&keys::totals())?.map(State::from));
        state.extend(self.row::<Forgotten>(&keys::forgotten())?.map(State::from));
        for entry in self.table.prefix(&[keys::ENDPOINT_TALLY]) {
            let (key, row) = entry?;
            let tally: Tally = decode(&key, &row)?;
            state.extend(keys::endpoint_in(&key).map(|id| tally.state(id)));
        }
        Ok(state)
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
