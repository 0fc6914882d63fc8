//! A page: rows that lie next to each other.
//!
//! Sealed: a version byte (1: compressed by LZ4, 2: as it is), the length of the rest when it is opened (4, little
//! endian), and that. Opened: how many rows there are (4); the length of the upper bound, plus one (4), or 0 when
//! there is none, and the bound; where each row begins (4 each); the rows: length of the key (4), length of the value
//! (4), key, value.

use super::StoreError;

/// A page is cut when its rows take more than so many bytes, keys included: small enough to be read for one row, large
/// enough that what sled keeps in memory for each of its entries is shared by many.
pub(super) const MOST_BYTES: usize = 8 * 1024;
/// One with fewer is put together with its neighbour.
pub(super) const FEW_BYTES: usize = MOST_BYTES / 4;
/// The largest page that is opened: one row, and the journal's records are smaller.
pub(super) const LARGEST: usize = 64 * 1024 * 1024;

const COMPRESSED: u8 = 1;
const PLAIN: u8 = 2;

/// An opened page. Its rows are in key order, at or above its own key, and below `high`.
#[derive(Debug)]
pub(super) struct Page {
    bytes: Vec<u8>,
    count: usize,
    /// Where the places of the rows begin.
    places: usize,
    high: std::ops::Range<usize>,
    is_last: bool,
    sealed: usize,
}

/// Bytes that are no page.
fn damaged() -> StoreError {
    StoreError::Page
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(number)).ok()
}

impl Page {
    /// Opens a sealed page.
    ///
    /// # Errors
    /// When the bytes are no page; then none of them is believed.
    pub fn open(sealed: &[u8]) -> Result<Self, StoreError> {
        let (&[version, a, b, c, d], rest) = sealed.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).map_err(|_| damaged())?;
        let bytes = match version {
            COMPRESSED if length <= LARGEST => {
                let mut bytes = vec![0; length];
                let written = lz4_flex::block::decompress_into(rest, &mut bytes).map_err(|_| damaged())?;
                bytes.truncate(written);
                bytes
            }
            PLAIN => rest.to_vec(),
            _ => return Err(damaged()),
        };
        if bytes.len() != length {
            return Err(damaged());
        }
        Self::read(bytes, sealed.len()).ok_or_else(damaged)
    }

    fn read(bytes: Vec<u8>, sealed: usize) -> Option<Self> {
        let count = number(&bytes, 0)?;
        let bound = number(&bytes, 4)?;
        let places = 8usize.checked_add(bound.saturating_sub(1))?;
        let rows = places.checked_add(count.checked_mul(4)?)?;
        let mut next = rows;
        for row in 0..count {
            let at = number(&bytes, places + row * 4)?;
            let end = at
                .checked_add(8)?
                .checked_add(number(&bytes, at)?)?
                .checked_add(number(&bytes, at + 4)?)?;
            if at != next || end > bytes.len() {
                return None;
            }
            next = end;
        }
        (next == bytes.len()).then_some(Self {
            count,
            places,
            high: 8..places,
            is_last: bound == 0,
            sealed,
            bytes,
        })
    }

    pub const fn len(&self) -> usize {
        self.count
    }

    /// How many bytes it was when it was sealed.
    pub const fn sealed(&self) -> usize {
        self.sealed
    }

    /// Keys of this page are below it; none when there is no page beyond.
    pub fn high(&self) -> Option<&[u8]> {
        (!self.is_last).then(|| &self.bytes[self.high.clone()])
    }

    /// The row at an index below [`Page::len`]; reading has shown that all of it is there.
    pub fn row(&self, index: usize) -> (&[u8], &[u8]) {
        let read = |at| number(&self.bytes, at).unwrap_or(0);
        let at = read(self.places + index * 4);
        let (key, value) = (read(at), read(at + 4));
        let rest = &self.bytes[at + 8..];
        (&rest[..key], &rest[key..key + value])
    }

    pub fn rows(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        (0..self.count).map(|index| self.row(index))
    }

    /// The index of the first row whose key is not below `key`.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.row(middle).0 < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let index = self.lower_bound(key);
        (index < self.count)
            .then(|| self.row(index))
            .filter(|(found, _)| *found == key)
            .map(|(_, value)| value)
    }
}

