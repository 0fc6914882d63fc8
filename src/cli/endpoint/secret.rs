//! `posthaste endpoint secret`, and `secret rotate`.

use http::Method;
use serde_json::{Map, Value};

use crate::{
    cli::{
        client::{Answer, Client, Path},
        input::Secret,
    },
    domain::duration::Span,
};

#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[arg(value_name = "ENDPOINT", required = true)]
    id: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Give an endpoint a new secret, shown this once; the old one signs beside it for a while
    Rotate(Rotate),
}

#[derive(clap::Args, Debug)]
struct Rotate {
    #[arg(value_name = "ENDPOINT")]
    id: String,
    /// The new secret (@FILE reads it from a file); made by the server if left out
    #[arg(long)]
    secret: Option<Secret>,
    /// How long the old secret signs as well, 0s to 7d; 24h if left out
    #[arg(long, value_name = "DURATION")]
    grace: Option<Span>,
    /// Which scheme's secret, when the endpoint has several
    #[arg(long)]
    scheme: Option<String>,
    /// What kind of secret is made; that of the old one if left out
    #[arg(long, value_parser = super::fields::ALGORITHMS, conflicts_with = "secret")]
    algorithm: Option<String>,
}

impl Rotate {
    fn document(&self) -> anyhow::Result<Map<String, Value>> {
        let secret = self.secret.as_ref().map(Secret::read).transpose()?;
        let members = [
            ("secret", secret),
            ("grace", self.grace.map(|grace| grace.to_string())),
            ("scheme", self.scheme.clone()),
            ("algorithm", self.algorithm.clone()),
        ];
        Ok(members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
            .collect())
    }
}

pub async fn ask(client: &Client, args: &Args) -> anyhow::Result<Answer> {
    if let Some(Command::Rotate(rotate)) = &args.command {
        let path = Path::new(&["endpoints", &rotate.id, "secret", "rotate"]);
        let body = serde_json::to_vec(&rotate.document()?)?;
        return Ok(client.ask(Method::POST, &path, Some(body), None).await?);
    }
    let id = args.id.as_deref().unwrap_or_default();
    Ok(client.get(&Path::new(&["endpoints", id, "secret"])).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let words = ["secret"].into_iter().chain(words.iter().copied());
        <Line as clap::Parser>::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn a_secret_is_shown_or_rotated_with_what_was_said() {
        assert_eq!(parsed(&["ep_1"]).unwrap().id.as_deref(), Some("ep_1"));
        let args = parsed(&[
            "rotate", "ep_1", "--grace", "48h", "--scheme", "stripe", "--secret", "s",
        ]);
        let Some(Command::Rotate(rotate)) = args.unwrap().command else {
            panic!("no rotation");
        };
        assert_eq!(rotate.id, "ep_1");
        assert_eq!(
            Value::Object(rotate.document().unwrap()),
            json!({"secret": "s", "grace": "2d", "scheme": "stripe"})
        );
        for bad in [
            &[][..],
            &["rotate"],
            &["rotate", "ep_1", "--grace", "5"],
            &["rotate", "ep_1", "--algorithm", "rsa"],
            &["rotate", "ep_1", "--algorithm", "hmac", "--secret", "s"],
            &["ep_1", "--grace", "1h"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
