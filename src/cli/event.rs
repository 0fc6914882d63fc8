//! `posthaste event`: what was accepted.

use clap::Subcommand;
use http::Method;
use serde_json::value::RawValue;

use super::{
    ConnectArgs, Output, ReasonArgs,
    client::{Client, Path},
    delivery,
    list::{self, ListArgs},
    table::Column,
};
use crate::domain::time::Timestamp;

/// Look at accepted events, explain what became of them, replay them, erase their payloads
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
    /// List events, newest first
    List {
        /// Only of this event type, or of those that match this pattern: user.*
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// Only with this attribute; several have all to be there
        #[arg(long = "attribute", value_name = "NAME=VALUE")]
        attributes: Vec<String>,
        /// Only accepted with this idempotency key
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
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
        #[command(flatten)]
        of: OfTenant,
    },
    /// Say of every endpoint whether it wanted the event, by which rule, and what became of it there
    Explain {
        #[arg(value_name = "EVENT")]
        id: String,
        /// Only this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Erase an event's payload before its time; the event itself stays listed
    Erase {
        #[arg(value_name = "EVENT")]
        id: String,
        /// Cancel what is still to be delivered of it
        #[arg(long)]
        cancel: bool,
        #[command(flatten)]
        of: OfTenant,
    },
    /// Deliver an event once more: the same event id, new deliveries
    Replay {
        #[arg(value_name = "EVENT")]
        id: String,
        /// To this endpoint alone, which may be newer than the event; to all it went to if left out
        #[arg(long)]
        endpoint: Option<String>,
        #[command(flatten)]
        of: OfTenant,
    },
}

/// Whose event an id names.
#[derive(clap::Args, Debug)]
struct OfTenant {
    /// The tenant whose event it is; needed when several tenants have an event with this id
    #[arg(long)]
    tenant: Option<String>,
}

impl OfTenant {
    fn of(&self, path: Path) -> Path {
        path.maybe("tenant", self.tenant.as_ref())
    }
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("TYPE", "type"),
    ("TENANT", "tenant"),
    ("ACCEPTED", "accepted_at"),
    ("DELIVERIES", "deliveries"),
];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?.saying(&args.why)?;
    let output = Output::new(args.connect.output);
    match args.command {
        Command::List {
            kind,
            attributes,
            idempotency_key,
            tenant,
            since,
            until,
            list,
        } => {
            let path = attributes.iter().fold(Path::new(&["events"]), |path, attribute| {
                path.query("attribute", attribute)
            });
            let path = path
                .maybe("idempotency_key", idempotency_key.as_ref())
                .maybe("type", kind.as_ref())
                .maybe("tenant", tenant.as_ref())
                .maybe("since", since.as_ref())
                .maybe("until", until.as_ref());
            list::print(&client, output, &path, &list, COLUMNS).await
        }
        Command::Explain {
            id,
            endpoint,
            of,
            list,
        } => {
            let path = Path::new(&["events", &id, "explain"]).maybe("endpoint", endpoint.as_ref());
            let path = of.of(path);
            list::print_details(&client, output, &path, &list).await
        }
        Command::Replay { id, endpoint, of } => {
            let body = endpoint.map(|endpoint| serde_json::json!({ "endpoint": endpoint }).to_string());
            let path = of.of(Path::new(&["events", &id, "replay"]));
            let answer = client
                .ask(Method::POST, &path, body.map(String::into_bytes), None)
                .await?;
            output.many(delivery::COLUMNS, &answer.read::<list::Page>()?.data)
        }
        Command::Erase { id, cancel, of } => {
            let path = of.of(Path::new(&["events", &id, "payload"]));
            let path = path.maybe("cancel", cancel.then_some(&true));
            let answer = client.ask(Method::DELETE, &path, None, None).await?;
            output.one(&answer.read::<Box<RawValue>>()?)
        }
        Command::Show { id, of } => {
            let answer = client.get(&of.of(Path::new(&["events", &id]))).await?;
            output.one(&answer.read::<Box<RawValue>>()?)
        }
    }
}
