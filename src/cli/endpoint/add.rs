//! `posthaste endpoint add`.

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::fields::Fields;
use crate::cli::{
    client::{Client, Path},
    output::{Output, note},
};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where to deliver
    url: String,
    /// Not to be delivered to yet: what is for it is held until it is enabled
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    fields: Fields,
}

impl Args {
    fn document(&self) -> anyhow::Result<Map<String, Value>> {
        let mut document = self.fields.document()?;
        document.insert("url".to_owned(), Value::from(self.url.as_str()));
        if self.paused {
            document.insert("enabled".to_owned(), Value::from(false));
        }
        Ok(document)
    }
}

pub async fn run(client: &Client, output: Output, args: &Args) -> anyhow::Result<()> {
    let body = serde_json::to_vec(&args.document()?)?;
    let answer = client
        .ask(Method::POST, &Path::new(&["endpoints"]), Some(body), None)
        .await?;
    output.one(&answer.read::<Box<RawValue>>()?)?;
    if !output.is_json() {
        let Added { signatures } = answer.read()?;
        let mut advice: Vec<_> = signatures.iter().map(Signature::advice).collect();
        advice.dedup();
        advice.into_iter().for_each(note);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Added {
    #[serde(default)]
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    algorithm: Option<String>,
}

impl Signature {
    fn advice(&self) -> &'static str {
        match self.algorithm.as_deref() {
            // Whoever has the secret can sign.
            Some("ed25519") => {
                "keep the whsk_ secret; the receiver needs what `posthaste endpoint public-key ENDPOINT` shows"
            }
            _ => "give the secret to the receiver; `posthaste endpoint secret ENDPOINT` shows it again",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_added_with_what_was_said_and_nothing_else() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let words = ["add", "https://a.test/", "--paused"];
        let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
        let document = Value::Object(line.args.document().unwrap());
        assert_eq!(
            document,
            serde_json::json!({"url": "https://a.test/", "enabled": false})
        );
    }
}
