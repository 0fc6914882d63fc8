//! Queries: what people look up and list, and the filters, pages and cursors of lists.

use std::{collections::BTreeSet, fmt, str::FromStr};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    StorageError,
    schedule::{EntryPage, Portion},
    stored::{
        AttemptFacts, EventFacts, MissingEvent, StoredAttempt, StoredDelivery, StoredEvent, Tally, Totals,
    },
};
use crate::domain::{
    delivery::{Delivery, StageKind},
    event::{EventType, Label},
    id::{DeliveryKey, EndpointId, EventId, Lsn},
    operational,
    outcome::Class,
    subscription::Pattern,
    time::Timestamp,
};

/// Looks things up, and lists them.
///
/// *Consistency*: each call sees at least everything that was accepted, recorded or changed before it was asked, and reads
/// what is stored at some moment. Nothing is held open between two calls: a list goes on from a position, and shows what is
/// there by then.
///
/// *Lists* are in the order of acceptance (events), creation (deliveries) or recording (attempts). A page has at most
/// [`ListRange::limit`] rows. It may have fewer, or none, while the list goes on: storage bounds how long one call reads and how
/// many bytes it answers. Only a page without `next` is the last one.
///
/// # Errors
/// All of them: `NotReady` while there is nothing to read from; `TimedOut` and `Short` when the same call may succeed in a
/// moment; `Failed` when somebody should look. A single thing that is damaged is no error: its row says so.
///
/// # Cancel safety
/// All of them are safe: they change nothing.
#[async_trait]
pub trait Queries: Send + Sync {
    /// The event of an id: within a tenant, if one is given. Otherwise the one without a tenant, or else the only one that
    /// any tenant has. [`super::Events::event`] has the whole of it.
    async fn find_event(&self, id: &EventId, tenant: Option<&Label>) -> Result<FoundEvent, StorageError>;

    async fn list_events(
        &self,
        filter: EventFilter,
        range: ListRange,
    ) -> Result<ListPage<StoredEvent>, StorageError>;

    async fn list_deliveries(
        &self,
        filter: DeliveryFilter,
        range: ListRange,
    ) -> Result<ListPage<StoredDelivery>, StorageError>;

    async fn list_attempts(
        &self,
        filter: AttemptFilter,
        range: ListRange,
    ) -> Result<ListPage<StoredAttempt>, StorageError>;

    /// Events that an endpoint has no delivery of. Those whose payload is erased, or that cannot be read, are left out:
    /// they cannot be sent.
    async fn list_missing(
        &self,
        filter: MissingFilter,
        range: ListRange,
    ) -> Result<ListPage<MissingEvent>, StorageError>;

    /// An endpoint's deliveries in one stage, in the order in which their events were accepted; those of one event in the order
    /// in which they were made. Only of events from this one on. A page never ends among the deliveries of one event, and may
    /// have more rows than `limit` for that.
    async fn list_by_event(
        &self,
        filter: ByEventFilter,
        from: Lsn,
        limit: usize,
    ) -> Result<ByEventPage, StorageError>;

    /// A portion of an endpoint's schedule: its deliveries that have not ended, by the time at which they are due.
    async fn list_scheduled(&self, portion: Portion) -> Result<EntryPage, StorageError>;

    /// Each of these deliveries; `None` for one that is not there.
    async fn deliveries(&self, keys: Vec<DeliveryKey>) -> Result<Vec<Option<StoredDelivery>>, StorageError>;

    /// All deliveries of an event and the endpoint that each is for, those that it became when it was accepted first.
    async fn deliveries_of(&self, event: Lsn) -> Result<Vec<(EndpointId, DeliveryKey)>, StorageError>;

    /// The counts of each of these endpoints, in their order; zeros for one of which nothing was counted yet.
    async fn tallies(&self, endpoints: Vec<EndpointId>) -> Result<Vec<Tally>, StorageError>;

    async fn totals(&self) -> Result<Totals, StorageError>;
}

/// What there is under an event's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundEvent {
    None,
    One(EventFacts),
    /// Several tenants have one.
    Several,
}

/// Which part of a list is wanted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ListRange {
    /// Only what stands beyond this position, in the direction of the list.
    pub beyond: Option<DeliveryKey>,
    /// Oldest first; otherwise newest first.
    pub ascending: bool,
    pub limit: usize,
}

/// Rows of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T> {
    pub rows: Vec<T>,
    /// The list goes on beyond this position, and may have more there; `None` at its end.
    pub next: Option<DeliveryKey>,
}

