//! How an attempt went, beside its outcome: what was sent and answered, to whom, and how long each step took.
//!
//! Persisted in the attempt's record: another form gets another version (`dispatch::detail`), and variants are append-only.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{header_lines::HeaderLines, limits, time::Timestamp};

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptDetail {
    /// The URL that was asked, without the values in its query; sealed, with the endpoint's id as its owner. A URL's path
    /// may be a secret.
    pub url: Bytes,
    pub method: Method,
    pub body_bytes: u64,
    /// Whether anything of the request has left this machine.
    pub sent: bool,
    /// But for `host` and `content-length`, which follow from the rest.
    pub request: HeaderLines,
    /// The answer, once its head had come.
    pub response: Option<ResponseDetail>,
    /// The version that the connection speaks, if there was one.
    pub version: Option<HttpVersion>,
    pub timing: Timing,
    pub tls: Option<TlsDetail>,
}

impl AttemptDetail {
    /// Whether the request said how long its body was (`wire::request::OutboundRequest::states_length`).
    pub fn states_length(&self) -> bool {
        self.body_bytes > 0 || self.method == Method::Post
    }
}

/// An answer, but for its status and the beginning of its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseDetail {
    pub version: HttpVersion,
    pub headers: HeaderLines,
    /// Bytes of its body that came.
    pub body_bytes: u64,
}

/// How long the steps of an attempt took, in milliseconds, each for itself. A step that was not made has none; one that
/// failed has the time until it did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Looking up the name.
    pub dns: Option<u32>,
    /// Connecting by TCP.
    pub connect: Option<u32>,
    /// The handshake of TLS, with a proxy's tunnel before it.
    pub tls: Option<u32>,
    /// From the sending of the request to the answer's head.
    pub first_byte: Option<u32>,
    /// From the answer's head to the end of its body, or of the wait for it.
    pub body: Option<u32>,
}

/// The TLS of a connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsDetail {
    pub version: Option<TlsVersion>,
    /// When the receiver's certificate expires.
    pub not_after: Option<Timestamp>,
}

/// A version of HTTP. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    Http10,
    Http11,
    Http2,
}

impl HttpVersion {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// A version of TLS. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsVersion {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// The methods that are asked by. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    Post,
    Options,
    Other,
}

impl Method {
    pub fn of(name: &str) -> Self {
        match name {
            "POST" => Self::Post,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Options => "OPTIONS",
            Self::Other => "other",
        }
    }
}

/// How much is kept of an attempt (`storage.attempt_detail_bytes`).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DetailBudget(usize);

impl DetailBudget {
    /// So many bytes for the headers of the request and of the answer, and twice as many for the beginning of the answer's
    /// body, at most [`limits::RESPONSE_KEPT_BYTES`]. With 0 nothing is kept.
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    pub const fn is_off(self) -> bool {
        self.0 == 0
    }

    /// Bytes for the headers of request and answer together.
    pub const fn headers(self) -> usize {
        self.0
    }

    /// Bytes for the request's headers: the answer's have half of the room for sure.
    pub const fn request(self) -> usize {
        self.0 / 2
    }

    /// The part of a body's beginning that is kept.
    pub fn excerpt(self, mut body: Bytes) -> Bytes {
        body.truncate(limits::RESPONSE_KEPT_BYTES.min(self.0.saturating_mul(2)));
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_bounds_headers_and_excerpt_and_nothing_is_kept_without_one() {
        let body = Bytes::from(vec![0; limits::RESPONSE_KEPT_BYTES]);
        for (bytes, excerpt) in [(0, 0), (100, 200), (2048, 4096), (65_536, 4096)] {
            assert_eq!(
                DetailBudget::new(bytes).excerpt(body.clone()).len(),
                excerpt,
                "{bytes}"
            );
        }
        assert!(DetailBudget::new(0).is_off() && !DetailBudget::new(1).is_off());
    }
}
