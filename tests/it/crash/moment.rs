//! The moments at which the server is killed.

use std::{fs, path::Path, thread, time::Duration};

use fastrand::Rng;

use crate::support::server::Server;

/// When to kill.
#[derive(Debug)]
pub enum Moment {
    /// After this time under load.
    Running(Duration),
    /// As soon as the store lags behind the journal.
    Applying,
    /// And again while it starts, after these times.
    Starting(Vec<Duration>),
    /// The store is lost too, and it is killed while that is rebuilt.
    Rebuilding(Duration),
}

impl Moment {
    pub fn draw(rng: &mut Rng) -> Self {
        let millis = |most| Duration::from_millis(most);
        match rng.u8(0..8) {
            0..3 => Self::Running(millis(rng.u64(1..600))),
            3..5 => Self::Applying,
            5..7 => Self::Starting((0..rng.u8(1..5)).map(|_| millis(rng.u64(0..80))).collect()),
            _ => Self::Rebuilding(millis(rng.u64(0..150))),
        }
    }

    pub fn kill(&self, server: &mut Server, data: &Path) {
        match self {
            Self::Running(after) => thread::sleep(*after),
            Self::Applying => wait_applying(server),
            Self::Starting(after) => {
                for after in after {
                    server.kill();
                    server.respawn();
                    thread::sleep(*after);
                }
            }
            Self::Rebuilding(after) => {
                server.kill();
                fs::remove_dir_all(data.join("store")).unwrap();
                server.respawn();
                thread::sleep(*after);
            }
        }
        server.kill();
    }
}

/// Looks for a moment in which the store is behind; it may never be seen so, which is well too.
fn wait_applying(server: &Server) {
    for _ in 0..200 {
        let status = server.get("/v1/status");
        if status["store"]["applied_lsn"].as_u64() < status["journal"]["last_lsn"].as_u64() {
            return;
        }
    }
}
