//! Defects that queues on disk have had elsewhere, each tried on this one. The comments say who had them.

mod folders;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::server::wait_for;
use bytes::Bytes;
use posthaste::storage::local::journal::{Draft, Entry, Journal, Location, Options, ReadError, Recovery};

/// Bytes of a segment's header.
const HEADER: u64 = 64;

fn open_with(dir: &Path, segment_bytes: u64) -> (Journal, Recovery) {
    let options = Options {
        segment_bytes,
        min_free_bytes: 0,
        tail_bytes: 0,
        ..Options::new(dir)
    };
    Journal::open(options).unwrap()
}

fn draft(body: &[u8]) -> Draft {
    Draft {
        kind: 1,
        version: 1,
        flags: 0,
        body: Bytes::copy_from_slice(body),
    }
}

/// Appends so many records of 76 bytes, each durably; their places.
async fn fill(journal: &Journal, count: usize) -> Vec<Location> {
    let mut places = Vec::new();
    for _ in 0..count {
        let appended = journal.append(vec![draft(&[7; 76 - 24])]).await.unwrap();
        places.push(appended.locations[0]);
    }
    places
}

/// Everything that can be read. Ends, or the test runs out of patience.
fn read_all(journal: &Journal) -> Vec<Entry> {
    wait_for("what was appended to be published", || {
        (journal.published_lsn() == journal.last_lsn()).then_some(())
    });
    let mut follower = journal.follow(0);
    let mut entries = Vec::new();
    for _ in 0..10_000 {
        let batch = follower.try_next(100, 1 << 20).unwrap();
        if batch.is_empty() {
            assert_eq!(follower.passed(), journal.published_lsn());
            return entries;
        }
        entries.extend(batch);
    }
    panic!("it reads for ever");
}

fn lsns(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.lsn).collect()
}

fn segment(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:016x}.seg"))
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn zero(dir: &Path, place: Location) {
    edit(&segment(dir, place.segment), |bytes| {
        bytes[place.offset as usize..][..place.len as usize].fill(0);
    });
}

/// Vector's disk buffer: after a crash inside a record its reader sought for ever and nothing was delivered
/// (<https://github.com/vectordotdev/vector/issues/17644>).
#[tokio::test]
async fn a_reader_does_not_loop_on_a_truncated_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    fill(&journal, 12).await;
    drop(journal);
    for cut in [1, 20, 24, 30, 75] {
        let cut_short = tempfile::tempdir().unwrap();
        copy(dir.path(), cut_short.path());
        edit(&segment(cut_short.path(), 5), |bytes| {
            bytes.truncate((HEADER + 2 * 76 + cut) as usize)
        });
        let (journal, _) = open_with(cut_short.path(), HEADER + 4 * 76);
        assert_eq!(
            lsns(&read_all(&journal)),
            [1, 2, 3, 4, 5, 6, 9, 10, 11, 12],
            "cut at {cut}"
        );
        assert_eq!(journal.stats().damaged_ranges, 1);
        let missing = journal.damaged()[0].missing.unwrap();
        assert_eq!((missing.first, missing.last), (7, 8));
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// tape's queue file allocated what a damaged length said, 1.7 GB on a phone
/// (<https://github.com/square/tape/issues/173>); NSQ's did not look at lengths either
/// (<https://github.com/nsqio/nsq/issues/471>).
#[tokio::test]
async fn a_length_that_says_gigabytes_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), 1 << 20);
    let places = fill(&journal, 9).await;
    drop(journal);
    let lengths = [u32::MAX, i32::MAX as u32, 1 << 30, 16 << 20];
    for (length, place) in lengths.into_iter().zip(places.iter().step_by(2)) {
        edit(&segment(dir.path(), 1), |bytes| {
            bytes[place.offset as usize + 16..][..4].copy_from_slice(&length.to_le_bytes());
        });
    }
    let before = peak_kib();
    let (journal, recovery) = open_with(dir.path(), 1 << 20);
    assert_eq!(recovery.quarantined.len(), 4, "{recovery}");
    assert_eq!(lsns(&read_all(&journal)), [2, 4, 6, 8, 9]);
    let claimed = Location {
        len: u32::MAX,
        ..places[1]
    };
    assert!(matches!(journal.read(claimed), Err(ReadError::Damaged(_))));
    assert!(
        peak_kib() < before + 64 * 1024,
        "{before} KiB, then {} KiB",
        peak_kib()
    );
}

