//! Randomness: from the operating system for what must not be guessed, seeded for what must be repeatable.

use std::sync::Mutex;

/// Bytes for secrets, keys and ids.
///
/// # Panics
/// When the operating system has no randomness to give, which leaves nothing safe to do.
pub fn secure<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "there is no safe way on without it")]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Numbers for jitter. Not for secrets.
#[derive(Debug)]
pub struct Jitter(Mutex<fastrand::Rng>);

impl Jitter {
    pub fn new() -> Self {
        Self::seeded(u64::from_le_bytes(secure()))
    }

    /// The same seed gives the same numbers.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// A number in 0..1.
    pub fn unit(&self) -> f64 {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .f64()
    }
}

impl Default for Jitter {
    fn default() -> Self {
        Self::new()
    }
}
