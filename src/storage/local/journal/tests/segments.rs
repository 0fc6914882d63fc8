use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::{all_after, dir, draft, edit, fill, lsns, open_small};
use crate::storage::local::journal::{AsideReason, Journal, LsnRange, OpenError, Options};

fn path(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join("journal").join(name)
}

fn segment(dir: &TempDir, first: u64) -> PathBuf {
    path(dir, &format!("{first:016x}.seg"))
}

/// A closed journal of 20 records in several segments; their first lsns.
async fn several(dir: &TempDir) -> Vec<u64> {
    let (journal, _) = open_small(dir);
    fill(&journal, 1..=20).await;
    let firsts: Vec<u64> = journal.segments().iter().map(|info| info.first).collect();
    assert!(firsts.len() >= 5);
    firsts
}

fn everything() -> Vec<u64> {
    (1..=20).collect()
}

#[tokio::test]
async fn a_missing_segment_is_named_and_the_rest_is_read() {
    let dir = dir();
    let firsts = several(&dir).await;
    let gone = LsnRange {
        first: firsts[1],
        last: firsts[2] - 1,
    };
    fs::remove_file(segment(&dir, firsts[1])).unwrap();
    let report = Journal::verify(&dir.path().join("journal")).unwrap();
    assert_eq!(report.missing, [gone]);
    let (journal, recovery) = open_small(&dir);
    assert_eq!(recovery.missing, [gone]);
    assert!(recovery.is_damaged());
    let rest: Vec<u64> = everything()
        .into_iter()
        .filter(|lsn| !(gone.first..=gone.last).contains(lsn))
        .collect();
    assert_eq!(lsns(&all_after(&journal, 0)), rest);
    assert_eq!(lsns(&all_after(&journal, gone.first))[0], gone.last + 1);
}

#[tokio::test]
async fn a_missing_first_segment_is_named() {
    let dir = dir();
    let firsts = several(&dir).await;
    fs::remove_file(segment(&dir, 1)).unwrap();
    let (journal, recovery) = open_small(&dir);
    let [missing] = recovery.missing[..] else {
        panic!("{recovery}")
    };
    assert_eq!((missing.first, missing.last), (1, firsts[1] - 1));
    assert_eq!(journal.first_lsn(), firsts[1]);
    assert_eq!(lsns(&all_after(&journal, 0))[0], firsts[1]);
}

#[tokio::test]
async fn a_duplicate_under_another_name_is_set_aside() {
    let dir = dir();
    let firsts = several(&dir).await;
    for name in ["copy.seg", "00000000000000ff.seg"] {
        fs::copy(segment(&dir, firsts[1]), path(&dir, name)).unwrap();
        let (journal, recovery) = open_small(&dir);
        let [aside] = &recovery.set_aside[..] else {
            panic!("{recovery}")
        };
        assert_eq!(
            (aside.name.as_str(), aside.reason),
            (name, AsideReason::Duplicate)
        );
        assert!(aside.kept_as.as_ref().unwrap().exists());
        assert_eq!(lsns(&all_after(&journal, 0)), everything());
    }
}

#[tokio::test]
async fn segments_with_each_others_names_get_their_own_back() {
    let dir = dir();
    let firsts = several(&dir).await;
    let (a, b, free) = (
        segment(&dir, firsts[0]),
        segment(&dir, firsts[3]),
        path(&dir, "free"),
    );
    fs::rename(&a, &free).unwrap();
    fs::rename(&b, &a).unwrap();
    fs::rename(&free, &b).unwrap();
    let (journal, recovery) = open_small(&dir);
    assert_eq!(recovery.renamed.len(), 2);
    assert_eq!(lsns(&all_after(&journal, 0)), everything());
    drop(journal);
    assert!(!open_small(&dir).1.is_damaged());
}

#[tokio::test]
async fn a_segment_left_on_its_way_to_its_name_arrives() {
    let dir = dir();
    let firsts = several(&dir).await;
    fs::rename(
        segment(&dir, firsts[2]),
        path(&dir, &format!("{:016x}.seg.moved", firsts[2])),
    )
    .unwrap();
    let (journal, recovery) = open_small(&dir);
    assert_eq!((recovery.renamed.len(), recovery.missing.len()), (1, 0));
    assert_eq!(lsns(&all_after(&journal, 0)), everything());
}

