//! What is no backup, or none of this server, is refused and said by name; nothing is harmed by it.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    api_tcp::{address, with_key},
    support::{alone, kept},
};

#[test]
fn a_damaged_backup_is_refused_by_the_name_of_the_file() {
    let scene = Scene::new();
    scene.events("one", 20);
    scene.backup("backup", &[]);
    let whole = kept::pack(&scene.path("backup"), &["lock"]);
    let names: Vec<String> = fs::read_dir(scene.path("backup/journal"))
        .unwrap()
        .map(|entry| format!("journal/{}", entry.unwrap().file_name().display()))
        .chain(["manifest".to_owned()])
        .collect();
    assert!(names.len() > 3);
    let mut rng = fastrand::Rng::with_seed(11);
    let mut tried = 0;
    for name in &names {
        for harm in ["flip", "cut", "delete"] {
            let damaged = scene.path("damaged");
            kept::unpack(&whole, &damaged);
            let file = damaged.join(name);
            let mut bytes = fs::read(&file).unwrap();
            match harm {
                "flip" => {
                    let at = rng.usize(0..bytes.len() - 1);
                    bytes[at] ^= 1 << rng.u8(0..8);
                    fs::write(&file, bytes).unwrap();
                }
                "cut" => fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
                _ => fs::remove_file(&file).unwrap(),
            }
            let refused = restore(&damaged, &scene.path("elsewhere"), &[]);
            let text = stderr(&refused);
            assert_eq!(refused.status.code(), Some(1), "{name}, {harm}: {text}");
            let named = if (name.as_str(), harm) == ("manifest", "delete") {
                "holds no backup"
            } else {
                name
            };
            assert!(text.contains(named), "{name}, {harm}: {text}");
            assert!(!scene.path("elsewhere").exists(), "{name}, {harm}");
            let checked = backup_command(&scene.server, &damaged)
                .arg("--verify")
                .output()
                .unwrap();
            assert!(
                checked.status.code() == Some(1) && stderr(&checked).contains(named),
                "{name}, {harm}: {}",
                stderr(&checked)
            );
            fs::remove_dir_all(damaged).unwrap();
            tried += 1;
        }
    }
    println!("{tried} damaged backups were refused");
    // What was left by them is not in the way.
    scene.restore("backup", "elsewhere");
}

