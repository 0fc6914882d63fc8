//! Reading a server's answer as it comes, and writing its segments where they belong.

use std::{fs::File, io::Write as _, os::unix::fs::FileExt as _};

use anyhow::{Context as _, bail, ensure};

use super::folder::{Received, Writer};
use crate::{
    cli::Failed,
    domain::{
        backup::{Head, MAGIC, Offered, Segment, VERSION},
        limits::BACKUP_HEAD_BYTES,
    },
};

const PRELUDE: usize = MAGIC.len() + 4;

/// Takes an answer, piece by piece.
pub struct Receiver {
    writer: Writer,
    /// Of what has no file: the prelude, the head, a checksum.
    gathered: Vec<u8>,
    state: State,
    head: Option<Head>,
    /// The segment that is being received, or the next to look at.
    index: usize,
    segments: Vec<Segment>,
    copied: u64,
}

enum State {
    Prelude,
    Head { length: usize },
    Segment(Incoming),
    Checksum { crc: u32 },
    End,
}

struct Incoming {
    file: File,
    at: u64,
    end: u64,
    crc: u32,
}

impl Receiver {
    pub const fn new(writer: Writer) -> Self {
        Self {
            writer,
            gathered: Vec::new(),
            state: State::Prelude,
            head: None,
            index: 0,
            segments: Vec::new(),
            copied: 0,
        }
    }

    /// Bytes of segments that came.
    pub const fn copied(&self) -> u64 {
        self.copied
    }

    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// When it is not what an answer goes on with, or cannot be written.
    pub fn take(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            bytes = match &mut self.state {
                State::Prelude => self.gather(PRELUDE, bytes)?,
                State::Head { length } => {
                    let length = *length;
                    self.gather(length, bytes)?
                }
                State::Checksum { .. } => self.gather(4, bytes)?,
                State::Segment(incoming) => {
                    let (taken, rest) =
                        bytes.split_at(bytes.len().min((incoming.end - incoming.at) as usize));
                    incoming
                        .write(taken)
                        .context("cannot write the backup's copy of a segment")?;
                    self.copied += taken.len() as u64;
                    let done = incoming.at == incoming.end;
                    if done {
                        self.end_segment()?;
                    }
                    rest
                }
                State::End => bail!(unexpected("goes on behind its end")),
            };
        }
        Ok(())
    }

    /// Gathers up to `length` bytes; answers with the rest.
    fn gather<'a>(&mut self, length: usize, bytes: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = bytes.split_at(bytes.len().min(length - self.gathered.len()));
        self.gathered.extend_from_slice(taken);
        if self.gathered.len() == length {
            let gathered = std::mem::take(&mut self.gathered);
            self.gathered_all(&gathered)?;
        }
        Ok(rest)
    }

    fn gathered_all(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self.state {
            State::Prelude => {
                let length = bytes
                    .strip_prefix(&MAGIC)
                    .and_then(|length| length.try_into().ok());
                let length = length
                    .map(u32::from_le_bytes)
                    .ok_or_else(|| unexpected("is no backup"))?;
                let length = length as usize;
                ensure!(
                    (1..=BACKUP_HEAD_BYTES).contains(&length),
                    unexpected("has a head that is too long")
                );
                self.state = State::Head { length };
                Ok(())
            }
            State::Head { .. } => self.begin(bytes),
            State::Checksum { crc } => {
                ensure!(
                    *bytes == crc.to_le_bytes(),
                    unexpected("was damaged on its way: a checksum does not hold")
                );
                self.next()
            }
            State::Segment(_) | State::End => Ok(()),
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let head: Head =
            serde_json::from_slice(bytes).map_err(|_| unexpected("has a head that cannot be read"))?;
        ensure!(
            head.version <= VERSION,
            unexpected("is of a newer version than this program's")
        );
        let ordered = head.segments.windows(2).all(|pair| pair[0].first < pair[1].first);
        ensure!(
            ordered && !head.segments.is_empty(),
            unexpected("names segments out of order")
        );
        self.head = Some(head);
        self.next()
    }

    /// Goes on to the next segment of which something comes; those before it are held already, or come later.
    fn next(&mut self) -> anyhow::Result<()> {
        self.state = State::End;
        let Some(head) = &self.head else {
            return Ok(());
        };
        while let Some(offered) = head.segments.get(self.index) {
            let held = self.writer.held(offered.first);
            if offered.from < offered.bytes {
                let begun = held.map_or(0, |held| held.bytes);
                // Nothing that the backup before it needs is ever written to.
                ensure!(offered.from == begun, unexpected("sends what is held already"));
                self.state = State::Segment(Incoming {
                    file: self.writer.file(offered.first, begun)?,
                    at: begun,
                    end: offered.bytes,
                    crc: held.map_or(0, |held| held.crc32c),
                });
                return Ok(());
            }
            if let Some(held) = held.filter(|held| held.bytes == offered.bytes) {
                self.segments.push(segment(offered, held.crc32c));
            } else {
                ensure!(!head.complete, unexpected("leaves a segment out"));
            }
            self.index += 1;
        }
        Ok(())
    }

    fn end_segment(&mut self) -> anyhow::Result<()> {
        let State::Segment(incoming) = std::mem::replace(&mut self.state, State::End) else {
            return Ok(());
        };
        incoming
            .file
            .sync_data()
            .context("cannot sync the backup's copy of a segment")?;
        if let Some(offered) = self.head.as_ref().and_then(|head| head.segments.get(self.index)) {
            self.segments.push(segment(offered, incoming.crc));
        }
        self.index += 1;
        self.state = State::Checksum { crc: incoming.crc };
        Ok(())
    }

    /// What came, once it is on the device.
    ///
    /// # Errors
    ///
    /// When the answer was cut short, or the names of its files cannot be synced.
    pub fn finish(self) -> anyhow::Result<Received> {
        let ended = matches!(self.state, State::End);
        let head = self
            .head
            .filter(|_| ended)
            .ok_or_else(|| unexpected("was cut short"))?;
        self.writer.sync()?;
        Ok(Received {
            complete: head.complete,
            about: head.about,
            key: head.key,
            segments: self.segments,
        })
    }
}

impl Incoming {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.at += bytes.len() as u64;
        self.file.flush()
    }
}

fn segment(offered: &Offered, crc32c: u32) -> Segment {
    Segment {
        first: offered.first,
        salt: offered.salt.clone(),
        bytes: offered.bytes,
        sealed: offered.sealed,
        crc32c,
    }
}

fn unexpected(what: &str) -> Failed {
    Failed(format!(
        "the server's answer {what}; the backup before it, if there is one, is as it was"
    ))
}