/// Which events an endpoint may have missed.
#[derive(Clone, Debug)]
pub struct MissingFilter {
    pub endpoint: EndpointId,
    /// Of this tenant, or of none.
    pub tenant: Option<Label>,
    /// Any of these matches the event's type.
    pub event_types: Vec<Pattern>,
    /// When they were accepted; both ends belong to it.
    pub since: Timestamp,
    pub until: Option<Timestamp>,
}

/// Which deliveries are wanted in the order of their events.
#[derive(Clone, Debug)]
pub struct ByEventFilter {
    pub endpoint: EndpointId,
    pub stage: StageKind,
    /// The answer to their newest attempt.
    pub status: Option<u16>,
    /// When their events were accepted; both ends belong to it.
    pub since: Timestamp,
    pub until: Option<Timestamp>,
}

impl ByEventFilter {
    /// Whether a delivery is one of these, but for its event, which [`Self::covers`] judges.
    pub fn matches(&self, delivery: &Delivery) -> bool {
        let status = delivery.last.and_then(|last| last.status);
        delivery.endpoint == self.endpoint
            && delivery.stage.kind() == self.stage
            && (self.status.is_none() || self.status == status)
    }

    pub fn covers(&self, event: &EventFacts) -> bool {
        event.accepted_at >= self.since && self.until.is_none_or(|until| event.accepted_at <= until)
    }
}

/// Deliveries in the order of their events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByEventPage {
    pub rows: Vec<StoredDelivery>,
    /// The list goes on from this event, and may have more there; `None` at its end.
    pub next: Option<Lsn>,
}

/// Which events are wanted. Every member that is given narrows the list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub event_type: Option<Pattern>,
    pub tenant: Option<Label>,
    /// Names and values; an event has to have all of them.
    pub attributes: Vec<(String, String)>,
    pub idempotency_key: Option<String>,
    /// When they were accepted; both ends belong to it.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl EventFilter {
    pub fn is_type(&self, event_type: &EventType) -> bool {
        let wanted = self.event_type.as_ref();
        wanted.is_none_or(|wanted| wanted.matches(event_type))
    }
}

/// Some endpoints, by what is known of them. One that is deleted, or whose configuration is damaged, is known to nobody.
#[derive(Clone, Debug, Default)]
pub enum Endpoints {
    #[default]
    All,
    Only(BTreeSet<EndpointId>),
    Except(BTreeSet<EndpointId>),
}

impl Endpoints {
    pub fn has(&self, endpoint: EndpointId) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(&endpoint),
            Self::Except(others) => !others.contains(&endpoint),
        }
    }
}

/// Which deliveries are wanted.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub event: Option<Lsn>,
    pub endpoints: Endpoints,
    pub stage: Option<StageKind>,
    /// Only these.
    pub among: Option<BTreeSet<DeliveryKey>>,
    /// None of these.
    pub except: BTreeSet<DeliveryKey>,
    /// The answer to their newest attempt.
    pub status: Option<u16>,
    /// Of events of this tenant.
    pub tenant: Option<Label>,
    /// At which endpoints operational events count.
    pub operational: Endpoints,
    /// When they were created.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl DeliveryFilter {
    /// Whether a delivery's event is one that the filter names. A lost event belongs to no tenant.
    pub fn covers(&self, found: &StoredDelivery) -> bool {
        let Some(event) = &found.event else {
            return self.tenant.is_none();
        };
        let endpoint = found.delivery.endpoint;
        (self.tenant.is_none() || self.tenant == event.tenant)
            && (self.operational.has(endpoint) || !operational::is_reserved(&event.event_type))
    }
}

/// Which attempts are wanted.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    pub event: Option<Lsn>,
    pub delivery: Option<DeliveryKey>,
    pub endpoints: Endpoints,
    pub outcome: Option<Class>,
    pub event_type: Option<Pattern>,
    pub tenant: Option<Label>,
    /// At which endpoints operational events count.
    pub operational: Endpoints,
    pub status: Option<u16>,
    /// When they were begun.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl AttemptFilter {
    /// Whether an attempt is one of these, but for its event, which storage finds by other means.
    pub fn matches(&self, facts: &AttemptFacts) -> bool {
        let wanted = self.event_type.as_ref();
        (self.delivery.is_none() || self.delivery == facts.delivery)
            && self.endpoints.has(facts.endpoint)
            && self.outcome.is_none_or(|outcome| outcome == facts.class)
            && wanted.is_none_or(|wanted| wanted.matches(&facts.event_type))
            && (self.tenant.is_none() || self.tenant == facts.tenant)
            && (self.operational.has(facts.endpoint) || !operational::is_reserved(&facts.event_type))
            && (self.status.is_none() || self.status == facts.status)
            && self.since.is_none_or(|since| facts.started_at >= since)
            && self.until.is_none_or(|until| facts.started_at <= until)
    }
}

