//! What the kernel says about processes and threads.

use std::{fs, path::Path};

/// The unit of CPU times in `/proc`: `USER_HZ`, 100 on every Linux that posthaste runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process, user and system, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    ticks(&read(&format!("/proc/{pid}/stat"))) / TICKS_PER_SECOND
}

/// CPU time of this process's threads with this name, in seconds.
pub fn thread_cpu_seconds(name: &str) -> f64 {
    let mut total = 0.0;
    for entry in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let folder = entry.path();
        // A thread may end while this looks.
        let comm = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            total += fs::read_to_string(folder.join("stat")).map_or(0.0, |stat| ticks(&stat));
        }
    }
    total / TICKS_PER_SECOND
}

/// Fields 14 and 15 of `stat`; the name before them may contain anything, but is the last to contain `)`.
fn ticks(stat: &str) -> f64 {
    let fields = stat.rsplit_once(") ").unwrap().1;
    fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().unwrap())
        .sum()
}

/// A figure of `/proc/PID/status` in bytes, such as `VmRSS`.
pub fn memory(pid: u32, name: &str) -> f64 {
    let kibibytes = line(&read(&format!("/proc/{pid}/status")), name);
    kibibytes * 1024.0
}

/// A figure of `/proc/PID/io`: `wchar` counts what was handed to `write`, `write_bytes` the pages that were made
/// dirty, or written directly, by it.
pub fn io(pid: u32, name: &str) -> f64 {
    line(&read(&format!("/proc/{pid}/io")), name)
}

/// Bytes handed to `write`, and of pages made dirty, by the threads of a process for whose name `of` holds. What threads
/// have written that have ended is not in it.
pub fn io_of_threads(pid: u32, of: impl Fn(&str) -> bool) -> (f64, f64) {
    let mut total = (0.0, 0.0);
    for entry in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let folder = entry.path();
        // A thread may end while this looks.
        let comm = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        let io = fs::read_to_string(folder.join("io")).unwrap_or_default();
        if of(comm.trim_end()) && !io.is_empty() {
            total.0 += line(&io, "wchar");
            total.1 += line(&io, "write_bytes");
        }
    }
    total
}

/// Open file descriptors.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Bytes that a folder's files hold, those in its folders too.
pub fn size(folder: &Path) -> f64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(file) if file.is_file() => file.len() as f64,
            Ok(folder) if folder.is_dir() => size(&entry.path()),
            // A file may go while this looks.
            _ => 0.0,
        })
        .sum()
}

fn line(text: &str, name: &str) -> f64 {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap();
    rest.trim().trim_end_matches(" kB").parse().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
