//! What the host is told, and when.
//!
//! Changes are told in the order in which they took effect, under the lock under which they did. One that a write promises
//! to show is told at once, and with it all that was to be told later; others may come late, or be lost until everything is
//! told anew.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::{Instant, sleep_until};

use super::{Inner, MemoryStorage, remote::Network};
use crate::storage::{Change, Changes, Host};

/// When a change has to be told.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// Before the write answers.
    Now,
    /// Soon, or when everything is told anew.
    Late,
}

/// The way to the host.
#[derive(Default)]
pub(super) struct Feed {
    host: Option<Arc<dyn Host>>,
    /// Changes that are told later.
    late: VecDeque<(Instant, Change)>,
    /// When everything is told anew, since a change was lost.
    refresh_at: Option<Instant>,
    suspended: bool,
}

impl Feed {
    pub fn of(host: Arc<dyn Host>) -> Self {
        Self {
            host: Some(host),
            ..Self::default()
        }
    }

    fn say(&self, change: Change) {
        if let Some(host) = self.host.as_ref().filter(|_| !self.suspended) {
            host.changed(change);
        }
    }

    fn say_late(&mut self) {
        for (_, change) in std::mem::take(&mut self.late) {
            self.say(change);
        }
    }

    pub fn suspend(&mut self) {
        self.late.clear();
        self.refresh_at = None;
        self.say(Change::Suspended);
        self.suspended = true;
    }

    fn next(&self) -> Option<Instant> {
        let late = self.late.front().map(|(at, _)| *at);
        late.into_iter().chain(self.refresh_at).min()
    }
}

impl Inner {
    pub fn tell(&mut self, changes: Changes, telling: Telling, network: &Network) {
        if changes.is_empty() {
            return;
        }
        let change = Change::Applied(self.state.applied(changes));
        if telling == Telling::Now {
            self.feed.say_late();
            return self.feed.say(change);
        }
        if !self.suspended && network.loses_a_change() {
            let refresh = Instant::now() + network.until_refresh();
            let planned = self.feed.refresh_at.get_or_insert(refresh);
            *planned = refresh.min(*planned);
            return;
        }
        // Behind what is to be told before it.
        let at = Instant::now() + network.late();
        let last = self.feed.late.back().map(|(at, _)| *at);
        match last.max(Some(at)) {
            Some(at) if at > Instant::now() => self.feed.late.push_back((at, change)),
            _ => self.feed.say(change),
        }
    }

    /// Tells of the whole configuration, and that everything is to be read anew. What was to be told later is in that.
    pub fn tell_anew(&mut self) {
        self.feed.late.clear();
        self.feed.refresh_at = None;
        self.feed.suspended = false;
        self.feed.say(Change::Configured(self.state.configuration()));
        self.feed.say(Change::Reset);
    }

    fn tell_until(&mut self, now: Instant) {
        if self.feed.refresh_at.is_some_and(|at| at <= now) {
            return self.tell_anew();
        }
        while self.feed.late.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, change)) = self.feed.late.pop_front() {
                self.feed.say(change);
            }
        }
    }
}

impl MemoryStorage {
    /// Tells what is to be told later than now, for ever. Without it, such changes are told with the next one that is
    /// told at once.
    pub async fn tell_late_changes(&self) {
        loop {
            let planned = self.planned.notified();
            let next = self.lock().feed.next();
            match next {
                None => planned.await,
                Some(at) => tokio::select! {
                    () = planned => {}
                    () = sleep_until(at) => self.lock().tell_until(at),
                },
            }
        }
    }
}
