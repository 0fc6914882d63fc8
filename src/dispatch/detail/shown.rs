//! How the details of an attempt are shown.

use http::header::PROXY_AUTHORIZATION;
use serde::Serialize;

use super::{
    super::{
        engine::{Engine, Shared},
        error::EngineError,
        view::AttemptView,
    },
    kept,
};
use crate::{
    domain::{
        attempt_detail::{AttemptDetail, HttpVersion, TlsDetail, TlsVersion},
        header_lines::HeaderLines,
        id::{AttemptId, DeliveryKey, EndpointId},
        outcome,
        record::AttemptSettled,
        time::Timestamp,
    },
    storage::stored::StoredAttempt,
};

/// An attempt with all that is kept of it.
#[derive(Debug, Serialize)]
pub struct AttemptDetails {
    #[serde(flatten)]
    pub attempt: AttemptView,
    /// Which rule made the attempt's outcome, in words.
    pub rule: String,
    pub request: Option<RequestView>,
    /// `None` when no answer came.
    pub response: Option<ResponseView>,
    pub timing: Option<TimingView>,
    pub tls: Option<TlsView>,
    /// Why there is no `request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details_missing: Option<&'static str>,
}

/// A request as it was sent; secrets are `***`.
#[derive(Debug, Serialize)]
pub struct RequestView {
    pub method: &'static str,
    /// Without the values in its query.
    pub url: Option<String>,
    /// `None` when no connection was made.
    pub version: Option<&'static str>,
    /// Names and values in the order in which they are sent.
    pub headers: Vec<(String, String)>,
    /// Some headers, or parts of them, were too much to be kept.
    pub headers_cut: bool,
    pub body_bytes: u64,
    /// Anything of it has left this machine.
    pub sent: bool,
}

/// An answer as it came.
#[derive(Debug, Serialize)]
pub struct ResponseView {
    pub status: u16,
    pub version: Option<&'static str>,
    /// Names and values in the order in which they came.
    pub headers: Option<Vec<(String, String)>>,
    /// Some headers, or parts of them, were too much to be kept.
    pub headers_cut: bool,
    /// Bytes of the body that came, whole or not.
    pub body_bytes: Option<u64>,
    /// The beginning of the body; bytes that are not UTF-8 are replaced.
    pub excerpt: String,
    /// More of the body came than is kept.
    pub excerpt_cut: bool,
}

/// How long the steps of an attempt took, each for itself; `None` for what was not done.
#[derive(Debug, Serialize)]
pub struct TimingView {
    pub dns_ms: Option<u32>,
    pub connect_ms: Option<u32>,
    pub tls_ms: Option<u32>,
    /// From the sending of the request to the answer's head.
    pub first_byte_ms: Option<u32>,
    pub body_ms: Option<u32>,
    /// Everything together.
    pub total_ms: u32,
    /// The connection had been open before, so that nothing was looked up, connected or shaken. `None` when it is not known,
    /// or there was no connection.
    pub reused: Option<bool>,
}

/// The TLS of the connection.
#[derive(Debug, Serialize)]
pub struct TlsView {
    /// `None` when the handshake failed.
    pub version: Option<&'static str>,
    /// When the receiver's certificate expires, or had expired.
    pub not_after: Option<Timestamp>,
}

/// No details are in the record.
const NOT_KEPT: &str = "nothing is kept of the request: none was made, storage.attempt_detail_bytes was 0, or an earlier version \
                        of the server made the attempt";
const UNKNOWN: &str = "the details are in a form that this version of the server does not know";
const UNREADABLE: &str = "the attempt's record cannot be read";

impl Engine {
    /// One attempt with its details.
    pub async fn attempt(&self, id: &AttemptId) -> Result<AttemptDetails, EngineError> {
        let found = self.0.find_attempt(id).await?;
        Ok(self.0.attempt_details(&found))
    }
}

impl Shared {
    pub(in crate::dispatch) async fn find_attempt(
        &self,
        id: &AttemptId,
    ) -> Result<StoredAttempt, EngineError> {
        let found = self.data.attempt(id.key.lsn).await?;
        let is_it = |found: &StoredAttempt| {
            AttemptId::new(found.facts.started_at, DeliveryKey::new(found.sequence, 0)) == *id
        };
        found.filter(is_it).ok_or(EngineError::NotFound("attempt"))
    }

