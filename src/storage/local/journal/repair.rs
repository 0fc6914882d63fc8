//! Repairing a journal that is not open, for `posthaste check --repair`.
//!
//! First the journal is opened and closed as any start would do it: files that are none of its segments go to the
//! quarantine, misnamed ones get their names, an unfinished end is cut. Then every segment with damage is written
//! anew, its readable records in their order and nothing else. Of what is left out the bytes are copied to the
//! quarantine, and what is missing is noted in `repaired`, before the new file takes the old one's place: whatever
//! ends this in between, the old segment or the new one is there, and the repair can be made again.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    disk::{self, Disk},
    entry::{CONFIG, Lsn, LsnRange},
    error::OpenError,
    files,
    format::{SEGMENT_HEADER, SegmentHeader},
    fragment::Fragment,
    options::Options,
    recovery,
    repaired::{self, Repaired},
    scan::{BadRange, Scanner, Step},
    sidecar::{Place, Sidecar},
    verify::{self, SegmentReport, Verification},
};

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// What opening the journal did, a line each.
    pub opened: Vec<String>,
    /// Segments that were written anew. Records in them lie elsewhere than before: a store made before is not of
    /// this journal any more.
    pub rewritten: Vec<Lsn>,
    /// Where the bytes that were cut out are kept.
    pub kept: Vec<PathBuf>,
    /// What was noted as missing.
    pub noted: Vec<Repaired>,
}

type Note<'a> = dyn Fn(&BadRange, &[Fragment]) -> String + 'a;

pub(super) fn repair(
    dir: &Path,
    disk: &dyn Disk,
    at_millis: u64,
    note: &Note<'_>,
) -> Result<Repair, OpenError> {
    // What opening moves away is named before.
    let before = verify::verify(dir)?;
    let mut options = Options::new(dir);
    options.min_free_bytes = 0;
    let recovered = recovery::recover(&options, disk)?;
    let mut repair = Repair::default();
    if recovered.report.is_damaged() || recovered.report.torn_tail.is_some() {
        repair.opened = recovered.report.lines().split_off(1);
    }
    drop(recovered);
    let report = verify::verify(dir)?;
    repair.noted = to_note(dir, &before, &report, at_millis, note)?;
    for segment in report.segments.iter().filter(|segment| is_damaged(segment)) {
        keep(dir, segment, &mut repair).map_err(OpenError::io("keep what is cut out of", dir))?;
    }
    let list = merged(report.repaired.clone(), &repair.noted);
    repaired::store(dir, disk, &list).map_err(OpenError::io("write", repaired::path(dir)))?;
    for segment in report.segments.iter().filter(|segment| is_damaged(segment)) {
        rewrite(dir, disk, segment).map_err(OpenError::io(
            "write anew journal segment",
            dir.join(&segment.name),
        ))?;
        repair.rewritten.push(segment.first);
    }
    Ok(repair)
}

fn is_damaged(segment: &SegmentReport) -> bool {
    !segment.bad.is_empty() || segment.tail.is_some() || segment.header_damaged || segment.misplaced > 0
}

/// The damaged ranges and the gaps between segments.
fn to_note(
    dir: &Path,
    before: &Verification,
    report: &Verification,
    at_millis: u64,
    note: &Note<'_>,
) -> Result<Vec<Repaired>, OpenError> {
    let ends = report
        .segments
        .iter()
        .map(|segment| (segment, ends_before(report, segment.first)));
    let damaged = ends.flat_map(|(segment, next)| {
        let tail = segment.tail.map(|tail| BadRange {
            missing: next.and_then(|next| LsnRange::new(segment.last + 1, next - 1)),
            ..tail
        });
        segment.bad.iter().copied().chain(tail)
    });
    let mut ranges: Vec<BadRange> = damaged.collect();
    for gap in &report.missing {
        let told = ranges.iter().filter_map(|bad| bad.missing);
        if !told
            .into_iter()
            .any(|told| told.first <= gap.first && gap.last <= told.last)
        {
            ranges.push(BadRange {
                segment: gap.first,
                offset: 0,
                bytes: 0,
                missing: Some(*gap),
            });
        }
    }
    let noted = ranges.iter().map(|bad| {
        let fragments = before.fragments(dir, bad).or_else(|_| report.fragments(dir, bad));
        let fragments = fragments.map_err(OpenError::io("read", dir))?;
        let repaired = Repaired {
            at_millis,
            segment: bad.segment,
            offset: bad.offset,
            bytes: bad.bytes,
            missing: bad.missing,
            note: note(bad, &fragments),
        };
        Ok(repaired.cut())
    });
    noted.collect()
}

