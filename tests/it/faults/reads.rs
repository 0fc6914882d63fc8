//! Reads that fail: what passes is waited for, what does not is named, and nothing is thrown away.

use std::fs;

use serde_json::json;

use super::bench::Bench;
use crate::support::{
    disk::{Effect, Errno, Fault, Op},
    server::wait_for,
};

const SEGMENTS: &str = "data/journal/*.seg";

fn unreadable(pattern: &str) -> Fault {
    Fault::new(&[Op::Read], pattern, Effect::Fail(Errno::EIO))
}

/// The server is gone without a stop, and started again under a fault.
fn restart_under(bench: &mut Bench, fault: Fault) {
    bench.server.kill();
    bench.arm(fault);
    bench.server.restart();
}

#[test]
fn a_payload_that_cannot_be_read_now_is_delivered_when_it_can_and_costs_no_attempt() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    let endpoint = bench.server.list("/v1/endpoints")[0]["id"].clone();
    let endpoint = format!("/v1/endpoints/{}", endpoint.as_str().unwrap());
    let command = |bench: &Bench, verb: &str| {
        let answer = bench.server.post(&format!("{endpoint}/{verb}"), &json!({}));
        assert_eq!(answer.status, 200);
    };
    command(&bench, "pause");
    bench.accept(1);
    // What it has just written a server remembers; the next one has to read it.
    bench.server.kill();
    bench.server.restart();
    bench.arm(unreadable(SEGMENTS));
    command(&bench, "enable");
    let held = wait_for("an attempt that came to nothing", || {
        let delivery = bench.server.delivery_in("e0", "scheduled");
        (!delivery["last_outcome"].is_null()).then_some(delivery)
    });
    let last = &held["last_outcome"];
    assert_eq!(
        (&last["outcome"], &last["reason"]),
        (&json!("ours"), &json!("disk")),
        "{last}"
    );
    assert_eq!(bench.sink.count(), 0);
    bench.disk().disarm();
    let delivered = bench.server.delivery_in("e0", "delivered");
    assert_eq!(delivered["id"], held["id"]);
    bench.is_whole();
}

#[test]
fn what_was_accepted_a_moment_ago_is_delivered_without_reading_the_disk() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.arm(unreadable(SEGMENTS));
    bench.accept(20);
    bench.all_arrive();
    assert_eq!(bench.disk().struck(), 0);
    bench.disk().disarm();
    bench.is_whole();
}

#[test]
fn a_start_waits_for_a_device_that_does_not_answer_for_a_moment() {
    for lost_store in [false, true] {
        let Some(mut bench) = Bench::start() else {
            return;
        };
        bench.accept(50);
        bench.all_arrive();
        bench.settles();
        bench.server.kill();
        if lost_store {
            fs::remove_dir_all(bench.disk().path().join("data/store")).unwrap();
        }
        bench.arm(unreadable(SEGMENTS).times(5));
        bench.server.restart();
        assert_eq!(bench.disk().struck(), 5);
        let status = bench.settles();
        assert_eq!(status["warnings"], json!([]));
        assert_eq!(status["events"], 50);
        bench.knows_all();
        bench.is_whole();
    }
}

#[test]
fn an_end_of_the_journal_that_cannot_be_read_is_neither_cut_off_nor_written_over() {
    for from in [0, 1] {
        let Some(mut bench) = Bench::start() else {
            return;
        };
        // Nothing can be delivered before the end.
        let endpoint = bench.server.list("/v1/endpoints")[0]["id"].clone();
        let endpoint = format!("/v1/endpoints/{}", endpoint.as_str().unwrap());
        assert_eq!(
            bench.server.post(&format!("{endpoint}/pause"), &json!({})).status,
            200
        );
        bench.accept(8);
        // The header is read first; without it, or with it and nothing else.
        restart_under(&mut bench, unreadable(SEGMENTS).after(from));
        let warnings = bench.server.get("/v1/status")["warnings"].to_string();
        assert!(warnings.contains("journal"), "{warnings}");
        bench.accept(3);
        bench.server.kill();
        bench.disk().disarm();
        bench.server.restart();
        bench.knows_all();
        assert_eq!(
            bench
                .server
                .post(&format!("{endpoint}/enable"), &json!({}))
                .status,
            200
        );
        bench.all_arrive();
        bench.settles();
    }
}

