//! Crash points by system call: the server is killed as it enters the n-th call of a kind, for n = 1, 2, 3 and so on,
//! until a run ends without being killed.
//!
//! A small errand is run each time: a start, events one by one, changes of configuration, a change of segment,
//! deliveries, a stop. strace kills, and counts for each thread by itself: the first thread to make its n-th call is
//! killed in it. So a server is also traced from when it is ready, where the threads that write are the first.
//!
//! By default some points of all are taken, others at every run; `POSTHASTE_CRASH_POINTS` says how many, `all`, or
//! one (`start:openat:17`); `POSTHASTE_SOAK=1` takes all. Which thread makes its n-th call first differs from run to run.

mod errand;
mod tracer;

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use fastrand::Rng;

use self::{
    errand::{Errand, Template},
    tracer::{Ended, Point, SYSCALLS, Scene},
};
use crate::support::seed::{is_soak, seed};
use crate::support::skip::{Need, skip};

const POINTS: usize = 36;
/// Points that are tried at once.
const WORKERS: usize = 2;

/// What was tried, and how often it was a kill.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<Kind, (u64, u64)>>);

/// Where a system call was made, and which.
type Kind = (Scene, &'static str);

impl Tally {
    fn count(&self, point: Point, killed: bool) {
        let mut tally = self.0.lock().unwrap();
        let (tried, kills) = tally.entry((point.scene, point.syscall)).or_default();
        *tried += 1;
        *kills += u64::from(killed);
    }

    fn print(&self) -> u64 {
        let tally = self.0.lock().unwrap();
        for ((scene, syscall), (tried, kills)) in &*tally {
            println!(
                "{:6} {syscall}: {tried} points tried, {kills} kills",
                scene.name()
            );
        }
        tally.values().map(|(_, kills)| kills).sum()
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_at_any_system_call() {
    if let Err(reason) = tracer::is_possible() {
        skip(Need::Strace, &reason);
        return;
    }
    let template = Template::make();
    let asked = env::var("POSTHASTE_CRASH_POINTS").ok();
    let soak = is_soak();
    let tally = Tally::default();
    if let Some(point) = asked.as_deref().and_then(Point::parse) {
        tally.count(point, try_point(&template, point, 0));
    } else if asked.as_deref() == Some("all") || (asked.is_none() && soak) {
        try_all(&template, &tally);
    } else {
        let count = asked.map_or(POINTS, |text| text.parse().expect("POSTHASTE_CRASH_POINTS"));
        try_some(&template, count, &tally);
    }
    assert!(tally.print() > 0, "nothing was ever killed");
}

/// Tries a kill; answers whether there was one.
fn try_point(template: &Template, point: Point, number: u64) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mut errand = Errand::new(template, dir.path(), point.scene, number);
    let Ended { killed, log } = errand.run_under(point);
    if !killed {
        return false;
    }
    errand
        .look()
        .unwrap_or_else(|loss| panic!("POSTHASTE_CRASH_POINTS={point}: {loss}\n{log}"));
    true
}

/// Every n-th of all points that a first run without a kill counts.
fn try_some(template: &Template, count: usize, tally: &Tally) {
    let mut points = Vec::new();
    for scene in Scene::ALL {
        let dir = tempfile::tempdir().unwrap();
        let calls = Errand::new(template, dir.path(), scene, u64::MAX).count_calls();
        for (syscall, most) in calls {
            points.extend((1..=most).map(|n| Point { scene, syscall, n }));
        }
    }
    let all = points.len();
    let mut rng = Rng::with_seed(seed("POSTHASTE_CRASH_POINT_SEED"));
    let count = count.clamp(1, all);
    let offset = rng.usize(0..all.div_ceil(count));
    let chosen: Vec<Point> = (0..count)
        .map(|index| points[(index * all / count + offset) % all])
        .collect();
    println!("{} of about {all} points", chosen.len());
    let next = AtomicU64::new(0);
    in_parallel(|| {
        while let Some(point) = chosen.get(next.fetch_add(1, Relaxed) as usize) {
            let number = next.load(Relaxed) * 1000 + point.n;
            tally.count(*point, try_point(template, *point, number));
        }
    });
}

/// Every point of every call, until the calls run out: until three in a row are no kill, since the numbering differs a
/// little from run to run.
fn try_all(template: &Template, tally: &Tally) {
    let kinds: Vec<_> = Scene::ALL
        .iter()
        .flat_map(|scene| SYSCALLS.iter().map(|syscall| (*scene, *syscall)))
        .collect();
    let next = AtomicU64::new(0);
    in_parallel(|| {
        while let Some((scene, syscall)) = kinds.get(next.fetch_add(1, Relaxed) as usize).copied() {
            let mut in_vain = 0;
            let kind = next.load(Relaxed);
            for n in 1.. {
                let point = Point { scene, syscall, n };
                let killed = try_point(template, point, kind * 1_000_000 + n);
                tally.count(point, killed);
                in_vain = if killed { 0 } else { in_vain + 1 };
                if in_vain == 3 {
                    break;
                }
            }
            println!("{} {syscall} ran out", scene.name());
        }
    });
}

/// Does the same in several threads; a failure of one is a failure of all.
fn in_parallel(work: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(&work);
        }
    });
}

/// Copies a folder and what is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, kind) = (to.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() {
            copy(&entry.path(), &path);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), path).unwrap();
        }
    }
}
