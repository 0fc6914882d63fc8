//! Storage: events, deliveries, attempts and configuration, durable and searchable.

mod attempts;
mod backup;
mod configuration;
#[cfg(test)]
mod conformance;
mod deliveries;
mod error;
mod events;
mod host;
pub mod local;
#[cfg(test)]
pub mod memory;
pub mod queries;
pub mod rollups;
pub mod schedule;
pub mod stored;

pub use attempts::Attempts;
pub use backup::{Backup, BackupError, Backups};
pub use configuration::{AuditPage, ConfigurationStore};
pub use deliveries::{Deliveries, DeliveryChange, Overwritten};
pub use error::StorageError;
pub use events::{AcceptEvent, Acceptance, Claimed, EventName, Events, KnownEvent, Outcome, Unread};
pub use host::{Applied, Change, Changes, Configuration, DeclaredType, Effect, Host};

/// Where an engine keeps everything: the operations of its parts.
pub trait Storage:
    Events + Deliveries + ConfigurationStore + schedule::Schedule + queries::Queries + Attempts + rollups::Rollups
{
    /// What takes backups, where that is not left to a database's own means.
    fn backups(&self) -> Option<&dyn Backups>;
}
