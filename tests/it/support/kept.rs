//! Folders kept as text: small enough for the repository, and read back byte for byte.
//!
//! A line `folder PATH`, or `file PATH MODE LENGTH` and below it what is in the file and not zero: `OFFSET BASE64`, or
//! `OFFSET BYTE*COUNT` for a byte (hexadecimal) that is repeated. Paths are relative to the folder, and in order.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};

/// A byte that is repeated so often is written as a repetition.
const RUN: usize = 24;
/// Bytes of a line.
const LINE: usize = 96;

/// The folder as text. Sockets and what is named in `without` are left out.
pub fn pack(folder: &Path, without: &[&str]) -> String {
    let mut text = String::new();
    pack_below(folder, "", without, &mut text);
    text
}

fn pack_below(folder: &Path, prefix: &str, without: &[&str], text: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
        let kind = entry.file_type().unwrap();
        if without.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            writeln!(text, "folder {name}").unwrap();
            pack_below(&entry.path(), &format!("{name}/"), without, text);
        } else if kind.is_file() {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let bytes = fs::read(entry.path()).unwrap();
            writeln!(text, "file {name} {mode:o} {}", bytes.len()).unwrap();
            pack_bytes(&bytes, text);
        }
    }
}

fn pack_bytes(bytes: &[u8], text: &mut String) {
    let run_at = |at: usize| bytes[at..].iter().take_while(|&&byte| byte == bytes[at]).count();
    let mut at = 0;
    while at < bytes.len() {
        let run = run_at(at);
        if run >= RUN {
            if bytes[at] != 0 {
                writeln!(text, "{at} {:02x}*{run}", bytes[at]).unwrap();
            }
            at += run;
            continue;
        }
        let end = bytes.len().min(at + LINE);
        let end = (at + 1..end).find(|&next| run_at(next) >= RUN).unwrap_or(end);
        writeln!(text, "{at} {}", BASE64.encode(&bytes[at..end])).unwrap();
        at = end;
    }
}

/// Makes the folder, which must not be there, out of its text.
pub fn unpack(text: &str, folder: &Path) {
    fs::create_dir(folder).unwrap();
    let mut file = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["folder", path] => fs::create_dir(folder.join(path)).unwrap(),
            ["file", path, mode, length] => {
                let open = OpenOptions::new()
                    .create_new(true)
                    .write(true)
                    .mode(u32::from_str_radix(mode, 8).unwrap())
                    .open(folder.join(path))
                    .unwrap();
                open.set_len(length.parse().unwrap()).unwrap();
                file = Some(open);
            }
            [offset, bytes] => {
                let bytes = match bytes.split_once('*') {
                    Some((byte, count)) => {
                        vec![u8::from_str_radix(byte, 16).unwrap(); count.parse().unwrap()]
                    }
                    None => BASE64.decode(bytes).unwrap(),
                };
                let file = file.as_ref().unwrap();
                file.write_all_at(&bytes, offset.parse().unwrap()).unwrap();
            }
            _ => panic!("not a line of a kept folder: {line}"),
        }
    }
}

#[test]
fn a_folder_reads_back_from_its_text_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("a/b")).unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    for number in 0..50 {
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(0..20) {
            let length = rng.usize(0..300);
            match rng.u8(0..3) {
                0 => bytes.resize(bytes.len() + length, 0),
                1 => bytes.resize(bytes.len() + length, rng.u8(..)),
                _ => bytes.extend((0..length).map(|_| rng.u8(..))),
            }
        }
        fs::write(from.join(format!("a/b/{number}")), bytes).unwrap();
    }
    fs::set_permissions(from.join("a/b/7"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(from.join("left"), "out").unwrap();
    let text = pack(&from, &["left"]);
    unpack(&text, &to);
    assert!(!to.join("left").exists());
    assert_eq!(pack(&to, &[]), text);
    for number in 0..50 {
        let name = format!("a/b/{number}");
        assert_eq!(
            fs::read(to.join(&name)).unwrap(),
            fs::read(from.join(&name)).unwrap()
        );
    }
}
