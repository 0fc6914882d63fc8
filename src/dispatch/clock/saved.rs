//! The file `clock` in the data folder: what a start has to know of the time before it. JSON; a new member is optional.

use std::{fs, io::Read, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::history::History;
use crate::{
    domain::time::Timestamp,
    runtime::folder::{FolderError, write_whole},
};

const NAME: &str = "clock";
/// A full history has less than half of this, in bytes; what is longer is none.
const LONGEST: u64 = 16 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::dispatch) struct Saved {
    /// Engine time when it was written.
    pub(super) engine: Timestamp,
    /// How long the machine had been running then, of which boot.
    pub(super) running_ms: u64,
    pub(super) boot: String,
    #[serde(default)]
    pub(super) history: History,
}

impl Saved {
    /// What a folder holds of it; nothing when it was never written, or cannot be read: then the records tell.
    pub fn read(folder: &Path) -> Option<Self> {
        let mut text = String::new();
        let file = fs::File::open(folder.join(NAME)).ok()?;
        let read = file.take(LONGEST).read_to_string(&mut text);
        let saved = read
            .map_err(|error| error.to_string())
            .and_then(|_| serde_json::from_str::<Self>(&text).map_err(|error| error.to_string()));
        saved
            .inspect_err(|error| {
                tracing::warn!(%error, "the file clock in the data folder cannot be read; time goes on from the newest record");
            })
            .ok()
    }

    /// Puts it into a folder, durably.
    ///
    /// # Errors
    /// When the folder cannot be written; then what it held before is still there.
    pub fn write(&self, folder: &Path) -> Result<(), FolderError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        write_whole(folder, NAME, &text, 0o640)
    }

    pub(super) fn running(&self) -> Duration {
        Duration::from_millis(self.running_ms)
    }
}
