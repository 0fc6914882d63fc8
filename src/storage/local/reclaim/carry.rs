//! What becomes of one thing that stands in a segment which is about to be deleted: forgotten, or carried.

use super::{Bench, Trouble, at_most, reading::Standing, weigh::remembers};
use crate::{
    domain::{
        id::Lsn,
        reclaim::{Carried, Declaration, EventTypeFacts, EventsForgotten, ForgottenEvent, Home, State},
        record::{Place, Record},
        time::Timestamp,
    },
    runtime::chain::chain,
    storage::local::codec,
    storage::local::index::Belongings,
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
        let lost = matches!(home, Home::None);
        let state = bench.store.state_of_event(lsn, found, key, before, lost)?;
        self.bytes += state.iter().map(State::size).sum::<usize>() + found.row.place.len as usize;
        self.carried += 1;
        let mut records: Vec<Record> = in_portions(state, false).collect();
        // The event itself goes with the last of its state: all of that is there when its place changes.
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

/// State as records of a bounded size.
pub(super) fn in_portions(state: Vec<State>, configuration: bool) -> impl Iterator<Item = Record> {
    let mut state = state.into_iter().peekable();
    std::iter::from_fn(move || {
        state.peek()?;
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while bytes < at_most::CARRIED_BYTES
            && let Some(part) = state.next()
        {
            bytes += part.size();
            portion.push(part);
        }
        Some(Record::Carried(Carried {
            state: portion,
            home: Home::None,
            configuration,
        }))
    })
}

/// An event type, with its declaration if that stands below and can be read.
pub(super) fn event_type(
    bench: &Bench<'_>,
    mut declared: EventTypeFacts,
    place: Option<Place>,
    before: Lsn,
) -> Result<Record, Trouble> {
    let mut home = Home::None;
    if let Some(place) = place.filter(|place| place.segment < before) {
        let record = read(bench.journal, place)?;
        let put = record
            .as_ref()
            .and_then(|record| codec::event_type(record, &declared.name));
        declared.declaration = put.as_ref().map_or(Declaration::Lost, |_| Declaration::Here);
        home = put.map_or(Home::None, |put| Home::EventType(Box::new(put.clone())));
    }
    Ok(Record::Carried(Carried {
        state: vec![State::EventType(Box::new(declared))],
        home,
        configuration: true,
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
