//! `posthaste check`: whether a data folder is whole. The server must not be running.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::{CheckArgs, Failed, Format, Output, serve::journal_folder};
use crate::{
    journal::{Journal, Verification},
    runtime::folder::Folder,
    store::{self, open},
};

/// Reads everything and says what it found; exit code 1 when something is damaged.
///
/// # Errors
/// When the folder is not ours to read, or something is damaged.
pub fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let config = args.load()?.config;
    let data = &config.storage.data;
    if !data.join("format").exists() {
        return Err(Failed(format!("{} is not a posthaste data folder", data.display())).into());
    }
    let _owned = Folder::open(data, Some(&config.storage.key_file))?;
    let verification = Journal::verify(&journal_folder(data)).context("cannot read the journal")?;
    let mut text = String::new();
    describe(&verification, &mut text)?;
    let store_is_whole = check_store(&config, &mut text)?;
    Output::new(Format::Table).text(&text)?;
    if !verification.is_whole() {
        return Err(Failed("the journal is damaged; what is named above cannot be read".to_owned()).into());
    }
    if !store_is_whole {
        let advice =
            "the store is damaged; nothing is lost: it is rebuilt from the journal at the next start";
        return Err(Failed(advice.to_owned()).into());
    }
    Ok(())
}

fn describe(journal: &Verification, text: &mut String) -> std::fmt::Result {
    let Verification {
        segments,
        unusable,
        missing,
        duplicate,
        floor_damaged,
        records,
        bytes,
    } = journal;
    writeln!(
        text,
        "journal: {}, {}, {}",
        counted(segments.len() as u64, "segment"),
        counted(*records, "record"),
        counted(*bytes, "byte")
    )?;
    for segment in segments {
        for bad in &segment.bad {
            writeln!(text, "journal: damaged: {bad}")?;
        }
        if let Some(tail) = &segment.tail {
            writeln!(text, "journal: unfinished end: {tail}")?;
        }
        if segment.header_damaged {
            writeln!(
                text,
                "journal: {}: header damaged, its records can be read",
                segment.name
            )?;
        }
    }
    if *floor_damaged {
        writeln!(
            text,
            "journal: the file that says what was reclaimed is damaged; the next start writes it again"
        )?;
    }
    for name in unusable {
        writeln!(text, "journal: {name}: not a readable segment of this journal")?;
    }
    for range in missing {
        writeln!(text, "journal: no segment holds record {range}")?;
    }
    for range in duplicate {
        writeln!(text, "journal: more than one segment holds record {range}")?;
    }
    Ok(())
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn check_store(config: &crate::config::Config, text: &mut String) -> anyhow::Result<bool> {
    let data = &config.storage.data;
    if !store::folder(data).exists() {
        writeln!(
            text,
            "store: none; it is rebuilt from the journal at the next start"
        )?;
        return Ok(true);
    }
    let checked = open::open_as_is(data, config.storage.store_cache_bytes.as_bytes())
        .and_then(|store| Ok((store.applied()?, store.check()?)));
    match checked {
        Err(error) => {
            writeln!(text, "store: does not open: {:#}", anyhow::Error::from(error))?;
            Ok(false)
        }
        Ok((applied, report)) => {
            writeln!(
                text,
                "store: {}, record {} is applied",
                counted(report.rows, "row"),
                applied.lsn
            )?;
            for fault in &report.faults {
                writeln!(text, "store: {fault}")?;
            }
            Ok(report.is_clean())
        }
    }
}
