//! `posthaste endpoint set`: a merge patch (RFC 7396).

use http::Method;
use serde_json::{Map, Value};

use super::fields::Fields;
use crate::cli::{
    client::{Answer, Client, Path},
    failure::Usage,
};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[arg(value_name = "ENDPOINT")]
    id: String,
    /// Where to deliver
    #[arg(long)]
    url: Option<String>,
    /// A field to put back to its default, or a member of one (headers.X-Name); may be given several times
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
    #[command(flatten)]
    fields: Fields,
}

impl Args {
    fn patch(&self) -> anyhow::Result<Map<String, Value>> {
        let mut patch = self.fields.document()?;
        patch.extend(
            self.url
                .as_deref()
                .map(|url| ("url".to_owned(), Value::from(url))),
        );
        for field in &self.unset {
            unset(&mut patch, field)?;
        }
        if patch.is_empty() {
            return Err(Usage("nothing to change; name a field, as in --timeout 5s".to_owned()).into());
        }
        Ok(patch)
    }
}

/// Puts a null where `field` is. What is behind the first dot is one member's name: a header's may hold dots.
fn unset(patch: &mut Map<String, Value>, field: &str) -> Result<(), Usage> {
    let twice = || Usage(format!("{field} is both set and unset"));
    let Some((field, member)) = field.split_once('.') else {
        return match patch.insert(field.to_owned(), Value::Null) {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(twice()),
        };
    };
    let members = patch.entry(field).or_insert_with(|| Value::Object(Map::new()));
    let members = members.as_object_mut().ok_or_else(twice)?;
    match members.insert(member.to_owned(), Value::Null) {
        None | Some(Value::Null) => Ok(()),
        Some(_) => Err(twice()),
    }
}

pub async fn ask(client: &Client, args: &Args) -> anyhow::Result<Answer> {
    let body = serde_json::to_vec(&args.patch()?)?;
    Ok(client
        .ask(
            Method::PATCH,
            &Path::new(&["endpoints", &args.id]),
            Some(body),
            None,
        )
        .await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(words: &[&str]) -> anyhow::Result<Value> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let words = ["set", "ep_1"].into_iter().chain(words.iter().copied());
        Ok(Value::Object(
            <Line as clap::Parser>::try_parse_from(words)?.args.patch()?,
        ))
    }

    #[test]
    fn a_change_names_what_changes_and_nulls_what_goes() {
        let changed = patch(&[
            "--timeout",
            "5s",
            "--header",
            "X-A: b",
            "--unset",
            "name",
            "--unset",
            "headers.X.B",
        ]);
        assert_eq!(
            changed.unwrap(),
            json!({"timeout": "5s", "headers": {"X-A": "b", "X.B": null}, "name": null})
        );
    }

    #[test]
    fn a_change_that_says_nothing_or_two_things_is_refused() {
        assert!(patch(&[]).unwrap_err().is::<Usage>());
        assert!(
            patch(&["--name", "a", "--unset", "name"])
                .unwrap_err()
                .is::<Usage>()
        );
        assert!(
            patch(&["--header", "X: 1", "--unset", "headers.X"])
                .unwrap_err()
                .is::<Usage>()
        );
    }
}
