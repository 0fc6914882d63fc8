//! What a body is, by its headers.

use axum::http::{HeaderMap, HeaderValue, header};

use super::{
    cloud_events::binary,
    problem::{Kind, Problem},
};

/// How the body of an enqueue request is to be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Enqueue {
    One,
    /// One event a line.
    Batch,
    /// One CloudEvent as a document.
    CloudEvent,
    /// A list of CloudEvents.
    CloudEvents,
    /// One CloudEvent whose attributes are in headers; the body is of any type.
    BinaryCloudEvent,
}

/// What the media types of structured CloudEvents begin with.
const STRUCTURED: &str = "application/cloudevents";

const ACCEPTED: &str = "use application/json for one event, application/x-ndjson for one event a line, \
                        application/cloudevents+json or application/cloudevents-batch+json for CloudEvents";

/// Reads how events come by `Content-Type` and `Content-Encoding`, and by the header that marks a binary CloudEvent.
///
/// # Errors
/// [`Kind::UnsupportedMediaType`] that says what is accepted.
pub fn enqueue(headers: &HeaderMap) -> Result<Enqueue, Problem> {
    refuse_encoding(headers)?;
    let is_structured = |value: &HeaderValue| {
        let start = value.as_bytes().get(..STRUCTURED.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(STRUCTURED.as_bytes()))
    };
    let is_binary = headers.contains_key(binary::MARK);
    if is_binary && !headers.get(header::CONTENT_TYPE).is_some_and(is_structured) {
        return Ok(Enqueue::BinaryCloudEvent);
    }
    let unsupported = |detail: String| Err(Problem::new(Kind::UnsupportedMediaType, detail));
    match essence(headers)?.as_deref() {
        None | Some("application/json") => Ok(Enqueue::One),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(Enqueue::Batch),
        Some("application/cloudevents+json") => Ok(Enqueue::CloudEvent),
        Some("application/cloudevents-batch+json") => Ok(Enqueue::CloudEvents),
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
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
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
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
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
    fn cloud_events_come_in_three_ways() {
        let read = |value| enqueue(&with(header::CONTENT_TYPE, value)).unwrap();
        assert_eq!(
            read("application/cloudevents+json; charset=UTF-8"),
            Enqueue::CloudEvent
        );
        assert_eq!(read("Application/CloudEvents-Batch+json"), Enqueue::CloudEvents);
        let marked = |content_type: Option<&'static str>| {
            let mut headers = with(header::HeaderName::from_static(binary::MARK), "1.0");
            headers.extend(content_type.map(|text| (header::CONTENT_TYPE, HeaderValue::from_static(text))));
            enqueue(&headers)
        };
        for any in [
            None,
            Some("image/png"),
            Some("application/json"),
            Some("text/plain; charset=latin1"),
        ] {
            assert_eq!(marked(any).unwrap(), Enqueue::BinaryCloudEvent, "{any:?}");
        }
        assert_eq!(
            marked(Some("application/cloudevents+json")).unwrap(),
            Enqueue::CloudEvent
        );
        assert!(marked(Some("application/cloudevents+avro")).is_err());
    }

    #[test]
    fn other_types_are_refused_with_what_is_accepted() {
        for other in ["text/plain", "application/cloudevents+avro", ""] {
            let problem = enqueue(&with(header::CONTENT_TYPE, other)).unwrap_err();
            assert_eq!(problem.status().as_u16(), 415, "{other}");
            assert!(
                problem.detail().contains("application/x-ndjson"),
                "{}",
                problem.detail()
            );
        }
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
