//! Data folders of every format that was ever written are read: everything in them is there, and deliveries go on.
//!
//! A folder is kept as text (see `support::kept`) in `formats/NAME.folder`, and beside it, in `formats/NAME.json`, what
//! its server showed of it last. **Both stay as they are for ever.** A new format gets a folder of its own, made by
//! the program that writes it:
//!
//!     POSTHASTE_FIXTURE=NAME cargo nextest run --run-ignored only a_folder_of_the_present_format_is_kept
//!
//! It takes two minutes. `POSTHASTE_TEST_PROGRAM` has another program make it. The URLs in a folder are of receivers that are
//! long gone.

mod backups;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use posthaste::{
    config::{KEYS, Key},
    storage::local::index::{StoreError, open},
    storage::local::journal::{Journal, Options},
};
use serde_json::{Value, json};

use self::workload::{BOOT, LISTS};
use crate::{
    api_tcp::{address, with_key},
    support::{
        STORE, kept,
        server::{Server, wait_for},
        sink::Sink,
    },
};

/// Folders that are there; more come, none goes.
const KEPT: usize = 3;

/// Every folder that is kept: its name, the folder, what was shown.
fn folders() -> Vec<(String, String, String)> {
    let place = root();
    let names = fs::read_dir(&place).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".folder").map(ToOwned::to_owned)
    });
    let read = |name: &str, suffix: &str| fs::read_to_string(place.join(format!("{name}.{suffix}"))).unwrap();
    let folders: Vec<_> = names
        .map(|name| (name.clone(), read(&name, "folder"), read(&name, "json")))
        .collect();
    assert!(
        folders.len() >= KEPT,
        "{} folders in {}",
        folders.len(),
        place.display()
    );
    folders
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/formats")
}

/// How a folder was left.
#[derive(Copy, Clone, Debug)]
enum Left {
    Stopped,
    /// Without a clean stop: the store is believed, since the machine runs on.
    Killed,
    /// Without a clean stop, and the machine was started since: the store is made from the journal.
    PowerCut,
    /// Without a store.
    JournalAlone,
}

#[test]
#[ignore = "makes a folder to be kept; POSTHASTE_FIXTURE names it"]
fn a_folder_of_the_present_format_is_kept() {
    let name = std::env::var("POSTHASTE_FIXTURE").expect("POSTHASTE_FIXTURE names the folder");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let shown = workload::make(&data);
    let place = |suffix: &str| root().join(format!("{name}.{suffix}"));
    assert!(!place("folder").exists(), "{name} is there, and stays as it is");
    fs::write(place("folder"), kept::pack(&data, &["lock"])).unwrap();
    fs::write(place("json"), format!("{shown}\n")).unwrap();
}

#[test]
fn a_kept_folder_is_read_as_it_was_left() {
    for (name, folder, shown) in &folders() {
        Case::new(name, folder, shown, Left::Stopped).run();
    }
}

#[test]
fn a_kept_folder_is_read_after_a_kill() {
    for (name, folder, shown) in &folders() {
        Case::new(name, folder, shown, Left::Killed).run();
    }
}

#[test]
fn a_kept_folder_is_read_after_a_power_cut() {
    for (name, folder, shown) in &folders() {
        Case::new(name, folder, shown, Left::PowerCut).run();
    }
}

#[test]
fn a_kept_folder_is_read_without_its_store() {
    for (name, folder, shown) in &folders() {
        Case::new(name, folder, shown, Left::JournalAlone).run();
    }
}

/// Whether the folder's store is of the layout that this program writes.
fn is_present(folder: &str) -> bool {
    // A copy, since whoever opens a store may write to it.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("data");
    kept::unpack(folder, &copy);
    !matches!(open::open_as_is(&copy, STORE), Err(StoreError::Layout))
}

/// The folders grow older, and nothing in them may be found too old: every retention at its greatest.
fn retained() -> Vec<(String, String)> {
    let retentions = KEYS.iter().filter(|key| key.name.contains("retention"));
    let greatest = |key: &Key| Some((key.variable(), key.range?.1.to_owned()));
    retentions.filter_map(greatest).collect()
}

struct Case {
    _dir: tempfile::TempDir,
    data: PathBuf,
    boot: &'static str,
    /// Its store is to be read as it is. One of an older layout is made afresh.
    is_believed: bool,
    /// For messages.
    what: String,
    shown: Value,
}

