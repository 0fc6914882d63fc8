//! Leaf helpers that know nothing of delivery: the clock, randomness, the row codec, sealing.

pub mod chain;
pub mod clock;
pub mod codec;
pub mod disk;
pub mod folder;
pub mod hex;
pub mod machine;
pub mod memory;
pub mod random;
pub mod seal;
/// Seeds of randomized tests, which the integration tests share.
#[cfg(test)]
#[path = "../../tests/it/support/seed.rs"]
pub mod seed;
pub mod shortage;
pub mod space;
pub mod work_pool;
