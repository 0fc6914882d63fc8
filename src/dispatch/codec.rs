//! Between records and what the journal holds: kind, version, flags, body.

use bytes::Bytes;

use crate::{
    domain::record::{Place, Record},
    journal::{self, Draft, Entry, Location},
    runtime::codec::{CodecError, decode_body, encode_body},
};

/// The journal's form of a record.
///
/// # Errors
/// When it is larger than a record may be.
pub fn encode(record: &Record) -> Result<Draft, CodecError> {
    let body = match record {
        Record::EventAccepted(body) => encode_body(body),
        Record::AttemptSettled(body) => encode_body(body),
        Record::EndpointPut(body) => encode_body(body),
        Record::EndpointChanged(body) => encode_body(body),
        Record::EndpointDeleted(body) => encode_body(body),
        Record::DeliveriesRetried(body) => encode_body(body),
        Record::DeliveriesEnded(body) => encode_body(body),
        Record::EventReplayed(body) => encode_body(body),
        Record::KeyPut(body) => encode_body(body),
        Record::KeyRevoked(body) => encode_body(body),
    }?;
    let flags = if record.is_configuration() {
        journal::CONFIG
    } else {
        0
    };
    Ok(Draft {
        kind: record.kind(),
        version: Record::VERSION,
        flags,
        body: Bytes::from(body),
    })
}

/// Reads a record back.
///
/// # Errors
/// When its kind or version is unknown, or its body does not decode.
pub fn decode(entry: &Entry) -> Result<Record, CodecError> {
    if entry.version != Record::VERSION {
        return Err(CodecError::Version(entry.version));
    }
    let body = &entry.body[..];
    Ok(match entry.kind {
        1 => Record::EventAccepted(decode_body(body)?),
        2 => Record::AttemptSettled(decode_body(body)?),
        3 => Record::EndpointPut(decode_body(body)?),
        4 => Record::EndpointChanged(decode_body(body)?),
        5 => Record::EndpointDeleted(decode_body(body)?),
        6 => Record::DeliveriesRetried(decode_body(body)?),
        7 => Record::DeliveriesEnded(decode_body(body)?),
        8 => Record::EventReplayed(decode_body(body)?),
        9 => Record::KeyPut(decode_body(body)?),
        10 => Record::KeyRevoked(decode_body(body)?),
        kind => return Err(CodecError::Kind(kind)),
    })
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
