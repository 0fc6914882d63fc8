//! Tests that cannot run everywhere say so, and fail where they have to run.

use std::{env, fmt, fs::File, io::Write as _, thread};

/// What a test needs of the machine beyond Rust.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A tmpfs or a FUSE file system that the test may mount.
    Disk,
    Postgres,
    Strace,
    /// The libraries that `.ci/verifiers` installs.
    Verifiers,
    Curl,
    /// A C compiler.
    Cc,
    /// A control group for memory that the test may make.
    Cgroup,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Postgres => "postgres",
            Self::Strace => "strace",
            Self::Verifiers => "verifiers",
            Self::Curl => "curl",
            Self::Cc => "cc",
            Self::Cgroup => "cgroup",
        })
    }
}

/// Says that the test of this thread is skipped, and why: on stdout, and as a line of the file that
/// `POSTHASTE_TEST_SKIPPED` names, which is how `.ci/run` counts them.
///
/// # Panics
/// When `POSTHASTE_REQUIRE`, a list with commas, names the need: there a skipped test is a failed one.
pub fn skip(need: Need, reason: &str) {
    let required = env::var("POSTHASTE_REQUIRE").unwrap_or_default();
    assert!(
        !is_required(&required, need),
        "POSTHASTE_REQUIRE has {need}, but {reason}"
    );
    println!("SKIPPED: {reason}");
    if let Some(path) = env::var_os("POSTHASTE_TEST_SKIPPED") {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        let name = thread::current().name().unwrap_or("a test").to_owned();
        writeln!(file, "{name}: {reason}").unwrap();
    }
}

fn is_required(list: &str, need: Need) -> bool {
    list.split(',').any(|word| word.trim() == need.to_string())
}

#[test]
fn a_need_is_required_by_its_whole_name() {
    assert!(is_required("disk, postgres", Need::Disk));
    assert!(is_required("disk, postgres", Need::Postgres));
    for list in ["", "disks", "strace,verifiers", "dis"] {
        assert!(!is_required(list, Need::Disk), "{list}");
    }
}
