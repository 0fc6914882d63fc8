use std::ops::RangeInclusive;

use super::{
    TestDisk, all_after, all_are_published, bodies_are_their_own, body, dir, draft, fill, lsns, open,
    open_small, options, until,
};
use crate::storage::local::journal::{Entry, Journal, Options};

fn numbers(range: RangeInclusive<u64>) -> Vec<u64> {
    range.collect()
}

#[tokio::test]
async fn a_follower_gets_every_record_in_order_from_files_across_segments() {
    let dir = dir();
    let options = Options {
        segment_bytes: 256,
        tail_bytes: 0,
        ..options(&dir)
    };
    let (journal, _) = Journal::open(options).unwrap();
    fill(&journal, 1..=100).await;
    assert!(journal.segments().len() > 10);
    for after in [0, 1, 49, 50, 51, 99, 100, 1000] {
        let entries = all_after(&journal, after);
        assert_eq!(lsns(&entries), numbers(after + 1..=100));
        assert!(bodies_are_their_own(&entries));
    }
}

#[tokio::test]
async fn a_follower_gets_the_same_from_memory_and_from_files() {
    let dir = dir();
    let (journal, _) = open_small(&dir);
    fill(&journal, 1..=60).await;
    let from_memory = all_after(&journal, 0);
    drop(journal);
    let (journal, _) = open_small(&dir);
    assert_eq!(from_memory, all_after(&journal, 0));
    assert_eq!(lsns(&from_memory), numbers(1..=60));
}

#[tokio::test]
async fn a_follower_that_falls_out_of_the_memory_goes_on_from_the_files() {
    let dir = dir();
    let options = Options {
        segment_bytes: 512,
        tail_bytes: 500,
        ..options(&dir)
    };
    let (journal, _) = Journal::open(options).unwrap();
    let mut follower = journal.follow(0);
    let mut seen: Vec<Entry> = Vec::new();
    let mut written = 0;
    for burst in [1, 1, 50, 2, 1, 30, 1, 200, 3, 1] {
        fill(&journal, written + 1..=written + burst).await;
        written += burst;
        all_are_published(&journal);
        // Between a full catch-up and falling behind by most of the burst.
        seen.extend(follower.try_next(1 + burst / 3, 1 << 20).unwrap());
    }
    loop {
        let batch = follower.try_next(50, 1 << 20).unwrap();
        if batch.is_empty() {
            break;
        }
        seen.extend(batch);
    }
    assert_eq!(lsns(&seen), numbers(1..=written as u64));
    assert!(bodies_are_their_own(&seen));
}

#[tokio::test]
async fn a_batch_keeps_to_its_limits_and_always_moves() {
    let dir = dir();
    for tail_bytes in [0, 1 << 20] {
        let (journal, _) = Journal::open(Options {
            tail_bytes,
            ..options(&dir)
        })
        .unwrap();
        let before = journal.last_lsn();
        journal
            .append((0..10).map(|_| draft(vec![1; 100])).collect())
            .await
            .unwrap();
        all_are_published(&journal);
        let mut follower = journal.follow(before);
        assert_eq!(follower.try_next(3, 1000).unwrap().len(), 3);
        assert_eq!(follower.try_next(10, 250).unwrap().len(), 2);
        assert_eq!(follower.try_next(10, 0).unwrap().len(), 1);
        assert_eq!(follower.try_next(0, 1000).unwrap().len(), 1);
        assert_eq!(follower.try_next(10, 1000).unwrap().len(), 3);
        assert!(follower.try_next(10, 1000).unwrap().is_empty());
    }
}

/// Someone took what was synced for what was applied: a moment too early.
#[tokio::test]
async fn what_is_synced_has_not_passed_a_follower_before_it_is_returned() {
    let dir = dir();
    let (journal, _) = Journal::open(options(&dir)).unwrap();
    let mut follower = journal.follow(0);
    assert_eq!(follower.passed(), 0);
    journal
        .append(vec![draft(vec![1]), draft(vec![2])])
        .await
        .unwrap();
    all_are_published(&journal);
    assert_eq!((journal.synced_lsn(), follower.passed()), (2, 0));
    assert_eq!(follower.try_next(1, 100).unwrap().len(), 1);
    assert_eq!(follower.passed(), 1);
    assert_eq!(follower.try_next(1, 100).unwrap().len(), 1);
    assert_eq!(follower.passed(), 2);
    assert!(follower.try_next(1, 100).unwrap().is_empty());
    assert_eq!(follower.passed(), 2);
}

