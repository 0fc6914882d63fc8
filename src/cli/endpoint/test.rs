//! `posthaste endpoint test`.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cli::{
    client::{Client, Path},
    failure::{Failed, Usage},
    input::Source,
    output::Output,
};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(value_name = "ENDPOINT")]
    id: String,
    /// The test event's type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// The test event's data: JSON, @FILE, or - for stdin
    #[arg(value_name = "DATA")]
    data: Option<String>,
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Attempt {
    #[serde(default)]
    outcome: Option<String>,
}

pub async fn run(client: &Client, output: Output, args: &Args) -> anyhow::Result<()> {
    let body = serde_json::to_vec(&Event {
        kind: args.kind.as_deref(),
        data: args.data.as_deref().map(data).transpose()?,
    })?;
    let answer = client
        .ask(
            Method::POST,
            &Path::new(&["endpoints", &args.id, "test"]),
            Some(body),
            None,
        )
        .await?;
    let Some(document) = answer.document()? else {
        return Ok(());
    };
    output.one(&document)?;
    match answer.read::<Attempt>()?.outcome.as_deref() {
        None | Some("delivered") => Ok(()),
        Some(_) => Err(Failed("the endpoint did not take the test event".to_owned()).into()),
    }
}

fn data(argument: &str) -> anyhow::Result<Box<RawValue>> {
    let bytes = Source::of(argument).document()?;
    serde_json::from_slice(&bytes).map_err(|error| Usage(format!("the data is not JSON: {error}")).into())
}
