//! `posthaste attempts`: every request that was made.

use super::{
    ConnectArgs, Format, Output,
    client::{Client, Path},
    input::whole,
    list::{self, ListArgs},
    table::Column,
};
use crate::domain::{outcome::Class, time::Timestamp};

/// List attempts, newest first
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Which attempts, and how they are printed.
#[derive(clap::Args, Debug)]
pub struct Filter {
    /// Only of this event
    #[arg(long)]
    event: Option<String>,
    /// Only to this endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// Only of this delivery
    #[arg(long)]
    delivery: Option<String>,
    /// Only of this event type, or of those that match this pattern: user.*
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only with this status code
    #[arg(long, value_name = "CODE", value_parser = whole(100..=999_u16))]
    status: Option<u16>,
    /// Only with this outcome
    #[arg(long, value_parser = OUTCOMES)]
    outcome: Option<String>,
    /// Only begun at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only begun before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only of this tenant; with --event, of the event that this tenant has
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    list: ListArgs,
    /// The same as --output
    #[arg(long, value_enum)]
    format: Option<Format>,
}

const OUTCOMES: [&str; 5] = [
    Class::Delivered.as_str(),
    Class::Transient.as_str(),
    Class::EndpointError.as_str(),
    Class::EventError.as_str(),
    Class::Ours.as_str(),
];

const COLUMNS: &[Column] = &[
    ("STARTED", "started_at"),
    ("TYPE", "event_type"),
    ("ENDPOINT", "endpoint_id"),
    ("NO", "number"),
    ("TRIGGER", "trigger"),
    ("OUTCOME", "outcome"),
    ("REASON", "reason"),
    ("STATUS", "status"),
    ("MS", "duration_ms"),
    ("DELIVERY", "delivery_id"),
    ("ID", "id"),
];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    print(&client, args.connect.output, &args.filter).await
}

/// Prints the attempts that a filter leaves.
///
/// # Errors
///
/// The client's, and those of stdout.
pub async fn print(client: &Client, format: Format, filter: &Filter) -> anyhow::Result<()> {
    let output = Output::new(filter.format.unwrap_or(format));
    let path = Path::new(&["attempts"])
        .maybe("event", filter.event.as_ref())
        .maybe("delivery", filter.delivery.as_ref())
        .maybe("endpoint", filter.endpoint.as_ref())
        .maybe("type", filter.kind.as_ref())
        .maybe("status", filter.status.as_ref())
        .maybe("outcome", filter.outcome.as_ref())
        .maybe("since", filter.since.as_ref())
        .maybe("until", filter.until.as_ref())
        .maybe("tenant", filter.tenant.as_ref());
    list::print(client, output, &path, &filter.list, COLUMNS).await
}
