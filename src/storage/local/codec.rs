//! Between records and what the journal holds: kind, version, flags, body.

mod first;

use bytes::Bytes;

use crate::{
    domain::{
        configuration::{ConfigChange, Configured},
        event::EventType,
        id::Lsn,
        reclaim::{Carried, Home},
        record::{AttemptSettled, EventAccepted, EventTypePut, PayloadErased, Place, Record},
    },
    runtime::codec::{CodecError, decode_body, encode_body},
    storage::local::journal::{self, Draft, Entry, Location},
};

/// The journal's form of a record.
///
/// # Errors
/// When it is larger than a record may be.
pub fn encode(record: &Record) -> Result<Draft, CodecError> {
    let body = match record {
        Record::EventAccepted(body) => encode_body(body),
        Record::AttemptSettled(body) => encode_body(&(body, &body.detail)),
        Record::DeliveriesRetried(body) => encode_body(body),
        Record::DeliveriesEnded(body) => encode_body(body),
        Record::EventReplayed(body) => encode_body(body),
        Record::Carried(body) => encode_body(body),
        Record::EventsForgotten(body) => encode_body(body),
        Record::AttemptsForgotten(body) => encode_body(body),
        Record::IdempotencyForgotten(body) => encode_body(body),
        Record::FloorRaised(body) => encode_body(body),
        Record::EndpointsForgotten(body) => encode_body(body),
        Record::PayloadErased(body) => encode_body(body),
        Record::Configured(body) => encode_body(body),
        Record::AuditForgotten(body) => encode_body(body),
        Record::RollupsFolded(body) => encode_body(body),
    }?;
    let flags = if record.is_configuration() {
        journal::CONFIG
    } else {
        0
    };
    Ok(Draft {
        kind: record.kind(),
        version: Record::version_of(record.kind()),
        flags,
        body: Bytes::from(body),
    })
}

/// Reads a record back.
///
/// # Errors
/// When its kind or version is unknown, or its body does not decode.
pub fn decode(entry: &Entry) -> Result<Record, CodecError> {
    let body = &entry.body[..];
    match (entry.kind, entry.version) {
        (2, 1) => {
            return Ok(Record::AttemptSettled(AttemptSettled {
                overrides_end: true,
                ..decode_body(body)?
            }));
        }
        (2, 2) => return Ok(Record::AttemptSettled(decode_body(body)?)),
        (13, 1) => return first::carried(body),
        (17, 1) => return first::floor_raised(body),
        (kind, version) if version != Record::version_of(kind) => return Err(CodecError::Version(version)),
        _ => {}
    }
    Ok(match entry.kind {
        1 => Record::EventAccepted(decode_body(body)?),
        2 => {
            let (attempt, detail) = decode_body(body)?;
            Record::AttemptSettled(AttemptSettled { detail, ..attempt })
        }
        3 => ConfigChange::EndpointPut(decode_body(body)?).into(),
        4 => ConfigChange::EndpointChanged(decode_body(body)?).into(),
        5 => ConfigChange::EndpointDeleted(decode_body(body)?).into(),
        6 => Record::DeliveriesRetried(decode_body(body)?),
        7 => Record::DeliveriesEnded(decode_body(body)?),
        8 => Record::EventReplayed(decode_body(body)?),
        9 => ConfigChange::KeyPut(decode_body(body)?).into(),
        10 => ConfigChange::KeyRevoked(decode_body(body)?).into(),
        11 => ConfigChange::EventTypePut(decode_body(body)?).into(),
        12 => ConfigChange::EventTypeDeleted(decode_body(body)?).into(),
        13 => Record::Carried(decode_body(body)?),
        14 => Record::EventsForgotten(decode_body(body)?),
        15 => Record::AttemptsForgotten(decode_body(body)?),
        16 => Record::IdempotencyForgotten(decode_body(body)?),
        17 => Record::FloorRaised(decode_body(body)?),
        18 => Record::EndpointsForgotten(decode_body(body)?),
        19 => Record::PayloadErased(decode_body(body)?),
        20 => Record::Configured(decode_body(body)?),
        21 => Record::AuditForgotten(decode_body(body)?),
        22 => Record::RollupsFolded(decode_body(body)?),
        kind => return Err(CodecError::Kind(kind)),
    })
}

/// The body of a record that holds an event, with zeros in place of the event's payload: every other byte is as it was,
/// whichever version wrote it. Nothing when it is another record.
pub fn blanked(entry: &Entry) -> Option<Bytes> {
    // The payload is the last of an event, and in what is carried a flag follows.
    let behind = match entry.kind {
        1 => 0,
        13 => 1,
        _ => return None,
    };
    let event = event(decode(entry).ok()?)?;
    let end = entry.body.len().checked_sub(behind)?;
    let at = end.checked_sub(event.payload.bytes.len())?;
    let mut body = entry.body.to_vec();
    let payload = body
        .get_mut(at..end)
        .filter(|bytes| **bytes == event.payload.bytes)?;
    payload.fill(0);
    Some(body.into())
}

/// The event that a record accepted, carries, or erased the payload of; nothing when it is another record.
pub fn event(record: Record) -> Option<EventAccepted> {
    match record {
        Record::EventAccepted(accepted) => Some(accepted),
        Record::Carried(Carried {
            home: Home::Event { event, .. },
            ..
        })
        | Record::PayloadErased(PayloadErased { event, .. }) => Some(*event),
        _ => None,
    }
}

/// Whether a record holds the event that the one at `lsn` accepted: is that one, or carries it.
pub fn holds_event(entry: &Entry, lsn: Lsn) -> bool {
    match entry.kind {
        // What does not decode is told of where it is to be used.
        1 => entry.lsn == lsn,
        13 => matches!(
            decode(entry),
            Ok(Record::Carried(Carried { home: Home::Event { lsn: home, .. }, .. })) if home == lsn
        ),
        19 => matches!(decode(entry), Ok(Record::PayloadErased(erased)) if erased.lsn == lsn),
        _ => false,
    }
}

/// What a record leaves an event type declared as, or carries; nothing when it says nothing of it.
pub fn event_type<'a>(record: &'a Record, name: &EventType) -> Option<&'a EventTypePut> {
    let put = match record {
        Record::Configured(Configured { changes }) => changes.iter().rev().find_map(|change| match change {
            ConfigChange::EventTypePut(put) if put.event_type == *name => Some(put),
            _ => None,
        }),
        Record::Carried(Carried {
            home: Home::EventType(put),
            ..
        }) => Some(&**put),
        _ => None,
    };
    put.filter(|put| put.event_type == *name)
}

/// The store's form of a location.
pub fn place(location: Location) -> Place {
    Place {
        segment: location.segment,
        offset: location.offset,
        len: location.len,
    }
}

/// The journal's form of a place.
pub fn location(place: Place) -> Location {
    Location {
        segment: place.segment,
        offset: place.offset,
        len: place.len,
    }
}

#[cfg(test)]
mod tests;
