//! Seeds and sizes of randomized tests.
//!
//! An ordinary run uses fixed seeds, so that a failure repeats and a pass is no luck. `POSTHASTE_SOAK=1`, the nightly
//! form, draws new seeds and prints the variable that repeats a failure.

use std::env;

/// The seed of an ordinary run.
const FIXED: u64 = 1;

/// The number in an environment variable, if it is set.
pub fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}: {text}")))
}

/// Whether this is the nightly form: more rounds, new seeds.
pub fn is_soak() -> bool {
    env::var_os("POSTHASTE_SOAK").is_some_and(|value| value == "1")
}

/// The seed that `variable` sets; otherwise a fixed one, or a new one in the nightly form. Prints how to repeat it.
pub fn seed(variable: &str) -> u64 {
    let seed = number(variable).unwrap_or_else(|| {
        if is_soak() {
            u64::from(fastrand::u32(..))
        } else {
            FIXED
        }
    });
    println!("{variable}={seed}");
    seed
}
