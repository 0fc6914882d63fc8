use std::{
    error::Error as _,
    future::poll_fn,
    pin::{Pin, pin},
    process::Command,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::future::join;
use rustix::io::Errno;

use super::{TestDisk, all_after, bodies_are_their_own, body, dir, draft, fill, lsns, open, options, until};
use crate::storage::local::journal::{AppendError, Journal, Options};

const EIO: i32 = Errno::IO.raw_os_error();

fn open_on(dir: &tempfile::TempDir) -> (Journal, Arc<TestDisk>) {
    let disk = TestDisk::new();
    let options = Options {
        segment_bytes: 4096,
        ..options(dir)
    };
    let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
    (journal, disk)
}

#[tokio::test]
async fn a_failed_sync_poisons_the_journal_for_good() {
    let dir = dir();
    let (journal, disk) = open_on(&dir);
    fill(&journal, 1..=3).await;
    disk.plan(|plan| plan.sync_error = Some(EIO));
    assert_eq!(
        journal.append(vec![draft("lost?")]).await,
        Err(AppendError::Poisoned)
    );
    disk.plan(|plan| plan.sync_error = None);
    assert_eq!(
        journal.append(vec![draft("later")]).await,
        Err(AppendError::Poisoned)
    );
    assert_eq!(
        journal.append_lazy(vec![draft("later")]).await,
        Err(AppendError::Poisoned)
    );
    let failure = journal.failed().await;
    assert!(failure.to_string().starts_with("could not sync journal segment"));
    assert!(failure.source().unwrap().is::<std::io::Error>());
    assert_eq!(journal.synced_lsn(), 3);
    let mut follower = journal.follow(0);
    assert_eq!(lsns(&follower.next_batch(10, 1000).unwrap().unwrap()), [1, 2, 3]);
    assert_eq!(follower.next_batch(10, 1000).unwrap(), None);
    drop(journal);
    let (journal, recovery) = open(&dir);
    assert!(!recovery.is_damaged());
    assert!(recovery.last_lsn >= 3);
    assert_eq!(lsns(&all_after(&journal, 0))[..3], [1, 2, 3]);
}

#[tokio::test]
async fn a_failed_sync_of_lazy_records_poisons_too() {
    let dir = dir();
    let (journal, disk) = open_on(&dir);
    disk.plan(|plan| plan.sync_error = Some(EIO));
    journal.append_lazy(vec![draft("lazy")]).await.unwrap();
    assert_eq!(journal.failed().await.source.raw_os_error(), Some(EIO));
    assert_eq!(
        journal.append_lazy(vec![draft("later")]).await,
        Err(AppendError::Poisoned)
    );
}

#[tokio::test]
async fn a_failed_write_poisons_the_journal() {
    let dir = dir();
    let (journal, disk) = open_on(&dir);
    fill(&journal, 1..=3).await;
    disk.plan(|plan| plan.write_error = Some(EIO));
    assert_eq!(
        journal.append_lazy(vec![draft("lost")]).await,
        Err(AppendError::Poisoned)
    );
    assert!(
        journal
            .failed()
            .await
            .to_string()
            .starts_with("could not write to journal segment")
    );
    drop(journal);
    assert_eq!(open(&dir).1.last_lsn, 3);
}

#[tokio::test]
async fn short_writes_are_completed() {
    let dir = dir();
    let (journal, disk) = open_on(&dir);
    disk.plan(|plan| plan.write_at_most = Some(7));
    fill(&journal, 1..=200).await;
    drop(journal);
    let (journal, recovery) = open(&dir);
    assert!(!recovery.is_damaged() && recovery.torn_tail.is_none());
    assert!(bodies_are_their_own(&all_after(&journal, 0)));
    assert_eq!(journal.last_lsn(), 200);
}

#[tokio::test]
async fn a_beginning_that_was_interrupted_is_not_the_loss_of_all_records() {
    for room in 0..100 {
        let (dir, disk) = (dir(), TestDisk::new());
        disk.plan(|plan| plan.room = Some(room));
        let begun = Journal::open_on(options(&dir), disk).is_ok();
        let (_, recovery) = open(&dir);
        assert!(!recovery.is_damaged(), "room for {room} bytes: {recovery}");
        assert!(recovery.created || begun || room >= 64);
    }
}

/// A disk that fills up at every possible byte of a run across several segments, and has space again.
#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_space_again() {
    for room in (0..3000).step_by(97) {
        let dir = dir();
        let disk = TestDisk::new();
        let options = Options {
            segment_bytes: 512,
            ..options(&dir)
        };
        let (journal, _) = Journal::open_on(options.clone(), disk.clone()).unwrap();
        disk.plan(|plan| plan.room = Some(room));
        let mut number = 1;
        let error = loop {
            match journal.append(vec![draft(body(number))]).await {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, AppendError::Full { needed: 44, .. }), "{error}");
        let lazy = journal.append_lazy(vec![draft(vec![0; 8000])]).await;
        assert!(matches!(lazy, Err(AppendError::Full { .. })));
        assert!(journal.failure().borrow().is_none());
        disk.plan(|plan| plan.room = None);
        fill(&journal, number..=number + 30).await;
        assert_eq!(journal.stats().refused_full, 2);
        let expected: Vec<u64> = (1..=number as u64 + 30).collect();
        assert_eq!(lsns(&all_after(&journal, 0)), expected);
        drop(journal);
        let (journal, recovery) = Journal::open(options).unwrap();
        assert!(
            !recovery.is_damaged() && recovery.torn_tail.is_none() && recovery.missing.is_empty(),
            "{recovery}"
        );
        assert_eq!(lsns(&all_after(&journal, 0)), expected);
    }
}

