//! `posthaste preview`: the exact request, not sent.

use std::io::Write as _;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ConnectArgs, Output,
    client::{Client, Path},
    send::Written,
};

/// Show the exact request that an event would become, byte for byte; nothing is sent
///
/// It is shown with the endpoint's credentials, and needs an admin key over TCP.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The endpoint that the request would go to
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// The event type, such as user.created
    #[arg(value_name = "TYPE")]
    kind: String,
    /// JSON, @FILE, or - for stdin; {} if left out
    #[arg(value_name = "DATA")]
    data: Option<String>,
    /// The event's id; a new one if left out
    #[arg(long)]
    id: Option<String>,
    /// The channel it goes to
    #[arg(long)]
    channel: Option<String>,
    /// What the data is, if not JSON
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// An attribute; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::input::pair)]
    attribute: Vec<(String, String)>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Deserialize)]
struct Preview {
    http_base64: String,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    let output = Output::new(args.connect.output);
    let event = Written {
        kind: &args.kind,
        data: args.data.as_deref(),
        id: args.id.as_deref(),
        channel: args.channel.as_deref(),
        content_type: args.content_type.as_deref(),
        attributes: &args.attribute,
        ..Written::default()
    };
    let body = event.body()?;
    let path = Path::new(&["endpoints", &args.endpoint, "preview"]);
    let answer = client.ask(Method::POST, &path, Some(body), None).await?;
    if output.is_json() {
        return output.one(&answer.read::<Box<RawValue>>()?);
    }
    let request = STANDARD
        .decode(answer.read::<Preview>()?.http_base64)
        .context("the server's answer is not base64")?;
    let mut out = std::io::stdout().lock();
    out.write_all(&request).context("cannot write to stdout")?;
    out.flush().context("cannot write to stdout")
}
