//! From the files of a directory to a journal that can be written: see the module's head for what is trusted.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use super::{
    catalogue::Segment,
    disk::{self, Disk},
    entry::{CONFIG, Lsn, LsnRange},
    error::OpenError,
    files, floor,
    format::{RECORD_HEADER, SEGMENT_HEADER, SegmentHeader},
    limits::{READ_CHUNK, REREAD_BLOCK, REWRITTEN_END},
    options::{Durability, Options},
    patience::is_device_error,
    repaired::{self, Repaired},
    report::{Recovery, TornTail},
    scan::{BadRange, Scanner, Step},
    sidecar::{Place, Sidecar},
    survey::{self, Survey},
};

/// What the committer starts from.
pub(super) struct Recovered {
    pub uuid: [u8; 16],
    pub segments: BTreeMap<Lsn, Segment>,
    /// The segment to be written, which is also among `segments`, and its file.
    pub active: Segment,
    pub file: Arc<File>,
    pub config: Vec<Place>,
    /// What is known to be missing.
    pub repaired: Vec<Repaired>,
    pub last: Lsn,
    pub report: Recovery,
}

impl Recovered {
    /// Where the oldest segment begins.
    pub fn first(&self) -> Lsn {
        self.segments.first_key_value().map_or(1, |(first, _)| *first)
    }
}

pub(super) fn recover(options: &Options, disk: &dyn Disk) -> Result<Recovered, OpenError> {
    let dir = &options.dir;
    files::create_private_dir(dir).map_err(OpenError::io("create journal directory", dir))?;
    let mut report = Recovery::default();
    let mut survey = survey::survey(dir, disk, &mut report)?;
    floor::settle(dir, disk, &mut survey, &mut report)?;
    let mut segments = sealed_segments(dir, &survey);
    let newest = match survey.segments.last_key_value() {
        Some((_, file)) => Some(open_newest(options, disk, file, &mut report)?),
        None => None,
    };
    let last = newest.as_ref().map_or(0, |newest| newest.scanned.last);
    if let Some(newest) = &newest {
        segments.insert(newest.header.first, newest.segment());
    }
    let writable = newest
        .as_ref()
        .is_some_and(|newest| !newest.unread_end && !report.salvaged.contains(&newest.header.first));
    // An empty segment that may not be written on has the very name that the next one would get.
    let taken = !writable && segments.contains_key(&(last + 1));
    let above = newest
        .as_ref()
        .map_or(survey.floor, |newest| newest.floor().max(survey.floor));
    let next = above.max(last + 1 + u64::from(taken));
    report.missing.extend(gaps(&segments, next));
    let repaired = repaired::load(dir);
    report
        .missing
        .retain(|range| !repaired::is_known(&repaired, *range));
    report.quarantined.retain(|bad| !bad.is_known(&repaired));
    report.last_lsn = next - 1;
    let (active, file, config) = match newest {
        Some(newest) if writable && next == last + 1 => {
            (newest.segment(), newest.file, newest.scanned.config)
        }
        newest => {
            if let Some(newest) = newest {
                segments.insert(newest.header.first, seal(options, disk, newest)?);
            }
            let (active, file) = begin_segment(options, disk, survey.uuid, next)?;
            (active, file, Vec::new())
        }
    };
    segments.insert(active.header.first, active);
    if report.created {
        survey::write_identity(dir, disk, survey.uuid)?;
    }
    disk.sync_dir(dir)
        .map_err(OpenError::io("sync journal directory", dir))?;
    report.segments = segments.len();
    report.bytes = segments.values().map(|segment| segment.end).sum();
    Ok(Recovered {
        uuid: survey.uuid,
        repaired,
        segments,
        active,
        file,
        config,
        last: next - 1,
        report,
    })
}

/// What reading a segment from end to end found.
pub(super) struct Scanned {
    pub last: Lsn,
    pub records: u64,
    pub config: Vec<Place>,
    pub bad: Vec<BadRange>,
    pub tail: Option<BadRange>,
    /// Where the last record lies before which everything was synced.
    proof: u64,
    /// The end of what the device did not give.
    pub unreadable: u64,
    /// So many records did not stand in their order.
    pub misplaced: u64,
}

pub(super) fn scan(file: &Arc<File>, header: SegmentHeader, bytes: u64) -> io::Result<Scanned> {
    let mut found = Scanned {
        last: 0,
        records: 0,
        config: Vec::new(),
        bad: Vec::new(),
        tail: None,
        proof: 0,
        unreadable: 0,
        misplaced: 0,
    };
    let mut scanner = Scanner::new(file.clone(), header, bytes);
    while let Some(step) = scanner.step()? {
        match step {
            Step::Record(entry) => {
                found.records += 1;
                if entry.flags & CONFIG != 0 {
                    found.config.push(Place {
                        offset: entry.location.offset,
                        len: entry.location.len,
                    });
                }
            }
            Step::Bad(bad) => found.bad.push(bad),
            Step::Tail(tail) => found.tail = Some(tail),
        }
    }
    found.last = scanner.last();
    found.proof = scanner.proof();
    found.unreadable = scanner.unreadable();
    found.misplaced = scanner.misplaced();
    Ok(found)
}

