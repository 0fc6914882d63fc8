//! What a body is, by its headers.

use axum::http::{HeaderMap, header};

use super::problem::{Kind, Problem};

/// How the body of an enqueue request is to be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Enqueue {
    One,
    /// One event a line.
    Batch,
}

const ACCEPTED: &str = "use application/json for one event, or application/x-ndjson for one event a line";

/// Reads how events come by `Content-Type` and `Content-Encoding`.
///
/// # Errors
/// [`Kind::UnsupportedMediaType`] that says what is accepted.
pub fn enqueue(headers: &HeaderMap) -> Result<Enqueue, Problem> {
    refuse_encoding(headers)?;
    let unsupported = |detail: String| Err(Problem::new(Kind::UnsupportedMediaType, detail));
    match essence(headers)?.as_deref() {
        None | Some("application/json") => Ok(Enqueue::One),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(Enqueue::Batch),
        Some(cloud) if cloud.starts_with("application/cloudevents") => unsupported(format!(
            "CloudEvents are not taken by this version yet; {ACCEPTED}"
        )),
        Some(other) => unsupported(format!("{other} is not taken; {ACCEPTED}")),
    }
}

/// Checks that the body is a JSON document, or says nothing of what it is.
///
/// # Errors
/// [`Kind::UnsupportedMediaType`] that says what is accepted.
pub fn json(headers: &HeaderMap) -> Result<(), Problem> {
    refuse_encoding(headers)?;
    match essence(headers)?.as_deref() {
        None | Some("application/json" | "application/merge-patch+json") => Ok(()),
        Some(other) => Err(Problem::new(
            Kind::UnsupportedMediaType,
            format!("{other} is not taken; use application/json"),
        )),
    }
}

/// The media type without its parameters, in lower case.
fn essence(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let unsupported = |detail: &str| Problem::new(Kind::UnsupportedMediaType, detail);
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(unsupported("content-type is there twice"));
    }
    let text = value
        .to_str()
        .map_err(|_| unsupported("content-type is not a media type"))?
        .to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_owned();
    for parameter in parts {
        if let Some(charset) = parameter.strip_prefix("charset=")
            && charset.trim_matches('"') != "utf-8"
        {
            return Err(unsupported("only the charset utf-8 is taken"));
        }
    }
    Ok(Some(essence))
}

fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let plain = |value: &axum::http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Ok(());
    }
    Err(Problem::new(
        Kind::UnsupportedMediaType,
        "compressed bodies are not taken; send it without content-encoding",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, axum::http::HeaderValue::from_static(value))])
    }

    #[test]
    fn the_content_type_says_one_event_or_a_batch() {
        let read = |value| enqueue(&with(header::CONTENT_TYPE, value)).unwrap();
        assert_eq!(enqueue(&HeaderMap::new()).unwrap(), Enqueue::One);
        assert_eq!(read("application/json; charset=UTF-8"), Enqueue::One);
        for lines in ["application/x-ndjson", "application/ndjson", "Application/JSONL"] {
            assert_eq!(read(lines), Enqueue::Batch, "{lines}");
        }
    }

    #[test]
    fn other_types_are_refused_with_what_is_accepted() {
        for other in [
            "text/plain",
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
            "",
        ] {
            let problem = enqueue(&with(header::CONTENT_TYPE, other)).unwrap_err();
            assert_eq!(problem.status().as_u16(), 415, "{other}");
        }
        let cloud = enqueue(&with(header::CONTENT_TYPE, "application/cloudevents+json")).unwrap_err();
        assert!(
            cloud.detail().contains("application/x-ndjson"),
            "{}",
            cloud.detail()
        );
        assert!(enqueue(&with(header::CONTENT_TYPE, "application/json; charset=latin1")).is_err());
    }

    #[test]
    fn compressed_bodies_are_refused() {
        assert!(enqueue(&with(header::CONTENT_ENCODING, "identity")).is_ok());
        for encoding in ["gzip", "identity, br", ""] {
            let problem = json(&with(header::CONTENT_ENCODING, encoding)).unwrap_err();
            assert_eq!(problem.status().as_u16(), 415, "{encoding}");
        }
    }
}
