//! `posthaste audit`: who has changed what.

use clap::Subcommand;

use super::{
    ConnectArgs, Output,
    client::{Client, Path},
    list::{self, ListArgs},
    table::Column,
};
use crate::domain::time::Timestamp;

/// Show who has changed what
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
    List {
        /// Only what this one has asked for: the id of a key, or "unix socket"
        #[arg(long)]
        actor: Option<String>,
        /// Only this action, as endpoint.updated, or all of one kind of thing, as endpoint.*
        #[arg(long)]
        action: Option<String>,
        /// Only what was changed of this: the id of an endpoint, an event, a delivery or a key, or an event type
        #[arg(long)]
        target: Option<String>,
        /// Only at or after this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        /// Only at or before this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
        #[command(flatten)]
        list: ListArgs,
    },
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
    let Command::List {
        actor,
        action,
        target,
        since,
        until,
        list,
    } = args.command;
    let path = Path::new(&["audit"])
        .maybe("actor", actor.as_ref())
        .maybe("action", action.as_ref())
        .maybe("target", target.as_ref())
        .maybe("since", since.as_ref())
        .maybe("until", until.as_ref());
    list::print(&client, output, &path, &list, COLUMNS).await
}
