//! `posthaste import`: the endpoints of another sender, with their secrets, so that receivers notice nothing.
//!
//! What the other sender's public API answers is read from a file, turned into the entries that `apply` takes, and
//! applied without pruning: doing it again changes nothing. What cannot be taken over is named on stderr, never dropped
//! in silence; an endpoint without its secret is refused.

mod convoy;
mod svix;

use std::path::{Path as FilePath, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    ConnectArgs, Output, ReasonArgs,
    apply::Applied,
    client::{Client, Path},
    input::Source,
    output::note,
};
use crate::domain::{plain, refusal::without_value};

/// Take over the endpoints of another sender
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    from: From,
    /// Give all of them to this tenant
    #[arg(long, global = true)]
    tenant: Option<String>,
    /// Make new secrets where there are none; the receivers then have to be told
    #[arg(long, global = true)]
    new_secrets: bool,
    /// Show what would change, and change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    why: ReasonArgs,
}

#[derive(Debug, Subcommand)]
enum From {
    /// From Svix: the answer of GET /api/v1/app/APP/endpoint
    ///
    /// The secrets come with the endpoints (as `secret` in each), or in a file of their own.
    Svix {
        #[arg(value_name = "FILE")]
        endpoints: PathBuf,
        /// An object of endpoint ids and secrets, or the answers of GET …/endpoint/ID/secret
        #[arg(long, value_name = "FILE")]
        secrets: Option<PathBuf>,
    },
    /// From Convoy: the answer of GET /api/v1/projects/PROJECT/endpoints
    Convoy {
        #[arg(value_name = "FILE")]
        endpoints: PathBuf,
        /// The answer of GET /api/v1/projects/PROJECT/subscriptions, which says who gets which events
        #[arg(long, value_name = "FILE")]
        subscriptions: PathBuf,
    },
}

/// What another sender's endpoints become.
#[derive(Debug, Default)]
struct Imported {
    entries: Vec<Map<String, Value>>,
    /// What was not taken over.
    left_behind: Vec<String>,
}

impl Imported {
    fn leave(&mut self, endpoint: &str, what: &str) {
        self.left_behind.push(format!("{endpoint}: {what}"));
    }
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?.saying(&args.why)?;
    let output = Output::new(args.connect.output);
    let mut imported = match &args.from {
        From::Svix { endpoints, secrets } => {
            let secrets = secrets.as_deref().map(read).transpose()?;
            svix::entries(read(endpoints)?, secrets.unwrap_or_default(), args.new_secrets)?
        }
        From::Convoy {
            endpoints,
            subscriptions,
        } => convoy::entries(read(endpoints)?, read(subscriptions)?, args.new_secrets)?,
    };
    if let Some(tenant) = &args.tenant {
        for entry in &mut imported.entries {
            entry.insert("tenant".to_owned(), tenant.as_str().into());
        }
    }
    for line in &imported.left_behind {
        note(&format!("not taken over: {line}"));
    }
    let body = json!({ "endpoints": imported.entries, "dry_run": args.dry_run });
    let path = Path::new(&["endpoints"]);
    let answer = client
        .ask(Method::PUT, &path, Some(serde_json::to_vec(&body)?), None)
        .await?;
    if output.is_json() {
        return output.one(&answer.read::<Box<RawValue>>()?);
    }
    output.text(&answer.read::<Applied>()?.diff())
}

fn read<T: DeserializeOwned>(path: &FilePath) -> anyhow::Result<T> {
    let shown = path.display();
    let text = path.to_str().context("the file's name is not UTF-8")?;
    let source = if text == "-" {
        text.to_owned()
    } else {
        format!("@{text}")
    };
    let bytes = Source::of(&source).document()?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let said = without_value(&plain::words(&error.to_string()));
        anyhow!("cannot understand {shown}: {said}")
    })
}

/// The secret to sign with, as a signature of `scheme`.
fn signature(name: &str, scheme: &str, secret: Option<String>, new_secrets: bool) -> anyhow::Result<Value> {
    match secret {
        Some(secret) => Ok(json!([{ "scheme": scheme, "secret": secret }])),
        None if new_secrets => Ok(json!([{ "scheme": scheme }])),
        None => bail!(
            "endpoint {name} comes without its secret, and its receiver would refuse what a new one signs; add the secret, or make one with --new-secrets"
        ),
    }
}
