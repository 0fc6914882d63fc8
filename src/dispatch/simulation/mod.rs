//! The dispatcher under simulation: weeks in seconds, on virtual time, from a seed.
//!
//! # What is real
//!
//! Everything but time, the network and threads. The whole engine runs as it does in the server (accepting, fan-out,
//! scheduler, lanes, settler, herald, verifier, registry, store on sled, journal with its segments and its recovery) on
//! one thread whose clock is paused: it jumps to the next timer whenever nothing is left to do. Three seams make that
//! possible, all of them absent from the program that is shipped: an attempt's request goes to
//! [`stage::Stage::exchange`] in place of the sender; the journal's committer and the store's applier, which are threads
//! otherwise, are stepped by tasks ([`life`]); and the scheduler says when it begins and judges an attempt.
//! What lanes read comes late, or not at all, as the seed has it ([`late_reads`]).
//!
//! Driving the lanes and the pure rules from a loop of our own would have been simpler, and is done in
//! `model_tests`; but what goes wrong in years goes wrong between tasks: an effect that comes while a page is read, a
//! verdict on its way when the store is opened again, a notice when the process dies.
//!
//! # Who plays
//!
//! [`driver`] is people and fate ([`deeds`]): it accepts, retries, cancels, replays, configures, pauses, sets the wall clock (to 1970,
//! years ahead, back), cuts everyone off, fills the disk, stalls the device, fails the store, kills the process, cuts the
//! power. [`receivers`] answer, slowly and lying. [`model`] reads the journal in plain terms of its own. [`rules`] and [`judging`]
//! say at every step whether what is done is allowed, and [`verdict`] whether what the store holds in the end is what it
//! should. [`profile`] draws from the seed how large and how fast a world is and what befalls it.
//!
//! # Repeating
//!
//! One seed gives one log, byte for byte. A broken rule is told with the seed, the last lines of the log and the command
//! that repeats it. Seeds that have found something are kept in `corpus.txt` and always run.
//!
//! - `POSTHASTE_SIM_SEED=x`: this one alone, and its whole log on standard output
//! - `POSTHASTE_SIM_SEEDS=n`: so many new ones
//! - `POSTHASTE_SIM_FROM=x`: beginning with this one
//! - `POSTHASTE_SOAK=1`: thousands
//! - `POSTHASTE_SIM_SURVEY=1`: goes on past broken rules, and tells of each

mod deeds;

mod driver;
mod judging;
mod lane_facts;
mod late_reads;
mod life;
mod log;
mod model;
mod profile;
mod receivers;
mod rules;
mod saving;
mod stage;
mod verdict;
mod wall_steps;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use self::{
    driver::Driver,
    life::{Death, START, World, scratch},
    log::Log,
    profile::Profile,
};
pub(super) use self::{late_reads::LateReads, stage::Stage};
use crate::runtime::seed::{is_soak, number, seed};
use crate::storage::local::journal::in_place::Plate;

/// New seeds by default, and with `POSTHASTE_SOAK`.
const SEEDS: u64 = 30;
const SOAK_SEEDS: u64 = 3000;
/// Seeds at once: the machine has no more to give.
const THREADS: usize = 2;

/// What came of a seed.
#[derive(Debug, Default)]
struct Report {
    hash: [u8; 32],
    lines: u64,
    log: Vec<String>,
    wrong: Vec<String>,
    tail: String,
    /// Simulated milliseconds.
    lasted: u64,
    lives: u64,
    cuts: u64,
    attempts: u64,
    deliveries: u64,
    acked: u64,
    disablings: u64,
}

/// Runs one seed.
fn simulate(seed: u64, whole: bool) -> Report {
    let scratch = scratch();
    // Ids of events are drawn from this thread's generator.
    fastrand::seed(seed);
    let profile = Profile::of(seed);
    let log = if whole { Log::whole() } else { Log::default() };
    let stage = Arc::new(Stage::new(seed, log));
    stage.say(&format!("{profile:?}"));
    let mut world = new_world(&scratch, stage.clone());
    let mut driver = Driver::new(profile.clone());
    while let Some(death) = live(&mut world, &mut driver, &profile) {
        world.bury(death);
        if !stage.lock().wrong.is_empty() {
            break;
        }
    }
    report(&world, &driver)
}

fn new_world(scratch: &tempfile::TempDir, stage: Arc<Stage>) -> World {
    World {
        dir: scratch.path().join("data"),
        stage,
        plate: Arc::new(Plate::default()),
        truth: START,
        offset: 0,
        lives: 0,
        cuts: 0,
    }
}

