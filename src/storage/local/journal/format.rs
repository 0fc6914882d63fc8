//! Segment and record bytes, as specified at the head of the journal's module.

use super::{
    entry::{Draft, Lsn},
    limits::MAX_BODY,
};

const MAGIC: [u8; 8] = *b"phJournl";
pub(super) const FORMAT_VERSION: u16 = 1;
pub(super) const SEGMENT_HEADER: usize = 64;
pub(super) const RECORD_HEADER: usize = 24;
const CHECKED: usize = SEGMENT_HEADER - 4;

/// The head of a segment file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub uuid: [u8; 16],
    pub first: Lsn,
    pub salt: u64,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    Newer(u16),
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(SEGMENT_HEADER as u16).to_le_bytes());
        bytes[16..32].copy_from_slice(&self.uuid);
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// # Errors
    ///
    /// `Newer` when the header is whole and of a later format; `Damaged` for everything else that is not a header.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes = bytes
            .first_chunk::<SEGMENT_HEADER>()
            .ok_or(HeaderError::Damaged)?;
        let header = Self::unchecked(bytes);
        if bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..CHECKED]) != u32_at(bytes, CHECKED) {
            return Err(HeaderError::Damaged);
        }
        match u16::from_le_bytes([bytes[8], bytes[9]]) {
            FORMAT_VERSION if header.first > 0 => Ok(header),
            version if version > FORMAT_VERSION => Err(HeaderError::Newer(version)),
            _ => Err(HeaderError::Damaged),
        }
    }

    /// What the fields say, whether or not the header is whole: for salvage, where records prove the salt.
    pub fn unchecked(bytes: &[u8; SEGMENT_HEADER]) -> Self {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[16..32]);
        Self {
            uuid,
            first: u64_at(bytes, 32),
            salt: u64_at(bytes, 40),
        }
    }

    /// The four bytes that every record of this segment begins with. Never zero, so that zeros are no record.
    pub fn marker(&self) -> [u8; 4] {
        (self.salt as u32 | 1).to_le_bytes()
    }

    fn seed(&self) -> u32 {
        (self.salt >> 32) as u32
    }
}

/// The head of one record.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub crc: u32,
    pub lsn: Lsn,
    pub body_len: u32,
    pub kind: u8,
    pub version: u8,
    pub flags: u8,
    tail_crc: u32,
}

impl RecordHeader {
    /// Reads the head of a record, or nothing when these bytes cannot be one.
    pub fn decode(bytes: &[u8], segment: &SegmentHeader) -> Option<Self> {
        let bytes = bytes.first_chunk::<RECORD_HEADER>()?;
        let body_len = u32_at(bytes, 16);
        if bytes[..4] != segment.marker() || body_len as usize > MAX_BODY || bytes[23] != 0 {
            return None;
        }
        Some(Self {
            crc: u32_at(bytes, 4),
            lsn: u64_at(bytes, 8),
            body_len,
            kind: bytes[20],
            version: bytes[21],
            flags: bytes[22],
            tail_crc: crc32c::crc32c_append(segment.seed(), &bytes[8..]),
        })
    }

    pub fn record_len(&self) -> usize {
        RECORD_HEADER + self.body_len as usize
    }

    /// Whether header and body are what was written.
    pub fn matches(&self, body: &[u8]) -> bool {
        crc32c::crc32c_append(self.tail_crc, body) == self.crc
    }
}

/// Bytes that `draft` takes in a segment.
pub(super) fn encoded_len(draft: &Draft) -> usize {
    RECORD_HEADER + draft.body.len()
}

/// Appends the record to `buffer`. The body is at most [`MAX_BODY`] bytes, which was checked when it came in.
///
/// `own` are flags of the journal's own.
pub(super) fn encode_record(buffer: &mut Vec<u8>, segment: &SegmentHeader, lsn: Lsn, draft: &Draft, own: u8) {
    let mut header = [0; RECORD_HEADER];
    header[..4].copy_from_slice(&segment.marker());
    header[8..16].copy_from_slice(&lsn.to_le_bytes());
    header[16..20].copy_from_slice(&(draft.body.len() as u32).to_le_bytes());
    header[20..23].copy_from_slice(&[draft.kind, draft.version, draft.flags | own]);
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(segment.seed(), &header[8..]), &draft.body);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(&draft.body);
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const SEGMENT: SegmentHeader = SegmentHeader {
        uuid: [7; 16],
        first: 42,
        salt: 0x1234_5678_9abc_def0,
    };

    #[test]
    fn a_segment_header_stands_as_specified() {
        let bytes = SEGMENT.encode();
        assert_eq!(&bytes[..16], b"phJournl\x01\x00\x40\x00\x00\x00\x00\x00");
        assert_eq!(
            &bytes[32..48],
            b"\x2a\0\0\0\0\0\0\0\xf0\xde\xbc\x9a\x78\x56\x34\x12"
        );
        assert_eq!(SegmentHeader::decode(&bytes), Ok(SEGMENT));
    }

    #[test]
    fn a_record_stands_as_specified() {
        let mut bytes = Vec::new();
        let draft = Draft {
            kind: 1,
            version: 2,
            flags: 4,
            body: Bytes::from_static(b"abc"),
        };
        encode_record(&mut bytes, &SEGMENT, 43, &draft, 0);
        assert_eq!(&bytes[..4], b"\xf1\xde\xbc\x9a");
        assert_eq!(&bytes[8..], b"\x2b\0\0\0\0\0\0\0\x03\0\0\0\x01\x02\x04\0abc");
    }

    #[test]
    fn no_flipped_bit_of_a_segment_header_passes() {
        for bit in 0..SEGMENT_HEADER * 8 {
            let mut bytes = SEGMENT.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode(&bytes),
                Err(HeaderError::Damaged),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = SEGMENT.encode();
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Newer(9)));
    }

    proptest! {
        #[test]
        fn records_read_back_and_no_flipped_bit_passes(
            body in prop::collection::vec(any::<u8>(), 0..64), lsn: u64, salt: u64, kind: u8, flags: u8, bit: usize,
        ) {
            let segment = SegmentHeader { salt, ..SEGMENT };
            let draft = Draft { kind, version: 1, flags, body: body.into() };
            let mut bytes = Vec::new();
            encode_record(&mut bytes, &segment, lsn, &draft, 0);
            let head = RecordHeader::decode(&bytes, &segment).unwrap();
            prop_assert!(head.matches(&bytes[RECORD_HEADER..]));
            prop_assert_eq!((head.lsn, head.kind, head.flags), (lsn, kind, flags));

            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let passes = RecordHeader::decode(&bytes, &segment)
                .is_some_and(|head| head.record_len() == bytes.len() && head.matches(&bytes[RECORD_HEADER..]));
            prop_assert!(!passes);
        }

        #[test]
        fn a_record_of_one_segment_is_none_of_another(salt_a: u64, salt_b: u64) {
            prop_assume!(salt_a | 1 != salt_b | 1);
            let a = SegmentHeader { salt: salt_a, ..SEGMENT };
            let b = SegmentHeader { salt: salt_b, ..SEGMENT };
            let mut bytes = Vec::new();
            encode_record(&mut bytes, &a, 1, &Draft { kind: 1, version: 1, flags: 0, body: Bytes::new() }, 0);
            let head = RecordHeader::decode(&bytes, &b);
            prop_assert!(!head.is_some_and(|head| head.matches(&[])));
        }
    }
}
