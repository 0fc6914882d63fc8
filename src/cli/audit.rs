//! `posthaste audit`: who has changed what.

use clap::Subcommand;

use super::{
    ConnectArgs, Output,
    client::{Client, Path},
    list::{self, ListArgs},
    table::Column,
};

/// Show who has changed what of the configuration
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List changes, newest first; with --output json also the members before and after
    List(ListArgs),
}

const COLUMNS: &[Column] = &[
    ("AT", "at"),
    ("ACTOR", "actor"),
    ("FROM", "from"),
    ("ACTION", "action"),
    ("TARGET", "target"),
    ("TENANT", "tenant"),
    ("REASON", "reason"),
];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    let output = Output::new(args.connect.output);
    let Command::List(list) = args.command;
    list::print(&client, output, &Path::new(&["audit"]), &list, COLUMNS).await
}
