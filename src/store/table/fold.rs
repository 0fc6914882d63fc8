//! Folding: rows from memory go into the pages that their keys belong to, as one batch of sled's.

use std::{collections::BTreeMap, iter::Peekable};

use super::{
    Pages, StoreError,
    memory::Rows,
    page::{FEW_BYTES, MOST_BYTES, Page, seal, size},
};

/// Pages by their key; `None` removes one.
type Written = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Rows of pages that are written anew, in key order.
struct Merged {
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    /// A row was changed at all.
    changed: bool,
    /// All that changed lies beyond what was there.
    appended: bool,
}

/// The batch that makes the pages hold what the rows say.
///
/// # Errors
/// When a page cannot be read.
pub(super) fn batch(pages: &Pages, rows: &Rows) -> Result<sled::Batch, StoreError> {
    let mut written = Written::new();
    let mut changes = rows.range(&[], None).peekable();
    while let Some(&(key, _)) = changes.peek() {
        let (low, page) = pages.covering(key)?;
        let mut merged = Merged {
            rows: Vec::with_capacity(page.len() + 16),
            bytes: 0,
            changed: false,
            appended: true,
        };
        let mut high = page.high().map(<[u8]>::to_vec);
        merged.merge(&page, &mut changes);
        if !merged.changed {
            continue;
        }
        while merged.bytes < FEW_BYTES
            && let Some(next) = &high
            && merged.is_of_a_kind_with(next)
        {
            let (next, page) = pages.covering(next)?;
            if merged.bytes + page.rows().map(|(key, row)| size(key, row)).sum::<usize>() > MOST_BYTES {
                break;
            }
            merged.merge(&page, &mut changes);
            high = page.high().map(<[u8]>::to_vec);
            written.insert(next, None);
        }
        merged.write(low, high.as_deref(), &mut written)?;
    }
    let mut batch = sled::Batch::default();
    for (key, page) in written {
        match page {
            Some(page) => batch.insert(Pages::key(&key), page),
            None => batch.remove(Pages::key(&key)),
        }
    }
    Ok(batch)
}

/// Rows of different kinds do not share a page: some kinds change all the time, others never.
fn kind(key: &[u8]) -> Option<u8> {
    key.first().copied()
}

impl Merged {
    /// Adds the rows of a page, with the changes that belong into it.
    fn merge<'a>(
        &mut self,
        page: &Page,
        changes: &mut Peekable<impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>>,
    ) {
        let mut old = page.rows().peekable();
        while let Some(&(key, row)) = changes
            .peek()
            .filter(|(key, _)| page.high().is_none_or(|high| *key < high))
        {
            changes.next();
            while let Some((key, row)) = old.next_if(|(old, _)| *old < key) {
                self.push(key, row);
            }
            let was = old.next_if(|(old, _)| *old == key).map(|(_, row)| row);
            self.changed |= was != row;
            self.appended &= was.is_none() && old.peek().is_none();
            if let Some(row) = row {
                self.push(key, row);
            }
        }
        for (key, row) in old {
            self.push(key, row);
        }
    }

    fn push(&mut self, key: &[u8], row: &[u8]) {
        self.bytes += size(key, row);
        self.rows.push((key.to_vec(), row.to_vec()));
    }

    /// Whether a page with this key may be put together with these rows.
    fn is_of_a_kind_with(&self, next: &[u8]) -> bool {
        self.rows.last().is_none_or(|(key, _)| kind(key) == kind(next))
    }

    /// Cuts the rows into pages.
    fn write(self, low: Vec<u8>, high: Option<&[u8]>, written: &mut Written) -> Result<(), StoreError> {
        // What only grows at its end is packed full; what is filled between is given room.
        let target = if self.appended {
            MOST_BYTES
        } else {
            let pages = self.bytes.div_ceil(MOST_BYTES);
            self.bytes / pages.max(1) + 1
        };
        let mut low = low;
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (key, row) in &self.rows {
            let apart = rows
                .last()
                .is_some_and(|&(last, _): &(&[u8], &[u8])| kind(last) != kind(key));
            if apart || (bytes + size(key, row) > target && !rows.is_empty()) {
                let page = seal(&rows, Some(key))?;
                written.insert(std::mem::replace(&mut low, key.clone()), Some(page));
                rows.clear();
                bytes = 0;
            }
            bytes += size(key, row);
            rows.push((key, row));
        }
        written.insert(low, Some(seal(&rows, high)?));
        Ok(())
    }
}
