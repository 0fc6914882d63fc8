//! The request of one attempt.
//!
//! Who may set which header: an endpoint's own headers may replace `User-Agent`, `Accept` and `Content-Type`, since
//! some receivers insist on theirs, and `Authorization` where the endpoint has no credentials. Everything else of
//! ours, the signatures above all, is written last and wins.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, InvalidHeaderName, InvalidHeaderValue, USER_AGENT},
};

use super::{
    encoding::{self, EncodeError, Encoding},
    envelope::{Document, Envelope, EventParts, Payload},
    signature::{Scheme, SignError, Signable},
    transform::{self, TransformError},
};
use crate::domain::{
    auth::Auth, endpoint_url::EndpointUrl, facts::Facts, headers::CustomHeaders, secret::SigningSecret,
    time::Timestamp,
};

/// Any answer will do. Web application firewalls refuse requests that do not say so (OWASP core rule 920300).
const ANY: HeaderValue = HeaderValue::from_static("*/*");

pub(super) const AGENT: &str = concat!("posthaste/", env!("CARGO_PKG_VERSION"));

/// A request, complete but for what belongs to the connection: `Host`, `Content-Length`.
#[derive(Clone)]
pub struct OutboundRequest {
    /// POST, but for handshakes that ask by another.
    pub method: Method,
    pub url: EndpointUrl,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What the endpoint wants of a request.
#[derive(Clone, Copy, Debug)]
pub struct EndpointParts<'a> {
    pub url: &'a EndpointUrl,
    pub headers: &'a CustomHeaders,
    pub auth: Option<&'a Auth>,
    pub envelope: Envelope,
    pub encoding: Encoding,
    /// Bytes that a body may have in another encoding than JSON.
    pub encoded_limit: usize,
    pub signatures: &'a [Signing<'a>],
}

impl EndpointParts<'_> {
    /// The document in the endpoint's encoding; JSON is sent as it was written, but for a scheme whose receivers sign
    /// what JavaScript makes of it.
    fn encode(&self, document: Document) -> Result<Document, EncodeError> {
        let document = self.encoding.encode(document, self.encoded_limit)?;
        let is_stringified = self
            .signatures
            .iter()
            .any(|signing| signing.scheme.is_stringified());
        if self.encoding != Encoding::Json || !is_stringified {
            return Ok(document);
        }
        match encoding::stringify(&document.body) {
            Ok(text) => Ok(Document {
                body: text.into(),
                ..document
            }),
            // What a transform gives need not be JSON.
            Err(EncodeError::NotJson(_)) => Ok(document),
            Err(error) => Err(error),
        }
    }
}

/// A scheme and the secrets it signs with, newest first.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    pub scheme: Scheme,
    pub secrets: &'a [SigningSecret],
}