    fn attempt_details(&self, found: &StoredAttempt) -> AttemptDetails {
        let record = found.record.as_ref().ok();
        let kept = record
            .map(|record| &record.detail[..])
            .filter(|kept| !kept.is_empty());
        let read = kept.map(kept::read);
        let detail = read.as_ref().and_then(|read| read.as_ref().ok());
        let response = record.and_then(|record| response(record, detail));
        let mut attempt = self.attempt_shown(found, true);
        if response.is_some() {
            attempt.response_excerpt = None;
        }
        let facts = &found.facts;
        AttemptDetails {
            attempt,
            rule: outcome::rule(facts.class, facts.reason, facts.status),
            request: detail.map(|detail| self.request_view(facts.endpoint, detail)),
            response,
            timing: record.map(|record| timing(record, detail)),
            tls: detail.and_then(|detail| detail.tls).map(tls),
            details_missing: match (record, &read) {
                (None, _) => Some(UNREADABLE),
                (Some(_), None) => Some(NOT_KEPT),
                (Some(_), Some(Err(_))) => Some(UNKNOWN),
                (Some(_), Some(Ok(_))) => None,
            },
        }
    }

    fn request_view(&self, endpoint: EndpointId, detail: &AttemptDetail) -> RequestView {
        let url = kept::open_url(&self.sealer, endpoint, &detail.url);
        RequestView {
            method: detail.method.as_str(),
            version: detail.version.map(HttpVersion::as_str),
            headers: request_headers(detail, url.as_deref()),
            url,
            headers_cut: detail.request.is_cut,
            body_bytes: detail.body_bytes,
            sent: detail.sent,
        }
    }
}

/// The lines of a request in the order in which they are sent, with those that are not kept since they follow from the rest.
fn request_headers(detail: &AttemptDetail, url: Option<&str>) -> Vec<(String, String)> {
    let mut headers = pairs(&detail.request);
    let for_proxy = headers.pop_if(|(name, _)| name == PROXY_AUTHORIZATION.as_str());
    if let (Some(HttpVersion::Http11), Some(url)) = (detail.version, url) {
        let host = url.split('/').nth(2).unwrap_or_default();
        headers.push(("host".to_owned(), host.to_owned()));
    }
    headers.extend(for_proxy);
    if detail.states_length() {
        headers.push(("content-length".to_owned(), detail.body_bytes.to_string()));
    }
    headers
}

fn response(record: &AttemptSettled, detail: Option<&AttemptDetail>) -> Option<ResponseView> {
    let status = record.status?;
    let response = detail.and_then(|detail| detail.response.as_ref());
    let body_bytes = response.map(|response| response.body_bytes);
    Some(ResponseView {
        status,
        version: response.map(|response| response.version.as_str()),
        headers: response.map(|response| pairs(&response.headers)),
        headers_cut: response.is_some_and(|response| response.headers.is_cut),
        body_bytes,
        excerpt: String::from_utf8_lossy(&record.excerpt).into_owned(),
        excerpt_cut: body_bytes.is_some_and(|bytes| bytes > record.excerpt.len() as u64),
    })
}

fn timing(record: &AttemptSettled, detail: Option<&AttemptDetail>) -> TimingView {
    let steps = detail.map(|detail| detail.timing).unwrap_or_default();
    let connected = detail.filter(|detail| detail.version.is_some());
    TimingView {
        dns_ms: steps.dns,
        connect_ms: steps.connect,
        tls_ms: steps.tls,
        first_byte_ms: steps.first_byte,
        body_ms: steps.body,
        total_ms: record.duration_millis,
        reused: connected.map(|_| steps.connect.is_none()),
    }
}

fn tls(detail: TlsDetail) -> TlsView {
    TlsView {
        version: detail.version.map(TlsVersion::as_str),
        not_after: detail.not_after,
    }
}

fn pairs(lines: &HeaderLines) -> Vec<(String, String)> {
    lines
        .iter()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::attempt_detail::{Method, Timing};

    #[test]
    fn lines_that_follow_from_the_rest_are_shown_in_their_places() {
        let mut request = HeaderLines::default();
        request.push("accept", b"*/*", 100);
        request.push_hidden("proxy-authorization", 100);
        let mut detail = AttemptDetail {
            url: Bytes::new(),
            method: Method::Post,
            body_bytes: 0,
            sent: true,
            request,
            response: None,
            version: Some(HttpVersion::Http11),
            timing: Timing::default(),
            tls: None,
        };
        let shown = |detail: &AttemptDetail| {
            let headers = request_headers(detail, Some("http://h.test:81/a/b?c=***"));
            headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect::<Vec<_>>()
        };
        let (proxy, length) = ("proxy-authorization: ***", "content-length: 0");
        assert_eq!(shown(&detail), ["accept: */*", "host: h.test:81", proxy, length]);
        detail.version = Some(HttpVersion::Http2);
        assert_eq!(shown(&detail), ["accept: */*", proxy, length]);
        (detail.version, detail.method) = (None, Method::Options);
        assert_eq!(shown(&detail), ["accept: */*", proxy]);
        detail.body_bytes = 7;
        assert_eq!(shown(&detail), ["accept: */*", proxy, "content-length: 7"]);
    }
}
