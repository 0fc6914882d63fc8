//! A segment's header from its records alone.
//!
//! All records of a segment begin with the low half of its salt, and their checksums start from the high half. A
//! checksum is a bijection of what it started from, so one record gives the high half back, and the next record
//! proves both. So not even a destroyed first block costs more than the records in it.

use std::{
    collections::HashSet,
    fs::File,
    io,
    sync::{Arc, OnceLock},
};

use super::{
    entry::Lsn,
    format::{RECORD_HEADER, SEGMENT_HEADER, SegmentHeader, u32_at, u64_at},
    limits::{MAX_BODY, MAX_LSN},
    scan::{Scanner, Step},
    window::Window,
};

/// CRC32C, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Salts that are looked for in one file. More than one is found where blocks of other segments have got into it.
const SALTS: usize = 8;

/// Looks for records that follow each other, and makes the header of them: of several that of the most bytes. `named`
/// is the first lsn that the file's name claims, which is believed if it fits; `known` are the salts of segments that
/// have sound headers: what is left of those here is a copy.
pub(super) fn find_header(
    file: &Arc<File>,
    uuid: [u8; 16],
    named: Option<Lsn>,
    bytes: u64,
    known: &HashSet<u64>,
) -> io::Result<Option<SegmentHeader>> {
    let mut best: Option<(u64, SegmentHeader)> = None;
    for salt in salts(file, bytes)?
        .into_iter()
        .filter(|salt| !known.contains(salt))
    {
        let header = SegmentHeader { uuid, first: 1, salt };
        let held = Held::by(file, header, bytes)?;
        let first = held.first(named, bytes);
        if best.is_none_or(|(most, _)| held.bytes > most) {
            best = Some((held.bytes, SegmentHeader { first, ..header }));
        }
    }
    Ok(best.map(|(_, header)| header))
}

/// A salt as its records show it: its lowest bit is not told.
pub(super) const fn shown(salt: u64) -> u64 {
    salt | 1
}

/// The salts that two records agree on.
fn salts(file: &File, bytes: u64) -> io::Result<Vec<u64>> {
    let mut search = Search {
        file,
        bytes,
        window: Window::default(),
    };
    let mut found: Vec<u64> = Vec::new();
    let mut at = SEGMENT_HEADER as u64;
    while let Some(piece) = search.piece(at)? {
        let last = piece.len() - RECORD_HEADER;
        for place in 0..=last {
            let Some(head) = Head::of(&piece[place..]) else {
                continue;
            };
            let is_known = found
                .iter()
                .any(|salt| (*salt as u32).to_le_bytes() == head.marker);
            if !is_known && let Some(salt) = search.proven(at + place as u64, &head)? {
                found.push(salt);
                if found.len() == SALTS {
                    return Ok(found);
                }
            }
        }
        at += last as u64 + 1;
    }
    Ok(found)
}

/// What a salt makes readable of a file.
#[derive(Default)]
struct Held {
    bytes: u64,
    lowest: Lsn,
    highest: Lsn,
}

impl Held {
    fn by(file: &Arc<File>, header: SegmentHeader, bytes: u64) -> io::Result<Self> {
        let mut held = Self::default();
        let mut scanner = Scanner::new(file.clone(), header, bytes);
        while let Some(step) = scanner.step()? {
            if let Step::Record(entry) = step {
                if held.bytes == 0 {
                    held.lowest = entry.lsn;
                }
                held.highest = entry.lsn;
                held.bytes += u64::from(entry.location.len);
            }
        }
        Ok(held)
    }

    /// The first lsn of the segment: what its name says, unless that cannot be.
    fn first(&self, named: Option<Lsn>, bytes: u64) -> Lsn {
        let most = bytes / RECORD_HEADER as u64;
        let fits = |named: &Lsn| *named <= self.lowest && self.highest - *named <= most;
        named.filter(fits).unwrap_or(self.lowest.max(1))
    }
}

/// What looks like the head of a record, before the marker is known.
struct Head {
    marker: [u8; 4],
    lsn: Lsn,
    len: u64,
}

impl Head {
    fn of(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<RECORD_HEADER>()?;
        let (lsn, body) = (u64_at(head, 8), u32_at(head, 16) as usize);
        let possible = head[0] & 1 == 1 && head[23] == 0 && (1..=MAX_LSN).contains(&lsn) && body <= MAX_BODY;
        possible.then(|| Self {
            marker: [head[0], head[1], head[2], head[3]],
            lsn,
            len: (RECORD_HEADER + body) as u64,
        })
    }
}

struct Search<'a> {
    file: &'a File,
    bytes: u64,
    window: Window,
}

impl Search<'_> {
    fn piece(&mut self, at: u64) -> io::Result<Option<bytes::Bytes>> {
        if at + RECORD_HEADER as u64 > self.bytes {
            return Ok(None);
        }
        self.window.get(self.file, at, RECORD_HEADER, self.bytes)?;
        self.window.piece(self.file, at, self.bytes).map(Some)
    }

    /// The salt, if the record at `offset` and the one behind it agree on one.
    fn proven(&self, offset: u64, head: &Head) -> io::Result<Option<u64>> {
        let next = offset + head.len;
        if next + RECORD_HEADER as u64 > self.bytes {
            return Ok(None);
        }
        // A window of its own: the search goes on in the other one.
        let mut window = Window::default();
        let behind = window.get(self.file, next, RECORD_HEADER, next + RECORD_HEADER as u64)?;
        let Some(behind) = Head::of(&behind).filter(|it| it.marker == head.marker && it.lsn == head.lsn + 1)
        else {
            return Ok(None);
        };
        if next + behind.len > self.bytes {
            return Ok(None);
        }
        let one = window.get(self.file, offset, head.len as usize, offset + head.len)?;
        let seed = seed_of(u32_at(&one, 4), &one[8..]);
        let two = window.get(self.file, next, behind.len as usize, next + behind.len)?;
        let agree = crc32c::crc32c_append(seed, &two[8..]) == u32_at(&two, 4);
        let salt = u64::from(seed) << 32 | u64::from(u32::from_le_bytes(head.marker));
        Ok(agree.then_some(salt))
    }
}

/// What a checksum of `bytes` must have started from to end as `crc`.
fn seed_of(crc: u32, bytes: &[u8]) -> u32 {
    static TABLE: OnceLock<([u32; 256], [u8; 256])> = OnceLock::new();
    let (table, by_top) = TABLE.get_or_init(tables);
    let state = bytes.iter().rev().fold(!crc, |state, byte| {
        let index = by_top[(state >> 24) as usize];
        ((state ^ table[index as usize]) << 8) | u32::from(index ^ byte)
    });
    !state
}

/// The table of the checksum, and which entry has which top byte: each has another.
fn tables() -> ([u32; 256], [u8; 256]) {
    let mut table = [0; 256];
    let mut by_top = [0; 256];
    for index in 0..=255_u8 {
        let mut entry = u32::from(index);
        for _ in 0..8 {
            entry = (entry >> 1) ^ (POLYNOMIAL * (entry & 1));
        }
        table[index as usize] = entry;
        by_top[(entry >> 24) as usize] = index;
    }
    (table, by_top)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_checksum_gives_back_what_it_started_from(seed: u32, bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            prop_assert_eq!(seed_of(crc32c::crc32c_append(seed, &bytes), &bytes), seed);
        }
    }
}
