//! The sidecar of a sealed segment: where its configuration records lie. Layout at the head of the journal's
//! module. It can always be made again from the segment, so nothing depends on it but time.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    disk::Disk,
    entry::Lsn,
    files,
    format::{SEGMENT_HEADER, SegmentHeader, u32_at, u64_at},
    limits::SIDECAR_BYTES,
};

const MAGIC: [u8; 8] = *b"phJcfg\x01\x00";
const FIXED: usize = 8 + SEGMENT_HEADER + 8 * 3 + 4;
const PLACE: usize = 12;

/// Where a record lies within its segment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u64,
    pub len: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sidecar {
    pub header: SegmentHeader,
    /// The segment's length in bytes when it was sealed.
    pub bytes: u64,
    pub last: Lsn,
    pub records: u64,
    pub config: Vec<Place>,
}

impl Sidecar {
    pub fn path(dir: &Path, first: Lsn) -> PathBuf {
        dir.join(format!("{first:016x}{}", files::SIDECAR_SUFFIX))
    }

    /// The sidecar of the segment `first`, when there is one that is whole.
    pub fn load(dir: &Path, first: Lsn) -> Option<Self> {
        let mut bytes = Vec::new();
        let file = fs::File::open(Self::path(dir, first)).ok()?;
        file.take(SIDECAR_BYTES).read_to_end(&mut bytes).ok()?;
        Self::decode(&bytes).filter(|sidecar| sidecar.header.first == first)
    }

    /// # Errors
    ///
    /// Those of the file system; the old sidecar, if any, is then still in place.
    pub fn store(&self, dir: &Path, disk: &dyn Disk, sync: bool) -> io::Result<()> {
        files::replace(disk, &Self::path(dir, self.header.first), &self.encode(), sync)
    }

    /// Whether this describes the segment with that header and length.
    pub fn describes(&self, header: &SegmentHeader, bytes: u64) -> bool {
        self.header == *header && self.bytes == bytes
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.config.len() * PLACE + 4);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.header.encode());
        for number in [self.bytes, self.last, self.records] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.config.len() as u32).to_le_bytes());
        for place in &self.config {
            bytes.extend_from_slice(&place.offset.to_le_bytes());
            bytes.extend_from_slice(&place.len.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        if content.len() < FIXED
            || !content.starts_with(&MAGIC)
            || crc32c::crc32c(content) != u32::from_le_bytes(*crc)
        {
            return None;
        }
        let (fixed, places) = content.split_at(FIXED);
        if places.len() != u32_at(fixed, FIXED - 4) as usize * PLACE {
            return None;
        }
        let numbers = 8 + SEGMENT_HEADER;
        Some(Self {
            header: SegmentHeader::decode(&fixed[8..numbers]).ok()?,
            bytes: u64_at(fixed, numbers),
            last: u64_at(fixed, numbers + 8),
            records: u64_at(fixed, numbers + 16),
            config: places
                .chunks_exact(PLACE)
                .map(|at| Place {
                    offset: u64_at(at, 0),
                    len: u32_at(at, 8),
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_reads_back_and_no_flipped_bit_passes() {
        let header = SegmentHeader {
            uuid: [3; 16],
            first: 9,
            salt: 77,
        };
        let config = vec![
            Place { offset: 64, len: 30 },
            Place {
                offset: 1 << 40,
                len: 25,
            },
        ];
        let sidecar = Sidecar {
            header,
            bytes: 500,
            last: 20,
            records: 12,
            config,
        };
        let bytes = sidecar.encode();
        assert_eq!(Sidecar::decode(&bytes), Some(sidecar));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Sidecar::decode(&bytes), None, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|len| Sidecar::decode(&bytes[..len]).is_none()));
    }
}