#[test]
fn records_that_cannot_be_read_while_the_store_is_rebuilt_are_waited_for() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(60);
    bench.all_arrive();
    bench.settles();
    let count = bench.server.get("/v1/status")["events"].clone();
    bench.server.kill();
    fs::remove_dir_all(bench.disk().path().join("data/store")).unwrap();
    // Past what opening reads: the sealed segments, when they are replayed.
    bench.arm(unreadable("data/journal/0000000000000001.seg").after(2).times(6));
    bench.server.restart();
    assert!(bench.disk().struck() > 0);
    let status = bench.settles();
    assert_eq!((&status["events"], &status["warnings"]), (&count, &json!([])));
    bench.is_whole();
}

#[test]
fn a_segment_that_cannot_be_opened_is_told_of_once_and_read_when_it_can_be() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(60);
    bench.all_arrive();
    bench.settles();
    // Not the first, which is opened for its configuration.
    let folder = fs::read_dir(bench.disk().path().join("data/journal")).unwrap();
    let names = folder
        .flatten()
        .map(|file| file.file_name().into_string().unwrap());
    let mut segments: Vec<_> = names.filter(|name| name.ends_with(".seg")).collect();
    segments.sort();
    let second = format!("data/journal/{}", segments[1]);
    let met = (0..6).any(|after| {
        _ = bench.server.ended().is_none().then(|| bench.server.kill());
        fs::remove_dir_all(bench.disk().path().join("data/store")).unwrap();
        bench.news();
        // A start opens it a few times before the applier does.
        bench.arm(Fault::new(&[Op::Open], &second, Effect::Fail(Errno::EACCES)).after(after));
        bench.server.respawn();
        let unreadable = wait_for("a start, its end, or a journal that cannot be read", || {
            if bench.server.ended().is_some() {
                return Some(false);
            }
            let answer = bench.server.try_request("GET", "/readyz", None, b"").ok()?;
            let told = answer.text().contains("the journal cannot be read on");
            (told || answer.status == 200).then_some(told)
        });
        if !unreadable {
            bench.heal();
        }
        unreadable
    });
    assert!(met);
    let metrics = bench.server.request("GET", "/metrics", None, b"").text();
    assert!(
        metrics.contains("posthaste_trouble{trouble=\"journal_unreadable\"} 1"),
        "{metrics}"
    );
    wait_for("some more tries", || (bench.disk().struck() >= 4).then_some(()));
    let said = bench.news().matches("the journal cannot be read on").count();
    assert!(said as u64 <= bench.disk().struck(), "{said}");
    bench.heal();
    assert!(bench.news().contains("the journal can be read on again"));
    bench.is_whole();
}

#[test]
fn an_endpoint_whose_record_cannot_be_read_for_a_moment_is_not_forgotten() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(40);
    bench.all_arrive();
    bench.settles();
    bench.server.kill();
    fs::remove_dir_all(bench.disk().path().join("data/store")).unwrap();
    // The endpoint is the first record; opening reads that segment's header, then its record by its sidecar.
    bench.arm(unreadable("data/journal/0000000000000001.seg").after(1).times(4));
    bench.server.restart();
    assert_eq!(bench.disk().struck(), 4);
    bench.accept(1);
    bench.is_whole();
}

#[test]
fn files_of_the_store_that_cannot_be_read_at_a_start_are_begun_afresh() {
    let Some(mut bench) = Bench::start() else {
        return;
    };
    bench.accept(20);
    bench.all_arrive();
    bench.settles();
    restart_under(&mut bench, unreadable("data/store/*").times(3));
    assert!(bench.disk().struck() > 0);
    bench.heal();
    bench.knows_all();
    bench.accept(3);
    bench.is_whole();
}
