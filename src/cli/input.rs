//! Values on the command line: `-`, `@FILE`, `NAME=VALUE`, `Name: value`.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    ops::RangeInclusive,
    str::FromStr,
};

use anyhow::Context as _;

use super::{failure::Usage, limits::DATA_BYTES};
use crate::domain::text;

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

    /// The content as the bytes of a text, such as JSON: without the byte order mark that it may begin with.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is in UTF-16.
    pub fn document(&self) -> anyhow::Result<Vec<u8>> {
        unmarked(self.read()?, &self.to_string())
    }

    /// The content as text.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no text.
    pub fn text(&self) -> anyhow::Result<String> {
        let not_text = |_| Usage(format!("{self} is not text in UTF-8"));
        Ok(String::from_utf8(self.document()?).map_err(not_text)?)
    }
}

impl fmt::Display for Source<'_> {
    /// Never with the content, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::File(path) => f.write_str(path),
            Self::Inline(_) => f.write_str("what was given"),
        }
    }
}

/// A text's bytes without a byte order mark; `name` says whose.
///
/// # Errors
///
/// When it is in UTF-16.
pub fn unmarked(mut bytes: Vec<u8>, name: &str) -> anyhow::Result<Vec<u8>> {
    if text::is_utf16(&bytes) {
        return Err(Usage(format!("{name} {}", text::UTF16)).into());
    }
    let mark = bytes.len() - text::without_mark(&bytes).len();
    bytes.drain(..mark);
    Ok(bytes)
}

/// Reads a whole number within a range, and says the range of one that is none.
pub fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + fmt::Display + Clone,
{
    move |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let (least, most) = (range.start(), range.end());
        number.ok_or_else(|| format!("use a whole number; the range is {least} to {most}"))
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
    /// When the file cannot be read or is no text, or when it has characters that nobody sees. Never shows it.
    pub fn read(&self) -> anyhow::Result<String> {
        let source = Source::of(&self.0);
        let text = source.text()?;
        let secret = text.trim_end_matches(['\r', '\n']).to_owned();
        let name = match source {
            Source::Inline(_) => "the secret that was given".to_owned(),
            elsewhere => format!("the secret in {elsewhere}"),
        };
        let unseen = |rule| Usage(format!("{name} {rule}"));
        text::check_seen(&secret).map_err(unseen)?;
        Ok(secret)
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
    Source::of(argument).text()
}

/// Reads `NAME=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Reads `Name: value`; the value may be a token.
///
/// # Errors
///
/// Anything else; it is not shown.
pub fn header(text: &str) -> Result<(String, Secret), Usage> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().into())),
        _ => Err(Usage("--header must be \"Name: value\"".to_owned())),
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
    fn a_secret_loses_its_byte_order_mark_and_keeps_nothing_else_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s");
        let read = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            Secret::from(format!("@{}", file.display()).as_str()).read()
        };
        assert_eq!(
            read(b"\xef\xbb\xbfa shared secret\r\n").unwrap(),
            "a shared secret"
        );
        for bad in [
            &b"hunter2 \n"[..],
            b" hunter2",
            b"hunter\xe2\x80\x8b2",
            b"hunter\xc2\xa02",
            b"hunter\n2",
            b"h\0u\0n\0t\0e\0r\0",
            b"hunter2\xff",
        ] {
            let error = format!("{:#}", read(bad).unwrap_err());
            assert!(!error.contains("hunter") && error.contains("/s "), "{error}");
        }
        let given = Secret::from("hunter2 ").read().unwrap_err().to_string();
        assert!(
            given.contains("the secret that was given begins or ends"),
            "{given}"
        );
    }

    #[test]
    fn pairs_and_headers_keep_what_follows_the_first_separator() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(header("X-A: b:c ").unwrap(), ("X-A".to_owned(), "b:c".into()));
        assert!(pair("=b").is_err() && pair("a").is_err() && header(": b").is_err());
    }
}
