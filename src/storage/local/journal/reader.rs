//! Single records by location.

use std::{
    collections::VecDeque,
    fs::File,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use super::{
    entry::{Entry, Location, Lsn},
    error::ReadError,
    format::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader},
    limits::{MAX_BODY, OPEN_FILES},
    scan::{self, BadRange},
    shared::{Shared, lock},
};

/// Segment files that were read lately, the latest last.
#[derive(Default)]
pub(super) struct OpenFiles(Mutex<VecDeque<OpenFile>>);

#[derive(Clone)]
pub(super) struct OpenFile {
    pub header: SegmentHeader,
    pub file: Arc<File>,
}

impl OpenFiles {
    fn get(&self, segment: Lsn) -> Option<OpenFile> {
        let mut files = lock(&self.0);
        let at = files.iter().position(|open| open.header.first == segment)?;
        let open = files.remove(at)?;
        files.push_back(open.clone());
        Some(open)
    }

    /// Closes the files of segments that are gone, so that their space is given back.
    pub fn forget_below(&self, floor: Lsn) {
        lock(&self.0).retain(|open| open.header.first >= floor);
    }

    fn insert(&self, open: OpenFile) {
        let mut files = lock(&self.0);
        files.push_back(open);
        if files.len() > OPEN_FILES {
            files.pop_front();
        }
    }
}

impl Shared {
    /// The segment file, opened for reading or as it was left open.
    pub fn open_segment(&self, first: Lsn) -> Result<OpenFile, ReadError> {
        if let Some(open) = self.files.get(first) {
            return Ok(open);
        }
        let header = lock(&self.catalogue)
            .segments
            .get(&first)
            .map(|segment| segment.header);
        let path = self.segment_path(first);
        let file = self
            .reserve
            .with(|| File::open(&path))
            .map_err(|error| match error.kind() {
                // Not what may pass: it is as good as damaged.
                std::io::ErrorKind::NotFound => ReadError::NoSegment { segment: first },
                _ => self.read_error(first)(error),
            })?;
        let header = header.map_or_else(|| self.header_of(&file, first), Ok)?;
        let open = OpenFile {
            header,
            file: Arc::new(file),
        };
        self.files.insert(open.clone());
        let floor = self.floor.load(std::sync::atomic::Ordering::Relaxed);
        if first < floor {
            // Deleted meanwhile: it must not stay open.
            self.files.forget_below(floor);
        }
        Ok(open)
    }

    /// The header of a segment that could not be read when the journal was opened, and perhaps can now.
    fn header_of(&self, file: &File, first: Lsn) -> Result<SegmentHeader, ReadError> {
        let mut raw = [0; SEGMENT_HEADER];
        file.read_exact_at(&mut raw, 0).map_err(self.read_error(first))?;
        let header = SegmentHeader::decode(&raw).ok();
        header
            .filter(|header| header.first == first && header.uuid == self.uuid)
            .ok_or(ReadError::NoSegment { segment: first })
    }

    pub fn read(&self, location: Location) -> Result<Entry, ReadError> {
        let open = self.open_segment(location.segment)?;
        let len = location.len as usize;
        if !(RECORD_HEADER..=RECORD_HEADER + MAX_BODY).contains(&len) {
            return Err(ReadError::Damaged(location));
        }
        let mut bytes = vec![0; len];
        match open.file.read_exact_at(&mut bytes, location.offset) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(ReadError::Damaged(location));
            }
            result => result.map_err(self.read_error(location.segment))?,
        }
        let bytes = Bytes::from(bytes);
        let head = RecordHeader::decode(&bytes, &open.header).filter(|head| head.record_len() == len);
        let body = bytes.slice(RECORD_HEADER..);
        match head.filter(|head| head.matches(&body)) {
            Some(head) => Ok(scan::entry(&head, body, location)),
            None => {
                self.met_damage(BadRange {
                    segment: location.segment,
                    offset: location.offset,
                    bytes: u64::from(location.len),
                    missing: None,
                });
                Err(ReadError::Damaged(location))
            }
        }
    }
}
