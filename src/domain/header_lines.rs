//! The header lines of a request or an answer as they are kept with an attempt: as many as fit into a bound.
//!
//! One run of bytes, so that an attempt costs one allocation and its record one copy, and few of them: most requests and
//! answers have the same names. A line begins with a byte:
//!
//! | byte | |
//! |---|---|
//! | 0 | the name follows: its length (1 byte) and its bytes; then the value |
//! | 1 to 95 | the name is that of this place in [`NAMES`]; the value follows |
//! | 96 to 127 | the whole line is that of this place in [`LINES`], from 96 |
//! | + 128 | as 0 to 95, for a value that is secret: nothing of it follows |
//!
//! A value is its length and its bytes. A length below 128 takes one byte. Otherwise it takes two, the high one first: the
//! highest bit is set, and the next one where only the beginning of the value is kept.
//!
//! The places in [`NAMES`] and [`LINES`] are persisted: append only.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// In a line's first byte: the value is secret.
const HIDDEN: u8 = 0x80;
/// The first of the first bytes that stand for whole lines.
const LINES_FROM: u8 = 96;
/// In a length of two bytes.
const LONG: u16 = 0x8000;
const CUT: u16 = 0x4000;
/// Bytes of one value that are kept, so that one long line does not crowd out all others.
const VALUE_BYTES: usize = 512;
/// Fewer bytes of a value than these tell nothing: such a line is left out.
const LEAST: usize = 16;

/// How a hidden value is shown.
pub const HIDDEN_VALUE: &str = "***";

/// Names that are mostly there, so that a line costs a byte for its name: the most frequent first.
const NAMES: [&str; 61] = [
    "content-type",
    "content-length",
    "date",
    "user-agent",
    "accept",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "host",
    "server",
    "connection",
    "cache-control",
    "authorization",
    "x-request-id",
    "vary",
    "etag",
    "via",
    "keep-alive",
    "transfer-encoding",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "x-powered-by",
    "set-cookie",
    "location",
    "retry-after",
    "alt-svc",
    "cf-ray",
    "cf-cache-status",
    "nel",
    "report-to",
    "x-amzn-trace-id",
    "x-amzn-requestid",
    "x-xss-protection",
    "content-security-policy",
    "referrer-policy",
    "permissions-policy",
    "access-control-allow-origin",
    "expires",
    "pragma",
    "last-modified",
    "age",
    "proxy-authorization",
    "svix-id",
    "svix-timestamp",
    "svix-signature",
    "x-hub-signature-256",
    "x-github-event",
    "x-github-delivery",
    "stripe-signature",
    "x-zm-request-timestamp",
    "x-zm-signature",
    "x-slack-request-timestamp",
    "x-slack-signature",
    "x-shopify-hmac-sha256",
    "x-convoy-signature",
    "ce-id",
    "ce-source",
    "ce-specversion",
    "ce-type",
    "ce-time",
];

/// Lines that are there as often.
const LINES: [(&str, &str); 10] = [
    ("content-type", "application/json"),
    ("accept", "*/*"),
    ("connection", "keep-alive"),
    ("connection", "close"),
    ("transfer-encoding", "chunked"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain; charset=utf-8"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-type", "text/html; charset=utf-8"),
    ("x-content-type-options", "nosniff"),
];

/// Header lines that are kept, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderLines {
    bytes: Vec<u8>,
    /// Lines are missing, or a part of a value.
    pub is_cut: bool,
}

