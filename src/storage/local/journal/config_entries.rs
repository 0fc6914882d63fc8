use std::{sync::Arc, vec};

use super::{
    entry::{CONFIG, Entry, Location, Lsn},
    error::ReadError,
    patience::{Patience, is_device_error},
    recovery,
    scan::BadRange,
    shared::{Shared, lock},
    sidecar::{Place, Sidecar},
    stats::add,
};

/// The configuration records of a journal, segment by segment.
pub(super) struct ConfigEntries {
    shared: Arc<Shared>,
    segments: vec::IntoIter<Lsn>,
    segment: Lsn,
    places: vec::IntoIter<Place>,
    patience: Patience,
}

impl ConfigEntries {
    pub fn new(shared: Arc<Shared>) -> Self {
        let segments: Vec<Lsn> = lock(&shared.catalogue).segments.keys().copied().collect();
        Self {
            shared,
            segments: segments.into_iter(),
            segment: 0,
            places: Vec::new().into_iter(),
            patience: Patience::default(),
        }
    }
}

impl Iterator for ConfigEntries {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(Place { offset, len }) = self.places.next() {
                let location = Location {
                    segment: self.segment,
                    offset,
                    len,
                };
                let entry = self.read(location);
                return Some(entry.and_then(|entry| flagged(entry).ok_or(ReadError::Damaged(location))));
            }
            self.segment = self.segments.next()?;
            match self.shared.config_places(self.segment) {
                Ok(places) => self.places = places.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl ConfigEntries {
    /// One record. What the device does not give in time is as good as damaged.
    fn read(&mut self, location: Location) -> Result<Entry, ReadError> {
        loop {
            match self.shared.read(location) {
                Err(ReadError::Io { source, .. }) if is_device_error(&source) => {
                    if !self.patience.wait() {
                        return Err(ReadError::Damaged(location));
                    }
                }
                result => return result,
            }
        }
    }
}

fn flagged(entry: Entry) -> Option<Entry> {
    (entry.flags & CONFIG != 0).then_some(entry)
}

impl Shared {
    /// Where the configuration records of a segment lie: from memory for the one being written, from the sidecar
    /// for a sealed one, and by reading all of it when there is no good sidecar, which is then written.
    fn config_places(&self, first: Lsn) -> Result<Vec<Place>, ReadError> {
        let segment = {
            let catalogue = lock(&self.catalogue);
            let Some(segment) = catalogue.segments.get(&first).copied() else {
                return Ok(Vec::new());
            };
            if !segment.sealed {
                return Ok(catalogue.config.clone());
            }
            segment
        };
        let sidecar = Sidecar::load(&self.options.dir, first);
        if let Some(sidecar) = sidecar.filter(|sidecar| sidecar.describes(&segment.header, segment.end)) {
            return Ok(sidecar.config);
        }
        let open = self.open_segment(first)?;
        let scanned = recovery::scan(&open.file, open.header, segment.end).map_err(self.read_error(first))?;
        self.met_all(scanned.bad.iter().chain(&scanned.tail));
        let sidecar = Sidecar {
            header: segment.header,
            bytes: segment.end,
            last: scanned.last,
            records: scanned.records,
            config: scanned.config,
        };
        // What could not be read now may be there another time.
        let whole = scanned.unreadable == 0;
        if whole && sidecar.store(&self.options.dir, &*self.disk, true).is_err() {
            add(&self.counters.sidecar_failures, 1);
        }
        if let Some(segment) = lock(&self.catalogue).segments.get_mut(&first) {
            (segment.last, segment.records) = (Some(sidecar.last), sidecar.records);
        }
        Ok(sidecar.config)
    }

    fn met_all<'a>(&self, ranges: impl Iterator<Item = &'a BadRange>) {
        ranges.for_each(|bad| self.met_damage(*bad));
    }
}
