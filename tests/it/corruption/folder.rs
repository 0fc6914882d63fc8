//! The files of a folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub fn copy_folder(from: &Path, to: &Path) {
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

/// The files below a folder whose path from there begins so.
pub fn files(folder: &Path, below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder.join(below)) else {
        return found;
    };
    for entry in entries.flatten() {
        if entry.path().is_file() {
            found.push(entry.path());
        } else if entry.path().is_dir() {
            found.extend(files(&entry.path(), ""));
        }
    }
    found.sort();
    found
}

pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = files(folder, "").into_iter();
    all.filter(|path| !path.ends_with("lock"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}
