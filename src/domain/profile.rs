//! Profiles: named presets of what a sending system does.
//!
//! A profile fills in what an endpoint's document leaves out, when the document is saved; from then on the endpoint
//! has these settings itself, and a profile that changes later changes no endpoint behind anyone's back. One table
//! holds the profiles that are built in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    duration::Span,
    endpoint::DisableOn,
    format::{Encoding, Envelope, Scheme},
    handshake::Handshake,
    plain,
    retry::RetryPolicy,
};

/// A profile's name: 1 to 64 of `a-z`, `0-9`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(String);

/// Why a text names no profile.
#[derive(Debug, thiserror::Error)]
#[error("not a profile's name; use 1 to 64 of a-z 0-9 _ -")]
pub struct InvalidProfileName;

/// What a profile settles unless the endpoint does.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    pub envelope: Envelope,
    pub encoding: Encoding,
    pub schemes: Vec<Scheme>,
    /// Whether an endpoint without a secret of its own is kept from receiving, rather than given a secret.
    pub secret_required: bool,
    pub handshake: Handshake,
    pub retry: RetryPolicy,
    pub disable_on: DisableOn,
}

/// A preset as a document: what it says otherwise than its base.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ProfileName>,
    #[serde(default)]
    pub envelope: Option<Envelope>,
    #[serde(default)]
    pub encoding: Option<Encoding>,
    #[serde(default)]
    pub signatures: Option<Vec<Scheme>>,
    #[serde(default)]
    pub secret_required: Option<bool>,
    #[serde(default)]
    pub handshake: Option<Handshake>,
    #[serde(default)]
    pub disable_on: Option<DisableOn>,
    // Last: a table, in formats where tables stand behind values.
    #[serde(default)]
    pub retry: Option<RetryPolicy>,
}

/// Why a document describes no preset.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidPreset {
    pub field: String,
    pub rule: String,
}

/// Every profile that endpoints may name.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles(Vec<(ProfileName, Preset)>);

/// The members of an endpoint's document that a profile settles.
pub const SETTLED: [&str; 6] = [
    "envelope",
    "encoding",
    "signatures",
    "handshake",
    "retry",
    "disable_on",
];

impl Default for ProfileName {
    fn default() -> Self {
        Self("standard".to_owned())
    }
}

impl ProfileName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProfileName {
    type Error = InvalidProfileName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text))
        } else {
            Err(InvalidProfileName)
        }
    }
}

impl FromStr for ProfileName {
    type Err = InvalidProfileName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for Preset {
    fn default() -> Self {
        Self {
            envelope: Envelope::Standard,
            encoding: Encoding::Json,
            schemes: vec![Scheme::Standard],
            secret_required: false,
            handshake: Handshake::None,
            retry: RetryPolicy::default(),
            disable_on: DisableOn::EndpointErrors,
        }
    }
}

impl PresetDocument {
    /// # Errors
    /// The member at fault.
    pub fn read(document: Map<String, Value>) -> Result<Self, InvalidPreset> {
        serde_path_to_error::deserialize(Value::Object(document)).map_err(|error| InvalidPreset {
            field: error.path().to_string(),
            rule: plain::words(&error.into_inner().to_string()),
        })
    }
}

impl Preset {
    /// The preset that starts from this one.
    #[must_use]
    pub fn with(&self, document: PresetDocument) -> Self {
        Self {
            envelope: document.envelope.unwrap_or(self.envelope),
            encoding: document.encoding.unwrap_or(self.encoding),
            schemes: document.signatures.unwrap_or_else(|| self.schemes.clone()),
            secret_required: document.secret_required.unwrap_or(self.secret_required),
            handshake: document.handshake.unwrap_or(self.handshake),
            retry: document.retry.unwrap_or_else(|| self.retry.clone()),
            disable_on: document.disable_on.unwrap_or(self.disable_on),
        }
    }

    /// The document that makes this preset of any other.
    pub fn document(&self) -> PresetDocument {
        PresetDocument {
            base: None,
            envelope: Some(self.envelope),
            encoding: Some(self.encoding),
            signatures: Some(self.schemes.clone()),
            secret_required: Some(self.secret_required),
            handshake: Some(self.handshake),
            retry: Some(self.retry.clone()),
            disable_on: Some(self.disable_on),
        }
    }

