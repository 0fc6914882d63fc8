//! The client credentials grant (RFC 6749, 4.4): what a token endpoint is asked, and what it answers.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue, USER_AGENT},
};
use serde::Deserialize;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::request::{AGENT, OutboundRequest, secret_value};
use crate::domain::{
    auth::{ClientAuth, ClientCredentials, basic_value},
    limits,
};

/// A token's life where the answer does not say: short, since a token that is refused is fetched anew anyway.
const LIFETIME: Duration = Duration::from_secs(300);
/// What is believed of a longer life.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A token as it was given; `Debug` hides it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The value of the `Authorization` header.
    pub authorization: HeaderValue,
    /// How long it may be used, from when it was asked for.
    pub lifetime: Duration,
}

/// An answer that holds no token that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token endpoint's answer holds no usable bearer token")]
pub struct NoToken;

/// Why a token endpoint gave no token, in the words of RFC 6749, 5.2: fixed texts, safe to keep and show.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// The request for a token. Holds secrets.
///
/// # Errors
/// Credentials that no header can carry, which those that exist are not.
pub fn request(credentials: &ClientCredentials) -> Result<OutboundRequest, InvalidHeaderValue> {
    let (id, secret) = (credentials.client_id.as_str(), credentials.client_secret.as_str());
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !credentials.scopes.is_empty() {
        let scopes: Vec<&str> = credentials.scopes.iter().map(|scope| scope.as_str()).collect();
        form.append_pair("scope", &scopes.join(" "));
    }
    if let Some(audience) = &credentials.audience {
        form.append_pair("audience", audience.as_str());
    }
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    match credentials.client_auth {
        ClientAuth::Basic => {
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let value = basic_value(&encoded(id), &encoded(secret));
            headers.insert(AUTHORIZATION, secret_value(&value)?);
        }
        ClientAuth::Body => {
            form.append_pair("client_id", id)
                .append_pair("client_secret", secret);
        }
    }
    Ok(OutboundRequest {
        method: Method::POST,
        url: credentials.token_url.clone(),
        headers,
        body: Bytes::from(form.finish()),
    })
}

/// Reads the body of a successful answer (RFC 6749, 5.1).
///
/// # Errors
/// When it holds no token of the type `Bearer`, or `BearerToken`, as some call it.
pub fn read(body: &[u8]) -> Result<Grant, NoToken> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
        token_type: Option<String>,
        expires_in: Option<Seconds>,
    }

    let answer: Answer = serde_json::from_slice(body).map_err(|_| NoToken)?;
    let is_bearer = answer.token_type.is_none_or(|kind| {
        // The second is what Apigee, and gateways made with it, answer.
        ["bearer", "bearertoken"].contains(&kind.to_ascii_lowercase().as_str())
    });
    let token = answer.access_token;
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_bearer || !is_plain || token.is_empty() || token.len() > limits::TOKEN_BYTES {
        return Err(NoToken);
    }
    let authorization = secret_value(&format!("Bearer {token}")).map_err(|_| NoToken)?;
    let lifetime = match answer.expires_in.map(Seconds::into_secs) {
        None => LIFETIME,
        Some(seconds) => Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64())),
    };
    Ok(Grant {
        authorization,
        lifetime,
    })
}

/// Some write the number as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn into_secs(self) -> f64 {
        let seconds = match self {
            Self::Number(number) => number,
            Self::Text(text) => text.trim().parse().unwrap_or(LIFETIME.as_secs_f64()),
        };
        if seconds.is_nan() { 0.0 } else { seconds }
    }
}

/// Which of the RFC's errors a refusal's body names.
pub fn error(body: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }

    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    ERRORS.into_iter().find(|known| *known == refusal.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::auth::Auth;

    fn asked(extra: &str) -> OutboundRequest {
        let text = format!(
            r#"{{"type":"oauth2","token_url":"https://id.test/t","client_id":"a:b c","client_secret":"s+/%~"{extra}}}"#
        );
        let auth: Auth = serde_json::from_str(&text).unwrap();
        request(auth.oauth2().unwrap()).unwrap()
    }

    #[test]
    fn the_client_says_who_it_is_in_the_header_or_in_the_form() {
        let basic = asked("");
        // `a%3Ab+c:s%2B%2F%25%7E`, as RFC 6749, 2.3.1 and appendix B have it.
        assert_eq!(
            basic.headers["authorization"],
            "Basic YSUzQWIrYzpzJTJCJTJGJTI1JTdF"
        );
        assert_eq!(&basic.body[..], b"grant_type=client_credentials");
        let body = asked(r#","client_auth":"body","scopes":["x","y:z"],"audience":"https://h.test/""#);
        assert!(!body.headers.contains_key("authorization"));
        assert_eq!(
            std::str::from_utf8(&body.body).unwrap(),
            "grant_type=client_credentials&scope=x+y%3Az&audience=https%3A%2F%2Fh.test%2F\
             &client_id=a%3Ab+c&client_secret=s%2B%2F%25%7E"
        );
        assert!(!format!("{:?}", basic.headers).contains("YSUz"));
    }

    #[test]
    fn an_answer_holds_a_token_and_its_life() {
        let life = |text: &str| read(text.as_bytes()).unwrap().lifetime.as_secs();
        let with = |expires: &str| format!(r#"{{"access_token":"t","token_type":"bearer"{expires}}}"#);
        for (expires, seconds) in [
            (r#","expires_in":3600"#, 3600),
            (r#","expires_in":"3599""#, 3599),
            (r#","expires_in":59.9"#, 59),
            (r#","expires_in":0"#, 0),
            (r#","expires_in":-5"#, 0),
            (r#","expires_in":1e30"#, 86_400),
            (r#","expires_in":"soon""#, 300),
            (r#","expires_in":null"#, 300),
            ("", 300),
        ] {
            assert_eq!(life(&with(expires)), seconds, "{expires}");
        }
        for name in ["Bearer", "bearer", "BearerToken", "bearertoken"] {
            let answer = format!(r#"{{"access_token":"hunter2","token_type":"{name}","scope":"x"}}"#);
            let grant = read(answer.as_bytes()).unwrap();
            assert_eq!(grant.authorization, "Bearer hunter2", "{name}");
        }
        let grant = read(br#"{"access_token":"hunter2"}"#).unwrap();
        assert!(!format!("{grant:?}").contains("hunter"));
    }

    #[test]
    fn what_is_no_bearer_token_is_refused() {
        let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(limits::TOKEN_BYTES + 1));
        for text in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a b"}"#,
            r#"{"access_token":"a\r\nx: y"}"#,
            r#"{"access_token":"é"}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"t","token_type":"mac"}"#,
            r#"{"access_token":"t","token_type":"BearerTokens"}"#,
            r#"{"access_token":"t","expires_in":{}}"#,
            &long,
        ] {
            assert_eq!(read(text.as_bytes()).map(|_| ()), Err(NoToken), "{text:.40}");
        }
    }

    #[test]
    fn of_a_refusal_only_the_words_of_the_rfc_are_kept() {
        assert_eq!(
            error(br#"{"error":"invalid_client","error_description":"no such client hunter2"}"#),
            Some("invalid_client")
        );
        for other in [&b"nope"[..], br#"{"error":"hunter2"}"#, br#"{"error":{"a":1}}"#] {
            assert_eq!(error(other), None);
        }
    }
}