/// Why a request could not be made. Never names a value.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the request could not be signed")]
    Sign(#[from] SignError),
    #[error("the event cannot be written in the endpoint's encoding")]
    Encode(#[from] EncodeError),
    #[error("the endpoint's transform gives no body")]
    Transform(#[from] TransformError),
    #[error("a header value that cannot be sent")]
    Value(#[from] InvalidHeaderValue),
    #[error("a header name that cannot be sent")]
    Name(#[from] InvalidHeaderName),
}

impl OutboundRequest {
    /// Makes the request of an attempt that is made at `at`.
    ///
    /// # Errors
    /// A secret that does not fit its scheme, a document that its encoding cannot carry, or text that no header can.
    pub fn build(
        event: &EventParts<'_>,
        endpoint: &EndpointParts<'_>,
        at: Timestamp,
    ) -> Result<Self, BuildError> {
        let document = endpoint.envelope.wrap(event);
        let document = match event.payload {
            Payload::Json(_) => endpoint.encode(document)?,
            Payload::Bytes { .. } => document,
        };
        Self::around(document, event, endpoint, at)
    }

    /// Makes the request of an attempt whose body is what a transform gives, in place of the envelope.
    ///
    /// # Errors
    /// As [`build`](Self::build), and when the transform gives no body for this event.
    pub fn transformed(
        transform: &str,
        facts: &Facts<'_>,
        event: &EventParts<'_>,
        endpoint: &EndpointParts<'_>,
        at: Timestamp,
    ) -> Result<Self, BuildError> {
        let json = Document::json(transform::render(transform, facts)?);
        Self::around(endpoint.encode(json)?, event, endpoint, at)
    }

    fn around(
        document: Document,
        event: &EventParts<'_>,
        endpoint: &EndpointParts<'_>,
        at: Timestamp,
    ) -> Result<Self, BuildError> {
        let mut headers = HeaderMap::with_capacity(endpoint.headers.len() + document.headers.len() + 9);
        if let Some(content_type) = document.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::try_from(content_type)?);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, ANY);
        for (name, value) in endpoint.headers.iter() {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, secret_value(value)?);
        }
        for (name, value) in document.headers {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        if let Some(auth) = endpoint.auth {
            // A token is put in when it has been fetched.
            headers.remove(AUTHORIZATION);
            if let Some(value) = auth.authorization() {
                headers.insert(AUTHORIZATION, secret_value(&value)?);
            }
        }
        let what = Signable {
            id: event.id,
            event_type: event.event_type,
            at,
            body: &document.body,
        };
        if endpoint.signatures.is_empty() {
            // Unsigned, a receiver must still be able to tell a repeat.
            headers.insert(
                HeaderName::from_static("webhook-id"),
                HeaderValue::from_str(event.id)?,
            );
            headers.insert(
                HeaderName::from_static("webhook-timestamp"),
                HeaderValue::from(at.as_secs()),
            );
        }
        for signing in endpoint.signatures {
            signing.scheme.sign(signing.secrets, &what, &mut headers)?;
        }
        Ok(Self {
            method: Method::POST,
            url: endpoint.url.clone(),
            headers,
            body: document.body,
        })
    }

    /// Whether the request has to say how long its body is, if only that it is empty: a method that is expected to have
    /// a body says so even without one (RFC 9110, 8.6), or some receivers answer 411.
    pub fn states_length(&self) -> bool {
        !self.body.is_empty() || matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
    }

    /// The whole request as HTTP/1.1 carries it, byte for byte: what `preview` shows. Holds secrets.
    pub fn http1_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.url.path_and_query()).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(format!("host: {}\r\n", self.url.authority()).as_bytes());
        if self.states_length() {
            bytes.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A value that `Debug` does not show and HTTP/2 does not index.
pub(super) fn secret_value(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;

    fn custom(fields: &[(&str, &str)]) -> CustomHeaders {
        CustomHeaders::new(
            fields
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned())),
        )
        .unwrap()
    }

    fn build(headers: &CustomHeaders, auth: Option<&Auth>, signatures: &[Signing<'_>]) -> OutboundRequest {
        let url = "https://h.test/hook?x=1".parse().unwrap();
        let event = EventParts {
            id: "evt_1",
            event_type: "user.created",
            occurred_at: Timestamp::from_millis(1_614_265_330_000),
            attributes: &BTreeMap::new(),
            default_source: "/posthaste",
            payload: &Payload::Json(Bytes::from_static(br#"{"a":1}"#)),
        };
        let endpoint = EndpointParts {
            url: &url,
            headers,
            auth,
            envelope: Envelope::Standard,
            encoding: Encoding::Json,
            encoded_limit: 1024,
            signatures,
        };
        OutboundRequest::build(&event, &endpoint, Timestamp::from_millis(1_614_265_331_999)).unwrap()
    }

    #[test]
    fn the_signature_covers_the_bytes_that_are_sent() {
        let secrets = [SigningSecret::generate([1; 32])];
        let signing = [Signing {
            scheme: Scheme::Standard,
            secrets: &secrets,
        }];
        let request = build(&CustomHeaders::default(), None, &signing);
        let now = Timestamp::from_millis(1_614_265_332_000);
        let verified = Scheme::Standard.verify(
            &secrets,
            &request.headers,
            &request.body,
            now,
            Duration::from_secs(300),
        );
        assert_eq!(verified, Ok(()));
        assert_eq!(request.headers["webhook-id"], "evt_1");
        assert_eq!(request.headers["webhook-timestamp"], "1614265331");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(
            request.headers["user-agent"],
            concat!("posthaste/", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(request.headers["accept"], "*/*");
        let body = br#"{"type":"user.created","timestamp":"2021-02-25T15:02:10.000Z","data":{"a":1}}"#;
        assert_eq!(&request.body[..], body);
    }

    #[test]
    fn several_schemes_sign_the_same_bytes() {
        let standard = [SigningSecret::generate([1; 32])];
        let github = [SigningSecret::raw("s".to_owned()).unwrap()];
        let signing = [
            Signing {
                scheme: Scheme::Standard,
                secrets: &standard,
            },
            Signing {
                scheme: Scheme::Github,
                secrets: &github,
            },
        ];
        let request = build(&CustomHeaders::default(), None, &signing);
        let now = Timestamp::from_millis(1_614_265_332_000);
        for Signing { scheme, secrets } in signing {
            let verified = scheme.verify(
                secrets,
                &request.headers,
                &request.body,
                now,
                Duration::from_secs(300),
            );
            assert_eq!(verified, Ok(()), "{scheme:?}");
        }
    }

    #[test]
    fn an_endpoint_may_replace_the_agent_and_the_media_types_but_no_signature() {
        let secrets = [SigningSecret::raw("s".to_owned()).unwrap()];
        let signing = [Signing {
            scheme: Scheme::Github,
            secrets: &secrets,
        }];
        let own = custom(&[
            ("User-Agent", "mine"),
            ("Accept", "application/json"),
            ("Content-Type", "text/x"),
            ("X-Hub-Signature-256", "forged"),
        ]);
        let request = build(&own, None, &signing);
        assert_eq!(
            (&request.headers["user-agent"], &request.headers["content-type"]),
            (
                &HeaderValue::from_static("mine"),
                &HeaderValue::from_static("text/x")
            )
        );
        let accepts: Vec<_> = request.headers.get_all("accept").iter().collect();
        assert_eq!(accepts, ["application/json"]);
        assert_ne!(request.headers["x-hub-signature-256"], "forged");
        assert_eq!(request.headers.get_all("user-agent").iter().count(), 1);
    }

    #[test]
    fn a_length_is_stated_where_a_body_is_expected_or_there() {
        let mut request = build(&CustomHeaders::default(), None, &[]);
        let states = |request: &OutboundRequest| {
            let text = String::from_utf8(request.http1_bytes()).unwrap();
            text.contains("\r\ncontent-length: ")
        };
        for (method, body, expected) in [
            (Method::POST, "{}", true),
            (Method::POST, "", true),
            (Method::PUT, "", true),
            (Method::OPTIONS, "{}", true),
            (Method::OPTIONS, "", false),
            (Method::GET, "", false),
        ] {
            (request.method, request.body) = (method, Bytes::from_static(body.as_bytes()));
            assert_eq!(states(&request), expected, "{} {body:?}", request.method);
        }
    }

    #[test]
    fn credentials_win_over_a_custom_authorization_and_debug_shows_neither() {
        let own = custom(&[("Authorization", "Token hunter1"), ("X-Key", "hunter2")]);
        assert_eq!(build(&own, None, &[]).headers["authorization"], "Token hunter1");
        let auth = Auth::bearer("hunter3".to_owned()).unwrap();
        let request = build(&own, Some(&auth), &[]);
        assert_eq!(request.headers["authorization"], "Bearer hunter3");
        assert!(!format!("{:?}", request.headers).contains("hunter"));
        assert_eq!(
            request.headers["webhook-id"], "evt_1",
            "unsigned, a repeat can still be told"
        );
        assert!(!request.headers.contains_key("webhook-signature"));
    }
}
