//! How a request shows a receiver who sends it: with fixed credentials, or with a token that is fetched for them.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};
use zeroize::Zeroize;

use super::{endpoint_url::EndpointUrl, limits};

/// Credentials for the `Authorization` header.
///
/// Text form: `{"type":"basic","username":…,"password":…}`, `{"type":"bearer","token":…}`, or `{"type":"oauth2",…}`
/// with the members of [`ClientCredentials`].
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    Basic { username: String, password: String },
    Bearer { token: String },
    OAuth2(ClientCredentials),
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

/// What a token is fetched for: the client credentials grant (RFC 6749, 4.4).
///
/// Two values that are equal get the same tokens. The secret is wiped when dropped and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    pub token_url: EndpointUrl,
    pub client_id: ClientId,
    pub client_secret: ClientSecret,
    pub scopes: Vec<Scope>,
    pub audience: Option<Audience>,
    pub client_auth: ClientAuth,
}

/// How the client shows the token endpoint who it is (RFC 6749, 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// In the `Authorization` header, id and secret form-encoded as the RFC demands.
    #[default]
    Basic,
    /// As members of the form.
    Body,
}

macro_rules! text {
    ($(#[doc = $doc:literal])+ $name:ident, $rule:ident, $($derived:ident),*) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize, $($derived),*)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                $rule(&text)?;
                Ok(Self(text))
            }
        }
    };
}

text!(
    /// The name by which a token endpoint knows us: visible ASCII and spaces (RFC 6749, A.1).
    ClientId, is_client_text, Debug
);
text!(
    /// What proves it: visible ASCII and spaces (RFC 6749, A.2).
    ClientSecret, is_client_text,
);
text!(
    /// One scope that a token is asked for (RFC 6749, 3.3).
    Scope, is_scope, Debug
);
text!(
    /// For whom a token is asked for, where a token endpoint wants to know.
    Audience, is_audience, Debug
);

/// Why a text is no part of [`ClientCredentials`]. Never shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    #[error("use 1 to {} characters of visible ascii and spaces", limits::TEXT_BYTES)]
    Client,
    #[error(
        "not a scope; use 1 to {} characters of visible ascii without spaces, quotes and backslashes, \
         and an item of the list for each scope",
        limits::TEXT_BYTES
    )]
    Scope,
    #[error("use 1 to {} bytes without control characters", limits::URL_BYTES)]
    Audience,
}

fn is_client_text(text: &str) -> Result<(), InvalidText> {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (plain && (1..=limits::TEXT_BYTES).contains(&text.len()))
        .then_some(())
        .ok_or(InvalidText::Client)
}

fn is_scope(text: &str) -> Result<(), InvalidText> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (text.bytes().all(plain) && (1..=limits::TEXT_BYTES).contains(&text.len()))
        .then_some(())
        .ok_or(InvalidText::Scope)
}

fn is_audience(text: &str) -> Result<(), InvalidText> {
    let plain = !text.chars().any(char::is_control);
    (plain && (1..=limits::URL_BYTES).contains(&text.len()))
        .then_some(())
        .ok_or(InvalidText::Audience)
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

impl Drop for ClientSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oauth2 at {:?}", self.token_url)
    }
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

    /// The value of the `Authorization` header, a secret; `None` where it needs a token that has to be fetched first.
    pub fn authorization(&self) -> Option<String> {
        match self {
            Self::Basic { username, password } => Some(basic_value(username, password)),
            Self::Bearer { token } => Some(format!("Bearer {token}")),
            Self::OAuth2(_) => None,
        }
    }

    /// What tokens are fetched for, if they are.
    pub const fn oauth2(&self) -> Option<&ClientCredentials> {
        match self {
            Self::OAuth2(credentials) => Some(credentials),
            Self::Basic { .. } | Self::Bearer { .. } => None,
        }
    }

    /// The kind alone, for lists and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "basic",
            Self::Bearer { .. } => "bearer",
            Self::OAuth2(_) => "oauth2",
        }
    }
}

/// The value of a header that carries basic authentication (RFC 7617): a secret.
pub fn basic_value(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
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
            Self::OAuth2(_) => {}
        }
    }
}

