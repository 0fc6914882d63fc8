//! Storage: events, deliveries, attempts and configuration, durable and searchable.

mod error;
pub mod local;

pub use error::StorageError;
