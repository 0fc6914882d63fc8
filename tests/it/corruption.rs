//! Harmed data folders: the server starts by itself, what is sound is served and delivered, what is not is named.
//!
//! One workload leaves a folder with events that are delivered, waiting, held and failed. Copies of it are harmed,
//! checked, started, asked for every event, and some of them repaired. `POSTHASTE_CORRUPTIONS` sets how many,
//! `POSTHASTE_CORRUPTION_SEED` with which seed the first is harmed; the next has the next one, so that a failure is
//! repeated by the seed that it names and a count of 1.

pub(crate) mod folder;
#[path = "../../src/storage/local/journal/tests/harm.rs"]
mod harm;
mod named;
mod oracle;
mod workload;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use fastrand::Rng;
use serde_json::{Value, json};

use self::{
    folder::{contents, copy_folder, files},
    harm::{Harm, inflict},
    oracle::Oracle,
    workload::{BOOT, Workload},
};
use crate::support::seed::{is_soak, number, seed};
use crate::support::server::{Server, wait_for_all};

/// Copies in an ordinary run, and in a long one.
const COPIES: u64 = 8;
const MANY: u64 = 500;

/// What a run found.
#[derive(Debug, Default)]
struct Tally {
    refused: u32,
    rebuilt: u32,
    damaged_events: usize,
    arrived: usize,
    repaired: u32,
}

#[test]
fn of_a_harmed_folder_every_sound_event_is_served_and_the_rest_is_named() {
    let copies = number("POSTHASTE_CORRUPTIONS").unwrap_or(if is_soak() { MANY } else { COPIES });
    let seed = seed("POSTHASTE_CORRUPTION_SEED");
    println!("POSTHASTE_CORRUPTIONS={copies}");
    let workload = Workload::run();
    let oracle = Oracle::of(&workload.folder);
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    for seed in seed..seed + copies {
        let mut rng = Rng::with_seed(seed);
        let copy = Copy::harmed(&workload.folder, &mut rng);
        let judged = copy.judge(&workload, &oracle, &mut rng, &mut tally);
        println!(
            "{seed}: {:?}: {}",
            copy.harms,
            if judged.is_ok() { "well" } else { "ill" }
        );
        if let Err(wrong) = judged {
            let log = fs::read_to_string(copy.data.with_extension("log")).unwrap_or_default();
            failures.push(format!(
                "POSTHASTE_CORRUPTION_SEED={seed}: {:?}: {wrong}\n{log}",
                copy.harms
            ));
        }
    }
    println!(
        "{copies} harmed folders of {} events: {tally:?}",
        oracle.events().count()
    );
    assert!(
        failures.is_empty(),
        "{} of {copies}: {}",
        failures.len(),
        failures.join("\n")
    );
}

struct Copy {
    _dir: tempfile::TempDir,
    data: PathBuf,
    harms: Vec<Harm>,
}

