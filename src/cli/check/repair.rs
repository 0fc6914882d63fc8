//! `posthaste check --repair`: explains, asks, does.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
};

use anyhow::Context as _;

use super::{look, plan, report::Report, verdict};
use crate::{
    cli::{CheckArgs, Failed, Output, failure::Usage, serve::journal_folder},
    config::Config,
    runtime::{
        clock::{Clock as _, SystemClock},
        folder::Folder,
    },
    storage::local::damage,
    storage::local::index::open,
    storage::local::journal::{BadRange, Fragment, Journal},
};

/// # Errors
/// When nobody agrees, when the file system refuses, or when something is damaged still.
pub(super) fn run(args: &CheckArgs, folder: &Folder, config: &Config, report: &Report) -> anyhow::Result<()> {
    let output = Output::new(args.output);
    let plan = plan::lines(report);
    if !output.is_json() {
        output.text(&report.text(plan::Voice::Will))?;
    }
    if plan.is_empty() {
        return finish(output, report, "nothing to repair");
    }
    agreed(args)?;
    let done = repair(folder, config, report)?;
    let after = look(config, folder)?;
    finish(output, &after, &done)?;
    verdict(&after)
}

fn finish(output: Output, report: &Report, text: &str) -> anyhow::Result<()> {
    output.text(&if output.is_json() {
        report.json()?
    } else {
        text.to_owned()
    })
}

fn agreed(args: &CheckArgs) -> anyhow::Result<()> {
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let rule = "--repair asks before it changes anything; where nobody can answer, say --yes";
        return Err(Usage(rule.to_owned()).into());
    }
    let mut err = io::stderr();
    write!(err, "go on? [y/N] ")
        .and_then(|()| err.flush())
        .context("cannot ask")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failed("nothing was changed".to_owned()).into())
}

/// Sets the store aside, since it says where records lie, and repairs the journal. Answers what was done.
fn repair(folder: &Folder, config: &Config, report: &Report) -> anyhow::Result<String> {
    let mut text = String::new();
    // Before the first record moves: a store that outlived that would look for records in the wrong places.
    if open::discard(folder.path())? {
        writeln!(text, "the store was set aside; the next start rebuilds it")?;
    }
    if report.journal.whole {
        return Ok(text);
    }
    let dir = journal_folder(&config.storage.data);
    let done = Journal::repair(&dir, SystemClock.now().as_millis(), |bad, fragments| {
        note(report, bad, fragments)
    })
    .context("cannot repair the journal")?;
    done.opened.iter().try_for_each(|line| writeln!(text, "{line}"))?;
    for first in &done.rewritten {
        writeln!(text, "segment {first:016x} was written anew")?;
    }
    for path in &done.kept {
        writeln!(text, "kept {}", path.display())?;
    }
    for repaired in &done.noted {
        let bytes = repaired.bytes;
        match repaired.missing {
            Some(range) => writeln!(text, "noted as missing: record {range}")?,
            None => writeln!(text, "noted: {bytes} bytes that held nothing that is missing")?,
        }
    }
    Ok(text)
}

/// What is kept of a range in words: as the check told it, with what the store knew.
fn note(report: &Report, bad: &BadRange, fragments: &[Fragment]) -> String {
    let segment = format!("{:016x}", bad.segment);
    let told = report.journal.damaged.iter().find(|range| {
        (&range.segment, range.offset) == (&segment, bad.offset)
            || (bad.missing.is_some() && range.first_lsn == bad.missing.map(|missing| missing.first))
    });
    let records = match told {
        Some(range) => range.records.clone(),
        None => damage::describe(bad, fragments, None)
            .map(|range| range.records)
            .unwrap_or_default(),
    };
    records.iter().map(|record| record.name() + "\n").collect()
}
