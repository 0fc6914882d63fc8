//! What each fault means, for people: shown with attempts and by `explain`. docs/DELIVERY.md shows the same texts, and a
//! test compares.

use super::outcome::{Fault, Reason};

impl Reason {
    /// What it means, where there was no answer that would say so.
    pub const fn explanation(self) -> Option<&'static str> {
        match self {
            Self::Fault(fault) => Some(fault.explanation()),
            Self::Status | Self::DisableRequested | Self::AbortRequested | Self::Unproven => None,
        }
    }
}

impl Fault {
    /// What happened, and what to do where that is known.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::TimeoutConnect => "no connection within the connect limit",
            Self::TimeoutTotal => "no whole answer head within the attempt's limit",
            Self::Refused => "the port is closed",
            Self::Reset => "the connection was reset",
            Self::Unreachable => "the host or its network cannot be reached",
            Self::ClosedEarly => "the connection ended before a whole answer head",
            Self::Dns => "the name server failed or did not answer",
            Self::DnsNotFound => {
                "the name does not exist, or has no address; name servers and /etc/hosts are asked, no \
                 mDNS"
            }
            Self::TlsExpired => "the certificate has expired",
            Self::TlsNotYetValid => {
                "the certificate is not valid yet; where our own clock is wrong it is clock instead"
            }
            Self::TlsUnknownIssuer => {
                "no authority that is believed has signed it: neither the system's, nor those of \
                 delivery.ca_file and tls.ca_pem; receivers have to send intermediate certificates along"
            }
            Self::TlsWrongName => "the certificate is for another name than the URL's host",
            Self::TlsRevoked => "the certificate was revoked",
            Self::TlsNoCommonVersion => {
                "no TLS version, cipher suite or kind of key in common: TLS 1.2 or 1.3 is needed, and a \
                 certificate with an RSA, ECDSA P-256 or P-384, or Ed25519 key"
            }
            Self::TlsHandshake => {
                "the answer to the handshake is not TLS, or breaks its rules: does the port speak TLS at \
                 all?"
            }
            Self::Protocol => "the answer is not HTTP, or breaks its rules or our bounds",
            Self::AddressForbidden => "the rules forbid the address; nothing was sent",
            Self::UrlInvalid => {
                "the URL is not allowed any more, as http under require_https, or https with a host that \
                 no certificate can be for"
            }
            Self::Descriptors => "no file descriptor or local port was free here",
            Self::Memory => {
                "no memory was free here, or the tenant's share of limits.memory was in use for 10 s"
            }
            Self::Disk => "the event could not be read from our disk",
            Self::Signing => "the request could not be made",
            Self::Clock => "our clock shows a time before this program was made",
            Self::NoRoute => "this machine has no route to any network",
            Self::Interrupted => "the attempt was stopped here",
            Self::TlsNoRoots => "this machine has no certificate authorities to verify a receiver by",
            Self::Encoding => {
                "the event has more than 16 times limits.payload (4 MiB) in the endpoint's encoding; nothing was sent"
            }
            Self::TokenUnreachable => "no connection to the token endpoint; nothing was sent to the receiver",
            Self::TokenUnavailable => {
                "the token endpoint is closed, broke off, took too long, or answered 429, 5xx or the like"
            }
            Self::TokenRefused => {
                "the token endpoint gives no token for these credentials: 400, 401, 403, 404 or the like"
            }
            Self::TokenUnusable => {
                "the token endpoint's name or certificate is in doubt, it redirects, or its answer holds \
                 no bearer token"
            }
            Self::ProxyUnreachable => "the endpoint's own proxy cannot be connected to, or broke off",
            Self::ProxyRefused => "the endpoint's own proxy answered 407, or would not connect",
            Self::OurProxyUnreachable => {
                "the operator's proxy (delivery.proxy) cannot be connected to, or broke off"
            }
            Self::OurProxyRefused => {
                "the operator's proxy (delivery.proxy) answered 407, or would not connect"
            }
            Self::Transform => {
                "the endpoint's transform gives no body for this event; nothing was sent, the endpoint is \
                 not blamed"
            }
            Self::Stalled => {
                "this process did not run while the limit passed: it was stopped, or the machine was"
            }
            Self::TlsCertificateIsCa => {
                "the receiver's own certificate is marked as an authority (CA:TRUE), as openssl req -x509 \
                 makes it, and is not among those that are believed as they are; put this very \
                 certificate into tls.ca_pem"
            }
            Self::TlsNoName => {
                "the receiver's certificate has no subjectAltName, and a common name counts only for a \
                 certificate that is itself in tls.ca_pem; have it issued with one, or put this very \
                 certificate into tls.ca_pem"
            }
            Self::TlsUnsupportedKey => {
                "a certificate of the receiver has a key or a signature of a kind that is not supported, \
                 such as ECDSA P-521, Ed448, SHA-1 or RSA below 2048 bits; use RSA of 2048 to 8192 bits, \
                 ECDSA P-256 or P-384, or Ed25519"
            }
            Self::TlsWrongPurpose => {
                "the extended key usage of the receiver's certificate leaves out servers; have it issued \
                 with serverAuth"
            }
            Self::TlsIssuerNotAllowed => {
                "who signed the receiver's certificate may not issue it: it is no authority (CA:FALSE), \
                 or its name constraints or its path length forbid it"
            }
            Self::TlsCertificateInvalid => {
                "a certificate of the receiver cannot be read: it is damaged, of X.509 version 1, or has \
                 a critical extension that is not known; have it issued as X.509 version 3"
            }
            Self::TlsWrongKey => {
                "the receiver's signature in the handshake is not that of its certificate's key: \
                 certificate and key do not belong together, or someone is in between"
            }
            Self::TlsClientCertificate => {
                "the receiver wants a client certificate, or does not take the one it was shown; see \
                 tls.client_cert_pem"
            }
            Self::TlsNameUnknown => "the receiver says that it has no server of this name",
        }
    }
}