#[tokio::test]
async fn a_follower_waits_for_records_and_ends_with_the_journal() {
    let dir = dir();
    let (journal, _) = open(&dir);
    let mut follower = journal.follow(0);
    let consumer = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while let Some(batch) = follower.next_batch(10, 1 << 20).unwrap() {
            seen.extend(batch);
        }
        seen
    });
    fill(&journal, 1..=20).await;
    journal.append_lazy(vec![draft(body(21))]).await.unwrap();
    journal.close();
    let seen = consumer.join().unwrap();
    assert_eq!(lsns(&seen), numbers(1..=21));
    assert!(bodies_are_their_own(&seen));
}

#[tokio::test]
async fn a_stopped_follower_returns_at_once() {
    let dir = dir();
    let (journal, _) = open(&dir);
    let mut follower = journal.follow(0);
    let stopper = follower.stopper();
    let consumer = std::thread::spawn(move || {
        let waited = follower.next_batch(10, 100).unwrap();
        (waited, follower)
    });
    stopper.stop();
    let (waited, mut follower) = consumer.join().unwrap();
    assert_eq!(waited, None);
    fill(&journal, 1..=1).await;
    assert_eq!(follower.next_batch(10, 100).unwrap(), None);
}

#[tokio::test]
async fn a_durable_record_is_not_handed_out_before_its_sync() {
    let dir = dir();
    for tail_bytes in [0, 1 << 20] {
        let disk = TestDisk::new();
        let options = Options {
            tail_bytes,
            ..options(&dir)
        };
        let (journal, _) = Journal::open_on(options, disk.clone()).unwrap();
        let before = journal.last_lsn();
        let mut follower = journal.follow(before);
        disk.plan(|plan| plan.syncs_wait = true);
        let append = tokio::spawn({
            let journal = journal.clone();
            async move { journal.append(vec![draft("durable")]).await }
        });
        while journal.last_lsn() == before {
            tokio::task::yield_now().await;
        }
        assert!(follower.try_next(10, 100).unwrap().is_empty());
        assert_eq!(journal.synced_lsn(), before);
        disk.plan(|plan| plan.syncs_wait = false);
        append.await.unwrap().unwrap();
        assert_eq!(follower.next_batch(10, 100).unwrap().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_lazy_record_is_handed_out_before_its_sync() {
    let dir = dir();
    let options = Options {
        lazy_sync: std::time::Duration::from_secs(3600),
        ..options(&dir)
    };
    let (journal, _) = Journal::open(options).unwrap();
    let mut follower = journal.follow(0);
    journal.append_lazy(vec![draft("lazy")]).await.unwrap();
    assert_eq!(follower.next_batch(10, 100).unwrap().unwrap()[0].body, "lazy");
    assert_eq!(journal.synced_lsn(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_keeps_up_with_many_writers_while_segments_change() {
    let dir = dir();
    let options = Options {
        segment_bytes: 4096,
        tail_bytes: 2048,
        ..options(&dir)
    };
    let (journal, _) = Journal::open(options).unwrap();
    let mut follower = journal.follow(0);
    let consumer = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < 2000 {
            seen.extend(follower.next_batch(64, 1 << 16).unwrap().unwrap());
        }
        seen
    });
    let writers = (0..8).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for n in 0..250 {
                let drafts = vec![draft(format!("{writer}/{n}"))];
                if n % 2 == 0 {
                    journal.append(drafts).await.unwrap();
                } else {
                    journal.append_lazy(drafts).await.unwrap();
                }
            }
        })
    });
    futures_util::future::join_all(writers).await;
    let seen = consumer.join().unwrap();
    assert_eq!(lsns(&seen), numbers(1..=2000));
    assert_eq!(all_after(&journal, 0), seen);
    assert_eq!(journal.stats().damaged_ranges, 0);
    until("the last lazy records are synced", || {
        journal.synced_lsn() == 2000
    });
}