/// The most memory that this process has had.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// NSQ's disk queue kept a position behind a file that was just full, read from the middle of a message after the next
/// start, and threw the file away (<https://github.com/nsqio/nsq/issues/1514>).
#[tokio::test]
async fn a_record_may_end_exactly_where_its_segment_does() {
    let dir = tempfile::tempdir().unwrap();
    let full = HEADER + 3 * 76;
    for count in 1..=10 {
        let (journal, recovery) = open_with(dir.path(), full);
        assert!(
            !recovery.is_damaged() && recovery.torn_tail.is_none(),
            "{recovery}"
        );
        fill(&journal, 1).await;
        assert_eq!(read_all(&journal).len(), count);
        let sealed = journal.segments().into_iter().filter(|segment| segment.sealed);
        assert!(sealed.into_iter().all(|segment| segment.bytes == full));
    }
    assert!(Journal::verify(dir.path()).unwrap().is_whole());
}

/// etcd's log could not be read after a power cut had left zeros in a sector
/// (<https://github.com/etcd-io/etcd/issues/6515>, <https://github.com/etcd-io/etcd/issues/11488>): a checksum of
/// nothing but zeros is zero for many, and a block of zeros a valid record.
#[tokio::test]
async fn zeros_are_never_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), 1 << 20);
    let places = fill(&journal, 20).await;
    drop(journal);
    edit(&segment(dir.path(), 1), |bytes| {
        bytes[places[3].offset as usize..places[9].offset as usize].fill(0);
        bytes.resize(bytes.len() + 8192, 0);
    });
    let (journal, recovery) = open_with(dir.path(), 1 << 20);
    let expected: Vec<u64> = (1..=3).chain(10..=20).collect();
    assert_eq!(lsns(&read_all(&journal)), expected);
    let missing = recovery.quarantined[0].missing.unwrap();
    assert_eq!((missing.first, missing.last), (4, 9));
    assert_eq!(recovery.torn_tail.unwrap().bytes, 8192);
    assert_eq!(journal.append(vec![draft(&[0; 64])]).await.unwrap().first, 21);
    assert_eq!(read_all(&journal).len(), 15);
}

/// Redis loads an append-only file with damage in its middle not at all, or up to the damage
/// (<https://github.com/redis/redis/issues/5177>); Fluent Bit threw away a chunk of records for one
/// (<https://github.com/fluent/fluent-bit/issues/3229>).
#[tokio::test]
async fn a_damaged_record_costs_nothing_that_is_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), HEADER + 30 * 76);
    let places = fill(&journal, 100).await;
    drop(journal);
    for place in places.iter().step_by(10) {
        edit(&segment(dir.path(), place.segment), |bytes| {
            bytes[place.offset as usize + 30] ^= 4
        });
    }
    let (journal, _) = open_with(dir.path(), HEADER + 30 * 76);
    let expected: Vec<u64> = (1..=100).filter(|lsn| lsn % 10 != 1).collect();
    assert_eq!(lsns(&read_all(&journal)), expected);
}

/// NSQ went from one bad file to the next without an end when files had vanished, until all was deleted by hand
/// (<https://github.com/nsqio/nsq/issues/1033>).
#[tokio::test]
async fn a_file_that_vanishes_while_it_is_in_use_stalls_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    let places = fill(&journal, 20).await;
    drop(journal);
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    for first in [5, 9] {
        fs::remove_file(segment(dir.path(), first)).unwrap();
    }
    let expected: Vec<u64> = (1..=4).chain(13..=20).collect();
    assert_eq!(lsns(&read_all(&journal)), expected);
    assert!(matches!(
        journal.read(places[5]),
        Err(ReadError::NoSegment { segment: 5 })
    ));
    assert_eq!(journal.damaged().len(), 2);
    assert_eq!(journal.append(vec![draft(b"next")]).await.unwrap().first, 21);
}

