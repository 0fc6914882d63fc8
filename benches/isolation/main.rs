//! What a healthy endpoint feels of others: one that refuses and has a deep queue, one that hangs, one that drips.
//!
//! `cargo bench --bench isolation`; docs/PERFORMANCE.md says which variables it reads.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench measures real time, collects what it sent itself, and ends with its runtime"
)]

mod program;
#[allow(dead_code, reason = "what another program needs")]
#[path = "../support/mod.rs"]
mod support;

fn main() {
    support::main(program::measure);
}
