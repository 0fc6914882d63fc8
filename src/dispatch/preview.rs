//! Previewing: the request that an event would become, made and not sent.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::{
    attempt,
    engine::Engine,
    error::{BUSY, EngineError},
    weight,
};
use crate::domain::{condition::Verdict, event::NewEvent, id::EndpointId, subscription};

/// A request as it would be sent now. It holds the endpoint's credentials and headers as they are.
#[derive(Debug, Serialize)]
pub struct PreviewView {
    pub method: String,
    pub url: String,
    /// Names and values in the order in which they are sent.
    pub headers: Vec<(String, String)>,
    /// The body, when it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// The whole request as HTTP/1.1 carries it, byte for byte.
    pub http_base64: String,
    /// Whether the endpoint's subscription wants such an event.
    pub matched: bool,
}

impl Engine {
    /// Makes the request that an event would become at an endpoint, whether it is subscribed to it or not. The event is
    /// not accepted and nothing is sent.
    ///
    /// # Errors
    /// `Invalid` when the event cannot be accepted as it is, or becomes no request; `Busy` when the tenant may
    /// not have the memory now.
    pub async fn preview(&self, id: EndpointId, event: NewEvent) -> Result<PreviewView, EngineError> {
        let shared = &self.0;
        let endpoint = shared.endpoint(id)?;
        let (now, wall) = shared.clock.now_and_shown();
        event.check(wall)?;
        if event.tenant.is_some() && event.tenant != endpoint.spec.tenant {
            return Err(EngineError::Invalid {
                field: "tenant".to_owned(),
                rule: "is not the endpoint's; leave it out or give the endpoint's".to_owned(),
            });
        }
        let spec = &endpoint.spec;
        // The body is there four times over, as it is, in the whole request, and as text of both.
        let bytes = 4 * weight::of_attempt(spec, event.payload.bytes.len(), shared.options.encoded_limit);
        let _lease = shared.memory.try_take(&spec.tenant, bytes).ok_or(BUSY)?;
        let channel = event.channel.as_ref();
        let subscribed =
            subscription::judge(&spec.events, &spec.channels, &event.event_type, channel).is_ok();
        let accepted = shared.record_for(event, [0; 16], None, now, Vec::new());
        let verdict = || shared.registry.verdict(id, (&accepted).into());
        let matched = subscribed && verdict().is_none_or(|verdict| verdict == Verdict::Matched);
        let request = attempt::build(&shared.options, &endpoint, accepted, shared.clock.wall(), now)
            .map_err(|error| EngineError::Invalid {
                field: "data".to_owned(),
                rule: format!("makes no request: {}", super::error::chain(&error)),
            })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let body = std::str::from_utf8(&request.body).ok().map(ToOwned::to_owned);
        Ok(PreviewView {
            method: "POST".to_owned(),
            url: request.url.to_string(),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
                .collect(),
            body_base64: body.is_none().then(|| STANDARD.encode(&request.body)),
            body,
            http_base64: STANDARD.encode(request.http1_bytes()),
            matched,
        })
    }
}
