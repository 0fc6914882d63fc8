//! The audit log: who has changed what, when, and by what way.

use std::{str::FromStr, time::Duration};

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

/// What may become of things.
pub const ACTIONS: [&str; 17] = [
    "endpoint.created",
    "endpoint.updated",
    "endpoint.enabled",
    "endpoint.paused",
    "endpoint.disabled",
    "endpoint.unverified",
    "endpoint.deleted",
    "endpoint.recovered",
    "key.created",
    "key.revoked",
    "event_type.created",
    "event_type.updated",
    "event_type.deleted",
    "event.replayed",
    "event.erased",
    "delivery.retried",
    "delivery.cancelled",
];

/// One of [`ACTIONS`], or with `.*` for its second part all of one kind of thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionPattern(String);

/// A text that names no action.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "names no action; use one that the log has, such as endpoint.updated, or all of one kind, such as endpoint.*"
)]
pub struct NoAction;

impl ActionPattern {
    pub fn matches(&self, action: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(kind) => action.starts_with(kind),
            None => action == self.0,
        }
    }
}

impl FromStr for ActionPattern {
    type Err = NoAction;

    fn from_str(text: &str) -> Result<Self, NoAction> {
        let pattern = Self(text.to_owned());
        let is_form = text.ends_with(".*") || !text.contains('*');
        let is_known = ACTIONS.iter().any(|action| pattern.matches(action));
        (is_form && is_known).then_some(pattern).ok_or(NoAction)
    }
}

/// Which entries are wanted. Every member that is given narrows the list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<ActionPattern>,
    pub target: Option<String>,
    /// When the changes were asked for; both ends belong to it.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl AuditFilter {
    /// Whether an entry is one of these, but for its time, of which [`Self::first`] and [`Self::end`] tell.
    pub fn matches(&self, entry: &AuditEntry) -> bool {
        self.actor.as_ref().is_none_or(|actor| *actor == entry.actor)
            && self.target.as_ref().is_none_or(|target| *target == entry.target)
            && self
                .action
                .as_ref()
                .is_none_or(|action| action.matches(&entry.action))
    }

    /// No entry before this one is wanted.
    pub fn first(&self) -> Option<AuditId> {
        self.since.map(|since| AuditId::new(since, 0))
    }

    /// Nor this one, or one after it.
    pub fn end(&self) -> Option<AuditId> {
        let after = |until: Timestamp| until.plus(Duration::from_millis(1));
        self.until.map(|until| AuditId::new(after(until), 0))
    }
}

impl AuditEntry {
    /// About what it takes in a record, in bytes.
    pub fn size(&self) -> usize {
        let sides = [&self.before, &self.after, &self.reason];
        256 + sides.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_one_that_there_is_or_all_of_a_kind() {
        let matching = |text: &str| {
            let pattern: ActionPattern = text.parse().unwrap();
            ACTIONS.iter().filter(|action| pattern.matches(action)).count()
        };
        assert_eq!(matching("event.replayed"), 1);
        assert_eq!(matching("event.*"), 2);
        for text in [
            "",
            "*",
            "event",
            "event*",
            "event.",
            "event.x",
            "*.created",
            "events.*",
            "ev.*.*",
        ] {
            assert_eq!(text.parse::<ActionPattern>(), Err(NoAction), "{text}");
        }
    }
}
