//! The abuse protection of CloudEvents' web hooks (HTTP 1.1 Web Hooks for Event Delivery 1.0.1, section 4): the receiver
//! grants us, by name, to send to it. We offer no callback: a receiver that wants to think it over is asked again.

use http::{HeaderName, HeaderValue, Method, header::InvalidHeaderValue};

use super::{Answer, Challenge, Content, Expected, ORIGIN_HEADER, Proof, Unproven};
use crate::domain::endpoint::Rate;

const RATE_HEADER: HeaderName = HeaderName::from_static("webhook-request-rate");

impl Challenge {
    /// An OPTIONS request; asks for the endpoint's own rate where it has one.
    ///
    /// # Errors
    /// An origin that no header can carry.
    pub fn cloudevents(origin: &str, rate: Option<Rate>) -> Result<Self, InvalidHeaderValue> {
        let mut headers = vec![(ORIGIN_HEADER, HeaderValue::from_str(origin)?)];
        // Whole requests a minute; the cast saturates, and the rate's own range is far inside.
        let a_minute = rate.map(|rate| ((rate.per_second * 60.0).round() as u64).max(1));
        headers.extend(a_minute.map(|count| (RATE_HEADER, HeaderValue::from(count))));
        Ok(Self {
            event_type: "endpoint.verification",
            method: Method::OPTIONS,
            content: Content::Empty { content_type: None },
            query: None,
            headers,
            expected: Expected::Origin(origin.to_owned()),
        })
    }
}

/// The status says nothing: servers answer OPTIONS with 200 that have never heard of this.
pub(super) fn judge(answer: &Answer<'_>, origin: &str) -> Result<Proof, Unproven> {
    let granted = answer.allowed_origin.map(str::trim);
    if !granted.is_some_and(|granted| granted == "*" || granted.eq_ignore_ascii_case(origin)) {
        return Err(Unproven::Origin);
    }
    let rate = answer.allowed_rate.and_then(|text| text.trim().parse().ok());
    Ok(Proof::Whole {
        // `*`, and what is no positive number, sets no limit.
        allowed_per_minute: rate.filter(|count| *count > 0),
    })
}
