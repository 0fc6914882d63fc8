//! What can happen to files: bits, blocks, ends and whole files. Also part of the integration tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fastrand::Rng;

/// The blocks in which devices and file systems lose things, in bytes.
const BLOCKS: [usize; 2] = [512, 4096];

/// What was done, for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm(pub String);

/// Does one thing to one or two of these files.
pub fn inflict(files: &[PathBuf], rng: &mut Rng) -> Harm {
    let (one, other) = (pick(files, rng), pick(files, rng));
    match rng.u8(0..16) {
        0..3 => flip(one, rng),
        3..5 => block(one, rng, "zeroed", |bytes, _| bytes.fill(0)),
        5 => block(one, rng, "scrambled", |bytes, rng| rng.fill(bytes)),
        6..8 => truncate(one, rng),
        8 => extend(one, rng),
        9 => copy_block(one, one, rng),
        10 => copy_block(one, other, rng),
        11..13 => swap_blocks(one, one, rng),
        13 => swap_blocks(one, other, rng),
        14 => swap_files(one, other),
        _ => whole(one, other, rng),
    }
}

fn pick<'a>(files: &'a [PathBuf], rng: &mut Rng) -> &'a Path {
    &files[rng.usize(0..files.len())]
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn load(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

fn flip(path: &Path, rng: &mut Rng) -> Harm {
    let mut bytes = load(path);
    let mut flipped = Vec::new();
    for _ in 0..rng.usize(1..6) {
        if !bytes.is_empty() {
            let at = rng.usize(0..bytes.len());
            bytes[at] ^= 1 << rng.u8(0..8);
            flipped.push(at);
        }
    }
    fs::write(path, bytes).unwrap();
    Harm(format!("{}: bits flipped at {flipped:?}", name(path)))
}

/// A block of a file, as a range that may be short at the end.
fn some_block(len: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let size = BLOCKS[rng.usize(0..BLOCKS.len())];
    let start = rng.usize(0..len.div_ceil(size).max(1)) * size;
    start.min(len)..(start + size).min(len)
}

fn block(path: &Path, rng: &mut Rng, what: &str, change: impl FnOnce(&mut [u8], &mut Rng)) -> Harm {
    let mut bytes = load(path);
    let range = some_block(bytes.len(), rng);
    change(&mut bytes[range.clone()], rng);
    fs::write(path, bytes).unwrap();
    Harm(format!("{}: {range:?} {what}", name(path)))
}

fn truncate(path: &Path, rng: &mut Rng) -> Harm {
    let mut bytes = load(path);
    bytes.truncate(rng.usize(0..=bytes.len()));
    let len = bytes.len();
    fs::write(path, bytes).unwrap();
    Harm(format!("{}: truncated to {len}", name(path)))
}

fn extend(path: &Path, rng: &mut Rng) -> Harm {
    let mut bytes = load(path);
    let (by, zeros) = (rng.usize(1..20_000), rng.bool());
    bytes.extend((0..by).map(|_| if zeros { 0 } else { rng.u8(..) }));
    fs::write(path, bytes).unwrap();
    let what = if zeros { "zeros" } else { "garbage" };
    Harm(format!("{}: extended by {by} bytes of {what}", name(path)))
}

fn copy_block(from: &Path, to: &Path, rng: &mut Rng) -> Harm {
    let (source, mut bytes) = (load(from), load(to));
    let range = some_block(source.len(), rng);
    let at = some_block(bytes.len(), rng).start;
    let len = range.len().min(bytes.len() - at);
    bytes[at..at + len].copy_from_slice(&source[range.start..range.start + len]);
    fs::write(to, bytes).unwrap();
    Harm(format!(
        "{} bytes at {} of {} copied to {at} of {}",
        len,
        range.start,
        name(from),
        name(to)
    ))
}

fn swap_blocks(one: &Path, other: &Path, rng: &mut Rng) -> Harm {
    let (mut left, mut right) = (load(one), load(other));
    let (a, b) = (some_block(left.len(), rng), some_block(right.len(), rng));
    let len = a.len().min(b.len());
    let (a, b) = (a.start, b.start);
    if one == other {
        for step in 0..len {
            left.swap(a + step, b + step);
        }
    } else {
        left[a..a + len].swap_with_slice(&mut right[b..b + len]);
        fs::write(other, right).unwrap();
    }
    fs::write(one, left).unwrap();
    Harm(format!(
        "{len} bytes at {a} of {} and at {b} of {} swapped",
        name(one),
        name(other)
    ))
}

fn swap_files(one: &Path, other: &Path) -> Harm {
    let (left, right) = (load(one), load(other));
    fs::write(one, right).unwrap();
    fs::write(other, left).unwrap();
    Harm(format!("{} and {} swapped", name(one), name(other)))
}

fn whole(one: &Path, other: &Path, rng: &mut Rng) -> Harm {
    match rng.u8(0..4) {
        0 => {
            fs::write(one, b"").unwrap();
            Harm(format!("{}: emptied", name(one)))
        }
        1 => {
            _ = fs::remove_file(one);
            Harm(format!("{}: deleted", name(one)))
        }
        2 => {
            let len = load(one).len();
            fs::write(one, vec![0; len]).unwrap();
            Harm(format!("{}: all zeros", name(one)))
        }
        _ => {
            fs::write(other, load(one)).unwrap();
            Harm(format!("{} copied over {}", name(one), name(other)))
        }
    }
}
