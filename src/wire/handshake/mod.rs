//! Handshakes: what is sent to ask an endpoint for its proof, and which answer is one. Pure.
//!
//! # The flow
//!
//! Each file makes the [`Challenge`]s of one vendor or specification: method, body, query, headers, and what the
//! answer has to be. [`Challenge::request`] puts it together as any other request of the endpoint is, with its URL,
//! credentials, headers and signatures. [`Challenge::judge`] reads the answer.
//!
//! # What it guarantees
//!
//! What is compared with a secret, or with what was made of one, is compared in constant time. An answer that proves
//! nothing says why in words that hold nothing of what was sent.
//!
//! # What it does not
//!
//! Whether an answer that is no proof may become one later is the affair of [`crate::domain::verification`].

mod cloudevents;
mod microsoft_graph;
mod ping;
mod slack;
mod ziggeo;
mod zoom;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::{
    envelope::{Envelope, EventParts, Payload},
    request::{BuildError, EndpointParts, OutboundRequest},
};
use crate::domain::time::Timestamp;

/// Names us to receivers that grant an origin (CloudEvents HTTP 1.1 Web Hooks, 4.1.1); on deliveries too.
pub const ORIGIN_HEADER: HeaderName = HeaderName::from_static("webhook-request-origin");

/// One question to an endpoint.
pub struct Challenge {
    /// What the attempts list and the schemes that carry one call this event.
    pub event_type: &'static str,
    method: Method,
    content: Content,
    query: Option<(&'static str, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    expected: Expected,
}

enum Content {
    /// The data of an event, in the endpoint's envelope.
    Event(Bytes),
    /// A JSON document as it is, in the endpoint's encoding.
    Document(Bytes),
    Empty {
        content_type: Option<&'static str>,
    },
}

/// What the answer has to be.
enum Expected {
    /// Any 2xx.
    Success,
    /// This status, whatever comes with it.
    Status(u16),
    /// A 2xx; and a code that comes back with the endpoint's id proves it at once.
    Code {
        code: String,
        endpoint: String,
    },
    /// Any of these was made with a secret of the endpoint.
    Tokens {
        plain: String,
        encrypted: Vec<String>,
    },
    Challenge(String),
    Origin(String),
    PlainText(String),
}

/// What came back.
#[derive(Copy, Clone, Debug, Default)]
pub struct Answer<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    /// `WebHook-Allowed-Origin` and `WebHook-Allowed-Rate`.
    pub allowed_origin: Option<&'a str>,
    pub allowed_rate: Option<&'a str>,
    /// Its beginning.
    pub body: &'a [u8],
}

/// What an answer proves.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is the endpoint's wish to be sent to.
    Whole { allowed_per_minute: Option<u32> },
    /// It is there; the rest comes from a person.
    Reached,
}

/// Why an answer proves nothing.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("the answer's status has to be {0}")]
    Status(&'static str),
    #[error("the answer has to be a JSON object with plainToken and encryptedToken")]
    NoTokens,
    #[error("plainToken has to be the one that was sent")]
    PlainToken,
    #[error(
        "encryptedToken has to be the plainToken's HMAC-SHA256 in hexadecimal, with the endpoint's zoom secret as key"
    )]
    EncryptedToken,
    #[error(
        "the answer has to be the challenge that was sent: as text, as challenge=… or as {{\"challenge\":…}}"
    )]
    Challenge,
    #[error("the header WebHook-Allowed-Origin has to be the origin that was sent, or *")]
    Origin,
    #[error("the answer's Content-Type has to be text/plain")]
    ContentType,
    #[error("the answer's body has to be the validationToken of the query, decoded, and nothing else")]
    ValidationToken,
}

impl Challenge {
    /// The request that asks, made at `at` for an endpoint; `source` is that of an event which is a CloudEvent.
    ///
    /// # Errors
    /// As for any other request of the endpoint.
    pub fn request(
        &self,
        endpoint: &EndpointParts<'_>,
        id: &str,
        source: &str,
        at: Timestamp,
    ) -> Result<OutboundRequest, BuildError> {
        let (envelope, payload) = match &self.content {
            Content::Event(data) => (endpoint.envelope, Payload::Json(data.clone())),
            Content::Document(document) => (Envelope::Bare, Payload::Json(document.clone())),
            Content::Empty { content_type } => {
                let content_type = content_type.unwrap_or_default().to_owned();
                let bytes = Bytes::new();
                (Envelope::Bare, Payload::Bytes { content_type, bytes })
            }
        };
        let event = EventParts {
            id,
            event_type: self.event_type,
            occurred_at: at,
            attributes: &BTreeMap::new(),
            default_source: source,
            payload: &payload,
        };
        let endpoint = EndpointParts {
            envelope,
            ..*endpoint
        };
        let mut request = OutboundRequest::build(&event, &endpoint, at)?;
        request.method = self.method.clone();
        if matches!(self.content, Content::Empty { content_type: None }) {
            request.headers.remove(CONTENT_TYPE);
        }
        if let Some((name, value)) = &self.query {
            request.url = request.url.with_query(name, value);
        }
        for (name, value) in &self.headers {
            request.headers.insert(name.clone(), value.clone());
        }
        Ok(request)
    }

    /// Whether it sends what must be seen by the receiver alone, so that no answer to it is to be kept.
    pub const fn is_secret(&self) -> bool {
        matches!(self.expected, Expected::Code { .. })
    }

    /// Whether an answer proves what was asked for.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(&self, answer: &Answer<'_>) -> Result<Proof, Unproven> {
        let whole = Proof::Whole {
            allowed_per_minute: None,
        };
        match &self.expected {
            Expected::Success => success(answer).map(|()| whole),
            Expected::Status(status) if answer.status == *status => Ok(Proof::Reached),
            Expected::Status(_) => Err(Unproven::Status("200")),
            Expected::Code { code, endpoint } => {
                success(answer)?;
                let came_back = ziggeo::came_back(answer.body, code, endpoint);
                Ok(if came_back { whole } else { Proof::Reached })
            }
            Expected::Tokens { plain, encrypted } => zoom::judge(answer, plain, encrypted).map(|()| whole),
            Expected::Challenge(challenge) => slack::judge(answer, challenge).map(|()| whole),
            Expected::Origin(origin) => cloudevents::judge(answer, origin),
            Expected::PlainText(token) => microsoft_graph::judge(answer, token).map(|()| whole),
        }
    }
}

fn success(answer: &Answer<'_>) -> Result<(), Unproven> {
    if (200..=299).contains(&answer.status) {
        Ok(())
    } else {
        Err(Unproven::Status("2xx"))
    }
}

fn equal(given: &[u8], wanted: &str) -> bool {
    given.ct_eq(wanted.as_bytes()).into()
}

/// The text, or the number, that a body has under a name: as a JSON object or as a form.
fn member(body: &[u8], name: &str) -> Option<String> {
    if let Ok(Value::Object(members)) = serde_json::from_slice(body) {
        return match members.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
    }
    let mut pairs = url::form_urlencoded::parse(body.trim_ascii());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests;
