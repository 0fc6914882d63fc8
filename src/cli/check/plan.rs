//! What `--repair` does about what was found, told before it is done.

use super::report::{JournalReport, Report};

/// Who speaks: the check, or the repair.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// `check` alone.
    Would,
    /// `check --repair`, before it asks.
    Will,
}

impl Voice {
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Would => "posthaste check --repair would, with the server stopped:",
            Self::Will => "the repair will:",
        }
    }
}

/// A line for each thing that is done; none when there is nothing to do.
pub(super) fn lines(report: &Report) -> Vec<String> {
    if report.journal.whole && report.store.is_whole() {
        // An unfinished end is no damage: the next start cuts it.
        return Vec::new();
    }
    let JournalReport {
        damaged,
        unfinished,
        unusable,
        headers_damaged,
        disordered,
        duplicate,
        floor_damaged,
        ..
    } = &report.journal;
    let mut lines = Vec::new();
    let mut cut: Vec<&str> = damaged
        .iter()
        .filter(|range| range.bytes > 0)
        .map(|range| range.segment.as_str())
        .collect();
    cut.dedup();
    if !cut.is_empty() {
        lines.push(format!(
            "write the segments {} anew without their damaged ranges, of which copies are kept in journal/quarantine/; no readable record is left out",
            cut.join(", ")
        ));
    }
    let more = headers_damaged.iter().chain(disordered);
    lines.extend(
        more.map(|name| format!("write {name} anew, with a sound header and its records in their order")),
    );
    let moved = unusable
        .iter()
        .map(|name| format!("move {name} to journal/quarantine/"));
    lines.extend(moved);
    if !duplicate.is_empty() {
        lines.push(
            "move segments that are there twice to journal/quarantine/, but for one of each".to_owned(),
        );
    }
    if *floor_damaged {
        lines.push("write journal/floor again, as the next start does".to_owned());
    }
    if unfinished.is_some() {
        lines.push(
            "cut the unfinished end off the newest segment, as the next start does; a copy is kept"
                .to_owned(),
        );
    }
    if damaged.iter().any(|range| range.first_lsn.is_some()) {
        lines.push(
            "note in journal/repaired what is missing: it stays listed here, and is not reported as damage any more"
                .to_owned(),
        );
    }
    lines.push("set the store aside: the next start rebuilds it from the journal".to_owned());
    lines
}