#[tokio::test]
async fn a_segment_grows_while_the_next_one_cannot_be_made_for_want_of_something() {
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        let (dir, disk) = (dir(), TestDisk::new());
        let options = Options {
            segment_bytes: 512,
            ..options(&dir)
        };
        let (journal, _) = Journal::open_on(options.clone(), disk.clone()).unwrap();
        disk.plan(|plan| plan.begin_error = Some(errno.raw_os_error()));
        let mut number = 0;
        let error = loop {
            match journal.append(vec![draft(body(number + 1))]).await {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
        };
        // 64 bytes of header and 44 for each record: up to twice the size, and then not for ever.
        assert_eq!((error, number), (AppendError::Short, (1024 - 64) / 44));
        assert_eq!(
            journal.append_lazy(vec![draft(vec![0; 100])]).await,
            Err(AppendError::Short)
        );
        assert!(journal.failure().borrow().is_none() && journal.stats().rolls == 0);
        disk.plan(|plan| plan.begin_error = None);
        fill(&journal, number + 1..=number + 30).await;
        assert!(journal.stats().rolls > 1);
        let expected: Vec<u64> = (1..=number as u64 + 30).collect();
        assert_eq!(lsns(&all_after(&journal, 0)), expected);
        drop(journal);
        let (journal, recovery) = Journal::open(options).unwrap();
        assert!(
            !recovery.is_damaged() && recovery.torn_tail.is_none(),
            "{recovery}"
        );
        assert_eq!(lsns(&all_after(&journal, 0)), expected);
    }
}

#[tokio::test]
async fn a_write_for_which_memory_is_short_is_refused_and_poisons_nothing() {
    let dir = dir();
    let (journal, disk) = open_on(&dir);
    fill(&journal, 1..=3).await;
    disk.plan(|plan| plan.write_error = Some(Errno::NOMEM.raw_os_error()));
    assert_eq!(
        journal.append(vec![draft("refused")]).await,
        Err(AppendError::Short)
    );
    disk.plan(|plan| plan.write_error = None);
    fill(&journal, 4..=6).await;
    assert!(bodies_are_their_own(&all_after(&journal, 0)));
}

