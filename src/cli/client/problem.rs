//! A refusal by the server, readable.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

use crate::config::text::escaped;

/// A problem document (RFC 9457), or what there was instead.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    document: Option<Document>,
}

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<FieldError>,
}

#[derive(Debug, Deserialize)]
struct FieldError {
    #[serde(default)]
    field: String,
    #[serde(default)]
    rule: String,
    /// The place within the field, where the server says it.
    #[serde(default)]
    pointer: Option<String>,
}

impl FieldError {
    fn place(&self) -> &str {
        self.pointer.as_deref().unwrap_or(&self.field)
    }
}

impl Refusal {
    pub fn read(status: StatusCode, body: &[u8]) -> Self {
        Self {
            status,
            document: serde_json::from_slice(body).ok(),
        }
    }

    pub const fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.status.canonical_reason().unwrap_or("status");
        let Some(document) = &self.document else {
            return write!(
                f,
                "the server answered {} {reason} and did not say why",
                self.status.as_u16()
            );
        };
        let title = document.title.as_deref().unwrap_or(reason);
        write!(f, "{} ({})", escaped(title), self.status.as_u16())?;
        if let Some(detail) = document.detail.as_deref().filter(|detail| *detail != title) {
            write!(f, ": {}", escaped(detail))?;
        }
        let told = |error: &&FieldError| {
            // A problem with one field says the same in its detail.
            let line = format!("{}: {}", error.place(), error.rule);
            document.detail.as_deref() != Some(&line)
        };
        document.errors.iter().filter(told).try_for_each(|error| {
            let separator = if error.place().is_empty() { "" } else { ": " };
            write!(
                f,
                "\n  {}{separator}{}",
                escaped(error.place()),
                escaped(&error.rule)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_field_by_field() {
        let body = br#"{"type":"t","title":"Invalid endpoint","status":422,"detail":"2 fields are wrong",
            "errors":[{"field":"url","rule":"must be http\u001b or https"},{"field":"timeout","rule":"too long"}]}"#;
        let told = Refusal::read(StatusCode::UNPROCESSABLE_ENTITY, body).to_string();
        assert_eq!(
            told,
            "Invalid endpoint (422): 2 fields are wrong\n  url: must be http\\u{1b} or https\n  timeout: too long"
        );
    }

    #[test]
    fn a_field_that_the_detail_tells_is_not_told_twice() {
        let body = br#"{"title":"a member breaks a rule","status":422,"detail":"url: is not https",
            "errors":[{"field":"url","rule":"is not https"}]}"#;
        let told = Refusal::read(StatusCode::UNPROCESSABLE_ENTITY, body).to_string();
        assert_eq!(told, "a member breaks a rule (422): url: is not https");
    }

    #[test]
    fn an_answer_that_is_no_problem_document_is_told_by_its_status() {
        let told = Refusal::read(StatusCode::BAD_GATEWAY, b"<html>").to_string();
        assert_eq!(told, "the server answered 502 Bad Gateway and did not say why");
    }
}
