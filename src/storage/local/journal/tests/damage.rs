use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{all_after, bodies_are_their_own, body, dir, draft, edit, fill, lsns, open, open_small, options};
use crate::storage::local::journal::{
    AsideReason, Journal, Location, LsnRange, Options, ReadError, Recovery,
};

/// A closed journal of three records in one segment, and where they lie.
async fn three_records(dir: &TempDir) -> (PathBuf, Vec<Location>) {
    let (journal, _) = open(dir);
    let drafts = (1..=3).map(|n| draft(body(n))).collect();
    let locations = journal.append(drafts).await.unwrap().into_inner().locations;
    (segment(dir, 1), locations)
}

fn segment(dir: &TempDir, first: u64) -> PathBuf {
    dir.path().join(format!("journal/{first:016x}.seg"))
}

/// The same directory elsewhere.
fn copy(dir: &TempDir) -> TempDir {
    let copy = super::dir();
    fs::create_dir(copy.path().join("journal")).unwrap();
    for file in fs::read_dir(dir.path().join("journal")).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, copy.path().join("journal").join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn flip(path: &Path, byte: u64, bit: u64) {
    edit(path, |bytes| bytes[byte as usize] ^= 1 << (bit % 8));
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_said_so_wherever_it_tore() {
    let whole = dir();
    let (path, locations) = three_records(&whole).await;
    let (last, bytes) = (locations[2], fs::read(&path).unwrap());
    for cut in last.offset..bytes.len() as u64 {
        let dir = copy(&whole);
        fs::write(segment(&dir, 1), &bytes[..cut as usize]).unwrap();
        let (journal, recovery) = open(&dir);
        assert_eq!(recovery.last_lsn, 2, "cut at {cut}");
        assert!(!recovery.is_damaged());
        let torn = recovery.torn_tail.clone();
        assert_eq!(
            torn.as_ref().map(|torn| torn.bytes),
            Some(cut - last.offset).filter(|&bytes| bytes > 0)
        );
        if let Some(torn) = torn {
            let kept = fs::read(torn.kept_as.unwrap()).unwrap();
            let mut cut_off = bytes[last.offset as usize..cut as usize].to_vec();
            cut_off.truncate(cut_off.iter().rposition(|&byte| byte != 0).unwrap() + 1);
            assert_eq!(kept, cut_off);
            assert!(recovery.to_string().contains("torn tail"));
        }
        assert_eq!(journal.append(vec![draft(body(3))]).await.unwrap().first, 3);
        drop(journal);
        let (journal, recovery) = open(&dir);
        assert_eq!((recovery.torn_tail, recovery.last_lsn), (None, 3));
        assert!(bodies_are_their_own(&all_after(&journal, 0)));
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_middle_record_costs_that_record_alone() {
    let whole = dir();
    let (_, locations) = three_records(&whole).await;
    let middle = locations[1];
    for byte in 0..u64::from(middle.len) {
        let dir = copy(&whole);
        flip(&segment(&dir, 1), middle.offset + byte, byte);
        let (journal, recovery) = open(&dir);
        assert!(recovery.is_damaged() && recovery.torn_tail.is_none());
        let [bad] = recovery.quarantined[..] else {
            panic!("byte {byte}: {recovery}")
        };
        assert_eq!((bad.offset, bad.bytes), (middle.offset, u64::from(middle.len)));
        assert_eq!(bad.missing, Some(LsnRange { first: 2, last: 2 }));
        assert!(recovery.to_string().contains("lsn 2 missing"));
        assert!(matches!(journal.read(middle), Err(ReadError::Damaged(_))));
        assert_eq!(lsns(&all_after(&journal, 0)), [1, 3]);
        assert_eq!(journal.append(vec![draft(body(4))]).await.unwrap().first, 4);
        assert_eq!(lsns(&all_after(&journal, 1)), [3, 4]);
    }
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_met_when_read_and_counted_once() {
    let dir = dir();
    let (journal, _) = open_small(&dir);
    fill(&journal, 1..=20).await;
    let victim = all_after(&journal, 7)[0].location;
    assert!(
        journal
            .segments()
            .iter()
            .any(|info| info.first == victim.segment && info.sealed)
    );
    drop(journal);
    flip(&segment(&dir, victim.segment), victim.offset + 30, 0);
    let (journal, recovery) = open_small(&dir);
    assert!(!recovery.is_damaged());
    let expected: Vec<u64> = (1..=20).filter(|&lsn| lsn != 8).collect();
    for _ in 0..2 {
        assert_eq!(lsns(&all_after(&journal, 0)), expected);
        assert_eq!(journal.stats().damaged_ranges, 1);
    }
    let report = Journal::verify(&dir.path().join("journal")).unwrap();
    assert!(!report.is_whole());
    assert_eq!(report.missing, [LsnRange { first: 8, last: 8 }]);
    assert_eq!(report.records, 19);
}

#[tokio::test]
async fn records_inside_a_payload_are_not_records() {
    let dir = dir();
    let (path, _) = three_records(&dir).await;
    let inside = fs::read(&path).unwrap()[64..].to_vec();
    let (journal, _) = open(&dir);
    let carrier = journal.append(vec![draft(inside)]).await.unwrap().locations[0];
    journal.append(vec![draft(body(5))]).await.unwrap();
    drop(journal);
    flip(&path, carrier.offset + 1, 3);
    let (journal, recovery) = open(&dir);
    assert_eq!(
        recovery.quarantined[0].missing,
        Some(LsnRange { first: 4, last: 4 })
    );
    assert_eq!(recovery.quarantined[0].bytes, u64::from(carrier.len));
    assert_eq!(lsns(&all_after(&journal, 0)), [1, 2, 3, 5]);
}

#[tokio::test]
async fn zeros_at_the_end_are_cut_and_not_kept() {
    let dir = dir();
    let (path, _) = three_records(&dir).await;
    let before = fs::metadata(&path).unwrap().len();
    edit(&path, |bytes| bytes.resize(bytes.len() + 3_000_000, 0));
    let (journal, recovery) = open(&dir);
    let torn = recovery.torn_tail.unwrap();
    assert_eq!((torn.offset, torn.bytes, torn.kept_as), (before, 3_000_000, None));
    assert_eq!(fs::metadata(&path).unwrap().len(), before);
    assert_eq!(lsns(&all_after(&journal, 0)), [1, 2, 3]);
}

#[tokio::test]
async fn a_damaged_header_of_the_newest_segment_never_gives_an_lsn_twice() {
    let whole = dir();
    three_records(&whole).await;
    for byte in 0..64 {
        let dir = copy(&whole);
        flip(&segment(&dir, 1), byte, byte);
        let (journal, recovery) = open(&dir);
        assert!(recovery.is_damaged());
        assert_eq!(recovery.salvaged, [1]);
        assert_eq!(lsns(&all_after(&journal, 0)), [1, 2, 3]);
        let appended = journal.append(vec![draft("next")]).await.unwrap();
        assert!(appended.first > 3, "byte {byte}: {}", appended.first);
        assert_eq!(appended.first, recovery.last_lsn + 1);
        drop(journal);
        let (journal, _) = open(&dir);
        let expected = [1, 2, 3, appended.first];
        assert_eq!(lsns(&all_after(&journal, 0)), expected, "byte {byte}");
    }
}

/// With a single record nothing proves the salt: what cannot be read is kept, and its lsn not given out again.
#[tokio::test]
async fn a_segment_whose_salt_nothing_proves_is_set_aside() {
    let dir = dir();
    let (journal, _) = open(&dir);
    fill(&journal, 1..=1).await;
    drop(journal);
    flip(&segment(&dir, 1), 44, 3);
    let (journal, recovery) = open(&dir);
    assert_eq!(recovery.set_aside[0].reason, AsideReason::HeaderDamaged);
    assert!(recovery.set_aside[0].kept_as.as_ref().unwrap().exists());
    assert!(all_after(&journal, 0).is_empty());
    assert!(journal.append(vec![draft("next")]).await.unwrap().first > 1);
}

/// The first block of a segment may be gone, and its sidecar with it.
#[tokio::test]
async fn a_destroyed_first_block_costs_the_records_in_it_alone() {
    let dir = dir();
    let (journal, _) = open(&dir);
    fill(&journal, 1..=100).await;
    let kept = all_after(&journal, 0);
    let kept: Vec<u64> = lsns(&kept)
        .into_iter()
        .filter(|lsn| kept[*lsn as usize - 1].location.offset >= 512)
        .collect();
    drop(journal);
    edit(&segment(&dir, 1), |bytes| bytes[..512].fill(0));
    let (journal, recovery) = open(&dir);
    assert_eq!(recovery.salvaged, [1]);
    assert_eq!(lsns(&all_after(&journal, 0)), kept);
    assert!(kept.len() > 80);
}

#[tokio::test]
async fn records_between_two_blocks_that_changed_places_are_read_and_the_moved_ones_too() {
    let dir = dir();
    let (journal, _) = open(&dir);
    fill(&journal, 1..=1000).await;
    let entries = all_after(&journal, 0);
    drop(journal);
    let (one, other, block) = (4096, 5 * 4096, 4096);
    edit(&segment(&dir, 1), |bytes| {
        let (head, tail) = bytes.split_at_mut(other);
        head[one..one + block].swap_with_slice(&mut tail[..block]);
    });
    let straddles = |place: &Location, edge: usize| {
        (place.offset..place.offset + u64::from(place.len)).contains(&(edge as u64))
            && place.offset < edge as u64
    };
    let edges = [one, one + block, other, other + block];
    let expected: Vec<u64> = entries
        .iter()
        .filter(|entry| !edges.iter().any(|edge| straddles(&entry.location, *edge)))
        .map(|entry| entry.lsn)
        .collect();
    let (journal, _) = open(&dir);
    let found = all_after(&journal, 0);
    assert!(bodies_are_their_own(&found));
    assert_eq!(lsns(&found), expected);
    assert!(expected.len() >= 996);
}

#[tokio::test]
async fn a_damaged_header_of_a_sealed_segment_is_known_from_its_sidecar() {
    let dir = dir();
    let (journal, _) = open_small(&dir);
    fill(&journal, 1..=20).await;
    let sealed = journal.segments()[1];
    drop(journal);
    edit(&segment(&dir, sealed.first), |bytes| bytes[..64].fill(0xee));
    let (journal, recovery) = open_small(&dir);
    assert_eq!(recovery.salvaged, [sealed.first]);
    assert_eq!(lsns(&all_after(&journal, 0)), (1..=20).collect::<Vec<_>>());
}

#[derive(Debug, Clone)]
enum Harm {
    Overwrite(Vec<u8>),
    Cut,
    Insert(Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..90);
    prop_oneof![
        bytes().prop_map(Harm::Overwrite),
        Just(Harm::Cut),
        bytes().prop_map(Harm::Insert)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_harm_to_its_files_keeps_a_journal_from_opening_or_makes_it_lie(
        harms in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), harm()), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = dir();
        runtime.block_on(async {
            let (journal, _) = open_small(&dir);
            fill(&journal, 1..=12).await;
        });
        let mut files: Vec<_> = fs::read_dir(dir.path().join("journal")).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        for (file, at, harm) in harms {
            edit(&files[file.index(files.len())], |bytes| {
                let at = at.index(bytes.len() + 1);
                match harm {
                    Harm::Overwrite(new) => bytes.iter_mut().skip(at).zip(new).for_each(|(old, new)| *old = new),
                    Harm::Cut => bytes.truncate(at),
                    Harm::Insert(new) => drop(bytes.splice(at..at, new)),
                }
            });
        }
        let (journal, recovery) = Journal::open(options(&dir)).unwrap();
        let found = all_after(&journal, 0);
        prop_assert!(found.windows(2).all(|pair| pair[0].lsn < pair[1].lsn));
        prop_assert!(bodies_are_their_own(&found));
        prop_assert!(found.iter().all(|entry| entry.lsn <= recovery.last_lsn));
        let appended = runtime.block_on(journal.append(vec![draft("next")])).unwrap();
        prop_assert_eq!(appended.first, recovery.last_lsn + 1);
        prop_assert!(journal.config_entries().all(|entry| entry.is_ok()));
        drop(journal);
        let (journal, _) = open_small(&dir);
        let again = all_after(&journal, 0);
        prop_assert_eq!(again.len(), found.len() + 1);
        prop_assert_eq!(&again[..found.len()], &found[..]);
    }
}

/// A journal of two groups: records 1 and 2, then 3 to 6, which ended with a power cut.
async fn two_groups(dir: &TempDir) -> Vec<Location> {
    let (journal, _) = open(dir);
    let group =
        |numbers: std::ops::RangeInclusive<usize>| numbers.map(|number| draft(body(number))).collect();
    let mut locations = journal.append(group(1..=2)).await.unwrap().locations.clone();
    locations.extend(journal.append(group(3..=6)).await.unwrap().locations.clone());
    locations
}

fn open_after_a_cut(dir: &TempDir) -> (Journal, Recovery) {
    Journal::open(Options {
        power_was_cut: true,
        ..options(dir)
    })
    .unwrap()
}

#[tokio::test]
async fn a_hole_in_the_last_group_is_where_a_power_cut_tore_it() {
    let whole = dir();
    let locations = two_groups(&whole).await;
    let bytes = fs::metadata(segment(&whole, 1)).unwrap().len();
    for hole in 3..=5 {
        let dir = copy(&whole);
        let place = locations[hole - 1];
        flip(&segment(&dir, 1), place.offset + 30, 0);
        let (journal, recovery) = open_after_a_cut(&dir);
        assert!(!recovery.is_damaged(), "{recovery}");
        let torn = recovery.torn_tail.unwrap();
        assert_eq!((torn.offset, torn.bytes), (place.offset, bytes - place.offset));
        assert_eq!(fs::read(torn.kept_as.unwrap()).unwrap().len() as u64, torn.bytes);
        let kept: Vec<u64> = (1..hole as u64).collect();
        assert_eq!(lsns(&all_after(&journal, 0)), kept);
        assert_eq!(
            journal.append(vec![draft(body(hole))]).await.unwrap().first,
            hole as u64
        );
        drop(journal);
        assert!(Journal::verify(&dir.path().join("journal")).unwrap().is_whole());
    }
}

#[tokio::test]
async fn damage_before_what_was_synced_later_is_no_torn_tail_though_the_power_was_cut() {
    let whole = dir();
    let locations = two_groups(&whole).await;
    for damaged in 1..=2 {
        let dir = copy(&whole);
        flip(&segment(&dir, 1), locations[damaged - 1].offset + 30, 0);
        let (journal, recovery) = open_after_a_cut(&dir);
        assert!(recovery.is_damaged() && recovery.torn_tail.is_none());
        assert_eq!(recovery.quarantined.len(), 1);
        assert_eq!(lsns(&all_after(&journal, 0)).len(), 5);
    }
}

#[tokio::test]
async fn a_hole_is_damage_when_the_power_was_not_cut() {
    let dir = dir();
    let locations = two_groups(&dir).await;
    flip(&segment(&dir, 1), locations[3].offset + 30, 0);
    let (journal, recovery) = open(&dir);
    assert!(recovery.is_damaged() && recovery.torn_tail.is_none());
    assert_eq!(lsns(&all_after(&journal, 0)), [1, 2, 3, 5, 6]);
}
