//! `repaired`: which records are known to be missing, since a person had the journal repaired.
//!
//! The file is only ever replaced whole. Layout at the head of the journal's module.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    disk::Disk,
    entry::{Lsn, LsnRange},
    files,
    format::{u32_at, u64_at},
    limits::{REPAIR_NOTE, REPAIRED_BYTES},
};

pub(super) const NAME: &str = "repaired";
const MAGIC: [u8; 8] = *b"phJrepr\x01";
const FIXED: usize = 8 * 6 + 4;

/// One range that was cut out, or was found to be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// When, in milliseconds since 1970.
    pub at_millis: u64,
    /// The segment's first lsn, and where in its file of then the range lay.
    pub segment: Lsn,
    pub offset: u64,
    pub bytes: u64,
    /// `None`: it held nothing that is missing.
    pub missing: Option<LsnRange>,
    /// What was known of the records, for people.
    pub note: String,
}

impl Repaired {
    /// A note longer than is kept ends where a character does.
    pub(super) fn cut(mut self) -> Self {
        if self.note.len() > REPAIR_NOTE {
            let end = (0..=REPAIR_NOTE).rev().find(|&at| self.note.is_char_boundary(at));
            self.note.truncate(end.unwrap_or_default());
        }
        self
    }
}

/// Where the list stands.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// The list; empty when there is none, or when it is damaged: what is missing is then told once more.
pub(super) fn load(dir: &Path) -> Vec<Repaired> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path(dir)).and_then(|file| file.take(REPAIRED_BYTES).read_to_end(&mut bytes));
    read.ok().and_then(|_| decode(&bytes)).unwrap_or_default()
}

/// # Errors
///
/// Those of the file system; the old list, if any, is then still in place.
pub(super) fn store(dir: &Path, disk: &dyn Disk, list: &[Repaired]) -> io::Result<()> {
    files::replace(disk, &path(dir), &encode(list), true)
}

/// Whether all of `range` is known to be missing.
pub(super) fn is_known(list: &[Repaired], range: LsnRange) -> bool {
    let mut next = range.first;
    // Few and short: the list is walked until nothing of it reaches further.
    while next <= range.last {
        let covers = |known: &LsnRange| (known.first..=known.last).contains(&next);
        let Some(known) = list.iter().filter_map(|repaired| repaired.missing).find(covers) else {
            return false;
        };
        next = known.last + 1;
    }
    true
}

fn encode(list: &[Repaired]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(list.len() as u32).to_le_bytes());
    for repaired in list {
        let (first, last) = repaired.missing.map_or((0, 0), |range| (range.first, range.last));
        for number in [
            repaired.at_millis,
            repaired.segment,
            repaired.offset,
            repaired.bytes,
            first,
            last,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(repaired.note.len() as u32).to_le_bytes());
        bytes.extend_from_slice(repaired.note.as_bytes());
    }
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Repaired>> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut rest = content.strip_prefix(&MAGIC)?;
    let count = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
    let mut list = Vec::new();
    for _ in 0..count {
        let fixed = rest.split_off(..FIXED)?;
        let note = rest.split_off(..u32_at(fixed, FIXED - 4) as usize)?;
        let number = |at: usize| u64_at(fixed, at * 8);
        list.push(Repaired {
            at_millis: number(0),
            segment: number(1),
            offset: number(2),
            bytes: number(3),
            missing: (number(4) > 0)
                .then(|| LsnRange::new(number(4), number(5)))
                .flatten(),
            note: String::from_utf8(note.to_vec()).ok()?,
        });
    }
    rest.is_empty().then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(first: Lsn, last: Lsn) -> Repaired {
        Repaired {
            at_millis: 5,
            segment: 1,
            offset: 64,
            bytes: 100,
            missing: LsnRange::new(first, last),
            note: "evt_1".to_owned(),
        }
    }

    #[test]
    fn the_list_reads_back_and_no_flipped_bit_passes() {
        let list = vec![
            repaired(3, 4),
            Repaired {
                missing: None,
                ..repaired(1, 1)
            },
        ];
        let bytes = encode(&list);
        assert_eq!(decode(&bytes), Some(list));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), None, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|len| decode(&bytes[..len]).is_none()));
    }

    #[test]
    fn a_range_is_known_when_the_list_covers_it_whole() {
        let list = [repaired(5, 7), repaired(8, 8), repaired(1, 2)];
        let known = |first, last| is_known(&list, LsnRange { first, last });
        assert!(known(5, 8) && known(6, 6) && known(1, 2));
        assert!(!known(2, 3) && !known(5, 9) && !known(3, 5));
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "é".repeat(REPAIR_NOTE);
        let cut = Repaired {
            note,
            ..repaired(1, 1)
        }
        .cut();
        assert!(cut.note.len() <= REPAIR_NOTE && cut.note.ends_with('é'));
    }
}
