use std::{fs::File, io::IoSliceMut};

use rustix::io::{ReadWriteFlags, preadv2};
use tempfile::TempDir;

use super::{all_after, body, dir, draft, edit, fill, open, options};
use crate::storage::local::journal::{Entry, Journal, Options, ReadError};

/// A journal that remembers nothing of what it has written.
fn open_forgetful(dir: &TempDir) -> Journal {
    let options = Options {
        tail_bytes: 0,
        ..options(dir)
    };
    Journal::open(options).unwrap().0
}

/// Some file systems cannot say what of a file is in memory; then nothing is at hand but what the journal remembers.
fn can_say(dir: &TempDir) -> bool {
    let file = File::open(dir.path().join("journal/0000000000000001.seg")).unwrap();
    let mut byte = [0];
    preadv2(
        &file,
        &mut [IoSliceMut::new(&mut byte)],
        0,
        ReadWriteFlags::NOWAIT,
    )
    .is_ok()
}

fn at_hand(journal: &Journal, entry: &Entry) -> Option<Entry> {
    journal.at_hand(entry.lsn, entry.location)
}

#[tokio::test]
async fn the_newest_records_are_at_hand_whatever_the_file_system_can_say() {
    let dir = dir();
    let (journal, _) = open(&dir);
    fill(&journal, 1..=20).await;
    for entry in all_after(&journal, 0) {
        assert_eq!(at_hand(&journal, &entry).as_ref(), Some(&entry));
    }
}

#[tokio::test]
async fn records_at_hand_are_those_that_are_read_in_whatever_order() {
    let dir = dir();
    let journal = open_forgetful(&dir);
    fill(&journal, 1..=40).await;
    // Larger than what is read ahead.
    for number in 41..=43_usize {
        journal
            .append(vec![draft(body(number).repeat(4000))])
            .await
            .unwrap();
    }
    fill(&journal, 44..=60).await;
    let entries = all_after(&journal, 0);
    let can_say = can_say(&dir);
    let in_order = 0..entries.len();
    let jumping = (0..entries.len()).map(|index| index * 37 % entries.len());
    for index in in_order.chain(jumping) {
        let entry = &entries[index];
        assert_eq!(journal.read(entry.location).unwrap(), *entry);
        let found = at_hand(&journal, entry);
        assert_eq!(found.as_ref(), can_say.then_some(entry));
    }
}

#[tokio::test]
async fn what_was_read_ahead_of_its_being_written_is_read_again() {
    let dir = dir();
    let journal = open_forgetful(&dir);
    let mut known = 0;
    for last in [3, 9, 10, 30] {
        fill(&journal, known + 1..=last).await;
        for entry in all_after(&journal, known as u64) {
            assert_eq!(
                at_hand(&journal, &entry).as_ref(),
                can_say(&dir).then_some(&entry)
            );
        }
        known = last;
    }
}

#[tokio::test]
async fn what_is_damaged_is_not_at_hand_and_its_neighbours_are() {
    let dir = dir();
    let journal = open_forgetful(&dir);
    fill(&journal, 1..=9).await;
    let entries = all_after(&journal, 0);
    let damaged = entries[4].location;
    edit(&dir.path().join("journal/0000000000000001.seg"), |bytes| {
        bytes[damaged.offset as usize + 30] ^= 1;
    });
    for entry in &entries {
        let found = at_hand(&journal, entry);
        if entry.location == damaged {
            assert_eq!(found, None);
            assert!(matches!(journal.read(damaged), Err(ReadError::Damaged(_))));
        } else {
            assert_eq!(found.as_ref(), can_say(&dir).then_some(entry));
        }
    }
}