#[tokio::test]
async fn a_segment_of_another_journal_is_set_aside() {
    let (ours, theirs) = (dir(), dir());
    several(&ours).await;
    let foreign = several(&theirs).await;
    let uuid = open_small(&ours).0.uuid();
    fs::copy(
        segment(&theirs, *foreign.last().unwrap()),
        path(&ours, "00000000000000aa.seg"),
    )
    .unwrap();
    let (journal, recovery) = open_small(&ours);
    assert_eq!(recovery.set_aside[0].reason, AsideReason::Foreign);
    assert_eq!(journal.uuid(), uuid);
    assert_eq!(lsns(&all_after(&journal, 0)), everything());
    assert_eq!(recovery.last_lsn, 20);
}

#[tokio::test]
async fn a_newest_segment_that_was_never_finished_is_done_without() {
    let dir = dir();
    several(&dir).await;
    let newest = segment(&dir, 21);
    let header = fs::read(segment(&dir, 1)).unwrap()[..40].to_vec();
    for content in [Vec::new(), header, vec![0; 64]] {
        fs::write(&newest, &content).unwrap();
        fs::write(path(&dir, "0000000000000015.seg.tmp"), b"half").unwrap();
        let (journal, recovery) = open_small(&dir);
        assert_eq!(recovery.set_aside[0].reason, AsideReason::HalfMade);
        assert_eq!(recovery.set_aside[0].kept_as.is_none(), content.is_empty());
        assert_eq!(
            (recovery.leftovers, recovery.last_lsn, recovery.missing.len()),
            (1, 20, 0)
        );
        assert_eq!(lsns(&all_after(&journal, 0)), everything());
        assert!(!newest.exists());
    }
}

#[tokio::test]
async fn a_newest_segment_without_records_is_written_on() {
    let dir = dir();
    let (journal, _) = open_small(&dir);
    drop(journal);
    let (journal, recovery) = open_small(&dir);
    assert!(!recovery.created && !recovery.is_damaged());
    fill(&journal, 1..=20).await;
    assert_eq!(lsns(&all_after(&journal, 0)), everything());
}

#[tokio::test]
async fn a_zero_length_segment_in_the_middle_is_a_gap() {
    let dir = dir();
    let firsts = several(&dir).await;
    edit(&segment(&dir, firsts[2]), Vec::clear);
    let (journal, recovery) = open_small(&dir);
    assert_eq!(
        recovery.missing,
        [LsnRange {
            first: firsts[2],
            last: firsts[3] - 1
        }]
    );
    assert_eq!(recovery.last_lsn, 20);
    assert_eq!(all_after(&journal, 0).len() as u64, 20 - (firsts[3] - firsts[2]));
}

#[tokio::test]
async fn a_segment_of_a_newer_format_is_refused_and_left_alone() {
    let dir = dir();
    several(&dir).await;
    let newest = segment(&dir, 1);
    edit(&newest, |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    let before = fs::read(&newest).unwrap();
    let refused = Journal::open(Options::new(dir.path().join("journal"))).err();
    assert!(matches!(refused, Some(OpenError::NewerFormat { version: 2, .. })));
    assert_eq!(fs::read(&newest).unwrap(), before);
}

#[tokio::test]
async fn the_identity_survives_the_loss_of_its_file_but_not_of_all_records() {
    let dir = dir();
    several(&dir).await;
    let uuid = open_small(&dir).0.uuid();
    fs::remove_file(path(&dir, "journal.id")).unwrap();
    let (journal, recovery) = open_small(&dir);
    assert_eq!((journal.uuid(), recovery.emptied), (uuid, false));
    for info in journal.segments() {
        fs::remove_file(segment(&dir, info.first)).unwrap();
    }
    drop(journal);
    let (journal, recovery) = open_small(&dir);
    assert!(recovery.emptied && recovery.is_damaged());
    assert_ne!(journal.uuid(), uuid);
    assert_eq!(journal.append(vec![draft("anew")]).await.unwrap().first, 1);
}

#[tokio::test]
async fn a_whole_journal_is_verified_as_such() {
    let dir = dir();
    let firsts = several(&dir).await;
    let report = Journal::verify(&dir.path().join("journal")).unwrap();
    assert!(report.is_whole());
    assert_eq!((report.segments.len(), report.records), (firsts.len(), 20));
    assert!(
        report
            .segments
            .iter()
            .rev()
            .skip(1)
            .all(|segment| segment.sidecar)
    );
    fs::copy(segment(&dir, firsts[1]), path(&dir, "copy.seg")).unwrap();
    let report = Journal::verify(&dir.path().join("journal")).unwrap();
    assert_eq!(report.unusable, ["copy.seg"]);
    assert!(!report.is_whole());
}
