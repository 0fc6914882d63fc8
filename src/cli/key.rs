//! `posthaste key`: who may use the API over TCP.

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    ConnectArgs, Output, ReasonArgs,
    client::{Client, Path},
    list::Page,
    table::Column,
};
use crate::domain::duration::Span;

/// Make, list and revoke API keys
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
    /// Make a key; it is shown this once
    Create {
        /// viewer reads, sender enqueues, manager edits endpoints, admin does everything
        #[arg(long, value_parser = ["viewer", "sender", "manager", "admin"])]
        role: String,
        /// A name to tell it by
        #[arg(long)]
        name: String,
        /// The only tenant that it sees
        #[arg(long)]
        tenant: Option<String>,
        /// How long it holds; for ever if left out
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<Span>,
    },
    /// List the keys, without the keys themselves
    List,
    /// Revoke a key at once
    Revoke {
        #[arg(value_name = "KEY")]
        id: String,
    },
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ROLE", "role"),
    ("TENANT", "tenant"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?.saying(&args.why)?;
    let output = Output::new(args.connect.output);
    match args.command {
        Command::Create {
            role,
            name,
            tenant,
            expires_in,
        } => {
            let members = [
                ("role", Some(json!(role))),
                ("name", Some(json!(name))),
                ("tenant", tenant.map(|tenant| json!(tenant))),
                ("expires_in", expires_in.map(|span| json!(span.to_string()))),
            ];
            let body: Map<String, Value> = members
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect();
            let answer = client
                .ask(
                    Method::POST,
                    &Path::new(&["keys"]),
                    Some(serde_json::to_vec(&body)?),
                    None,
                )
                .await?;
            output.one(&answer.read::<Box<RawValue>>()?)
        }
        Command::List => {
            let page: Page = client.get(&Path::new(&["keys"])).await?.read()?;
            output.many(COLUMNS, &page.data)
        }
        Command::Revoke { id } => {
            client
                .ask(Method::DELETE, &Path::new(&["keys", &id]), None, None)
                .await?;
            Ok(())
        }
    }
}
