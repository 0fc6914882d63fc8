//! What is held for too long, or is too much of it, ends: visibly, as expired.
//!
//! Held is what is due and whose endpoint may not be sent to. Its age is that of the delivery: of a replay, since
//! somebody asked for it. How much of it there is counts an event once for each of its deliveries that is held.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
};

use super::{Bench, Chore, Piece, Reclaimer, Trouble, at_most};
use crate::{
    domain::{
        delivery::{Delivery, Stage},
        id::{DeliveryKey, EndpointId, Lsn},
        record::{DeliveriesEnded, Record},
        time::Timestamp,
    },
    storage::local::index::{
        Store, StoreError,
        query::{Position, Walk},
    },
    telemetry::metrics,
};

/// A round through what is held.
#[derive(Default)]
pub(super) struct Round {
    begun: bool,
    /// Those still to be gone through.
    endpoints: VecDeque<EndpointId>,
    /// Where in the schedule of the first of them.
    at: Option<Position>,
    /// What was created by a record below this one may be past its time.
    old_below: Lsn,
    /// What was created by a record below this one is too much.
    much_below: Lsn,
    looked: u32,
    /// Bytes that are held, by parts of the sequence numbers; empty when nobody wants to know.
    bytes: BTreeMap<u64, u64>,
    /// Sequence numbers in a part.
    part: u64,
}

impl Reclaimer {
    /// A portion of a round.
    pub(super) fn end_held(
        &mut self,
        bench: &mut Bench<'_>,
        mut round: Box<Round>,
    ) -> Result<Piece, Trouble> {
        if !round.begun {
            round.begin(bench, (bench.ago)(self.retention.events))?;
        }
        let Some(&endpoint) = round.endpoints.front() else {
            return Ok(self.end_round(bench, &round));
        };
        let weigh = self.retention.max_held_bytes > 0 && round.much_below == 0;
        let doomed = round.look(bench, endpoint, weigh)?;
        for portion in doomed.chunks(at_most::EXPIRED_AT_ONCE) {
            let ended = self.expire(bench, endpoint, portion, round.much_below)?;
            *self.expired.entry(endpoint).or_default() += ended;
        }
        self.expired.retain(|_, count| *count > 0);
        Ok(Piece::Go(Chore::Held(round)))
    }

    /// Another round at once, if there is too much; else rest.
    fn end_round(&mut self, bench: &Bench<'_>, round: &Round) -> Piece {
        let most = self.retention.max_held_bytes;
        let held: u64 = round.bytes.values().sum();
        if let Some(much_below) = round.past(held.saturating_sub(most)) {
            return Piece::Go(Chore::Held(Box::new(Round {
                much_below,
                ..Round::default()
            })));
        }
        let rest = at_most::HELD_REST * round.looked;
        self.held_at = Some(bench.tick + rest.max(self.retention.look_every()));
        Piece::Done
    }

    /// Ends those of some deliveries that are still held; answers how many.
    fn expire(
        &mut self,
        bench: &mut Bench<'_>,
        endpoint: EndpointId,
        keys: &[DeliveryKey],
        much_below: Lsn,
    ) -> Result<u64, Trouble> {
        let pause = bench.pause()?;
        // It may have been enabled in between.
        if !(bench.inactive)().contains(&endpoint) {
            return Ok(0);
        }
        let (now, cut) = (bench.now, (bench.ago)(self.retention.events));
        let is_over = |delivery: &Delivery| {
            delivery.stage.due().is_some_and(|due| due <= now)
                && (delivery.created_at < cut || delivery.key.lsn < much_below)
        };
        let mut ended = Vec::new();
        for key in keys {
            let delivery = bench.store.delivery(*key)?;
            ended.extend(delivery.filter(is_over).map(|delivery| delivery.key));
        }
        let count = ended.len() as u64;
        if count > 0 {
            let record = Record::DeliveriesEnded(DeliveriesEnded {
                keys: ended,
                at: now,
                stage: Stage::Expired,
            });
            bench.append(&pause, &[record])?;
            metrics::held_expired(count);
        }
        Ok(count)
    }
}

impl Round {
    fn begin(&mut self, bench: &Bench<'_>, cut: Timestamp) -> Result<(), StoreError> {
        self.begun = true;
        self.endpoints = (bench.inactive)().into();
        if !self.endpoints.is_empty() {
            let (first, last) = (bench.journal.first_lsn(), bench.journal.last_lsn());
            self.old_below = first_since(bench.store, cut, last)?;
            self.part = ((last - first.min(last)) / at_most::HELD_PARTS).max(1);
        }
        Ok(())
    }

    /// Goes along a portion of an endpoint's schedule; answers what may be over.
    fn look(
        &mut self,
        bench: &Bench<'_>,
        endpoint: EndpointId,
        weigh: bool,
    ) -> Result<Vec<DeliveryKey>, StoreError> {
        let from = self.at.take().unwrap_or((Timestamp::EPOCH, DeliveryKey::MIN));
        let below = self.old_below.max(self.much_below);
        let (mut doomed, mut held) = (Vec::new(), Vec::new());
        let walk = bench
            .store
            .walk(endpoint, from, at_most::HELD_AT_ONCE, |(due, key), _| {
                if due > bench.now {
                    return ControlFlow::Break(());
                }
                if key.lsn < below {
                    doomed.push(key);
                } else {
                    held.push(key);
                }
                ControlFlow::Continue(())
            })?;
        self.looked += u32::try_from(doomed.len() + held.len()).unwrap_or(u32::MAX);
        match walk {
            Walk::Limit(at) => self.at = Some(at),
            Walk::End | Walk::Stopped => _ = self.endpoints.pop_front(),
        }
        if weigh {
            for key in held {
                let bytes = size(bench.store, key)?;
                *self.bytes.entry(key.lsn / self.part).or_default() += bytes;
            }
        }
        Ok(doomed)
    }

    /// The record below which at least so many bytes are held; nothing when that is none.
    fn past(&self, excess: u64) -> Option<Lsn> {
        let mut sum = 0;
        let mut parts = self.bytes.iter();
        let enough = parts.find(|(_, bytes)| {
            sum += **bytes;
            sum >= excess
        });
        enough
            .filter(|_| excess > 0)
            .map(|(part, _)| (part + 1) * self.part)
    }
}

/// What a delivery's event takes in the journal.
fn size(store: &Store, key: DeliveryKey) -> Result<u64, StoreError> {
    let Some(delivery) = store.delivery(key)? else {
        return Ok(0);
    };
    let event = store.event(delivery.event)?;
    Ok(event.map_or(0, |event| u64::from(event.place.len)))
}

/// The record of the first event accepted at or after a time; the one after the last when there is none. Engine time never
/// runs backward, so that the order of the records is nearly that of their times.
fn first_since(store: &Store, since: Timestamp, last: Lsn) -> Result<Lsn, StoreError> {
    let (mut low, mut high) = (0, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match store.events_from(middle, 1)?.first() {
            Some((lsn, row)) if row.accepted_at < since => low = lsn + 1,
            _ => high = middle,
        }
    }
    let found = store.events_from(low, 1)?;
    Ok(if found.is_empty() { last + 1 } else { low })
}
