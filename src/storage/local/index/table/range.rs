//! Going through rows in key order: pages and memory, merged a portion at a time.

use super::{Row, StoreError, Table};

/// Rows of the first portion, since most who look want a few; each later one is larger, up to [`MOST_ROWS`].
const FIRST_ROWS: usize = 16;
const MOST_ROWS: usize = 256;
/// Entries of memory looked at under its lock: those that are gone make no row.
const MOST_LOOKS: usize = 2048;

/// The rows between two keys, ascending or descending. What changes meanwhile is seen or not; a row that stays is seen.
#[derive(Debug)]
pub(in crate::storage::local::index) struct Range<'a> {
    table: &'a Table,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
    descending: bool,
    portion: std::vec::IntoIter<Row>,
    size: usize,
    done: bool,
}

impl<'a> Range<'a> {
    pub(super) fn new(table: &'a Table, low: Vec<u8>, high: Option<Vec<u8>>) -> Self {
        Self {
            table,
            low,
            high,
            descending: false,
            portion: Vec::new().into_iter(),
            size: FIRST_ROWS,
            done: false,
        }
    }

    /// From the last to the first. To be asked for before the first row is taken.
    pub const fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    fn read(&mut self) -> Result<(), StoreError> {
        let portion = if self.descending {
            self.table.below(&self.low, self.high.as_deref(), self.size)?
        } else {
            self.table.above(&self.low, self.high.as_deref(), self.size)?
        };
        self.size = (self.size * 4).min(MOST_ROWS);
        self.portion = portion.rows.into_iter();
        match portion.rest {
            None => self.done = true,
            Some(rest) if self.descending => self.high = Some(rest),
            Some(rest) => self.low = rest,
        }
        Ok(())
    }
}

impl Iterator for Range<'_> {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.portion.next() {
                return Some(Ok(row));
            }
            if self.done {
                return None;
            }
            if let Err(error) = self.read() {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}

/// Some rows, and the bound to go on from.
struct Portion {
    rows: Vec<Row>,
    rest: Option<Vec<u8>>,
}

impl Table {
    /// The first rows from `low` on.
    fn above(&self, low: &[u8], high: Option<&[u8]>, most: usize) -> Result<Portion, StoreError> {
        if high.is_some_and(|high| high <= low) {
            return Ok(Portion {
                rows: Vec::new(),
                rest: None,
            });
        }
        loop {
            let epoch = self.memory().epoch;
            let page = self.covering(low, epoch)?;
            let end = page.high().into_iter().chain(high).min();
            let memory = self.memory();
            // A fold was done meanwhile: what left memory is not in the page that was read.
            if memory.epoch != epoch {
                continue;
            }
            let fresh = memory.fresh.range(low, end);
            let folding = memory.folding.iter().flat_map(|rows| rows.range(low, end));
            let first = page.lower_bound(low);
            let old = (first..page.len())
                .map(|index| page.row(index))
                .take_while(|(key, _)| end.is_none_or(|end| *key < end));
            let (rows, last) = merge(fresh, folding, old, most, |a, b| a < b);
            let rest = match last {
                Some(last) => Some([last, &[0]].concat()),
                None => end
                    .filter(|end| high.is_none_or(|high| *end < high))
                    .map(<[u8]>::to_vec),
            };
            return Ok(Portion { rows, rest });
        }
    }

    /// The last rows below `high`.
    fn below(&self, low: &[u8], high: Option<&[u8]>, most: usize) -> Result<Portion, StoreError> {
        if high.is_some_and(|high| high <= low) {
            return Ok(Portion {
                rows: Vec::new(),
                rest: None,
            });
        }
        loop {
            let epoch = self.memory().epoch;
            let (key, page) = self.pages().last_below(high)?;
            let begin = low.max(&key);
            let memory = self.memory();
            if memory.epoch != epoch {
                continue;
            }
            let fresh = memory.fresh.range(begin, high).rev();
            let folding = memory
                .folding
                .iter()
                .flat_map(|rows| rows.range(begin, high).rev());
            let end = high.map_or(page.len(), |high| page.lower_bound(high));
            let old = (0..end)
                .rev()
                .map(|index| page.row(index))
                .take_while(|(key, _)| *key >= begin);
            let (rows, last) = merge(fresh, folding, old, most, |a, b| a > b);
            let rest = match last {
                Some(last) => Some(last.to_vec()),
                None => (begin > low).then(|| begin.to_vec()),
            };
            return Ok(Portion { rows, rest });
        }
    }
}

type Known<'a> = (&'a [u8], Option<&'a [u8]>);

/// Merges what is fresh over what is being folded over what is in a page, each in the order of `before`. Answers with the
/// rows, and with the last key that was looked at when there may be more.
fn merge<'a>(
    fresh: impl Iterator<Item = Known<'a>>,
    folding: impl Iterator<Item = Known<'a>>,
    old: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    most: usize,
    before: impl Fn(&[u8], &[u8]) -> bool,
) -> (Vec<Row>, Option<&'a [u8]>) {
    let (mut fresh, mut folding) = (fresh.peekable(), folding.peekable());
    let mut old = old.map(|(key, row)| (key, Some(row))).peekable();
    let mut rows = Vec::with_capacity(most);
    for look in 0.. {
        let next = [fresh.peek(), folding.peek(), old.peek()]
            .into_iter()
            .flatten()
            .map(|(key, _)| *key)
            .reduce(|first, key| if before(key, first) { key } else { first });
        let Some(key) = next else {
            return (rows, None);
        };
        let of_key = |known: &Known<'a>| known.0 == key;
        let old = old.next_if(of_key);
        let folding = folding.next_if(of_key);
        let known = fresh.next_if(of_key).or(folding).or(old);
        if let Some((key, Some(row))) = known {
            rows.push((key.to_vec(), row.to_vec()));
        }
        if rows.len() == most || look == MOST_LOOKS {
            return (rows, Some(key));
        }
    }
    (rows, None)
}