impl Case {
    fn new(name: &str, folder: &str, shown: &str, left: Left) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        kept::unpack(folder, &data);
        let mut boot = BOOT;
        match left {
            Left::Stopped => boot = "another boot",
            Left::Killed => fs::remove_file(data.join("clean")).unwrap(),
            Left::PowerCut => {
                fs::remove_file(data.join("clean")).unwrap();
                boot = "another boot";
            }
            Left::JournalAlone => fs::remove_dir_all(data.join("store")).unwrap(),
        }
        Self {
            _dir: dir,
            boot,
            is_believed: matches!(left, Left::Stopped | Left::Killed) && is_present(folder),
            data,
            what: format!("{name}, {left:?}"),
            shown: serde_json::from_str(shown).unwrap(),
        }
    }

    fn run(&self) {
        let retention = retained();
        let mut environment = vec![("POSTHASTE_BOOT_ID", self.boot)];
        environment.extend(
            retention
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let mut server = Server::start_with(&self.data, &["--listen", "127.0.0.1:0"], &environment);
        if self.is_believed {
            let rebuilds = &server.get("/v1/status")["store"]["rebuilds"];
            assert_eq!(
                *rebuilds,
                0,
                "{}: its rows are not read: {}",
                self.what,
                server.log()
            );
        }
        self.everything_is_there(&server);
        self.deliveries_go_on(&server);
        assert_eq!(server.stop().code(), Some(0), "{}: {}", self.what, server.log());
        server.assert_whole();
        // What it has become is read as well.
        server.restart();
        self.events_are_the_same(&server);
        assert_eq!(server.stop().code(), Some(0), "{}: {}", self.what, server.log());
    }

    fn everything_is_there(&self, server: &Server) {
        for list in LISTS {
            // A program that did not know a kind of thing has shown none.
            let empty = json!([]);
            let expected = self.shown["lists"].get(list).unwrap_or(&empty);
            self.holds(list, expected, &server.list(list).into());
        }
        let events = self.shown["events"].as_object();
        for (path, expected) in events.into_iter().flatten() {
            self.holds(path, expected, &server.get(path));
        }
        self.holds("keys", &self.shown["keys"], &server.get("/v1/keys"));
        for (path, expected) in self.shown["secrets"].as_object().unwrap() {
            self.holds(path, expected, &server.get(path));
        }
        let key = self.shown["key"].as_str().unwrap();
        let answer = with_key(address(server), key, "GET", "/v1/keys", "");
        assert_eq!(answer.status, 200, "{}: the key: {}", self.what, answer.text());
        let twice = server.post(
            "/v1/events",
            &json!({"id": "gone-1", "type": "gone.one", "data": 1}),
        );
        assert_eq!(
            (twice.status, &twice.json()["duplicate"]),
            (200, &json!(true)),
            "{}",
            self.what
        );
        let other = server.post(
            "/v1/events",
            &json!({"id": "gone-1", "type": "gone.one", "data": 2}),
        );
        assert_eq!(other.status, 409, "{}", self.what);
    }

    /// Fails unless everything that `expected` says is said by `found`, which may say more.
    fn holds(&self, place: &str, expected: &Value, found: &Value) {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                for (member, expected) in expected {
                    let nothing = Value::Null;
                    self.holds(
                        &format!("{place}/{member}"),
                        expected,
                        found.get(member).unwrap_or(&nothing),
                    );
                }
            }
            (Value::Array(expected), Value::Array(found)) => {
                assert_eq!(expected.len(), found.len(), "{}: {place}: {found:#?}", self.what);
                for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                    self.holds(&format!("{place}/{index}"), expected, found);
                }
            }
            _ => assert_eq!(expected, found, "{}: {place}", self.what),
        }
    }

    fn events_are_the_same(&self, server: &Server) {
        let list = LISTS[0];
        let (expected, found) = (&self.shown["lists"][list], server.list(list));
        let expected = expected.as_array().unwrap();
        assert!(found.len() > expected.len(), "{}", self.what);
        let old: Value = found[..expected.len()].to_vec().into();
        self.holds(list, &expected.clone().into(), &old);
    }

    /// What was held and what waited arrives at receivers of today, in its order, signed with what it was sealed with.
    fn deliveries_go_on(&self, server: &Server) {
        let sink = Sink::accepting();
        for name in ["good", "gone", "picky", "tired", "paused"] {
            let id = self.shown["endpoints"][name].as_str().unwrap();
            let path = format!("/v1/endpoints/{id}");
            let order = if name == "paused" { "strict" } else { "none" };
            let url = json!({"url": format!("{}{name}", sink.url()), "ordering": order}).to_string();
            let kind = "application/merge-patch+json";
            let patched = server.request("PATCH", &path, Some(kind), url.as_bytes());
            assert_eq!(patched.status, 200, "{}: {}", self.what, patched.text());
            let enabled = server.post(&format!("{path}/enable"), &json!({}));
            assert_eq!(enabled.status, 200, "{}: {}", self.what, enabled.text());
        }
        // What was settled may have been forgotten.
        let events = self.shown["lists"][LISTS[0]].as_array().unwrap();
        let is_there = |event: &&str| events.iter().any(|row| row["id"] == **event);
        let again = ["tired-1", "picky-1", "picky-2"]
            .into_iter()
            .filter(is_there)
            .map(|event| {
                let delivery = &server.list(&format!("/v1/events/{event}/deliveries"))[0]["id"];
                format!("/v1/deliveries/{}/retry", delivery.as_str().unwrap())
            });
        for path in again {
            // An attempt of the last life may have been made again, and be out.
            wait_for("a delivery to be retried", || {
                let status = server.post(&path, &json!({})).status;
                assert!([200, 409].contains(&status), "{}: {path}: {status}", self.what);
                (status == 200).then_some(())
            });
        }
        for event in ["full-1", "full-2", "binary-1"].into_iter().filter(is_there) {
            let replayed = server.post(&format!("/v1/events/{event}/replay"), &json!({}));
            assert_eq!(replayed.status, 202, "{}: {}", self.what, replayed.text());
        }
        server.event(&json!({"id": "new-1", "type": "paused.new", "data": "today's"}));
        let news = json!({
            "id": "new-2", "type": "good.new", "data": {"text": "żółw"}, "tenant": "acme", "channel": "video",
        });
        server.event(&news);
        let held = ["paused-0", "paused-1", "paused-2", "paused-3", "paused-4"];
        let large = ["large-0", "large-1", "large-2", "large-3", "large-4", "new-1"];
        let rest = [
            "gone-1", "gone-2", "gone-3", "tired-1", "picky-1", "picky-2", "full-1", "full-2", "binary-1",
        ];
        let rest: Vec<&str> = rest.into_iter().filter(is_there).chain(["new-2"]).collect();
        assert!(rest.len() >= 4, "{}: {rest:?}", self.what);
        wait_for("what was held", || {
            let received = sink.received();
            let arrived = |event: &&str| received.iter().any(|got| got.event_id() == *event);
            held.iter().chain(&large).chain(&rest).all(arrived).then_some(())
        });
        let received = sink.received();
        let in_order = received.iter().filter(|got| got.path == "/paused");
        let in_order: Vec<_> = in_order.map(|got| got.event_id().to_owned()).collect();
        assert_eq!(in_order, [&held[..], &large[..]].concat(), "{}", self.what);
        let got = |event: &str| received.iter().find(|got| got.event_id() == event).unwrap();
        let new = got("new-2");
        assert_eq!(new.headers["x-team"], "ingest");
        assert_eq!(new.headers["authorization"], "Basic YWRhOmh1bnRlcjI=");
        self.is_signed(server, new);
        if is_there(&"full-1") {
            let body = String::from_utf8(got("full-1").body.clone()).unwrap();
            assert!(body.contains(r#"{"number":1.5,"text":"żółw"}"#), "{body}");
            assert_eq!(got("binary-1").body, [0, 1, 2, 3, 4, 255], "{}", self.what);
        }
        assert!(got("large-4").body.len() > 27 * 1024, "{}", self.what);
        self.rest_is_left_alone(server);
    }

    /// What is delayed or held at a paused endpoint, held for want of a proof, or erased.
    fn rest_is_left_alone(&self, server: &Server) {
        if self.shown["endpoints"].get("unproved").is_none() {
            return;
        }
        for (event, state) in [
            ("delayed-1", "held"),
            ("unproved-1", "held"),
            ("erased-1", "delivered"),
            ("erased-2", "cancelled"),
        ] {
            let deliveries = server.list(&format!("/v1/events/{event}/deliveries"));
            assert_eq!(deliveries[0]["state"], state, "{}: {event}", self.what);
        }
        let erased = server.request("GET", "/v1/events/erased-1/payload", None, b"");
        assert_eq!(erased.status, 410, "{}", self.what);
    }

    /// `posthaste listen` would believe it: the signature is that of the secret that was shown.
    fn is_signed(&self, server: &Server, got: &crate::support::sink::Received) {
        let id = self.shown["endpoints"]["good"].as_str().unwrap();
        let secret = &server.get(&format!("/v1/endpoints/{id}/secret"))["signatures"][0]["secret"];
        let verifier = standardwebhooks::Webhook::new(secret.as_str().unwrap()).unwrap();
        let mut headers = http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, got.headers[name].parse().unwrap());
        }
        verifier.verify(&got.body, &headers).unwrap();
    }
}

