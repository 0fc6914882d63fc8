//! Disks that do not answer.

use std::{os::unix::net::UnixDatagram, sync::mpsc, thread, time::Duration};

use serde_json::json;

use super::bench::Bench;
use crate::support::{
    disk::{Effect, Fault, Op},
    gate::Gate,
    server::{raw, wait_for},
    sink::{Sink, answer},
};

#[test]
fn a_sync_that_does_not_return_is_told_of_and_waited_for() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(3);
    bench.arm(Fault::new(&[Op::Sync], "data/journal/*.seg", Effect::Hang));
    bench.under_load(6, |bench| {
        wait_for("a sync that hangs", || (bench.disk().hanging() > 0).then_some(()));
        let acknowledged = bench.load.acknowledged().len();
        assert_eq!(bench.server.request("GET", "/healthz", None, b"").status, 200);
        let unready = wait_for("a probe that says so", || {
            let answer = bench.server.request("GET", "/readyz", None, b"");
            (answer.status == 503).then(|| answer.text())
        });
        assert!(
            unready.contains("the journal has been writing or syncing"),
            "{unready}"
        );
        assert_eq!(bench.load.acknowledged().len(), acknowledged);
        bench.disk().disarm();
        bench.disk().release();
        bench.wait_acknowledged(20);
        bench.server.wait_ready();
    });
    assert_eq!(bench.server.ended(), None);
    bench.is_whole();
}

#[test]
fn a_disk_that_does_not_answer_at_all_leaves_the_server_answering() {
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
        .endpoint(&json!({"url": slow.url(), "timeout": "5m", "concurrency": 8}));
    bench.accept(40);
    wait_for("attempts", || (slow.count() == 8).then_some(()));
    bench.all_arrive();
    bench.disk().freeze();
    // The next attempts read their payloads from a disk that does not answer: more than there are threads that serve.
    gate.open();
    let patience = Duration::from_secs(5);
    let (said, heard) = mpsc::channel();
    let socket = bench.server.socket();
    thread::spawn(move || {
        for _ in 0..200 {
            let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            assert_eq!(raw(&socket, request).unwrap().status, 200);
            thread::sleep(Duration::from_millis(5));
        }
        said.send(()).unwrap();
    });
    let answered = heard.recv_timeout(patience);
    bench.disk().thaw();
    assert!(answered.is_ok(), "requests wait for the disk");
    wait_for("the other attempts", || (slow.count() >= 40).then_some(()));
    bench.is_whole();
}

#[test]
fn a_second_signal_ends_a_server_whose_disk_does_not_answer() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(3);
    bench.all_arrive();
    bench.arm(Fault::new(&[Op::Sync], "data/journal/*.seg", Effect::Hang));
    bench.under_load(2, |bench| {
        wait_for("a sync that hangs", || (bench.disk().hanging() > 0).then_some(()));
        bench.server.terminate();
        wait_for("the server to stop", || {
            bench.server.log().contains("stopping").then_some(())
        });
        bench.server.terminate();
        // A process that waits for a FUSE disk is gone only when the disk has answered.
        wait_for("the server to give up", || {
            bench
                .server
                .log()
                .contains("the process ends as it is")
                .then_some(())
        });
        bench.disk().disarm();
        bench.disk().release();
        assert_eq!(bench.server.wait().code(), Some(1), "{}", bench.server.log());
        bench.server.restart();
        bench.wait_acknowledged(20);
    });
    bench.is_whole();
}

#[test]
fn the_service_manager_is_not_told_that_a_stuck_server_is_alive() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    let path = bench.server.socket().with_extension("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let fed = || {
        let mut buffer = [0; 1024];
        let mut fed = false;
        while let Ok(length) = manager.recv(&mut buffer) {
            fed |= buffer[..length].starts_with(b"WATCHDOG=1");
        }
        fed
    };
    bench.server.kill();
    bench
        .server
        .set_environment("NOTIFY_SOCKET", path.to_str().unwrap());
    bench.server.set_environment("WATCHDOG_USEC", "200000");
    bench.server.restart();
    wait_for("a sign of life", || fed().then_some(()));
    bench.arm(Fault::new(&[Op::Sync], "data/journal/*.seg", Effect::Hang));
    bench.under_load(1, |bench| {
        wait_for("a probe that says so", || {
            (bench.server.request("GET", "/readyz", None, b"").status == 503).then_some(())
        });
        wait_for("the end of the signs of life", || {
            fed();
            thread::sleep(Duration::from_millis(400));
            (!fed()).then_some(())
        });
        bench.disk().disarm();
        bench.disk().release();
        wait_for("a sign of life", || fed().then_some(()));
    });
    bench.is_whole();
}
