//! Storage: events, deliveries, attempts and configuration, durable and searchable.

mod configuration;
mod error;
mod events;
mod host;
pub mod local;

pub use configuration::ConfigurationStore;
pub use error::StorageError;
pub use events::{AcceptEvent, Acceptance, Claimed, EventName, Events, KnownEvent, Outcome, Unread};
pub use host::{Applied, Change, Configuration, DeclaredType, Host};
