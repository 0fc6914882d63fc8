//! Headers and credentials that an endpoint adds to every request.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};
use zeroize::Zeroize;

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

/// Credentials for the `Authorization` header.
///
/// Text form: `{"type":"basic","username":…,"password":…}` or `{"type":"bearer","token":…}`. Binary form: the
/// username, absent for a token, and the password or token.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    Basic { username: String, password: String },
    Bearer { token: String },
}

/// Why credentials may not be used. Never names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuth {
    #[error("the username has a colon or a control character, which basic authentication cannot carry")]
    Username,
    #[error("the password has a control character, which basic authentication cannot carry")]
    Password,
    #[error("the token is empty or not visible ascii without spaces")]
    Token,
    #[error("longer than {} bytes; shorten it", limits::HEADER_VALUE_BYTES)]
    TooLong,
}

/// The text form, unchecked. A tag inside the object needs a format that describes itself, so the binary form
/// is another.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Tagged<Text> {
    Basic { username: Text, password: Text },
    Bearer { token: Text },
}

impl Auth {
    /// # Errors
    /// A colon in the username (RFC 7617), or a control character in either.
    pub fn basic(username: String, password: String) -> Result<Self, InvalidAuth> {
        if username
            .chars()
            .any(|letter| letter == ':' || letter.is_control())
        {
            return Err(InvalidAuth::Username);
        }
        if password.chars().any(char::is_control) {
            return Err(InvalidAuth::Password);
        }
        // Base64 makes four of three.
        if (username.len() + password.len() + 1) / 3 * 4 + 16 > limits::HEADER_VALUE_BYTES {
            return Err(InvalidAuth::TooLong);
        }
        Ok(Self::Basic { username, password })
    }

    /// # Errors
    /// A token that is empty, too long or not visible ASCII.
    pub fn bearer(token: String) -> Result<Self, InvalidAuth> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidAuth::Token);
        }
        if token.len() + 16 > limits::HEADER_VALUE_BYTES {
            return Err(InvalidAuth::TooLong);
        }
        Ok(Self::Bearer { token })
    }

    /// The value of the `Authorization` header: a secret.
    pub fn authorization(&self) -> String {
        match self {
            Self::Basic { username, password } => {
                format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
            }
            Self::Bearer { token } => format!("Bearer {token}"),
        }
    }

    /// The kind alone, for lists and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "basic",
            Self::Bearer { .. } => "bearer",
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Drop for Auth {
    fn drop(&mut self) {
        match self {
            Self::Basic { password, .. } => password.zeroize(),
            Self::Bearer { token } => token.zeroize(),
        }
    }
}

impl Serialize for Auth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let people_read_it = serializer.is_human_readable();
        match self {
            Self::Basic { username, password } if people_read_it => Tagged::Basic {
                username: username.as_str(),
                password: password.as_str(),
            }
            .serialize(serializer),
            Self::Bearer { token } if people_read_it => Tagged::Bearer {
                token: token.as_str(),
            }
            .serialize(serializer),
            Self::Basic { username, password } => (Some(username), password).serialize(serializer),
            Self::Bearer { token } => (None::<String>, token).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tagged = if deserializer.is_human_readable() {
            Tagged::deserialize(deserializer)?
        } else {
            match <(Option<String>, String)>::deserialize(deserializer)? {
                (Some(username), password) => Tagged::Basic { username, password },
                (None, token) => Tagged::Bearer { token },
            }
        };
        match tagged {
            Tagged::Basic { username, password } => Self::basic(username, password),
            Tagged::Bearer { token } => Self::bearer(token),
        }
        .map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
