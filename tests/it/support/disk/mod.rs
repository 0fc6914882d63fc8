//! A disk with a volatile cache: a FUSE file system in the memory of the test that knows what is synced.
//!
//! Of each file it keeps the bytes that are on the device and the sectors and lengths written since; of each directory
//! the names that are on the device and the changes since. `fsync` and `fdatasync` put a file's bytes and length on
//! the device, not its name; `fsync` of a directory its names, not what is in them. [`Disk::cut`] cuts the power: of
//! what is not on the device nothing survives, or anything ([`Cut`]), and the next disk is mounted from that
//! [`Image`]. Modes and times are on the device at once. There are no links, and no sockets.
//!
//! The kernel caches nothing of it: every read and write comes here at once, a large one in pieces of 1 MiB. It never
//! passes on `syncfs`, which does nothing here and says that all is well: so it is on every FUSE file system but
//! those on a block device, and on some others.
//!
//! [`Fault`]s are armed at run time: errors, short writes, syncs that lose what they were to sync or lie, and the
//! freeze before the n-th operation of some kind, which is how a cut is made between any two system calls.

mod content;
mod cut;
mod fault;
mod image;
mod names;
mod serve;

use std::{
    collections::{HashMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use fuser::{BackgroundSession, Config, MountOption};

use self::{
    fault::Faults,
    serve::{Hanging, Listing, Server},
};
use crate::support::skip::{Need, skip};

pub use self::{
    cut::Cut,
    fault::{Effect, Fault, Op},
    image::Image,
};
pub use fuser::Errno;

/// Operations that are remembered, to be shown when a test fails.
const TRAIL: usize = 40;
/// What `statfs` says of a disk without a limit.
const ENDLESS: u64 = 1 << 40;

struct State {
    image: Image,
    faults: Faults,
    /// Bytes that fit, and the error when they do not.
    space: Option<(u64, Errno)>,
    read_only: bool,
    frozen: bool,
    dead: bool,
    changes: u64,
    trail: VecDeque<String>,
    /// What open directories had in them when they were opened, by handle.
    listings: HashMap<u64, Listing>,
    next_listing: u64,
    /// Syncs without an answer.
    hanging: Vec<Hanging>,
}

struct Shared {
    state: Mutex<State>,
    /// Frozen, or dead.
    stopped: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mounted disk; unmounted when dropped.
pub struct Disk {
    mount_point: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// Mounts a disk on a new directory. Where that is not allowed, says that the test is skipped.
    pub fn mount(mount_point: &Path, image: Image) -> Option<Self> {
        fs::create_dir(mount_point).unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                image,
                faults: Faults::default(),
                space: None,
                read_only: false,
                frozen: false,
                dead: false,
                changes: 0,
                trail: VecDeque::new(),
                listings: HashMap::new(),
                next_listing: 1,
                hanging: Vec::new(),
            }),
            stopped: Condvar::new(),
        });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("posthaste-test".to_owned())];
        match fuser::spawn_mount(Server(shared.clone()), mount_point, &config) {
            Ok(session) => Some(Self {
                mount_point: mount_point.to_owned(),
                shared,
                session: Some(session),
            }),
            Err(error) => {
                skip(
                    Need::Disk,
                    &format!("a FUSE file system cannot be mounted here: {error}"),
                );
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    pub fn arm(&self, fault: Fault) {
        self.shared.lock().faults.arm(fault);
    }

    /// Nothing goes wrong from now on; a disk that is frozen stays so.
    pub fn disarm(&self) {
        self.shared.lock().faults.disarm();
    }

    /// How often an armed fault has struck.
    pub fn struck(&self) -> u64 {
        self.shared.lock().faults.struck
    }

    /// Bytes that fit on the disk, and the error when they do not: `ENOSPC`, `EDQUOT`. `None`: as many as one likes.
    pub fn set_space(&self, space: Option<(u64, Errno)>) {
        self.shared.lock().space = space;
    }

    /// Bytes in files.
    pub fn used(&self) -> u64 {
        self.shared.lock().image.used()
    }

    /// Whether every change is answered with `EROFS`.
    pub fn set_read_only(&self, read_only: bool) {
        self.shared.lock().read_only = read_only;
    }

    /// Changes done so far.
    pub fn changes(&self) -> u64 {
        self.shared.lock().changes
    }

    /// The paths of all that is not wholly on the device.
    pub fn unsynced(&self) -> Vec<String> {
        self.shared.lock().image.unsynced()
    }

    /// The last changes, and what befell them.
    pub fn trail(&self) -> Vec<String> {
        self.shared.lock().trail.iter().cloned().collect()
    }

    /// Stops the disk at once: what is asked is not answered any more.
    pub fn freeze(&self) {
        self.shared.lock().frozen = true;
        self.shared.stopped.notify_all();
    }

    /// What [`freeze`](Self::freeze) stopped goes on.
    pub fn thaw(&self) {
        self.shared.lock().frozen = false;
        self.shared.stopped.notify_all();
    }

    /// How many syncs hang.
    pub fn hanging(&self) -> usize {
        self.shared.lock().hanging.len()
    }

    /// What hangs is done, and answered.
    pub fn release(&self) {
        let mut state = self.shared.lock();
        for hanging in std::mem::take(&mut state.hanging) {
            hanging.end(&mut state.image);
        }
    }

    /// Stops the disk once so many more changes are done on paths that match, before the next.
    pub fn freeze_after(&self, changes: u64, pattern: &str) {
        self.arm(Fault::new(&Op::CHANGES, pattern, Effect::Freeze).after(changes));
    }

    /// Waits until the disk stands still; answers whether it does.
    pub fn wait_frozen(&self, patience: Duration) -> bool {
        let running = |state: &mut State| !state.frozen;
        let waited = self
            .shared
            .stopped
            .wait_timeout_while(self.shared.lock(), patience, running);
        waited.is_ok_and(|(state, _)| state.frozen)
    }

    /// A frozen disk answers again: with errors, and for good. To be called once whoever uses it is killed, since a
    /// process that waits for an answer cannot end.
    pub fn die(&self) {
        let mut state = self.shared.lock();
        state.dead = true;
        state.hanging.drain(..).for_each(Hanging::give_up);
        drop(state);
        self.shared.stopped.notify_all();
    }

    /// Unmounts it, and answers what is found on it when the power is back. Files that are still open are lost.
    pub fn cut(mut self, cut: Cut, rng: &mut Rng) -> Image {
        self.freeze();
        let found = self.shared.lock().image.after(cut, rng);
        self.die();
        let session = self.unmount();
        session.map(BackgroundSession::join);
        found
    }

    fn unmount(&mut self) -> Option<BackgroundSession> {
        let session = self.session.take()?;
        // By force, which ends the session even if a file is still open, and lazily, which works in spite of that.
        let unmounted = Command::new("umount").arg("-fl").arg(&self.mount_point).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} stays mounted", self.mount_point.display());
        }
        Some(session)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.die();
        self.unmount().map(BackgroundSession::join);
    }
}

impl State {
    /// Bytes that may still be written, or the error when there are none.
    fn room(&self) -> Result<u64, Errno> {
        match self.space {
            None => Ok(ENDLESS),
            Some((space, error)) => match space.saturating_sub(self.image.used()) {
                0 => Err(error),
                room => Ok(room),
            },
        }
    }

    fn note(&mut self, op: Op, path: &str, effect: Option<Effect>) {
        if self.trail.len() == TRAIL {
            self.trail.pop_front();
        }
        let effect = effect.map(|effect| format!(": {effect:?}")).unwrap_or_default();
        self.trail.push_back(format!("{op:?} {path}{effect}"));
    }
}
