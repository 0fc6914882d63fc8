//! Saving configuration (endpoints, API keys, event types), and who has changed it.

use async_trait::async_trait;

use super::StorageError;
use crate::domain::{
    audit::{AuditEntry, AuditFilter},
    configuration::ConfigChange,
    id::AuditId,
};

/// Entries of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// The log goes on beyond this entry, and may have more there; `None` at its end.
    pub next: Option<AuditId>,
}

/// Saves changes of configuration, and tells of them.
#[async_trait]
pub trait ConfigurationStore: Send + Sync {
    /// Saves all changes of one request, in their order: a later one sees the earlier ones.
    ///
    /// - *Transaction:* all or none, whatever ends the process or the machine meanwhile. No reader and no sender ever
    ///   sees some of them without the others. Without changes it does nothing.
    /// - *Durability:* durable when it answers `Ok` or `NotVisible`. It may use the space that is kept in reserve: people
    ///   must be able to change configuration when events are refused for want of space.
    /// - *Read-your-writes:* when it answers `Ok`, every later read of this process shows the changes, and sending follows
    ///   them.
    ///
    /// It checks nothing: the caller has read what the changes depend on, under a lock that it holds until this answers.
    ///
    /// # Errors
    /// `NotReady`, `Full`, `Short`, `TooLarge` and `Closed`: nothing was saved. After the first three the caller may try
    /// again; `TooLarge` takes fewer changes at once.
    /// `NotVisible`: everything was saved, and is in force as soon as reads have caught up. The caller must not try again.
    /// `Unknown`: everything was saved, or nothing. The process ends, and the next start shows which.
    ///
    /// # Cancel safety
    /// A dropped future leaves it open whether the changes are saved. A caller that may be dropped has it run in a task of
    /// its own, which also keeps the lock.
    async fn save_configuration(&self, changes: Vec<ConfigChange>) -> Result<(), StorageError>;

    /// At most `limit` entries of the audit log that a filter names, in the order of their ids or against it, from the one
    /// after `beyond` on. A page may have fewer, or none, while the log goes on: storage bounds how long one call reads.
    ///
    /// # Errors
    /// `NotReady`, `TimedOut`, `Short` and `Failed`: try again later.
    async fn audit_entries(
        &self,
        filter: AuditFilter,
        beyond: Option<AuditId>,
        ascending: bool,
        limit: usize,
    ) -> Result<AuditPage, StorageError>;
}
