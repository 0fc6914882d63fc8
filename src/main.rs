//! The program: arguments, telemetry, command, exit code.

use std::process::ExitCode;

use posthaste::{cli, telemetry};

fn main() -> ExitCode {
    let arguments = cli::Arguments::from_command_line();
    let done = arguments
        .log_settings()
        .and_then(|settings| Ok(telemetry::init(&settings)?))
        .and_then(|()| arguments.run());
    cli::report(done)
}
