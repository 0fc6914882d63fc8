//! What is damaged, by name: which records stood in a range of the journal that cannot be read, and what their loss
//! means.
//!
//! Two sources say so. The store knows the events and attempts that it has applied by their sequence number: that is
//! certain. The damaged bytes themselves still show ids, as a rule: that is probable, since any of them may be wrong.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use super::codec;
use crate::{
    domain::{
        event::EventType,
        id::{EndpointId, EventId, Lsn},
        reclaim::{Carried, Home},
        record::{PayloadErased, Record},
    },
    storage::local::index::{Store, StoreError},
    storage::local::journal::{BadRange, Entry, Fragment, Location},
};

/// Records that are named of one damaged range, and events that are remembered as damaged: the first say enough.
pub const NAMED: usize = 100;
/// Damaged ranges that `/v1/status` names.
pub const RANGES: usize = 20;
/// Damaged events that are remembered, so that each is told of once; further ones are counted each time.
const REMEMBERED: usize = 10_000;

/// A range of the journal that cannot be read, and what stood in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedRange {
    /// The segment's file, without its ending.
    pub segment: String,
    pub offset: u64,
    pub bytes: u64,
    /// The sequence numbers that are missing; `None` when none is, or the range ends a segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_lsn: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_lsn: Option<Lsn>,
    /// What is known of the records, at most [`NAMED`].
    pub records: Vec<LostRecord>,
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<Lsn>,
    /// What it said: `event`, `attempt`, `endpoint`, …
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<EndpointId>,
    /// The store says so; else it is what the damaged bytes look like.
    pub certain: bool,
    pub means: &'static str,
}

/// A kind's name, and what its loss means.
const fn meaning(kind: u8) -> (&'static str, &'static str) {
    match kind {
        1 => (
            "event",
            "it cannot be sent any more: what is open of its deliveries fails with the reason disk; after a rebuild of the store nothing else is known of it",
        ),
        2 => (
            "attempt",
            "after a rebuild of the store the attempt may be made again",
        ),
        3 => (
            "endpoint",
            "after a rebuild of the store its configuration is what its last undamaged record says",
        ),
        4 => (
            "endpoint_state",
            "after a rebuild of the store its state is what its last undamaged record says",
        ),
        5 => (
            "endpoint_deletion",
            "after a rebuild of the store the endpoint may be there again: look, and remove it",
        ),
        6 => (
            "retry",
            "after a rebuild of the store what was retried by hand may not be due: look for failed deliveries",
        ),
        7 => (
            "end_of_deliveries",
            "after a rebuild of the store what was cancelled or had expired may be due again",
        ),
        8 => (
            "replay",
            "after a rebuild of the store the deliveries that the replay made are gone: replay the event again",
        ),
        9 => (
            "key",
            "after a rebuild of the store the API key is gone: make another",
        ),
        10 => (
            "key_revocation",
            "after a rebuild of the store a revoked API key may be valid again: look, and revoke it",
        ),
        11 => (
            "event_type",
            "the declaration is what its last undamaged record says; without one its events are not checked",
        ),
        12 => (
            "event_type_deletion",
            "after a rebuild of the store the declaration may be there again",
        ),
        13 => (
            "carried",
            "after a rebuild of the store what it carried forward of older segments is gone; an event in it cannot be sent any more",
        ),
        14..=16 | 18 | 21 => (
            "forgotten",
            "after a rebuild of the store what was forgotten may be there again, until it is forgotten once more",
        ),
        17 => (
            "floor",
            "after a rebuild of the store what stood below the reclaimed segments is not known to be gone",
        ),
        19 => (
            "erasure",
            "after a rebuild of the store the event is there with zeros for its payload: erase it again",
        ),
        20 => (
            "configuration",
            "after a rebuild of the store endpoints, API keys and event types are what their last undamaged records say: look, and change them again",
        ),
        _ => ("unknown", "what it said is not known"),
    }
}

