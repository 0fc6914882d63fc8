//! `posthaste endpoint recover`: a range of time once more, portion by portion.

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        client::{Client, Path},
        input::whole,
        limits::RECOVER_PORTION,
        output::{Output, note},
    },
    domain::time::Timestamp,
};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(value_name = "ENDPOINT")]
    id: String,
    /// Of the events accepted at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Timestamp,
    /// And up to this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only failed or delivered ones whose last attempt was answered with this status code
    #[arg(long, value_name = "CODE", value_parser = whole(100..=999_u16))]
    status: Option<u16>,
    /// What failed, what was delivered, what the endpoint wants and never got, or all that it lacks (failed and missing)
    #[arg(long, default_value = "failed", value_parser = ["failed", "delivered", "missing", "all"])]
    what: String,
    /// Count, and deliver nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on where an earlier recovery stopped
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Portion {
    failed: u64,
    delivered: u64,
    missing: u64,
    next: Option<String>,
}

/// Asks for one portion after the other and says on stderr how far it is.
pub async fn run(client: &Client, output: Output, args: &Args) -> anyhow::Result<()> {
    let (mut failed, mut delivered, mut missing) = (0, 0, 0);
    let mut cursor = args.cursor.clone();
    loop {
        let path = Path::new(&["endpoints", &args.id, "recover"]);
        let body = serde_json::to_vec(&args.portion(cursor.as_deref()))?;
        let asked = client.ask(Method::POST, &path, Some(body), None).await;
        let portion: Portion = match asked {
            Ok(answer) => answer.read()?,
            Err(error) => {
                if let Some(cursor) = &cursor {
                    note(&format!("go on later with --cursor {cursor}"));
                }
                return Err(error.into());
            }
        };
        failed += portion.failed;
        delivered += portion.delivered;
        missing += portion.missing;
        cursor = portion.next;
        if cursor.is_none() {
            break;
        }
        note(&format!("{} deliveries so far", failed + delivered + missing));
    }
    let done = json!({
        "deliveries": failed + delivered + missing, "failed": failed, "delivered": delivered, "missing": missing,
        "dry_run": args.dry_run,
    });
    output.one(&serde_json::value::to_raw_value(&done)?)
}

impl Args {
    fn portion(&self, cursor: Option<&str>) -> Map<String, Value> {
        let members = [
            ("since", Some(json!(self.since))),
            ("until", self.until.map(|at| json!(at))),
            ("status", self.status.map(Value::from)),
            ("what", Some(Value::from(self.what.as_str()))),
            ("dry_run", Some(Value::from(self.dry_run))),
            ("limit", Some(Value::from(RECOVER_PORTION))),
            ("cursor", cursor.map(Value::from)),
        ];
        members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}
