//! A page of a list: read within bounds of time and of bytes, so that nobody holds the index for long.

use std::time::Duration;

use tokio::time::Instant;

use super::index::{
    Store, StoreError,
    listing::{self, Look, Plan},
};
use crate::{
    domain::{id::DeliveryKey, limits},
    storage::{
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
