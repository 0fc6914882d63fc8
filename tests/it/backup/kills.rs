//! A backup that is broken off leaves the one before it valid.
//!
//! `POSTHASTE_BACKUP_KILLS` sets how many are, `POSTHASTE_BACKUP_SEED` repeats a run, as far as the scheduler lets it.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use super::*;
use crate::support::child::{EndsWithTest as _, Signal};
use crate::support::seed::{is_soak, number, seed};

/// Backups that are killed, in an ordinary run; the long form has `SOAK`.
const KILLS: u64 = 12;
const SOAK: u64 = 120;
/// Kills in one scene: what is copied and restored grows with each.
const PER_SCENE: u64 = 12;

/// A backup that is killed again and again.
struct Killed {
    scene: Scene,
    events: usize,
    /// How many were killed before they were whole.
    broken: u64,
    /// How long a backup took that was let be.
    took: Duration,
    /// For messages.
    what: String,
}

impl Killed {
    fn new() -> Self {
        let scene = Scene::new();
        scene.events("start", 50);
        let began = Instant::now();
        scene.backup("backup", &[]);
        Self {
            took: began.elapsed(),
            scene,
            events: 50,
            broken: 0,
            what: String::new(),
        }
    }

    /// The backup as it stands; every file of it has to be what its manifest says.
    fn valid(&self) -> Value {
        let mut command = backup_command(&self.scene.server, &self.scene.path("backup"));
        let checked = command.arg("--verify").output().unwrap();
        assert!(checked.status.success(), "{}: {}", self.what, stderr(&checked));
        said(&checked)
    }

    fn round(&mut self, round: u64, rng: &mut fastrand::Rng) {
        let count = rng.usize(1..100);
        self.scene.events(&format!("round-{round}"), count);
        self.events += count;
        let before = self.valid();
        let takes_the_server = rng.u8(0..3) == 0;
        let mut child = backup_command(&self.scene.server, &self.scene.path("backup"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .ends_with_test(Signal::KILL)
            .spawn()
            .unwrap();
        // Somewhere between its start and its end; where, is for the scheduler to say.
        let moment = Instant::now() + self.took.mul_f64(rng.f64() * 1.2);
        while Instant::now() < moment && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if takes_the_server {
            self.scene.server.kill();
        } else {
            _ = child.kill();
        }
        let status = child.wait().unwrap();
        if takes_the_server {
            self.scene.server.restart();
        }
        let after = self.valid();
        if after["through_lsn"] == before["through_lsn"] {
            self.broken += 1;
            assert!(!status.success(), "{}: {status}", self.what);
        }
        let done = self.scene.restore("backup", "restored");
        assert_eq!(done["through_lsn"], after["through_lsn"], "{}", self.what);
        assert_eq!(done["records"], after["through_lsn"], "{}", self.what);
        assert_eq!(done["whole"], true, "{}: {done}", self.what);
        fs::remove_dir_all(self.scene.path("restored")).unwrap();
        if rng.bool() {
            self.scene.backup("backup", &[]);
        }
    }

    /// The last backup is whole, and has everything.
    fn end(self) -> u64 {
        self.scene.backup("backup", &[]);
        self.scene.restore("backup", "last");
        let mut last = self.scene.restored("last");
        assert_eq!(ids(&last).len(), self.events, "{}", self.what);
        assert_eq!(last.stop().code(), Some(0), "{}", self.what);
        last.assert_whole();
        self.broken
    }
}

#[test]
fn a_backup_that_is_killed_at_any_moment_leaves_the_one_before_it_valid() {
    let seed = seed("POSTHASTE_BACKUP_SEED");
    let kills = number("POSTHASTE_BACKUP_KILLS").unwrap_or(if is_soak() { SOAK } else { KILLS });
    println!("POSTHASTE_BACKUP_KILLS={kills}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut broken = 0;
    for first in (0..kills).step_by(PER_SCENE as usize) {
        let mut killed = Killed::new();
        for round in first..kills.min(first + PER_SCENE) {
            killed.what =
                format!("POSTHASTE_BACKUP_SEED={seed} POSTHASTE_BACKUP_KILLS={kills}, round {round}");
            killed.round(round, &mut rng);
        }
        broken += killed.end();
    }
    println!("{broken} of {kills} broke off");
}

#[test]
fn a_first_backup_that_is_broken_off_between_its_answers_goes_on_where_it_was() {
    let scene = Scene::new();
    scene.events("many", 900);
    let mut child = backup_command(&scene.server, &scene.path("backup"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .ends_with_test(Signal::KILL)
        .spawn()
        .unwrap();
    wait_for("the first answer", || {
        let ended = child.try_wait().unwrap().is_some();
        (ended || scene.path("backup/unfinished").exists()).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let is_whole = scene.path("backup/manifest").exists();
    if !is_whole {
        let refused = restore(&scene.path("backup"), &scene.path("elsewhere"), &[]);
        assert!(
            stderr(&refused).contains("holds no backup"),
            "{}",
            stderr(&refused)
        );
    }
    let taken = scene.backup("backup", &[]);
    let (copied, all) = (
        taken["copied_bytes"].as_u64().unwrap(),
        taken["bytes"].as_u64().unwrap(),
    );
    assert!(copied + 64 * 50_000 < all, "{taken}");
    scene.restore("backup", "elsewhere");
    assert_eq!(ids(&scene.restored("elsewhere")).len(), 900);
}
