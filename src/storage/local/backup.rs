//! Backups: the journal, which is the truth, streamed while it is written.
//!
//! A sealed segment never changes, so a client that holds it needs it never again; of the newest one it gets what it
//! lacks, up to the end of a record. The store is not copied: it is made from the journal. What was acknowledged
//! before the request is in the answer, since the journal is made durable before the segments are listed, and again
//! after: so nothing is sent that a power cut could still take back.
//!
//! Segments are opened before the first is sent, so that one that is deleted meanwhile is sent all the same, and at most
//! [`BACKUP_SEGMENTS`] in one answer, so that a long journal does not take all descriptors.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    vec,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    LocalStorage,
    journal::{Journal, SegmentCopy},
};
use crate::{
    domain::{
        backup::{About, Head, MAGIC, Offered, Request, Segment, VERSION},
        limits::{BACKUP_CHUNK, BACKUP_SEGMENTS, BACKUPS},
        time::Timestamp,
    },
    runtime::{folder::Folder, hex},
    storage::{Backup, BackupError, Backups, StorageError},
};

/// An answer's first bytes, before the head.
const PRELUDE: usize = MAGIC.len() + 4;

/// What backups need beside the journal.
pub(super) struct Taking {
    format: PathBuf,
    key: PathBuf,
    permits: Arc<Semaphore>,
}

impl Taking {
    pub fn of(folder: &Folder) -> Self {
        Self {
            format: folder.format_file(),
            key: folder.key_file().to_owned(),
            permits: Arc::new(Semaphore::new(BACKUPS)),
        }
    }
}

/// An answer on its way.
struct Answer {
    begin: Bytes,
    parts: Vec<Part>,
    permit: OwnedSemaphorePermit,
}

/// A piece of one segment's file.
struct Part {
    file: Arc<File>,
    path: PathBuf,
    at: u64,
    end: u64,
    /// Of all before `at`.
    crc: u32,
}

#[async_trait]
impl Backups for LocalStorage {
    async fn backup(&self, request: Request, created_at: Timestamp) -> Result<Backup, BackupError> {
        let permit = self.taking.permits.clone().try_acquire_owned();
        let permit = permit.map_err(|_| BackupError::Busy)?;
        // A group is published before the next is written, so that after this all earlier ones are.
        self.journal
            .append(Vec::new())
            .await
            .map_err(StorageError::from)?;
        let planner = Planner {
            journal: self.journal.clone(),
            format: self.taking.format.clone(),
            key: request.key.then(|| self.taking.key.clone()),
            of_journal: request.journal,
            held: Held::new(&request.held)?,
            created_at,
        };
        let planned = tokio::task::spawn_blocking(move || planner.plan()).await;
        let (head, parts) = planned.map_err(|error| storage(io::Error::other(error)))??;
        // What was written and not synced when the segments were listed is now.
        self.journal
            .append(Vec::new())
            .await
            .map_err(StorageError::from)?;
        tracing::info!(
            through.lsn = head.about.through_lsn,
            segments = head.segments.len(),
            sent.segments = parts.len(),
            sent.bytes = parts.iter().map(|part| part.end - part.at).sum::<u64>(),
            complete = head.complete,
            "sending a backup"
        );
        let answer = Answer {
            begin: begin(&head)?,
            parts,
            permit,
        };
        Ok(Backup {
            bytes: answer.length(),
            pieces: answer.into_stream().boxed(),
        })
    }
}

/// What the client holds.
struct Held(HashMap<u64, (u64, Segment)>);

impl Held {
    fn new(segments: &[Segment]) -> Result<Self, BackupError> {
        let read = |segment: &Segment| {
            let salt = u64::from_str_radix(&segment.salt, 16).ok()?;
            Some((segment.first, (salt, segment.clone())))
        };
        let all: Option<_> = segments.iter().map(read).collect();
        all.map(Self).ok_or(BackupError::Invalid {
            field: "held",
            rule: "a salt is a number in hexadecimal",
        })
    }
}

/// Finds out what to send. Blocks on the disk.
struct Planner {
    journal: Journal,
    format: PathBuf,
    key: Option<PathBuf>,
    of_journal: Option<String>,
    held: Held,
    created_at: Timestamp,
}

impl Planner {
    fn plan(self) -> Result<(Head, Vec<Part>), BackupError> {
        let journal = hex::encode(&self.journal.uuid());
        if self.of_journal.as_ref().is_some_and(|of| *of != journal) {
            return Err(BackupError::OtherHistory(
                "the backup in the directory is of another journal; use an empty directory",
            ));
        }
        // Until every segment that is to be sent is open, none is deleted.
        let _kept = self.journal.keep();
        let snapshot = self.journal.snapshot().map_err(storage)?;
        let about = About {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            journal,
            created_at: self.created_at,
            through_lsn: snapshot.through,
            format: text(&self.format)?,
            identity: hex::encode(&snapshot.identity),
            floor: snapshot.floor.as_deref().map(hex::encode),
        };
        let (mut segments, mut parts) = (Vec::new(), Vec::new());
        let mut complete = true;
        for segment in &snapshot.segments {
            let part = self.lacking(segment)?;
            let is_sent = part.is_some() && parts.len() < BACKUP_SEGMENTS;
            complete &= is_sent || part.is_none();
            segments.push(Offered {
                first: segment.first,
                salt: format!("{:016x}", segment.salt),
                bytes: segment.bytes,
                sealed: segment.sealed,
                from: part
                    .as_ref()
                    .filter(|_| is_sent)
                    .map_or(segment.bytes, |part| part.at),
            });
            parts.extend(part.filter(|_| is_sent));
        }
        let head = Head {
            version: VERSION,
            complete,
            about,
            key: self.key.as_deref().map(text).transpose()?,
            segments,
        };
        Ok((head, parts))
    }

