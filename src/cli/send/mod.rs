//! `posthaste send`: one event, or a batch.

mod batch;
mod cloud_event;
mod event;
mod lines;
mod wait;

pub use event::Written;
use http::{HeaderValue, Method};
use serde_json::value::RawValue;

use super::{
    ConnectArgs, Output, Usage,
    client::{Client, Path},
};
use crate::domain::{duration::Span, time::Timestamp};

/// Send an event
///
/// The data is JSON, @FILE or - for stdin, and {} if left out. JSON is sent as it was written, byte for byte.
/// Data of another kind needs --content-type. CloudEvents are sent as they are: @FILE or - without a TYPE, and
/// --content-type application/cloudevents+json, or application/cloudevents-batch+json for a list of them.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The event type, such as user.created; for CloudEvents, the document
    #[arg(value_name = "TYPE", required_unless_present = "batch")]
    kind: Option<String>,
    /// JSON, @FILE, or - for stdin
    #[arg(value_name = "DATA")]
    data: Option<String>,
    /// The event's own id; the same id and content again is answered with the first result
    #[arg(long)]
    id: Option<String>,
    /// The tenant it belongs to
    #[arg(long)]
    tenant: Option<String>,
    /// The channel it goes to
    #[arg(long)]
    channel: Option<String>,
    /// Endpoints that keep an order by key deliver events of the same key one after the other
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// Not to be delivered before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    deliver_at: Option<Timestamp>,
    /// Not to be delivered after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// What the data is, if not JSON
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// An attribute; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::input::pair)]
    attribute: Vec<(String, String)>,
    /// The Idempotency-Key: the same key and content again is answered with the first result
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Send events in NDJSON, one a line, from @FILE or from stdin
    #[arg(long, value_name = "@FILE | -", num_args = 0..=1, default_missing_value = "-")]
    #[arg(conflicts_with_all = ["kind", "id", "tenant", "channel", "ordering_key", "deliver_at", "expires_at"])]
    #[arg(conflicts_with_all = ["content_type", "attribute", "idempotency_key", "wait"])]
    batch: Option<String>,
    /// Wait until every delivery of the event has ended
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "wait")]
    wait_timeout: Span,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl Args {
    fn written(&self) -> Written<'_> {
        Written {
            kind: self.kind.as_deref().unwrap_or_default(),
            data: self.data.as_deref(),
            id: self.id.as_deref(),
            tenant: self.tenant.as_deref(),
            channel: self.channel.as_deref(),
            ordering_key: self.ordering_key.as_deref(),
            deliver_at: self.deliver_at,
            expires_at: self.expires_at,
            content_type: self.content_type.as_deref(),
            attributes: &self.attribute,
        }
    }
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    let output = Output::new(args.connect.output);
    if let Some(source) = &args.batch {
        return batch::send(&client, output, source).await;
    }
    let key = args.idempotency_key.as_deref().map(idempotency_key).transpose()?;
    let answer = match cloud_event::Form::of(&args) {
        Some(form) => {
            let (path, body) = cloud_event::request(&args, form)?;
            if form == cloud_event::Form::List {
                return cloud_event::send_list(&client, output, &path, body).await;
            }
            client.ask_with(Method::POST, &path, Some(body), key).await?
        }
        None => {
            let body = args.written().body()?;
            client
                .ask(Method::POST, &Path::new(&["events"]), Some(body), key)
                .await?
        }
    };
    output.one(&answer.read::<Box<RawValue>>()?)?;
    if !args.wait {
        return Ok(());
    }
    let event: event::Accepted = answer.read()?;
    let path = Path::new(&["events", &event.id, "deliveries"]).maybe("tenant", args.tenant.as_ref());
    wait::for_deliveries(&client, output, &path, args.wait_timeout).await
}

fn idempotency_key(key: &str) -> Result<(&'static str, HeaderValue), Usage> {
    let value = HeaderValue::from_str(key)
        .map_err(|_| Usage("--idempotency-key must be visible ASCII characters".to_owned()))?;
    Ok(("idempotency-key", value))
}
