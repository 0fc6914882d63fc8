//! `posthaste event-type import`: the webhooks of an OpenAPI 3.1 description, in JSON or YAML.

use anyhow::Context as _;
use http::Method;
use serde::Deserialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::cli::{
    client::{Client, Path},
    failure::{Failed, Usage},
    input::Source,
    output::Output,
    table::Column,
};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The description, JSON or YAML; - for stdin
    file: String,
    /// Say what would come of it, and change nothing
    #[arg(long)]
    dry_run: bool,
}

const COLUMNS: &[Column] = &[
    ("TYPE", "type"),
    ("RESULT", "result"),
    ("AT", "pointer"),
    ("WHY", "rule"),
];

#[derive(Deserialize)]
struct Imported {
    created: Vec<String>,
    changed: Vec<String>,
    unchanged: Vec<String>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(rename = "type")]
    name: String,
    pointer: String,
    rule: String,
}

/// Exit code 1 when a webhook was refused.
pub async fn run(client: &Client, output: Output, args: &Args) -> anyhow::Result<()> {
    let source = match Source::of(&args.file) {
        Source::Inline(path) => Source::File(path),
        other => other,
    };
    let description = read(&source.document()?)?;
    let body = json!({"openapi": description, "dry_run": args.dry_run});
    let path = Path::new(&["event-types", "import"]);
    let answer = client
        .ask(Method::POST, &path, Some(body.to_string().into_bytes()), None)
        .await?;
    let imported: Imported = answer.read()?;
    if output.is_json() {
        output.one(&answer.read::<Box<RawValue>>()?)?;
    } else {
        output.many(COLUMNS, &rows(&imported, args.dry_run)?)?;
    }
    match imported.refused.len() {
        0 => Ok(()),
        count => Err(Failed(format!("webhooks that were refused: {count}")).into()),
    }
}

fn rows(imported: &Imported, dry_run: bool) -> anyhow::Result<Vec<Box<RawValue>>> {
    let would = |done: &'static str, to_do: &'static str| if dry_run { to_do } else { done };
    let kinds = [
        (&imported.created, would("created", "would be created")),
        (&imported.changed, would("changed", "would be changed")),
        (&imported.unchanged, "unchanged"),
    ];
    let mut rows = Vec::new();
    for (names, result) in kinds {
        for name in names {
            rows.push(to_raw_value(&json!({"type": name, "result": result}))?);
        }
    }
    for Refused { name, pointer, rule } in &imported.refused {
        let row = json!({"type": name, "result": "refused", "pointer": pointer, "rule": rule});
        rows.push(to_raw_value(&row)?);
    }
    Ok(rows)
}

/// Reads JSON, or YAML that says what JSON can say.
fn read(bytes: &[u8]) -> anyhow::Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|_| Usage("the description is not UTF-8".to_owned()))?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).context("the description cannot be read as JSON");
    }
    serde_saphyr::from_str(text).context("the description is neither JSON nor YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_json_or_yaml() {
        let json =
            r##"{"openapi":"3.1.0","webhooks":{"a.b":{"post":{"deprecated":true}}},"n":[1,2.5,null,"no"]}"##;
        let yaml =
            "openapi: 3.1.0\nwebhooks:\n  a.b:\n    post:\n      deprecated: true\nn: [1, 2.5, null, 'no']\n";
        assert_eq!(read(json.as_bytes()).unwrap(), read(yaml.as_bytes()).unwrap());
        assert!(read(b"{").is_err());
        assert!(read(b"a: [").is_err());
        assert!(read(b"a: 1\na: 2\n").is_err());
        assert!(read(b"\xff").unwrap_err().is::<Usage>());
    }

    #[test]
    fn yaml_that_grows_without_end_is_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(",")));
        }
        assert!(read(bomb.as_bytes()).is_err());
    }
}
