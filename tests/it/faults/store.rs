//! A store that cannot write or read, beside a journal that can.

use serde_json::json;

use super::bench::Bench;
use crate::support::{
    disk::{Effect, Errno, Fault, Op},
    server::wait_for,
};

const STORE: &str = "data/store*";

/// Accepts an event without an id, for which nothing has to be looked up. Its id is the answer.
fn accept_blindly(bench: &Bench) -> bool {
    bench
        .server
        .post("/v1/events", &json!({"type": "a.b", "data": 1}))
        .status
        == 202
}

fn fails(errno: Errno, ops: &[Op]) -> Option<()> {
    println!("{errno:?} at {ops:?}");
    let mut bench = Bench::start()?;
    bench.accept(5);
    bench.arm(Fault::new(ops, STORE, Effect::Fail(errno)));
    let blind = bench.under_load(2, |bench| {
        wait_for("a store that is given up", || {
            accept_blindly(bench);
            (bench.server.get("/v1/status")["state"] == "rebuilding").then_some(())
        });
        let unready = bench.server.request("GET", "/readyz", None, b"");
        assert_eq!(unready.status, 503);
        assert!(
            unready.text().contains("the store is being rebuilt"),
            "{}",
            unready.text()
        );
        let blind = (0..10).filter(|_| accept_blindly(bench)).count();
        bench.disk().disarm();
        bench.server.wait_ready();
        bench.wait_acknowledged(20);
        blind
    });
    assert_eq!(blind, 10, "the journal goes on");
    assert_eq!(bench.server.ended(), None);
    let status = bench.settles();
    assert_eq!(status["deliveries"]["delivered"], status["events"]);
    println!("{} rebuilds", status["store"]["rebuilds"]);
    bench.is_whole();
    Some(())
}

#[test]
fn a_store_that_fails_is_opened_again_while_the_journal_goes_on() {
    for (errno, ops) in [
        (Errno::EIO, &[Op::Write][..]),
        (Errno::EIO, &[Op::Write, Op::Read, Op::Create, Op::Rename]),
        (Errno::ENOSPC, &[Op::Write, Op::Create]),
    ] {
        if fails(errno, ops).is_none() {
            return;
        }
    }
}

#[test]
fn a_server_whose_store_cannot_be_opened_still_stops_when_it_is_told_to() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(5);
    bench.arm(Fault::new(
        &[Op::Write, Op::Create],
        STORE,
        Effect::Fail(Errno::EIO),
    ));
    wait_for("a store that is given up", || {
        accept_blindly(&bench);
        (bench.server.get("/v1/status")["state"] == "rebuilding").then_some(())
    });
    bench.server.stop();
    bench.heal();
    bench.knows_all();
    bench.is_whole();
}

/// The server is started again under a fault that passes, and has the store as it was.
fn opens_the_same_store(errno: Errno, ops: &[Op]) -> Option<()> {
    println!("{errno:?} at {ops:?}");
    let mut bench = Bench::start()?;
    bench.accept(5);
    bench.all_arrive();
    bench.settles();
    bench.server.kill();
    bench.arm(Fault::new(ops, STORE, Effect::Fail(errno)).times(3));
    bench.server.restart();
    assert!(bench.disk().struck() > 0);
    assert_eq!(
        bench.server.get("/v1/status")["store"]["rebuilds"],
        0,
        "{}",
        bench.server.log()
    );
    bench.is_whole();
    Some(())
}

#[test]
fn a_store_that_cannot_be_opened_for_want_of_something_is_not_rebuilt() {
    for (errno, ops) in [
        (Errno::EMFILE, &[Op::Open][..]),
        (Errno::ENOMEM, &[Op::Open, Op::Read]),
        (Errno::ENOSPC, &[Op::Create, Op::Write]),
    ] {
        if opens_the_same_store(errno, ops).is_none() {
            return;
        }
    }
}

#[test]
fn a_store_that_fails_for_want_of_space_is_opened_again_and_not_rebuilt() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(5);
    bench.arm(Fault::new(&[Op::Write], STORE, Effect::Fail(Errno::ENOSPC)));
    bench.under_load(2, |bench| {
        // Several times in a row, as often as makes another failure a reason to begin afresh.
        wait_for("a store that is opened again and again", || {
            accept_blindly(bench);
            let again = bench.server.log().matches("the store was opened again").count();
            let unopened = bench.server.log().matches("the store cannot be opened").count();
            (again + unopened >= 3).then_some(())
        });
        bench.disk().disarm();
        bench.server.wait_ready();
    });
    bench.settles();
    assert_eq!(
        bench.server.get("/v1/status")["store"]["rebuilds"],
        0,
        "{}",
        bench.server.log()
    );
    bench.is_whole();
}

#[test]
fn a_store_that_fails_keeps_no_server_from_stopping() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.under_load(4, |bench| {
        for after in 0..12 {
            bench.wait_acknowledged(5);
            let fault = Fault::new(&[Op::Write], STORE, Effect::Fail(Errno::EIO));
            bench.arm(fault.after(after % 6).times(1 + after / 6));
            bench.server.terminate();
            bench.server.wait();
            bench.heal();
        }
    });
    bench.is_whole();
}
