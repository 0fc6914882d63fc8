//! A gate without a clock: how many instructions the hot functions take, by callgrind, beside those of the baseline.
//!
//! `.ci/counts` compares, `.ci/counts --write` takes what is now as the baseline; a filter as in `cargo bench` is for a
//! look at some of them. Each part runs in a process of its own below valgrind, which collects only while it is in
//! [`measured`]; what it has collected is divided by how often the part's thing was done.
//!
//! Gungraun (which was iai-callgrind) does the same and more, but its runner is a program of its own that takes three
//! minutes of CPU to build, its baselines are files of callgrind's below `target/`, and what is needed of it is the
//! hundred lines here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench ends when its machine fails it"
)]

mod baseline;

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use baseline::{Baseline, Count, Maker};
use posthaste::bench::{Once, Part, Room, all};

/// Deliveries of a deep schedule: valgrind is some fifty times as slow as the processor.
const DEPTH: u64 = 2000;
/// Executions before those that are counted: what is made once is made then.
const WARM_UPS: u32 = 2;
/// Executions that are counted together, so that what happens now and then counts with its share.
const EXECUTIONS: u32 = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match &arguments[..] {
        [flag, name] if flag == "--part" => {
            run(name);
            ExitCode::SUCCESS
        }
        [flag] if flag == "--write" => write(),
        filters => compare(filters),
    }
}

/// Below valgrind: does a part.
fn run(name: &str) {
    let part = all().into_iter().find(|part| part.name == name).unwrap();
    let folder = folder();
    let mut work = (part.prepare)(Room {
        folder: folder.path(),
        depth: DEPTH,
    });
    (0..WARM_UPS).for_each(|_| work()());
    for _ in 0..EXECUTIONS {
        measured(work());
    }
}

/// What is counted. Valgrind is given its name.
#[inline(never)]
fn measured(once: Once) {
    once();
    // Not in the last place, where it would become a jump.
    std::hint::black_box(());
}

fn folder() -> tempfile::TempDir {
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Instructions for each time that the part's thing is done.
fn count(part: &Part, folder: &Path) -> f64 {
    let out = folder.join("callgrind.out");
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=counts::measured", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().unwrap())
        .args(["--part", part.name])
        .stdin(Stdio::null())
        .output();
    let done = done.unwrap_or_else(|error| panic!("valgrind: {error}"));
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {told}", part.name);
    let profile = fs::read_to_string(&out).unwrap();
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = totals
        .unwrap_or_else(|| panic!("no totals: {told}"))
        .trim()
        .parse()
        .unwrap();
    assert!(total > 0.0, "{}: nothing was collected; {told}", part.name);
    total / f64::from(EXECUTIONS) / f64::from(part.items)
}

fn counts(wanted: impl Fn(&str) -> bool) -> Vec<Count> {
    let folder = folder();
    let parts = all().into_iter().filter(|part| wanted(part.name));
    let counted = |part: Part| {
        Some(Count {
            name: part.name,
            tolerance: part.tolerance?,
            each: count(&part, folder.path()),
        })
    };
    parts.filter_map(counted).collect()
}

fn write() -> ExitCode {
    let baseline = Baseline::new(Maker::here(), &counts(|_| true));
    fs::write(Baseline::PATH, baseline.to_string()).unwrap();
    println!("{baseline}");
    ExitCode::SUCCESS
}

fn compare(filters: &[String]) -> ExitCode {
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|part| name.contains(part.as_str()));
    let counts = counts(wanted);
    let baseline: Baseline = fs::read_to_string(Baseline::PATH).unwrap().parse().unwrap();
    let here = Maker::here();
    if here != baseline.maker {
        println!(
            "not compared: the baseline is of {},\nthis is {here}",
            baseline.maker
        );
        for Count { name, each, .. } in counts {
            println!("{each:>12.0}  {name}");
        }
        return ExitCode::SUCCESS;
    }
    let comparison = baseline.compare(&counts, filters.is_empty());
    println!("{comparison}");
    if comparison.fails() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
