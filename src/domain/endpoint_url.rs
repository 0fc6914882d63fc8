//! Where an endpoint listens.
//!
//! The WHATWG parser is kind: it drops tabs, turns backslashes into slashes and takes `http:host`. What it would
//! mend is refused here by looking at the text as it was written, so that what a person reads is what is
//! connected to. How it reads a host (`0x7f.1`, `①②⑦.0.0.1`) is its own affair: the address rules judge the result.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use url::{Host, Position, Url};

use super::{
    address::{AddressRules, Forbidden},
    limits,
};

/// An absolute `http` or `https` URL that can be connected to; cheap to clone.
///
/// Text form: as it was written. Equality is that of the text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointUrl(Arc<Parts>);

struct Parts {
    text: String,
    is_https: bool,
    host: Host<String>,
    port: u16,
    authority: String,
    path_and_query: String,
}

/// Why a text is not an endpoint URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("longer than {} bytes; shorten the url", limits::URL_BYTES)]
    TooLong,
    #[error("has white space or a control character; percent-encode it, as in %20")]
    Unprintable,
    #[error("has a backslash; write / or percent-encode it as %5C")]
    Backslash,
    #[error("does not begin with http:// or https:// and a host; write it whole")]
    Scheme,
    #[error("has user information before the host; set the endpoint's auth instead")]
    UserInfo,
    #[error("has a fragment, which is never sent; remove the # and what follows")]
    Fragment,
    #[error("has an unusable port; use 1 to 65535")]
    Port,
    #[error(
        "has an unusable host; use a name with labels of 1 to 63 characters, 253 in all, or an ip address"
    )]
    Host,
    #[error("has an unusable path or query; percent-encode its special characters")]
    Path,
}

/// Why a valid URL may not be sent to, as far as it can be said without resolving its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    #[error("is not https, which delivery.require_https demands; use an https url")]
    NotHttps,
    #[error("leads to an address that is not allowed")]
    Address(#[from] Forbidden),
}

const HOST_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

impl EndpointUrl {
    /// Checks what can be checked before the name is resolved: the scheme, blocked names, literal addresses.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn check_literal(&self, rules: &AddressRules, require_https: bool) -> Result<(), UrlRefused> {
        if require_https && !self.is_https() {
            return Err(UrlRefused::NotHttps);
        }
        match self.literal_ip() {
            Some(ip) => rules.check_socket(SocketAddr::new(ip, self.port()))?,
            None => rules.check_name(&self.host_name())?,
        }
        Ok(())
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    pub fn is_https(&self) -> bool {
        self.0.is_https
    }

    /// The address, when the host is written as one.
    pub fn literal_ip(&self) -> Option<IpAddr> {
        match self.0.host {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }

    /// The host as it is resolved and named in TLS: lowercase ASCII, without brackets.
    pub fn host_name(&self) -> String {
        match &self.0.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        }
    }

    /// The port, the scheme's own when none is written.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Whether both lead to the same host and port by the same scheme.
    pub fn is_of_same_server(&self, other: &Self) -> bool {
        let (ours, theirs) = (&*self.0, &*other.0);
        ours.port == theirs.port && ours.is_https == theirs.is_https && ours.host == theirs.host
    }

    /// Host and port as the `Host` header has them; without a port when it is the scheme's own.
    pub fn authority(&self) -> &str {
        &self.0.authority
    }

    /// What the request line asks for: the path and the query, percent-encoded.
    pub fn path_and_query(&self) -> &str {
        &self.0.path_and_query
    }

