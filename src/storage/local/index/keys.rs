//! Keys: a kind byte, then fixed-width big-endian parts, so that byte order is logical order.
//!
//! | kind | key after the kind byte | row |
//! |---|---|---|
//! | `01` | | the applied sequence number |
//! | `02` | | counts over everything |
//! | `03` | | the floor below which records are gone |
//! | `04` | | what is counted and has no row any more |
//! | `05` | | which of the indexes for lists are kept |
//! | `10` | endpoint (16) | endpoint |
//! | `11` | endpoint (16) | counts and health of the endpoint |
//! | `12` | key id (16) | API key |
//! | `13` | event type (bytes) | event type: where in the journal its declaration lies |
//! | `14` | event type (bytes) | how many events have this type |
//! | `20` | lsn (8) | event |
//! | `21` | event id (bytes), then a zero byte and the tenant (bytes) if it has one | the event's lsn |
//! | `22` | idempotency key (bytes), then as above | the event's lsn, and until when it is remembered |
//! | `23` | mark (8), lsn (8) | an event that has a type, a tenant, an attribute or an idempotency key (see `marks`) |
//! | `30` | lsn (8), index (4) | delivery |
//! | `31` | event lsn (8), lsn (8), index (4) | a delivery that was added to the event later |
//! | `33` | endpoint (16), stage (1), lsn (8), index (4) | a delivery to the endpoint in this stage |
//! | `40` | endpoint (16), due in ms (8), lsn (8), index (4) | a scheduled delivery |
//! | `50` | lsn (8) | attempt |
//! | `51` | endpoint (16), outcome (1), lsn (8) | an attempt at the endpoint with this outcome |
//! | `52` | lsn (8), lsn (8) | an attempt of a delivery that the first record created |
//! | `60` | id (16), which begins with the time | entry of the audit log |
//! | `61` | lsn / 1024 (8) | the earliest and latest times of what these records brought (see `zones`) |
//! | `62` | interval (1), minutes since 1970 (4), series (1), endpoint (16) or tenant (bytes) | rollup (see `rollups`) |
//!
//! Kinds are append-only. Kind `32`, deliveries that failed, was kept up to layout 2; journals still carry such rows. Rows of kinds `21` and `22` that were written before ids were a tenant's own have no tenant
//! (see `ids`).

use std::{borrow::Borrow, cmp::Ordering, fmt, ops::Deref};

use crate::domain::{
    delivery::StageKind,
    event::{EventType, Label},
    id::{AuditId, DeliveryKey, EndpointId, EventId, KeyId, Lsn},
    outcome::Class,
    rollup::{Interval, Series},
    time::Timestamp,
};

pub const EVENT: u8 = 0x20;
pub const EVENT_ID: u8 = 0x21;
pub const IDEMPOTENCY: u8 = 0x22;
pub const MARKED: u8 = 0x23;
pub const TYPE_COUNT: u8 = 0x14;
pub const ENDPOINT: u8 = 0x10;
pub const API_KEY: u8 = 0x12;
pub const EVENT_TYPE: u8 = 0x13;
pub const ENDPOINT_TALLY: u8 = 0x11;
pub const DELIVERY: u8 = 0x30;
pub const ADDED: u8 = 0x31;
/// Up to layout 2: deliveries that failed.
pub const FAILED: u8 = 0x32;
pub const STAGED: u8 = 0x33;
pub const DUE: u8 = 0x40;
pub const ATTEMPT: u8 = 0x50;
pub const JUDGED: u8 = 0x51;
pub const TRIED: u8 = 0x52;
pub const AUDIT: u8 = 0x60;
pub const ZONE: u8 = 0x61;
pub const ROLLUP: u8 = 0x62;

/// The longest key that needs no memory of its own: a schedule entry's is 37 bytes.
const SHORT: usize = 38;

/// A key. Most are short, and kept where they stand.
#[derive(Clone)]
pub enum Key {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Self {
        match u8::try_from(key.len()) {
            Ok(length) if key.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..key.len()].copy_from_slice(key);
                Self::Short(length, bytes)
            }
            _ => Self::Long(key.into()),
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::runtime::hex::encode(self))
    }
}