/// Bytes that a row takes in a page.
pub(super) const fn size(key: &[u8], value: &[u8]) -> usize {
    12 + key.len() + value.len()
}

/// Seals rows in key order as a page whose upper bound is `high`.
///
/// # Errors
/// When they are too many bytes for a page, which the bounds of records rule out.
pub(super) fn seal(rows: &[(&[u8], &[u8])], high: Option<&[u8]>) -> Result<Vec<u8>, StoreError> {
    let small = |length: usize| u32::try_from(length).map_err(|_| damaged());
    let bound = match high {
        None => 0,
        Some(high) => small(high.len() + 1)?,
    };
    let mut bytes = Vec::with_capacity(
        8 + high.map_or(0, <[u8]>::len) + rows.iter().map(|(key, value)| size(key, value)).sum::<usize>(),
    );
    bytes.extend(small(rows.len())?.to_le_bytes());
    bytes.extend(bound.to_le_bytes());
    bytes.extend(high.unwrap_or_default());
    let mut at = bytes.len() + rows.len() * 4;
    for (key, value) in rows {
        bytes.extend(small(at)?.to_le_bytes());
        at += 8 + key.len() + value.len();
    }
    for (key, value) in rows {
        bytes.extend(small(key.len())?.to_le_bytes());
        bytes.extend(small(value.len())?.to_le_bytes());
        bytes.extend(*key);
        bytes.extend(*value);
    }
    let mut sealed = vec![0; 5 + lz4_flex::block::get_maximum_output_size(bytes.len())];
    let (head, body) = sealed.split_at_mut(5);
    let length = lz4_flex::block::compress_into(&bytes, body).map_err(|_| damaged())?;
    head[1..].copy_from_slice(&small(bytes.len())?.to_le_bytes());
    if length < bytes.len() {
        head[0] = COMPRESSED;
        sealed.truncate(5 + length);
    } else {
        head[0] = PLAIN;
        sealed.truncate(5);
        sealed.extend(bytes);
    }
    sealed.shrink_to_fit();
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(
            rows in prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..60), 0..50),
            high in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            probe in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let listed: Vec<_> = rows.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            let page = Page::open(&seal(&listed, high.as_deref()).unwrap()).unwrap();
            prop_assert_eq!(page.rows().collect::<Vec<_>>(), listed);
            prop_assert_eq!(page.high(), high.as_deref());
            prop_assert_eq!(page.get(&probe), rows.get(&probe).map(|value| &value[..]));
            prop_assert_eq!(page.lower_bound(&probe), rows.range(..probe).count());
        }

        #[test]
        fn any_bytes_are_a_page_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), plain in any::<bool>()) {
            _ = Page::open(&bytes);
            let mut sealed = vec![if plain { PLAIN } else { COMPRESSED }];
            sealed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            sealed.extend(bytes);
            if let Ok(page) = Page::open(&sealed) {
                page.rows().count();
                _ = page.get(b"key");
            }
        }

        #[test]
        fn a_page_that_was_changed_is_read_without_a_panic(place in 0..400usize, byte in any::<u8>()) {
            let keys: Vec<_> = (0..30u32).map(u32::to_be_bytes).collect();
            let rows: Vec<_> = keys.iter().map(|key| (&key[..], &b"value"[..])).collect();
            let mut sealed = seal(&rows, Some(b"zz")).unwrap();
            let place = place % sealed.len();
            sealed[place] = byte;
            if let Ok(page) = Page::open(&sealed) {
                page.rows().count();
            }
        }
    }
}