impl Copy {
    fn harmed(folder: &Path, rng: &mut Rng) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        copy_folder(folder, &data);
        if rng.bool() {
            // As after a crash: in another boot the store is then made anew.
            fs::remove_file(data.join("clean")).unwrap();
        }
        let journal = files(&data, "journal");
        let single = |name: &str| vec![data.join(name)];
        let mut harms = Vec::new();
        for _ in 0..rng.usize(1..4) {
            let those = match rng.u8(0..40) {
                0..27 => journal.clone(),
                27..36 => files(&data, "store"),
                36 => single("boot"),
                37 => single("clean"),
                38 => single("format"),
                _ => single("key"),
            };
            harms.push(inflict(&those, rng));
        }
        Self {
            _dir: dir,
            data,
            harms,
        }
    }

    fn judge(
        &self,
        workload: &Workload,
        oracle: &Oracle,
        rng: &mut Rng,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let before = contents(&self.data);
        let boot = [BOOT, "another boot"][rng.usize(0..2)];
        let checked = self.check(&[])?;
        let Some(checked) = checked else {
            tally.refused += 1;
            return self.refused(workload, &before, boot);
        };
        let sound = oracle.sound(&self.data.join("journal"));
        let started = Server::start_or_end(&self.data, &["--no-listen"], &[("POSTHASTE_BOOT_ID", boot)]);
        let mut server = started.map_err(|(status, log)| format!("it ended with {status}: {log}"))?;
        self.serves(&server, workload, oracle, &sound, &checked, tally)?;
        let status = server.get("/v1/status");
        tally.rebuilt += u32::try_from(status["store"]["rebuilds"].as_u64().unwrap()).unwrap();
        if server.stop().code() != Some(0) {
            return Err("it did not stop".to_owned());
        }
        if rng.bool() {
            self.repair(oracle, &sound)?;
            tally.repaired += 1;
        }
        Ok(())
    }

    /// `check --output json` with more arguments; `None` when the folder was refused.
    fn check(&self, more: &[&str]) -> Result<Option<Value>, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(["check", "--output", "json", "--data"])
            .arg(&self.data)
            .args(more)
            .env("POSTHASTE_BOOT_ID", BOOT)
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        match (output.status.code(), serde_json::from_str(&out)) {
            (Some(0 | 1), Ok(report)) => Ok(Some(report)),
            (Some(1), Err(_)) => Ok(None),
            (code, _) => Err(format!("check ended with {code:?}: {out}{err}")),
        }
    }

    /// Only its key or its format can keep a folder from being used: it is said which, and nothing is written.
    fn refused(
        &self,
        workload: &Workload,
        before: &BTreeMap<PathBuf, Vec<u8>>,
        boot: &str,
    ) -> Result<(), String> {
        let started = Server::start_or_end(&self.data, &["--no-listen"], &[("POSTHASTE_BOOT_ID", boot)]);
        let Err((status, log)) = started else {
            return Err("check refused what serve takes".to_owned());
        };
        let changed =
            |name: &str| fs::read(self.data.join(name)).ok() != fs::read(workload.folder.join(name)).ok();
        if status.code() != Some(1) || !(changed("key") || changed("format")) {
            return Err(format!("refused with {status} for no reason: {log}"));
        }
        let named = ["key", "format"]
            .iter()
            .any(|name| log.contains(self.data.join(name).to_str().unwrap()));
        let newer = log.contains("newer than this program");
        let clear = newer || (named && log.contains("put"));
        if !clear {
            return Err(format!("neither the file nor what to do is said: {log}"));
        }
        (contents(&self.data) == *before)
            .then_some(())
            .ok_or_else(|| "refused, and changed".to_owned())
    }

    fn serves(
        &self,
        server: &Server,
        workload: &Workload,
        oracle: &Oracle,
        sound: &oracle::Sound,
        checked: &Value,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let listed: BTreeMap<String, Value> = server
            .list("/v1/events")
            .into_iter()
            .map(|event| (event["id"].as_str().unwrap().to_owned(), event))
            .collect();
        let mut lost = Vec::new();
        for event in oracle.events() {
            let shown = listed.get(&event.id);
            let whole = shown.is_some_and(|shown| shown.get("damaged").is_none());
            if sound.has(event.lsn) && !whole {
                return Err(format!("{} at {} is sound: {shown:?}", event.id, event.lsn));
            }
            if !whole {
                lost.push(event);
            }
        }
        tally.damaged_events += lost.len();
        let status = server.get("/v1/status");
        for event in &lost {
            if !named::names(checked, event.lsn, &event.id) {
                return Err(format!(
                    "{} at {} is lost, and check does not say so: {checked}",
                    event.id, event.lsn
                ));
            }
            if let Some(shown) = listed.get(&event.id)
                && shown["damaged"] != json!(true)
            {
                return Err(format!("damaged, and does not say so: {shown}"));
            }
        }
        let seen: Vec<_> = lost
            .iter()
            .filter(|event| listed.contains_key(&event.id))
            .collect();
        if !seen.is_empty() && status["journal"]["damaged_events"].as_u64() < Some(seen.len() as u64) {
            return Err(format!("{} damaged events were read: {status}", seen.len()));
        }
        let rebuilt = status["store"]["rebuilds"].as_u64() > Some(0);
        let inner = checked["journal"]["damaged"].as_array().unwrap();
        if rebuilt
            && inner.iter().any(|range| range["bytes"] != 0)
            && status["journal"]["damaged_ranges"] == 0
        {
            return Err(format!("read damage and did not count it: {status}"));
        }
        self.payloads(server, oracle, sound)?;
        self.deliveries(server, workload, oracle, sound, &listed, tally)
    }

    /// What is sound is what was sent, byte for byte.
    fn payloads(&self, server: &Server, oracle: &Oracle, sound: &oracle::Sound) -> Result<(), String> {
        for event in oracle.events().filter(|event| sound.has(event.lsn)).step_by(9) {
            let shown = server.get(&format!("/v1/events/{}", event.id));
            if shown["data"] != workload::data(&event.id) {
                return Err(format!("{} is another one: {shown}", event.id));
            }
        }
        Ok(())
    }

    /// What is held arrives once it is released, if it is sound; if not, it fails and says why.
    fn deliveries(
        &self,
        server: &Server,
        workload: &Workload,
        oracle: &Oracle,
        sound: &oracle::Sound,
        listed: &BTreeMap<String, Value>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let path = format!("/v1/endpoints/{}", workload.paused);
        let shown = server.request("GET", &path, None, b"");
        let known = shown.status == 200 && shown.json()["state"] == "paused";
        if !known {
            let all_sound = oracle.endpoint(&workload.paused).all(|lsn| sound.has(lsn));
            return if all_sound {
                Err(format!(
                    "the endpoint is not as its records say: {}",
                    shown.text()
                ))
            } else {
                Ok(())
            };
        }
        let from = workload.arrived();
        let released = server.post(&format!("{path}/enable"), &json!({}));
        if released.status != 200 {
            return Err(format!("the endpoint cannot be enabled: {}", released.text()));
        }
        let held = || oracle.events().filter(|event| event.id.starts_with("held-"));
        let wanted: Vec<&str> = held()
            .filter(|event| sound.has(event.lsn))
            .map(|event| &*event.id)
            .collect();
        let missing = wait_for_all(|| workload.lacks(from, &wanted));
        if !missing.is_empty() {
            return Err(format!("held, sound, and not delivered: {missing:?}"));
        }
        tally.arrived += wanted.len();
        let doomed: Vec<&str> = held()
            .filter(|event| {
                !sound.has(event.lsn)
                    && listed
                        .get(&event.id)
                        .is_some_and(|shown| shown["damaged"] == true)
            })
            .map(|event| &*event.id)
            .collect();
        let open = wait_for_all(|| {
            let failed = |id: &str| {
                let deliveries = server.list(&format!("/v1/events/{id}/deliveries"));
                deliveries.iter().all(|delivery| {
                    delivery["state"] == "failed" && delivery["last_outcome"]["reason"] == "disk"
                })
            };
            doomed
                .iter()
                .filter(|id| !failed(id))
                .map(ToString::to_string)
                .collect()
        });
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!("damaged, and not failed for it: {open:?}"))
        }
    }

    /// A repaired folder is whole, and has every sound event.
    fn repair(&self, oracle: &Oracle, sound: &oracle::Sound) -> Result<(), String> {
        self.check(&["--repair", "--yes"])?
            .ok_or("the repair was refused")?;
        let report = self.check(&[])?.ok_or("the repaired folder is refused")?;
        if report["journal"]["whole"] != true || !report["repair"].as_array().unwrap().is_empty() {
            return Err(format!("repaired, and not whole: {report}"));
        }
        let started = Server::start_or_end(&self.data, &["--no-listen"], &[("POSTHASTE_BOOT_ID", BOOT)]);
        let mut server =
            started.map_err(|(status, log)| format!("repaired, it ended with {status}: {log}"))?;
        let listed = server.list("/v1/events");
        let ids: std::collections::HashSet<&str> = listed
            .iter()
            .filter(|event| event.get("damaged").is_none())
            .filter_map(|event| event["id"].as_str())
            .collect();
        let missing = oracle
            .events()
            .find(|event| sound.has(event.lsn) && !ids.contains(&*event.id));
        if let Some(event) = missing {
            return Err(format!(
                "{} at {} did not survive the repair",
                event.id, event.lsn
            ));
        }
        let status = server.get("/v1/status");
        if status["journal"]["damaged_ranges"] != 0 || status["warnings"] != json!([]) {
            return Err(format!("repaired, and still told of: {status}"));
        }
        (server.stop().code() == Some(0))
            .then_some(())
            .ok_or_else(|| "it did not stop".to_owned())
    }
}