/// Which list a cursor is of. Ordinals are persisted in cursors: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum List {
    Events,
    Deliveries,
    Attempts,
}

impl List {
    const fn ordinal(self) -> u8 {
        match self {
            Self::Events => 1,
            Self::Deliveries => 2,
            Self::Attempts => 3,
        }
    }

    const fn from_ordinal(ordinal: u8) -> Option<Self> {
        match ordinal {
            1 => Some(Self::Events),
            2 => Some(Self::Deliveries),
            3 => Some(Self::Attempts),
            _ => None,
        }
    }
}

/// Where a page begins: beyond a position, onward or back. Its text says nothing to those who pass it on.
///
/// | bytes | |
/// |---|---|
/// | 1 | version: 1 |
/// | 1 | the list |
/// | 1 | 0: onward, 1: back |
/// | 8 | sequence number, big endian |
/// | 4 | index, big endian |
/// | 4 | CRC32C of what stands before, big endian |
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub list: List,
    pub back: bool,
    /// The page does not have what stands here.
    pub beyond: DeliveryKey,
}

/// A text that no list answered with.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not one that this list answered with; leave it out to begin anew")]
pub struct InvalidCursor;

const CURSOR_VERSION: u8 = 1;
const CURSOR_BYTES: usize = 19;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![CURSOR_VERSION, self.list.ordinal(), u8::from(self.back)];
        bytes.extend(self.beyond.lsn.to_be_bytes());
        bytes.extend(self.beyond.index.to_be_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let bytes: [u8; CURSOR_BYTES] = bytes.try_into().map_err(|_| InvalidCursor)?;
        let (said, sum) = bytes.split_at(CURSOR_BYTES - 4);
        if sum != crc32c::crc32c(said).to_be_bytes() {
            return Err(InvalidCursor);
        }
        let &[CURSOR_VERSION, list, back @ (0 | 1), ref place @ ..] = said else {
            return Err(InvalidCursor);
        };
        let (lsn, index) = place.split_first_chunk().ok_or(InvalidCursor)?;
        let index: [u8; 4] = index.try_into().map_err(|_| InvalidCursor)?;
        Ok(Self {
            list: List::from_ordinal(list).ok_or(InvalidCursor)?,
            back: back == 1,
            beyond: DeliveryKey::new(u64::from_be_bytes(*lsn), u32::from_be_bytes(index)),
        })
    }
}

/// The position before or after one, in the order of the journal.
pub fn next_to(at: DeliveryKey, ascending: bool) -> Option<DeliveryKey> {
    let DeliveryKey { lsn, index } = at;
    if ascending {
        match index.checked_add(1) {
            Some(index) => Some(DeliveryKey::new(lsn, index)),
            None => Some(DeliveryKey::new(lsn.checked_add(1)?, 0)),
        }
    } else {
        match index.checked_sub(1) {
            Some(index) => Some(DeliveryKey::new(lsn, index)),
            None => Some(DeliveryKey::new(lsn.checked_sub(1)?, u32::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(
            lsn in any::<u64>(), index in any::<u32>(), back in any::<bool>(), list in 1..=3_u8,
        ) {
            let cursor = Cursor {
                list: List::from_ordinal(list).unwrap(),
                back,
                beyond: DeliveryKey::new(lsn, index),
            };
            let text = cursor.to_string();
            prop_assert_eq!(text.parse(), Ok(cursor));
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        }

        #[test]
        fn a_cursor_that_was_changed_is_refused(place in 0..26_usize, byte in any::<u8>()) {
            let cursor = Cursor { list: List::Events, back: false, beyond: DeliveryKey::new(77, 3) };
            let mut text = cursor.to_string().into_bytes();
            prop_assume!(text[place] != byte);
            text[place] = byte;
            let text = String::from_utf8_lossy(&text).into_owned();
            prop_assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor));
        }

        #[test]
        fn positions_follow_each_other(lsn in 1..u64::MAX, index in any::<u32>()) {
            let at = DeliveryKey::new(lsn, index);
            let next = next_to(at, true).unwrap();
            prop_assert!(next > at);
            prop_assert_eq!(next_to(next, false), Some(at));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "x", "2000000000000001", "AQEA", "%%%%"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
