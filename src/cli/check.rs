//! `posthaste check`: whether a data folder is whole, and `--repair`. The server must not be running.

mod plan;
mod repair;
mod report;

use anyhow::Context as _;

use super::{CheckArgs, Failed, Output, serve::journal_folder};
use crate::{
    config::Config,
    runtime::folder::Folder,
    storage::local::index::{self, Store, open},
    storage::local::journal::Journal,
};
use report::{JournalReport, Report, StoreReport};

/// Reads everything and says what it found; exit code 1 when something is damaged. With `--repair` says what would be
/// done, asks, and does it.
///
/// # Errors
/// When the folder is not ours to read, or something is damaged and stays so.
pub fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let config = args.load()?.config;
    let data = &config.storage.data;
    let is_folder = ["format", "journal"].iter().any(|name| data.join(name).exists());
    if !is_folder {
        return Err(Failed(format!("{} is not a posthaste data folder", data.display())).into());
    }
    let folder = Folder::open(data, Some(&config.storage.key_file))?;
    let report = look(&config, &folder)?;
    let output = Output::new(args.output);
    if args.repair {
        return repair::run(args, &folder, &config, &report);
    }
    output.text(&if output.is_json() {
        report.json()?
    } else {
        report.text(plan::Voice::Would)
    })?;
    verdict(&report)
}

/// Reads everything, and changes nothing but what sled itself writes.
fn look(config: &Config, owned: &Folder) -> anyhow::Result<Report> {
    let data = &config.storage.data;
    let folder = journal_folder(data);
    let verification = Journal::verify(&folder).context("cannot read the journal")?;
    let (store, opened) = look_at_store(config);
    // After a power cut the store is not believed, so that it cannot tell that something is gone.
    let believed = opened.as_ref().filter(|_| owned.unsynced_files_hold());
    let applied = believed
        .map(Store::applied)
        .transpose()
        .unwrap_or_default()
        .filter(|applied| applied.journal == verification.uuid)
        .map_or(0, |applied| applied.lsn);
    let journal = JournalReport::of(&folder, verification, opened.as_ref(), applied)?;
    Ok(Report { journal, store })
}

fn look_at_store(config: &Config) -> (StoreReport, Option<Store>) {
    let data = &config.storage.data;
    if !index::folder(data).exists() {
        return (StoreReport::default(), None);
    }
    let checked = open::open_as_is(data, super::serve::store_options(&config.storage))
        .and_then(|store| Ok((store.applied()?, store.check()?, store)));
    match checked {
        Err(error) => (
            StoreReport {
                exists: true,
                error: Some(format!("{:#}", anyhow::Error::from(error))),
                ..StoreReport::default()
            },
            None,
        ),
        Ok((applied, checked, store)) => (
            StoreReport {
                exists: true,
                rows: checked.rows,
                applied_lsn: applied.lsn,
                faults: checked.faults,
                error: None,
            },
            Some(store),
        ),
    }
}

fn verdict(report: &Report) -> anyhow::Result<()> {
    if !report.journal.whole {
        return Err(Failed("the journal is damaged; what is named above cannot be read".to_owned()).into());
    }
    if !report.store.is_whole() {
        let advice =
            "the store is damaged; nothing is lost: it is rebuilt from the journal at the next start";
        return Err(Failed(advice.to_owned()).into());
    }
    Ok(())
}
