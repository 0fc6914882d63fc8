//! What a check found: for people, and as JSON for programs.

use std::{fmt::Write as _, path::Path};

use anyhow::Context as _;
use serde::Serialize;

use super::plan;
use crate::{
    domain::time::Timestamp,
    storage::local::damage::{self, DamagedRange},
    storage::local::index::Store,
    storage::local::journal::{BadRange, LsnRange, Verification},
};

/// The whole of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub journal: JournalReport,
    pub store: StoreReport,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct JournalReport {
    pub whole: bool,
    pub segments: u64,
    /// The first and the last record that a segment holds; 0 when there is none.
    pub first_lsn: u64,
    pub last_lsn: u64,
    pub records: u64,
    pub bytes: u64,
    /// What cannot be read, within segments and between them.
    pub damaged: Vec<DamagedRange>,
    /// The newest segment's end that was never finished; the next start cuts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<DamagedRange>,
    pub unusable: Vec<String>,
    /// The file that says what was reclaimed is damaged.
    pub floor_damaged: bool,
    pub headers_damaged: Vec<String>,
    /// Segments whose records do not stand in their order.
    pub disordered: Vec<String>,
    pub duplicate: Vec<Range>,
    pub repaired: Vec<RepairedRange>,
}

#[derive(Copy, Clone, Debug, Serialize)]
pub(super) struct Range {
    pub first_lsn: u64,
    pub last_lsn: u64,
}

/// What is missing since a repair.
#[derive(Debug, Serialize)]
pub(super) struct RepairedRange {
    pub at: Timestamp,
    pub segment: String,
    pub offset: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Range>,
    pub note: String,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct StoreReport {
    pub exists: bool,
    pub rows: u64,
    pub applied_lsn: u64,
    pub faults: Vec<String>,
    /// Why it does not open or cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl StoreReport {
    pub fn is_whole(&self) -> bool {
        self.error.is_none() && self.faults.is_empty()
    }
}

impl JournalReport {
    /// Names what the verification of the journal in `dir` found.
    /// `applied` is the last record that a store has applied which can be believed; 0 when there is none.
    pub fn of(dir: &Path, found: Verification, store: Option<&Store>, applied: u64) -> anyhow::Result<Self> {
        let describe = |bad: &BadRange| {
            let fragments = found.fragments(dir, bad).context("cannot read the journal")?;
            // A store that does not read says nothing; what it should be is told elsewhere.
            damage::describe(bad, &fragments, store)
                .or_else(|_| damage::describe(bad, &fragments, None))
                .context("cannot name what is damaged")
        };
        let (mut ranges, unfinished) = ranges(&found);
        let gone = gone(&found, applied);
        ranges.extend(gone);
        let name = |wanted: fn(&crate::storage::local::journal::SegmentReport) -> bool| {
            let named = found.segments.iter().filter(|segment| wanted(segment));
            named.map(|segment| segment.name.clone()).collect()
        };
        Ok(Self {
            whole: found.is_whole() && gone.is_none(),
            segments: found.segments.len() as u64,
            first_lsn: found.segments.first().map_or(0, |segment| segment.first),
            last_lsn: found.segments.last().map_or(0, |segment| segment.last),
            records: found.records,
            bytes: found.bytes,
            damaged: ranges.iter().map(describe).collect::<Result<_, _>>()?,
            unfinished: unfinished.as_ref().map(describe).transpose()?,
            unusable: found.unusable.clone(),
            floor_damaged: found.floor_damaged,
            headers_damaged: name(|segment| segment.header_damaged),
            disordered: name(|segment| segment.misplaced > 0),
            duplicate: found.duplicate.iter().map(Range::of).collect(),
            repaired: found.repaired.iter().map(RepairedRange::of).collect(),
        })
    }
}

/// Everything that cannot be read or is missing, each once; and the newest segment's unfinished end.
fn ranges(found: &Verification) -> (Vec<BadRange>, Option<BadRange>) {
    let mut ranges = Vec::new();
    let mut unfinished = None;
    let newest = found.segments.len().saturating_sub(1);
    for (index, segment) in found.segments.iter().enumerate() {
        ranges.extend(&segment.bad);
        match segment.tail {
            Some(tail) if index == newest => unfinished = Some(tail),
            Some(tail) => {
                let behind = segment.last + 1;
                let gap = found.missing.iter().find(|range| range.first == behind);
                ranges.push(BadRange {
                    missing: gap.copied(),
                    ..tail
                });
            }
            None => {}
        }
    }
    for gap in &found.missing {
        let told = |bad: &BadRange| {
            bad.missing
                .is_some_and(|range| range.first <= gap.first && gap.last <= range.last)
        };
        if !ranges.iter().any(told) {
            ranges.push(BadRange {
                segment: gap.first,
                offset: 0,
                bytes: 0,
                missing: Some(*gap),
            });
        }
    }
    (ranges, unfinished)
}

/// What the store has applied, and the journal has not: its end is gone, and nothing in it tells.
fn gone(found: &Verification, applied: u64) -> Option<BadRange> {
    let last = found.segments.last().map_or(0, |segment| segment.last);
    (applied > last).then(|| BadRange {
        segment: last + 1,
        offset: 0,
        bytes: 0,
        missing: Some(LsnRange {
            first: last + 1,
            last: applied,
        }),
    })
}

impl Range {
    fn of(range: &LsnRange) -> Self {
        Self {
            first_lsn: range.first,
            last_lsn: range.last,
        }
    }
}

impl RepairedRange {
    fn of(repaired: &crate::storage::local::journal::Repaired) -> Self {
        Self {
            at: Timestamp::from_millis(repaired.at_millis),
            segment: format!("{:016x}", repaired.segment),
            offset: repaired.offset,
            bytes: repaired.bytes,
            missing: repaired.missing.as_ref().map(Range::of),
            note: repaired.note.clone(),
        }
    }
}

impl Report {
    /// One object on one line, with what `--repair` would do.
    pub fn json(&self) -> anyhow::Result<String> {
        let mut document = serde_json::to_value(self).context("cannot write the report")?;
        document["repair"] = plan::lines(self).into();
        Ok(document.to_string())
    }

