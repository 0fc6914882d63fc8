//! The audit log: who has changed what of the configuration, when, and by what way.

use serde::{Deserialize, Serialize};

use super::{event::Label, id::AuditId, time::Timestamp};

/// One change, as it was asked for. Persisted: members are append-only, with a new change of configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// It begins with the time, so that entries are in its order.
    pub id: AuditId,
    pub at: Timestamp,
    /// An API key's id, or another name of who asked.
    pub actor: String,
    /// The kind of thing and what became of it, as in `endpoint.updated`.
    pub action: String,
    /// The thing's id or name.
    pub target: String,
    /// Whose the thing is.
    pub tenant: Option<Label>,
    /// The members that differ, as a JSON object, secrets hidden; none of what was created.
    pub before: Option<String>,
    /// None of what was deleted.
    pub after: Option<String>,
    /// The way by which it was asked for.
    pub from: String,
    /// What the one who asked says about it.
    pub reason: Option<String>,
}

impl AuditEntry {
    /// About what it takes in a record, in bytes.
    pub fn size(&self) -> usize {
        let sides = [&self.before, &self.after, &self.reason];
        256 + sides.into_iter().flatten().map(String::len).sum::<usize>()
    }
}
