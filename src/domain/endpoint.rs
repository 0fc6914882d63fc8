//! Endpoints: receivers, with what they want, how they are reached, and how they stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{
    auth::Auth,
    duration::Span,
    endpoint_url::EndpointUrl,
    event::{Label, is_unsafe},
    format::{Encoding, Envelope, Scheme},
    handshake::Handshake,
    headers::CustomHeaders,
    id::{EndpointId, Lsn},
    limits, number,
    ordering::Ordering,
    outcome::{Reason, Treatment},
    profile::ProfileName,
    proxy::ProxyChoice,
    retry::RetryPolicy,
    settle::Policy,
    signing::{self, Retired, SignatureSpec},
    subscription::Pattern,
    time::Timestamp,
    tls::TlsSpec,
    verification::Verification,
};

/// Which failures disable an endpoint.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisableOn {
    #[default]
    EndpointErrors,
    AnyNonTransient,
    GoneOnly,
    Never,
}

/// At most this many attempts are begun in a second, after a burst.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub per_second: f64,
    #[serde(
        default = "Rate::default_burst",
        deserialize_with = "number::whole::<1, 100_000, _, _>"
    )]
    pub burst: u32,
}

impl Rate {
    const fn default_burst() -> u32 {
        1
    }
}

/// An endpoint's configuration: the JSON document that the API takes, with its secrets.
///
/// It is persisted as this document, sealed, so members may be added with a default; none may change its meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    pub url: EndpointUrl,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Label>,
    #[serde(default = "everything")]
    pub events: Vec<Pattern>,
    #[serde(default)]
    pub channels: Vec<Label>,
    /// An expression over the event (see [`super::condition`]); without one, the patterns and channels decide alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Says whether a new endpoint starts `active` (the default) or `paused`. Not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default)]
    pub headers: CustomHeaders,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    #[serde(default)]
    pub profile: ProfileName,
    #[serde(default)]
    pub envelope: Envelope,
    #[serde(default)]
    pub encoding: Encoding,
    /// A template whose output is the body, in place of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
    #[serde(default = "one_standard_signature", deserialize_with = "signing::list")]
    pub signatures: Vec<SignatureSpec>,
    #[serde(default)]
    pub handshake: Handshake,
    #[serde(default)]
    pub retry: RetryPolicy,
    #[serde(default)]
    pub disable_on: DisableOn,
    #[serde(default = "once", deserialize_with = "number::whole::<1, 1000, _, _>")]
    pub disable_after: u32,
    #[serde(default = "five_days")]
    pub failing_for: Span,
    #[serde(default = "one_day")]
    pub retry_after_max: Span,
    #[serde(default, deserialize_with = "by_status")]
    pub treat_as: BTreeMap<u16, Treatment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "number::whole_or_none::<1, CONCURRENCY, _, _>"
    )]
    pub concurrency: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Left out, the operator's proxy is used if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyChoice>,
    #[serde(default)]
    pub ordering: Ordering,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// Reads a table whose names are status codes.
fn by_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u16, Treatment>, D::Error> {
    let named: BTreeMap<String, Treatment> = BTreeMap::deserialize(deserializer)?;
    let by_code = named.into_iter().map(|(name, treatment)| {
        let code = name.parse().ok().filter(|code| (100..=999).contains(code));
        code.map(|code| (code, treatment))
    });
    let read: Option<_> = by_code.collect();
    read.ok_or_else(|| D::Error::custom("its names are status codes from 100 to 999"))
}

const CONCURRENCY: u64 = limits::ENDPOINT_CONCURRENCY as u64;

/// The names of all members of [`EndpointSpec`].
pub const MEMBERS: [&str; 29] = [
    "url",
    "name",
    "description",
    "tenant",
    "events",
    "channels",
    "condition",
    "enabled",
    "headers",
    "auth",
    "profile",
    "envelope",
    "encoding",
    "transform",
    "signatures",
    "handshake",
    "retry",
    "disable_on",
    "disable_after",
    "failing_for",
    "retry_after_max",
    "treat_as",
    "timeout",
    "rate",
    "concurrency",
    "ordering",
    "tls",
    "proxy",
    "metadata",
];

fn everything() -> Vec<Pattern> {
    vec![Pattern::Everything]
}

fn one_standard_signature() -> Vec<SignatureSpec> {
    vec![SignatureSpec::of(Scheme::Standard)]
}

const fn once() -> u32 {
    1
}

const fn five_days() -> Span {
    Span::from_secs(5 * 86_400)
}

const fn one_day() -> Span {
    Span::from_secs(86_400)
}

/// Why a configuration is refused although each member reads well; `field` is the member to change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidSpec {
    pub field: &'static str,
    pub rule: &'static str,
}

