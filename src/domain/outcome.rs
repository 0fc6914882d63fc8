//! What an attempt's result means: the classification table.
//!
//! The sender observes ([`Observation`]); this file decides ([`classify`]). There is one table of statuses
//! ([`status_class`]) and one of faults ([`Fault::class`]); docs/DELIVERY.md shows both and a test compares.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{duration::Span, time::Timestamp};

/// Who or what an attempt's result is about. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The receiver took it.
    Delivered,
    /// It may work later: retried with backoff.
    Transient,
    /// About the endpoint, and not going away by itself.
    EndpointError,
    /// About this event: the receiver will not have it.
    EventError,
    /// Our own trouble: retried without spending an attempt, nobody blamed.
    Ours,
}

impl Class {
    pub const ALL: [Self; 5] = [
        Self::Delivered,
        Self::Transient,
        Self::EndpointError,
        Self::EventError,
        Self::Ours,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Transient => "transient",
            Self::EndpointError => "endpoint_error",
            Self::EventError => "event_error",
            Self::Ours => "ours",
        }
    }
}

/// Why an attempt got no usable answer. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No connection within the connect limit.
    TimeoutConnect,
    /// No complete answer head within the attempt's limit.
    TimeoutTotal,
    Refused,
    Reset,
    /// The host, or its network, cannot be reached.
    Unreachable,
    /// The connection ended before a whole answer head had come.
    ClosedEarly,
    /// The name server failed or did not answer (SERVFAIL, timeout).
    Dns,
    /// The name does not exist (NXDOMAIN), or has no address.
    DnsNotFound,
    TlsExpired,
    TlsNotYetValid,
    TlsUnknownIssuer,
    TlsWrongName,
    TlsRevoked,
    /// No TLS version or cipher suite in common.
    TlsNoCommonVersion,
    /// Any other failure of the TLS handshake, as when TLS is spoken to a plain port.
    TlsHandshake,
    /// The answer is not HTTP, or breaks its rules or our bounds.
    Protocol,
    /// The rules forbid the address; nothing was sent.
    AddressForbidden,
    /// The URL no longer parses, or is no longer allowed.
    UrlInvalid,
    /// No file descriptor was free here.
    Descriptors,
    /// No memory was free here.
    Memory,
    /// The payload could not be read from our disk.
    Disk,
    /// Our signing failed.
    Signing,
    /// Our clock shows a time before this program was built.
    Clock,
    /// This machine has no route to any network.
    NoRoute,
    /// The attempt was stopped here, by a shutdown or a defect.
    Interrupted,
    /// This machine has no certificate authorities to verify a receiver by.
    TlsNoRoots,
    /// The event cannot be written in the endpoint's encoding.
    Encoding,
    /// The token endpoint could not be connected to, so that the request was never sent.
    TokenUnreachable,
    /// The token endpoint has trouble that may pass: it broke off, was too slow, or answered so.
    TokenUnavailable,
    /// The token endpoint will not give a token for the endpoint's credentials.
    TokenRefused,
    /// The token endpoint is not what it should be, or answered something that is no token.
    TokenUnusable,
    /// The endpoint's own proxy could not be connected to, or broke off.
    ProxyUnreachable,
    /// The endpoint's own proxy would not let the request through.
    ProxyRefused,
    /// The proxy that the operator has set could not be connected to, or broke off.
    OurProxyUnreachable,
    /// The proxy that the operator has set would not let the request through.
    OurProxyRefused,
    /// The endpoint's transform gave no body for this event; nothing was sent.
    Transform,
    /// This process did not run while the attempt's limit passed: it was stopped, or the machine was.
    Stalled,
    /// The receiver's own certificate is an authority's (CA:TRUE), and is not in `ca_pem`.
    TlsCertificateIsCa,
    /// The certificate has no subjectAltName.
    TlsNoName,
    /// A key or signature of a kind that cannot be verified here.
    TlsUnsupportedKey,
    /// The certificate's extended key usage is not that of a server.
    TlsWrongPurpose,
    /// Who signed the certificate is no authority, or not for this name or this depth.
    TlsIssuerNotAllowed,
    /// The certificate cannot be read: damaged, of X.509 version 1, or with a critical extension nobody knows.
    TlsCertificateInvalid,
    /// The receiver cannot sign with its certificate's key.
    TlsWrongKey,
    /// The receiver refused the endpoint's client certificate, or wants one.
    TlsClientCertificate,
    /// The receiver knows no server of this name (alert `unrecognized_name`).
    TlsNameUnknown,
}

