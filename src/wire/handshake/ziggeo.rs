//! Ziggeo's two steps: is someone there, and does the code come back.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::{Challenge, Content, Expected, equal, member};
use crate::domain::{id::EndpointId, verification::Code};

impl Challenge {
    /// The first step, which has to be answered with 200.
    pub fn ziggeo_reach() -> Self {
        let document =
            r#"{"ziggeo_validation":true,"message":"Hi! We're just verifying that the url exists."}"#;
        Self::ziggeo(Bytes::from_static(document.as_bytes()), Expected::Status(200))
    }

    /// The second step: the code goes out.
    pub fn ziggeo_code(code: &Code, endpoint: EndpointId) -> Self {
        // In the order of the documented bytes, which a map would not keep.
        let document = format!(
            r#"{{"ziggeo_validation":true,"validation_code":{},"webhook_id":{}}}"#,
            code.expose(),
            json!(endpoint)
        );
        let expected = Expected::Code {
            code: code.expose().to_owned(),
            endpoint: endpoint.to_string(),
        };
        Self::ziggeo(Bytes::from(document), expected)
    }

    fn ziggeo(document: Bytes, expected: Expected) -> Self {
        Self {
            event_type: "ziggeo_validation",
            method: Method::POST,
            content: Content::Document(document),
            query: None,
            headers: Vec::new(),
            expected,
        }
    }
}

/// Whether an answer holds both the code and the endpoint's id, as JSON or as a form.
pub(super) fn came_back(body: &[u8], code: &str, endpoint: &str) -> bool {
    let is =
        |name: &str, wanted: &str| member(body, name).is_some_and(|given| equal(given.as_bytes(), wanted));
    is("validation_code", code) & is("webhook_id", endpoint)
}