/// The text form of any kind. Flat, so that what is wrong with a member is said of that member: with a tag inside the
/// object it would be read twice, and the member's name forgotten.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    #[serde(rename = "type")]
    kind: Option<Kind>,
    username: Option<String>,
    password: Option<String>,
    token: Option<String>,
    token_url: Option<EndpointUrl>,
    client_id: Option<ClientId>,
    client_secret: Option<ClientSecret>,
    scopes: Option<Vec<Scope>>,
    audience: Option<Audience>,
    client_auth: Option<ClientAuth>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Basic,
    Bearer,
    #[serde(rename = "oauth2")]
    OAuth2,
}

/// Why a document of members that hold one by one is none of credentials.
#[derive(Debug, thiserror::Error)]
enum Misfit {
    #[error("missing field `{0}`")]
    Missing(&'static str),
    #[error("`{0}` is no member of this type of auth; remove it")]
    Foreign(&'static str),
    #[error("give at most {} scopes", limits::SCOPES)]
    Scopes,
    #[error(transparent)]
    Invalid(#[from] InvalidAuth),
}

impl Document {
    /// Refuses members of another type.
    fn owns_all(&self, kind: Kind) -> Result<(), Misfit> {
        let members = [
            ("username", self.username.is_some(), Kind::Basic),
            ("password", self.password.is_some(), Kind::Basic),
            ("token", self.token.is_some(), Kind::Bearer),
            ("token_url", self.token_url.is_some(), Kind::OAuth2),
            ("client_id", self.client_id.is_some(), Kind::OAuth2),
            ("client_secret", self.client_secret.is_some(), Kind::OAuth2),
            ("scopes", self.scopes.is_some(), Kind::OAuth2),
            ("audience", self.audience.is_some(), Kind::OAuth2),
            ("client_auth", self.client_auth.is_some(), Kind::OAuth2),
        ];
        let foreign = members.iter().find(|(_, given, of)| *given && *of != kind);
        foreign.map_or(Ok(()), |(name, ..)| Err(Misfit::Foreign(name)))
    }

    fn into_auth(self) -> Result<Auth, Misfit> {
        let kind = self.kind.ok_or(Misfit::Missing("type"))?;
        self.owns_all(kind)?;
        let auth = match kind {
            Kind::Basic => Auth::basic(
                self.username.ok_or(Misfit::Missing("username"))?,
                self.password.ok_or(Misfit::Missing("password"))?,
            )?,
            Kind::Bearer => Auth::bearer(self.token.ok_or(Misfit::Missing("token"))?)?,
            Kind::OAuth2 => Auth::OAuth2(ClientCredentials {
                token_url: self.token_url.ok_or(Misfit::Missing("token_url"))?,
                client_id: self.client_id.ok_or(Misfit::Missing("client_id"))?,
                client_secret: self.client_secret.ok_or(Misfit::Missing("client_secret"))?,
                scopes: self.scopes.unwrap_or_default(),
                audience: self.audience,
                client_auth: self.client_auth.unwrap_or_default(),
            }),
        };
        match auth.oauth2() {
            Some(credentials) if credentials.scopes.len() > limits::SCOPES => Err(Misfit::Scopes),
            _ => Ok(auth),
        }
    }
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Document::deserialize(deserializer)?
            .into_auth()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Auth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("type", self.kind())?;
        match self {
            Self::Basic { username, password } => {
                members.serialize_entry("username", username)?;
                members.serialize_entry("password", password)?;
            }
            Self::Bearer { token } => members.serialize_entry("token", token)?,
            Self::OAuth2(credentials) => {
                members.serialize_entry("token_url", &credentials.token_url)?;
                members.serialize_entry("client_id", &credentials.client_id)?;
                members.serialize_entry("client_secret", &credentials.client_secret)?;
                members.serialize_entry("scopes", &credentials.scopes)?;
                if let Some(audience) = &credentials.audience {
                    members.serialize_entry("audience", audience)?;
                }
                members.serialize_entry("client_auth", &credentials.client_auth)?;
            }
        }
        members.end()
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
