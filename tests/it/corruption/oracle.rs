//! Which records no harm has touched, from the bytes alone.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

use posthaste::storage::local::journal::{Entry, Journal, Options};

/// An event as it stands in the journal.
pub struct Accepted {
    pub id: String,
    pub lsn: u64,
}

/// Every record of the folder before it was harmed.
pub struct Oracle {
    entries: BTreeMap<u64, (Entry, Vec<u8>)>,
    accepted: Vec<Accepted>,
}

/// The records that are sound.
pub struct Sound(HashSet<u64>);

impl Sound {
    pub fn has(&self, lsn: u64) -> bool {
        self.0.contains(&lsn)
    }
}

impl Oracle {
    pub fn of(folder: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        super::folder::copy_folder(&folder.join("journal"), dir.path());
        let options = Options {
            min_free_bytes: 0,
            ..Options::new(dir.path())
        };
        let (journal, _) = Journal::open(options).unwrap();
        let mut follower = journal.follow(0);
        let mut entries = BTreeMap::new();
        loop {
            let batch = follower.try_next(1000, 1 << 24).unwrap();
            if batch.is_empty() {
                break;
            }
            for entry in batch {
                let path = dir.path().join(format!("{:016x}.seg", entry.location.segment));
                let start = entry.location.offset as usize;
                let raw = fs::read(path).unwrap()[start..start + entry.location.len as usize].to_vec();
                entries.insert(entry.lsn, (entry, raw));
            }
        }
        let accepted = entries
            .values()
            .filter(|(entry, _)| entry.kind == 1)
            .map(|(entry, _)| Accepted {
                id: id_of(&entry.body),
                lsn: entry.lsn,
            })
            .collect();
        Self { entries, accepted }
    }

    pub fn events(&self) -> impl Iterator<Item = &Accepted> {
        self.accepted.iter()
    }

    /// The records that say what an endpoint is: kinds 3 to 5 begin with its id.
    pub fn endpoint(&self, id: &str) -> impl Iterator<Item = u64> {
        let id: posthaste::domain::id::EndpointId = id.parse().unwrap();
        let of_it =
            move |entry: &Entry| (3..=5).contains(&entry.kind) && entry.body.starts_with(id.as_bytes());
        self.entries
            .values()
            .filter(move |(entry, _)| of_it(entry))
            .map(|(entry, _)| entry.lsn)
    }

    /// The records whose bytes stand at their place in every file that says it is their segment. Of a file with a
    /// damaged header, by whose name it goes then, those that have a sound neighbour which proves it.
    pub fn sound(&self, journal: &Path) -> Sound {
        let segments: Vec<(Option<u64>, u64, Vec<u8>)> = super::folder::files(journal, "")
            .into_iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.strip_suffix(".seg");
                let named = name.and_then(|name| u64::from_str_radix(name, 16).ok());
                let bytes = fs::read(&path).unwrap();
                let says = first_of(&bytes);
                (says.is_some() || named.is_some()).then(|| (says, named.unwrap_or_default(), bytes))
            })
            .collect();
        let stands = |bytes: &[u8], lsn: u64| {
            let Some((entry, raw)) = self.entries.get(&lsn) else {
                return false;
            };
            let (start, len) = (entry.location.offset as usize, entry.location.len as usize);
            bytes.get(start..start + len) == Some(&raw[..])
        };
        let is_sound = |entry: &Entry| {
            let segment = entry.location.segment;
            let mut found = segments
                .iter()
                .filter(|(says, named, _)| says.unwrap_or(*named) == segment)
                .peekable();
            let proves = |bytes: &[u8], lsn: u64| {
                stands(bytes, lsn) && self.entries[&lsn].0.location.segment == segment
            };
            let proven = |bytes: &[u8]| proves(bytes, entry.lsn - 1) || proves(bytes, entry.lsn + 1);
            found.peek().is_some()
                && found.all(|(says, _, bytes)| stands(bytes, entry.lsn) && (says.is_some() || proven(bytes)))
        };
        let sound = self.entries.values().filter(|(entry, _)| is_sound(entry));
        Sound(sound.map(|(entry, _)| entry.lsn).collect())
    }
}

/// An event's id stands first in its record: a length in 8 bytes, and the text.
fn id_of(body: &[u8]) -> String {
    let len = u64::from_le_bytes(body[..8].try_into().unwrap()) as usize;
    String::from_utf8(body[8..8 + len].to_vec()).unwrap()
}

/// The first record that a whole header of a segment names.
fn first_of(bytes: &[u8]) -> Option<u64> {
    let head = bytes.get(..64)?;
    let crc = u32::from_le_bytes(head[60..].try_into().ok()?);
    (head.starts_with(b"phJournl") && crc32c::crc32c(&head[..60]) == crc)
        .then(|| u64::from_le_bytes(head[32..40].try_into().unwrap()))
}
