//! Handshakes: how an endpoint proves that it wants what it will be sent. What goes over the wire is said in
//! `crate::wire::handshake`, what becomes of an answer in [`super::verification`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits;

/// What an endpoint has to do before anything is delivered to it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handshake {
    /// Nothing.
    #[default]
    None,
    /// Answer an `endpoint.ping` event with any 2xx.
    Ping,
    /// Answer a POST, and then echo a code that came in another, or have a person submit it.
    Ziggeo,
    /// Sign a token with the secret; again every three days.
    Zoom,
    /// Echo a challenge.
    Slack,
    /// Grant our origin in the answer to an OPTIONS request (CloudEvents HTTP 1.1 Web Hooks, section 4).
    Cloudevents,
    /// Echo the `validationToken` of the query.
    MicrosoftGraph,
}

impl Handshake {
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Ping,
        Self::Ziggeo,
        Self::Zoom,
        Self::Slack,
        Self::Cloudevents,
        Self::MicrosoftGraph,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ping => "ping",
            Self::Ziggeo => "ziggeo",
            Self::Zoom => "zoom",
            Self::Slack => "slack",
            Self::Cloudevents => "cloudevents",
            Self::MicrosoftGraph => "microsoft-graph",
        }
    }

    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }

    /// How long a proof holds; `None` for good.
    pub const fn repeated_every(self) -> Option<Duration> {
        match self {
            Self::Zoom => Some(limits::ZOOM_PROOF_HOLDS),
            Self::None
            | Self::Ping
            | Self::Ziggeo
            | Self::Slack
            | Self::Cloudevents
            | Self::MicrosoftGraph => None,
        }
    }

    /// Within which time an answer has to come, however long the endpoint's own time for an attempt is.
    pub const fn answer_within(self) -> Duration {
        match self {
            Self::Zoom => limits::ZOOM_ANSWER,
            Self::MicrosoftGraph => limits::MICROSOFT_GRAPH_ANSWER,
            Self::None | Self::Ping | Self::Ziggeo | Self::Slack | Self::Cloudevents => {
                limits::HANDSHAKE_ANSWER
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_their_serialised_form() {
        for handshake in Handshake::ALL {
            assert_eq!(serde_json::to_value(handshake).unwrap(), handshake.as_str());
        }
    }
}
