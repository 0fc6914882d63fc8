//! How a device is treated that does not answer: it is asked again, for a while.
//!
//! A cable, a controller or a path to a remote disk fails for moments, and what could not be read is there again. What
//! nobody waited for would be set aside, cut off or passed over, though it is whole.

use std::{io, thread};

use super::limits::{REREAD_PAUSE, REREAD_TRIES};

/// Pauses that are left for one piece of work.
pub(super) struct Patience(u32);

impl Default for Patience {
    fn default() -> Self {
        Self(REREAD_TRIES)
    }
}

impl Patience {
    /// For what was asked for in vain already.
    pub const fn none() -> Self {
        Self(0)
    }

    /// Pauses before another try; answers whether there is one. Blocks.
    pub fn wait(&mut self) -> bool {
        let Some(left) = self.0.checked_sub(1) else {
            return false;
        };
        self.0 = left;
        thread::sleep(REREAD_PAUSE);
        true
    }

    /// Does `read` until the device answers, or patience is at its end.
    pub fn ask<T>(&mut self, mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match read() {
                Err(error) if is_device_error(&error) && self.wait() => {}
                result => return result,
            }
        }
    }
}

/// Whether the device did not answer, which may pass.
pub(super) fn is_device_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
