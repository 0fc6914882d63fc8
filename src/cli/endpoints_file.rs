//! The file that says what endpoints there are to be: TOML, YAML or JSON.
//!
//! Its form is `{"endpoints": [{"name", "url", …}]}`, each entry with the members that the API takes. A secret need not
//! stand in it: in `auth`, `headers`, `signatures`, `tls` and `proxy`, `{"$env": "NAME"}` stands for a variable of the
//! environment, `{"$file": "PATH"}` for what a file holds, without its last line end.

use std::{io::Read as _, path::Path};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value};

use super::{
    input::{Source, unmarked},
    limits::ENDPOINTS_FILE_BYTES,
};

/// How the text is written.
#[derive(clap::ValueEnum, Copy, Clone, Debug, PartialEq, Eq)]
pub enum Syntax {
    Toml,
    Yaml,
    Json,
}

impl Syntax {
    /// By the file's name; JSON, which is YAML as well, when that does not say.
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Self::Toml,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Json,
        }
    }

    fn parse(self, text: &str) -> anyhow::Result<Value> {
        // Never with the lines around it, which may hold secrets.
        match self {
            Self::Toml => toml::from_str(text).map_err(|error: toml::de::Error| {
                let before = error.span().map_or(0, |span| span.start).min(text.len());
                let line = 1 + text.as_bytes()[..before]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count();
                anyhow!("line {line}: {}", error.message())
            }),
            Self::Yaml => serde_saphyr::from_str(text).map_err(|error| {
                let place = error.location().map(|place| format!("line {}: ", place.line()));
                anyhow!("{}not YAML that can be read here", place.unwrap_or_default())
            }),
            Self::Json => Ok(serde_json::from_str(text)?),
        }
    }

    /// # Errors
    ///
    /// A value that this syntax has no form for.
    pub fn write(self, document: &Value) -> anyhow::Result<String> {
        Ok(match self {
            Self::Toml => toml::to_string(document)?,
            Self::Yaml => serde_saphyr::to_string(document)?,
            Self::Json => serde_json::to_string_pretty(document)? + "\n",
        })
    }
}

/// Reads the entries of a file, or of stdin for `-`.
///
/// # Errors
///
/// A file that cannot be read, is not what its name says, or has another form.
pub fn read(path: &Path) -> anyhow::Result<Vec<Map<String, Value>>> {
    let shown = path.display();
    let bytes = if path == Path::new("-") {
        Source::of("-").document()?
    } else {
        let bytes = bounded(path).with_context(|| format!("cannot read {shown}"))?;
        unmarked(bytes, &shown.to_string())?
    };
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{shown} is not UTF-8"))?;
    let document = Syntax::of(path)
        .parse(text)
        .with_context(|| format!("cannot understand {shown}"))?;
    entries(document).with_context(|| format!("{shown} does not describe endpoints"))
}

fn bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(ENDPOINTS_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > ENDPOINTS_FILE_BYTES {
        bail!("it is larger than {ENDPOINTS_FILE_BYTES} bytes");
    }
    Ok(bytes)
}

fn entries(document: Value) -> anyhow::Result<Vec<Map<String, Value>>> {
    let form = r#"give {"endpoints": [{"name": …, "url": …}]}"#;
    let Value::Object(mut members) = document else {
        bail!("it is not a table; {form}");
    };
    let list = members
        .remove("endpoints")
        .ok_or_else(|| anyhow!("it has no endpoints; {form}"))?;
    if let Some(other) = members.keys().next() {
        bail!("{other} is no member of it; {form}");
    }
    let Value::Array(list) = list else {
        bail!("endpoints is not a list; {form}");
    };
    let entry = |(at, value)| match value {
        Value::Object(mut entry) => {
            for (name, value) in &mut entry {
                resolve_in(name, value).with_context(|| format!("endpoints[{at}].{name}"))?;
            }
            Ok(entry)
        }
        _ => Err(anyhow!("endpoints[{at}] is not a table; {form}")),
    };
    list.into_iter().enumerate().map(entry).collect()
}

