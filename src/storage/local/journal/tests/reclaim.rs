use std::{
    fs,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    Did, TestDisk, all_after, all_are_published, body, dir, draft, edit, fill, lsns, open, open_small,
    options, until,
};
use crate::storage::local::journal::{
    AppendError, Durability, Journal, Next, Options, ReadError, ReclaimError, Reclaimed, files,
    floor::{self, Floor},
};

/// Eleven segments of four records each; the last is the one that is written.
async fn filled() -> (tempfile::TempDir, Journal) {
    let dir = dir();
    let (journal, _) = open_small(&dir);
    fill(&journal, 1..=44).await;
    all_are_published(&journal);
    assert_eq!(journal.segments().len(), 11);
    (dir, journal)
}

fn names(dir: &tempfile::TempDir, suffix: &str) -> Vec<String> {
    let entries = fs::read_dir(dir.path().join("journal")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(suffix))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn whole_segments_below_are_deleted_and_the_rest_reads_on() {
    let (dir, journal) = filled().await;
    let segments = journal.segments();
    let third = segments[2].first;
    let place = journal.follow(0).next_batch(1, 1).unwrap().unwrap()[0].location;
    journal.read(place).unwrap();
    let reclaimed = journal.reclaim(third + 1).unwrap();
    let bytes = segments[0].bytes + segments[1].bytes;
    assert_eq!(reclaimed, Reclaimed { segments: 2, bytes });
    assert_eq!(journal.first_lsn(), third);
    assert_eq!((names(&dir, ".seg").len(), names(&dir, ".cfg").len()), (9, 8));
    assert!(matches!(journal.read(place), Err(ReadError::NoSegment { .. })));
    let expected: Vec<u64> = (third..=44).collect();
    assert_eq!(lsns(&all_after(&journal, 0)), expected);
    assert_eq!(journal.reclaim(third + 1).unwrap(), Reclaimed::default());
    fill(&journal, 45..=60).await;
    drop(journal);
    let (journal, recovery) = open(&dir);
    assert!(!recovery.is_damaged() && recovery.leftovers == 0, "{recovery}");
    assert_eq!(lsns(&all_after(&journal, 0)), (third..=60).collect::<Vec<_>>());
    drop(journal);
    assert!(Journal::verify(&dir.path().join("journal")).unwrap().is_whole());
}

#[tokio::test]
async fn the_segment_that_is_written_is_never_deleted() {
    let (dir, journal) = filled().await;
    let active = journal.segments().last().unwrap().first;
    assert_eq!(journal.reclaim(u64::MAX).unwrap().segments, 10);
    assert_eq!(journal.first_lsn(), active);
    fill(&journal, 45..=46).await;
    drop(journal);
    let (journal, recovery) = open(&dir);
    assert!(!recovery.is_damaged(), "{recovery}");
    assert_eq!(lsns(&all_after(&journal, 0)), (active..=46).collect::<Vec<_>>());
}

/// Defect of other disk queues: a segment is unlinked before the pointer past it is on the device.
#[tokio::test]
async fn a_segment_is_unlinked_only_after_the_floor_past_it_is_durable() {
    let dir = dir();
    let disk = TestDisk::new();
    let options = Options {
        segment_bytes: 256,
        ..options(&dir)
    };
    let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
    fill(&journal, 1..=44).await;
    let sixth = journal.segments()[5].first;
    disk.plan(|plan| plan.done.clear());
    journal.reclaim(sixth).unwrap();
    let done = disk.done();
    let removed: Vec<&Did> = done.iter().filter(|did| matches!(did, Did::Removed(_))).collect();
    assert_eq!(removed.len(), 10, "{done:?}");
    let first = done
        .iter()
        .position(|did| matches!(did, Did::Removed(_)))
        .unwrap();
    // The content of the floor, then its name, and only then the first deletion.
    assert_eq!(
        done[..first],
        [Did::Synced, Did::SyncedDir { floor: Some(sixth) }]
    );
    assert_eq!(done.last(), Some(&Did::SyncedDir { floor: Some(sixth) }));
    let segments: Vec<&str> = done
        .iter()
        .filter_map(|did| match did {
            Did::Removed(name) => name.strip_suffix(".seg"),
            _ => None,
        })
        .collect();
    assert!(
        segments.is_sorted() && segments.len() == 5,
        "oldest first: {segments:?}"
    );
}

/// Wherever the power is cut in a reclaim, the next open finds either all segments or none below the floor.
#[tokio::test]
async fn an_interrupted_reclaim_is_finished_by_the_next_open() {
    for removals in 0..=10 {
        let (dir, journal) = filled().await;
        let sixth = journal.segments()[5].first;
        let uuid = journal.uuid();
        drop(journal);
        let folder = dir.path().join("journal");
        floor::store(&folder, &*TestDisk::new(), uuid, sixth).unwrap();
        let doomed = names(&dir, ".seg")
            .into_iter()
            .flat_map(|name| [name.replace(".seg", ".cfg"), name]);
        for name in doomed.take(removals) {
            fs::remove_file(folder.join(name)).unwrap();
        }
        let (journal, recovery) = open(&dir);
        assert!(!recovery.is_damaged(), "{recovery}");
        assert_eq!(recovery.leftovers, (10 - removals).div_ceil(2));
        assert_eq!(journal.first_lsn(), sixth);
        assert_eq!((names(&dir, ".seg").len(), names(&dir, ".cfg").len()), (6, 5));
        assert_eq!(lsns(&all_after(&journal, 0)), (sixth..=44).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_floor_that_cannot_be_written_deletes_nothing() {
    let dir = dir();
    let disk = TestDisk::new();
    let options = Options {
        segment_bytes: 256,
        ..options(&dir)
    };
    let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
    fill(&journal, 1..=44).await;
    for full in [true, false] {
        disk.plan(|plan| {
            plan.room = full.then_some(0);
            plan.sync_error = (!full).then_some(rustix::io::Errno::IO.raw_os_error());
        });
        let error = journal.reclaim(30).unwrap_err();
        assert!(matches!(error, ReclaimError::Io { .. }), "{error}");
        assert_eq!((journal.first_lsn(), names(&dir, ".seg").len()), (1, 11));
    }
    disk.plan(|plan| (plan.room, plan.sync_error) = (None, None));
    assert!(journal.reclaim(30).unwrap().segments > 4);
}

#[tokio::test]
async fn a_first_segment_that_is_missing_is_known_by_the_floor() {
    let (dir, journal) = filled().await;
    let (first, second, third) = {
        let segments = journal.segments();
        (segments[0].first, segments[1].first, segments[2].first)
    };
    drop(journal);
    let remove = |lsn| fs::remove_file(files::segment_path(&dir.path().join("journal"), lsn)).unwrap();
    remove(first);
    let (journal, recovery) = open(&dir);
    assert_eq!(
        (recovery.missing[0].first, recovery.missing[0].last),
        (1, second - 1)
    );
    journal.reclaim(third).unwrap();
    drop(journal);
    assert!(!open(&dir).1.is_damaged(), "what was reclaimed is not missing");
    remove(third);
    let missing = Journal::verify(&dir.path().join("journal")).unwrap().missing;
    let (journal, recovery) = open(&dir);
    assert_eq!(recovery.missing, missing);
    assert_eq!(
        (missing[0].first, missing[0].last + 1),
        (third, journal.first_lsn())
    );
}

/// Without the segment that begins at the floor, the file is no witness against those below it.
#[tokio::test]
async fn a_floor_of_another_time_deletes_nothing() {
    let (dir, journal) = filled().await;
    let uuid = journal.uuid();
    drop(journal);
    let folder = dir.path().join("journal");
    for (uuid, lsn) in [(uuid, 18), (uuid, 1000), ([3; 16], 17)] {
        floor::store(&folder, &*TestDisk::new(), uuid, lsn).unwrap();
        let (journal, _) = open(&dir);
        assert_eq!((journal.first_lsn(), names(&dir, ".seg").len()), (1, 11), "{lsn}");
    }
}

#[tokio::test]
async fn a_damaged_floor_is_said_and_written_again() {
    let (dir, journal) = filled().await;
    let third = journal.segments()[2].first;
    let uuid = journal.uuid();
    journal.reclaim(third).unwrap();
    drop(journal);
    let folder = dir.path().join("journal");
    edit(&floor::path(&folder), |bytes| bytes[30] ^= 1);
    assert!(!Journal::verify(&folder).unwrap().is_whole());
    let (journal, recovery) = open(&dir);
    assert!(
        recovery.floor_damaged && recovery.missing.is_empty(),
        "{recovery}"
    );
    assert_eq!(journal.first_lsn(), third);
    assert_eq!(Floor::load(&folder, uuid).unwrap(), Floor::At(third));
    drop(journal);
    assert!(!open(&dir).1.is_damaged());
}

#[tokio::test]
async fn nothing_is_deleted_while_somebody_keeps_it() {
    let (_dir, journal) = filled().await;
    let kept = journal.keep();
    assert_eq!(journal.reclaim(30).unwrap(), Reclaimed::default());
    drop(kept);
    assert!(journal.reclaim(30).unwrap().segments > 0);
}

/// Under `os` nobody has synced the records that say again what the deleted segments said.
#[tokio::test]
async fn without_syncs_the_file_system_is_synced_before_the_floor() {
    let dir = dir();
    let disk = TestDisk::new();
    let options = Options {
        segment_bytes: 256,
        durability: Durability::Os,
        ..options(&dir)
    };
    let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
    fill(&journal, 1..=44).await;
    disk.plan(|plan| plan.done.clear());
    journal.reclaim(30).unwrap();
    assert_eq!(disk.done()[..2], [Did::SyncedAll, Did::Synced]);
}

#[tokio::test]
async fn the_records_of_a_sealed_segment_are_read_past_damage() {
    let (dir, journal) = filled().await;
    let segment = journal.segments()[1];
    edit(
        &files::segment_path(&dir.path().join("journal"), segment.first),
        |bytes| bytes[120] ^= 1,
    );
    let found: Vec<u64> = journal
        .records_of(segment.first)
        .unwrap()
        .map(|entry| entry.unwrap().lsn)
        .collect();
    let last = segment.last.unwrap();
    assert_eq!(
        found,
        [vec![segment.first], (segment.first + 2..=last).collect()].concat()
    );
    let active = journal.segments().last().unwrap().first;
    assert!(journal.records_of(active).is_err());
    assert!(journal.records_of(7777).is_err());
}

/// A journal on a disk whose free space is known, and its lsns so far.
fn held(dir: &tempfile::TempDir) -> (Journal, Arc<TestDisk>) {
    let disk = TestDisk::new();
    let options = Options {
        min_free_bytes: 1000,
        ..options(dir)
    };
    let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
    (journal, disk)
}

#[tokio::test]
async fn while_it_is_paused_only_the_pause_appends() {
    let dir = dir();
    let (journal, _disk) = held(&dir);
    fill(&journal, 1..=3).await;
    let holder = journal.clone();
    let (waiting, done) = tokio::task::spawn_blocking(move || {
        let pause = holder.pause().unwrap();
        assert_eq!((pause.last_lsn(), holder.published_lsn()), (3, 3));
        let waiting = std::thread::spawn({
            let journal = holder.clone();
            move || futures_util::FutureExt::now_or_never(journal.append(vec![draft("later")])).is_none()
        });
        assert!(waiting.join().unwrap(), "an append waits");
        let first = pause.append(vec![draft("a"), draft("b")]).unwrap();
        let second = pause.append(vec![draft("c")]).unwrap();
        assert_eq!((first.first, second.first, pause.last_lsn()), (4, 6, 6));
        assert_eq!(holder.synced_lsn(), 6);
        assert_eq!(lsns(&all_after(&holder, 3)), [4, 5, 6]);
        (holder.last_lsn(), holder)
    })
    .await
    .unwrap();
    assert_eq!(waiting, 6);
    // The append whose caller gave up had been queued, and is written all the same.
    let next = done.append(vec![draft("after")]).await.unwrap().first;
    assert_eq!(next, 8);
    assert_eq!(done.stats().pauses, 1);
}

#[tokio::test]
async fn a_pause_may_use_the_reserve() {
    let dir = dir();
    let (journal, disk) = held(&dir);
    fill(&journal, 1..=1).await;
    disk.plan(|plan| (plan.free, plan.clock) = (Some(500), Some(Duration::from_secs(9))));
    let refused = journal.append(vec![draft("x")]).await;
    assert!(matches!(refused, Err(AppendError::Full { .. })));
    let holder = journal.clone();
    let appended = tokio::task::spawn_blocking(move || holder.pause().unwrap().append(vec![draft("y")]));
    assert_eq!(appended.await.unwrap().unwrap().first, 2);
    disk.plan(|plan| plan.room = Some(10));
    let holder = journal.clone();
    let appended = tokio::task::spawn_blocking(move || holder.pause().unwrap().append(vec![draft("y")]));
    assert!(matches!(appended.await.unwrap(), Err(AppendError::Full { .. })));
    disk.plan(|plan| {
        (plan.room, plan.free, plan.clock) = (None, None, Some(Duration::from_secs(10)));
    });
    fill(&journal, 3..=4).await;
}

#[tokio::test]
async fn pauses_take_turns_and_the_journal_goes_on_between_them() {
    let dir = dir();
    let (journal, _) = open(&dir);
    let pausers: Vec<_> = (0..4)
        .map(|_| {
            let journal = journal.clone();
            std::thread::spawn(move || {
                for _ in 0..20 {
                    let pause = journal.pause().unwrap();
                    let before = pause.last_lsn();
                    let appended = pause.append(vec![draft("held")]).unwrap();
                    assert_eq!((appended.first, pause.last_lsn()), (before + 1, before + 1));
                }
            })
        })
        .collect();
    for number in 0..50 {
        let lazy = journal.append_lazy(vec![draft(body(number))]);
        let durable = journal.append(vec![draft(body(number))]);
        let (lazy, durable) = futures_util::future::join(lazy, durable).await;
        assert!(lazy.is_ok() && durable.is_ok());
    }
    pausers.into_iter().for_each(|pauser| pauser.join().unwrap());
    assert_eq!(lsns(&all_after(&journal, 0)), (1..=180).collect::<Vec<_>>());
}

#[tokio::test]
async fn closing_waits_for_a_pause_and_a_failure_ends_it() {
    let dir = dir();
    let (journal, disk) = held(&dir);
    let pause = journal.pause().unwrap();
    let closing = std::thread::spawn({
        let journal = journal.clone();
        move || journal.close()
    });
    until("closing has begun", || {
        let (_, queue) = journal.parts();
        queue.is_closed()
    });
    assert_eq!(pause.append(vec![draft("still")]).unwrap().first, 1);
    drop(pause);
    closing.join().unwrap();
    assert_eq!(journal.pause().err(), Some(AppendError::Closed));

    let dir = super::dir();
    let (journal, failing) = held(&dir);
    let pause = journal.pause().unwrap();
    failing.plan(|plan| plan.sync_error = Some(rustix::io::Errno::IO.raw_os_error()));
    assert_eq!(pause.append(vec![draft("lost")]), Err(AppendError::Poisoned));
    assert_eq!(pause.append(vec![draft("lost")]), Err(AppendError::Poisoned));
    drop(pause);
    assert_eq!(journal.pause().err(), Some(AppendError::Poisoned));
    assert!(matches!(journal.reclaim(9), Err(ReclaimError::Poisoned)));
    drop(disk);
}

#[tokio::test]
async fn lazy_records_are_synced_in_time_during_a_pause() {
    let dir = dir();
    let (journal, _disk) = held(&dir);
    journal.append_lazy(vec![draft("lazy")]).await.unwrap();
    let pause = journal.pause().unwrap();
    until("the lazy record is synced", || journal.synced_lsn() == 1);
    drop(pause);
}

#[tokio::test]
async fn waiting_for_records_ends_in_time() {
    let dir = dir();
    let (journal, _) = open(&dir);
    let mut follower = journal.follow(0);
    let soon = Duration::from_millis(1);
    assert_eq!(follower.next_within(9, 999, soon).unwrap(), Next::Late);
    fill(&journal, 1..=1).await;
    all_are_published(&journal);
    let Next::Records(found) = follower.next_within(9, 999, soon).unwrap() else {
        panic!("a record is there");
    };
    assert_eq!(lsns(&found), [1]);
    follower.stopper().stop();
    assert_eq!(follower.next_within(9, 999, soon).unwrap(), Next::Ended);
}

/// A reader that opens a segment at the moment it is deleted must not keep its space.
#[tokio::test]
async fn a_deleted_segment_does_not_stay_open() {
    let (_dir, journal) = filled().await;
    let third = journal.segments()[2].first;
    let (shared, _) = journal.parts();
    shared.open_segment(1).unwrap();
    journal.reclaim(third).unwrap();
    assert!(shared.open_segment(1).is_err());
    assert_eq!(shared.floor.load(Relaxed), third);
    assert!(shared.disk.elapsed() > Duration::ZERO);
}
