//! strace, which kills a server in a system call, or counts its calls.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::support::child::{EndsWithTest as _, Signal};
use crate::support::server::wait_for;

/// What changes something, or opens it. Names that this machine does not have are left out.
pub const SYSCALLS: [&str; 14] = [
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "renameat2",
    "unlink",
    "unlinkat",
    "ftruncate",
    "openat",
    "sync_file_range",
    "syncfs",
    "mkdir",
    "flock",
];

/// From when on it is traced.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scene {
    /// A first start, in a folder that is not there.
    First,
    /// A start in a folder that was left by a kill.
    Start,
    /// A server that is ready.
    Ready,
}

impl Scene {
    pub const ALL: [Self; 3] = [Self::First, Self::Start, Self::Ready];

    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Start => "start",
            Self::Ready => "ready",
        }
    }
}

/// Before the n-th call.
#[derive(Copy, Clone, Debug)]
pub struct Point {
    pub scene: Scene,
    pub syscall: &'static str,
    pub n: u64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.scene.name(), self.syscall, self.n)
    }
}

impl Point {
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(':');
        let (scene, syscall, n) = (words.next()?, words.next()?, words.next()?);
        Some(Self {
            scene: *Scene::ALL.iter().find(|known| known.name() == scene)?,
            syscall: SYSCALLS.iter().find(|known| **known == syscall)?,
            n: n.parse().ok()?,
        })
    }
}

/// How a run ended.
pub struct Ended {
    pub killed: bool,
    pub log: String,
}

/// Whether strace is there and may trace; else why not.
pub fn is_possible() -> Result<(), String> {
    let tried = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=write", "true"])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "strace cannot trace here: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
        Err(error) => Err(format!("strace cannot be run: {error}")),
    }
}

/// What strace is to do: kill at a point, or write down what is called, a file for each thread.
pub enum Task<'a> {
    Kill(Point),
    Count(&'a Path),
}

impl Task<'_> {
    fn arguments(&self) -> Vec<String> {
        let arguments = match self {
            Self::Kill(point) => {
                let Point { syscall, n, .. } = point;
                vec![
                    "-o".to_owned(),
                    "/dev/null".to_owned(),
                    "-e".to_owned(),
                    // What is not traced is not counted either.
                    format!("trace={syscall}"),
                    "-e".to_owned(),
                    format!("inject={syscall}:signal=SIGKILL:when={n}"),
                ]
            }
            Self::Count(prefix) => vec![
                "-ff".to_owned(),
                "-o".to_owned(),
                prefix.display().to_string(),
                "-e".to_owned(),
                format!("trace={}", SYSCALLS.join(",")),
            ],
        };
        [
            vec![
                "-f".to_owned(),
                "-qq".to_owned(),
                "-e".to_owned(),
                "signal=none".to_owned(),
            ],
            arguments,
        ]
        .concat()
    }
}

/// A program that is started under strace. It is a child of ours; strace is none.
pub fn start(task: &Task<'_>, program: &[String], log: &Path) -> Child {
    Command::new("strace")
        .arg("-D")
        .args(task.arguments())
        .args(program)
        .env("POSTHASTE_STORAGE__SEGMENT_BYTES", "64KiB")
        .env("POSTHASTE_LIMITS__PAYLOAD", "8KiB")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(append(log))
        .ends_with_test(Signal::KILL)
        .spawn()
        .unwrap()
}

/// Begins to trace a program that runs, all of its threads. Answers strace.
pub fn attach(task: &Task<'_>, pid: u32, log: &Path) -> Child {
    let strace = Command::new("strace")
        .args(task.arguments())
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(append(log))
        .ends_with_test(Signal::KILL)
        .spawn()
        .unwrap();
    wait_for("all threads to be traced", || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let traced = |path: PathBuf| {
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n")
        };
        threads
            .flatten()
            .all(|thread| traced(thread.path()))
            .then_some(())
    });
    strace
}

fn append(path: &Path) -> fs::File {
    fs::File::options().create(true).append(true).open(path).unwrap()
}

/// The most calls that one thread made, of each kind.
pub fn most_calls(folder: &Path) -> BTreeMap<&'static str, u64> {
    let mut most = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let text = fs::read(entry.path()).unwrap();
        let text = String::from_utf8_lossy(&text);
        for syscall in SYSCALLS {
            let called = |line: &&str| {
                line.strip_prefix(syscall)
                    .is_some_and(|rest| rest.starts_with('('))
            };
            let count = text.lines().filter(called).count() as u64;
            let known: &mut u64 = most.entry(syscall).or_default();
            *known = count.max(*known);
        }
    }
    most
}
