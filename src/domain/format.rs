//! The names of what shapes a request: schemes, algorithms, envelopes and encodings. How each becomes bytes is said in
//! `crate::wire`.

use serde::{Deserialize, Serialize};

/// How requests are signed. The order is that of the table in `crate::wire`: append only.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    #[default]
    Standard,
    Svix,
    Flowplayer,
    Github,
    Stripe,
    Zoom,
    Slack,
    Shopify,
    Convoy,
    ConvoyAdvanced,
}

/// What a secret is a key of.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// HMAC-SHA256: both sides hold the secret.
    #[default]
    Hmac,
    /// The receiver holds the public key alone.
    Ed25519,
}

impl Algorithm {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// The shape of the body, with T the event's type and DATA what was enqueued.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// `{"type":T,"timestamp":OCCURRED_AT,"data":DATA}` (Standard Webhooks 1.0).
    #[default]
    Standard,
    /// DATA alone, the bytes as they were enqueued.
    Bare,
    /// `{"event_type":T,"event_id":ID,"created_at":OCCURRED_AT,"payload":DATA}`.
    Flowplayer,
    /// `{"event_type":T,"data":DATA}`.
    Ziggeo,
    /// `{"event":T,"event_ts":MILLIS,"payload":DATA}`.
    Zoom,
    /// A CloudEvent 1.0 in structured mode: the whole event as one JSON document.
    Cloudevents,
    /// A CloudEvent 1.0 in binary mode: DATA alone, and all else of the event in `ce-` headers.
    #[serde(rename = "cloudevents-binary")]
    CloudeventsBinary,
}

impl Envelope {
    /// Whether it is a CloudEvent, whose bytes no other encoding may change.
    pub const fn is_cloud_event(self) -> bool {
        match self {
            Self::Cloudevents | Self::CloudeventsBinary => true,
            Self::Standard | Self::Bare | Self::Flowplayer | Self::Ziggeo | Self::Zoom => false,
        }
    }
}

/// How the envelope's document is written. What is not JSON is sent as it is under every one of them.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As it is: `application/json`.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`, with nested names in brackets.
    Form,
    /// `application/xml`, with the root `event`.
    Xml,
}
