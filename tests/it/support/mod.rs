//! What several tests need.

pub mod alone;
pub mod authority;
pub mod gate;
pub mod receiver;
pub mod server;
pub mod sink;
pub mod times;
