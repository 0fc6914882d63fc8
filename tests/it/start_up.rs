//! What a start makes of the directory it is given.

use std::{fs, path::Path};

use serde_json::json;

use crate::support::server::Server;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().display().to_string())
        .collect();
    names.sort();
    names
}

/// What a server that does not start says.
fn refused(data: &Path) -> String {
    match Server::start_or_end(data, &["--no-listen"], &[]) {
        Ok(_) => panic!("the server started on {}", data.display()),
        Err((status, log)) => {
            assert_eq!(status.code(), Some(1), "{log}");
            log
        }
    }
}

#[test]
fn a_directory_with_other_things_in_it_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("cat.jpg"), "a cat").unwrap();
    let said = refused(&photos);
    assert!(
        said.contains("neither empty nor a posthaste data folder: it holds cat.jpg"),
        "{said}"
    );
    assert_eq!(names(&photos), ["cat.jpg"]);
}

#[test]
fn a_data_folder_that_is_refused_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(
        data.join("format"),
        "posthaste data folder\nformat 999\nproof 00\n",
    )
    .unwrap();
    let said = refused(&data);
    assert!(said.contains("newer than this program's"), "{said}");
    assert_eq!(names(&data), ["format"]);
}

#[test]
fn a_key_that_was_put_there_before_the_first_start_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let key = format!("{}\n", "ab".repeat(32));
    fs::write(data.join("key"), &key).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(data.join("key"), private).unwrap();
    let _server = Server::start(&data);
    assert_eq!(fs::read_to_string(data.join("key")).unwrap(), key);
}

#[test]
fn a_store_whose_journal_is_gone_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    for (number, everything) in [(1, false), (2, true)] {
        server.event(&json!({"type": "a", "data": number}));
        assert_eq!(server.stop().code(), Some(0), "{}", server.log());
        if everything {
            fs::remove_dir_all(data.join("journal")).unwrap();
        } else {
            for name in names(&data.join("journal")) {
                if name.ends_with(".seg") {
                    fs::remove_file(data.join("journal").join(name)).unwrap();
                }
            }
        }
        server.restart();
        let kept = format!("store.kept-{number}");
        assert!(names(&data).contains(&kept), "{:?}", names(&data));
        assert!(!names(&data.join(&kept)).is_empty());
        let warnings = server.get("/v1/status")["warnings"].to_string();
        assert!(warnings.contains(&kept), "{warnings}");
    }
}
