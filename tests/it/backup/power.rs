//! The power is cut between any two changes that a backup or a restore makes.
//!
//! `POSTHASTE_SOAK=1` goes through all of them with every kind of cut, an ordinary run through some, which
//! `POSTHASTE_BACKUP_SEED` repeats.

use std::{process::Stdio, time::Duration};

use fastrand::Rng;

use super::*;
use crate::support::child::{EndsWithTest as _, Signal};
use crate::support::disk::{Cut, Disk, Image};
use crate::support::seed::{is_soak, seed};

/// Cuts in an ordinary run, of each kind of command.
const CUTS: usize = 10;
/// How long a command that is not stopped may take before it is looked at again.
const GLANCE: Duration = Duration::from_millis(20);

fn begin(command: &mut Command) -> std::process::Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .ends_with_test(Signal::KILL)
        .spawn()
        .unwrap()
}

/// Runs a command, and stops the disk after so many changes; answers whether the command came to its end before.
fn run_until(disk: &Disk, changes: u64, mut command: Command) -> bool {
    disk.freeze_after(changes, "*");
    let mut child = begin(&mut command);
    let ended = loop {
        if disk.wait_frozen(GLANCE) {
            break false;
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            break true;
        }
    };
    if !ended {
        child.kill().unwrap();
        // It can end only once it gets an answer.
        disk.die();
        child.wait().unwrap();
    }
    ended
}

/// Where and how the power is cut: everywhere and in every way, or here and there.
struct Cuts {
    rng: Rng,
    all: bool,
    what: String,
    done: usize,
}

impl Cuts {
    fn new() -> Self {
        let seed = seed("POSTHASTE_BACKUP_SEED");
        let what = format!("POSTHASTE_BACKUP_SEED={seed}");
        println!("{what}");
        Self {
            rng: Rng::with_seed(seed),
            all: is_soak(),
            what,
            done: 0,
        }
    }

    /// Calls `cut` with numbers of changes, and how the power is cut after them; at last with one that no command
    /// reaches. It answers whether its command had come to its end.
    fn go_through(&mut self, changes: u64, mut cut: impl FnMut(u64, Cut, &mut Rng, &str) -> bool) {
        // How many writes an answer takes is not always the same.
        let mut points: Vec<u64> = if self.all {
            (0..changes + 3).collect()
        } else {
            (0..CUTS).map(|_| self.rng.u64(0..changes)).collect()
        };
        points.push(u64::MAX);
        let mut midway = 0;
        for point in points {
            let kinds = if self.all {
                Cut::ALL.to_vec()
            } else {
                vec![Cut::draw(&mut self.rng)]
            };
            for how in kinds {
                let what = format!("{}: {how:?} after {point} changes", self.what);
                let ended = cut(point, how, &mut self.rng, &what);
                assert!(ended || point < u64::MAX, "{what}");
                midway += usize::from(!ended);
            }
        }
        assert!(
            midway > CUTS / 2,
            "{}: only {midway} cuts were in between",
            self.what
        );
        self.done += midway;
    }
}

/// How many changes a command makes on a disk, from its start to its end.
fn count(dir: &Path, image: Image, command: impl Fn(&Path) -> Command) -> Option<u64> {
    let disk = Disk::mount(&dir.join("counted"), image)?;
    let before = disk.changes();
    assert!(
        run_until(&disk, u64::MAX, command(disk.path())),
        "{:?}",
        disk.trail()
    );
    Some(disk.changes() - before)
}

#[test]
fn a_power_cut_in_a_backup_leaves_the_one_before_it_or_the_new_one() {
    let scene = Scene::new();
    scene.events("first", 12);
    let backup = |disk: &Path| backup_command(&scene.server, &disk.join("some/backup"));
    let dir = scene.path("disks");
    fs::create_dir(&dir).unwrap();
    let mut cuts = Cuts::new();
    let mut image = Image::default();
    // The first one, into a directory that is not there; one more; and one after much has changed.
    let mut valid = None;
    for (round, more) in [0, 2, 30].into_iter().enumerate() {
        scene.events(&format!("more-{round}"), more);
        let Some(changes) = count(&dir, image.clone(), backup) else {
            return;
        };
        fs::remove_dir(dir.join("counted")).unwrap();
        println!("a backup makes {changes} changes");
        assert!(changes > 5);
        let mut last = image.clone();
        cuts.go_through(changes, |point, how, rng, what| {
            let place = dir.join("cut");
            let disk = Disk::mount(&place, image.clone()).unwrap();
            let ended = run_until(&disk, point, backup(disk.path()));
            let found = disk.cut(how, rng);
            fs::remove_dir(&place).unwrap();
            let disk = Disk::mount(&place, found.clone()).unwrap();
            let there = disk.path().join("some/backup/manifest").exists();
            if ended || valid.is_some() {
                assert!(there, "{what}: {:?}", disk.trail());
            }
            if there {
                let checked = backup(disk.path()).arg("--verify").output().unwrap();
                assert!(checked.status.success(), "{what}: {}", stderr(&checked));
                let through = said(&checked)["through_lsn"].as_u64();
                assert!(through >= valid, "{what}: {through:?}, {valid:?}");
                if ended {
                    let status = scene.server.get("/v1/status");
                    assert_eq!(through, status["journal"]["last_lsn"].as_u64(), "{what}");
                    last = found;
                }
                let data = scene.path("restored");
                said(&restore(&disk.path().join("some/backup"), &data, &[]));
                fs::remove_dir_all(data).unwrap();
            }
            // Whatever was left, the next one is a backup.
            let again = backup(disk.path()).output().unwrap();
            assert!(again.status.success(), "{what}: {}", stderr(&again));
            drop(disk);
            fs::remove_dir(&place).unwrap();
            ended
        });
        image = last;
        valid = scene.server.get("/v1/status")["journal"]["last_lsn"].as_u64();
    }
    println!("{} cuts", cuts.done);
}

#[test]
fn a_power_cut_in_a_restore_leaves_all_of_it_or_nothing() {
    let scene = Scene::new();
    scene.events("first", 12);
    scene.backup("backup", &[]);
    let backup = scene.path("backup");
    let command = |disk: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command
            .arg("restore")
            .arg(&backup)
            .arg("--data")
            .arg(disk.join("some/data"));
        command
    };
    let dir = scene.path("disks");
    fs::create_dir(&dir).unwrap();
    let Some(changes) = count(&dir, Image::default(), command) else {
        return;
    };
    println!("a restore makes {changes} changes");
    let mut cuts = Cuts::new();
    cuts.go_through(changes, |point, how, rng, what| {
        let place = dir.join("cut");
        let disk = Disk::mount(&place, Image::default()).unwrap();
        let ended = run_until(&disk, point, command(disk.path()));
        let found = disk.cut(how, rng);
        fs::remove_dir(&place).unwrap();
        let disk = Disk::mount(&place, found).unwrap();
        let data = disk.path().join("some/data");
        assert!(data.exists() || !ended, "{what}");
        if !data.exists() {
            let again = command(disk.path()).output().unwrap();
            assert!(again.status.success(), "{what}: {}", stderr(&again));
        }
        let checked = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(["check", "--data"])
            .arg(&data)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&checked.stdout);
        assert!(
            checked.status.success() && text.contains("12 records"),
            "{what}: {text}{}",
            stderr(&checked)
        );
        drop(disk);
        fs::remove_dir(&place).unwrap();
        ended
    });
    println!("{} cuts", cuts.done);
}
