//! The program: arguments, telemetry, command, exit code.

use std::process::ExitCode;

use posthaste::{cli, telemetry};

/// What one thread allocates another frees: an event passes through four. The C library's allocator has them wait for
/// one another's locks for that, this one hardly.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, and what is free goes back within a second: little memory is worth more here than the last cycle.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[unsafe(export_name = "malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 47] = b"narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    let _flushed = telemetry::FlushAtEnd;
    let arguments = cli::Arguments::from_command_line();
    let done = arguments
        .log_settings()
        .and_then(|settings| Ok(telemetry::init(&settings)?))
        .and_then(|()| arguments.run());
    cli::report(done)
}
