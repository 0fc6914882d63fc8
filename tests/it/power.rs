//! Power cuts: the real server on a disk that keeps what is synced, and of the rest nothing or anything.
//!
//! Under load the disk stops before some operation, in the middle of whatever the server is doing, and the server is
//! killed. What is then found on the disk is mounted, and a server is started on it in a new boot. It has to come up
//! by itself, with every event that was answered 202 and every change of configuration that was acknowledged, and
//! `posthaste check` has to find nothing. In the end every event has to have arrived where it matched.
//!
//! `POSTHASTE_CUTS` sets the number of cuts, `POSTHASTE_CUT_SEED` repeats a run's decisions (not its timing),
//! `POSTHASTE_SOAK=1` makes a thousand.

mod ledger;
mod lies;
mod machine;
mod moment;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use fastrand::Rng;
use serde_json::json;

use self::{ledger::Ledger, machine::Machine, moment::Moment};
use crate::{
    crash::{self, Endpoint, Load, Over},
    support::{
        disk::{Cut, Image},
        seed::{is_soak, number, seed},
    },
};

const CUTS: u64 = 16;
const SOAK_CUTS: u64 = 1000;
/// Cuts that one disk lives through. At the end everything on it is looked at.
const LIFE: u64 = 25;
/// Of the events that were already looked at after an earlier cut, so many are looked at again.
const AGAIN: usize = 40;
/// Between two requests of a client, at most; in milliseconds.
const PAUSE: u64 = 30;

/// What was done, for the report.
#[derive(Default)]
struct Tally {
    cuts: BTreeMap<(&'static str, Cut), u64>,
    on_the_way: u64,
    acknowledged: u64,
    torn: u64,
}

impl Tally {
    fn print(&self) {
        for ((moment, cut), count) in &self.cuts {
            println!("{count:4} cuts {moment}, {cut:?}");
        }
        println!(
            "{} cuts and {} on the way to them, {} torn tails, {} events acknowledged",
            self.cuts.values().sum::<u64>(),
            self.on_the_way,
            self.torn,
            self.acknowledged
        );
    }
}

/// One disk, from its first server to the last look at it.
struct Life<'a> {
    machine: Machine,
    rng: &'a mut Rng,
    tally: &'a mut Tally,
    looked_at: BTreeSet<String>,
    /// Torn tails of which the log has told.
    torn: u64,
}

#[test]
fn what_was_acknowledged_survives_power_cuts_at_any_moment() {
    let cuts = number("POSTHASTE_CUTS").unwrap_or(if is_soak() { SOAK_CUTS } else { CUTS });
    println!("POSTHASTE_CUTS={cuts}");
    let mut rng = Rng::with_seed(seed("POSTHASTE_CUT_SEED"));
    let mut tally = Tally::default();
    let mut left = cuts;
    while left > 0 {
        let life = left.min(LIFE);
        left -= life;
        match live(life, &mut rng, &mut tally) {
            None => return,
            Some(result) => result.unwrap_or_else(|loss| panic!("{loss}")),
        }
    }
    tally.print();
}

/// A first start, cuts under load, and a last look. `None`: disks cannot be mounted here.
fn live(cuts: u64, rng: &mut Rng, tally: &mut Tally) -> Option<Result<(), String>> {
    let mut machine = Machine::new(Vec::new());
    if !machine.mount(Image::default()) {
        return None;
    }
    machine.spawn();
    let life = Life {
        machine,
        rng,
        tally,
        looked_at: BTreeSet::new(),
        torn: 0,
    };
    Some(life.run(cuts))
}

