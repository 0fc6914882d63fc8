//! Tests that cannot run everywhere say so.

use std::{env, fs::File, io::Write as _, thread};

/// Says that the test of this thread is skipped, and why: on stdout, and as a line of the file that
/// POSTHASTE_TEST_SKIPPED names, which is how `.ci/run` counts them.
pub fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
    if let Some(path) = env::var_os("POSTHASTE_TEST_SKIPPED") {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        let name = thread::current().name().unwrap_or("a test").to_owned();
        writeln!(file, "{name}: {reason}").unwrap();
    }
}
