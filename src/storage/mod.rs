//! Storage: events, deliveries, attempts and configuration, durable and searchable.

pub mod local;
