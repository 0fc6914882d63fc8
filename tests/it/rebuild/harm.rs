//! What can happen to sled's files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fastrand::Rng;

/// sled's segments, the unit in which it rewrites its file.
const SEGMENT: usize = 512 * 1024;

/// What was done to a store, for the report.
#[derive(Debug)]
#[expect(dead_code, reason = "read by way of Debug")]
pub enum Harm {
    Flipped { file: String, at: Vec<usize> },
    Zeroed { file: String, from: usize, to: usize },
    Truncated { file: String, to: usize },
    Extended { file: String, by: usize },
    Emptied { file: String },
    Deleted { file: String },
    HalfSnapshot,
    Earlier { file: String },
    SegmentsSwapped { one: usize, other: usize },
    Nothing,
}

impl Harm {
    /// Does one thing to one file of a store. `earlier` is the same store some time before.
    pub fn inflict(store: &Path, earlier: &Path, rng: &mut Rng) -> Self {
        let path = pick(store, rng);
        let file = path
            .strip_prefix(store)
            .map_or_else(|_| String::new(), |path| path.display().to_string());
        let Ok(mut bytes) = fs::read(&path) else {
            return Self::Nothing;
        };
        let used = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        match rng.u8(0..16) {
            0..5 if used > 0 => {
                let at: Vec<usize> = (0..rng.usize(1..9)).map(|_| rng.usize(0..used)).collect();
                for &at in &at {
                    bytes[at] ^= rng.u8(1..=255);
                }
                fs::write(&path, bytes).unwrap();
                Self::Flipped { file, at }
            }
            5..8 if used > 0 => {
                let from = rng.usize(0..used);
                let to = (from + rng.usize(1..65536)).min(bytes.len());
                bytes[from..to].fill(0);
                fs::write(&path, bytes).unwrap();
                Self::Zeroed { file, from, to }
            }
            8..10 => {
                bytes.truncate(rng.usize(0..=used));
                let to = bytes.len();
                fs::write(&path, bytes).unwrap();
                Self::Truncated { file, to }
            }
            10 => {
                let by = rng.usize(1..70_000);
                bytes.extend((0..by).map(|_| rng.u8(..)));
                fs::write(&path, bytes).unwrap();
                Self::Extended { file, by }
            }
            11 => {
                fs::write(&path, b"").unwrap();
                Self::Emptied { file }
            }
            12 => {
                fs::remove_file(&path).unwrap();
                Self::Deleted { file }
            }
            13 => {
                let junk: Vec<u8> = (0..rng.usize(0..5000)).map(|_| rng.u8(..)).collect();
                fs::write(store.join("snap.000000000000ABCD.generating"), junk).unwrap();
                Self::HalfSnapshot
            }
            14 => {
                let file = "db".to_owned();
                fs::copy(earlier.join(&file), store.join(&file)).unwrap();
                Self::Earlier { file }
            }
            _ => swap_segments(&store.join("db"), rng),
        }
    }
}

fn swap_segments(path: &Path, rng: &mut Rng) -> Harm {
    let Ok(mut bytes) = fs::read(path) else {
        return Harm::Nothing;
    };
    let segments = bytes.len() / SEGMENT;
    if segments < 2 {
        return Harm::Nothing;
    }
    let one = rng.usize(0..segments - 1);
    let other = rng.usize(one + 1..segments);
    let (head, tail) = bytes.split_at_mut(other * SEGMENT);
    head[one * SEGMENT..(one + 1) * SEGMENT].swap_with_slice(&mut tail[..SEGMENT]);
    fs::write(path, bytes).unwrap();
    Harm::SegmentsSwapped { one, other }
}

/// One of the files; `db`, which is most of it, half of the time.
fn pick(store: &Path, rng: &mut Rng) -> PathBuf {
    let mut files = Vec::new();
    collect(store, &mut files);
    files.sort();
    if files.is_empty() || rng.bool() {
        return store.join("db");
    }
    files.swap_remove(rng.usize(0..files.len()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}
