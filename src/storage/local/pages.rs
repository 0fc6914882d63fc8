//! A page of a list, or of the audit log: read within bounds of time and of bytes, so that nobody holds the index for long.

use std::time::Duration;

use tokio::time::Instant;

use super::index::{
    Store, StoreError,
    listing::{self, Look, Plan},
};
use crate::{
    domain::{
        audit::{AuditEntry, AuditFilter},
        id::{AuditId, DeliveryKey},
        limits,
    },
    storage::{
        AuditPage,
        queries::{ListPage, ListRange, next_to},
        stored::Listed,
    },
};

/// How long a page is read once its list is found: others wait for the thread.
pub(super) const SLICE: Duration = limits::WORK_SLICE;

/// Reads the rows that `complete` makes something of. Ends early when its time is over, or its rows are large; then the list
/// goes on beyond what was looked at.
pub(super) fn page<T: listing::Listed, V: Listed>(
    store: &Store,
    plan: impl FnOnce(&Store) -> Result<Plan, StoreError>,
    range: ListRange,
    weigh: impl Fn(&V) -> usize,
    mut complete: impl FnMut(DeliveryKey, T) -> Result<Option<V>, StoreError>,
) -> Result<ListPage<V>, StoreError> {
    let began = Instant::now();
    let plan = plan(store)?;
    let mut lister = store.lister::<T>(&plan, range.beyond, range.ascending);
    let (mut rows, mut bytes, mut until) = (Vec::new(), 0, None);
    while rows.len() < range.limit && bytes < limits::PAGE_BYTES {
        match lister.look()? {
            Look::End => return Ok(ListPage { rows, next: None }),
            Look::Passed => {}
            Look::Row(at, row) => {
                let row = complete(at, row)?;
                bytes += row.as_ref().map_or(0, &weigh);
                rows.extend(row);
            }
        }
        // A list of many endpoints takes long to find, each time anew: then it may be read for as long as that took.
        let now = Instant::now();
        if now >= *until.get_or_insert_with(|| now + SLICE.max(now - began)) {
            break;
        }
    }
    let next = lister.at().and_then(|at| next_to(at, !range.ascending));
    Ok(ListPage { rows, next })
}

/// A page of the audit log: its entries are found by time, and looked at one by one for the rest of the filter.
pub(super) fn audit_page(
    store: &Store,
    filter: &AuditFilter,
    beyond: Option<AuditId>,
    ascending: bool,
    limit: usize,
) -> Result<AuditPage, StoreError> {
    let (mut first, mut end) = (filter.first(), filter.end());
    match beyond {
        Some(beyond) if ascending => first = first.max(Some(beyond)),
        Some(beyond) => end = Some(end.map_or(beyond, |end| end.min(beyond))),
        None => {}
    }
    let until = Instant::now() + SLICE;
    let (mut page, mut bytes) = (AuditPage::default(), 0);
    for entry in store.audit_entries(first, end, ascending) {
        let entry: AuditEntry = entry?;
        let id = entry.id;
        if beyond == Some(id) {
            continue;
        }
        if filter.matches(&entry) {
            bytes += entry.size();
            page.entries.push(entry);
        }
        if page.entries.len() == limit || bytes >= limits::PAGE_BYTES || Instant::now() >= until {
            page.next = Some(id);
            break;
        }
    }
    Ok(page)
}
