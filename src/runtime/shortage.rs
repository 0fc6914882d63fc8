//! What a process may run short of for a moment, and what it keeps in reserve for that.
//!
//! File descriptors, memory and interrupted calls are no sign of a broken disk or a damaged file: whoever meets them
//! waits and tries again, and destroys nothing.

use std::{
    fs::File,
    io,
    sync::{Mutex, PoisonError},
};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::sync::Notify;

/// Descriptors in a reserve: a new segment needs its file, its directory and its sidecar, and one more is to spare.
const SPARE: usize = 4;

/// Told when descriptors run short, so that connections that nobody needs are closed.
static SHORT: Notify = Notify::const_new();

/// Whether an error says that something is short at the moment, rather than that something is broken. A full disk is
/// not among these: see the callers, which have a way on of their own then.
pub fn is_temporary(error: &io::Error) -> bool {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(errno) => matches!(
            errno,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::INTR | Errno::AGAIN
        ),
        // An error that was copied has its kind alone.
        None => matches!(
            error.kind(),
            io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
        ),
    }
}

/// Whether an error says that there is no descriptor, in this process or on this machine.
pub fn is_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Waits until descriptors run short somewhere in this process.
///
/// # Cancel safety
/// Safe; a shortage while nobody waits is missed.
pub async fn descriptors_ran_short() {
    SHORT.notified().await;
}

/// Raises the soft limit on descriptors to the hard one, which is there for that; answers the limit that is in force.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let in_force = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    in_force.unwrap_or(u64::MAX)
}

/// Descriptors that are held for those who must not fail for want of one.
#[derive(Debug)]
pub struct Reserve(Mutex<Vec<File>>);

impl Reserve {
    /// A full reserve, or as much of one as there is.
    pub fn full() -> Self {
        let reserve = Self(Mutex::default());
        reserve.fill();
        reserve
    }

    /// Does something that opens files, and once more with the reserve given up if it failed for want of descriptors.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn with<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let done = work();
        let done = match &done {
            Err(error) if is_descriptors(error) => {
                SHORT.notify_waiters();
                self.lock().clear();
                work()
            }
            _ => done,
        };
        self.fill();
        done
    }

    fn fill(&self) {
        let mut files = self.lock();
        while files.len() < SPARE {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(_) => return,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn what_is_short_is_told_from_what_is_broken() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::INTR,
            Errno::AGAIN,
        ] {
            assert!(is_temporary(&failed(errno)), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::NOENT, Errno::ROFS, Errno::ACCESS] {
            assert!(!is_temporary(&failed(errno)), "{errno}");
        }
        assert!(is_temporary(&io::ErrorKind::OutOfMemory.into()));
        assert!(!is_temporary(&io::Error::other("broken")));
    }

    #[test]
    fn the_reserve_is_given_up_for_who_lacks_a_descriptor_and_filled_again() {
        let reserve = Reserve::full();
        let mut tries = 0;
        let done = reserve.with(|| {
            tries += 1;
            if tries == 1 {
                return Err(failed(Errno::MFILE));
            }
            Ok(reserve.lock().len())
        });
        assert_eq!((done.unwrap(), tries, reserve.lock().len()), (0, 2, SPARE));
        let mut tries = 0;
        let done = reserve.with(|| {
            tries += 1;
            Err::<(), _>(failed(Errno::IO))
        });
        assert!(done.is_err() && tries == 1);
    }
}