    /// The same URL with one more pair in its query, percent-encoded. It may be longer than one that is written.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let joint = if self.0.path_and_query.contains('?') {
            '&'
        } else {
            '?'
        };
        // Spaces as %20, which readers of queries and of forms both take for a space.
        let encoded = |text: &str| {
            url::form_urlencoded::byte_serialize(text.as_bytes())
                .collect::<String>()
                .replace('+', "%20")
        };
        let path_and_query = format!(
            "{}{joint}{}={}",
            self.0.path_and_query,
            encoded(name),
            encoded(value)
        );
        let scheme = if self.is_https() { "https" } else { "http" };
        Self(Arc::new(Parts {
            text: format!("{scheme}://{}{path_and_query}", self.0.authority),
            is_https: self.0.is_https,
            host: self.0.host.clone(),
            port: self.0.port,
            authority: self.0.authority.clone(),
            path_and_query,
        }))
    }

    /// What is asked for, without the values in the query, which may be tokens.
    pub fn without_query_values(&self) -> String {
        let scheme = if self.is_https() { "https" } else { "http" };
        let asked = &self.0.path_and_query;
        let (path, query) = asked.split_once('?').unwrap_or((asked, ""));
        let mut shown = format!("{scheme}://{}{path}", self.0.authority);
        for (place, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            shown.push(if place == 0 { '?' } else { '&' });
            if let Some((name, _)) = pair.split_once('=') {
                shown.push_str(name);
                shown.push('=');
            }
            shown.push_str("***");
        }
        shown
    }

    /// The form for logs: without the path and the query, which may hold tokens.
    pub fn redacted(&self) -> String {
        let scheme = if self.is_https() { "https" } else { "http" };
        format!("{scheme}://{}", self.0.authority)
    }
}

impl TryFrom<String> for EndpointUrl {
    type Error = InvalidUrl;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        check_text(&text)?;
        let url = Url::parse(&text).map_err(parse_error)?;
        let host = url.host().ok_or(InvalidUrl::Host)?.to_owned();
        check_host(&host)?;
        let port = url
            .port_or_known_default()
            .filter(|&port| port != 0)
            .ok_or(InvalidUrl::Port)?;
        let path_and_query = url[Position::BeforePath..Position::AfterQuery].to_owned();
        path_and_query
            .parse::<http::uri::PathAndQuery>()
            .map_err(|_| InvalidUrl::Path)?;
        let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
        authority
            .parse::<http::uri::Authority>()
            .map_err(|_| InvalidUrl::Host)?;
        let is_https = url.scheme() == "https";
        Ok(Self(Arc::new(Parts {
            is_https,
            host,
            port,
            authority,
            path_and_query,
            text,
        })))
    }
}

impl std::str::FromStr for EndpointUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<EndpointUrl> for String {
    fn from(url: EndpointUrl) -> Self {
        url.0.text.clone()
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for EndpointUrl {
    /// The redacted form: a debug line is a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl PartialEq for EndpointUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for EndpointUrl {}

/// The rules about the text as written, which the parser would mend in silence.
fn check_text(text: &str) -> Result<(), InvalidUrl> {
    if text.len() > limits::URL_BYTES {
        return Err(InvalidUrl::TooLong);
    }
    if text.chars().any(is_unprintable) {
        return Err(InvalidUrl::Unprintable);
    }
    if text.contains('\\') {
        return Err(InvalidUrl::Backslash);
    }
    let rest = strip_scheme(text).ok_or(InvalidUrl::Scheme)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(InvalidUrl::Scheme);
    }
    if authority.contains('@') {
        return Err(InvalidUrl::UserInfo);
    }
    if rest.contains('#') {
        return Err(InvalidUrl::Fragment);
    }
    Ok(())
}

fn strip_scheme(text: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let (head, rest) = text.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// White space, controls, and the marks that make text read in another order than it is.
fn is_unprintable(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn check_host(host: &Host<String>) -> Result<(), InvalidUrl> {
    let Host::Domain(name) = host else { return Ok(()) };
    let name = name.strip_suffix('.').unwrap_or(name);
    let labels_fit = name
        .split('.')
        .all(|label| (1..=LABEL_BYTES).contains(&label.len()));
    if labels_fit && name.len() <= HOST_BYTES {
        Ok(())
    } else {
        Err(InvalidUrl::Host)
    }
}

fn parse_error(error: url::ParseError) -> InvalidUrl {
    match error {
        url::ParseError::InvalidPort => InvalidUrl::Port,
        url::ParseError::RelativeUrlWithoutBase => InvalidUrl::Scheme,
        // All the others are about the host.
        _ => InvalidUrl::Host,
    }
}

#[cfg(test)]
#[path = "endpoint_url_tests.rs"]
mod tests;