/// Names what stood in a damaged range.
///
/// # Errors
/// When the store fails.
pub fn describe(
    bad: &BadRange,
    fragments: &[Fragment],
    store: Option<&Store>,
) -> Result<DamagedRange, StoreError> {
    let mut known: BTreeMap<Lsn, LostRecord> = BTreeMap::new();
    if let (Some(store), Some(missing)) = (store, bad.missing) {
        for (lsn, record) in stored(store, missing.first, missing.last)? {
            known.insert(lsn, record);
        }
    }
    let mut loose = Vec::new();
    let (mut events, mut numbers) = (HashSet::new(), HashSet::new());
    for fragment in fragments {
        let guess = guess(fragment);
        // What lies inside a damaged payload may look like a record too: one event is named once.
        let again = guess
            .event_id
            .as_ref()
            .is_some_and(|id| !events.insert(id.clone()))
            || guess.lsn.is_some_and(|lsn| !numbers.insert(lsn));
        match guess.lsn {
            _ if again => {}
            Some(lsn) => _ = known.entry(lsn).or_insert(guess),
            None if guess.kind != "unknown" => loose.push(guess),
            None => {}
        }
    }
    let mut records: Vec<LostRecord> = known.into_values().chain(loose).collect();
    records.truncate(NAMED);
    Ok(DamagedRange {
        segment: format!("{:016x}", bad.segment),
        offset: bad.offset,
        bytes: bad.bytes,
        first_lsn: bad.missing.map(|range| range.first),
        last_lsn: bad.missing.map(|range| range.last),
        records,
    })
}

/// What the store has applied of these records: events and attempts.
fn stored(store: &Store, first: Lsn, last: Lsn) -> Result<Vec<(Lsn, LostRecord)>, StoreError> {
    let record = |lsn, kind, event_id, endpoint_id| {
        let (kind, means) = meaning(kind);
        (
            lsn,
            LostRecord {
                lsn: Some(lsn),
                kind,
                event_id,
                endpoint_id,
                certain: true,
                means,
            },
        )
    };
    let events = store.events_from(first, NAMED)?;
    let mut found: Vec<_> = events
        .into_iter()
        .take_while(|(lsn, _)| *lsn <= last)
        .map(|(lsn, row)| record(lsn, 1, Some(row.id.as_str().to_owned()), None))
        .collect();
    for lsn in (first..=last).take(NAMED) {
        if let Some(row) = store.attempt(lsn)? {
            let event = match row.delivery {
                None => None,
                Some(key) => store.delivery(key)?.map(|delivery| delivery.event),
            };
            let event = event.map(|event| store.event(event)).transpose()?.flatten();
            let event = event.map(|event| event.id.as_str().to_owned());
            found.push(record(lsn, 2, event, Some(row.endpoint)));
        }
    }
    Ok(found)
}

/// What a fragment looks like.
fn guess(fragment: &Fragment) -> LostRecord {
    let (kind, event_id, endpoint_id) = match decoded(fragment) {
        Some(record) => {
            let endpoint = record.endpoint_facts().next().map(|fact| fact.endpoint());
            (fragment.kind, event_of(&record), endpoint)
        }
        // Nothing else begins with an event's id and its type.
        None => match event_at(&fragment.body) {
            Some(event) => (1, Some(event), None),
            None => (0, None, None),
        },
    };
    // The number of a kind alone says little when what follows does not read.
    let (kind, means) = meaning(kind);
    LostRecord {
        lsn: fragment.lsn,
        kind,
        event_id,
        endpoint_id,
        certain: false,
        means,
    }
}

/// The record, when its body reads although its checksum does not agree.
fn decoded(fragment: &Fragment) -> Option<Record> {
    let entry = Entry {
        lsn: fragment.lsn.unwrap_or_default(),
        kind: fragment.kind,
        version: fragment.version,
        flags: 0,
        body: fragment.body.clone(),
        location: Location {
            segment: 0,
            offset: fragment.offset,
            len: 0,
        },
    };
    codec::decode(&entry).ok()
}