impl Fault {
    pub const ALL: [Self; 46] = [
        Self::TimeoutConnect,
        Self::TimeoutTotal,
        Self::Refused,
        Self::Reset,
        Self::Unreachable,
        Self::ClosedEarly,
        Self::Dns,
        Self::DnsNotFound,
        Self::TlsExpired,
        Self::TlsNotYetValid,
        Self::TlsUnknownIssuer,
        Self::TlsWrongName,
        Self::TlsRevoked,
        Self::TlsNoCommonVersion,
        Self::TlsHandshake,
        Self::Protocol,
        Self::AddressForbidden,
        Self::UrlInvalid,
        Self::Descriptors,
        Self::Memory,
        Self::Disk,
        Self::Signing,
        Self::Clock,
        Self::NoRoute,
        Self::Interrupted,
        Self::TlsNoRoots,
        Self::Encoding,
        Self::TokenUnreachable,
        Self::TokenUnavailable,
        Self::TokenRefused,
        Self::TokenUnusable,
        Self::ProxyUnreachable,
        Self::ProxyRefused,
        Self::OurProxyUnreachable,
        Self::OurProxyRefused,
        Self::Transform,
        Self::Stalled,
        Self::TlsCertificateIsCa,
        Self::TlsNoName,
        Self::TlsUnsupportedKey,
        Self::TlsWrongPurpose,
        Self::TlsIssuerNotAllowed,
        Self::TlsCertificateInvalid,
        Self::TlsWrongKey,
        Self::TlsClientCertificate,
        Self::TlsNameUnknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimeoutConnect => "timeout_connect",
            Self::TimeoutTotal => "timeout_total",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::ClosedEarly => "closed_early",
            Self::Dns => "dns",
            Self::DnsNotFound => "dns_not_found",
            Self::TlsExpired => "tls_expired",
            Self::TlsNotYetValid => "tls_not_yet_valid",
            Self::TlsUnknownIssuer => "tls_unknown_issuer",
            Self::TlsWrongName => "tls_wrong_name",
            Self::TlsRevoked => "tls_revoked",
            Self::TlsNoCommonVersion => "tls_no_common_version",
            Self::TlsHandshake => "tls_handshake",
            Self::Protocol => "protocol",
            Self::AddressForbidden => "address_forbidden",
            Self::UrlInvalid => "url_invalid",
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Signing => "signing",
            Self::Clock => "clock",
            Self::NoRoute => "no_route",
            Self::Interrupted => "interrupted",
            Self::TlsNoRoots => "tls_no_roots",
            Self::Encoding => "encoding",
            Self::TokenUnreachable => "token_unreachable",
            Self::TokenUnavailable => "token_unavailable",
            Self::TokenRefused => "token_refused",
            Self::TokenUnusable => "token_unusable",
            Self::ProxyUnreachable => "proxy_unreachable",
            Self::ProxyRefused => "proxy_refused",
            Self::OurProxyUnreachable => "our_proxy_unreachable",
            Self::OurProxyRefused => "our_proxy_refused",
            Self::Transform => "transform",
            Self::Stalled => "stalled",
            Self::TlsCertificateIsCa => "tls_certificate_is_ca",
            Self::TlsNoName => "tls_no_name",
            Self::TlsUnsupportedKey => "tls_unsupported_key",
            Self::TlsWrongPurpose => "tls_wrong_purpose",
            Self::TlsIssuerNotAllowed => "tls_issuer_not_allowed",
            Self::TlsCertificateInvalid => "tls_certificate_invalid",
            Self::TlsWrongKey => "tls_wrong_key",
            Self::TlsClientCertificate => "tls_client_certificate",
            Self::TlsNameUnknown => "tls_name_unknown",
        }
    }

    /// The class of this fault, and whether it is suspect.
    pub const fn class(self) -> (Class, bool) {
        match self {
            Self::TimeoutConnect
            | Self::TimeoutTotal
            | Self::Refused
            | Self::Reset
            | Self::Unreachable
            | Self::ClosedEarly
            | Self::Dns
            | Self::TokenUnreachable
            | Self::TokenUnavailable
            | Self::ProxyUnreachable => (Class::Transient, false),
            Self::DnsNotFound
            | Self::TlsExpired
            | Self::TlsNotYetValid
            | Self::TlsUnknownIssuer
            | Self::TlsWrongName
            | Self::TlsRevoked
            | Self::TlsNoCommonVersion
            | Self::TlsHandshake
            | Self::Protocol
            | Self::TokenUnusable
            | Self::TlsCertificateIsCa
            | Self::TlsNoName
            | Self::TlsUnsupportedKey
            | Self::TlsWrongPurpose
            | Self::TlsIssuerNotAllowed
            | Self::TlsCertificateInvalid
            | Self::TlsWrongKey
            | Self::TlsClientCertificate
            | Self::TlsNameUnknown => (Class::Transient, true),
            Self::AddressForbidden | Self::UrlInvalid | Self::TokenRefused | Self::ProxyRefused => {
                (Class::EndpointError, false)
            }
            Self::Encoding | Self::Transform => (Class::EventError, false),
            Self::Descriptors
            | Self::Memory
            | Self::Disk
            | Self::Signing
            | Self::Clock
            | Self::NoRoute
            | Self::Interrupted
            | Self::TlsNoRoots
            | Self::Stalled
            | Self::OurProxyUnreachable
            | Self::OurProxyRefused => (Class::Ours, false),
        }
    }
}

