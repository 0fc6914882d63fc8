//! `posthaste config show`.

use clap::Subcommand;

use super::{ConfigArgs, Format, Output};

/// The configuration.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the effective configuration, and where each value came from
    Show(ConfigArgs),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let Command::Show(config) = &args.command;
    Output::new(Format::Table).text(&config.load()?.show())
}
