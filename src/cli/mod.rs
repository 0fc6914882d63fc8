//! The commands.
//!
//! # The cast
//!
//! One file per command, each with its arguments and its `run`. [`client`] speaks to a running server over
//! its unix socket or over TCP; [`output`] prints what comes back, as a table for people or as JSON for
//! programs.
//!
//! # What it guarantees
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0, 1 (failed), 2 (usage), 64 (configuration).
//! JSON passes through byte for byte, in both directions; what could repaint a terminal is escaped. A reader
//! of stdout that goes away ends the command quietly.
//!
//! # What it does not
//!
//! It decides nothing that the server decides: arguments are checked for their form only, and the rest is the
//! server's answer, printed.

mod apply;
mod args;
mod attempt;
mod attempts;
mod audit;
mod backup;
mod check;
pub mod client;
mod command_line;
mod config;
mod delivery;
mod demo;
mod descriptors;
mod endpoint;
mod endpoints_file;
mod event;
mod event_type;
mod failure;
mod first_key;
mod import;
mod input;
mod key;
mod limits;
mod list;
mod listen;
mod output;
mod preview;
mod receiver;
mod reload;
mod restore;
mod send;
mod serve;
mod service_manager;
mod signals;
mod status;
mod table;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

pub use args::{CheckArgs, ConfigArgs, ConnectArgs, DemoArgs, ReasonArgs, ServeArgs};
pub use failure::{Failed, Usage, report};
pub use output::{Format, Output};

use crate::telemetry::LogSettings;

/// Durable webhook delivery in one binary.
///
/// An event that was accepted is on disk before the answer, then delivered at least once, signed and retried.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, propagate_version = true, max_term_width = 110)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArgs),
    Demo(DemoArgs),
    Listen(Box<listen::Args>),
    Send(Box<send::Args>),
    Endpoint(Box<endpoint::Args>),
    Event(event::Args),
    EventType(Box<event_type::Args>),
    Delivery(delivery::Args),
    Attempt(attempt::Args),
    Attempts(attempts::Args),
    Audit(audit::Args),
    Preview(preview::Args),
    Key(key::Args),
    Apply(apply::Args),
    Export(apply::ExportArgs),
    Import(import::Args),
    Status(status::Args),
    Check(CheckArgs),
    Backup(backup::Args),
    Restore(restore::Args),
    Config(config::Args),
}

impl Arguments {
    /// The command line, read; ends the program when it asks for help or is not understood (exit code 2).
    pub fn from_command_line() -> Self {
        command_line::read()
    }

    /// How this command logs.
    ///
    /// # Errors
    ///
    /// When it takes that from the configuration, and that does not hold.
    pub fn log_settings(&self) -> anyhow::Result<LogSettings> {
        match &self.command {
            Some(Command::Serve(args)) => Ok(LogSettings::from(&args.config.load()?.config.log)),
            _ => Ok(LogSettings::quiet()),
        }
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    ///
    /// Whatever ended it; [`report`] says so and gives the exit code.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            None => Output::new(Format::Table).text(&Self::command().render_help().to_string()),
            Some(Command::Serve(args)) => serve::run(&args),
            Some(Command::Demo(args)) => block_on(demo::run(args)),
            Some(Command::Listen(args)) => block_on(listen::run(*args)),
            Some(Command::Check(args)) => check::run(&args),
            Some(Command::Backup(args)) => block_on(backup::run(args)),
            Some(Command::Restore(args)) => restore::run(&args),
            Some(Command::Config(args)) => config::run(&args),
            Some(Command::Send(args)) => block_on(send::run(*args)),
            Some(Command::Endpoint(args)) => block_on(endpoint::run(*args)),
            Some(Command::Event(args)) => block_on(event::run(args)),
            Some(Command::EventType(args)) => block_on(event_type::run(*args)),
            Some(Command::Delivery(args)) => block_on(delivery::run(args)),
            Some(Command::Attempt(args)) => block_on(attempt::run(args)),
            Some(Command::Attempts(args)) => block_on(attempts::run(args)),
            Some(Command::Audit(args)) => block_on(audit::run(args)),
            Some(Command::Key(args)) => block_on(key::run(args)),
            Some(Command::Preview(args)) => block_on(preview::run(args)),
            Some(Command::Apply(args)) => block_on(apply::run(args)),
            Some(Command::Import(args)) => block_on(import::run(args)),
            Some(Command::Export(args)) => block_on(apply::export(args)),
            Some(Command::Status(args)) => block_on(status::run(args)),
        }
    }
}

/// Runs a client's command. What still reads stdin when it ends is left behind, not waited for.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(command);
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_every_command_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_address_of_the_server_may_stand_before_or_after_the_subcommand() {
        for line in [
            "endpoint --socket s list",
            "endpoint list --socket s",
            "status --server http://h --key k",
        ] {
            let words = ["posthaste"].into_iter().chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
        let both = ["posthaste", "status", "--socket", "s", "--server", "http://h"];
        assert!(Arguments::try_parse_from(both).is_err());
    }
}
