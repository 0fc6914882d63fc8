//! The moments at which the power is cut.

use fastrand::Rng;

use super::machine::Machine;
use crate::support::disk::Cut;

/// What is written when a segment is full and the next is made.
const ROLL: &str = "*/journal|*.seg.tmp|*.cfg.tmp|*.cfg";

/// More changes than are ever made.
const NEVER: u64 = u64::MAX;

/// When to cut. A number is that of the changes which the disk still makes.
#[derive(Clone, Debug)]
pub enum Moment {
    /// Under load.
    Running(u64),
    /// Under load, counting what the journal does.
    Committing(u64),
    /// While a segment is made.
    Rolling(u64),
    /// And again while it starts, each time after so many changes.
    Starting(Vec<u64>),
    /// While the store is rebuilt, counting what it does; it always is after a cut.
    Rebuilding(u64),
    /// The process has crashed and come back in the same boot, and believes what it finds.
    Crashed(u64),
    /// While it stops, or when it has stopped.
    Stopping(u64),
}

impl Moment {
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.u8(0..14) {
            0..2 => Self::Running(rng.u64(0..600)),
            2..4 => Self::Committing(rng.u64(0..150)),
            4..6 => Self::Rolling(rng.u64(0..40)),
            6..9 => Self::Starting((0..rng.u8(1..4)).map(|_| rng.u64(0..60)).collect()),
            9 => Self::Rebuilding(rng.u64(0..300)),
            10 => Self::Crashed(rng.u64(0..300)),
            11 => Self::Stopping(NEVER),
            _ => Self::Stopping(rng.u64(0..40)),
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running(_) => "running",
            Self::Committing(_) => "committing",
            Self::Rolling(_) => "rolling",
            Self::Starting(_) => "starting",
            Self::Rebuilding(_) => "rebuilding",
            Self::Crashed(_) => "crashed",
            Self::Stopping(_) => "stopping",
        }
    }

    /// Brings the machine to this moment; it is running and ready. Answers the further cuts made on the way.
    pub fn reach(&self, machine: &mut Machine, rng: &mut Rng) -> u64 {
        let freeze = |machine: &mut Machine, changes, pattern| {
            machine.disk().freeze_after(changes, pattern);
            machine.wait_frozen(|machine| machine.server().ended().is_some());
        };
        match self {
            Self::Running(changes) => freeze(machine, *changes, "*"),
            Self::Committing(changes) => freeze(machine, *changes, "*.seg"),
            Self::Rolling(changes) => freeze(machine, *changes, ROLL),
            Self::Starting(changes) => {
                for changes in changes {
                    reboot(machine, rng);
                    machine.disk().freeze_after(*changes, "*");
                    machine.spawn();
                    machine.wait_frozen(|machine| machine.server().ended().is_some());
                }
                return changes.len() as u64;
            }
            Self::Rebuilding(changes) => {
                reboot(machine, rng);
                machine.disk().freeze_after(*changes, "*/store/*");
                machine.spawn();
                machine.wait_frozen(|machine| machine.server().ended().is_some());
                return 1;
            }
            Self::Crashed(changes) => {
                machine.crash();
                machine.disk().freeze_after(*changes, "*");
                machine.spawn();
                machine.wait_frozen(|machine| machine.server().ended().is_some());
            }
            Self::Stopping(changes) => {
                machine.server().terminate();
                freeze(machine, *changes, "*");
            }
        }
        0
    }
}

fn reboot(machine: &mut Machine, rng: &mut Rng) {
    let cut = Cut::draw(rng);
    let image = machine.cut(cut, rng);
    assert!(machine.mount(image));
}