impl Life<'_> {
    fn run(mut self, cuts: u64) -> Result<(), String> {
        self.machine.wait_ready()?;
        let server = self.machine.server();
        let endpoints = [
            Endpoint::create(server, "**", 0),
            Endpoint::create(server, "a.*", 0),
            Endpoint::create(server, "**", 25),
        ];
        let ledger = Ledger::new(server);
        let load = Load {
            socket: self.machine.socket(),
            over: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            count: AtomicU64::new(0),
            resting: AtomicBool::new(false),
            pause: PAUSE,
            arrivals: endpoints[0].arrivals.clone(),
        };
        let result = thread::scope(|scope| {
            let (load, ledger) = (&load, &ledger);
            let over = Over(load);
            for client in 0..3 {
                let rng = self.rng.fork();
                scope.spawn(move || load.singles(client, rng));
            }
            let rng = self.rng.fork();
            scope.spawn(move || load.batches(0, rng));
            let rng = self.rng.fork();
            scope.spawn(move || ledger.change(load, rng));
            let result = (0..cuts).try_for_each(|_| self.cut(load, ledger));
            if result.is_err() {
                // Whoever waits for an answer of a server that is stuck.
                self.machine.crash();
            }
            drop(over);
            result
        });
        self.tally.acknowledged += load.acknowledged.lock().unwrap().len() as u64;
        result?;
        crash::verify(self.machine.server(), &endpoints, &load);
        Ok(())
    }

    fn cut(&mut self, load: &Load, ledger: &Ledger) -> Result<(), String> {
        let moment = Moment::draw(self.rng);
        let cut = Cut::draw(self.rng);
        let what = format!("{moment:?}, {cut:?}");
        println!("{what}, {} acknowledged", load.count.load(Ordering::Relaxed));
        self.tally.on_the_way += moment.reach(&mut self.machine, self.rng);
        let trail = self.machine.disk().trail().join("\n  ");
        let ended = self.machine.server().ended();
        let image = self.machine.cut(cut, self.rng);
        *self.tally.cuts.entry((moment.name(), cut)).or_default() += 1;
        let known: Vec<String> = load.acknowledged.lock().unwrap().keys().cloned().collect();
        assert!(self.machine.mount(image));
        self.machine.spawn();
        self.machine.wait_ready()?;
        load.resting.store(true, Ordering::Relaxed);
        let looked = self.look(&known, ledger);
        load.resting.store(false, Ordering::Relaxed);
        let looked = looked.and_then(|rebuilds| match rebuilds {
            1.. if ended.is_some() => Err("the store was rebuilt after a clean stop".to_owned()),
            _ => Ok(()),
        });
        looked.map_err(|loss| format!("after {what}: {loss}\nthe last changes before it:\n  {trail}"))
    }

    /// Looks at what has to be there, and at the whole folder. Answers how often the store was rebuilt.
    fn look(&mut self, known: &[String], ledger: &Ledger) -> Result<u64, String> {
        let new = known.iter().filter(|id| !self.looked_at.contains(*id));
        let mut ids: Vec<String> = new.cloned().collect();
        ids.extend((0..AGAIN).filter_map(|_| self.rng.choice(known).cloned()));
        let server = self.machine.server();
        for id in &ids {
            let answer = server.request("GET", &format!("/v1/events/{id}"), None, b"");
            if answer.status != 200 {
                return Err(format!("{id} was acknowledged: {}", answer.text()));
            }
        }
        self.looked_at.extend(ids);
        let wrong = ledger.compare(server);
        if !wrong.is_empty() {
            return Err(wrong.join("\n"));
        }
        let status = server.get("/v1/status");
        if status["warnings"] != json!([]) || status["journal"]["damaged_ranges"] != 0 {
            return Err(format!("{status}"));
        }
        let torn = self.machine.log().matches("torn tail").count() as u64;
        self.tally.torn += torn - std::mem::replace(&mut self.torn, torn);
        // A crash of the process: the store is as the system has it, and has to be whole.
        self.machine.crash();
        let (text, ended) = self.machine.server().check();
        if !ended.success() {
            return Err(format!("check ended with {ended}: {text}"));
        }
        self.machine.spawn();
        self.machine.wait_ready()?;
        Ok(status["store"]["rebuilds"].as_u64().unwrap())
    }
}

/// A start is cut after each number of changes, until it is ready before the cut, and made again on what is left.
#[test]
fn a_first_start_may_be_cut_anywhere() {
    let mut rng = Rng::with_seed(seed("POSTHASTE_CUT_SEED"));
    let ways = if is_soak() { Cut::ALL.len() } else { 1 };
    for changes in 0.. {
        let mut ready = false;
        for way in 0..ways {
            let cut = Cut::ALL[(changes as usize + way) % Cut::ALL.len()];
            let mut machine = Machine::new(Vec::new());
            if !machine.mount(Image::default()) {
                return;
            }
            machine.disk().freeze_after(changes, "*");
            machine.spawn();
            machine.wait_frozen(Machine::is_ready);
            ready = machine.is_ready();
            let trail = machine.disk().trail().pop();
            let image = machine.cut(cut, &mut rng);
            assert!(machine.mount(image));
            machine.spawn();
            let again = machine.wait_ready();
            assert_eq!(
                again,
                Ok(()),
                "cut after {changes} changes, at {trail:?}: {cut:?}"
            );
        }
        if ready {
            println!("a first start makes {changes} changes");
            break;
        }
    }
}
