//! Disks that are full where and when it hurts. What really fills up is in `disk.rs`.

use serde_json::json;

use super::bench::Bench;
use crate::support::{
    disk::{Effect, Errno, Fault, Op},
    server::wait_for,
    sink::{Sink, answer},
};

/// Events until the next segment is sure to be begun.
const SEGMENT: usize = 20;

fn refuses_and_recovers(errno: Errno, ops: &[Op], pattern: &str) -> Option<()> {
    println!("{errno:?} at {ops:?} of {pattern}");
    let mut bench = Bench::start()?;
    bench.accept(3);
    bench.arm(Fault::new(ops, pattern, Effect::Fail(errno)));
    let refused = bench.send_until(507);
    assert_eq!(refused.json()["type"], "/problems/disk-full");
    assert!(refused.head.contains("\r\nretry-after: "), "{}", refused.head);
    // What was accepted is delivered, though there is no room for what comes of it.
    bench.all_arrive();
    bench.under_load(4, |bench| {
        wait_for("more refusals", || (bench.load.answered(507) > 20).then_some(()));
        bench.disk().disarm();
        bench.wait_acknowledged(2 * SEGMENT);
    });
    assert_eq!(bench.server.ended(), None, "{}", bench.server.log());
    bench.is_whole();
    Some(())
}

#[test]
fn a_journal_without_room_refuses_and_goes_on_by_itself_when_there_is_some() {
    let places: [(&[Op], &str); 5] = [
        (&[Op::Write], "data/journal/*.seg"),
        (&[Op::Create], "data/journal/*.seg.tmp"),
        (&[Op::Write], "data/journal/*.seg.tmp"),
        (&[Op::Rename], "data/journal/*.seg"),
        (&[Op::SyncFolder], "data/journal"),
    ];
    for (ops, pattern) in places {
        if refuses_and_recovers(Errno::ENOSPC, ops, pattern).is_none() {
            return;
        }
    }
    refuses_and_recovers(Errno::EDQUOT, &[Op::Write], "data/journal/*.seg");
}

#[test]
fn a_server_that_starts_without_a_byte_free_delivers() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    // Each event is refused once, so that it is due again after the next start.
    let sink = Sink::deciding(|_, before| answer(if before == 0 { 503 } else { 200 }, ""));
    bench
        .server
        .endpoint(&json!({"url": sink.url(), "retry": {"retries": 3, "delay": "2s"}}));
    bench.accept(1);
    bench.all_arrive();
    wait_for("the first attempt", || (sink.count() == 1).then_some(()));
    assert_eq!(bench.server.stop().code(), Some(0), "{}", bench.server.log());
    // As after a reboot: what says in which boot the store was opened has to be written anew.
    bench.server.set_environment("POSTHASTE_BOOT_ID", "another boot");
    let used = bench.disk().used();
    bench.disk().set_space(Some((used, Errno::ENOSPC)));
    bench.server.restart();
    wait_for("the second attempt", || (sink.count() == 2).then_some(()));
    assert_eq!(bench.send_until(507).status, 507);
    let log = bench.news();
    assert!(log.contains("a hint for the next start was not written"), "{log}");
    assert!(bench.server.ended().is_none());
    bench.heal();
    bench.accept(1);
    bench.settles();
    assert_eq!(bench.server.get("/v1/status")["store"]["rebuilds"], 0);
    bench.is_whole();
}

#[test]
fn a_segment_without_room_for_its_sidecar_is_as_good() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.arm(Fault::new(
        &[Op::Create, Op::Write],
        "data/journal/*.cfg.tmp",
        Effect::Fail(Errno::ENOSPC),
    ));
    bench.accept(3 * SEGMENT);
    assert!(bench.disk().struck() > 1);
    assert!(bench.news().contains("journal sidecar not written"));
    bench.server.kill();
    bench.heal();
    bench.knows_all();
    bench.is_whole();
}

#[test]
fn a_quota_that_is_used_up_again_and_again_loses_nothing() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.under_load(6, |bench| {
        for round in 0..6u64 {
            let used = bench.disk().used();
            bench
                .disk()
                .set_space(Some((used + 30_000 * round, Errno::EDQUOT)));
            let before = bench.load.answered(507) + bench.load.answered(503);
            wait_for("refusals", || {
                (bench.load.answered(507) + bench.load.answered(503) > before + 10).then_some(())
            });
            bench.disk().set_space(None);
            bench.wait_acknowledged(SEGMENT);
        }
    });
    assert_eq!(bench.server.ended(), None, "{}", bench.server.log());
    bench.server.wait_ready();
    bench.is_whole();
}
