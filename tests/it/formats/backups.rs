//! Backups of every version that was ever written are restored.
//!
//! They are kept in `formats/NAME.backup`, as folders are, and made the same way.

use super::*;

#[test]
#[ignore = "makes a backup to be kept; POSTHASTE_FIXTURE names it"]
fn a_backup_of_the_present_version_is_kept() {
    let name = std::env::var("POSTHASTE_FIXTURE").expect("POSTHASTE_FIXTURE names the backup");
    let place = root().join(format!("{name}.backup"));
    assert!(!place.exists(), "{name} is there, and stays as it is");
    let dir = tempfile::tempdir().unwrap();
    let small = [
        ("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB"),
        ("POSTHASTE_LIMITS__PAYLOAD", "32KiB"),
    ];
    let server = Server::start_with(&dir.path().join("data"), &["--no-listen"], &small);
    let held = json!({"name": "held", "url": "http://127.0.0.1:1/", "enabled": false});
    server.endpoint(&held);
    for number in 0..5 {
        let data = "x".repeat(27 * 1024);
        server.event(&json!({"id": format!("kept-{number}"), "type": "some.thing", "data": data}));
    }
    let backup = dir.path().join("backup");
    let (said, status) = server.cli(&["backup", &backup.display().to_string()]);
    assert!(status.success(), "{said}");
    fs::write(place, kept::pack(&backup, &["lock"])).unwrap();
}

#[test]
fn a_kept_backup_is_restored_and_delivered_from() {
    let mut seen = 0;
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|suffix| suffix != "backup") {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let (backup, data) = (dir.path().join("backup"), dir.path().join("data"));
        kept::unpack(&fs::read_to_string(&path).unwrap(), &backup);
        let restored = Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .arg("restore")
            .arg(&backup)
            .arg("--data")
            .arg(&data)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&restored.stderr);
        assert!(restored.status.success(), "{}: {said}", path.display());
        let retention = retained();
        let environment: Vec<_> = retention
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let server = Server::start_with(&data, &["--no-listen"], &environment);
        let sink = Sink::accepting();
        let endpoint = server.list("/v1/endpoints").pop().unwrap();
        let change = format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap());
        let body = json!({"url": sink.url(), "enabled": true}).to_string();
        let kind = Some("application/merge-patch+json");
        assert_eq!(
            server.request("PATCH", &change, kind, body.as_bytes()).status,
            200
        );
        wait_for("what was held", || {
            let received = sink.received();
            let arrived = |number: &u32| {
                let id = format!("kept-{number}");
                received.iter().any(|got| got.event_id() == id)
            };
            (0..5).all(|number| arrived(&number)).then_some(())
        });
        seen += 1;
    }
    assert!(seen >= 1);
}