fn key(kind: u8, parts: &[&[u8]]) -> Key {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut short = [0; SHORT];
    if length > SHORT {
        return Key::from([&[kind], parts.concat().as_slice()].concat().as_slice());
    }
    short[0] = kind;
    let mut at = 1;
    for part in parts {
        short[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    Key::from(&short[..length])
}

pub fn applied() -> Key {
    key(0x01, &[])
}

pub fn totals() -> Key {
    key(0x02, &[])
}

pub fn floor() -> Key {
    key(0x03, &[])
}

pub fn forgotten() -> Key {
    key(0x04, &[])
}

pub fn indexes() -> Key {
    key(0x05, &[])
}

pub fn endpoint(id: EndpointId) -> Key {
    key(ENDPOINT, &[id.as_bytes()])
}

pub fn endpoint_tally(id: EndpointId) -> Key {
    key(ENDPOINT_TALLY, &[id.as_bytes()])
}

pub fn api_key(id: KeyId) -> Key {
    key(API_KEY, &[id.as_bytes()])
}

pub fn audit(id: AuditId) -> Key {
    key(AUDIT, &[id.as_bytes()])
}

pub fn event_type(name: &EventType) -> Key {
    key(EVENT_TYPE, &[name.as_str().as_bytes()])
}

pub fn event(lsn: Lsn) -> Key {
    key(EVENT, &[&lsn.to_be_bytes()])
}

/// Stands before a tenant. Ids, idempotency keys and tenants hold no such byte.
const OF_TENANT: &[u8] = &[0];

fn of_tenant(kind: u8, text: &str, tenant: Option<&Label>) -> Key {
    match tenant {
        None => key(kind, &[text.as_bytes()]),
        Some(tenant) => key(kind, &[text.as_bytes(), OF_TENANT, tenant.as_str().as_bytes()]),
    }
}

pub fn event_id(tenant: Option<&Label>, id: &EventId) -> Key {
    of_tenant(EVENT_ID, id.as_str(), tenant)
}

/// The prefix of an event id in every tenant.
pub fn event_id_of_tenants(id: &EventId) -> Key {
    key(EVENT_ID, &[id.as_str().as_bytes(), OF_TENANT])
}

pub fn idempotency(tenant: Option<&Label>, text: &str) -> Key {
    of_tenant(IDEMPOTENCY, text, tenant)
}

/// The row of an idempotency key that [`idempotency_in`] told of: with its tenant, if it has one.
pub fn idempotency_again(text: &str) -> Key {
    key(IDEMPOTENCY, &[text.as_bytes()])
}

pub fn delivery(at: DeliveryKey) -> Key {
    key(DELIVERY, &[&at.lsn.to_be_bytes(), &at.index.to_be_bytes()])
}

/// The prefix of the deliveries that a record created.
pub fn deliveries_of(lsn: Lsn) -> Key {
    key(DELIVERY, &[&lsn.to_be_bytes()])
}

pub fn added(event: Lsn, at: DeliveryKey) -> Key {
    key(
        ADDED,
        &[
            &event.to_be_bytes(),
            &at.lsn.to_be_bytes(),
            &at.index.to_be_bytes(),
        ],
    )
}

/// The prefix of the deliveries that were added to an event later.
pub fn added_to(event: Lsn) -> Key {
    key(ADDED, &[&event.to_be_bytes()])
}

/// Ordinals are persisted: append only.
const fn stage_ordinal(stage: StageKind) -> u8 {
    match stage {
        StageKind::Scheduled => 0,
        StageKind::Delivered => 1,
        StageKind::Failed => 2,
        StageKind::Expired => 3,
        StageKind::Cancelled => 4,
    }
}

/// Ordinals are persisted: append only.
const fn class_ordinal(class: Class) -> u8 {
    match class {
        Class::Delivered => 0,
        Class::Transient => 1,
        Class::EndpointError => 2,
        Class::EventError => 3,
        Class::Ours => 4,
    }
}

pub fn staged(endpoint: EndpointId, stage: StageKind, at: DeliveryKey) -> Key {
    key(
        STAGED,
        &[
            endpoint.as_bytes(),
            &[stage_ordinal(stage)],
            &at.lsn.to_be_bytes(),
            &at.index.to_be_bytes(),
        ],
    )
}

/// The prefix of an endpoint's deliveries in a stage.
pub fn staged_of(endpoint: EndpointId, stage: StageKind) -> Key {
    key(STAGED, &[endpoint.as_bytes(), &[stage_ordinal(stage)]])
}

/// The prefix of an endpoint's failed deliveries.
pub fn failed_of(endpoint: EndpointId) -> Key {
    staged_of(endpoint, StageKind::Failed)
}

/// The prefix of all that an index by endpoint has of one.
pub fn of_endpoint(kind: u8, endpoint: EndpointId) -> Key {
    key(kind, &[endpoint.as_bytes()])
}

/// The prefix of a kind.
pub fn of_kind(kind: u8) -> Key {
    key(kind, &[])
}

/// Whether keys of a kind end in a delivery key; those of others that lists go through end in a sequence number.
const fn ends_in_delivery(kind: u8) -> bool {
    matches!(kind, DELIVERY | ADDED | STAGED | DUE)
}

/// The position that ends a key which lists go through.
pub fn position_in(key: &[u8]) -> DeliveryKey {
    match key.first() {
        Some(kind) if ends_in_delivery(*kind) => delivery_in(key),
        _ => DeliveryKey::new(last_lsn_in(key), 0),
    }
}

/// The first key below a prefix that is not before this position, in ascending order or in descending order.
pub fn at_position(prefix: &Key, at: DeliveryKey, ascending: bool) -> Key {
    let mut whole = prefix.to_vec();
    if whole.first() == Some(&DELIVERY) {
        // What stands before the position is the kind alone, whatever of it the prefix has.
        return delivery(at);
    }
    if whole.first().is_some_and(|kind| ends_in_delivery(*kind)) {
        whole.extend(at.lsn.to_be_bytes());
        whole.extend(at.index.to_be_bytes());
    } else {
        let passed = ascending && at.index > 0;
        whole.extend(at.lsn.saturating_add(u64::from(passed)).to_be_bytes());
    }
    Key::from(&*whole)
}

pub fn judged(endpoint: EndpointId, class: Class, lsn: Lsn) -> Key {
    key(
        JUDGED,
        &[endpoint.as_bytes(), &[class_ordinal(class)], &lsn.to_be_bytes()],
    )
}

/// The prefix of the attempts at an endpoint with an outcome.
pub fn judged_of(endpoint: EndpointId, class: Class) -> Key {
    key(JUDGED, &[endpoint.as_bytes(), &[class_ordinal(class)]])
}

/// `record` created the delivery, `lsn` settled the attempt.
pub fn tried(record: Lsn, lsn: Lsn) -> Key {
    key(TRIED, &[&record.to_be_bytes(), &lsn.to_be_bytes()])
}

/// The prefix of the attempts of the deliveries that a record created.
pub fn tried_of(record: Lsn) -> Key {
    key(TRIED, &[&record.to_be_bytes()])
}

pub fn marked(mark: u64, lsn: Lsn) -> Key {
    key(MARKED, &[&mark.to_be_bytes(), &lsn.to_be_bytes()])
}

/// The prefix of the events that have a mark.
pub fn marked_with(mark: u64) -> Key {
    key(MARKED, &[&mark.to_be_bytes()])
}

pub fn type_count(event_type: &EventType) -> Key {
    key(TYPE_COUNT, &[event_type.as_str().as_bytes()])
}

/// The prefix of the types that begin so.
pub fn types_beginning(text: &str) -> Key {
    key(TYPE_COUNT, &[text.as_bytes()])
}

pub fn zone(zone: u64) -> Key {
    key(ZONE, &[&zone.to_be_bytes()])
}

/// Ordinals are persisted: append only.
const fn interval_ordinal(interval: Interval) -> u8 {
    match interval {
        Interval::Minute => 0,
        Interval::Hour => 1,
    }
}

/// The prefix of an interval's rollups, which come in the order of their beginnings: up to the year 9999 four bytes hold them.
pub fn rollups_at(interval: Interval, at: Timestamp) -> Key {
    let minutes = u32::try_from(at.as_millis() / Interval::Minute.millis()).unwrap_or(u32::MAX);
    key(ROLLUP, &[&[interval_ordinal(interval)], &minutes.to_be_bytes()])
}

/// The prefix of the rollups of all intervals of one length.
pub fn rollups_of(interval: Interval) -> Key {
    key(ROLLUP, &[&[interval_ordinal(interval)]])
}

/// Ordinals of series are persisted: append only.
pub fn rollup(interval: Interval, at: Timestamp, series: &Series) -> Key {
    let at = rollups_at(interval, at);
    let (ordinal, name) = match series {
        Series::All => (0, &[][..]),
        Series::Tenant(tenant) => (1, tenant.as_str().as_bytes()),
        Series::Endpoint(endpoint) => (2, &endpoint.as_bytes()[..]),
    };
    key(ROLLUP, &[&at[1..], &[ordinal], name])
}

/// The beginning of the interval in a `62` key, and the series.
pub fn rollup_in(key: &[u8]) -> Option<(Timestamp, Series)> {
    let (head, name) = key.get(2..)?.split_at_checked(5)?;
    let (minutes, ordinal) = head.split_first_chunk()?;
    let at = u64::from(u32::from_be_bytes(*minutes)) * Interval::Minute.millis();
    let series = match ordinal {
        [0] if name.is_empty() => Series::All,
        [1] => Series::Tenant(std::str::from_utf8(name).ok()?.parse().ok()?),
        [2] => Series::Endpoint(EndpointId::from_bytes(name.try_into().ok()?)),
        _ => return None,
    };
    Some((Timestamp::from_millis(at), series))
}

pub fn due(endpoint: EndpointId, due: Timestamp, at: DeliveryKey) -> Key {
    let millis = due.as_millis().to_be_bytes();
    key(
        DUE,
        &[
            endpoint.as_bytes(),
            &millis,
            &at.lsn.to_be_bytes(),
            &at.index.to_be_bytes(),
        ],
    )
}

/// The prefix of an endpoint's scheduled deliveries.
pub fn due_of(endpoint: EndpointId) -> Key {
    key(DUE, &[endpoint.as_bytes()])
}

pub fn attempt(lsn: Lsn) -> Key {
    key(ATTEMPT, &[&lsn.to_be_bytes()])
}

/// The first key after all that start with `prefix`.
pub fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// The big-endian number in bytes `from..from + 8` of a key; zero when it is too short.
fn number(key: &[u8], from: usize) -> u64 {
    key.get(from..from + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

/// The sequence number behind the kind byte.
pub fn lsn_in(key: &[u8]) -> Lsn {
    number(key, 1)
}

/// The number that ends a `23`, `51` or `52` key.
pub fn last_lsn_in(key: &[u8]) -> Lsn {
    number(key, key.len().saturating_sub(8))
}

/// The delivery key that ends a `30`, `31`, `33` or `40` key.
pub fn delivery_in(key: &[u8]) -> DeliveryKey {
    let Some(from) = key.len().checked_sub(12) else {
        return DeliveryKey::MIN;
    };
    let index = key
        .get(from + 8..)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_be_bytes);
    DeliveryKey::new(number(key, from), index)
}

/// The endpoint behind the kind byte.
pub fn endpoint_in(key: &[u8]) -> Option<EndpointId> {
    key.get(1..17)?.try_into().ok().map(EndpointId::from_bytes)
}

/// The idempotency key in a `22` key, and its tenant, as one text.
pub fn idempotency_in(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(1..)?).ok()
}

/// The event type in a `13` or `14` key.
pub fn event_type_in(key: &[u8]) -> Option<EventType> {
    std::str::from_utf8(key.get(1..)?).ok()?.parse().ok()
}

/// The due time in a `40` key.
pub fn due_in(key: &[u8]) -> Timestamp {
    Timestamp::from_millis(number(key, 17))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn due_keys_sort_by_endpoint_then_time_then_journal(
            a in (any::<[u8; 16]>(), 0..1u64 << 40, any::<u64>(), any::<u32>()),
            b in (any::<[u8; 16]>(), 0..1u64 << 40, any::<u64>(), any::<u32>()),
        ) {
            let key = |(id, millis, lsn, index): ([u8; 16], u64, u64, u32)| {
                due(EndpointId::from_bytes(id), Timestamp::from_millis(millis), DeliveryKey::new(lsn, index))
            };
            prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
            prop_assert_eq!(delivery_in(&key(a)), DeliveryKey::new(a.2, a.3));
            prop_assert_eq!(due_in(&key(a)).as_millis(), a.1);
            prop_assert_eq!(endpoint_in(&key(a)), Some(EndpointId::from_bytes(a.0)));
        }

        #[test]
        fn rollups_sort_by_interval_then_time_and_their_keys_say_what_they_are_of(
            a in (any::<bool>(), 0..1u64 << 37, any::<[u8; 16]>()), b in (any::<bool>(), 0..1u64 << 37, any::<[u8; 16]>()),
            tenant in "[a-z]{1,60}",
        ) {
            let of = |(hour, millis, id): (bool, u64, [u8; 16])| {
                let interval = if hour { Interval::Hour } else { Interval::Minute };
                (interval, interval.of(Timestamp::from_millis(millis)), Series::Endpoint(EndpointId::from_bytes(id)))
            };
            let key = |(interval, at, series): &(Interval, Timestamp, Series)| rollup(*interval, *at, series);
            let (a, b) = (of(a), of(b));
            prop_assert_eq!(a.cmp(&b), key(&a).cmp(&key(&b)));
            prop_assert_eq!(rollup_in(&key(&a)), Some((a.1, a.2)));
            for series in [Series::All, Series::Tenant(tenant.parse().unwrap())] {
                let key = rollup(a.0, a.1, &series);
                prop_assert!(key.starts_with(&rollups_at(a.0, a.1)) && key.starts_with(&rollups_of(a.0)));
                prop_assert_eq!(rollup_in(&key), Some((a.1, series)));
            }
        }

        #[test]
        fn the_key_after_a_prefix_is_after_all_that_start_with_it(
            prefix in prop::collection::vec(any::<u8>(), 1..8), rest in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            prop_assume!(prefix.iter().any(|&byte| byte != u8::MAX));
            let whole = [prefix.clone(), rest].concat();
            prop_assert!(whole < after(&prefix) && whole >= prefix);
        }
    }
}
