use super::{body, dir, draft, fill, open, open_small, options};
use crate::storage::local::journal::{Journal, ReadError};

#[tokio::test]
async fn a_record_written_anew_reads_so_and_nothing_beside_it_changes() {
    let dir = dir();
    let (journal, _) = open_small(&dir);
    fill(&journal, 1..=40).await;
    let before = super::all_after(&journal, 0);
    for place in [2, 39] {
        let location = before[place].location;
        let blank = vec![0; before[place].body.len()];
        assert!(journal.overwrite(location, blank.clone().into()).unwrap());
        assert_eq!(journal.read(location).unwrap().body, blank);
        for longer in [0, blank.len() + 1] {
            let refused = journal.overwrite(location, vec![1; longer].into());
            assert!(matches!(refused, Err(ReadError::Damaged(_))), "{longer}");
        }
    }
    drop(journal);
    let (journal, recovery) = Journal::open(options(&dir)).unwrap();
    assert!(!recovery.is_damaged() && recovery.torn_tail.is_none());
    for (place, entry) in super::all_after(&journal, 0).into_iter().enumerate() {
        let mut expected = before[place].clone();
        if [2, 39].contains(&place) {
            expected.body = vec![0; expected.body.len()].into();
        }
        assert_eq!(entry, expected);
    }
    assert_eq!(journal.append(vec![draft("next")]).await.unwrap().first, 41);
}

#[tokio::test]
async fn the_body_of_a_damaged_record_is_zeroed_where_its_head_is_whole() {
    let dir = dir();
    let (journal, _) = open(&dir);
    fill(&journal, 1..=3).await;
    let entries = super::all_after(&journal, 0);
    let [first, second] = [entries[0].location, entries[1].location];
    let path = dir
        .path()
        .join("journal")
        .join(format!("{:016x}.seg", second.segment));
    super::edit(&path, |bytes| {
        // The last byte of the second's body, and the first's marker.
        bytes[(second.offset + u64::from(second.len)) as usize - 1] ^= 1;
        bytes[first.offset as usize] ^= 1;
    });
    assert!(matches!(journal.read(second), Err(ReadError::Damaged(_))));
    assert!(journal.wipe(second).unwrap());
    assert!(matches!(journal.wipe(first), Err(ReadError::Damaged(_))));
    let bytes = std::fs::read(&path).unwrap();
    let part = |from: u64, len: usize| &bytes[from as usize..from as usize + len];
    let body_len = entries[1].body.len();
    assert!(part(second.offset + 24, body_len).iter().all(|byte| *byte == 0));
    assert_eq!(
        part(first.offset + 24, entries[0].body.len()),
        &entries[0].body[..]
    );
    assert_eq!(journal.read(entries[2].location).unwrap(), entries[2]);
}

#[tokio::test]
async fn nothing_is_written_anew_while_somebody_copies_segments() {
    let dir = dir();
    let (journal, _) = open(&dir);
    fill(&journal, 1..=3).await;
    let entry = super::all_after(&journal, 0)[1].clone();
    let blank = vec![0; entry.body.len()];
    let keep = journal.keep();
    assert!(!journal.overwrite(entry.location, blank.clone().into()).unwrap());
    assert_eq!(journal.read(entry.location).unwrap().body, body(2));
    drop(keep);
    assert!(journal.overwrite(entry.location, blank.into()).unwrap());
}
