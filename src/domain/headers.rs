//! Headers that an endpoint adds to every request.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::limits;

/// An endpoint's own header fields, in the order they were given.
///
/// Names are tokens (RFC 9110, 5.6.2) outside the refused table; values are visible ASCII with inner spaces.
/// Text form: a JSON object. Values are treated as secrets: `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CustomHeaders(Vec<(String, String)>);

/// Why a header may not be set. Never names the value, which may be a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    #[error("more than {} headers; remove some", limits::ENDPOINT_HEADERS)]
    TooMany,
    #[error("not a header name; use letters, digits and any of !#$%&'*+-.^_`|~")]
    Name,
    #[error("header {0} is set by the server; remove it")]
    Refused(String),
    #[error("header {0} is given twice; keep one")]
    Twice(String),
    #[error(
        "the value of header {0} is not visible ascii with single lines; remove spaces at its ends and controls"
    )]
    Value(String),
    #[error("the value of header {0} is longer than {max} bytes; shorten it", max = limits::HEADER_VALUE_BYTES)]
    TooLong(String),
}

/// Names that frame the request, belong to one hop, or are ours. A name that ends in `-` stands for all that
/// begin so.
const REFUSED: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "http2-settings",
    "proxy-",
    "webhook-",
];

impl CustomHeaders {
    /// Checks and takes header fields.
    ///
    /// # Errors
    /// The first rule that one of them breaks.
    pub fn new(fields: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidHeader> {
        let mut headers = Self::default();
        fields
            .into_iter()
            .try_for_each(|(name, value)| headers.push(name, value))?;
        Ok(headers)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, name: String, value: String) -> Result<(), InvalidHeader> {
        if self.0.len() == limits::ENDPOINT_HEADERS {
            return Err(InvalidHeader::TooMany);
        }
        check_name(&name)?;
        if self.0.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            return Err(InvalidHeader::Twice(name));
        }
        if value.len() > limits::HEADER_VALUE_BYTES {
            return Err(InvalidHeader::TooLong(name));
        }
        if !is_plain_value(&value) {
            return Err(InvalidHeader::Value(name));
        }
        self.0.push((name, value));
        Ok(())
    }
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Serialize for CustomHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for CustomHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = CustomHeaders;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of header names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = CustomHeaders::default();
                while let Some((name, value)) = map.next_entry()? {
                    headers.push(name, value).map_err(A::Error::custom)?;
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

fn check_name(name: &str) -> Result<(), InvalidHeader> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > limits::TEXT_BYTES || !name.bytes().all(is_token) {
        return Err(InvalidHeader::Name);
    }
    let lower = name.to_ascii_lowercase();
    let refuses = |refused: &str| lower == refused || (refused.ends_with('-') && lower.starts_with(refused));
    if REFUSED.iter().any(|refused| refuses(refused)) {
        return Err(InvalidHeader::Refused(name.to_owned()));
    }
    Ok(())
}

/// Visible ASCII, and spaces that are not at an end. Stricter than the http crate, which takes tabs, a leading
/// space and bytes past ASCII, on which receivers do not agree.
fn is_plain_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim_matches(' ').len() == value.len()
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
