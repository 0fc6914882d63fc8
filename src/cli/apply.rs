//! `posthaste apply` and `posthaste export`: endpoints as a file.

use std::path::PathBuf;

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    ConnectArgs, Output, ReasonArgs,
    client::{Client, Path},
    endpoints_file::{self, Syntax},
    list::Pages,
};
use crate::{
    config::text::escaped,
    domain::{endpoint::EndpointSpec, endpoint::MEMBERS, profile::Profiles},
};

/// Make the endpoints be what a file says
///
/// Endpoints are found again by their names. What an entry leaves out goes back to its default, but signing secrets, which
/// stay; of `auth`, `headers` and `tls`, "***" keeps a secret that is there.
/// The whole file is judged first: a mistake changes nothing. Applied twice, it changes nothing the second time.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// endpoints.toml, .yaml or .json, or - for JSON from stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Also remove the endpoints that the file does not have, of the tenants that it names; what they still had scheduled
    /// is cancelled
    #[arg(long)]
    prune: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    why: ReasonArgs,
}

/// Write the endpoints as a file for `apply`, without their secrets
#[derive(clap::Args, Debug)]
pub struct ExportArgs {
    /// How the file is written
    #[arg(long, value_enum, default_value_t = Syntax::Toml)]
    format: Syntax,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What the server says it did.
#[derive(Deserialize)]
pub struct Applied {
    created: Vec<Change>,
    changed: Vec<Change>,
    removed: Vec<Change>,
    unchanged: u64,
    #[serde(default)]
    warnings: Vec<String>,
    dry_run: bool,
}

#[derive(Deserialize)]
struct Change {
    id: Option<String>,
    name: String,
    tenant: Option<String>,
    #[serde(default)]
    members: Map<String, Value>,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?.saying(&args.why)?;
    let output = Output::new(args.connect.output);
    let body = json!({
        "endpoints": endpoints_file::read(&args.file)?, "prune": args.prune, "dry_run": args.dry_run,
    });
    let path = Path::new(&["endpoints"]);
    let answer = client
        .ask(Method::PUT, &path, Some(serde_json::to_vec(&body)?), None)
        .await?;
    if output.is_json() {
        return output.one(&answer.read::<Box<RawValue>>()?);
    }
    output.text(&answer.read::<Applied>()?.diff())
}

impl Applied {
    /// One line for each endpoint that differs, those of a change below it, and the counts.
    pub fn diff(&self) -> String {
        let mut lines = Vec::new();
        for (sign, changes) in [('+', &self.created), ('~', &self.changed), ('-', &self.removed)] {
            for change in changes {
                let tenant = change.tenant.iter().map(|tenant| format!(" of tenant {tenant}"));
                let id = change.id.iter().map(|id| format!("  {id}"));
                let rest: String = tenant.chain(id).collect();
                lines.push(format!("{sign} {}{rest}", change.name));
                for (member, values) in &change.members {
                    lines.push(format!("    {member}: {} -> {}", values[0], values[1]));
                }
            }
        }
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        let would = if self.dry_run {
            " (dry run: nothing was changed)"
        } else {
            ""
        };
        lines.push(format!(
            "{} created, {} changed, {} removed, {} unchanged{would}",
            self.created.len(),
            self.changed.len(),
            self.removed.len(),
            self.unchanged
        ));
        lines
            .iter()
            .map(|line| escaped(line).into_owned() + "\n")
            .collect()
    }
}

pub async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.connect)?;
    let path = Path::new(&["endpoints"])
        .query("order", "asc")
        .maybe("tenant", args.tenant.as_ref());
    let mut pages = Pages::new(&client, &path, usize::MAX);
    let mut entries = Vec::new();
    while let Some(rows) = pages.next().await? {
        for row in rows {
            entries.push(Value::Object(entry(serde_json::from_str(row.get())?)));
        }
    }
    let format = match args.connect.output {
        super::Format::Json => Syntax::Json,
        super::Format::Table => args.format,
    };
    let text = format.write(&json!({ "endpoints": entries }))?;
    Output::new(super::Format::Json).text(&text)
}

/// What the file says of an endpoint: its name, or its id in place of one, and what is not as its profile has it.
fn entry(shown: Map<String, Value>) -> Map<String, Value> {
    let id = shown.get("id").cloned().unwrap_or_default();
    let usual = usual(&shown);
    let held = shown.clone();
    let mut entry: Map<String, Value> = shown
        .into_iter()
        .filter(|(name, value)| MEMBERS.contains(&name.as_str()) && !value.is_null())
        .map(|(name, value)| (name, without_secrets(value)))
        .filter(|(name, value)| usual.get(name) != Some(value))
        .collect();
    entry.entry("name").or_insert(id);
    if held_by_a_person(&held) {
        entry.insert("enabled".to_owned(), Value::from(false));
    }
    entry
}

/// Whether a person paused or disabled it, so that a copy should not be sent to either.
fn held_by_a_person(shown: &Map<String, Value>) -> bool {
    let why = shown.get("disabled_reason").and_then(|reason| reason.get("why"));
    match shown.get("state").and_then(Value::as_str) {
        Some("paused") => true,
        Some("disabled") => why.and_then(Value::as_str) == Some("manual"),
        _ => false,
    }
}

/// What an endpoint of the same profile has that says nothing else.
fn usual(shown: &Map<String, Value>) -> Map<String, Value> {
    let mut document = json!({ "url": shown.get("url"), "profile": shown.get("profile") });
    let profiles = Profiles::default();
    let profile = shown
        .get("profile")
        .and_then(|name| serde_json::from_value(name.clone()).ok());
    let preset = profile.as_ref().and_then(|name| profiles.get(name));
    if let (Some(preset), Some(members)) = (preset, document.as_object_mut()) {
        preset.fill(members);
    }
    let standard = json!("standard");
    let spec = serde_json::from_value::<EndpointSpec>(document).and_then(|spec| serde_json::to_value(&spec));
    let mut usual = spec
        .ok()
        .and_then(|spec| spec.as_object().cloned())
        .unwrap_or_default();
    usual.remove("url");
    usual.retain(|name, value| name != "profile" || *value == standard);
    if preset.is_none() {
        // One of the server's own profiles, which is not known here: say everything.
        usual.retain(|name, _| !crate::domain::profile::SETTLED.contains(&name.as_str()));
    }
    usual
}

/// A signature without its hidden secret: the one that is there stays.
fn without_secrets(mut value: Value) -> Value {
    for signature in value.as_array_mut().into_iter().flatten() {
        if let Some(members) = signature.as_object_mut() {
            members.retain(|name, value| name != "secret" || value != "***");
        }
    }
    value
}
