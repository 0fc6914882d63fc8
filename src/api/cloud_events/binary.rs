//! Binary mode: the data is the body, and all else of the CloudEvent is in headers.

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;

use super::{Context, Data, Labels};
use crate::{
    api::{
        event_document::is_media_type,
        json,
        problem::{Kind, Problem},
    },
    domain::{cloud_event as ce, event::NewEvent},
};

/// The header that makes a request a CloudEvent.
pub const MARK: &str = "ce-specversion";

const PREFIX: &str = "ce-";
const OCTETS: &str = "application/octet-stream";

/// Reads one CloudEvent. The payload is the body itself.
///
/// # Errors
/// [`Kind::UnsupportedMediaType`] and [`Kind::Invalid`] naming the header, [`Kind::MalformedDocument`] when the body is
/// not the JSON that it says it is.
pub fn read(headers: &HeaderMap, body: Bytes, labels: &Labels) -> Result<NewEvent, Problem> {
    let mut context = Context::new(PREFIX);
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        if name == "datacontenttype" || name == "data" {
            return Err(context.invalid(
                name,
                "is no header: the data is the body, its media type is content-type",
            ));
        }
        let text = decoded(value).map_err(|rule| context.invalid(name, rule))?;
        context.put(name, text)?;
    }
    context.into_event(data(headers, body)?, labels)
}

fn data(headers: &HeaderMap, body: Bytes) -> Result<Data, Problem> {
    let unsupported = |detail: &str| Problem::new(Kind::UnsupportedMediaType, detail);
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let content_type = values.next();
    if values.next().is_some() {
        return Err(unsupported("content-type is there twice"));
    }
    if body.is_empty() {
        return Ok(Data::None);
    }
    let Some(content_type) = content_type else {
        return Ok(Data::Other(body, OCTETS.to_owned()));
    };
    let content_type = content_type.to_str().ok().filter(|text| is_media_type(text));
    let content_type = content_type.ok_or_else(|| unsupported("content-type is not a media type"))?;
    if ce::is_json(content_type) {
        return Ok(Data::Json(json::check(&body)?, Some(content_type.to_owned())));
    }
    Ok(Data::Other(body, content_type.to_owned()))
}

/// A header's text, by section 3.1.3.2 of the HTTP binding: quotes taken off, then one round of percent-decoding.
fn decoded(value: &HeaderValue) -> Result<String, &'static str> {
    let text = unquoted(value.as_bytes());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = (*byte == b'%').then(|| behind.get(..2).and_then(hex)).flatten();
        match escaped {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &behind[2..];
            }
            // A sign of its own: older senders did not encode it.
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 once it is percent-decoded")
}

fn hex(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return value.to_vec();
    };
    let mut escaped = false;
    let plain = inner.iter().filter(|byte| {
        escaped = **byte == b'\\' && !escaped;
        !escaped
    });
    plain.copied().collect()
}
