//! Microsoft Graph's validation of a notification URL: the token of the query comes back as plain text, decoded.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;

use super::{Answer, Challenge, Content, Expected, Unproven, equal};

impl Challenge {
    /// A POST without a body. The token has characters that are encoded in a query, so that only decoding gives it back.
    pub fn microsoft_graph(random: [u8; 16]) -> Self {
        let token = format!("Validation: {}", URL_SAFE_NO_PAD.encode(random));
        Self {
            event_type: "endpoint.verification",
            method: Method::POST,
            content: Content::Empty {
                content_type: Some("text/plain; charset=utf-8"),
            },
            query: Some(("validationToken", token.clone())),
            headers: Vec::new(),
            expected: Expected::PlainText(token),
        }
    }
}

pub(super) fn judge(answer: &Answer<'_>, token: &str) -> Result<(), Unproven> {
    if answer.status != 200 {
        return Err(Unproven::Status("200"));
    }
    let media_type = answer
        .content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("text/plain") {
        return Err(Unproven::ContentType);
    }
    if equal(answer.body.trim_ascii_end(), token) {
        Ok(())
    } else {
        Err(Unproven::ValidationToken)
    }
}