/// The stated reason of an outcome. Ordinals are persisted: append only.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The answer's status code says it.
    Status,
    /// The receiver asked for it with the header `webhook-delivery: disable`.
    DisableRequested,
    /// The receiver asked for it with the header `webhook-delivery: abort-message`.
    AbortRequested,
    Fault(Fault),
    /// The answer to a handshake proves nothing.
    Unproven,
}

impl Reason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::DisableRequested => "disable_requested",
            Self::AbortRequested => "abort_requested",
            Self::Fault(fault) => fault.as_str(),
            Self::Unproven => "unproven",
        }
    }
}

/// What a receiver may ask for in its answer's `webhook-delivery` header (Standard Webhooks 1.0).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    Disable,
    AbortMessage,
}

/// When a receiver asked to be tried again (RFC 9110, `Retry-After`).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    Delay(Span),
    At(Timestamp),
}

/// What the sender saw, before anyone judges it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    Response {
        /// The status code as sent, also outside 100..=599.
        status: u16,
        directive: Option<Directive>,
        retry_after: Option<RetryAfter>,
        /// The head came whole, but the body broke off or ran past a limit.
        body_broken: bool,
    },
    Fault(Fault),
}

/// An observation judged.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub class: Class,
    pub reason: Reason,
    pub status: Option<u16>,
    /// A transient outcome that becomes an endpoint error if every attempt of the delivery ends so.
    pub suspect: bool,
    pub retry_after: Option<RetryAfter>,
}

/// What an endpoint's `treat_as` may turn a status into.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    Delivered,
    Transient,
    EndpointError,
    EventError,
}

impl Treatment {
    const fn class(self) -> Class {
        match self {
            Self::Delivered => Class::Delivered,
            Self::Transient => Class::Transient,
            Self::EndpointError => Class::EndpointError,
            Self::EventError => Class::EventError,
        }
    }
}