#[tokio::test]
async fn below_the_reserve_only_lazy_records_are_written() {
    let dir = dir();
    let disk = TestDisk::new();
    let free = |bytes, seconds| {
        disk.plan(|plan| (plan.free, plan.clock) = (Some(bytes), Some(Duration::from_secs(seconds))));
    };
    let options = Options {
        min_free_bytes: 1000,
        ..options(&dir)
    };
    let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
    free(1100, 1);
    journal.append(vec![draft(body(1))]).await.unwrap();
    journal.append(vec![draft(body(2))]).await.unwrap();
    // What was written counts before the figure is asked for again: twice 44 of 1100 bytes are gone.
    let refused = journal.append(vec![draft(body(3))]).await;
    assert_eq!(
        refused,
        Err(AppendError::Full {
            free: 1012,
            needed: 1044
        })
    );
    let lazy = journal.append_lazy(vec![draft("lazy")]).await.unwrap();
    assert_eq!(journal.read(lazy.locations[0]).unwrap().body, "lazy");
    assert!(journal.append(Vec::new()).await.is_ok());
    free(500, 2);
    let refused = journal.append(vec![draft("x")]).await;
    assert_eq!(
        refused,
        Err(AppendError::Full {
            free: 500,
            needed: 1025
        })
    );
    free(9000, 3);
    assert_eq!(journal.append(vec![draft("again")]).await.unwrap().first, 4);
}

/// Polls the appends once, in this order: all of them are then in the queue.
async fn enqueue<F: Future>(mut appends: Pin<&mut F>) {
    poll_fn(|context| {
        assert!(appends.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn a_lazy_record_that_fits_is_written_though_its_group_did_not_fit() {
    let dir = dir();
    let (journal, disk) = open_on(&dir);
    disk.plan(|plan| plan.syncs_wait = true);
    let mut first = pin!(journal.append(vec![draft(body(1))]));
    enqueue(first.as_mut()).await;
    until("the first group is written", || journal.last_lsn() == 1);
    let large = journal.append(vec![draft(vec![7; 2000])]);
    let mut others = pin!(join(large, journal.append_lazy(vec![draft("small")])));
    enqueue(others.as_mut()).await;
    disk.plan(|plan| (plan.syncs_wait, plan.room) = (false, Some(1000)));
    first.await.unwrap();
    let (large, small) = others.await;
    assert!(matches!(large, Err(AppendError::Full { .. })));
    assert_eq!(small.unwrap().first, 2);
}

#[tokio::test]
async fn a_panic_of_the_committer_is_a_failure_and_leaves_nobody_waiting() {
    let dir = dir();
    let (journal, disk) = open_on(&dir);
    disk.plan(|plan| plan.writes_panic = true);
    assert_eq!(journal.append(vec![draft("x")]).await, Err(AppendError::Poisoned));
    assert_eq!(journal.failed().await.source.kind(), std::io::ErrorKind::Other);
    assert_eq!(journal.follow(0).next_batch(1, 1).unwrap(), None);
    assert_eq!(journal.append(Vec::new()).await, Err(AppendError::Poisoned));
}

struct Mounted<'a>(&'a std::path::Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// The same on a file system that is really full. Needs the right to mount; the injected one above does not.
#[tokio::test]
async fn a_file_system_that_is_full_is_survived() {
    let dir = dir();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(dir.path())
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        return;
    }
    let mounted = Mounted(dir.path());
    let options = Options {
        segment_bytes: 64 * 1024,
        ..options(&dir)
    };
    let (journal, _) = Journal::open(options.clone()).unwrap();
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![1; 64 * 1024]).unwrap();
    let mut written = 0;
    let error = loop {
        match journal.append(vec![draft(vec![7; 3000])]).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full { .. }), "{error}");
    assert!(written > 30);
    std::fs::remove_file(ballast).unwrap();
    let next = journal.append(vec![draft(vec![7; 3000])]).await.unwrap().first;
    assert_eq!(next, written + 1);
    drop(journal);
    let (journal, recovery) = Journal::open(options).unwrap();
    assert!(!recovery.is_damaged() && recovery.torn_tail.is_none());
    assert_eq!(all_after(&journal, 0).len() as u64, next);
    drop(journal);
    drop(mounted);
}
