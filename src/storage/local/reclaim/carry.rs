//! What becomes of one thing that stands in a segment which is about to be deleted: forgotten, or carried.

use super::{Bench, Trouble, at_most, reading::Standing, weigh::remembers};
use crate::{
    domain::{
        id::Lsn,
        reclaim::{Carried, EventsForgotten, ForgottenEvent, Home, RowCopy},
        record::{Place, Record},
        time::Timestamp,
    },
    runtime::chain::chain,
    storage::local::codec,
    storage::local::index::{Belongings, CarriedRow},
    storage::local::journal::{Journal, ReadError},
};

/// Events, sorted into those that go and those that are carried.
#[derive(Default)]
pub(super) struct Sorted {
    pub forgotten: Vec<ForgottenEvent>,
    carrying: Vec<Record>,
    /// How many are carried.
    pub carried: u64,
    /// Those of them whose record cannot be read.
    pub unreadable: Vec<Lsn>,
    /// About what the records take.
    pub bytes: usize,
}

impl Sorted {
    /// Decides about an event, as it is now; only under a pause does that hold.
    pub fn add(&mut self, bench: &Bench<'_>, standing: &Standing, before: Lsn) -> Result<(), Trouble> {
        let event = standing.event;
        let Some(found) = bench.store.belongings(event)? else {
            return Ok(());
        };
        if found.row.place.segment >= before {
            return Ok(());
        }
        if found.is_settled()
            && !remembers(bench.store, found.row.tenant.as_ref(), standing, bench.keys_over)?
        {
            self.bytes += 64 + 8 * found.attempts.len() + 12 * found.added.len();
            self.forgotten.push(ForgottenEvent {
                event,
                idempotency_key: standing.idempotency_key.clone(),
                added: found.added,
                attempts: found.attempts,
            });
            return Ok(());
        }
        self.carry(bench, standing, &found, before)
    }

    fn carry(
        &mut self,
        bench: &Bench<'_>,
        standing: &Standing,
        found: &Belongings,
        before: Lsn,
    ) -> Result<(), Trouble> {
        let lsn = standing.event;
        let key = standing.idempotency_key.as_deref();
        let rows = bench.store.copies_of_event(lsn, found, key, before)?;
        let home = match read(bench.journal, found.row.place)?.and_then(codec::event) {
            Some(event) => Home::Event {
                lsn,
                event: Box::new(event),
            },
            None => {
                tracing::error!(event.id = %found.row.id, lsn, "an event that still waits cannot be read; it is carried without its payload");
                self.unreadable.push(lsn);
                Home::None
            }
        };
        self.bytes += rows.iter().map(RowCopy::size).sum::<usize>() + found.row.place.len as usize;
        self.carried += 1;
        let mut records: Vec<Record> = in_portions(rows, false).collect();
        // The event itself goes with its last rows: all of them are there when its place changes.
        if let Some(Record::Carried(last)) = records.last_mut() {
            last.home = home;
        }
        self.carrying.extend(records);
        Ok(())
    }

    /// What is to be appended.
    pub fn records(&mut self) -> Vec<Record> {
        let mut records = std::mem::take(&mut self.carrying);
        if !self.forgotten.is_empty() {
            let events = self.forgotten.clone();
            records.push(Record::EventsForgotten(EventsForgotten { events }));
        }
        records
    }
}

/// Rows as records of a bounded size.
pub(super) fn in_portions(rows: Vec<RowCopy>, configuration: bool) -> impl Iterator<Item = Record> {
    let mut rows = rows.into_iter().peekable();
    std::iter::from_fn(move || {
        rows.peek()?;
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while bytes < at_most::CARRIED_BYTES
            && let Some(row) = rows.next()
        {
            bytes += row.size();
            portion.push(row);
        }
        Some(Record::Carried(Carried {
            rows: portion,
            home: Home::None,
            configuration,
        }))
    })
}

/// An event type's row with its declaration, if that stands below and can be read.
pub(super) fn declaration(bench: &Bench<'_>, copy: &RowCopy, before: Lsn) -> Result<Option<Record>, Trouble> {
    let Some(CarriedRow::EventType(name, row)) = CarriedRow::read(copy) else {
        return Ok(None);
    };
    if row.place.segment >= before {
        return Ok(None);
    }
    let record = read(bench.journal, row.place)?;
    let put = record
        .as_ref()
        .and_then(|record| codec::event_type(record, &name));
    Ok(put.map(|put| {
        Record::Carried(Carried {
            rows: vec![copy.clone()],
            home: Home::EventType(Box::new(put.clone())),
            configuration: true,
        })
    }))
}

/// What an event's record says of its idempotency key, if it can be read.
pub(super) fn standing(bench: &Bench<'_>, event: Lsn) -> Result<Standing, Trouble> {
    let row = bench.store.event(event)?;
    let accepted = match row {
        Some(row) => read(bench.journal, row.place)?.and_then(codec::event),
        None => None,
    };
    Ok(accepted.map_or(
        Standing {
            event,
            idempotency_key: None,
            until: Timestamp::EPOCH,
        },
        |accepted| Standing::of(event, &accepted),
    ))
}

/// The record at a place; nothing when it is damaged. What the file system refuses may be there another time.
fn read(journal: &Journal, place: Place) -> Result<Option<Record>, ReadError> {
    let entry = match journal.read(codec::location(place)) {
        Ok(entry) => entry,
        Err(error @ ReadError::Io { .. }) => return Err(error),
        Err(ReadError::Damaged(_) | ReadError::NoSegment { .. }) => return Ok(None),
    };
    let record = codec::decode(&entry);
    Ok(record
        .inspect_err(|error| tracing::error!(lsn = entry.lsn, error = %chain(error), "a journal record does not decode"))
        .ok())
}
