//! What several tests need.

pub mod alone;
pub mod authority;
pub mod disk;
pub mod gate;
pub mod kept;
pub mod listener;
pub mod postgres;
pub mod proxy;
pub mod receiver;
pub mod server;
pub mod sink;
pub mod skip;
pub mod times;
