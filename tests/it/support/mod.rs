//! What several tests need.

pub mod receiver;
pub mod server;
pub mod sink;