/// Ordinals, each with the versions in which it is there.
type Kinds = BTreeSet<(u8, u8)>;

/// Those of records, and those of rows.
fn kinds_of(data: &Path) -> (Kinds, Kinds) {
    let (journal, _) = Journal::open(Options::new(data.join("journal"))).unwrap();
    journal.close();
    let entries = journal.follow(0).try_next(10_000, usize::MAX).unwrap();
    let records = entries.iter().map(|entry| (entry.kind, entry.version)).collect();
    let rows: Kinds = match open::open_as_is(data, STORE) {
        Ok(store) => {
            let rows = store.dump().unwrap();
            rows.iter().map(|(key, row)| (key[0], row[0])).collect()
        }
        // The first layout, an entry for each row: today such a store is made afresh.
        Err(StoreError::Layout) => {
            let rows = sled::open(data.join("store")).unwrap();
            let rows = rows.iter().map(|entry| entry.unwrap());
            rows.map(|(key, row)| (key[0], row[0])).collect()
        }
        Err(error) => panic!("{}: {error}", data.display()),
    };
    (records, rows)
}

#[test]
fn the_kept_folders_hold_every_kind_of_record_and_both_versions_of_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut held = BTreeMap::new();
    for (name, folder, _) in folders() {
        let data = dir.path().join(&name);
        kept::unpack(&folder, &data);
        held.insert(name, kinds_of(&data));
    }
    let (records, rows) = &held["format_1"];
    assert_eq!(*records, (1..=12).map(|kind| (kind, 1)).collect());
    let all: BTreeSet<u8> = rows.iter().map(|(kind, _)| *kind).collect();
    let kinds = [
        0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x30, 0x31, 0x32, 0x40, 0x50,
    ];
    assert_eq!(all, kinds.into_iter().collect());
    let (records, old) = &held["format_1_rows_1"];
    assert_eq!(*records, (1..=10).map(|kind| (kind, 1)).collect());
    for kind in [0x02, 0x20, 0x40] {
        assert!(old.contains(&(kind, 1)) && !old.contains(&(kind, 2)), "{old:?}");
        assert!(
            rows.contains(&(kind, 2)) && !rows.contains(&(kind, 1)),
            "{rows:?}"
        );
    }
    // The 18th is of endpoints that were deleted an hour before retention ran.
    let (records, _) = &held["format_2"];
    assert_eq!(
        *records,
        (1..=19)
            .filter(|kind| *kind != 18)
            .map(|kind| (kind, 1))
            .collect()
    );
}

#[test]
fn a_folder_of_a_newer_format_is_refused_untouched_and_the_message_says_what_to_do() {
    for (name, folder, shown) in &folders() {
        let case = Case::new(name, folder, shown, Left::Stopped);
        let format = case.data.join("format");
        let text = fs::read_to_string(&format).unwrap();
        let (head, rest) = text.split_once("\nformat ").unwrap();
        let newer = format!(
            "{head}\nformat 9999{}",
            rest.trim_start_matches(|digit: char| digit.is_ascii_digit())
        );
        fs::write(&format, newer).unwrap();
        let before = kept::pack(&case.data, &["lock"]);
        for command in ["serve", "check"] {
            let refused = Command::new(env!("CARGO_BIN_EXE_posthaste"))
                .args([command, "--data"])
                .arg(&case.data)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{name}: {command}: {said}");
            assert!(
                said.contains("format 9999") && said.contains("use the program that wrote it"),
                "{name}: {command}: {said}"
            );
        }
        assert_eq!(kept::pack(&case.data, &["lock"]), before, "{name}");
    }
}
