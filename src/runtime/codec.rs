//! How records and rows become bytes: bincode 1.3.3 with fixed-width little-endian integers, lengths as u64, a size
//! limit, and no bytes left over; details of attempts with numbers and lengths of variable width. The only file that names bincode.

use std::cell::RefCell;

use bincode::Options;
use serde::{Serialize, de::DeserializeOwned};

/// The largest thing that is decoded; the journal's records are bounded below it.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Why bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("undecodable body")]
    Body(#[from] bincode::Error),
    #[error("unknown version {0}")]
    Version(u8),
    #[error("unknown kind {0}")]
    Kind(u8),
    #[error("empty row")]
    Empty,
}

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit(LIMIT)
        .reject_trailing_bytes()
}

fn compact() -> impl Options {
    bincode::DefaultOptions::new()
        .with_varint_encoding()
        .with_little_endian()
        .with_limit(LIMIT)
        .reject_trailing_bytes()
}

/// The body of a record.
///
/// # Errors
/// When the value is larger than the limit.
pub fn encode_body<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    Ok(options().serialize(value)?)
}

/// Reads what [`encode_body`] wrote.
///
/// # Errors
/// When the bytes are not exactly one value of this type.
pub fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    Ok(options().deserialize(bytes)?)
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of scratch that a thread keeps; rows are mostly a few hundred.
const SCRATCH_KEPT: usize = 4096;

/// A row of the store: a version byte and a body.
///
/// # Errors
/// When the value is larger than the limit.
pub fn encode_row<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, CodecError> {
    // Gathered where there is room for any row, so that the row itself takes what it needs and no more.
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        scratch.push(version);
        options().serialize_into(&mut *scratch, value)?;
        let row = scratch.as_slice().to_vec();
        scratch.shrink_to(SCRATCH_KEPT);
        Ok(row)
    })
}

/// A version byte and a body in which small numbers and lengths take one byte: for what is kept of everything and read seldom.
///
/// # Errors
/// When the value is larger than the limit.
pub fn encode_compact<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![version];
    compact().serialize_into(&mut bytes, value)?;
    Ok(bytes)
}

/// Reads what [`encode_compact`] wrote with this version.
///
/// # Errors
/// When the version is another one, or the body does not decode.
pub fn decode_compact<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty),
        Some((&found, _)) if found != version => Err(CodecError::Version(found)),
        Some((_, body)) => Ok(compact().deserialize(body)?),
    }
}

/// Reads what [`encode_row`] wrote with this version.
///
/// # Errors
/// When the version is another one, or the body does not decode.
pub fn decode_row<T: DeserializeOwned>(version: u8, row: &[u8]) -> Result<T, CodecError> {
    match row.split_first() {
        None => Err(CodecError::Empty),
        Some((&found, _)) if found != version => Err(CodecError::Version(found)),
        Some((_, body)) => decode_body(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_left_over_or_missing_are_an_error() {
        let mut bytes = encode_body(&(7_u32, "text")).unwrap();
        assert_eq!(
            decode_body::<(u32, String)>(&bytes).unwrap(),
            (7, "text".to_owned())
        );
        bytes.push(0);
        assert!(decode_body::<(u32, String)>(&bytes).is_err());
        bytes.truncate(bytes.len() - 2);
        assert!(decode_body::<(u32, String)>(&bytes).is_err());
    }

    #[test]
    fn what_is_compact_is_small_and_read_whole_or_not_at_all() {
        let value = (7_u64, Some(250_u32), "text".to_owned());
        let bytes = encode_compact(3, &value).unwrap();
        assert_eq!(bytes.len(), 1 + 1 + 2 + 5);
        let read = |version, bytes: &[u8]| decode_compact::<(u64, Option<u32>, String)>(version, bytes);
        assert_eq!(read(3, &bytes).unwrap(), value);
        assert!(matches!(read(2, &bytes), Err(CodecError::Version(3))));
        assert!(matches!(read(3, &[]), Err(CodecError::Empty)));
        assert!(read(3, &bytes[..bytes.len() - 1]).is_err());
        assert!(read(3, &[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_huge_length_does_not_allocate() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend([0; 16]);
        assert!(decode_body::<Vec<u8>>(&bytes).is_err());
    }

    #[test]
    fn a_row_of_another_version_is_refused() {
        let row = encode_row(1, &5_u8).unwrap();
        assert_eq!(decode_row::<u8>(1, &row).unwrap(), 5);
        assert!(matches!(decode_row::<u8>(2, &row), Err(CodecError::Version(1))));
        assert!(matches!(decode_row::<u8>(1, &[]), Err(CodecError::Empty)));
    }
}
