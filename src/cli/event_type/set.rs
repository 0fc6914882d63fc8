//! `posthaste event-type set`: reads the declaration, changes it, puts it back.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::value::{RawValue, to_raw_value};

use crate::cli::{
    client::{Client, ClientError, Path},
    failure::Usage,
    input::Source,
    output::Output,
};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(value_name = "TYPE")]
    name: String,
    /// What an event of this type means
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The JSON Schema of the events' data, or @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    schema: Option<String>,
    /// An example of the data, or @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    example: Option<String>,
    /// Accepted on, and said to be deprecated; --deprecated=false takes that back
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    deprecated: Option<bool>,
    /// A field to take out; may be given several times
    #[arg(long, value_name = "FIELD", value_parser = ["description", "schema", "example"])]
    unset: Vec<String>,
}

/// A declaration's members, unread: a schema keeps its form.
type Members = BTreeMap<String, Box<RawValue>>;

impl Args {
    /// The declaration after the change.
    fn change(&self, mut members: Members) -> anyhow::Result<Members> {
        let json = |name: &str, argument: &Option<String>| -> anyhow::Result<Option<Box<RawValue>>> {
            let Some(argument) = argument else {
                return Ok(None);
            };
            let text = Source::of(argument).text()?;
            let read = serde_json::from_str::<Box<RawValue>>(text.trim()).ok();
            let unread = || Usage(format!("--{name} is not JSON; give JSON, @FILE, or - for stdin"));
            Ok(Some(read.ok_or_else(unread)?))
        };
        let changes = [
            (
                "description",
                self.description.as_ref().map(to_raw_value).transpose()?,
            ),
            ("schema", json("schema", &self.schema)?),
            ("example", json("example", &self.example)?),
            (
                "deprecated",
                self.deprecated.as_ref().map(to_raw_value).transpose()?,
            ),
        ];
        for (name, value) in changes {
            if let Some(value) = value {
                if self.unset.iter().any(|unset| unset == name) {
                    return Err(Usage(format!("{name} is both set and unset")).into());
                }
                members.insert(name.to_owned(), value);
            }
        }
        members.retain(|name, _| !self.unset.contains(name));
        Ok(members)
    }
}

pub async fn run(client: &Client, output: Output, args: &Args) -> anyhow::Result<()> {
    let path = Path::new(&["event-types", &args.name]);
    let members = match client.get(&path).await {
        Ok(answer) => answer.read::<Members>()?,
        Err(ClientError::Refused(refusal)) if refusal.status() == StatusCode::NOT_FOUND => Members::new(),
        Err(error) => return Err(error.into()),
    };
    let body = serde_json::to_vec(&args.change(members)?)?;
    let answer = client.ask(Method::PUT, &path, Some(body), None).await?;
    output.one(&answer.read::<Box<RawValue>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &str, words: &[&str]) -> anyhow::Result<String> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let words = ["set", "user.created"].into_iter().chain(words.iter().copied());
        let line = <Line as clap::Parser>::try_parse_from(words)?;
        Ok(serde_json::to_string(
            &line.args.change(serde_json::from_str(before)?)?,
        )?)
    }

    #[test]
    fn what_is_not_named_stays_as_it_was_written() {
        let before = r#"{"type":"user.created","schema":{ "maximum": 1.50 },"deprecated":false}"#;
        assert_eq!(
            changed(before, &["--description", "a user", "--deprecated"]).unwrap(),
            r#"{"deprecated":true,"description":"a user","schema":{ "maximum": 1.50 },"type":"user.created"}"#
        );
        let gone = changed(before, &["--unset", "schema", "--deprecated=false"]).unwrap();
        assert_eq!(gone, r#"{"deprecated":false,"type":"user.created"}"#);
        assert_eq!(
            changed("{}", &["--schema", " true\n"]).unwrap(),
            r#"{"schema":true}"#
        );
    }

    #[test]
    fn what_is_no_json_or_says_two_things_is_refused() {
        assert!(changed("{}", &["--schema", "{"]).unwrap_err().is::<Usage>());
        assert!(changed("{}", &["--example", ""]).unwrap_err().is::<Usage>());
        let both = changed("{}", &["--schema", "{}", "--unset", "schema"]);
        assert!(both.unwrap_err().is::<Usage>());
        assert!(changed("{}", &["--unset", "type"]).is_err());
    }
}
