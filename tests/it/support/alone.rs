//! Tests that change what a whole process shares: its environment, its limits.

use std::{env, process::Command};

const IS_ALONE: &str = "POSTHASTE_TEST_IS_ALONE";

/// Whether this process was started by [`run`], for one test.
pub fn is_alone() -> bool {
    env::var_os(IS_ALONE).is_some()
}

/// Runs the test of this name in a process of its own that `prepare` has set up; it must pass there.
pub fn run(test: &str, prepare: impl FnOnce(&mut Command) -> &mut Command) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test]).env(IS_ALONE, "1");
    let output = prepare(&mut command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // A name that no test has would run none, and that passes.
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