fn report(world: &World, driver: &Driver) -> Report {
    let mut stage = world.stage.lock();
    Report {
        hash: stage.log.hash(),
        lines: stage.log.lines(),
        log: stage.log.take_whole(),
        wrong: stage.wrong.clone(),
        tail: stage.log.tail(),
        lasted: world.truth - START,
        lives: world.lives,
        cuts: world.cuts,
        attempts: stage.begun,
        deliveries: stage.model.deliveries.len() as u64,
        acked: driver.acked.len() as u64,
        disablings: stage.model.disablings,
    }
}

/// One life of the process; `None` when all has happened and was looked at.
fn live(world: &mut World, driver: &mut Driver, profile: &Profile) -> Option<Death> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let life = world.boot(profile);
        let death = driver.run(&life).await;
        if death.is_none() && world.stage.lock().wrong.is_empty() {
            driver.heal(&life).await;
            let mut stage = world.stage.lock();
            if stage.wrong.is_empty() {
                stage.nothing_is_missing(driver);
                stage.all_has_ended(&life);
            }
        }
        driver.hear(&life);
        if death == Some(Death::Stopped) {
            life.stop(world).await;
        } else {
            life.note_time(world);
        }
        death
    })
}

/// Runs seeds on a few threads; panics with the first that breaks a rule.
fn all_hold(seeds: &[u64]) {
    let survey = std::env::var_os("POSTHASTE_SIM_SURVEY").is_some();
    let next = AtomicU64::new(0);
    let broken: Mutex<Option<String>> = Mutex::new(None);
    let sum: Mutex<Report> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..THREADS.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                    && (survey || broken.lock().unwrap().is_none())
                {
                    let report = simulate(*seed, false);
                    if !report.wrong.is_empty() {
                        println!("seed {seed}: {}", report.wrong[0]);
                        broken.lock().unwrap().get_or_insert_with(|| told(*seed, &report));
                    }
                    add(&mut sum.lock().unwrap(), &report);
                }
            });
        }
    });
    if let Some(broken) = broken.into_inner().unwrap() {
        panic!("{broken}");
    }
    println!("{}", summary(seeds.len(), &sum.into_inner().unwrap()));
}

fn add(sum: &mut Report, report: &Report) {
    sum.lines += report.lines;
    sum.lasted += report.lasted;
    sum.lives += report.lives;
    sum.cuts += report.cuts;
    sum.attempts += report.attempts;
    sum.deliveries += report.deliveries;
    sum.acked += report.acked;
    sum.disablings += report.disablings;
}

fn summary(seeds: usize, sum: &Report) -> String {
    let days = Duration::from_millis(sum.lasted).as_secs() / 86_400;
    format!(
        "{seeds} seeds: {days} simulated days, {} lives, {} power cuts, {} events acknowledged, {} deliveries, {} \
         attempts, {} endpoints disabled, {} lines of log",
        sum.lives, sum.cuts, sum.acked, sum.deliveries, sum.attempts, sum.disablings, sum.lines
    )
}

fn told(seed: u64, report: &Report) -> String {
    format!(
        "seed {seed} breaks a rule: {}\nrepeat it: POSTHASTE_SIM_SEED={seed} cargo nextest run --no-capture \
         simulation::new_seeds_hold\nthe log around it:\n{}",
        report.wrong.join("\n  also: "),
        report.tail
    )
}

fn corpus() -> Vec<u64> {
    include_str!("corpus.txt")
        .lines()
        .filter_map(|line| line.split('#').next()?.trim().parse().ok())
        .collect()
}

#[test]
fn past_seeds_hold() {
    let seeds = corpus();
    assert!(!seeds.is_empty(), "corpus.txt has no seeds");
    all_hold(&seeds);
}

#[test]
fn new_seeds_hold() {
    if let Some(seed) = number("POSTHASTE_SIM_SEED") {
        let report = simulate(seed, true);
        report.log.iter().for_each(|line| println!("{line}"));
        println!("{}", summary(1, &report));
        assert!(report.wrong.is_empty(), "{}", told(seed, &report));
        return;
    }
    let count = number("POSTHASTE_SIM_SEEDS").unwrap_or(if is_soak() { SOAK_SEEDS } else { SEEDS });
    let from = seed("POSTHASTE_SIM_FROM");
    all_hold(&(from..from + count).collect::<Vec<_>>());
}

#[test]
fn one_seed_gives_one_log() {
    for seed in 1..5 {
        let (first, second) = (simulate(seed, true), simulate(seed, true));
        let differs = first
            .log
            .iter()
            .zip(&second.log)
            .find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(
            (first.lines, first.hash),
            (second.lines, second.hash),
            "seed {seed}"
        );
    }
}
