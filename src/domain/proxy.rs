//! Proxies on the way to receivers.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroize;

use super::{
    auth,
    endpoint_url::{EndpointUrl, InvalidUrl},
};

/// What stands in place of a proxy's credentials where it is shown.
pub const HIDDEN: &str = "***@";

/// An HTTP proxy, `http://[user:password@]host:port`. `Debug` and [`ProxyUrl::redacted`] hide its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    /// As it was written: a secret if it has credentials.
    text: String,
    url: EndpointUrl,
    authorization: Option<String>,
}

/// Why a text names no proxy. Never shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    #[error("not a proxy; write http://host:port, or http://user:password@host:port")]
    Form,
    #[error("names no port; write it, as in http://host:3128")]
    Port,
    #[error("has a path or a query, which no proxy has; end it after the port")]
    Path,
    #[error("has credentials that basic authentication cannot carry; percent-encode : @ / and % in them")]
    Credentials,
    #[error(transparent)]
    Url(#[from] InvalidUrl),
}

/// What an endpoint says of proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyChoice {
    /// None, also where the operator has set one for all: `"none"`, or `false`.
    Direct,
    Through(ProxyUrl),
}

impl ProxyUrl {
    /// The text with its credentials.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The proxy's address without the credentials.
    pub const fn url(&self) -> &EndpointUrl {
        &self.url
    }

    /// The value of the `Proxy-Authorization` header: a secret.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// The form for logs and pages.
    pub fn redacted(&self) -> String {
        let hidden = if self.authorization.is_some() { HIDDEN } else { "" };
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.rsplit('@').next().unwrap_or_default();
        format!("http://{hidden}{host}")
    }
}

/// By the text.
impl PartialOrd for ProxyUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.text.partial_cmp(&other.text)
    }
}

impl TryFrom<String> for ProxyUrl {
    type Error = InvalidProxy;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidProxy::Form)?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(InvalidProxy::Form);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !path.is_empty() && path != "/" {
            return Err(InvalidProxy::Path);
        }
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(credentials), host),
            None => (None, authority),
        };
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        if !has_port {
            return Err(InvalidProxy::Port);
        }
        let url = EndpointUrl::try_from(format!("http://{host}"))?;
        let authorization = credentials.map(authorization).transpose()?;
        Ok(Self {
            text,
            url,
            authorization,
        })
    }
}

impl std::str::FromStr for ProxyUrl {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

/// The header for `user:password`, each of them percent-decoded.
fn authorization(credentials: &str) -> Result<String, InvalidProxy> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let decode = |text: &str| decoded(text).ok_or(InvalidProxy::Credentials);
    let basic = auth::Auth::basic(decode(user)?, decode(password)?).map_err(|_| InvalidProxy::Credentials)?;
    basic.authorization().ok_or(InvalidProxy::Credentials)
}

/// The text that is percent-encoded, if it is, and is UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

impl Drop for ProxyUrl {
    fn drop(&mut self) {
        self.text.zeroize();
        self.authorization.zeroize();
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Serialize for ProxyChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Direct => "none",
            Self::Through(proxy) => proxy.expose(),
        })
    }
}

impl<'de> Deserialize<'de> for ProxyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;

        impl de::Visitor<'_> for Choice {
            type Value = ProxyChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a proxy as http://host:port, or \"none\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ProxyChoice, E> {
                if text == "none" {
                    return Ok(ProxyChoice::Direct);
                }
                text.parse().map(ProxyChoice::Through).map_err(E::custom)
            }

            fn visit_bool<E: de::Error>(self, wanted: bool) -> Result<ProxyChoice, E> {
                if wanted {
                    return Err(E::custom("true names no proxy; write http://host:port"));
                }
                Ok(ProxyChoice::Direct)
            }
        }

        deserializer.deserialize_any(Choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Result<ProxyUrl, InvalidProxy> {
        text.parse()
    }

    #[test]
    fn a_proxy_has_a_host_a_port_and_perhaps_credentials() {
        let plain = proxy("http://p.test:3128").unwrap();
        assert_eq!(
            (plain.url().authority(), plain.authorization()),
            ("p.test:3128", None)
        );
        assert_eq!(plain.redacted(), "http://p.test:3128");
        let with = proxy("http://Aladdin:open%20sesame@[::1]:80/").unwrap();
        assert_eq!(with.authorization(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert_eq!(
            (with.url().port(), with.redacted().as_str()),
            (80, "http://***@[::1]:80/")
        );
        assert!(!format!("{with:?} {:?}", ProxyChoice::Through(with.clone())).contains("sesame"));
        assert!(proxy("http://user@p.test:1").unwrap().authorization().is_some());
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_being_shown() {
        for (text, error) in [
            ("p.test:3128", InvalidProxy::Form),
            ("https://p.test:3128", InvalidProxy::Form),
            ("socks5://p.test:3128", InvalidProxy::Form),
            ("http://p.test", InvalidProxy::Port),
            ("http://hunter2:x@p.test", InvalidProxy::Port),
            ("http://p.test:", InvalidProxy::Port),
            ("http://p.test:1/x", InvalidProxy::Path),
            ("http://p.test:1?x", InvalidProxy::Path),
            ("http://hunter2%:x@p.test:1", InvalidProxy::Credentials),
            ("http://hunter2%0a:x@p.test:1", InvalidProxy::Credentials),
            ("http://p.test:0", InvalidProxy::Url(InvalidUrl::Port)),
            ("http://p.test:99999", InvalidProxy::Url(InvalidUrl::Port)),
            ("http://:3128", InvalidProxy::Url(InvalidUrl::Host)),
            ("http://a b:3128", InvalidProxy::Url(InvalidUrl::Unprintable)),
        ] {
            assert_eq!(proxy(text), Err(error), "{text}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn credentials_come_out_as_they_were_encoded(user in "[^:\\pC]{0,20}", password in "\\PC{0,20}") {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let text = format!("http://{}:{}@p.test:1", encode(&user), encode(&password));
            let expected = auth::basic_value(&user, &password);
            let proxy = proxy(&text).unwrap();
            proptest::prop_assert_eq!(proxy.authorization(), Some(expected.as_str()));
        }
    }

    #[test]
    fn an_endpoint_chooses_a_proxy_or_none() {
        let read = serde_json::from_str::<ProxyChoice>;
        assert_eq!(read("false").unwrap(), ProxyChoice::Direct);
        assert_eq!(read("\"none\"").unwrap(), ProxyChoice::Direct);
        assert_eq!(serde_json::to_string(&ProxyChoice::Direct).unwrap(), "\"none\"");
        let text = "\"http://u:p@p.test:3128\"";
        assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        for bad in ["true", "1", "\"\"", "\"direct\"", "{}"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