impl EndpointSpec {
    /// Checks ranges and what depends on several members.
    ///
    /// # Errors
    /// Names the first member that breaks a rule.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        let text = |text: &str| text.len() <= limits::TEXT_BYTES && !text.chars().any(is_unsafe);
        let optional = |value: &Option<String>| value.as_deref().is_none_or(text);
        let schemes = || self.signatures.iter().map(|signature| signature.scheme);
        let rules = [
            (
                optional(&self.name),
                "name",
                "use at most 1024 bytes without control characters",
            ),
            (
                self.description
                    .as_deref()
                    .is_none_or(|text| text.len() <= limits::TEXT_BYTES),
                "description",
                "use at most 1024 bytes",
            ),
            (
                (1..=limits::SUBSCRIPTION_PATTERNS).contains(&self.events.len()),
                "events",
                "give 1 to 256 patterns; [\"*\"] is every event",
            ),
            (
                self.channels.len() <= limits::SUBSCRIPTION_PATTERNS,
                "channels",
                "give at most 256",
            ),
            (
                self.encoding == Encoding::Json || !self.envelope.is_cloud_event(),
                "encoding",
                "a CloudEvent is JSON; use json, or another envelope",
            ),
            (
                self.signatures.len() <= limits::SIGNATURES,
                "signatures",
                "give at most 4",
            ),
            (
                self.handshake != Handshake::Zoom || schemes().any(|scheme| scheme == Scheme::Zoom),
                "handshake",
                "zoom needs a signature of the scheme zoom, whose secret the receiver proves that it knows; add it to \
                 signatures",
            ),
            (
                (1..=1000).contains(&self.disable_after),
                "disable_after",
                "the range is 1 to 1000",
            ),
            (
                in_range(self.failing_for, 60, 365 * 86_400),
                "failing_for",
                "the range is 1m to 365d",
            ),
            (
                in_range(self.retry_after_max, 0, 30 * 86_400),
                "retry_after_max",
                "the range is 0s to 30d",
            ),
            (
                self.treat_as.keys().all(|status| (100..=999).contains(status)),
                "treat_as",
                "its names are status codes from 100 to 999",
            ),
            (
                self.timeout.is_none_or(|timeout| in_range(timeout, 1, 300)),
                "timeout",
                "the range is 1s to 300s",
            ),
            (
                self.rate
                    .is_none_or(|rate| (0.001..=100_000.0).contains(&rate.per_second)),
                "rate.per_second",
                "the range is 0.001 to 100000",
            ),
            (
                self.rate.is_none_or(|rate| (1..=100_000).contains(&rate.burst)),
                "rate.burst",
                "the range is 1 to 100000",
            ),
            (
                self.concurrency
                    .is_none_or(|count| (1..=limits::ENDPOINT_CONCURRENCY).contains(&count)),
                "concurrency",
                "the range is 1 to 1024",
            ),
            (
                self.metadata.len() <= limits::METADATA
                    && self
                        .metadata
                        .iter()
                        .all(|(name, value)| text(name) && text(value)),
                "metadata",
                "give at most 64 entries of at most 1024 bytes without control characters",
            ),
        ];
        match rules.into_iter().find(|(holds, _, _)| !holds) {
            Some((_, field, rule)) => Err(InvalidSpec { field, rule }),
            None => Ok(()),
        }
    }

    /// Whether what was proved of an earlier configuration is proved of this one: the same receiver, reached in the same
    /// way, and what signed then still signs, be it in its grace.
    pub fn keeps_proof_of(&self, before: &Self, notes: &Notes, now: Timestamp) -> bool {
        let still_signs = |old: &SignatureSpec| {
            let current = self.signatures.iter();
            current
                .filter(|new| new.scheme == old.scheme)
                .any(|new| new.secret == old.secret)
                || notes
                    .in_grace(old.scheme, now)
                    .any(|retired| Some(&retired.secret) == old.secret.as_ref())
        };
        self.handshake == before.handshake
            && self.url == before.url
            && self.auth == before.auth
            && self.tls == before.tls
            && self.signatures.len() == before.signatures.len()
            && before.signatures.iter().all(still_signs)
    }

    pub fn policy(&self) -> Policy {
        Policy {
            retry: self.retry.clone(),
            disable_on: self.disable_on,
            disable_after: self.disable_after,
            failing_for: self.failing_for,
            retry_after_max: self.retry_after_max,
        }
    }
}

fn in_range(span: Span, least_secs: u64, most_secs: u64) -> bool {
    (Span::from_secs(least_secs)..=Span::from_secs(most_secs)).contains(&span)
}

/// How an endpoint stands. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Sent to.
    Active,
    /// Held by a person.
    Paused,
    /// Held by a rule, or by a person who says it is broken.
    Disabled,
    /// Held until its handshake succeeds.
    Unverified,
}

impl EndpointState {
    pub const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Disabled, Self::Unverified];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::Unverified => "unverified",
        }
    }
}

