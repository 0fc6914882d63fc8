//! Storage: events, deliveries, attempts and configuration, durable and searchable.

mod configuration;
mod error;
mod events;
mod host;
pub mod local;

pub use configuration::ConfigurationStore;
pub use error::StorageError;
pub use events::KnownEvent;
pub use host::{Applied, Change, Configuration, DeclaredType, Host};