    /// What the client lacks of a segment; `None` when it has all of it.
    fn lacking(&self, segment: &SegmentCopy) -> Result<Option<Part>, BackupError> {
        let part = |at, crc| {
            let file = File::open(&segment.path).map_err(|error| unreadable(&segment.path, &error))?;
            Ok(Part {
                file: Arc::new(file),
                path: segment.path.clone(),
                at,
                end: segment.bytes,
                crc,
            })
        };
        let Some((salt, held)) = self.held.0.get(&segment.first) else {
            return part(0, 0).map(Some);
        };
        let whole = held.sealed && segment.sealed && held.bytes == segment.bytes;
        if *salt != segment.salt || (held.sealed && !whole) || held.bytes > segment.bytes {
            return Err(parted());
        }
        if whole {
            return Ok(None);
        }
        // It may have been written anew since: after a restore, or a power cut without syncs.
        let begin = part(held.bytes, held.crc32c)?;
        if crc_of(&begin.file, held.bytes).map_err(|error| unreadable(&segment.path, &error))? != held.crc32c
        {
            return Err(parted());
        }
        Ok((held.bytes < segment.bytes).then_some(begin))
    }
}

const fn parted() -> BackupError {
    BackupError::OtherHistory(
        "the backup in the directory and this journal have parted ways, since one of them was restored from an \
         earlier state; use an empty directory",
    )
}

fn storage(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BackupError {
    BackupError::Storage(StorageError::Failed(Arc::from(error.into())))
}

fn unreadable(path: &Path, error: &io::Error) -> BackupError {
    let text = format!("could not read {} for a backup: {error}", path.display());
    storage(io::Error::new(error.kind(), text))
}

fn text(path: &Path) -> Result<String, BackupError> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn crc_of(file: &File, bytes: u64) -> io::Result<u32> {
    let (mut at, mut crc) = (0, 0);
    let mut piece = vec![0; BACKUP_CHUNK];
    while at < bytes {
        let len = (bytes - at).min(BACKUP_CHUNK as u64) as usize;
        file.read_exact_at(&mut piece[..len], at)?;
        crc = crc32c::crc32c_append(crc, &piece[..len]);
        at += len as u64;
    }
    Ok(crc)
}

fn begin(head: &Head) -> Result<Bytes, BackupError> {
    let head = serde_json::to_vec(head).map_err(storage)?;
    let length = u32::try_from(head.len()).map_err(storage)?;
    let mut bytes = Vec::with_capacity(PRELUDE + head.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&head);
    Ok(bytes.into())
}

impl Answer {
    /// Bytes of the whole answer.
    fn length(&self) -> u64 {
        let parts = self.parts.iter().map(|part| part.end - part.at + 4);
        self.begin.len() as u64 + parts.sum::<u64>()
    }

    /// The answer, piece by piece, as fast as it is taken. A segment that cannot be read ends it with an error.
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let sending = Sending {
            begin: Some(self.begin),
            part: None,
            rest: self.parts.into_iter(),
            _permit: self.permit,
        };
        stream::unfold(Some(sending), |sending| async {
            match sending?.next().await? {
                Ok((bytes, sending)) => Some((Ok(bytes), Some(sending))),
                Err(error) => {
                    tracing::warn!(%error, "a backup broke off");
                    Some((Err(error), None))
                }
            }
        })
    }
}

struct Sending {
    begin: Option<Bytes>,
    part: Option<Part>,
    rest: vec::IntoIter<Part>,
    _permit: OwnedSemaphorePermit,
}

impl Sending {
    async fn next(mut self) -> Option<io::Result<(Bytes, Self)>> {
        if let Some(begin) = self.begin.take() {
            return Some(Ok((begin, self)));
        }
        let part = self.part.take().or_else(|| self.rest.next())?;
        let read = tokio::task::spawn_blocking(move || part.read()).await;
        let read = read.map_err(io::Error::other).and_then(|read| read);
        Some(read.map(|(bytes, part)| {
            self.part = part;
            (bytes, self)
        }))
    }
}

impl Part {
    /// The next piece, with the checksum behind the last one.
    fn read(mut self) -> io::Result<(Bytes, Option<Self>)> {
        let len = (self.end - self.at).min(BACKUP_CHUNK as u64) as usize;
        let mut bytes = vec![0; len];
        let read = self.file.read_exact_at(&mut bytes, self.at);
        read.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        self.at += len as u64;
        let more = self.at < self.end;
        if !more {
            bytes.extend_from_slice(&self.crc.to_le_bytes());
        }
        Ok((bytes.into(), more.then_some(self)))
    }
}
