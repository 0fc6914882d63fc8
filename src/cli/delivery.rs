//! `posthaste delivery`: the obligations, and moving them by hand.

use clap::Subcommand;
use http::Method;

use super::{
    ConnectArgs, Output, ReasonArgs,
    client::{Client, Path},
    list::{self, ListArgs},
    table::Column,
};
use crate::domain::time::Timestamp;

/// Look at deliveries, retry or cancel them
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
    /// List deliveries, newest first
    List {
        /// Only of this event
        #[arg(long)]
        event: Option<String>,
        /// Only of this tenant; with --event, of the event that this tenant has
        #[arg(long)]
        tenant: Option<String>,
        /// Only to this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// Only created at or after this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        /// Only created at or before this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one delivery
    Show {
        #[arg(value_name = "DELIVERY")]
        id: String,
    },
    /// Make a delivery due now, also one that has failed
    Retry {
        #[arg(value_name = "DELIVERY")]
        id: String,
    },
    /// Give a delivery up
    Cancel {
        #[arg(value_name = "DELIVERY")]
        id: String,
    },
}

const STATES: [&str; 7] = [
    "scheduled",
    "in_flight",
    "held",
    "delivered",
    "failed",
    "expired",
    "cancelled",
];

pub const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("EVENT", "event_id"),
    ("ENDPOINT", "endpoint_id"),
    ("STATE", "state"),
    ("DUE", "due"),
    ("ATTEMPTS", "attempts"),
    ("LAST", "last_outcome"),
];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?.saying(&args.why)?;
    let output = Output::new(args.connect.output);
    let answer = match args.command {
        Command::List {
            event,
            tenant,
            endpoint,
            state,
            since,
            until,
            list,
        } => {
            let path = Path::new(&["deliveries"])
                .maybe("event", event.as_ref())
                .maybe("tenant", tenant.as_ref())
                .maybe("endpoint", endpoint.as_ref())
                .maybe("state", state.as_ref())
                .maybe("since", since.as_ref())
                .maybe("until", until.as_ref());
            return list::print(&client, output, &path, &list, COLUMNS).await;
        }
        Command::Show { id } => client.get(&Path::new(&["deliveries", &id])).await?,
        Command::Retry { id } => act(&client, &id, "retry").await?,
        Command::Cancel { id } => act(&client, &id, "cancel").await?,
    };
    answer
        .document()?
        .map_or(Ok(()), |document| output.one(&document))
}

async fn act(
    client: &Client,
    id: &str,
    verb: &str,
) -> Result<super::client::Answer, super::client::ClientError> {
    client
        .ask(Method::POST, &Path::new(&["deliveries", id, verb]), None, None)
        .await
}
