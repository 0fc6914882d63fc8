//! The integration tests: one binary, a file per behaviour.

#![allow(
    clippy::disallowed_methods,
    reason = "a test's tasks, channels and bodies end with it, and its bounds are on real time"
)]

mod support;

mod cli_client;
mod cli_config;
mod crash;
mod delivery;
mod ours;
mod disk;
mod rebuild;
mod receivers;
mod shutdown;
mod tls;
