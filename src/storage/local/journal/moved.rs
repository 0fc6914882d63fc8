//! Records whose place holds something else, since blocks of their segment have changed places.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{
    entry::{Entry, Location, Lsn},
    error::ReadError,
    limits::MOVED_SEGMENTS,
    order::RecordPlace,
    scan::{Scanner, Step},
    shared::{Shared, lock},
};

/// Of segments in which damage was met: where their records stand, if not in their order; else nothing.
#[derive(Default)]
pub(super) struct Moved(Mutex<HashMap<Lsn, Arc<Vec<RecordPlace>>>>);

impl Shared {
    /// The record at `location` of which `is_it` holds: there, or wherever else in the segment it stands now.
    pub fn read_where(&self, location: Location, is_it: impl Fn(&Entry) -> bool) -> Result<Entry, ReadError> {
        let error = match self.read(location) {
            Ok(entry) if is_it(&entry) => return Ok(entry),
            Ok(_) => ReadError::Damaged(location),
            Err(error @ ReadError::Damaged(_)) => error,
            Err(error) => return Err(error),
        };
        let places = self.moved_in(location.segment)?;
        let alike = places
            .iter()
            .filter(|place| place.len == location.len && place.offset != location.offset);
        for place in alike {
            let elsewhere = Location {
                offset: place.offset,
                ..location
            };
            if let Ok(entry) = self.read(elsewhere)
                && is_it(&entry)
            {
                return Ok(entry);
            }
        }
        Err(error)
    }

    /// Reads the segment through, once.
    fn moved_in(&self, segment: Lsn) -> Result<Arc<Vec<RecordPlace>>, ReadError> {
        if let Some(places) = lock(&self.moved.0).get(&segment) {
            return Ok(places.clone());
        }
        let end = lock(&self.catalogue).segments.get(&segment).map(|it| it.end);
        let (Some(end), open) = (end, self.open_segment(segment)?) else {
            return Err(ReadError::NoSegment { segment });
        };
        let mut scanner = Scanner::new(open.file, open.header, end);
        let mut places = Vec::new();
        while let Some(step) = scanner.step().map_err(self.read_error(segment))? {
            match step {
                Step::Record(entry) => places.push(RecordPlace::of(&entry)),
                Step::Bad(bad) => self.met_damage(bad),
                Step::Tail(_) => {}
            }
        }
        if scanner.misplaced() == 0 {
            places = Vec::new();
        }
        let places = Arc::new(places);
        let mut known = lock(&self.moved.0);
        if known.len() >= MOVED_SEGMENTS {
            known.clear();
        }
        known.insert(segment, places.clone());
        Ok(places)
    }
}
