//! `posthaste endpoint`: the receivers.

mod add;
mod fields;
mod recover;
mod secret;
mod set;
mod test;
mod verify;
mod way;

use clap::Subcommand;
use http::Method;

use super::{
    ConnectArgs, Output, ReasonArgs,
    client::{Answer, Client, ClientError, Path},
    list::{self, ListArgs},
    table::Column,
};

/// Add, look at and change endpoints
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
    /// Add an endpoint; its secret is shown this once
    Add(Box<add::Args>),
    /// List endpoints, newest first
    List {
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = crate::telemetry::names::ENDPOINT_STATES)]
        state: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one endpoint
    Show {
        #[arg(value_name = "ENDPOINT")]
        id: String,
    },
    /// Change an endpoint; what is not named stays
    Set(Box<set::Args>),
    /// Enable an endpoint again, and deliver what was held for it
    Enable {
        #[arg(value_name = "ENDPOINT")]
        id: String,
        /// Drop what was held instead of delivering it
        #[arg(long)]
        discard: bool,
    },
    /// Disable an endpoint; what is for it is held
    Disable {
        #[arg(value_name = "ENDPOINT")]
        id: String,
    },
    /// Pause an endpoint; what is for it is held
    Pause {
        #[arg(value_name = "ENDPOINT")]
        id: String,
    },
    /// Have an endpoint prove itself by its handshake, or submit the code that it was sent
    Verify(verify::Args),
    /// Send a test event to one endpoint and show the attempt
    Test(test::Args),
    /// Deliver again what failed in a range of time, or what the endpoint never got
    Recover(recover::Args),
    /// Show how an endpoint is doing
    Stats {
        #[arg(value_name = "ENDPOINT")]
        id: String,
    },
    /// Remove an endpoint
    Remove {
        #[arg(value_name = "ENDPOINT")]
        id: String,
    },
    /// Show the public keys that verify an endpoint's ed25519 signatures
    PublicKey {
        #[arg(value_name = "ENDPOINT")]
        id: String,
    },
    /// Show an endpoint's secrets, or rotate one
    Secret(secret::Args),
}

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("REASON", "disabled_reason"),
    ("URL", "url"),
    ("EVENTS", "events"),
];

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?.saying(&args.why)?;
    let output = Output::new(args.connect.output);
    let answer = match args.command {
        Command::List { tenant, state, list } => {
            let path = Path::new(&["endpoints"])
                .maybe("tenant", tenant.as_ref())
                .maybe("state", state.as_ref());
            return list::print(&client, output, &path, &list, COLUMNS).await;
        }
        Command::Add(args) => return add::run(&client, output, &args).await,
        Command::Verify(args) => return verify::run(&client, output, &args).await,
        Command::Test(args) => return test::run(&client, output, &args).await,
        Command::Recover(args) => return recover::run(&client, output, &args).await,
        Command::Stats { id } => client.get(&Path::new(&["endpoints", &id, "stats"])).await?,
        Command::Set(args) => set::ask(&client, &args).await?,
        Command::Show { id } => client.get(&Path::new(&["endpoints", &id])).await?,
        Command::PublicKey { id } => client.get(&Path::new(&["endpoints", &id, "public-key"])).await?,
        Command::Secret(args) => secret::ask(&client, &args).await?,
        Command::Enable { id, discard } => {
            let path = Path::new(&["endpoints", &id, "enable"]).maybe("discard", discard.then_some(&true));
            client.ask(Method::POST, &path, None, None).await?
        }
        Command::Disable { id } => act(&client, &id, "disable").await?,
        Command::Pause { id } => act(&client, &id, "pause").await?,
        Command::Remove { id } => {
            client
                .ask(Method::DELETE, &Path::new(&["endpoints", &id]), None, None)
                .await?
        }
    };
    answer
        .document()?
        .map_or(Ok(()), |document| output.one(&document))
}

async fn act(client: &Client, id: &str, verb: &str) -> Result<Answer, ClientError> {
    client
        .ask(Method::POST, &Path::new(&["endpoints", id, verb]), None, None)
        .await
}