#[test]
fn bytes_beyond_what_the_manifest_says_do_not_count() {
    let scene = Scene::new();
    scene.events("one", 10);
    scene.backup("backup", &[]);
    let newest = fs::read_dir(scene.path("backup/journal")).unwrap();
    let newest = newest.map(|entry| entry.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let length = bytes.len();
    bytes.extend_from_slice(&[7; 5000]);
    fs::write(&newest, &bytes).unwrap();
    fs::write(scene.path("backup/journal/00000000000fffff.seg"), [7; 5000]).unwrap();
    scene.restore("backup", "elsewhere");
    let restored = scene.path("elsewhere/journal").join(newest.file_name().unwrap());
    assert_eq!(fs::read(restored).unwrap(), bytes[..length]);
    assert_eq!(ids(&scene.restored("elsewhere")).len(), 10);
    scene.events("two", 10);
    scene.backup("backup", &[]);
    assert!(!scene.path("backup/journal/00000000000fffff.seg").exists());
    scene.restore("backup", "third");
    assert_eq!(ids(&scene.restored("third")).len(), 20);
}

#[test]
fn nothing_is_restored_over_what_is_there() {
    let scene = Scene::new();
    scene.events("one", 1);
    scene.backup("backup", &[]);
    let used = scene.path("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("note"), "mine").unwrap();
    for data in ["data", "used"] {
        let refused = restore(&scene.path("backup"), &scene.path(data), &[]);
        assert!(
            refused.status.code() == Some(1) && stderr(&refused).contains("is not empty"),
            "{}",
            stderr(&refused)
        );
    }
    assert_eq!(fs::read(used.join("note")).unwrap(), b"mine");
    // An empty directory will do, and what a restore that was killed has left beside it is not in the way.
    fs::remove_file(used.join("note")).unwrap();
    let left = scene.path("used.restoring");
    fs::create_dir_all(left.join("journal")).unwrap();
    fs::write(left.join("journal/note"), "mine").unwrap();
    let in_the_way = restore(&scene.path("backup"), &used, &[]);
    assert!(
        stderr(&in_the_way).contains("is in the way"),
        "{}",
        stderr(&in_the_way)
    );
    fs::write(left.join("unfinished-restore"), "").unwrap();
    scene.restore("backup", "used");
    assert_eq!(ids(&scene.restored("used")), ["one-0"]);
    assert!(!left.exists());
}

#[test]
fn a_directory_with_other_things_in_it_is_not_written_to() {
    let scene = Scene::new();
    fs::create_dir(scene.path("photos")).unwrap();
    fs::write(scene.path("photos/cat.jpg"), "a cat").unwrap();
    let refused = scene.try_backup("photos", &[]);
    let text = stderr(&refused);
    assert!(
        refused.status.code() == Some(1)
            && text.contains("neither empty nor a backup")
            && text.contains("cat.jpg"),
        "{text}"
    );
    let names = fs::read_dir(scene.path("photos")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["cat.jpg"], "a directory that is refused is left as it is");
    assert_eq!(fs::read(scene.path("photos/cat.jpg")).unwrap(), b"a cat");
}

/// A backup that was changed, and what the refusal of it has to say.
fn assert_not_restored(scene: &Scene, text: &str) {
    let refused = restore(&scene.path("backup"), &scene.path("elsewhere"), &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(text), "{}", stderr(&refused));
    assert!(!scene.path("elsewhere").exists());
    let verified = backup_command(&scene.server, &scene.path("backup"))
        .arg("--verify")
        .output()
        .unwrap();
    assert_eq!(verified.status.code(), Some(1));
    assert!(stderr(&verified).contains(text), "{}", stderr(&verified));
}

#[test]
fn a_backup_whose_key_is_none_or_another_is_refused() {
    let scene = Scene::new();
    scene.backup("backup", &[]);
    fs::write(scene.path("backup/key"), "not a key").unwrap();
    assert_not_restored(&scene, "is not 64 hexadecimal digits");
    fs::write(scene.path("backup/key"), "ab".repeat(32)).unwrap();
    assert_not_restored(&scene, "is not the one that this data folder was sealed with");
}

#[test]
fn a_manifest_without_segments_is_refused() {
    let scene = Scene::new();
    scene.backup("backup", &[]);
    let manifest = fs::read_to_string(scene.path("backup/manifest")).unwrap();
    let mut document: Value = serde_json::from_str(manifest.lines().next().unwrap()).unwrap();
    document["segments"] = json!([]);
    let line = document.to_string();
    let sum = crc32c::crc32c(line.as_bytes());
    fs::write(
        scene.path("backup/manifest"),
        format!("{line}\ncrc32c {sum:08x}\n"),
    )
    .unwrap();
    assert_not_restored(&scene, "lists no segments");
}

#[test]
fn a_pipe_among_the_files_of_a_backup_is_refused_and_not_waited_for() {
    for name in ["manifest", "key", "journal/0000000000000001.seg"] {
        let scene = Scene::new();
        scene.backup("backup", &[]);
        let file = scene.path("backup").join(name);
        fs::remove_file(&file).unwrap();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert_not_restored(&scene, "is not a regular file");
    }
}

#[test]
fn a_backup_of_another_journal_or_of_another_history_is_refused() {
    let mut scene = Scene::new();
    scene.events("one", 10);
    scene.backup("backup", &[]);
    let other = Scene::new();
    let to = scene.path("backup");
    let before = kept::pack(&to, &["lock"]);
    let refused = backup_command(&other.server, &to).output().unwrap();
    assert!(
        stderr(&refused).contains("of another journal"),
        "{}",
        stderr(&refused)
    );
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(kept::pack(&to, &["lock"]), before);

    // Both the server and what was restored of it go on, and no directory can hold both histories.
    scene.restore("backup", "elsewhere");
    for count in [1, 30] {
        scene.events(&format!("here-{count}"), count);
        scene.backup("backup", &[]);
        let before = kept::pack(&to, &["lock"]);
        let mine = std::mem::replace(
            &mut scene.server,
            Server::start_with(&other.path("spare"), &["--no-listen"], &SMALL),
        );
        scene.server = scene.restored("elsewhere");
        scene.events(&format!("there-{count}"), count);
        let refused = scene.try_backup("backup", &[]);
        assert!(
            stderr(&refused).contains("have parted ways"),
            "{}",
            stderr(&refused)
        );
        assert_eq!(kept::pack(&to, &["lock"]), before);
        scene.backup(&format!("fresh-{count}"), &[]);
        scene.server = mine;
    }
    scene.backup("backup", &[]);
    scene.restore("backup", "third");
    assert_eq!(ids(&scene.restored("third")).len(), 41);
}

#[test]
fn two_backups_do_not_write_to_one_directory() {
    let scene = Scene::new();
    scene.events("one", 1);
    scene.backup("backup", &[]);
    let lock = fs::File::open(scene.path("backup/lock")).unwrap();
    lock.lock().unwrap();
    let refused = scene.try_backup("backup", &[]);
    assert!(
        stderr(&refused).contains("another backup is writing to"),
        "{}",
        stderr(&refused)
    );
    drop(lock);
    scene.backup("backup", &[]);
}

#[test]
fn without_the_key_a_backup_can_be_restored_only_by_who_has_it() {
    let scene = Scene::new();
    let endpoint = scene
        .server
        .endpoint(&json!({"url": "http://127.0.0.1:1/", "events": ["some.*"]}));
    scene.backup("backup", &[]);
    let key = fs::metadata(scene.path("backup/key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    // The key of an earlier backup does not stay either.
    let taken = scene.backup("backup", &["--without-key"]);
    assert_eq!(taken["key"], "left out");
    assert!(!scene.path("backup/key").exists());
    let secret = fs::read_to_string(scene.path("data/key")).unwrap();
    let files = kept::pack(&scene.path("backup"), &[]);
    assert!(!files.contains(secret.trim()));

    let restored = restore(&scene.path("backup"), &scene.path("elsewhere"), &[]);
    assert!(
        stderr(&restored).contains("put the sealing key at"),
        "{}",
        stderr(&restored)
    );
    assert_eq!(said(&restored)["key"], "left out");
    let refused = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(["serve", "--no-listen", "--data"])
        .arg(scene.path("elsewhere"))
        .output()
        .unwrap();
    assert!(stderr(&refused).contains("the sealing key") && stderr(&refused).contains("is missing"));
    let file = scene.path("data/key").display().to_string();
    let with = restore(
        &scene.path("backup"),
        &scene.path("third"),
        &["--key-file", &file],
    );
    assert_eq!(said(&with)["key"], "included");
    let server = scene.restored("third");
    let path = format!("/v1/endpoints/{endpoint}/secret");
    assert_eq!(server.get(&path), scene.server.get(&path));
}

#[test]
fn over_tcp_only_an_admin_takes_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(&dir.path().join("data"), &["--listen", "127.0.0.1:0"], &[]);
    server.event(&json!({"type": "some.thing", "data": 1, "id": "one"}));
    let key = |body: Value| {
        server.post("/v1/keys", &body).json()["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let url = format!("http://{}", address(&server));
    let over_tcp = |key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        let to = dir.path().join("backup");
        command
            .arg("backup")
            .arg(to)
            .args(["--output", "json", "--server", &url, "--key", key]);
        command.output().unwrap()
    };
    for role in ["viewer", "sender", "manager"] {
        let refused = over_tcp(&key(json!({"role": role, "name": role})));
        assert!(
            refused.status.code() == Some(1) && stderr(&refused).contains("403"),
            "{role}: {}",
            stderr(&refused)
        );
    }
    let of_tenant = key(json!({"role": "admin", "name": "acme", "tenant": "acme"}));
    let refused = over_tcp(&of_tenant);
    assert!(stderr(&refused).contains("403"), "{}", stderr(&refused));
    let admin = key(json!({"role": "admin", "name": "all"}));
    assert_eq!(said(&over_tcp(&admin))["key"], "included");
    let done = restore(&dir.path().join("backup"), &dir.path().join("elsewhere"), &[]);
    said(&done);
    let restored = Server::start(&dir.path().join("elsewhere"));
    assert_eq!(ids(&restored), ["one"]);
    let kind = "content-type: application/json\r\n";
    let wrong = crate::api_tcp::ask(
        address(&server),
        "POST",
        "/v1/backup",
        &format!("authorization: Bearer {admin}\r\n{kind}"),
        r#"{"held": [{"first": 1, "salt": "no number", "bytes": 1, "sealed": true, "crc32c": 1}]}"#,
    );
    assert_eq!(wrong.problem(), (422, vec!["held".to_owned()]));
    assert_eq!(
        with_key(address(&server), &admin, "GET", "/v1/backup", "").status,
        405
    );
}

#[test]
fn a_server_whose_files_run_out_still_gives_a_backup_of_many_segments() {
    // A limit for the server alone: the test's own process has its own.
    if !alone::is_alone() {
        return alone::run(
            "backup::refused::a_server_whose_files_run_out_still_gives_a_backup_of_many_segments",
            |command| command,
        );
    }
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(160);
    setrlimit(Resource::Nofile, limit).unwrap();
    let scene = Scene::new();
    scene.events("many", 900);
    let taken = scene.backup("backup", &[]);
    assert!(taken["segments"].as_u64() > Some(140), "{taken}");
    scene.restore("backup", "elsewhere");
    assert_eq!(ids(&scene.restored("elsewhere")).len(), 900);
}