/// Logstash did not start with a page or a checkpoint of no bytes, as a crash leaves them
/// (<https://github.com/elastic/logstash/issues/7809>, <https://github.com/elastic/logstash/issues/8218>), nor Artemis with
/// a journal file that was created and not filled (ARTEMIS-135, <https://github.com/apache/artemis/pull/23>).
#[tokio::test]
async fn files_of_no_bytes_are_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    fill(&journal, 12).await;
    drop(journal);
    for name in [
        "journal.id",
        "0000000000000001.cfg",
        "0000000000000005.cfg",
        "repaired",
    ] {
        fs::write(dir.path().join(name), b"").unwrap();
    }
    fs::write(segment(dir.path(), 13), b"").unwrap();
    fs::write(segment(dir.path(), 14), [0; 30]).unwrap();
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    assert_eq!(lsns(&read_all(&journal)), (1..=12).collect::<Vec<_>>());
    let next = journal.append(vec![draft(b"next")]).await.unwrap().first;
    drop(journal);
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    assert_eq!(read_all(&journal).last().unwrap().lsn, next);
}

/// Kafka read two empty segments in a row for ever (KAFKA-9065, <https://github.com/apache/kafka/pull/7554>).
#[tokio::test]
async fn segments_without_a_single_record_are_passed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    let places = fill(&journal, 20).await;
    drop(journal);
    places[4..12].iter().for_each(|place| zero(dir.path(), *place));
    let repair = Journal::repair(dir.path(), 1, |_, _| String::new()).unwrap();
    assert_eq!(repair.rewritten, [5, 9]);
    for first in [5, 9] {
        assert_eq!(fs::metadata(segment(dir.path(), first)).unwrap().len(), HEADER);
    }
    let (journal, recovery) = open_with(dir.path(), HEADER + 4 * 76);
    assert!(!recovery.is_damaged(), "{recovery}");
    let expected: Vec<u64> = (1..=4).chain(13..=20).collect();
    assert_eq!(lsns(&read_all(&journal)), expected);
    assert_eq!(journal.stats().damaged_ranges, 0);
}

/// NSQ wrote where its metadata said after a crash, over messages that were there already
/// (<https://github.com/nsqio/go-diskqueue/issues/28>).
#[tokio::test]
async fn what_describes_the_journal_never_says_where_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    fill(&journal, 6).await;
    drop(journal);
    let earlier = fs::read(dir.path().join("0000000000000001.cfg")).unwrap();
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    fill(&journal, 5).await;
    drop(journal);
    for first in [1, 5, 9] {
        fs::write(dir.path().join(format!("{first:016x}.cfg")), &earlier).unwrap();
    }
    let (journal, _) = open_with(dir.path(), HEADER + 4 * 76);
    assert_eq!(fill(&journal, 1).await[0].segment, 9);
    assert_eq!(lsns(&read_all(&journal)), (1..=12).collect::<Vec<_>>());
}

/// queuelib's disk queue was empty after a process that ended without closing it
/// (<https://github.com/scrapy/queuelib/issues/5>), and persist-queue's not readable after a reset, since nothing was
/// synced (<https://github.com/peter-wangxu/persist-queue/issues/56>).
#[tokio::test]
async fn what_was_acknowledged_needs_no_flush_and_no_close() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_with(dir.path(), 1 << 20);
    fill(&journal, 5).await;
    let moment = tempfile::tempdir().unwrap();
    copy(dir.path(), moment.path());
    // Never closed: what there is of it is what was answered for.
    std::mem::forget(journal);
    let (journal, recovery) = open_with(moment.path(), 1 << 20);
    assert!(recovery.torn_tail.is_none());
    assert_eq!(lsns(&read_all(&journal)), [1, 2, 3, 4, 5]);
}
