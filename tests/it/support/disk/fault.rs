//! What a disk may be told to do wrong, and when.

use fuser::Errno;

/// What a disk is asked to do, as far as it can be told to do it wrong.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Open,
    List,
    Read,
    Write,
    /// A change of a file's length.
    Truncate,
    /// `fsync` or `fdatasync` of a file.
    Sync,
    /// `fsync` of a directory.
    SyncFolder,
    /// A new file.
    Create,
    MakeFolder,
    /// Its path is the new one.
    Rename,
    /// Of a file.
    Remove,
    RemoveFolder,
}

impl Op {
    /// All that change what is on the disk, or how durable it is.
    pub const CHANGES: [Self; 9] = [
        Self::Write,
        Self::Truncate,
        Self::Sync,
        Self::SyncFolder,
        Self::Create,
        Self::MakeFolder,
        Self::Rename,
        Self::Remove,
        Self::RemoveFolder,
    ];

    pub fn is_change(self) -> bool {
        Self::CHANGES.contains(&self)
    }
}

/// What is done instead of what was asked.
#[derive(Copy, Clone, Debug)]
pub enum Effect {
    /// Nothing, and this error is the answer.
    Fail(Errno),
    /// Of a write, the first so many bytes; their number is the answer.
    Short(usize),
    /// Of a sync: this error is the answer, and what was to be synced never will be, though it can still be read and
    /// the next sync of the file answers that all is well. So the kernel does after a failed write to the device.
    Lose(Errno),
    /// Of a sync: nothing, and the answer is that all is well.
    Lie,
    /// Of a sync: no answer until [`Disk::release`](super::Disk::release); what else is asked meanwhile is answered.
    Hang,
    /// The disk stops, before it is done: nothing is answered any more until [`Disk::die`](super::Disk::die).
    Freeze,
}

/// An effect, and what it befalls.
#[derive(Clone, Debug)]
pub struct Fault {
    ops: Vec<Op>,
    pattern: String,
    effect: Effect,
    after: u64,
    times: u64,
}

impl Fault {
    /// Befalls each of these operations on paths that match: from the disk's root, a `*` standing for anything, a `|`
    /// between any number of patterns.
    pub fn new(ops: &[Op], pattern: &str, effect: Effect) -> Self {
        Self {
            ops: ops.to_vec(),
            pattern: pattern.to_owned(),
            effect,
            after: 0,
            times: u64::MAX,
        }
    }

    /// Lets the first so many pass.
    pub fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    /// Befalls so many, and no more.
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    fn befalls(&mut self, op: Op, path: &str) -> bool {
        let matching = |pattern| matches(pattern, path);
        if !self.ops.contains(&op) || !self.pattern.split('|').any(matching) {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        let due = self.times > 0;
        self.times = self.times.saturating_sub(1);
        due
    }
}

/// The faults that are armed, and how often any has struck.
#[derive(Debug, Default)]
pub struct Faults {
    armed: Vec<Fault>,
    pub struck: u64,
}

impl Faults {
    pub fn arm(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    pub fn disarm(&mut self) {
        self.armed.clear();
    }

    /// What is to be done instead. Every fault counts what it sees; the first that is due is the one.
    pub fn befalling(&mut self, op: Op, path: &str) -> Option<Effect> {
        let due = self.armed.iter_mut().filter_map(|fault| {
            let befalls = fault.befalls(op, path);
            befalls.then_some(fault.effect)
        });
        let effect = due.collect::<Vec<_>>().into_iter().next();
        self.struck += u64::from(effect.is_some());
        effect
    }
}

/// Whether a path is what a pattern says, in which `*` stands for anything, slashes too.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, tail)) => path.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|&at| rest.is_char_boundary(at))
                .any(|at| matches(tail, &rest[at..]))
        }),
    }
}
