use std::time::Duration;

use crate::storage::local::journal::{limits::FREE_SPACE_AGE, shared::Shared};

/// What is free on the journal's file system, asked seldom.
#[derive(Default)]
pub(super) struct Space {
    asked: Option<Duration>,
    free: u64,
}

impl Space {
    /// Free bytes: at most 100 ms old, less what was written since. A file system that does not say has room.
    pub fn free(&mut self, shared: &Shared) -> u64 {
        let now = shared.disk.elapsed();
        if self
            .asked
            .is_none_or(|asked| now.saturating_sub(asked) >= FREE_SPACE_AGE)
        {
            self.asked = Some(now);
            self.free = shared.disk.free(&shared.options.dir).unwrap_or(u64::MAX);
        }
        self.free
    }

    pub fn wrote(&mut self, bytes: usize) {
        self.free = self.free.saturating_sub(bytes as u64);
    }
}
