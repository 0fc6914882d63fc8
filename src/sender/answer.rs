//! What is read of an answer: its status, a few headers, and the beginning of its body.

use std::{future::poll_fn, pin::pin};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, Response,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{connection::Connection, deadline::within};
use crate::domain::{
    duration::Span,
    limits,
    outcome::{Directive, Observation, RetryAfter},
    time::Timestamp,
};

/// The headers that are read of an answer.
pub(super) const NAMES: [&str; 6] = [
    "content-type",
    "location",
    "retry-after",
    DELIVERY,
    ALLOWED_ORIGIN,
    ALLOWED_RATE,
];
const DELIVERY: &str = "webhook-delivery";
const ALLOWED_ORIGIN: &str = "webhook-allowed-origin";
const ALLOWED_RATE: &str = "webhook-allowed-rate";

/// A `Location` that is kept as a hint: one line on a page.
const LOCATION_BYTES: usize = 512;

/// Headers of an answer that a handshake may ask for, each short; a longer one is as good as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptHeaders {
    pub content_type: Option<String>,
    /// `WebHook-Allowed-Origin`.
    pub allowed_origin: Option<String>,
    /// `WebHook-Allowed-Rate`.
    pub allowed_rate: Option<String>,
}

impl KeptHeaders {
    fn of(headers: &HeaderMap) -> Self {
        let kept = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            (text.len() <= limits::KEPT_HEADER_BYTES).then(|| text.to_owned())
        };
        Self {
            content_type: kept(CONTENT_TYPE.as_str()),
            allowed_origin: kept(ALLOWED_ORIGIN),
            allowed_rate: kept(ALLOWED_RATE),
        }
    }
}

pub(super) struct Answer {
    pub(super) headers: KeptHeaders,
    pub(super) observation: Observation,
    pub(super) excerpt: Bytes,
    pub(super) body_bytes_read: usize,
    pub(super) location: Option<String>,
    /// The body came whole, so the connection can carry another request.
    pub(super) is_complete: bool,
}

/// Called with its status when an answer's head has come and its body has not.
pub type Decided<'a> = &'a mut (dyn FnMut(u16) + Send);

/// What is wanted of an answer's body.
pub(super) struct Wanted<'a> {
    /// Bytes of it that are kept.
    pub(super) kept: usize,
    /// The head is enough: the body is read for [`limits::RESPONSE_BODY`] at the most, and this is called once if it
    /// has to be waited for.
    pub(super) decided: Option<Decided<'a>>,
}

/// Reads an answer's body up to the limit or `deadline`, and keeps its beginning. The status decides what the answer
/// means, whatever becomes of the body.
pub(super) async fn read(
    connection: &mut Connection,
    answer: Response<Incoming>,
    mut deadline: Instant,
    wanted: Wanted<'_>,
) -> Answer {
    let (head, mut body) = answer.into_parts();
    let status = head.status.as_u16();
    let Wanted { kept, mut decided } = wanted;
    if decided.is_some() {
        deadline = deadline.min(Instant::now() + limits::RESPONSE_BODY);
    }
    let mut excerpt = BytesMut::new();
    let mut body_bytes_read = 0;
    let is_complete = loop {
        let piece = telling(connection.frame(&mut body), status, &mut decided);
        let frame = match within(deadline, piece).await {
            Err(_) | Ok(Some(Err(_))) => break false,
            Ok(None) => break true,
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(data) = frame.data_ref() else { continue };
        body_bytes_read += data.len();
        let room = kept - excerpt.len();
        excerpt.extend_from_slice(&data[..data.len().min(room)]);
        if body_bytes_read > limits::RESPONSE_READ_BYTES {
            break false;
        }
    };
    Answer {
        headers: KeptHeaders::of(&head.headers),
        observation: Observation::Response {
            status,
            directive: directive(&head.headers),
            retry_after: retry_after(&head.headers),
            body_broken: !is_complete,
        },
        excerpt: excerpt.freeze(),
        body_bytes_read,
        location: location(&head.headers),
        is_complete,
    }
}

/// Waits for a piece of a body, and calls `decided`, once, when it is not there yet.
async fn telling<T>(frame: impl Future<Output = T>, status: u16, decided: &mut Option<Decided<'_>>) -> T {
    let mut frame = pin!(frame);
    poll_fn(|cx| {
        let polled = frame.as_mut().poll(cx);
        if polled.is_pending()
            && let Some(decided) = decided.take()
        {
            decided(status);
        }
        polled
    })
    .await
}

/// `Retry-After` (RFC 9110, 10.2.3): whole seconds or a date; anything else is as good as none.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is still a wish for later; the endpoint's own limit caps it.
        let seconds = text.parse::<u32>().unwrap_or(u32::MAX);
        return Some(RetryAfter::Delay(Span::from_secs(u64::from(seconds))));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Some(RetryAfter::At(Timestamp::EPOCH.plus(since_epoch)))
}

fn directive(headers: &HeaderMap) -> Option<Directive> {
    match headers.get(DELIVERY)?.to_str().ok()?.trim() {
        "disable" => Some(Directive::Disable),
        "abort-message" => Some(Directive::AbortMessage),
        _ => None,
    }
}

fn location(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    (text.len() <= LOCATION_BYTES).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
    }

    #[test]
    fn retry_after_takes_seconds_and_dates_and_ignores_the_rest() {
        let delay = |seconds| Some(RetryAfter::Delay(Span::from_secs(seconds)));
        let at = |millis| Some(RetryAfter::At(Timestamp::from_millis(millis)));
        let table = [
            ("0", delay(0)),
            ("120", delay(120)),
            (" 7 ", delay(7)),
            ("99999999999999999999", delay(u64::from(u32::MAX))),
            ("-1", None),
            ("+5", None),
            ("1e30", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", at(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", at(784_111_777_000)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", at(784_111_777_000)),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ];
        for (text, expected) in table {
            assert_eq!(retry_after(&with("retry-after", text)), expected, "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn headers_are_kept_up_to_a_length() {
        let kept = KeptHeaders::of(&with("webhook-allowed-origin", "*"));
        assert_eq!(
            (kept.allowed_origin.as_deref(), kept.allowed_rate),
            (Some("*"), None)
        );
        let long: &'static str = "x".repeat(limits::KEPT_HEADER_BYTES + 1).leak();
        assert_eq!(
            KeptHeaders::of(&with("content-type", long)),
            KeptHeaders::default()
        );
    }

    #[test]
    fn a_receiver_may_direct_us() {
        assert_eq!(
            directive(&with("webhook-delivery", "disable")),
            Some(Directive::Disable)
        );
        assert_eq!(
            directive(&with("webhook-delivery", "abort-message")),
            Some(Directive::AbortMessage)
        );
        assert_eq!(directive(&with("webhook-delivery", "explode")), None);
        assert_eq!(directive(&HeaderMap::new()), None);
    }
}