/// Judges an observation by the endpoint's overrides, then by the tables.
pub fn classify(observation: Observation, treat_as: &BTreeMap<u16, Treatment>) -> Outcome {
    match observation {
        Observation::Fault(fault) => {
            let (class, suspect) = fault.class();
            Outcome {
                class,
                reason: Reason::Fault(fault),
                status: None,
                suspect,
                retry_after: None,
            }
        }
        Observation::Response {
            status,
            directive,
            retry_after,
            body_broken: _,
        } => {
            let (class, suspect) = match treat_as.get(&status) {
                Some(treatment) => (treatment.class(), false),
                None => status_class(status),
            };
            let (class, reason, suspect) = match directive {
                None if !is_final(status) && !treat_as.contains_key(&status) => {
                    (class, Reason::Fault(Fault::Protocol), suspect)
                }
                None => (class, Reason::Status, suspect),
                Some(Directive::Disable) => (Class::EndpointError, Reason::DisableRequested, false),
                Some(Directive::AbortMessage) => (Class::EventError, Reason::AbortRequested, false),
            };
            Outcome {
                class,
                reason,
                status: Some(status),
                suspect,
                retry_after,
            }
        }
    }
}

/// Whether a status can end an exchange. Those below 200 are interim, and above 599 there are none (RFC 9110, 15): a
/// receiver that ends with one does not speak HTTP.
const fn is_final(status: u16) -> bool {
    matches!(status, 200..=599)
}

/// The class of a status code, and whether it is suspect.
pub const fn status_class(status: u16) -> (Class, bool) {
    match status {
        200..=299 => (Class::Delivered, false),
        302 | 303 | 307 => (Class::Transient, true),
        408 | 409 | 421 | 423 | 424 | 425 | 429 => (Class::Transient, false),
        401 | 403 | 404 | 405 | 407 | 410 | 426 | 451 => (Class::EndpointError, false),
        400..=499 => (Class::EventError, false),
        501 | 505 | 506 | 508 | 510 => (Class::EndpointError, false),
        500..=599 => (Class::Transient, false),
        // 300, 301, 304, 305, 306, 308 and the like.
        300..=399 => (Class::EndpointError, false),
        // Not final: 1xx as the last answer, and what is no status at all. A protocol fault.
        0..=199 | 600.. => Fault::Protocol.class(),
    }
}

/// Which row of the tables, or what else, made an attempt's class: for people.
pub fn rule(class: Class, reason: Reason, status: Option<u16>) -> String {
    let class_name = class.as_str();
    match (reason, status) {
        (Reason::Status, Some(status)) => {
            let (by_table, suspect) = status_class(status);
            let suspect = if suspect { ", suspect" } else { "" };
            if by_table == class {
                format!("status {status} is {class_name}{suspect}")
            } else {
                let table = by_table.as_str();
                format!("status {status} is {class_name} by the endpoint's treat_as; the table says {table}")
            }
        }
        (Reason::Status, None) => class_name.to_owned(),
        (Reason::DisableRequested, _) => {
            format!("the answer's header webhook-delivery: disable makes it {class_name}")
        }
        (Reason::AbortRequested, _) => {
            format!("the answer's header webhook-delivery: abort-message makes it {class_name}")
        }
        (Reason::Unproven, _) => {
            format!("the answer does not prove what its handshake asks for: {class_name}")
        }
        (Reason::Fault(Fault::Protocol), Some(status)) => {
            format!("status {status} is no final status of HTTP: protocol, which is {class_name}, suspect")
        }
        (Reason::Fault(fault), _) => {
            let (by_table, suspect) = fault.class();
            let (name, why) = (fault.as_str(), fault.explanation());
            match (by_table == class, suspect) {
                (true, true) => format!("{name} is {class_name}, suspect: {why}"),
                (true, false) => format!("{name} is {class_name}: {why}"),
                (false, _) if class == Class::Ours => {
                    format!("{name}, like all other endpoints at that time: taken for trouble of our own")
                }
                (false, _) => format!("{name} made it {class_name}"),
            }
        }
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