/// The first lsn of the segment behind; none behind the newest.
fn ends_before(report: &Verification, first: Lsn) -> Option<Lsn> {
    let later = report.segments.iter().map(|segment| segment.first);
    later.filter(|&other| other > first).min()
}

/// A repair that was interrupted and is made again says what it said, once.
fn merged(mut list: Vec<Repaired>, noted: &[Repaired]) -> Vec<Repaired> {
    for repaired in noted {
        let same = |known: &Repaired| {
            (known.segment, known.missing) == (repaired.segment, repaired.missing)
                && (known.missing.is_some() || known.offset == repaired.offset)
        };
        if !list.iter().any(same) {
            list.push(repaired.clone());
        }
    }
    list
}

/// Copies what is to be cut out to the quarantine, durably.
fn keep(dir: &Path, segment: &SegmentReport, repair: &mut Repair) -> io::Result<()> {
    let file = File::open(dir.join(&segment.name))?;
    let mut parts: Vec<(u64, u64, &str)> = Vec::new();
    if segment.header_damaged {
        parts.push((0, SEGMENT_HEADER as u64, "header"));
    }
    if segment.misplaced > 0 {
        // What stood where tells more than the pieces do.
        parts = vec![(0, segment.bytes, "whole")];
    } else {
        let bad = segment.bad.iter().chain(&segment.tail);
        parts.extend(
            bad.filter(|bad| bad.bytes > 0)
                .map(|bad| (bad.offset, bad.offset + bad.bytes, "cut")),
        );
    }
    for (start, end, what) in parts {
        let path = files::quarantine_path(dir, &format!("{}.{start}.{what}", segment.name))?;
        recovery::copy_range(&file, start, end, &path)?;
        repair.kept.push(path);
    }
    let quarantine = dir.join(files::QUARANTINE);
    if quarantine.exists() {
        File::open(quarantine)?.sync_all()?;
    }
    Ok(())
}

/// Writes the readable records of a segment into a file of their own, which takes the segment's place.
fn rewrite(dir: &Path, disk: &dyn Disk, segment: &SegmentReport) -> io::Result<()> {
    let path = files::segment_path(dir, segment.first);
    let old = Arc::new(File::open(dir.join(&segment.name))?);
    let temp = dir.join(format!(
        "{:016x}{}{}",
        segment.first,
        files::SEGMENT_SUFFIX,
        files::TEMP_SUFFIX
    ));
    let (bytes, config) = copy_records(
        disk,
        &old,
        segment,
        &files::private().create(true).truncate(true).open(&temp)?,
    )?;
    fs::rename(&temp, &path)?;
    disk.sync_dir(dir)?;
    // Without a sidecar only time is lost; one that is there is of the old file and is not believed.
    let sidecar = Sidecar {
        header: segment.header,
        bytes,
        last: segment.last,
        records: segment.records,
        config,
    };
    sidecar.store(dir, disk, true)
}

fn copy_records(
    disk: &dyn Disk,
    old: &Arc<File>,
    segment: &SegmentReport,
    new: &File,
) -> io::Result<(u64, Vec<Place>)> {
    let header: SegmentHeader = segment.header;
    disk::write_all(disk, new, &header.encode(), 0)?;
    let (mut end, mut config, mut records) = (SEGMENT_HEADER as u64, Vec::new(), 0);
    let mut scanner = Scanner::new(old.clone(), header, segment.bytes);
    while let Some(step) = scanner.step()? {
        let Step::Record(entry) = step else { continue };
        let mut raw = vec![0; entry.location.len as usize];
        old.read_exact_at(&mut raw, entry.location.offset)?;
        disk::write_all(disk, new, &raw, end)?;
        if entry.flags & CONFIG != 0 {
            config.push(Place {
                offset: end,
                len: entry.location.len,
            });
        }
        end += raw.len() as u64;
        records += 1;
    }
    disk.sync_data(new)?;
    // What was read a moment ago must not be thrown away because it does not read now.
    if records < segment.records {
        return Err(io::Error::other(
            "a record that could be read cannot be read any more",
        ));
    }
    Ok((end, config))
}
