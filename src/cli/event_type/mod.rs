//! `posthaste event-type`: what types of events there are.

mod import;
mod set;

use clap::Subcommand;
use http::Method;
use serde_json::value::RawValue;

use super::{
    ConnectArgs, Output, ReasonArgs,
    client::{Client, Path},
    list::{self, ListArgs},
    table::Column,
};

/// Declare event types, with schemas that their events are held against
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    why: ReasonArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the declared event types, newest first
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one event type, with its schema and example
    Show {
        #[arg(value_name = "TYPE")]
        name: String,
    },
    /// Declare an event type, or change its declaration; what is not named stays
    Set(Box<set::Args>),
    /// Remove a declaration; events of the type are accepted on, whatever they hold
    Remove {
        #[arg(value_name = "TYPE")]
        name: String,
    },
    /// Declare what the webhooks of an OpenAPI 3.1 description define
    Import(import::Args),
}

const COLUMNS: &[Column] = &[
    ("TYPE", "type"),
    ("VALIDATED", "validated"),
    ("DEPRECATED", "deprecated"),
    ("UPDATED", "updated_at"),
    ("DESCRIPTION", "description"),
];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?.saying(&args.why)?;
    let output = Output::new(args.connect.output);
    match args.command {
        Command::List { list } => {
            let path = Path::new(&["event-types"]);
            list::print(&client, output, &path, &list, COLUMNS).await
        }
        Command::Show { name } => {
            let answer = client.get(&Path::new(&["event-types", &name])).await?;
            output.one(&answer.read::<Box<RawValue>>()?)
        }
        Command::Set(args) => set::run(&client, output, &args).await,
        Command::Remove { name } => {
            let path = Path::new(&["event-types", &name]);
            client.ask(Method::DELETE, &path, None, None).await?;
            Ok(())
        }
        Command::Import(args) => import::run(&client, output, &args).await,
    }
}
