//! The table of problems.

use axum::http::{HeaderValue, StatusCode};

/// What kind of problem it is: a row of the table in [`Kind::row`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request breaks a rule of HTTP or of this API before its document is looked at.
    BadRequest,
    /// The document is not JSON, or not UTF-8, or cut short.
    MalformedDocument,
    /// No line of a batch was accepted.
    BatchRejected,
    InvalidQuery,
    InvalidId,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    /// The body did not come in time.
    RequestTimeout,
    /// Several things have this id, and the request does not say which of them it means.
    AmbiguousId,
    DifferentContent,
    NotNow,
    Gone,
    TooLarge,
    UnsupportedMediaType,
    /// The document reads well, and a member of it breaks a rule.
    Invalid,
    LimitReached,
    Throttled,
    /// Slots, memory or computing time that the request needs are in use, or its share of them is.
    Busy,
    Internal,
    Rebuilding,
    /// A read of what is stored did not end in time.
    StorageSlow,
    Stopping,
    NotReady,
    DiskFull,
}

impl Kind {
    /// Every kind, in the order of the table in docs/API.md.
    pub const ALL: [Self; 26] = [
        Self::BadRequest,
        Self::MalformedDocument,
        Self::BatchRejected,
        Self::InvalidQuery,
        Self::InvalidId,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::AmbiguousId,
        Self::DifferentContent,
        Self::NotNow,
        Self::Gone,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::LimitReached,
        Self::Throttled,
        Self::Busy,
        Self::Internal,
        Self::Rebuilding,
        Self::StorageSlow,
        Self::Stopping,
        Self::NotReady,
        Self::DiskFull,
    ];

    /// The slug in `type`, the status, the title.
    pub const fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest => ("bad-request", S::BAD_REQUEST, "bad request"),
            Self::MalformedDocument => ("malformed-document", S::BAD_REQUEST, "malformed document"),
            Self::BatchRejected => (
                "batch-rejected",
                S::BAD_REQUEST,
                "no line of the batch was accepted",
            ),
            Self::InvalidQuery => ("invalid-query", S::BAD_REQUEST, "invalid query parameter"),
            Self::InvalidId => ("invalid-id", S::BAD_REQUEST, "invalid id"),
            Self::Unauthorized => ("unauthorized", S::UNAUTHORIZED, "a key is needed"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "the key does not allow this"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "not found"),
            Self::MethodNotAllowed => ("method-not-allowed", S::METHOD_NOT_ALLOWED, "method not allowed"),
            Self::RequestTimeout => (
                "request-timeout",
                S::REQUEST_TIMEOUT,
                "the body did not come in time",
            ),
            Self::AmbiguousId => ("ambiguous-id", S::CONFLICT, "several things have this id"),
            Self::DifferentContent => ("different-content", S::CONFLICT, "used before with other content"),
            Self::NotNow => ("not-now", S::CONFLICT, "not possible in the present state"),
            Self::Gone => ("gone", S::GONE, "deleted"),
            Self::TooLarge => ("too-large", S::PAYLOAD_TOO_LARGE, "too large"),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported media type",
            ),
            Self::Invalid => ("invalid", S::UNPROCESSABLE_ENTITY, "a member breaks a rule"),
            Self::LimitReached => ("limit-reached", S::UNPROCESSABLE_ENTITY, "a limit is reached"),
            Self::Throttled => ("throttled", S::TOO_MANY_REQUESTS, "too many refused keys"),
            Self::Busy => ("busy", S::TOO_MANY_REQUESTS, "too much at once"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "internal error"),
            Self::Rebuilding => ("rebuilding", S::SERVICE_UNAVAILABLE, "the store is being rebuilt"),
            Self::StorageSlow => (
                "storage-slow",
                S::SERVICE_UNAVAILABLE,
                "storage did not answer in time",
            ),
            Self::Stopping => ("stopping", S::SERVICE_UNAVAILABLE, "the server is stopping"),
            Self::NotReady => ("not-ready", S::SERVICE_UNAVAILABLE, "not ready"),
            Self::DiskFull => ("disk-full", S::INSUFFICIENT_STORAGE, "too little free disk space"),
        }
    }

    /// The last part of its `type`, and the label of what is counted.
    pub const fn slug(self) -> &'static str {
        self.row().0
    }

    /// Seconds after which trying again may help.
    pub const fn retry_after(self) -> Option<HeaderValue> {
        match self {
            Self::Throttled | Self::Busy => Some(HeaderValue::from_static("1")),
            Self::Rebuilding | Self::StorageSlow | Self::Stopping | Self::NotReady => {
                Some(HeaderValue::from_static("5"))
            }
            Self::DiskFull => Some(HeaderValue::from_static("30")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_shows_this_table() {
        let docs = include_str!("../../../docs/API.md");
        let documented: Vec<_> = docs
            .lines()
            .filter(|line| line.starts_with("| `/problems/"))
            .collect();
        let table = Kind::ALL.map(|kind| {
            let (slug, status, title) = kind.row();
            format!("| `/problems/{slug}` | {} | {title} |", status.as_u16())
        });
        assert_eq!(documented, table);
    }
}
