//! `posthaste event`: what was accepted.

use clap::Subcommand;
use serde_json::value::RawValue;

use super::{
    ConnectArgs, Output,
    client::{Client, Path},
    list::{self, ListArgs},
    table::Column,
};
use crate::domain::time::Timestamp;

/// Look at accepted events
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List events, newest first
    List {
        /// Only of this event type
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only accepted at or after this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        /// Only accepted before this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one event
    Show {
        #[arg(value_name = "EVENT")]
        id: String,
    },
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("TYPE", "type"),
    ("TENANT", "tenant"),
    ("ACCEPTED", "accepted_at"),
    ("DELIVERIES", "deliveries"),
];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    let output = Output::new(args.connect.output);
    match args.command {
        Command::List {
            kind,
            tenant,
            since,
            until,
            list,
        } => {
            let path = Path::new(&["events"])
                .maybe("type", kind.as_ref())
                .maybe("tenant", tenant.as_ref())
                .maybe("since", since.as_ref())
                .maybe("until", until.as_ref());
            list::print(&client, output, &path, &list, COLUMNS).await
        }
        Command::Show { id } => {
            let answer = client.get(&Path::new(&["events", &id])).await?;
            output.one(&answer.read::<Box<RawValue>>()?)
        }
    }
}
