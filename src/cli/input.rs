//! Values on the command line: `-`, `@FILE`, `NAME=VALUE`, `Name: value`.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
};

use anyhow::Context as _;

use super::{failure::Usage, limits::DATA_BYTES};

/// Where an argument's content is.
#[derive(Debug, PartialEq, Eq)]
pub enum Source<'a> {
    Stdin,
    File(&'a str),
    Inline(&'a str),
}

impl<'a> Source<'a> {
    pub fn of(argument: &'a str) -> Self {
        match argument.strip_prefix('@') {
            _ if argument == "-" => Self::Stdin,
            Some(path) => Self::File(path),
            None => Self::Inline(argument),
        }
    }

    /// The content, up to [`DATA_BYTES`].
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is longer.
    pub fn read(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Stdin => bounded(io::stdin().lock()).context("cannot read stdin"),
            Self::File(path) => File::open(path)
                .map_err(Into::into)
                .and_then(bounded)
                .with_context(|| format!("cannot read {path}")),
            Self::Inline(text) => Ok(text.as_bytes().to_vec()),
        }
    }

    /// The content as text.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no text.
    pub fn text(&self) -> anyhow::Result<String> {
        let wrong = match self {
            Self::File(path) => format!("{path} is not text in UTF-8"),
            Self::Stdin | Self::Inline(_) => "what was given is not text in UTF-8".to_owned(),
        };
        String::from_utf8(self.read()?).map_err(|_| Usage(wrong).into())
    }
}

fn bounded(reader: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(DATA_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DATA_BYTES {
        return Err(Usage("one event's data is more than 32 MiB; no server takes that".to_owned()).into());
    }
    Ok(bytes)
}

/// A secret argument; its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The argument itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The secret given as it is, or as `@FILE` so that it shows in no list of processes; a line end at the
    /// file's end is not part of it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no text.
    pub fn read(&self) -> anyhow::Result<String> {
        let text = Source::of(&self.0).text()?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// A text given as it is, as `@FILE` or as `-` for stdin.
///
/// # Errors
///
/// When it cannot be read or is no text.
pub fn text(argument: &str) -> anyhow::Result<String> {
    let not_text = || Usage(format!("{argument} is no text"));
    Ok(String::from_utf8(Source::of(argument).read()?).map_err(|_| not_text())?)
}

/// Reads `NAME=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Reads `Name: value`; the value may be a token.
pub fn header(text: &str) -> Result<(String, Secret), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().into())),
        _ => Err("write \"Name: value\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_says_where_its_content_is() {
        assert_eq!(Source::of("-"), Source::Stdin);
        assert_eq!(Source::of("@a/b"), Source::File("a/b"));
        assert_eq!(Source::of("{\"a\":\"@b\"}"), Source::Inline("{\"a\":\"@b\"}"));
    }

    #[test]
    fn a_secret_from_a_file_loses_its_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s");
        std::fs::write(&file, "whsec_abc\n").unwrap();
        let secret = Secret::from(format!("@{}", file.display()).as_str());
        assert_eq!(secret.read().unwrap(), "whsec_abc");
        assert_eq!(format!("{secret:?}"), "[hidden]");
    }

    #[test]
    fn pairs_and_headers_keep_what_follows_the_first_separator() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(header("X-A: b:c "), Ok(("X-A".to_owned(), "b:c".into())));
        assert!(pair("=b").is_err() && pair("a").is_err() && header(": b").is_err());
    }
}
