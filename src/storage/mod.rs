//! Storage: events, deliveries, attempts and configuration, durable and searchable.

mod configuration;
mod error;
pub mod local;

pub use configuration::ConfigurationStore;
pub use error::StorageError;
