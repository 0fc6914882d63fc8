//! Tells the program when it was built: `SOURCE_DATE_EPOCH` in seconds where a reproducible build sets it, else now.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let seconds = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("SOURCE_DATE_EPOCH must be a number of seconds, not {text:?}")),
        Err(_) => now(),
    };
    println!("cargo::rustc-env=POSTHASTE_BUILT_AT={seconds}");
}

#[expect(clippy::disallowed_methods, reason = "the clock that the build runs by")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs()
}
