//! Reading a journal from end to end without changing it, for `posthaste check`.

use std::{collections::HashMap, fs::File, path::Path, sync::Arc};

use super::{
    entry::{Lsn, LsnRange},
    error::OpenError,
    floor::Floor,
    format::{SEGMENT_HEADER, SegmentHeader},
    fragment::{self, Fragment},
    recovery,
    repaired::{self, Repaired},
    scan::BadRange,
    sidecar::Sidecar,
    survey::{self, Candidate, Survey},
};

/// One segment file as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    pub name: String,
    pub first: Lsn,
    pub last: Lsn,
    pub records: u64,
    pub bytes: u64,
    pub bad: Vec<BadRange>,
    /// Bytes at the end that hold no record. In the newest segment that is a torn tail, which the next open cuts.
    pub tail: Option<BadRange>,
    /// The header is damaged, and was made out all the same.
    pub header_damaged: bool,
    /// So many records do not stand in their order: blocks have changed places. They are read all the same.
    pub misplaced: u64,
    pub(super) header: SegmentHeader,
    /// There is a good sidecar. Only the newest segment has none as a rule.
    pub sidecar: bool,
}

/// What a full reading found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Tells this journal from every other.
    pub uuid: [u8; 16],
    pub segments: Vec<SegmentReport>,
    /// Files named as segments that cannot be read as any of this journal, and foreign ones.
    pub unusable: Vec<String>,
    /// Sequence numbers that no segment holds, above the floor, within and between segments.
    pub missing: Vec<LsnRange>,
    /// Sequence numbers that more than one segment file holds.
    pub duplicate: Vec<LsnRange>,
    /// The file that says what was reclaimed is damaged.
    pub floor_damaged: bool,
    /// What is known to be missing since a repair, oldest repair first. It is not among `missing`.
    pub repaired: Vec<Repaired>,
    pub records: u64,
    pub bytes: u64,
}

impl Verification {
    /// Whether nothing is wrong. A torn tail of the newest segment is not: the next open cuts it.
    pub fn is_whole(&self) -> bool {
        let newest = self.segments.len().saturating_sub(1);
        let whole = |(index, segment): (usize, &SegmentReport)| {
            segment.bad.is_empty()
                && !segment.header_damaged
                && segment.misplaced == 0
                && (segment.tail.is_none() || index == newest)
        };
        let files = self.segments.iter().enumerate().all(whole);
        files
            && !self.floor_damaged
            && self.unusable.is_empty()
            && self.missing.is_empty()
            && self.duplicate.is_empty()
    }

    /// What a damaged range or an unreadable end still shows of the records that stood in it.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn fragments(&self, dir: &Path, bad: &BadRange) -> std::io::Result<Vec<Fragment>> {
        let segment = self.segments.iter().find(|segment| segment.first == bad.segment);
        let Some(segment) = segment.filter(|_| bad.bytes > 0) else {
            return Ok(Vec::new());
        };
        fragment::read(&File::open(dir.join(&segment.name))?, &segment.header, bad)
    }
}

/// Reads every record of the journal in `dir`. Changes nothing; the journal must not be open.
///
/// # Errors
///
/// The directory or a file cannot be read, or a segment is of a newer format.
pub(super) fn verify(dir: &Path) -> Result<Verification, OpenError> {
    let (mut candidates, _) = survey::list(dir)?;
    let uuid = survey::read_identity(dir)
        .or_else(|| most_common_uuid(&candidates))
        .unwrap_or_default();
    let salvaged = survey::salvage_headers(dir, uuid, &mut candidates);
    let mut report = Verification {
        uuid,
        repaired: repaired::load(dir),
        ..Verification::default()
    };
    let (mut survey, mut aside) = (Survey::default(), Vec::new());
    for candidate in candidates {
        match candidate.header {
            Ok(header) if header.uuid == uuid => survey.admit(header.first, candidate, &mut aside),
            Err(_) if candidate.bytes <= SEGMENT_HEADER as u64 => {}
            _ => report.unusable.push(candidate.name),
        }
    }
    let leave = aside.into_iter().map(|(candidate, _)| candidate.name);
    report.unusable.extend(leave);
    for (first, candidate) in survey.segments {
        let header_damaged = salvaged.contains(&first);
        let segment = read_segment(dir, candidate, header_damaged, &report.repaired)?;
        report.segments.push(segment);
    }
    report.records = report.segments.iter().map(|segment| segment.records).sum();
    report.bytes = report.segments.iter().map(|segment| segment.bytes).sum();
    let floor = Floor::load(dir, uuid).map_err(OpenError::io("read the floor of", dir))?;
    report.floor_damaged = floor == Floor::Damaged;
    compare_neighbours(&mut report, floor);
    let known = |range: &LsnRange| repaired::is_known(&report.repaired, *range);
    let missing: Vec<_> = report
        .missing
        .iter()
        .filter(|range| !known(range))
        .copied()
        .collect();
    report.missing = missing;
    Ok(report)
}

fn most_common_uuid(candidates: &[Candidate]) -> Option<[u8; 16]> {
    let mut votes: HashMap<[u8; 16], usize> = HashMap::new();
    for header in candidates
        .iter()
        .filter_map(|candidate| candidate.header.as_ref().ok())
    {
        *votes.entry(header.uuid).or_default() += 1;
    }
    votes
        .into_iter()
        .max_by_key(|(uuid, count)| (*count, *uuid))
        .map(|(uuid, _)| uuid)
}

fn read_segment(
    dir: &Path,
    candidate: Candidate,
    header_damaged: bool,
    known: &[Repaired],
) -> Result<SegmentReport, OpenError> {
    let Candidate {
        name,
        path,
        bytes,
        header,
        ..
    } = candidate;
    let io = |source| OpenError::Io {
        action: "read journal segment",
        path: path.clone(),
        source,
    };
    let header = header.map_err(|_| io(std::io::ErrorKind::InvalidData.into()))?;
    let file = Arc::new(File::open(&path).map_err(io)?);
    let mut scanned = recovery::scan(&file, header, bytes).map_err(io)?;
    scanned.bad.retain(|bad| !bad.is_known(known));
    let sidecar = Sidecar::load(dir, header.first).is_some_and(|sidecar| sidecar.describes(&header, bytes));
    Ok(SegmentReport {
        name,
        first: header.first,
        last: scanned.last,
        records: scanned.records,
        bytes,
        bad: scanned.bad,
        tail: scanned.tail,
        header_damaged,
        misplaced: scanned.misplaced,
        header,
        sidecar,
    })
}

fn compare_neighbours(report: &mut Verification, floor: Floor) {
    let mut expected = match floor {
        Floor::None => Some(1),
        Floor::Damaged => None,
        // Leftovers of a reclaim may lie below it; the next open deletes them.
        Floor::At(floor) => report.segments.first().map(|segment| segment.first.min(floor)),
    };
    for segment in &report.segments {
        let next = expected.unwrap_or(segment.first);
        report.missing.extend(LsnRange::new(next, segment.first - 1));
        report
            .duplicate
            .extend(LsnRange::new(segment.first, segment.last.min(next - 1)));
        report
            .missing
            .extend(segment.bad.iter().filter_map(|bad| bad.missing));
        expected = Some(next.max(segment.last + 1));
    }
}
