//! Every answer that is not a success: an RFC 9457 problem document, from one table.
//!
//! `detail` says what is wrong with this request; `errors` names the members at fault and what to do about each.
//! What went wrong inside the server is logged here, once, and never shown.

mod kind;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::kind::Kind;
use crate::dispatch::error::{EngineError, Fault};

/// A member at fault, by its path, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    pub field: String,
    pub rule: String,
    /// The place within the document, as a JSON pointer, where that says more than the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// A problem document. It is small: texts that came from outside are cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug, PartialEq)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    extensions: Map<String, Value>,
    /// The connection cannot be used further.
    close: bool,
}

/// Bytes of a text in a problem: serde quotes what it did not expect, which may be as long as the document.
const TEXT_BYTES: usize = 512;

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let detail = shortened(detail.into());
        Self(Box::new(Parts {
            kind,
            detail,
            errors: Vec::new(),
            extensions: Map::new(),
            close: false,
        }))
    }

    /// A problem with one member; the detail says the same.
    pub fn of_field(kind: Kind, field: impl Into<String>, rule: impl Into<String>) -> Self {
        let (field, rule) = (shortened(field.into()), shortened(rule.into()));
        let mut problem = Self::new(kind, format!("{field}: {rule}"));
        problem.0.errors.push(FieldError {
            field,
            rule,
            pointer: None,
        });
        problem
    }

    /// A problem with places within one member.
    fn of_faults(detail: String, field: &'static str, faults: Vec<Fault>) -> Self {
        let mut problem = Self::new(Kind::Invalid, detail);
        let error = |fault: Fault| FieldError {
            field: field.to_owned(),
            rule: shortened(fault.rule),
            pointer: Some(shortened(fault.pointer)),
        };
        problem.0.errors = faults.into_iter().map(error).collect();
        problem
    }

    /// Adds an extension member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.0.extensions.insert(name.to_owned(), value);
        self
    }

    /// Has the connection closed after this answer.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    pub fn status(&self) -> StatusCode {
        self.0.kind.row().1
    }

    /// The document.
    pub fn to_value(&self) -> Value {
        let (slug, status, title) = self.0.kind.row();
        let mut members = Map::new();
        members.insert("type".into(), format!("/problems/{slug}").into());
        members.insert("title".into(), title.into());
        members.insert("status".into(), status.as_u16().into());
        members.insert("detail".into(), self.0.detail.as_str().into());
        if !self.0.errors.is_empty() {
            members.insert("errors".into(), serde_json::json!(self.0.errors));
        }
        members.extend(self.0.extensions.clone());
        Value::Object(members)
    }

    fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let unauthorized = self.0.kind == Kind::Unauthorized;
        [
            Some((
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            )),
            self.0
                .kind
                .retry_after()
                .map(|seconds| (header::RETRY_AFTER, seconds)),
            unauthorized.then(|| (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            self.0
                .close
                .then(|| (header::CONNECTION, HeaderValue::from_static("close"))),
        ]
        .into_iter()
        .flatten()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.to_value().to_string()).into_response();
        for (name, value) in self.headers() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let kind = match &error {
            EngineError::NotFound(_) => Kind::NotFound,
            EngineError::Gone | EngineError::Erased => Kind::Gone,
            EngineError::Ambiguous => {
                return Self::of_field(Kind::AmbiguousId, "tenant", AMBIGUOUS);
            }
            EngineError::DifferentContent(_) => Kind::DifferentContent,
            EngineError::NotNow(_) => Kind::NotNow,
            EngineError::TooMany { .. } => Kind::LimitReached,
            EngineError::Busy(_) => Kind::Busy,
            EngineError::DiskFull => Kind::DiskFull,
            EngineError::Rebuilding | EngineError::NotVisible => Kind::Rebuilding,
            EngineError::Slow => Kind::StorageSlow,
            EngineError::Short => Kind::NotReady,
            EngineError::Stopping | EngineError::Unknown => Kind::Stopping,
            EngineError::Invalid { field, rule } => {
                return Self::of_field(Kind::Invalid, field.as_str(), rule.as_str());
            }
            EngineError::Faults { .. } => Kind::Invalid,
            EngineError::Storage(source) => {
                tracing::error!(error = chain(source.as_ref()), "a request failed in storage");
                return Self::new(Kind::Internal, "the request failed; the server's log says why");
            }
        };
        let detail = error.to_string();
        match error {
            EngineError::Faults { field, faults } => Self::of_faults(detail, field, faults),
            _ => Self::new(kind, detail),
        }
    }
}

/// Only keys without a tenant meet it.
const AMBIGUOUS: &str = "is needed: several tenants have an event with this id; add ?tenant=NAME";

/// An error and its sources, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        let whole_letters = (0..=TEXT_BYTES).rev().find(|&place| text.is_char_boundary(place));
        text.truncate(whole_letters.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_at_fault_is_named_with_its_rule() {
        let problem = Problem::from(EngineError::Invalid {
            field: "timeout".into(),
            rule: "the range is 1s to 300s".into(),
        });
        let wanted = serde_json::json!({
            "type": "/problems/invalid", "title": "a member breaks a rule", "status": 422,
            "detail": "timeout: the range is 1s to 300s",
            "errors": [{"field": "timeout", "rule": "the range is 1s to 300s"}],
        });
        assert_eq!(problem.to_value(), wanted);
    }

    #[test]
    fn each_error_of_the_engine_has_its_status() {
        let status = |error: EngineError| Problem::from(error).into_response().status().as_u16();
        assert_eq!(status(EngineError::NotFound("event")), 404);
        assert_eq!(status(EngineError::Gone), 410);
        assert_eq!(status(EngineError::DifferentContent("the event id")), 409);
        assert_eq!(status(EngineError::NotNow("the delivery is delivered")), 409);
        assert_eq!(
            status(EngineError::TooMany {
                what: "endpoints",
                limit: 10
            }),
            422
        );
        assert_eq!(status(EngineError::Busy("all slots are in use")), 429);
        assert_eq!(status(EngineError::DiskFull), 507);
        assert_eq!(status(EngineError::Rebuilding), 503);
        assert_eq!(status(EngineError::Stopping), 503);
    }

    #[test]
    fn slow_storage_is_told_apart_from_a_store_that_is_being_rebuilt() {
        let (slow, rebuilding) = [EngineError::Slow, EngineError::Rebuilding]
            .map(Problem::from)
            .into();
        assert_eq!(slow.to_value()["type"], "/problems/storage-slow");
        assert_eq!(rebuilding.to_value()["type"], "/problems/rebuilding");
        let response = slow.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    }

    #[test]
    fn what_failed_in_storage_is_not_shown() {
        let problem = Problem::from(EngineError::Storage("/var/lib/secret/place".into()));
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!problem.to_value().to_string().contains("secret"));
    }

    #[test]
    fn a_client_is_told_when_to_come_back() {
        let response = Problem::from(EngineError::DiskFull).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "30");
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let response = Problem::new(Kind::Unauthorized, "no key")
            .closing()
            .into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CONNECTION], "close");
    }

    #[test]
    fn a_long_text_from_outside_is_cut_between_letters() {
        let problem = Problem::new(Kind::Invalid, "é".repeat(100_000));
        assert!(problem.detail().len() <= TEXT_BYTES + '…'.len_utf8());
    }
}
