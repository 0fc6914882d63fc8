//! What several tests need.

pub mod alone;
pub mod authority;
pub mod child;
pub mod disk;
pub mod gate;
pub mod http2;
pub mod kept;
pub mod listener;
pub mod postgres;
pub mod proxy;
pub mod receiver;
pub mod seed;
pub mod server;
pub mod sink;
pub mod skip;
pub mod times;

/// How tests open the store of a server that has stopped.
pub const STORE: posthaste::storage::local::index::TableOptions =
    posthaste::storage::local::index::TableOptions {
        cache_bytes: 16 * 1024 * 1024,
        buffer_bytes: 16 * 1024 * 1024,
        indexes: posthaste::storage::local::index::Indexes::All,
    };