struct Newest {
    header: SegmentHeader,
    file: Arc<File>,
    end: u64,
    scanned: Scanned,
    /// Its end could not be read, and may hold records: nothing is written behind them.
    unread_end: bool,
}

impl Newest {
    fn segment(&self) -> Segment {
        Segment {
            header: self.header,
            end: self.end,
            last: Some(self.scanned.last),
            records: self.scanned.records,
            sealed: false,
        }
    }

    /// Above every lsn that an end which could not be read may hold.
    fn floor(&self) -> Lsn {
        let unread = self.scanned.tail.filter(|_| self.unread_end);
        let records = unread.map_or(0, |tail| tail.bytes / RECORD_HEADER as u64);
        self.scanned.last + 1 + records
    }
}

/// Reads the newest segment whole, cuts its torn tail, and syncs it: what a crashed process wrote without a sync
/// is read from the page cache, and must be on the device before it is built upon.
fn open_newest(
    options: &Options,
    disk: &dyn Disk,
    candidate: &survey::Candidate,
    report: &mut Recovery,
) -> Result<Newest, OpenError> {
    let path = &candidate.path;
    let Ok(header) = candidate.header else {
        return Err(OpenError::io("read journal segment", path)(
            io::ErrorKind::InvalidData.into(),
        ));
    };
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = Arc::new(file.map_err(OpenError::io("open journal segment", path))?);
    let mut scanned =
        scan(&file, header, candidate.bytes).map_err(OpenError::io("read journal segment", path))?;
    if let Some(hole) = first_hole(&scanned).filter(|_| options.power_was_cut) {
        let unreadable = scanned.unreadable;
        scanned = scan(&file, header, hole.offset).map_err(OpenError::io("read journal segment", path))?;
        scanned.unreadable = unreadable;
        scanned.tail = Some(BadRange {
            bytes: candidate.bytes - hole.offset,
            missing: None,
            ..hole
        });
    }
    report.quarantined.clone_from(&scanned.bad);
    let mut end = candidate.bytes;
    // What the device does not give today it may give tomorrow.
    let unread = scanned.tail.filter(|tail| tail.offset < scanned.unreadable);
    report.quarantined.extend(unread);
    if let Some(tail) = scanned.tail.filter(|_| unread.is_none()) {
        let kept_as = keep_tail(&options.dir, &file, &tail);
        disk.truncate(&file, tail.offset)
            .map_err(OpenError::io("cut the torn tail of", path))?;
        report.torn_tail = Some(TornTail {
            segment: tail.segment,
            offset: tail.offset,
            bytes: tail.bytes,
            kept_as,
        });
        end = tail.offset;
    }
    if options.crashed && options.durability == Durability::Fsync {
        let start = end.saturating_sub(REWRITTEN_END);
        write_again(disk, &file, start, end, READ_CHUNK)
            .map_err(OpenError::io("write again the end of", path))?;
    }
    disk.sync_data(&file)
        .map_err(OpenError::io("sync journal segment", path))?;
    Ok(Newest {
        header,
        file,
        end,
        scanned,
        unread_end: unread.is_some(),
    })
}

/// The first damage behind which nothing proves that it was ever synced. After a power cut that is where the disk
/// left something out, so nothing behind it was acknowledged: a record that was would prove what lies before it, or
/// have been synced along with it.
fn first_hole(scanned: &Scanned) -> Option<BadRange> {
    scanned.bad.iter().find(|bad| bad.offset > scanned.proof).copied()
}

