//! Which files of the directory are the journal's segments. Only names, headers and sidecars are read.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    disk::{self, Disk},
    entry::Lsn,
    error::OpenError,
    files::{self, IDENTITY, MOVED_SUFFIX, SEGMENT_SUFFIX, SIDECAR_SUFFIX, TEMP_SUFFIX},
    format::{HeaderError, RECORD_HEADER, SEGMENT_HEADER, SegmentHeader},
    limits::MAX_LSN,
    patience::{Patience, is_device_error},
    report::{AsideReason, Recovery, SetAside},
    salt,
    scan::{Scanner, Step},
    sidecar::Sidecar,
};

const IDENTITY_MAGIC: [u8; 8] = *b"phJuuid\x01";

/// A file that may be a segment.
pub(super) struct Candidate {
    pub name: String,
    pub path: PathBuf,
    pub bytes: u64,
    pub header: Result<SegmentHeader, HeaderError>,
    /// The device does not give its header; what it holds is not known to be lost.
    pub unread: bool,
}

/// The segments of the journal, by first lsn.
#[derive(Default)]
pub(super) struct Survey {
    pub uuid: [u8; 16],
    pub segments: BTreeMap<Lsn, Candidate>,
    /// What files without a usable header may have held ends before this.
    pub floor: Lsn,
}

/// Finds the segments and moves aside what is none. Temporary files are deleted.
pub(super) fn survey(dir: &Path, disk: &dyn Disk, report: &mut Recovery) -> Result<Survey, OpenError> {
    let (mut candidates, temps) = list(dir)?;
    for temp in &temps {
        fs::remove_file(temp).map_err(OpenError::io("delete temporary file", temp))?;
    }
    report.leftovers = temps.len();
    report.emptied = candidates.is_empty() && read_identity(dir).is_some();
    report.created = candidates.is_empty() && !report.emptied;
    let (uuid, is_written) = identity(dir, &candidates)?;
    report.salvaged = salvage_headers(dir, uuid, &mut candidates);

    let mut survey = Survey {
        uuid,
        segments: BTreeMap::new(),
        floor: 0,
    };
    let mut aside = Vec::new();
    for candidate in candidates {
        match candidate.header {
            Ok(header) if header.uuid == uuid => survey.admit(header.first, candidate, &mut aside),
            Ok(_) => aside.push((candidate, AsideReason::Foreign)),
            Err(_) if candidate.unread => {
                survey.floor = survey.floor.max(floor_of(&candidate));
                report.unread.push(candidate.name);
            }
            Err(_) => {
                survey.floor = survey.floor.max(floor_of(&candidate));
                let half_made = candidate.bytes <= SEGMENT_HEADER as u64;
                let reason = if half_made {
                    AsideReason::HalfMade
                } else {
                    AsideReason::HeaderDamaged
                };
                aside.push((candidate, reason));
            }
        }
    }
    for (candidate, reason) in aside {
        report.set_aside.push(set_aside(dir, disk, &candidate, reason)?);
    }
    report.renamed = restore_names(dir, disk, &mut survey.segments)?;
    if !is_written && !report.created {
        // Not before: a segment may have had its name.
        write_identity(dir, disk, uuid)?;
    }
    Ok(survey)
}

impl Survey {
    /// Of two files that say they are the same segment, the one that also has its name stays.
    pub fn admit(&mut self, first: Lsn, candidate: Candidate, aside: &mut Vec<(Candidate, AsideReason)>) {
        let Some(other) = self.segments.remove(&first) else {
            self.segments.insert(first, candidate);
            return;
        };
        let rank = |file: &Candidate| (files::named_lsn(&file.name) == Some(first), file.bytes);
        let (stays, leaves) = if rank(&candidate) > rank(&other) {
            (candidate, other)
        } else {
            (other, candidate)
        };
        self.segments.insert(first, stays);
        aside.push((leaves, AsideReason::Duplicate));
    }
}

/// Reads the directory: candidates in order of name, and the paths of temporary files.
pub(super) fn list(dir: &Path) -> Result<(Vec<Candidate>, Vec<PathBuf>), OpenError> {
    let (mut candidates, mut temps) = (Vec::new(), Vec::new());
    let mut patience = Patience::default();
    for item in fs::read_dir(dir).map_err(OpenError::io("list journal directory", dir))? {
        let item = item.map_err(OpenError::io("list journal directory", dir))?;
        let (name, path) = (item.file_name().to_string_lossy().into_owned(), item.path());
        if !item.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        if name.ends_with(TEMP_SUFFIX) {
            temps.push(path);
        } else if name.ends_with(SEGMENT_SUFFIX) || name.ends_with(MOVED_SUFFIX) {
            candidates.push(candidate(name, path, &mut patience)?);
        } else if let Some(found) = candidate(name, path, &mut patience)
            .ok()
            .filter(|found| found.header.is_ok())
        {
            // A segment under the name of another file: it would be written over.
            candidates.push(found);
        }
    }
    candidates.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((candidates, temps))
}

