//! Faults while the server starts and stops.

use serde_json::json;

use super::bench::Bench;
use crate::support::seed::is_soak;
use crate::support::{
    disk::{Effect, Errno, Fault, Op},
    gate::Gate,
    server::wait_for,
    sink::{Sink, answer},
};

/// Waits until the server is ready or has ended; answers whether it is ready.
fn comes_up(bench: &mut Bench) -> bool {
    wait_for("a start or its end", || {
        if bench.server.ended().is_some() {
            return Some(false);
        }
        let answer = bench.server.try_request("GET", "/readyz", None, b"");
        answer.is_ok_and(|answer| answer.status == 200).then_some(true)
    })
}

/// A first start of which the n-th change fails; answers whether there was an n-th.
fn first_start(errno: Errno, n: u64) -> Option<bool> {
    let fault = Fault::new(&Op::CHANGES, "*", Effect::Fail(errno))
        .after(n)
        .times(1);
    let mut bench = Bench::spawn(&[fault])?;
    let up = comes_up(&mut bench);
    let (struck, log) = (bench.disk().struck(), bench.news());
    assert!(up || struck > 0, "{log}");
    if !up {
        let last = log
            .lines()
            .rfind(|line| line.starts_with("posthaste: "))
            .unwrap_or_default();
        let said = ["Input/output error", "No space left on device"]
            .iter()
            .any(|text| last.contains(text));
        assert!(last.starts_with("posthaste: ") && said, "change {n}: {log}");
    }
    // Whatever it left behind, the next start is a start.
    bench.heal();
    if up {
        // It may be about to notice that its store has failed, and answer 503 while it opens that again.
        bench.server.kill();
        bench.server.restart();
    }
    bench.receive();
    bench.accept(2);
    bench.is_whole();
    Some(struck > 0)
}

#[test]
fn a_first_start_that_fails_at_any_change_is_no_obstacle_to_the_next() {
    let all = is_soak();
    let mut tried = 0;
    for errno in [Errno::EIO, Errno::ENOSPC] {
        let mut n = u64::from(errno == Errno::ENOSPC);
        loop {
            match first_start(errno, n) {
                None => return,
                Some(false) => break,
                Some(true) => tried += 1,
            }
            n += if all { 1 } else { 3 };
        }
    }
    println!("{tried} changes of a first start failed");
    assert!(tried > 5);
}

#[test]
fn a_folder_that_is_read_only_is_refused_with_what_to_do() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(3);
    assert_eq!(bench.server.stop().code(), Some(0));
    bench.disk().set_read_only(true);
    bench.server.respawn();
    bench.ends_saying(&["data is on a file system that is read-only", "remount,rw"]);
    bench.heal();
    bench.knows_all();
    bench.is_whole();
}

#[test]
fn a_journal_that_cannot_sync_at_the_end_does_not_end_well() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    let gate = Gate::default();
    let door = gate.clone();
    let slow = Sink::deciding(move |_, _| {
        door.pass();
        answer(200, "")
    });
    bench
        .server
        .endpoint(&json!({"url": slow.url(), "timeout": "5m"}));
    bench.accept(1);
    wait_for("an attempt", || (slow.count() == 1).then_some(()));
    bench.all_arrive();
    // The other endpoint's verdict is synced; this one's is the last thing that is written.
    wait_for("a verdict", || {
        let status = bench.server.get("/v1/status");
        (status["deliveries"]["delivered"] == 1
            && status["journal"]["synced_lsn"] == status["journal"]["last_lsn"])
            .then_some(())
    });
    bench.arm(Fault::new(
        &[Op::Sync],
        "data/journal/*.seg",
        Effect::Lose(Errno::EIO),
    ));
    bench.server.terminate();
    wait_for("the beginning of the end", || {
        bench
            .server
            .log()
            .contains("waiting for attempts that are out")
            .then_some(())
    });
    gate.open();
    bench.ends_saying(&[
        "the journal has failed",
        "could not sync journal segment",
        "Input/output error",
    ]);
    assert!(!bench.disk().path().join("data/clean").exists());
    bench.heal();
    bench.knows_all();
    bench.is_whole();
}
