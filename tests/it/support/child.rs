//! Child processes that end with the test that started them, also when the test is killed.

use std::{os::unix::process::CommandExt as _, process::Command};

pub use rustix::process::Signal;
use rustix::process::set_parent_process_death_signal;

use super::server::wait_for;

pub trait EndsWithTest {
    /// Has the kernel send the child `signal` when the thread that starts it ends: the test's own, however it ends.
    /// A child with children of its own needs a signal on which it ends them.
    fn ends_with_test(&mut self, signal: Signal) -> &mut Command;
}

impl EndsWithTest for Command {
    #[expect(
        unsafe_code,
        reason = "only the child can ask for the signal, between fork and exec"
    )]
    fn ends_with_test(&mut self, signal: Signal) -> &mut Command {
        // SAFETY: the closure makes one system call, which is safe after a fork, and allocates nothing.
        unsafe { self.pre_exec(move || Ok(set_parent_process_death_signal(Some(signal))?)) }
    }
}

#[test]
fn a_child_ends_with_the_thread_that_started_it() {
    let start = || {
        Command::new("sleep")
            .arg("600")
            .ends_with_test(Signal::KILL)
            .spawn()
            .unwrap()
    };
    let mut child = std::thread::spawn(start).join().unwrap();
    wait_for("the child to end", || child.try_wait().unwrap());
}
