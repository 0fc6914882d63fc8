//! The integration tests: one binary, a file per behaviour.

#![allow(
    clippy::disallowed_methods,
    reason = "a test's tasks, channels and bodies end with it, and its bounds are on real time"
)]

mod supervision;
#[allow(dead_code, reason = "a support is there for the tests to come as well")]
mod support;

mod api_endpoints;
mod api_events;
mod api_tcp;
mod apply;
mod architecture;
mod attempt_details;
mod audit;
mod backup;
mod bench_programs;
mod cli_client;
mod cli_config;
mod cli_server;
mod clock;
mod cloud_events;
mod corruption;
mod crash;
mod crash_points;
mod delivery;
mod demo;
mod descriptors;
mod disk;
mod docs;
mod edges;
mod encodings;
mod event_types;
mod explain;
mod expressions;
mod faults;
mod formats;
mod handshakes;
mod hostile_receivers;
mod known_defects;
mod listen;
mod log_output;
mod memory;
mod ordering;
mod ours;
mod paused;
mod power;
mod power_disk;
mod private_files;
mod profile_pages;
mod rebuild;
mod receivers;
mod reclaim;
mod recover;
mod rewrite;
mod rollups;
mod semantics;
mod settings;
mod shutdown;
mod signals;
mod signatures;
mod slots;
mod start_up;
mod tenant_isolation;
mod tenants;
mod text_inputs;
mod tls;
mod transactions;
mod unreachable;
mod verifiers;
mod verifiers_signatures;
mod way;
