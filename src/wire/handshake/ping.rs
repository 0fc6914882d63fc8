//! A signed event that any 2xx takes: VIDIZMO's test of the connection.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::{Challenge, Content, Expected};
use crate::domain::id::EndpointId;

impl Challenge {
    /// An `endpoint.ping` event.
    pub fn ping(endpoint: EndpointId) -> Self {
        let data = json!({ "endpoint_id": endpoint });
        Self {
            event_type: "endpoint.ping",
            method: Method::POST,
            content: Content::Event(Bytes::from(data.to_string())),
            query: None,
            headers: Vec::new(),
            expected: Expected::Success,
        }
    }
}
