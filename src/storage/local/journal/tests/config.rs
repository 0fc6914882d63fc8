use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::{all_are_published, dir, draft, edit, open_small};
use crate::storage::local::journal::{CONFIG, Draft, Entry, Journal, ReadError};

fn config(body: String) -> Draft {
    Draft {
        flags: CONFIG,
        ..draft(body)
    }
}

/// Records 1 to 40, of which every fifth changes configuration.
async fn mixed(dir: &TempDir) -> Journal {
    let (journal, _) = open_small(dir);
    for n in 1..=40 {
        let body = super::body(n);
        let draft = if n % 5 == 0 { config(body) } else { draft(body) };
        journal.append(vec![draft]).await.unwrap();
    }
    all_are_published(&journal);
    journal
}

fn found(journal: &Journal) -> Vec<u64> {
    let entries: Result<Vec<Entry>, ReadError> = journal.config_entries().collect();
    let entries = entries.unwrap();
    assert!(super::bodies_are_their_own(&entries));
    super::lsns(&entries)
}

fn files(dir: &TempDir, suffix: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

const EVERY_FIFTH: [u64; 8] = [5, 10, 15, 20, 25, 30, 35, 40];

#[tokio::test]
async fn configuration_records_are_found_in_order_before_and_after_a_restart() {
    let dir = dir();
    let journal = mixed(&dir).await;
    assert_eq!(found(&journal), EVERY_FIFTH);
    drop(journal);
    let (journal, _) = open_small(&dir);
    assert_eq!(found(&journal), EVERY_FIFTH);
    assert_eq!(files(&dir, ".cfg").len(), journal.segments().len() - 1);
}

#[tokio::test]
async fn with_a_sidecar_nothing_but_configuration_records_is_read() {
    let dir = dir();
    let journal = mixed(&dir).await;
    let first = journal.follow(0).try_next(1, 100).unwrap()[0].location;
    drop(journal);
    let sealed = files(&dir, ".seg").remove(0);
    edit(&sealed, |bytes| {
        bytes[first.offset as usize..][..first.len as usize].fill(0)
    });
    let (journal, _) = open_small(&dir);
    assert_eq!(found(&journal), EVERY_FIFTH);
    assert_eq!(journal.stats().damaged_ranges, 0);
}

#[tokio::test]
async fn a_missing_or_bad_sidecar_is_made_again() {
    let dir = dir();
    drop(mixed(&dir).await);
    let sidecars = files(&dir, ".cfg");
    let whole: Vec<Vec<u8>> = sidecars.iter().map(|path| fs::read(path).unwrap()).collect();
    fs::remove_file(&sidecars[0]).unwrap();
    edit(&sidecars[1], |bytes| bytes[90] ^= 1);
    fs::copy(&sidecars[3], &sidecars[2]).unwrap();
    edit(&sidecars[4], Vec::clear);
    let (journal, _) = open_small(&dir);
    assert_eq!(found(&journal), EVERY_FIFTH);
    let again: Vec<Vec<u8>> = sidecars.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(again, whole);
}

#[tokio::test]
async fn a_damaged_configuration_record_is_an_error_and_the_rest_follows() {
    let dir = dir();
    let journal = mixed(&dir).await;
    let victim = journal.config_entries().nth(2).unwrap().unwrap().location;
    drop(journal);
    let path = dir.path().join(format!("journal/{:016x}.seg", victim.segment));
    edit(&path, |bytes| bytes[victim.offset as usize + 30] ^= 1);
    let (journal, _) = open_small(&dir);
    let (found, damaged): (Vec<_>, Vec<_>) = journal.config_entries().partition(Result::is_ok);
    assert_eq!((found.len(), damaged.len()), (7, 1));
    assert!(matches!(damaged[0], Err(ReadError::Damaged(location)) if location == victim));
}