impl HeaderLines {
    /// No lines yet, and room for some.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            is_cut: false,
        }
    }

    /// Bytes that the lines take.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds a line, as much of it as fits into `limit` bytes with those before it.
    pub fn push(&mut self, name: &str, value: &[u8], limit: usize) {
        if let Some(line) = whole_line(name, value)
            && self.bytes.len() < limit
        {
            self.bytes.push(line);
            return;
        }
        let Some(left) = self.left_behind(name, limit) else {
            self.is_cut = true;
            return;
        };
        if value.len() <= VALUE_BYTES && length_bytes(value.len()) + value.len() <= left {
            self.put(name, value, 0);
            return;
        }
        self.is_cut = true;
        // Of a part the length takes two bytes.
        let most = left.saturating_sub(2).min(VALUE_BYTES);
        if most >= LEAST {
            self.put(name, &value[..most.min(value.len())], CUT);
        }
    }

    /// Adds a line whose value is secret, if its name fits.
    pub fn push_hidden(&mut self, name: &str, limit: usize) {
        match self.left_behind(name, limit) {
            Some(_) => self.put_name(name, HIDDEN),
            None => self.is_cut = true,
        }
    }

    /// The lines: names and values as they are shown. A value that was cut ends with `…`.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        Lines(&self.bytes)
    }

    /// The bytes that are left behind another line's name.
    fn left_behind(&self, name: &str, limit: usize) -> Option<usize> {
        let spelled = if place(name).is_some() { 0 } else { 1 + name.len() };
        if name.len() > usize::from(u8::MAX) {
            return None;
        }
        limit.checked_sub(self.bytes.len() + 1 + spelled)
    }

    fn put_name(&mut self, name: &str, flag: u8) {
        match place(name) {
            Some(place) => self.bytes.push(place | flag),
            None => {
                self.bytes.extend([flag, name.len() as u8]);
                self.bytes.extend(name.as_bytes());
            }
        }
    }

    fn put(&mut self, name: &str, value: &[u8], flag: u16) {
        self.put_name(name, 0);
        let length = value.len() as u16;
        if flag == 0 && length_bytes(value.len()) == 1 {
            self.bytes.push(length as u8);
        } else {
            self.bytes.extend((LONG | flag | length).to_be_bytes());
        }
        self.bytes.extend(value);
    }
}

/// Bytes of the length of a value that is kept whole.
fn length_bytes(length: usize) -> usize {
    if length < 0x80 { 1 } else { 2 }
}

fn place(name: &str) -> Option<u8> {
    let at = NAMES.iter().position(|known| *known == name)?;
    Some(at as u8 + 1)
}

fn whole_line(name: &str, value: &[u8]) -> Option<u8> {
    let is_it = |line: &(&str, &str)| line.1.as_bytes() == value && line.0 == name;
    let at = LINES.iter().position(is_it)?;
    Some(at as u8 + LINES_FROM)
}

/// What is left to be read; bytes that are no line end it.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn name(&mut self, place: u8) -> Option<Cow<'a, str>> {
        if place > 0 {
            return NAMES.get(usize::from(place) - 1).map(|name| Cow::Borrowed(*name));
        }
        let length = self.byte()?;
        Some(String::from_utf8_lossy(self.take(length.into())?))
    }

    fn value(&mut self) -> Option<Cow<'a, str>> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(String::from_utf8_lossy(self.take(first.into())?));
        }
        let length = u16::from_be_bytes([first, self.byte()?]);
        let value = String::from_utf8_lossy(self.take(usize::from(length & !(LONG | CUT)))?);
        Some(if length & CUT == 0 { value } else { value + "…" })
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.byte()?;
        if (LINES_FROM..HIDDEN).contains(&first) {
            let (name, value) = LINES.get(usize::from(first - LINES_FROM))?;
            return Some((Cow::Borrowed(*name), Cow::Borrowed(*value)));
        }
        let name = self.name(first & !HIDDEN)?;
        let value = match first & HIDDEN {
            0 => self.value()?,
            _ => HIDDEN_VALUE.into(),
        };
        Some((name, value))
    }
}

impl Serialize for HeaderLines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Raw(&self.bytes), self.is_cut).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HeaderLines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (bytes, is_cut) = <(Bytes, bool)>::deserialize(deserializer)?;
        Ok(Self {
            bytes: bytes.into(),
            is_cut,
        })
    }
}