fn candidate(name: String, path: PathBuf, patience: &mut Patience) -> Result<Candidate, OpenError> {
    let io = |source| OpenError::Io {
        action: "read journal segment",
        path: path.clone(),
        source,
    };
    let file = File::open(&path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let raw = read_header(&file, patience);
    let unread = raw.as_ref().is_err_and(is_device_error);
    let header = match raw {
        Ok(raw) => SegmentHeader::decode(&raw),
        Err(_) => Err(HeaderError::Damaged),
    };
    match header {
        Err(HeaderError::Newer(version)) => Err(OpenError::NewerFormat { path, version }),
        header => Ok(Candidate {
            name,
            path,
            bytes,
            header,
            unread,
        }),
    }
}

fn read_header(file: &File, patience: &mut Patience) -> io::Result<[u8; SEGMENT_HEADER]> {
    let mut raw = [0; SEGMENT_HEADER];
    patience.ask(|| file.read_exact_at(&mut raw, 0))?;
    Ok(raw)
}

/// The journal's uuid: from its own file as long as a segment agrees, else what most segments say. A journal
/// without any segment is a new one, whatever the file says: what was in the old one is gone. Also answers whether
/// its file says so.
fn identity(dir: &Path, candidates: &[Candidate]) -> Result<([u8; 16], bool), OpenError> {
    let written = read_identity(dir);
    let mut votes: HashMap<[u8; 16], usize> = HashMap::new();
    for header in candidates
        .iter()
        .filter_map(|candidate| candidate.header.as_ref().ok())
    {
        *votes.entry(header.uuid).or_default() += 1;
    }
    let elected = || {
        votes
            .iter()
            .max_by_key(|(uuid, count)| (**count, **uuid))
            .map(|(uuid, _)| *uuid)
    };
    let uuid = match written.filter(|uuid| votes.contains_key(uuid)).or_else(elected) {
        Some(uuid) => uuid,
        None if written.is_some() && !candidates.is_empty() => written.unwrap_or_default(),
        // What cannot be read now must not become another journal's.
        None if let Err(error) = fs::read(dir.join(IDENTITY))
            && is_device_error(&error) =>
        {
            return Err(OpenError::io("read", dir.join(IDENTITY))(error));
        }
        None => disk::random().map_err(OpenError::io("make an identity for", dir))?,
    };
    Ok((uuid, written == Some(uuid)))
}

/// A new journal's identity is written once there is a segment: without one it would say that all are gone.
pub(super) fn write_identity(dir: &Path, disk: &dyn Disk, uuid: [u8; 16]) -> Result<(), OpenError> {
    let path = dir.join(IDENTITY);
    let mut content = [&IDENTITY_MAGIC[..], &uuid[..]].concat();
    content.extend_from_slice(&crc32c::crc32c(&content).to_le_bytes());
    files::replace(disk, &path, &content, true).map_err(OpenError::io("write", &path))
}

pub(super) fn read_identity(dir: &Path) -> Option<[u8; 16]> {
    let bytes = fs::read(dir.join(IDENTITY)).ok()?;
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let whole = content.len() == 24 && crc32c::crc32c(content) == u32::from_le_bytes(*crc);
    content
        .strip_prefix(&IDENTITY_MAGIC)
        .filter(|_| whole)?
        .try_into()
        .ok()
}

/// Gives damaged headers back where something proves what they were. Returns the first lsns of those segments.
pub(super) fn salvage_headers(dir: &Path, uuid: [u8; 16], candidates: &mut [Candidate]) -> Vec<Lsn> {
    let sound = candidates
        .iter()
        .filter_map(|candidate| candidate.header.as_ref().ok());
    let mut known: HashSet<u64> = sound.map(|header| salt::shown(header.salt)).collect();
    let mut salvaged = Vec::new();
    for candidate in candidates
        .iter_mut()
        .filter(|candidate| candidate.header.is_err())
    {
        if let Some(header) = salvaged_header(dir, uuid, candidate, &known) {
            known.insert(salt::shown(header.salt));
            candidate.header = Ok(header);
            salvaged.push(header.first);
        }
    }
    salvaged
}

/// The header of a segment, from the first source that a record agrees with: its sidecar, what is left of the header
/// itself, the records alone. A sidecar of a segment with as many bytes is believed without a record.
fn salvaged_header(
    dir: &Path,
    uuid: [u8; 16],
    candidate: &Candidate,
    known: &HashSet<u64>,
) -> Option<SegmentHeader> {
    let (bytes, named) = (candidate.bytes, files::named_lsn(&candidate.name));
    let file = Arc::new(File::open(&candidate.path).ok()?);
    let sidecar = named
        .and_then(|first| Sidecar::load(dir, first))
        .filter(|sidecar| sidecar.header.uuid == uuid);
    let of_sidecar = sidecar.as_ref().map(|sidecar| sidecar.header);
    let remains = || {
        let raw = SegmentHeader::unchecked(&read_header(&file, &mut Patience::none()).ok()?);
        named.map(|first| SegmentHeader { uuid, first, ..raw })
    };
    of_sidecar
        .filter(|header| is_proven(&file, *header, bytes))
        .or_else(|| remains().filter(|header| is_proven(&file, *header, bytes)))
        .or_else(|| {
            let found = salt::find_header(&file, uuid, named, bytes, known).ok()??;
            // Its name may not be its own; the sidecar of its own name says where it begins.
            Some(sidecar_with(dir, &found).unwrap_or(found))
        })
        .or_else(|| of_sidecar.filter(|_| sidecar.as_ref().is_some_and(|sidecar| sidecar.bytes == bytes)))
}

/// The header in whichever sidecar has this salt.
fn sidecar_with(dir: &Path, header: &SegmentHeader) -> Option<SegmentHeader> {
    let names = fs::read_dir(dir).ok()?.flatten();
    let firsts = names.filter_map(|item| {
        let name = item.file_name().to_string_lossy().into_owned();
        Lsn::from_str_radix(name.strip_suffix(SIDECAR_SUFFIX)?, 16).ok()
    });
    let headers = firsts.filter_map(|first| Some(Sidecar::load(dir, first)?.header));
    let same = |other: &SegmentHeader| {
        other.uuid == header.uuid && salt::shown(other.salt) == salt::shown(header.salt)
    };
    headers.into_iter().find(same)
}

/// The salt is right if a record's checksum agrees with it.
fn is_proven(file: &Arc<File>, header: SegmentHeader, bytes: u64) -> bool {
    let mut scanner = Scanner::new(file.clone(), header, bytes);
    loop {
        match scanner.step() {
            Ok(Some(Step::Record(_))) => return true,
            Ok(Some(Step::Bad(_))) => {}
            Ok(Some(Step::Tail(_)) | None) | Err(_) => return false,
        }
    }
}

/// Above every lsn that a file without a usable header may have held.
fn floor_of(candidate: &Candidate) -> Lsn {
    let records = candidate.bytes.saturating_sub(SEGMENT_HEADER as u64) / RECORD_HEADER as u64;
    match files::named_lsn(&candidate.name) {
        Some(first) if first <= MAX_LSN => first + records,
        _ => 0,
    }
}

fn set_aside(
    dir: &Path,
    disk: &dyn Disk,
    candidate: &Candidate,
    reason: AsideReason,
) -> Result<SetAside, OpenError> {
    let Candidate {
        name, path, bytes, ..
    } = candidate;
    let io = |source: io::Error| OpenError::Io {
        action: "set aside journal file",
        path: path.clone(),
        source,
    };
    let kept_as = if *bytes == 0 {
        fs::remove_file(path).map_err(io)?;
        None
    } else {
        let place = files::quarantine_path(dir, name).map_err(io)?;
        fs::rename(path, &place).map_err(io)?;
        // There before it is durably gone here, which the end of the recovery sees to.
        disk.sync_dir(&dir.join(files::QUARANTINE)).map_err(io)?;
        Some(place)
    };
    Ok(SetAside {
        name: name.clone(),
        bytes: *bytes,
        reason,
        kept_as,
    })
}

/// Gives misnamed segments their names, by way of a free name, since two may have each other's.
fn restore_names(
    dir: &Path,
    disk: &dyn Disk,
    segments: &mut BTreeMap<Lsn, Candidate>,
) -> Result<Vec<String>, OpenError> {
    let misnamed = |(first, file): &(&Lsn, &mut Candidate)| files::named_lsn(&file.name) != Some(**first);
    let mut renamed = Vec::new();
    for (first, file) in segments.iter_mut().filter(misnamed) {
        let parked = dir.join(format!("{first:016x}{MOVED_SUFFIX}"));
        if file.path != parked {
            fs::rename(&file.path, &parked).map_err(OpenError::io("rename journal segment", &file.path))?;
        }
        file.path = parked;
        renamed.push(file.name.clone());
    }
    if !renamed.is_empty() {
        // Or the next step could be durable before this one, and overwrite what has not been parked.
        disk.sync_dir(dir)
            .map_err(OpenError::io("sync journal directory", dir))?;
    }
    for (first, file) in segments.iter_mut().filter(misnamed) {
        let path = files::segment_path(dir, *first);
        fs::rename(&file.path, &path).map_err(OpenError::io("rename journal segment", &file.path))?;
        file.path = path;
    }
    Ok(renamed)
}
