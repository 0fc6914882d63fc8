//! Writes and syncs of the journal that fail for good: nobody knows any more what is on the device.

use fastrand::Rng;

use super::bench::Bench;
use crate::support::{
    disk::{Cut, Effect, Errno, Fault, Op},
    server::wait_for,
};

/// A fault that the server must not live through, and what it has to say.
struct Final {
    arm: fn(&Bench),
    says: [&'static str; 3],
}

const EIO: &str = "Input/output error";
const SEGMENTS: &str = "data/journal/*.seg";

fn fail(ops: &[Op], pattern: &str, times: u64) -> Fault {
    Fault::new(ops, pattern, Effect::Fail(Errno::EIO)).times(times)
}

fn ends_and_loses_nothing(fault: &Final, cut: Cut) -> Option<()> {
    println!("{:?}, then {cut:?}", fault.says);
    let mut bench = Bench::start()?;
    bench.under_load(8, |bench| {
        bench.wait_acknowledged(30);
        (fault.arm)(bench);
        bench.ends_saying(&fault.says);
        bench.heal();
        bench.wait_acknowledged(30);
    });
    bench.knows_all();
    // What came back after the fault has to be on the device by now, whatever the failed sync had dropped.
    let mut rng = Rng::with_seed(7);
    bench.cut(cut, &mut rng);
    bench.knows_all();
    bench.is_whole();
    Some(())
}

#[test]
fn a_write_or_sync_that_fails_ends_the_server_and_loses_nothing_that_was_acknowledged() {
    let faults = [
        Final {
            arm: |bench| bench.arm(fail(&[Op::Write], SEGMENTS, 1)),
            says: ["could not write to journal segment", ".seg", EIO],
        },
        Final {
            arm: |bench| bench.arm(Fault::new(&[Op::Sync], SEGMENTS, Effect::Lose(Errno::EIO)).times(1)),
            says: ["could not sync journal segment", ".seg", EIO],
        },
        Final {
            arm: |bench| bench.arm(Fault::new(&[Op::Sync], SEGMENTS, Effect::Lose(Errno::EIO)).after(5)),
            says: ["could not sync journal segment", ".seg", EIO],
        },
        Final {
            arm: |bench| bench.arm(Fault::new(&[Op::Sync], SEGMENTS, Effect::Lose(Errno::ENOSPC)).times(1)),
            says: [
                "could not sync journal segment",
                ".seg",
                "No space left on device",
            ],
        },
        Final {
            arm: |bench| bench.arm(fail(&[Op::Create], "data/journal/*.seg.tmp", 1)),
            says: ["could not create journal segment", ".seg", EIO],
        },
        Final {
            arm: |bench| bench.arm(fail(&[Op::Rename], SEGMENTS, 1)),
            says: ["could not create journal segment", ".seg", EIO],
        },
        Final {
            arm: |bench| bench.arm(fail(&[Op::SyncFolder], "data/journal", 1)),
            says: ["could not create journal segment", ".seg", EIO],
        },
        Final {
            arm: |bench| bench.disk().set_read_only(true),
            // A write or a sync, whichever comes first.
            says: ["journal segment", ".seg", "Read-only file system"],
        },
    ];
    for (fault, cut) in faults
        .iter()
        .zip([Cut::Drop, Cut::Drop, Cut::Some].iter().cycle())
    {
        if ends_and_loses_nothing(fault, *cut).is_none() {
            return;
        }
    }
}

#[test]
fn what_a_failed_sync_had_dropped_is_on_the_device_before_it_is_acknowledged_again() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(5);
    bench.arm(Fault::new(&[Op::Sync], SEGMENTS, Effect::Lose(Errno::EIO)).times(1));
    let answer = bench.load.post("again");
    assert!(answer.is_none_or(|answer| answer.status == 503));
    bench.ends_saying(&["could not sync journal segment", EIO]);
    bench.heal();
    // The page cache still has it. So it is known, which is an acknowledgement as good as the first.
    let again = bench.load.post("again").unwrap();
    assert!(matches!(again.status, 200 | 202), "{}", again.text());
    bench.accept(1);
    bench.cut(Cut::Drop, &mut Rng::with_seed(1));
    bench.knows_all();
    bench.is_whole();
}

#[test]
fn a_disk_that_takes_nothing_at_all_ends_the_server_and_not_more() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.under_load(8, |bench| {
        for _ in 0..5 {
            bench.wait_acknowledged(10);
            bench.arm(fail(&[Op::Write, Op::Sync, Op::SyncFolder], "*", u64::MAX));
            bench.ends_saying(&["journal segment", EIO]);
            bench.heal();
        }
    });
    bench.is_whole();
}

#[test]
fn short_writes_and_interrupted_calls_are_invisible() {
    let ops = [
        Op::Open,
        Op::Read,
        Op::Write,
        Op::Truncate,
        Op::Sync,
        Op::SyncFolder,
    ];
    let faults = [
        Fault::new(&[Op::Write], "data/journal/*", Effect::Short(1)).times(9000),
        Fault::new(&[Op::Write], "*", Effect::Short(511)),
        Fault::new(&ops, "data/journal*", Effect::Fail(Errno::EINTR)).times(300),
    ];
    for fault in faults {
        println!("{fault:?}");
        let Some(mut bench) = Bench::start() else {
            return;
        };
        bench.accept(1);
        bench.arm(fault.clone());
        bench.accept(30);
        assert!(bench.disk().struck() > 0);
        bench.server.kill();
        bench.disk().disarm();
        bench.arm(fault);
        bench.server.restart();
        bench.accept(10);
        bench.knows_all();
        let log = bench.server.log();
        assert!(!log.contains("ERROR") && !log.contains("damaged"), "{log}");
        wait_for("deliveries", || (bench.sink.count() >= 41).then_some(()));
        bench.is_whole();
    }
}