/// What disabled an endpoint. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisableWhy {
    /// A person.
    Manual,
    /// An attempt ended as an endpoint error.
    EndpointError,
    /// An attempt ended as an event error, and the rule counts those too.
    EventError,
    /// Every attempt of one delivery ended suspect.
    SuspectExhausted,
    /// Nothing but failures for as long as `failing_for`.
    FailingFor,
    /// Its profile sends nothing unsigned, and it has no secret.
    NoSecret,
}

impl DisableWhy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::EndpointError => "endpoint_error",
            Self::EventError => "event_error",
            Self::SuspectExhausted => "suspect_exhausted",
            Self::FailingFor => "failing_for",
            Self::NoSecret => "no_secret",
        }
    }
}

/// Why an endpoint is disabled, for programs to read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisabledReason {
    pub why: DisableWhy,
    /// The deciding attempt's reason and status, when an attempt decided.
    pub reason: Option<Reason>,
    pub status: Option<u16>,
}

/// A change of state. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateChange {
    /// To `active`; what is held is released, or cancelled when `discard` says so.
    Enable {
        discard: bool,
    },
    Pause,
    Disable(DisabledReason),
    /// Its proof does not hold for what a person has made of it.
    Unverify,
    /// Its proof could not be repeated: someone has to be told.
    Lapse,
}

impl StateChange {
    pub const fn state(&self) -> EndpointState {
        match self {
            Self::Enable { .. } => EndpointState::Active,
            Self::Pause => EndpointState::Paused,
            Self::Disable(_) => EndpointState::Disabled,
            Self::Unverify | Self::Lapse => EndpointState::Unverified,
        }
    }
}

/// How an endpoint stands and since when. Persisted in the store.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub state: EndpointState,
    pub since: Timestamp,
    pub disabled: Option<DisabledReason>,
    /// The attempt that disabled it: when it began, and the record that settled it.
    pub disabled_by: Option<(Timestamp, Lsn)>,
    /// Disabled by a rule, or its proof has lapsed, and the operational event that tells of it is not accepted yet.
    pub notice_due: bool,
}

impl Standing {
    pub const fn new(change: &StateChange, at: Timestamp) -> Self {
        let disabled = match change {
            StateChange::Disable(reason) => Some(*reason),
            StateChange::Enable { .. } | StateChange::Pause | StateChange::Unverify | StateChange::Lapse => {
                None
            }
        };
        Self {
            state: change.state(),
            since: at,
            disabled,
            disabled_by: None,
            notice_due: matches!(change, StateChange::Lapse),
        }
    }

    /// The standing after an attempt, by when it began and the record that settled it, disabled the endpoint.
    pub const fn disabled_by(reason: DisabledReason, attempt: (Timestamp, Lsn), at: Timestamp) -> Self {
        let standing = Self::new(&StateChange::Disable(reason), at);
        Self {
            disabled_by: Some(attempt),
            notice_due: true,
            ..standing
        }
    }
}

/// What the server itself notes of an endpoint. Persisted beside its configuration, sealed: members may be added with a
/// default, none may change its meaning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// Secrets that were rotated out and still sign, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Retired>,
    /// How far its handshake has come; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

impl Notes {
    /// Whether they prove what a handshake asks for.
    pub fn prove(&self, handshake: Handshake) -> bool {
        handshake.is_none() || self.verification.as_ref().is_some_and(Verification::is_proved)
    }
}

/// A receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub standing: Standing,
    pub spec: EndpointSpec,
    pub notes: Notes,
}

impl Endpoint {
    /// Whether deliveries may be sent now; otherwise they are held.
    pub const fn is_active(&self) -> bool {
        matches!(self.standing.state, EndpointState::Active)
    }

    /// Whether it has no handshake to do, or has done it.
    pub fn is_proved(&self) -> bool {
        self.notes.prove(self.spec.handshake)
    }

    /// When its handshake, or the consequence of one that a crash has cut off, is to be seen to without anyone asking.
    pub fn handshake_due(&self) -> Option<Timestamp> {
        let verification = self.notes.verification.as_ref();
        match (self.standing.state, self.is_proved()) {
            (EndpointState::Unverified, true) | (EndpointState::Active, false) => Some(Timestamp::EPOCH),
            _ => verification.and_then(|verification| verification.next_at),
        }
    }

    /// At most this many attempts are begun in a second: as its configuration says, and as the receiver has granted.
    pub fn rate(&self) -> Option<Rate> {
        let verification = self.notes.verification.as_ref();
        let granted = verification
            .and_then(|verification| verification.allowed_per_minute)
            .map(|count| f64::from(count) / 60.0);
        match (self.spec.rate, granted) {
            (own, None) => own,
            (None, Some(per_second)) => Some(Rate {
                per_second,
                burst: Rate::default_burst(),
            }),
            (Some(own), Some(granted)) => Some(Rate {
                per_second: own.per_second.min(granted),
                ..own
            }),
        }
    }
}
