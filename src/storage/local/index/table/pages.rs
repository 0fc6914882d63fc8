//! Where pages lie: in a file that only grows, one after the other, and sled says where each is.
//!
//! sled would write a page three times over (as a change, with its neighbours when it gathers changes into a node, and
//! when it moves a node), and keep it in memory besides. Its entries are sixteen bytes instead: the page's place in the file
//! (8), its length (4) and its CRC32C (4), all little endian. What is replaced stays in the file until the store is written
//! afresh.

use std::{
    fs::File,
    io,
    ops::RangeBounds,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{
    db::{self, Db},
    fold::Written,
    page::{self, Page},
};
use crate::storage::local::index::{StoreError, guarded};

/// Tries at a read that fails, and the pause between them.
const READ_TRIES: u32 = 5;
const READ_PAUSE: Duration = Duration::from_millis(10);
/// The file below the store's folder.
const FILE: &str = "pages";

#[derive(Debug)]
pub(super) struct Pages {
    db: Db,
    file: File,
    /// Where the next page goes.
    end: AtomicU64,
}

const LAYOUT: u8 = 0x00;
const OTHER: u8 = 0x01;
const LIVE: u8 = 0x02;
const PAGE: u8 = 0x80;
const LAYOUT_VERSION: u8 = 3;
/// As the first layout wrote it: one record of a journal with this identity is applied.
const OTHER_JOURNAL: [u8; 25] = {
    let mut row = [0xff; 25];
    let mut at = 0;
    while at < 9 {
        // The row's version, and the sequence number, little endian: both 1.
        row[at] = (at < 2) as u8;
        at += 1;
    }
    row
};

impl Pages {
    /// Opens the pages in a folder, or begins with an empty one; answers how many bytes they take.
    ///
    /// # Errors
    /// When sled or the file does not open, or the layout is another.
    pub fn open(folder: &Path, cache_bytes: u64) -> Result<(Self, u64), StoreError> {
        let db = db::open(folder, cache_bytes)?;
        let (layout, live, is_empty) = guarded(|| Ok((db.get([LAYOUT])?, db.get([LIVE])?, db.is_empty())))?;
        if layout.as_deref() != Some(&[LAYOUT_VERSION]) && !is_empty {
            return Err(StoreError::Layout);
        }
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(folder.join(FILE)).map_err(StoreError::Pages)?;
        let end = file.metadata().map_err(StoreError::Pages)?.len();
        let pages = Self {
            db,
            file,
            end: end.into(),
        };
        if !is_empty {
            let live = live.and_then(|live| (*live).try_into().ok());
            return Ok((pages, live.map_or(0, u64::from_le_bytes)));
        }
        let first = page::seal(&[], None)?;
        let live = first.len() as u64;
        pages.write(Written::from([(Vec::new(), Some(first))]), live)?;
        Ok((pages, live))
    }

    /// Writes pages, and takes others away, all at once; `live` is what all pages take then. Not a sync.
    ///
    /// # Errors
    /// When writing fails; then all pages are as they were.
    pub fn write(&self, written: Written, live: u64) -> Result<(), StoreError> {
        let start = self.end.load(Ordering::Acquire);
        let mut bytes = Vec::with_capacity(written.values().flatten().map(Vec::len).sum());
        let mut batch = sled::Batch::default();
        for (low, page) in written {
            match page {
                Some(page) => {
                    let place = place(start + bytes.len() as u64, &page)?;
                    batch.insert(key(&low), place);
                    bytes.extend(page);
                }
                None => batch.remove(key(&low)),
            }
        }
        batch.insert(&[LAYOUT], &[LAYOUT_VERSION]);
        batch.insert(&[OTHER], &OTHER_JOURNAL);
        batch.insert(&[LIVE], &live.to_le_bytes());
        self.file.write_all_at(&bytes, start).map_err(StoreError::Pages)?;
        self.end.store(start + bytes.len() as u64, Ordering::Release);
        guarded(|| Ok(self.db.apply_batch(batch)?))
    }

    /// Hands what sled has buffered to the operating system. When sled has failed meanwhile it may wait for ever, until
    /// another thread does the same: never to be called where nobody would.
    ///
    /// # Errors
    /// When writing fails.
    pub fn flush(&self) -> Result<(), StoreError> {
        guarded(|| Ok(self.db.flush().map(|_| ())?))
    }

    /// The page that a key belongs to, and the page's own key.
    ///
    /// # Errors
    /// When sled or the file fails, or the page is damaged; so for all that read.
    pub fn covering(&self, key_of_row: &[u8]) -> Result<(Vec<u8>, Page), StoreError> {
        self.last(key(&[])..=key(key_of_row))
    }

    /// The last page with keys below this one.
    pub fn last_below(&self, high: Option<&[u8]>) -> Result<(Vec<u8>, Page), StoreError> {
        match high {
            Some(high) => self.last(key(&[])..key(high)),
            None => self.last(key(&[])..vec![PAGE + 1]),
        }
    }

    fn last(&self, range: impl RangeBounds<Vec<u8>>) -> Result<(Vec<u8>, Page), StoreError> {
        let last = guarded(|| Ok(self.db.range(range).next_back().transpose()?))?;
        // The first page has the lowest key there is.
        let (key, place) = last.ok_or(StoreError::Page)?;
        Ok((key[1..].to_vec(), self.read(&place)?))
    }

    fn read(&self, place: &[u8]) -> Result<Page, StoreError> {
        let place: &[u8; 16] = place.try_into().map_err(|_| StoreError::Page)?;
        let [at, b, c, d, e, f, g, h, length @ .., i, j, k, l] = *place;
        let at = u64::from_le_bytes([at, b, c, d, e, f, g, h]);
        let length = u32::from_le_bytes(length) as usize;
        if length > page::LARGEST {
            return Err(StoreError::Page);
        }
        let mut sealed = vec![0; length];
        self.read_at(&mut sealed, at)?;
        if crc32c::crc32c(&sealed) != u32::from_le_bytes([i, j, k, l]) {
            return Err(StoreError::Page);
        }
        Page::open(&sealed)
    }

    /// A device that does not answer for a moment is asked again.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<(), StoreError> {
        let mut tries = 1;
        loop {
            match self.file.read_exact_at(bytes, at) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(StoreError::Page),
                Err(error) if tries == READ_TRIES => return Err(StoreError::Pages(error)),
                Err(_) => thread::sleep(READ_PAUSE),
            }
            tries += 1;
        }
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0) + self.end.load(Ordering::Relaxed)
    }
}

fn key(low: &[u8]) -> Vec<u8> {
    [&[PAGE], low].concat()
}

fn place(at: u64, page: &[u8]) -> Result<Vec<u8>, StoreError> {
    let length = u32::try_from(page.len()).map_err(|_| StoreError::Page)?;
    Ok([
        &at.to_le_bytes()[..],
        &length.to_le_bytes(),
        &crc32c::crc32c(page).to_le_bytes(),
    ]
    .concat())
}

#[cfg(test)]
impl Pages {
    /// Entries that are pages.
    pub fn len(&self) -> usize {
        self.db.range(key(&[])..vec![PAGE + 1]).count()
    }

    /// Changes a byte of the page that a key belongs to.
    pub fn harm(&self, key_of_row: &[u8]) {
        let entry = self.db.range(key(&[])..=key(key_of_row)).next_back();
        let (_, place) = entry.unwrap().unwrap();
        let at = u64::from_le_bytes(place[..8].try_into().unwrap());
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, at + 6).unwrap();
        self.file.write_all_at(&[byte[0] ^ 1], at + 6).unwrap();
    }
}