    /// Puts in what a document leaves out.
    pub fn fill(&self, document: &mut Map<String, Value>) {
        let signatures: Vec<Value> = self
            .schemes
            .iter()
            .map(|scheme| json!({ "scheme": scheme }))
            .collect();
        let settled = [
            json!(self.envelope),
            json!(self.encoding),
            Value::from(signatures),
            json!(self.handshake),
            json!(self.retry),
            json!(self.disable_on),
        ];
        for (name, value) in SETTLED.into_iter().zip(settled) {
            document.entry(name).or_insert(value);
        }
    }
}

impl Default for Profiles {
    fn default() -> Self {
        let named = |(name, preset): (&str, Preset)| (ProfileName(name.to_owned()), preset);
        Self(built_in().into_iter().map(named).collect())
    }
}

impl Profiles {
    pub fn get(&self, name: &ProfileName) -> Option<&Preset> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, preset)| preset)
    }

    pub fn names(&self) -> impl Iterator<Item = &ProfileName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Adds a profile, or puts it in the place of the one that has its name.
    pub fn set(&mut self, name: ProfileName, preset: Preset) {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, preset));
    }
}

/// The table of built-in profiles; where a row says nothing it does as `standard` does. The senders' own
/// documentation is named in `docs/profiles/`.
fn built_in() -> Vec<(&'static str, Preset)> {
    let standard = Preset::default;
    let signed_bare = |scheme| Preset {
        envelope: Envelope::Bare,
        schemes: vec![scheme],
        ..standard()
    };
    vec![
        ("standard", standard()),
        (
            "flowplayer",
            Preset {
                envelope: Envelope::Flowplayer,
                schemes: vec![Scheme::Flowplayer],
                secret_required: true,
                ..standard()
            },
        ),
        (
            "ziwo",
            Preset {
                envelope: Envelope::Bare,
                schemes: Vec::new(),
                ..standard()
            },
        ),
        ("github", signed_bare(Scheme::Github)),
        ("stripe", signed_bare(Scheme::Stripe)),
        (
            "cloudevents",
            Preset {
                envelope: Envelope::Cloudevents,
                handshake: Handshake::Cloudevents,
                ..standard()
            },
        ),
        (
            "vidizmo",
            Preset {
                schemes: Vec::new(),
                handshake: Handshake::Ping,
                retry: RetryPolicy::Fixed {
                    retries: 3,
                    delay: Span::from_secs(5),
                },
                disable_on: DisableOn::AnyNonTransient,
                ..standard()
            },
        ),
        (
            "ziggeo",
            Preset {
                envelope: Envelope::Ziggeo,
                encoding: Encoding::Form,
                schemes: Vec::new(),
                handshake: Handshake::Ziggeo,
                ..standard()
            },
        ),
        (
            "zoom",
            Preset {
                envelope: Envelope::Zoom,
                schemes: vec![Scheme::Zoom],
                handshake: Handshake::Zoom,
                retry: RetryPolicy::Delays([5, 20, 60].map(|minutes| Span::from_secs(minutes * 60)).to_vec()),
                ..standard()
            },
        ),
        (
            "slack",
            Preset {
                handshake: Handshake::Slack,
                // The first is as good as immediate, and still no storm.
                retry: RetryPolicy::Delays([100, 60_000, 300_000].map(Span::from_millis).to_vec()),
                ..signed_bare(Scheme::Slack)
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::EndpointSpec;

    #[test]
    fn every_profile_fills_a_document_that_reads_as_it_says() {
        let profiles = Profiles::default();
        for name in profiles.names() {
            let preset = profiles.get(name).unwrap();
            let mut document = json!({"url": "https://h.test/", "profile": name});
            preset.fill(document.as_object_mut().unwrap());
            let spec: EndpointSpec = serde_json::from_value(document).unwrap();
            let schemes: Vec<Scheme> = spec.signatures.iter().map(|signature| signature.scheme).collect();
            assert_eq!(
                (
                    spec.envelope,
                    spec.encoding,
                    schemes,
                    spec.handshake,
                    &spec.retry,
                    spec.disable_on
                ),
                (
                    preset.envelope,
                    preset.encoding,
                    preset.schemes.clone(),
                    preset.handshake,
                    &preset.retry,
                    preset.disable_on
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn what_a_document_says_itself_is_left_alone() {
        let mut document =
            json!({"envelope": "bare", "retry": {"retries": 1, "delay": "1s"}, "signatures": []});
        let before = document.clone();
        Preset::default().fill(document.as_object_mut().unwrap());
        for name in ["envelope", "retry", "signatures"] {
            assert_eq!(document[name], before[name]);
        }
        assert_eq!(document["disable_on"], "endpoint_errors");
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!("vidizmo-2".parse::<ProfileName>().is_ok());
        for bad in ["", "Zoom", "a b", "a.b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<ProfileName>().is_err(), "{bad}");
        }
    }
}
