//! Folding: rows from memory go into the pages that their keys belong to.

use std::{collections::BTreeMap, iter::Peekable, ops::Range};

use super::{
    StoreError,
    memory::Rows,
    page::{FEW_BYTES, MOST_BYTES, Page, seal, size},
    pages::Pages,
};

/// Pages by their key; `None` removes one.
pub(super) type Written = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Pages that are written anew as one, or cut again.
struct Merged<'a> {
    pages: Vec<Page>,
    /// In key order.
    rows: Vec<From<'a>>,
    bytes: usize,
    /// A row was changed at all.
    changed: bool,
    /// A row went.
    shrunk: bool,
    /// All that changed lies beyond what was there.
    appended: bool,
}

/// Where a row comes from.
#[derive(Copy, Clone)]
enum From<'a> {
    /// A page's number, and the row's in it.
    Page(usize, usize),
    Memory(&'a [u8], &'a [u8]),
}

/// The pages that hold what the rows say, and by how many bytes all pages grow with them.
///
/// # Errors
/// When a page cannot be read.
pub(super) fn merge(pages: &Pages, rows: &Rows) -> Result<(Written, i64), StoreError> {
    let mut written = Written::new();
    let mut before = 0;
    let mut changes = rows.range(&[], None).peekable();
    while let Some(&(key, _)) = changes.peek() {
        let (low, page) = pages.covering(key)?;
        let mut merged = Merged {
            rows: Vec::with_capacity(page.len() + 16),
            pages: Vec::with_capacity(2),
            bytes: 0,
            changed: false,
            shrunk: false,
            appended: true,
        };
        let mut high = page.high().map(<[u8]>::to_vec);
        let mut was = page.sealed();
        merged.merge(page, &mut changes);
        if !merged.changed {
            continue;
        }
        while merged.shrunk
            && merged.bytes < FEW_BYTES
            && let Some(next) = &high
            && merged.is_of_a_kind_with(next)
        {
            let (next, page) = pages.covering(next)?;
            if merged.bytes + page.rows().map(|(key, row)| size(key, row)).sum::<usize>() > MOST_BYTES {
                break;
            }
            was += page.sealed();
            high = page.high().map(<[u8]>::to_vec);
            merged.merge(page, &mut changes);
            written.insert(next, None);
        }
        before += was;
        merged.write(low, high.as_deref(), &mut written)?;
    }
    let after: usize = written.values().flatten().map(Vec::len).sum();
    let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok((written, signed(after) - signed(before)))
}

/// Rows of different kinds do not share a page: some kinds change all the time, others never.
fn kind(key: &[u8]) -> Option<u8> {
    key.first().copied()
}

impl<'a> Merged<'a> {
    /// Adds the rows of a page, with the changes that belong into it.
    fn merge(
        &mut self,
        page: Page,
        changes: &mut Peekable<impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>>,
    ) {
        let mut next = 0;
        while let Some((key, row)) = changes.next_if(|(key, _)| page.high().is_none_or(|high| *key < high)) {
            let at = page.lower_bound(key);
            let was = (at < page.len())
                .then(|| page.row(at))
                .filter(|(found, _)| *found == key)
                .map(|(_, row)| row);
            self.keep(&page, next..at);
            next = at + usize::from(was.is_some());
            self.changed |= was != row;
            self.shrunk |= was.is_some() && row.is_none();
            self.appended &= at == page.len();
            if let Some(row) = row {
                self.bytes += size(key, row);
                self.rows.push(From::Memory(key, row));
            }
        }
        self.keep(&page, next..page.len());
        self.pages.push(page);
    }

    /// Keeps rows of the page that is about to be the last as they are.
    fn keep(&mut self, page: &Page, rows: Range<usize>) {
        for index in rows {
            let (key, row) = page.row(index);
            self.bytes += size(key, row);
            self.rows.push(From::Page(self.pages.len(), index));
        }
    }

    fn row(&self, from: From<'a>) -> (&[u8], &[u8]) {
        match from {
            From::Page(number, index) => self.pages[number].row(index),
            From::Memory(key, row) => (key, row),
        }
    }

    /// Whether a page with this key may be put together with these rows.
    fn is_of_a_kind_with(&self, next: &[u8]) -> bool {
        self.rows
            .last()
            .is_none_or(|last| kind(self.row(*last).0) == kind(next))
    }

    /// Cuts the rows into pages.
    fn write(&self, low: Vec<u8>, high: Option<&[u8]>, written: &mut Written) -> Result<(), StoreError> {
        // What only grows at its end is packed full; what is filled between is given room.
        let target = if self.appended {
            MOST_BYTES
        } else {
            let pages = self.bytes.div_ceil(MOST_BYTES);
            self.bytes / pages.max(1) + 1
        };
        let mut low = low;
        let mut rows: Vec<(&[u8], &[u8])> = Vec::with_capacity(self.rows.len());
        let mut bytes = 0;
        for from in &self.rows {
            let (key, row) = self.row(*from);
            let apart = rows.last().is_some_and(|(last, _)| kind(last) != kind(key));
            if apart || (bytes + size(key, row) > target && !rows.is_empty()) {
                let page = seal(&rows, Some(key))?;
                written.insert(std::mem::replace(&mut low, key.to_vec()), Some(page));
                rows.clear();
                bytes = 0;
            }
            bytes += size(key, row);
            rows.push((key, row));
        }
        // What comes next at this end need not write this page again.
        let last = rows.last().filter(|_| self.appended && bytes >= FEW_BYTES);
        let beyond = last.map(|(key, _)| [key, &[0][..]].concat());
        let Some(beyond) = beyond.filter(|beyond| high.is_none_or(|high| **beyond < *high)) else {
            written.insert(low, Some(seal(&rows, high)?));
            return Ok(());
        };
        written.insert(low, Some(seal(&rows, Some(&beyond))?));
        written.insert(beyond, Some(seal(&[], high)?));
        Ok(())
    }
}
