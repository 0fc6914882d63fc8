use std::{future::Future, pin::pin, sync::Arc, task::Poll};

use futures_util::future::join_all;

use super::{TestDisk, all_after, bodies_are_their_own, body, dir, draft, fill, lsns, open, options, until};
use crate::storage::local::journal::{AppendError, Draft, Durability, Journal, MAX_BODY, Options};

#[tokio::test]
async fn records_read_back_after_a_restart() {
    let dir = dir();
    let (journal, recovery) = open(&dir);
    assert!(recovery.created && !recovery.is_damaged());
    assert_eq!((journal.last_lsn(), journal.first_lsn()), (0, 1));
    let draft = Draft {
        kind: 7,
        version: 3,
        flags: 0x80,
        body: "payload".into(),
    };
    let appended = journal
        .append(vec![draft, super::draft("")])
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (appended.first, journal.last_lsn(), journal.synced_lsn()),
        (1, 2, 2)
    );
    let uuid = journal.uuid();
    drop(journal);

    let (journal, recovery) = open(&dir);
    assert!(!recovery.created && !recovery.is_damaged());
    assert_eq!((recovery.last_lsn, recovery.torn_tail), (2, None));
    assert_eq!(journal.uuid(), uuid);
    let entry = journal.read(appended.locations[0]).unwrap();
    assert_eq!(
        (entry.lsn, entry.kind, entry.version, entry.flags),
        (1, 7, 3, 0x80)
    );
    assert_eq!(entry.body, "payload");
    assert_eq!(all_after(&journal, 0)[0], entry);
    assert_eq!(journal.append(vec![super::draft("next")]).await.unwrap().first, 3);
}

#[tokio::test]
async fn appends_that_gather_during_a_sync_share_the_next_one() {
    let dir = dir();
    let disk = TestDisk::new();
    let (journal, _) = Journal::open_on(options(&dir), disk.clone()).unwrap();
    let before = journal.stats().syncs;
    disk.plan(|plan| plan.syncs_wait = true);
    let mut appends = pin!(join_all((0..64).map(|n| journal.append(vec![draft(body(n))]))));
    std::future::poll_fn(|context| {
        assert!(appends.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    disk.plan(|plan| plan.syncs_wait = false);
    let mut firsts: Vec<u64> = appends
        .await
        .into_iter()
        .map(|appended| appended.unwrap().first)
        .collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (1..=64).collect::<Vec<_>>());
    let stats = journal.stats();
    assert!(
        stats.syncs - before <= 2 && stats.groups == stats.syncs - before,
        "{stats:?}"
    );
    assert_eq!(stats.records, 64);
    assert!(stats.group_records_max >= 32);
}

#[tokio::test]
async fn an_append_is_consecutive_and_its_locations_are_right() {
    let dir = dir();
    let (journal, _) = open(&dir);
    let journal = Arc::new(journal);
    let appends = (0..20).map(|n| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let drafts = (0..5).map(|part| draft(format!("{n}/{part}"))).collect();
            (n, journal.append(drafts).await.unwrap().into_inner())
        })
    });
    for appended in join_all(appends).await {
        let (n, appended) = appended.unwrap();
        for (part, location) in appended.locations.iter().enumerate() {
            let entry = journal.read(*location).unwrap();
            assert_eq!(entry.lsn, appended.first + part as u64);
            assert_eq!(entry.body, format!("{n}/{part}"));
        }
    }
}

#[tokio::test]
async fn a_lazy_record_is_written_at_once_and_synced_a_little_later() {
    let dir = dir();
    let (journal, _) = open(&dir);
    let before = journal.stats().syncs;
    let appended = journal.append_lazy(vec![draft(body(1))]).await.unwrap();
    assert_eq!(journal.read(appended.locations[0]).unwrap().body, body(1));
    until("the lazy record is synced", || journal.synced_lsn() == 1);
    assert_eq!(journal.stats().syncs, before + 1);
}

