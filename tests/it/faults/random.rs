//! Random faults at random operations, under load.
//!
//! `POSTHASTE_FAULTS` sets the number of rounds, `POSTHASTE_FAULT_SEED` repeats a run's decisions (not its timing),
//! `POSTHASTE_SOAK=1` makes a thousand rounds.

use std::{collections::BTreeMap, thread, time::Duration};

use fastrand::Rng;

use super::bench::Bench;
use crate::support::disk::{Cut, Effect, Errno, Fault, Op};
use crate::support::seed::{is_soak, number, seed};

const ROUNDS: u64 = 12;
const SOAK_ROUNDS: u64 = 1000;
/// Rounds that one disk lives through.
const LIFE: u64 = 20;
const ALL: [Op; 12] = [
    Op::Open,
    Op::List,
    Op::Read,
    Op::Write,
    Op::Truncate,
    Op::Sync,
    Op::SyncFolder,
    Op::Create,
    Op::MakeFolder,
    Op::Rename,
    Op::Remove,
    Op::RemoveFolder,
];
const PATTERNS: [&str; 8] = [
    "*",
    "data/journal*",
    "data/journal*",
    "data/journal/*.seg",
    "data/journal/*.seg",
    "data/journal/*.tmp",
    "data/store*",
    "data/store*",
];

/// What goes wrong in a round.
fn draw(rng: &mut Rng) -> Fault {
    let ops: Vec<Op> = match rng.u8(0..4) {
        0 => ALL.to_vec(),
        1 => Op::CHANGES.to_vec(),
        2 => vec![Op::Write, Op::Sync, Op::SyncFolder],
        _ => vec![ALL[rng.usize(..ALL.len())]],
    };
    let errno = *rng
        .choice(&[
            Errno::EIO,
            Errno::EIO,
            Errno::ENOSPC,
            Errno::EDQUOT,
            Errno::EROFS,
            Errno::EINTR,
        ])
        .unwrap();
    let effect = match rng.u8(0..6) {
        0 => Effect::Short(rng.usize(1..600)),
        1 | 2 => Effect::Lose(Errno::EIO),
        _ => Effect::Fail(errno),
    };
    let times = *rng.choice(&[1, 1, 2, 5, 20, u64::MAX]).unwrap();
    let after = *rng.choice(&[0, 0, 3, 20, 100]).unwrap();
    let pattern = PATTERNS[rng.usize(..PATTERNS.len())];
    Fault::new(&ops, pattern, effect)
        .after(rng.u64(0..=after))
        .times(times)
}

/// What came of the rounds.
#[derive(Default)]
struct Tally {
    rounds: BTreeMap<&'static str, u64>,
    struck: u64,
    acknowledged: usize,
}

#[test]
fn what_was_acknowledged_is_delivered_whatever_the_disk_does() {
    let seed = seed("POSTHASTE_FAULT_SEED");
    let rounds = number("POSTHASTE_FAULTS").unwrap_or(if is_soak() { SOAK_ROUNDS } else { ROUNDS });
    println!("POSTHASTE_FAULTS={rounds}");
    let mut rng = Rng::with_seed(seed);
    let mut tally = Tally::default();
    let mut left = rounds;
    while left > 0 {
        let Some(bench) = Bench::start() else { return };
        live(bench, left.min(LIFE), &mut rng, &mut tally);
        left -= left.min(LIFE);
    }
    println!(
        "{:?}; {} operations went wrong, {} events acknowledged",
        tally.rounds, tally.struck, tally.acknowledged
    );
}

fn live(mut bench: Bench, rounds: u64, rng: &mut Rng, tally: &mut Tally) {
    bench.accept(2);
    bench.under_load(4, |bench| {
        for _ in 0..rounds {
            *tally.rounds.entry(round(bench, rng)).or_default() += 1;
        }
    });
    bench.knows_all();
    tally.struck += bench.disk().struck();
    tally.acknowledged += bench.load.acknowledged().len();
    if rng.bool() {
        bench.cut(Cut::draw(rng), rng);
        bench.knows_all();
    }
    bench.is_whole();
}

/// One fault, while the server runs, stops or starts, until all is well again; answers what came of it.
fn round(bench: &mut Bench, rng: &mut Rng) -> &'static str {
    let fault = draw(rng);
    let restarts = rng.u8(0..4) == 0;
    println!("{fault:?}{}", if restarts { ", and a restart" } else { "" });
    let struck = bench.disk().struck();
    bench.arm(fault);
    if restarts {
        if rng.bool() {
            bench.server.terminate();
        } else {
            bench.server.shoot();
        }
        bench.server.wait();
        bench.server.respawn();
    }
    thread::sleep(Duration::from_millis(rng.u64(20..400)));
    bench.disk().disarm();
    let ended = bench.server.ended();
    if let Some(status) = ended {
        assert_eq!(status.code(), Some(1), "{}", bench.server.log());
        let log = bench.news();
        assert!(
            log.lines()
                .last()
                .is_some_and(|last| last.starts_with("posthaste: ")),
            "{log}"
        );
    }
    bench.comes_back();
    bench.wait_acknowledged(3);
    match (bench.disk().struck() > struck, ended) {
        (false, _) => "nothing",
        (true, None) => "survived",
        (true, Some(_)) => "ended",
    }
}