    /// Lines for people.
    pub fn text(&self, voice: plan::Voice) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        _ = self.journal.write(&mut text);
        _ = self.store.write(&mut text);
        let plan = plan::lines(self);
        if !plan.is_empty() {
            _ = writeln!(text, "\n{}", voice.heading());
            plan.iter().for_each(|line| _ = writeln!(text, "  - {line}"));
        }
        text
    }
}

impl JournalReport {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "journal: {}, {}, {}",
            counted(self.segments, "segment"),
            counted(self.records, "record"),
            counted(self.bytes, "byte")
        )?;
        for damaged in &self.damaged {
            write_range(text, "damaged", damaged)?;
        }
        if let Some(unfinished) = &self.unfinished {
            write_range(text, "unfinished end", unfinished)?;
        }
        for name in &self.headers_damaged {
            writeln!(text, "journal: {name}: header damaged, its records can be read")?;
        }
        for name in &self.disordered {
            writeln!(
                text,
                "journal: {name}: parts have changed places, their records can be read"
            )?;
        }
        if self.floor_damaged {
            writeln!(
                text,
                "journal: the file that says what was reclaimed is damaged; the next start writes it again"
            )?;
        }
        for name in &self.unusable {
            writeln!(text, "journal: {name}: not a readable segment of this journal")?;
        }
        for range in &self.duplicate {
            writeln!(
                text,
                "journal: more than one segment holds the records {} to {}",
                range.first_lsn, range.last_lsn
            )?;
        }
        for repaired in &self.repaired {
            repaired.write(text)?;
        }
        Ok(())
    }
}

fn write_range(text: &mut String, what: &str, range: &DamagedRange) -> std::fmt::Result {
    writeln!(text, "journal: {what}: {}", range.line())?;
    for record in &range.records {
        writeln!(text, "  {}: {}", record.name(), record.means)?;
    }
    if range.records.len() == damage::NAMED {
        writeln!(text, "  and perhaps more")?;
    }
    Ok(())
}

impl RepairedRange {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let missing = self
            .missing
            .map(|range| format!(", records {} to {} are missing", range.first_lsn, range.last_lsn));
        writeln!(
            text,
            "journal: repaired on {}: segment {}, offset {}, {} bytes{}",
            self.at,
            self.segment,
            self.offset,
            self.bytes,
            missing.unwrap_or_default()
        )?;
        for line in self.note.lines() {
            writeln!(text, "  {line}")?;
        }
        Ok(())
    }
}

impl StoreReport {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        if !self.exists {
            return writeln!(
                text,
                "store: none; it is rebuilt from the journal at the next start"
            );
        }
        if let Some(error) = &self.error {
            return writeln!(text, "store: does not open: {error}");
        }
        writeln!(
            text,
            "store: {}, record {} is applied",
            counted(self.rows, "row"),
            self.applied_lsn
        )?;
        for fault in &self.faults {
            writeln!(text, "store: {fault}")?;
        }
        Ok(())
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