#[tokio::test]
async fn a_lazy_record_rides_with_the_next_durable_one() {
    let dir = dir();
    let options = Options {
        lazy_sync: std::time::Duration::from_secs(3600),
        ..options(&dir)
    };
    let (journal, _) = Journal::open(options).unwrap();
    journal.append_lazy(vec![draft("lazy")]).await.unwrap();
    assert_eq!((journal.last_lsn(), journal.synced_lsn()), (1, 0));
    journal.append(vec![draft("durable")]).await.unwrap();
    assert_eq!((journal.synced_lsn(), journal.stats().syncs), (2, 1));
}

#[tokio::test]
async fn an_append_of_nothing_waits_until_all_before_it_is_durable() {
    let dir = dir();
    let options = Options {
        lazy_sync: std::time::Duration::from_secs(3600),
        ..options(&dir)
    };
    let (journal, _) = Journal::open(options).unwrap();
    journal.append_lazy(vec![draft("lazy")]).await.unwrap();
    let barrier = journal.append(Vec::new()).await.unwrap();
    assert!(barrier.locations.is_empty());
    assert_eq!((journal.last_lsn(), journal.synced_lsn()), (1, 1));
}

#[tokio::test]
async fn under_os_durability_nothing_is_synced_and_all_survives_a_close() {
    let dir = dir();
    let options = Options {
        durability: Durability::Os,
        segment_bytes: 256,
        ..options(&dir)
    };
    let (journal, _) = Journal::open(options.clone()).unwrap();
    fill(&journal, 1..=30).await;
    assert_eq!((journal.stats().syncs, journal.synced_lsn()), (0, 30));
    drop(journal);
    let (journal, recovery) = Journal::open(options).unwrap();
    assert!(recovery.segments > 3 && !recovery.is_damaged());
    assert_eq!(lsns(&all_after(&journal, 0)), (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_largest_is_not() {
    let dir = dir();
    let (journal, _) = open(&dir);
    let error = journal
        .append(vec![draft(vec![7; MAX_BODY + 1])])
        .await
        .unwrap_err();
    assert_eq!(
        error,
        AppendError::TooLarge {
            bytes: MAX_BODY + 1,
            limit: MAX_BODY
        }
    );
    let third = || draft(vec![7; MAX_BODY / 2 + MAX_BODY / 4]);
    let error = journal.append(vec![third(), third(), third()]).await.unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { .. }));
    assert_eq!(journal.last_lsn(), 0);
    let largest = journal.append(vec![draft(vec![7; MAX_BODY])]).await.unwrap();
    assert_eq!(journal.read(largest.locations[0]).unwrap().body.len(), MAX_BODY);
    drop(journal);
    let (journal, _) = open(&dir);
    assert_eq!(all_after(&journal, 0)[0].body.len(), MAX_BODY);
}

#[tokio::test]
async fn closing_writes_what_was_appended_and_refuses_what_comes_after() {
    let dir = dir();
    let disk = TestDisk::new();
    let (journal, _) = Journal::open_on(options(&dir), disk.clone()).unwrap();
    disk.plan(|plan| plan.syncs_wait = true);
    let mut appends = pin!(join_all((1..=3).map(|n| journal.append(vec![draft(body(n))]))));
    std::future::poll_fn(|context| {
        assert!(appends.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    let closing = std::thread::spawn({
        let journal = journal.clone();
        move || journal.close()
    });
    disk.plan(|plan| plan.syncs_wait = false);
    closing.join().unwrap();
    for (number, appended) in (1..).zip(appends.await) {
        assert_eq!(appended.unwrap().first, number);
    }
    assert_eq!(
        journal.append(vec![draft("late")]).await,
        Err(AppendError::Closed)
    );
    assert_eq!(
        journal.append_lazy(vec![draft("late")]).await,
        Err(AppendError::Closed)
    );
    assert!(journal.failure().borrow().is_none());
    assert!(bodies_are_their_own(&all_after(&journal, 0)));
    journal.close();
}