/// Bytes that are written at once, not one by one.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(lines: &HeaderLines) -> Vec<(String, String)> {
        lines
            .iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_read_as_they_were_kept_and_secrets_are_hidden() {
        let mut lines = HeaderLines::default();
        lines.push("content-type", b"application/json", 200);
        lines.push("content-type", b"text/x", 200);
        lines.push("x-shop", b"17", 200);
        lines.push_hidden("authorization", 200);
        lines.push_hidden("x-api-key", 200);
        lines.push("x-empty", b"", 200);
        assert!(!lines.is_cut);
        assert_eq!(
            shown(&lines),
            [
                pair("content-type", "application/json"),
                pair("content-type", "text/x"),
                pair("x-shop", "17"),
                pair("authorization", "***"),
                pair("x-api-key", "***"),
                pair("x-empty", ""),
            ]
        );
        // A byte for a known line, or a known name, and one for a short value's length.
        for (name, value, bytes) in [
            ("accept", "*/*", 1),
            ("date", "now", 5),
            ("x-a", "v", 7),
            ("date", &"d".repeat(127), 129),
            ("date", &"d".repeat(128), 131),
        ] {
            let mut line = HeaderLines::default();
            line.push(name, value.as_bytes(), 200);
            assert_eq!((line.len(), line.is_cut), (bytes, false), "{name}");
            assert_eq!(shown(&line), [pair(name, value)]);
        }
    }

    #[test]
    fn a_line_that_just_fits_is_kept_whole() {
        for length in [0, 1, 126, 127, 128, 129, VALUE_BYTES] {
            let value = "v".repeat(length);
            let mut whole = HeaderLines::default();
            whole.push("x-a", value.as_bytes(), usize::MAX);
            let mut fits = HeaderLines::default();
            fits.push("x-a", value.as_bytes(), whole.len());
            assert_eq!(fits, whole);
            let mut short = HeaderLines::default();
            short.push("x-a", value.as_bytes(), whole.len() - 1);
            assert!(short.is_cut && short.len() < whole.len(), "{length}");
        }
    }

    #[test]
    fn long_values_are_cut_and_what_does_not_fit_is_left_out() {
        let mut lines = HeaderLines::default();
        lines.push("server", &[b'x'; VALUE_BYTES + 1], 1024);
        assert_eq!(shown(&lines), [pair("server", &("x".repeat(VALUE_BYTES) + "…"))]);
        assert!(lines.is_cut);

        let mut lines = HeaderLines::default();
        lines.push("server", b"a", 40);
        lines.push("etag", &[b'e'; 100], 40);
        lines.push("vary", b"no room", 40);
        lines.push_hidden("x-key", 40);
        assert_eq!(
            shown(&lines),
            [pair("server", "a"), pair("etag", &("e".repeat(34) + "…"))]
        );
        assert!(lines.is_cut && lines.len() == 40);

        let mut lines = HeaderLines::default();
        lines.push(&"n".repeat(256), b"v", 1024);
        lines.push("etag", &[b'e'; 100], LEAST + 2);
        assert!(lines.is_empty() && lines.is_cut);
    }

    #[test]
    fn names_are_lower_case_and_each_has_one_place() {
        assert!(NAMES.len() < LINES_FROM.into() && LINES.len() <= (HIDDEN - LINES_FROM).into());
        for (name, value) in LINES {
            assert!(whole_line(name, value.as_bytes()).is_some() && place(name).is_some());
        }
        for (at, name) in NAMES.iter().enumerate() {
            assert_eq!(place(name), Some(at as u8 + 1), "{name}");
            assert_eq!(*name, name.to_ascii_lowercase());
        }
    }

    proptest! {
        #[test]
        fn a_bound_is_kept_whatever_comes(
            limit in 0..600_usize,
            given in prop::collection::vec(("[a-z-]{1,300}", prop::collection::vec(any::<u8>(), 0..700), any::<bool>()), 0..12),
        ) {
            let mut lines = HeaderLines::default();
            for (name, value, secret) in &given {
                if *secret { lines.push_hidden(name, limit) } else { lines.push(name, value, limit) }
            }
            prop_assert!(lines.len() <= limit);
            let shown = shown(&lines);
            prop_assert!(lines.is_cut || shown.len() == given.len());
            for (name, _) in shown {
                prop_assert!(given.iter().any(|(given, ..)| *given == name));
            }
        }

        #[test]
        fn damaged_lines_end_the_reading(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let lines = HeaderLines { bytes, is_cut: false };
            prop_assert!(lines.iter().count() <= 200);
        }
    }
}
