//! `posthaste status`.

use serde_json::value::RawValue;

use super::{
    ConnectArgs, Output,
    client::{Client, Path},
};

/// How the server is doing
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    connect: ConnectArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let answer = Client::new(&args.connect)?.get(&Path::new(&["status"])).await?;
    Output::new(args.connect.output).one(&answer.read::<Box<RawValue>>()?)
}