/// Puts in what stands elsewhere, in the members that may hold a secret: a text of theirs, never a whole member. What a
/// server says of an endpoint may have any name in it, and is not to be taken for a place on this machine.
fn resolve_in(name: &str, value: &mut Value) -> anyhow::Result<()> {
    match (name, value) {
        ("auth" | "headers" | "tls", Value::Object(members)) => members.values_mut().try_for_each(resolve),
        ("signatures", Value::Array(signatures)) => signatures
            .iter_mut()
            .filter_map(|signature| signature.get_mut("secret"))
            .try_for_each(resolve),
        ("proxy", value) => resolve(value),
        _ => Ok(()),
    }
}

fn resolve(value: &mut Value) -> anyhow::Result<()> {
    let Value::Object(members) = value else {
        return Ok(());
    };
    let only = match members.len() {
        1 => members.iter().next(),
        _ => None,
    };
    let found = match only {
        Some((name, Value::String(variable))) if name == "$env" => {
            std::env::var(variable).with_context(|| format!("the environment has no text in {variable}"))?
        }
        Some((name, Value::String(path))) if name == "$file" => {
            let bytes = bounded(Path::new(path)).with_context(|| format!("cannot read {path}"))?;
            let text = unmarked(bytes, path)?;
            let text = String::from_utf8(text).with_context(|| format!("{path} is not UTF-8"))?;
            let end = text.strip_suffix('\n').unwrap_or(&text);
            end.strip_suffix('\r').unwrap_or(end).to_owned()
        }
        _ => return Ok(()),
    };
    *value = Value::String(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(name: &str, text: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn the_same_endpoints_read_the_same_in_every_syntax() {
        let document = json!({"endpoints": [
            {"name": "a", "url": "https://h.test/", "events": ["user.*"], "retry": {"retries": 3, "delay": "5s"}},
            {"name": "b", "url": "https://h.test/b", "treat_as": {"404": "transient"}, "rate": {"per_second": 0.5}},
        ]});
        for (syntax, name) in [
            (Syntax::Toml, "e.toml"),
            (Syntax::Yaml, "e.yml"),
            (Syntax::Json, "e.json"),
        ] {
            let text = syntax.write(&document).unwrap();
            let read = file(name, &text).unwrap_or_else(|error| panic!("{name}: {error:#}\n{text}"));
            assert_eq!(json!({"endpoints": read}), document, "{name}\n{text}");
        }
    }

    #[test]
    fn secrets_may_stand_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret\n").unwrap();
        let document = json!({"endpoints": [{
            "name": "a", "auth": {"type": "basic", "username": {"$env": "PATH"}, "password": {"$file": path}},
        }]});
        let read = file("e.json", &document.to_string()).unwrap();
        assert_eq!(read[0]["auth"]["password"], "s3cret");
        assert_eq!(read[0]["auth"]["username"], std::env::var("PATH").unwrap());
        let missing = json!({"endpoints": [{"name": "a", "auth": {"token": {"$env": "POSTHASTE_NO_SUCH"}}}]});
        let error = format!("{:#}", file("e.json", &missing.to_string()).unwrap_err());
        assert!(
            error.contains("endpoints[0].auth") && error.contains("POSTHASTE_NO_SUCH"),
            "{error}"
        );
    }

    #[test]
    fn another_form_is_named() {
        for (name, text, part) in [
            ("e.toml", "[[endpoint]]\nname = 'a'\n", "has no endpoints"),
            ("e.toml", "endpoints = 1\n", "is not a list"),
            ("e.toml", "endpoints = [1]\n", "endpoints[0] is not a table"),
            ("e.toml", "= 1\n", "cannot understand"),
            ("e.yaml", "endpoints: []\nmore: 1\n", "more is no member"),
            ("e.yaml", "- a\n", "not a table"),
            ("e.json", "{", "cannot understand"),
        ] {
            let error = format!("{:#}", file(name, text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
        // A bomb of aliases is refused, not expanded.
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..12 {
            let item = format!("*a{},", n - 1).repeat(10);
            bomb.push_str(&format!("a{n}: &a{n} [{item}]\n"));
        }
        assert!(file("e.yaml", &bomb).is_err());
    }
}
