//! What is noted of an exchange for the attempt's details: header lines within a budget, times, and the TLS that was spoken.
//!
//! Secrets are never noted. Of a request's headers these are the values that are marked as sensitive
//! (`wire::request::secret_value`): the endpoint's own headers, credentials and tokens. Of an answer's they are cookies, and
//! whatever has the name of a header that is secret in the request, for receivers that echo. A signature is no secret.

use std::time::Duration;

use http::{
    HeaderName, Response, Version,
    header::{PROXY_AUTHORIZATION, SET_COOKIE},
};

use super::{Exchange, route::Route};
use crate::{
    domain::{
        attempt_detail::{DetailBudget, HttpVersion},
        header_lines::HeaderLines,
    },
    wire::request::OutboundRequest,
};

/// Most requests' lines, and most answers', take no more.
const MOSTLY: usize = 256;

/// Notes the lines of a request that is about to be made, and gives the names of those that are secret. `host` and
/// `content-length`, which the connection adds, follow from what else is kept.
pub(super) fn request(
    exchange: &mut Exchange,
    request: &OutboundRequest,
    route: &Route<'_>,
    budget: DetailBudget,
) -> Vec<HeaderName> {
    let mut secret = Vec::new();
    if budget.is_off() {
        return secret;
    }
    let limit = budget.request();
    let mut lines = HeaderLines::with_capacity(MOSTLY.min(limit));
    for (name, value) in &request.headers {
        if value.is_sensitive() {
            secret.push(name.clone());
            lines.push_hidden(name.as_str(), limit);
        } else {
            lines.push(name.as_str(), value.as_bytes(), limit);
        }
    }
    let passes_on = route.hop.filter(|_| !request.url.is_https());
    if passes_on.is_some_and(|hop| hop.proxy.authorization().is_some()) {
        lines.push_hidden(PROXY_AUTHORIZATION.as_str(), limit);
    }
    exchange.request_lines = lines;
    secret
}

/// Notes the head of an answer to a request with these secret headers.
pub(super) fn answer<B>(
    exchange: &mut Exchange,
    answer: &Response<B>,
    secret: &[HeaderName],
    budget: DetailBudget,
) {
    exchange.answered = Some(version(answer.version()));
    if budget.is_off() {
        return;
    }
    let limit = budget.headers() - exchange.request_lines.len();
    let mut lines = HeaderLines::with_capacity(MOSTLY.min(limit));
    for (name, value) in answer.headers() {
        if name == SET_COOKIE || secret.contains(name) {
            lines.push_hidden(name.as_str(), limit);
        } else {
            lines.push(name.as_str(), value.as_bytes(), limit);
        }
    }
    exchange.answer_lines = lines;
}

fn version(version: Version) -> HttpVersion {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => HttpVersion::Http10,
        Version::HTTP_2 | Version::HTTP_3 => HttpVersion::Http2,
        _ => HttpVersion::Http11,
    }
}

pub(super) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