/// Writes what is there in its place once more. Of what was not synced when a process died, the page cache may hold
/// pages that never reached the device and pass for clean all the same: so they are after a write to the device
/// failed, and a sync would skip them. What is read here is built upon, so it has to be on the device.
fn write_again(disk: &dyn Disk, file: &File, start: u64, end: u64, step: usize) -> io::Result<()> {
    let mut piece = vec![0; step];
    for at in (start..end).step_by(step) {
        let piece = &mut piece[..(end - at).min(step as u64) as usize];
        let written = match file.read_exact_at(piece, at) {
            Err(error) if is_device_error(&error) && step > REREAD_BLOCK => {
                write_again(disk, file, at, at + piece.len() as u64, REREAD_BLOCK)
            }
            // What cannot be read is not built upon.
            Err(error) if is_device_error(&error) => Ok(()),
            read => read.and_then(|()| disk::write_all(disk, file, piece, at)),
        };
        match written {
            // A file system that copies what is written again has no room for it: better so than not at all.
            Err(error) if disk::is_full(&error) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

/// Copies a torn tail to the quarantine, without the zeros at its end. Best effort: it was never acknowledged,
/// and a full disk must not keep the journal from opening.
fn keep_tail(dir: &Path, file: &File, tail: &BadRange) -> Option<std::path::PathBuf> {
    let end = last_nonzero(file, tail.offset, tail.offset + tail.bytes).ok()??;
    let name = format!("{:016x}.seg.{}.tail", tail.segment, tail.offset);
    let path = files::quarantine_path(dir, &name).ok()?;
    let copy = copy_range(file, tail.offset, end, &path);
    if copy.is_err() {
        let _ = fs::remove_file(&path);
    }
    copy.ok().map(|()| path)
}

/// The end of what is not zero in a range of a file.
fn last_nonzero(file: &File, start: u64, end: u64) -> io::Result<Option<u64>> {
    let (mut at, mut found) = (start, None);
    let mut piece = vec![0; READ_CHUNK];
    while at < end {
        let len = (end - at).min(READ_CHUNK as u64) as usize;
        file.read_exact_at(&mut piece[..len], at)?;
        if let Some(index) = piece[..len].iter().rposition(|&byte| byte != 0) {
            found = Some(at + index as u64 + 1);
        }
        at += len as u64;
    }
    Ok(found)
}

pub(super) fn copy_range(file: &File, start: u64, end: u64, to: &Path) -> io::Result<()> {
    let copy = files::private().create(true).truncate(true).open(to)?;
    let mut piece = vec![0; READ_CHUNK];
    let mut at = start;
    while at < end {
        let len = (end - at).min(READ_CHUNK as u64) as usize;
        file.read_exact_at(&mut piece[..len], at)?;
        copy.write_all_at(&piece[..len], at - start)?;
        at += len as u64;
    }
    copy.sync_all()
}

/// Every segment but the newest, as its sidecar describes it; not one record is read.
fn sealed_segments(dir: &Path, survey: &Survey) -> BTreeMap<Lsn, Segment> {
    let newest = survey.segments.last_key_value().map(|(first, _)| *first);
    let sealed = survey
        .segments
        .iter()
        .filter(|(first, _)| Some(**first) != newest);
    let described = sealed.filter_map(|(first, file)| {
        let header = file.header.ok()?;
        let sidecar = Sidecar::load(dir, *first).filter(|sidecar| sidecar.describes(&header, file.bytes));
        let (last, records) = sidecar.map_or((None, 0), |sidecar| (Some(sidecar.last), sidecar.records));
        Some((
            *first,
            Segment {
                header,
                end: file.bytes,
                last,
                records,
                sealed: true,
            },
        ))
    });
    described.collect()
}

/// Sequence numbers that no segment holds, between the first segment and `next`.
fn gaps(segments: &BTreeMap<Lsn, Segment>, next: Lsn) -> Vec<LsnRange> {
    let begins = segments.keys().copied().skip(1).chain([next]);
    let pairs = segments.values().zip(begins);
    pairs
        .filter_map(|(segment, begin)| LsnRange::new(segment.last? + 1, begin - 1))
        .collect()
}

/// A newest segment that may not be written on gets a sidecar, which also keeps its header.
fn seal(options: &Options, disk: &dyn Disk, newest: Newest) -> Result<Segment, OpenError> {
    let segment = Segment {
        sealed: true,
        ..newest.segment()
    };
    let Newest {
        header,
        end,
        scanned: Scanned {
            last,
            records,
            config,
            ..
        },
        unread_end,
        ..
    } = newest;
    if unread_end {
        // Perhaps it can be read another time, and then it is known what there is.
        return Ok(segment);
    }
    let path = Sidecar::path(&options.dir, header.first);
    let sidecar = Sidecar {
        header,
        bytes: end,
        last,
        records,
        config,
    };
    sidecar
        .store(&options.dir, disk, true)
        .map_err(OpenError::io("write journal sidecar", path))?;
    Ok(segment)
}

fn begin_segment(
    options: &Options,
    disk: &dyn Disk,
    uuid: [u8; 16],
    first: Lsn,
) -> Result<(Segment, Arc<File>), OpenError> {
    let path = files::segment_path(&options.dir, first);
    let salt = disk::random().map_err(OpenError::io("make a salt for", &path))?;
    let header = SegmentHeader {
        uuid,
        first,
        salt: u64::from_le_bytes(salt),
    };
    let file = files::create_segment(&options.dir, disk, &header, true);
    let file = file.map_err(OpenError::io("create journal segment", path))?;
    let segment = Segment {
        header,
        end: SEGMENT_HEADER as u64,
        last: Some(first - 1),
        records: 0,
        sealed: false,
    };
    Ok((segment, file))
}
