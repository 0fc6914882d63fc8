//! What people send is readable by the server's user alone, whatever the umask and the data directory's mode.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::support::server::{Server, wait_for};

const OTHERS: u32 = 0o007;

/// Every file that others can reach and read.
fn exposed(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let Ok(file) = fs::symlink_metadata(&path) else {
            continue;
        };
        if file.is_dir() && file.mode() & OTHERS != 0 {
            found.extend(exposed(&path));
        } else if file.is_file() && file.mode() & OTHERS != 0 {
            found.push(path);
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn open_folder(dir: &Path) -> PathBuf {
    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    data
}

#[test]
fn files_in_a_folder_that_others_can_look_into_are_private_and_the_folder_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let data = open_folder(dir.path());
    let mut server = Server::start(&data);
    server.event(&json!({"type": "a", "data": "PAYLOAD"}));
    wait_for("a warning", || {
        server.log().contains("others can look into").then_some(())
    });
    let journal = data.join("journal");
    assert_eq!((mode(&journal), mode(&data.join("store"))), (0o700, 0o700));
    for file in fs::read_dir(&journal).unwrap().flatten() {
        assert_eq!(mode(&file.path()), 0o600, "{file:?}");
    }
    assert_eq!(exposed(&data), Vec::<PathBuf>::new());
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(exposed(&data), Vec::<PathBuf>::new());
}

#[test]
fn a_journal_that_an_older_program_left_open_to_others_is_closed_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = open_folder(dir.path());
    let mut server = Server::start(&data);
    assert_eq!(server.stop().code(), Some(0));
    let journal = data.join("journal");
    fs::set_permissions(&journal, Permissions::from_mode(0o755)).unwrap();
    server.restart();
    assert_eq!(mode(&journal), 0o750);
}
