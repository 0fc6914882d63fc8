//! `posthaste endpoint verify`.

use http::Method;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::cli::{
    client::{Client, Path},
    failure::Failed,
    output::Output,
};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(value_name = "ENDPOINT")]
    id: String,
    /// The code that the receiver was sent; without it the handshake is begun anew
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

#[derive(Deserialize)]
struct Endpoint {
    verification: Option<Verification>,
}

#[derive(Deserialize)]
struct Verification {
    state: String,
    last_error: Option<Shortfall>,
    tries_left: Option<u8>,
}

#[derive(Deserialize)]
struct Shortfall {
    reason: String,
    detail: String,
}

pub async fn run(client: &Client, output: Output, args: &Args) -> anyhow::Result<()> {
    let body = args
        .code
        .as_ref()
        .map(|code| json!({ "code": code }).to_string().into_bytes());
    let path = Path::new(&["endpoints", &args.id, "verify"]);
    let answer = client.ask(Method::POST, &path, body, None).await?;
    output.one(&answer.read::<Box<RawValue>>()?)?;
    match answer.read::<Endpoint>()?.verification {
        Some(verification) => verification.told(&args.id),
        None => Ok(()),
    }
}

impl Verification {
    /// Success only when it is proved and the newest try says so too.
    fn told(self, id: &str) -> anyhow::Result<()> {
        let lack = match (self.last_error, self.state.as_str(), self.tries_left) {
            (None, "verified", _) => return Ok(()),
            (Some(error), _, _) => {
                format!(
                    "the endpoint did not prove itself: {} ({})",
                    error.detail, error.reason
                )
            }
            (None, _, Some(_)) => {
                format!("the endpoint was sent a code; submit it with `posthaste endpoint verify {id} CODE`")
            }
            (None, _, None) => "the endpoint has not proved itself yet".to_owned(),
        };
        Err(Failed(lack).into())
    }
}