fn event_of(record: &Record) -> Option<String> {
    match record {
        Record::EventAccepted(event) => Some(event.id.as_str().to_owned()),
        Record::AttemptSettled(attempt) => Some(attempt.event_id.as_str().to_owned()),
        Record::Carried(Carried {
            home: Home::Event { event, .. },
            ..
        })
        | Record::PayloadErased(PayloadErased { event, .. }) => Some(event.id.as_str().to_owned()),
        _ => None,
    }
}

/// The id of an event whose record's body begins here: it and the type stand first.
fn event_at(body: &[u8]) -> Option<String> {
    let (id, rest) = text_at(body)?;
    let (event_type, _) = text_at(rest)?;
    let id: EventId = id.parse().ok()?;
    event_type.parse::<EventType>().ok()?;
    Some(id.as_str().to_owned())
}

/// A text as records have it: its length in 8 bytes, and as many bytes.
fn text_at(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let (text, rest) = rest.split_at_checked(len)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

impl DamagedRange {
    /// A line for people.
    pub fn line(&self) -> String {
        let lsns = match (self.first_lsn, self.last_lsn) {
            (Some(first), Some(last)) if first == last => format!(", record {first}"),
            (Some(first), Some(last)) => format!(", records {first} to {last}"),
            _ => String::new(),
        };
        if self.bytes == 0 {
            return format!("segment {}: no bytes{lsns}", self.segment);
        }
        format!(
            "segment {}, offset {}, {} bytes{lsns}",
            self.segment, self.offset, self.bytes
        )
    }

    /// The events that it names.
    pub fn events(&self) -> impl Iterator<Item = &LostRecord> {
        self.records
            .iter()
            .filter(|record| record.kind == "event" && record.event_id.is_some())
    }
}

impl LostRecord {
    /// What it was, for people.
    pub fn name(&self) -> String {
        let mut words = vec![self.kind.replace('_', " ")];
        words.extend(self.event_id.clone());
        words.extend(self.endpoint_id.map(|id| format!("at {id}")));
        words.extend(self.lsn.map(|lsn| format!("(record {lsn})")));
        let name = words.join(" ");
        if self.certain {
            name
        } else {
            format!("probably {name}")
        }
    }
}

/// Records of one kind that were found damaged while the server runs.
#[derive(Default)]
struct Met(Mutex<(HashSet<Lsn>, u64)>);

impl Met {
    /// Counts one; answers whether it was the first time.
    fn is_new(&self, lsn: Lsn) -> bool {
        let mut met = self.lock();
        let (known, count) = &mut *met;
        if known.contains(&lsn) {
            return false;
        }
        *count += 1;
        if known.len() < REMEMBERED {
            known.insert(lsn);
        }
        true
    }

    fn count(&self) -> u64 {
        self.lock().1
    }

    fn lock(&self) -> MutexGuard<'_, (HashSet<Lsn>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events whose records were found damaged while the server runs.
#[derive(Default)]
pub struct DamagedEvents(Met);

impl DamagedEvents {
    /// Takes note of one, and says so the first time.
    pub fn met(&self, lsn: Lsn, id: &EventId) {
        if self.0.is_new(lsn) {
            tracing::error!(
                event.id = %id,
                "the record of an event is damaged: it cannot be sent, and its open deliveries fail with the reason disk"
            );
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.count()
    }
}

/// Attempts whose records were found damaged while the server runs.
#[derive(Default)]
pub struct DamagedAttempts(Met);

impl DamagedAttempts {
    /// Takes note of one, and says so the first time.
    pub fn met(&self, lsn: Lsn) {
        if self.0.is_new(lsn) {
            tracing::error!(
                lsn,
                "the record of an attempt is damaged: lists show what the store knows of it"
            );
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.count()
    }
}
