//! What opening a journal found, as values and as lines for a log.

use std::{fmt, path::PathBuf};

use super::{
    entry::{Lsn, LsnRange},
    scan::BadRange,
};

/// The unfinished end of the newest segment, which was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub segment: Lsn,
    pub offset: u64,
    pub bytes: u64,
    /// Where the bytes were kept. `None`: they were all zeros, or there was no space for the copy.
    pub kept_as: Option<PathBuf>,
}

/// Why a file was moved out of the journal.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum AsideReason {
    /// Its header is damaged and nothing in it can be proved to belong here.
    HeaderDamaged,
    /// It is shorter than a header: its creation was interrupted, or it was emptied.
    HalfMade,
    /// It belongs to another journal.
    Foreign,
    /// It says it is a segment that is already there.
    Duplicate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    pub name: String,
    pub bytes: u64,
    pub reason: AsideReason,
    /// `None` when it was empty and therefore deleted.
    pub kept_as: Option<PathBuf>,
}

/// What opening a journal found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// There was no journal before.
    pub created: bool,
    /// There was a journal's identity but no segment: all records are gone, and a new journal was begun.
    pub emptied: bool,
    /// The last lsn in the journal, before anything new is appended; 0 in a new one. Whoever applied records
    /// beyond it has seen records that no longer exist, and must start over **before** the first append.
    pub last_lsn: Lsn,
    pub segments: usize,
    pub bytes: u64,
    pub torn_tail: Option<TornTail>,
    /// Damage in the newest segment. Damage in others is met when they are read.
    pub quarantined: Vec<BadRange>,
    /// Sequence numbers that no segment holds, between two segments or above the floor.
    pub missing: Vec<LsnRange>,
    pub set_aside: Vec<SetAside>,
    /// Segments whose header the device does not give. They were left where they are: it may give it another time.
    pub unread: Vec<String>,
    /// Segments with a damaged header whose records can be read all the same.
    pub salvaged: Vec<Lsn>,
    /// Files that had another name than their header says, and got it back.
    pub renamed: Vec<String>,
    /// The file that says what was reclaimed is damaged; what is missing before the first segment is not known.
    pub floor_damaged: bool,
    /// Temporary files and reclaimed segments of an interrupted run, deleted.
    pub leftovers: usize,
}

impl Recovery {
    /// Whether anything was found that a person should look at. A torn tail is none: it was never acknowledged.
    pub fn is_damaged(&self) -> bool {
        let harmless = |aside: &SetAside| aside.reason == AsideReason::HalfMade && aside.bytes == 0;
        !(!self.emptied
            && !self.floor_damaged
            && self.quarantined.is_empty()
            && self.missing.is_empty()
            && self.salvaged.is_empty()
            && self.unread.is_empty()
            && self.renamed.is_empty()
            && self.set_aside.iter().all(harmless))
    }

    /// One line for each finding, the first for the journal as a whole.
    pub fn lines(&self) -> Vec<String> {
        let verb = if self.created { "created" } else { "opened" };
        let mut lines = vec![format!(
            "journal {verb}: {} segments, {} bytes, last lsn {}",
            self.segments, self.bytes, self.last_lsn
        )];
        if self.emptied {
            lines.push("journal damaged: all its segments are gone, a new one was begun".to_owned());
        }
        if self.floor_damaged {
            let text = "journal damaged: the file that says what was reclaimed; what is missing before the first segment is not known";
            lines.push(text.to_owned());
        }
        lines.extend(self.torn_tail.iter().map(ToString::to_string));
        lines.extend(
            self.quarantined
                .iter()
                .map(|bad| format!("journal damaged: {bad}")),
        );
        lines.extend(
            self.missing
                .iter()
                .map(|range| format!("journal damaged: no segment holds lsn {range}")),
        );
        lines.extend(self.set_aside.iter().map(ToString::to_string));
        lines.extend(self.unread.iter().map(|name| {
            format!("journal file {name} cannot be read; it was left where it is, look at the disk and start again")
        }));
        lines.extend(self.salvaged.iter().map(|first| {
            format!("journal segment {first:016x}: header damaged, its records were found all the same")
        }));
        lines.extend(
            self.renamed
                .iter()
                .map(|name| format!("journal file {name} had a wrong name and was renamed")),
        );
        if self.leftovers > 0 {
            lines.push(format!(
                "journal: {} leftover files of an interrupted run deleted",
                self.leftovers
            ));
        }
        lines
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl fmt::Display for BadRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "segment {:016x}, offset {}, {} bytes",
            self.segment, self.offset, self.bytes
        )?;
        match self.missing {
            Some(range) => write!(f, ", lsn {range} missing"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            offset,
            bytes,
            kept_as,
        } = self;
        write!(
            f,
            "journal segment {segment:016x}: torn tail of {bytes} bytes at offset {offset} cut off"
        )?;
        match kept_as {
            Some(path) => write!(f, ", kept as {}", path.display()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            AsideReason::HeaderDamaged => "its header is damaged",
            AsideReason::HalfMade => "it is shorter than a header",
            AsideReason::Foreign => "it belongs to another journal",
            AsideReason::Duplicate => "that segment is already there",
        };
        write!(
            f,
            "journal file {} ({} bytes) set aside: {reason}",
            self.name, self.bytes
        )?;
        match &self.kept_as {
            Some(path) => write!(f, ", kept as {}", path.display()),
            None => f.write_str(", empty and deleted"),
        }
    }
}
