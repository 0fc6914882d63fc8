//! The integration tests: one binary, a file per behaviour.

mod support;

mod cli_client;
mod cli_config;
mod delivery;
mod ours;
mod receivers;
mod tls;
