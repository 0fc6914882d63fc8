//! Slack's challenge: what was sent comes back.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::{Answer, Challenge, Content, Expected, Unproven, equal, member, success};

impl Challenge {
    /// A `url_verification` event. Its `token` is Slack's older way of signing, which we do not have: it is random,
    /// and the signature is what a receiver verifies.
    pub fn slack(random: [u8; 32], token: [u8; 16]) -> Self {
        let challenge = URL_SAFE_NO_PAD.encode(random);
        // In the order of the documented bytes, which a map would not keep.
        let document = format!(
            r#"{{"token":{},"challenge":{},"type":"url_verification"}}"#,
            json!(URL_SAFE_NO_PAD.encode(token)),
            json!(challenge)
        );
        Self {
            event_type: "url_verification",
            method: Method::POST,
            content: Content::Document(Bytes::from(document)),
            query: None,
            headers: Vec::new(),
            expected: Expected::Challenge(challenge),
        }
    }
}

pub(super) fn judge(answer: &Answer<'_>, challenge: &str) -> Result<(), Unproven> {
    success(answer)?;
    let as_text = equal(answer.body.trim_ascii(), challenge);
    let as_member = member(answer.body, "challenge").is_some_and(|given| equal(given.as_bytes(), challenge));
    if as_text | as_member {
        Ok(())
    } else {
        Err(Unproven::Challenge)
    }
}
