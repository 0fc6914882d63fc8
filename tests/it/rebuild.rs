//! The store is what the journal says: lost, damaged or distrusted, it comes back the same, byte for byte.
//!
//! One workload leaves deliveries and endpoints in every state and nothing in motion. Copies of its folder are then
//! harmed, started, stopped and compared. `POSTHASTE_CORRUPTIONS` sets how many are damaged at random,
//! `POSTHASTE_CORRUPTION_SEED` repeats one run.

mod harm;
mod workload;

use std::{
    fs,
    path::{Path, PathBuf},
};

use posthaste::storage::local::index::{Row, open};
use serde_json::{Value, json};

use self::{harm::Harm, workload::Workload};
use crate::support::seed::{number, seed};
use crate::support::{
    STORE,
    server::{Server, wait_for},
};

/// Damaged copies in an ordinary run.
const CORRUPTIONS: u64 = 10;
/// The boot that the workload runs in.
const BOOT: &str = "the first boot";

/// Starts a server on a folder, in a boot of this name.
fn start(data: &Path, boot: &str) -> Server {
    Server::start_with(data, &["--no-listen"], &[("POSTHASTE_BOOT_ID", boot)])
}

/// Every row of the store of a stopped server.
fn dump(data: &Path) -> Vec<Row> {
    open::open_as_is(data, STORE).unwrap().dump().unwrap()
}

/// What differs, in a form that can be read.
fn difference(expected: &[Row], found: &[Row]) -> Option<String> {
    if expected == found {
        return None;
    }
    let lacks = |rows: &[Row], other: &[Row]| -> Vec<String> {
        let other: std::collections::HashSet<_> = other.iter().collect();
        let lacking = rows.iter().filter(|row| !other.contains(row));
        lacking
            .take(20)
            .map(|(key, row)| format!("{key:02x?} = {row:02x?}"))
            .collect()
    };
    Some(format!(
        "{} rows expected, {} found\nmissing: {:#?}\nunexpected: {:#?}",
        expected.len(),
        found.len(),
        lacks(expected, found),
        lacks(found, expected)
    ))
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A copy of a folder, to be harmed.
struct Copy {
    _dir: tempfile::TempDir,
    data: PathBuf,
}

impl Copy {
    fn of(folder: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        copy_folder(folder, &data);
        Self { _dir: dir, data }
    }

    /// Starts on it and stops; answers how often the store was begun afresh, and what is wrong with it now.
    fn run(&self, boot: &str, expected: &[Row]) -> (u64, Option<String>) {
        let mut server = start(&self.data, boot);
        let status = server.get("/v1/status");
        assert_eq!(
            status["store"]["applied_lsn"],
            status["journal"]["last_lsn"],
            "{}",
            server.log()
        );
        let rebuilds = status["store"]["rebuilds"].as_u64().unwrap();
        assert_eq!(server.stop().code(), Some(0), "{}", server.log());
        let (text, checked) = server.check();
        let wrong = difference(expected, &dump(&self.data));
        let unclean = (!checked.success()).then(|| format!("check: {text}"));
        let log = || format!("{rebuilds} rebuilds\n{}", server.log());
        (rebuilds, wrong.or(unclean).map(|wrong| wrong + "\n" + &log()))
    }

    /// Enables the disabled endpoint, and waits until what was held for it arrives.
    fn deliver_held(&self, boot: &str, workload: &Workload) {
        let server = start(&self.data, boot);
        let arrived = workload.heal_gone();
        let path = format!("/v1/endpoints/{}/enable", workload.gone_endpoint);
        assert_eq!(server.post(&path, &json!({})).status, 200);
        wait_for("what was held", || (arrived() >= workload.held).then_some(()));
        wait_for("its records", || {
            let path = format!("/v1/endpoints/{}/stats", workload.gone_endpoint);
            let stats: Value = server.get(&path);
            (stats["deliveries"]["delivered"] == workload.held).then_some(())
        });
    }
}

#[test]
fn a_store_that_is_lost_damaged_or_distrusted_comes_back_the_same() {
    let seed = seed("POSTHASTE_CORRUPTION_SEED");
    let corruptions = number("POSTHASTE_CORRUPTIONS").unwrap_or(CORRUPTIONS);
    println!("POSTHASTE_CORRUPTIONS={corruptions}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let workload = Workload::run(&mut rng);
    let expected = dump(&Copy::of(&workload.stopped).data);
    println!("{} rows", expected.len());
    let fine = |what: &str, (rebuilds, wrong): (u64, Option<String>)| {
        assert!(
            wrong.is_none(),
            "seed {seed}: {what}: {}",
            wrong.unwrap_or_default()
        );
        rebuilds
    };

    let copy = Copy::of(&workload.stopped);
    assert_eq!(fine("stopped", copy.run(BOOT, &expected)), 0);
    assert_eq!(
        fine("rebooted after a clean stop", copy.run("another boot", &expected)),
        0
    );
    copy.deliver_held("another boot", &workload);

    let copy = Copy::of(&workload.killed);
    assert_eq!(fine("killed", copy.run(BOOT, &expected)), 0);

    let copy = Copy::of(&workload.killed);
    assert_eq!(
        fine("power cut", copy.run("another boot", &expected)),
        1,
        "a reboot without a clean stop is not to be trusted"
    );
    copy.deliver_held("another boot", &workload);

    for folder in [&workload.stopped, &workload.killed] {
        let copy = Copy::of(folder);
        fs::remove_dir_all(copy.data.join("store")).unwrap();
        fine("store deleted", copy.run(BOOT, &expected));
        copy.deliver_held(BOOT, &workload);
    }

    let mut failures = Vec::new();
    let mut rebuilt = 0;
    for number in 0..corruptions {
        let folder = [&workload.stopped, &workload.killed][rng.usize(0..2)];
        let copy = Copy::of(folder);
        let harms: Vec<Harm> = (0..rng.usize(1..4))
            .map(|_| Harm::inflict(&copy.data.join("store"), &workload.earlier, &mut rng))
            .collect();
        let (rebuilds, wrong) = copy.run(BOOT, &expected);
        rebuilt += rebuilds;
        println!("{number}: {harms:?}: {rebuilds} rebuilds");
        failures.extend(wrong.map(|wrong| format!("{number}: {harms:?}: {wrong}")));
        if number % 5 == 0 {
            copy.deliver_held(BOOT, &workload);
        }
    }
    println!("{rebuilt} of {corruptions} damaged stores were rebuilt");
    assert!(
        failures.is_empty(),
        "seed {seed}: {} of {corruptions}: {}",
        failures.len(),
        failures.join("\n")
    );
}
