//! From errors to faults, by type and error number, never by text.
//!
//! What went wrong often sits several errors deep: rustls' reason inside an `io::Error` inside hyper's error. So
//! the whole chain is walked, and the most telling link decides.

use std::{error::Error as StdError, io};

use hickory_resolver::{
    net::{DnsError, NetError},
    proto::op::ResponseCode,
};
use rustix::io::Errno;
use rustls::{AlertDescription, CertificateError, OtherError};

use super::verify::Refused;
use crate::domain::{outcome::Fault, time::Timestamp};

/// The fault of a failed exchange on an open connection.
pub(super) fn of_hyper(error: &hyper::Error) -> Fault {
    if let Some(io) = find::<io::Error>(error) {
        return match of_io(io) {
            // The kernel's own timeout on a connection that was made.
            Fault::TimeoutConnect => Fault::TimeoutTotal,
            fault => fault,
        };
    }
    if let Some(h2) = find::<h2::Error>(error) {
        return of_h2(h2);
    }
    if error.is_parse() {
        return Fault::Protocol;
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Fault::ClosedEarly;
    }
    Fault::Protocol
}

/// The fault of a failed TLS handshake. hyper-rustls hands on one `io::Error` in another.
pub(super) fn of_handshake(error: &(dyn StdError + 'static)) -> Fault {
    // Its errors that are none of the stream's would come from the connector it was given, which has none.
    find::<io::Error>(error).map_or(Fault::Interrupted, of_io)
}

/// When the certificate had expired for which a TLS handshake failed.
pub(super) fn expired_at(error: &(dyn StdError + 'static)) -> Option<Timestamp> {
    match find::<rustls::Error>(error)? {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            i64::try_from(not_after.as_secs()).ok().and_then(instant)
        }
        _ => None,
    }
}

/// A time in a certificate; none from before 1970.
pub(super) fn instant(seconds: i64) -> Option<Timestamp> {
    let seconds = u64::try_from(seconds).ok()?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// The fault of a failed dial, handshake or exchange.
pub(super) fn of_io(error: &io::Error) -> Fault {
    if let Some(tls) = find::<rustls::Error>(error) {
        return of_tls(tls);
    }
    let error = innermost(error);
    if let Some(code) = error.raw_os_error() {
        return of_errno(Errno::from_raw_os_error(code));
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Fault::Reset
        }
        io::ErrorKind::OutOfMemory => Fault::Memory,
        io::ErrorKind::InvalidData => Fault::Protocol,
        // Above all UnexpectedEof and WriteZero.
        _ => Fault::ClosedEarly,
    }
}

fn of_errno(errno: Errno) -> Fault {
    match errno {
        Errno::MFILE | Errno::NFILE => Fault::Descriptors,
        Errno::NOMEM | Errno::NOBUFS => Fault::Memory,
        Errno::NETUNREACH | Errno::NETDOWN => Fault::NoRoute,
        Errno::CONNREFUSED => Fault::Refused,
        Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE => Fault::Reset,
        Errno::TIMEDOUT => Fault::TimeoutConnect,
        // No local port is left for this destination.
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Fault::Descriptors,
        // HOSTUNREACH, and what a firewall here answers: ACCES, PERM.
        _ => Fault::Unreachable,
    }
}

fn of_tls(error: &rustls::Error) -> Fault {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(reason) => of_certificate(reason),
        Tls::PeerIncompatible(_)
        | Tls::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        ) => Fault::TlsNoCommonVersion,
        Tls::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => Fault::TlsClientCertificate,
        Tls::AlertReceived(AlertDescription::UnrecognisedName) => Fault::TlsNameUnknown,
        _ => Fault::TlsHandshake,
    }
}

fn of_certificate(reason: &CertificateError) -> Fault {
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::TlsExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Fault::TlsNotYetValid,
        // A private authority that was made anew under its old name shows as a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::TlsUnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Fault::TlsWrongName
        }
        CertificateError::Revoked => Fault::TlsRevoked,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Fault::TlsUnsupportedKey
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Fault::TlsWrongPurpose
        }
        CertificateError::Other(OtherError(reason)) => of_refused(&**reason),
        _ => Fault::TlsCertificateInvalid,
    }
}

/// What rustls has no word for: our own refusals, and those of webpki that it hands on.
fn of_refused(reason: &(dyn StdError + 'static)) -> Fault {
    if let Some(Refused(fault)) = find(reason) {
        return *fault;
    }
    match find::<webpki::Error>(reason) {
        Some(webpki::Error::CaUsedAsEndEntity) => Fault::TlsCertificateIsCa,
        Some(
            webpki::Error::EndEntityUsedAsCa
            | webpki::Error::PathLenConstraintViolated
            | webpki::Error::NameConstraintViolation,
        ) => Fault::TlsIssuerNotAllowed,
        Some(webpki::Error::EmptyEkuExtension) => Fault::TlsWrongPurpose,
        Some(
            webpki::Error::MaximumPathBuildCallsExceeded
            | webpki::Error::MaximumPathDepthExceeded
            | webpki::Error::MaximumSignatureChecksExceeded,
        ) => Fault::TlsUnknownIssuer,
        _ => Fault::TlsCertificateInvalid,
    }
}

/// Whether a receiver says in HTTP/2 that it has not begun with a request: by refusing the stream, or by going away
/// before it. (h2 gives the receiver's GOAWAY as the error of the streams above its last one alone.)
pub(super) fn is_refused(error: &hyper::Error) -> bool {
    find::<h2::Error>(error).is_some_and(|h2| {
        let is_refused_stream = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        h2.is_remote() && (h2.is_go_away() || is_refused_stream)
    })
}

/// Whether a stream or connection was ended here, for what the receiver sent on it in HTTP/2.
pub(super) fn is_unreadable(error: &hyper::Error) -> bool {
    find::<h2::Error>(error).is_some_and(h2::Error::is_library)
}

/// A stream or connection that the receiver ended without an answer may be tried again; the rest is its defect.
fn of_h2(error: &h2::Error) -> Fault {
    match error.reason() {
        Some(h2::Reason::NO_ERROR | h2::Reason::REFUSED_STREAM) => Fault::ClosedEarly,
        Some(h2::Reason::CANCEL | h2::Reason::INTERNAL_ERROR | h2::Reason::ENHANCE_YOUR_CALM) => Fault::Reset,
        _ => Fault::Protocol,
    }
}

/// The fault of a failed lookup: whether the name is known not to exist, or nobody would say.
pub(super) fn of_dns(error: &NetError) -> Fault {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(answer))
            if matches!(
                answer.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            ) =>
        {
            Fault::DnsNotFound
        }
        NetError::Io(io) => match of_io(io) {
            fault @ (Fault::Descriptors | Fault::Memory | Fault::NoRoute) => fault,
            _ => Fault::Dns,
        },
        _ => Fault::Dns,
    }
}

/// The `io::Error` that has the number and the kind, where others were put around it.
fn innermost(mut error: &io::Error) -> &io::Error {
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        error = inner;
    }
    error
}

/// Whether this machine has run out of something.
pub(super) fn is_shortage(fault: Fault) -> bool {
    matches!(fault, Fault::Descriptors | Fault::Memory)
}

/// The first error of type `T` in a chain of sources; an `io::Error` may hold it as its inner error.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // Its source() skips the inner error itself.
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_have_their_faults() {
        let table = [
            (Errno::MFILE, Fault::Descriptors),
            (Errno::NFILE, Fault::Descriptors),
            (Errno::NOMEM, Fault::Memory),
            (Errno::NETUNREACH, Fault::NoRoute),
            (Errno::HOSTUNREACH, Fault::Unreachable),
            (Errno::CONNREFUSED, Fault::Refused),
            (Errno::CONNRESET, Fault::Reset),
            (Errno::PIPE, Fault::Reset),
        ];
        for (errno, fault) in table {
            assert_eq!(of_io(&errno.into()), fault, "{errno:?}");
        }
        assert_eq!(of_io(&io::ErrorKind::UnexpectedEof.into()), Fault::ClosedEarly);
    }

    fn other(reason: impl StdError + Send + Sync + 'static) -> CertificateError {
        CertificateError::Other(OtherError(std::sync::Arc::new(reason)))
    }

    #[test]
    fn a_tls_reason_is_found_however_deep_it_sits() {
        let reasons = [
            (CertificateError::Expired, Fault::TlsExpired),
            (CertificateError::NotValidYet, Fault::TlsNotYetValid),
            (CertificateError::UnknownIssuer, Fault::TlsUnknownIssuer),
            (CertificateError::NotValidForName, Fault::TlsWrongName),
            (CertificateError::Revoked, Fault::TlsRevoked),
            (CertificateError::BadEncoding, Fault::TlsCertificateInvalid),
            (CertificateError::InvalidPurpose, Fault::TlsWrongPurpose),
            (other(webpki::Error::CaUsedAsEndEntity), Fault::TlsCertificateIsCa),
            (
                other(webpki::Error::EndEntityUsedAsCa),
                Fault::TlsIssuerNotAllowed,
            ),
            (
                other(webpki::Error::NameConstraintViolation),
                Fault::TlsIssuerNotAllowed,
            ),
            (
                other(webpki::Error::UnsupportedCertVersion),
                Fault::TlsCertificateInvalid,
            ),
            (other(Refused(Fault::TlsNoName)), Fault::TlsNoName),
        ];
        for (reason, fault) in reasons {
            let tls = rustls::Error::InvalidCertificate(reason);
            let inner = io::Error::new(io::ErrorKind::InvalidData, tls);
            assert_eq!(of_io(&io::Error::other(inner)), fault);
        }
        let alerts = [
            (AlertDescription::ProtocolVersion, Fault::TlsNoCommonVersion),
            (AlertDescription::CertificateRequired, Fault::TlsClientCertificate),
            (AlertDescription::UnknownCA, Fault::TlsClientCertificate),
            (AlertDescription::UnrecognisedName, Fault::TlsNameUnknown),
            (AlertDescription::InternalError, Fault::TlsHandshake),
        ];
        for (alert, fault) in alerts {
            let alert = rustls::Error::AlertReceived(alert);
            assert_eq!(of_io(&io::Error::other(alert)), fault);
        }
    }

    #[test]
    fn an_error_number_is_found_in_errors_around_it() {
        let reset = io::Error::other(io::Error::from(Errno::CONNRESET));
        assert_eq!(of_handshake(&reset), Fault::Reset);
        let descriptors = io::Error::other(io::Error::other(io::Error::from(Errno::MFILE)));
        assert_eq!(of_handshake(&descriptors), Fault::Descriptors);
        let refused = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(of_handshake(&refused), Fault::Refused);
        let ended = io::Error::other(io::Error::new(io::ErrorKind::UnexpectedEof, "an end"));
        assert_eq!(of_handshake(&ended), Fault::ClosedEarly);
    }

    #[test]
    fn a_name_that_does_not_exist_is_told_from_a_server_that_fails() {
        let of = |code| of_dns(&NetError::Dns(DnsError::ResponseCode(code)));
        assert_eq!(of(ResponseCode::ServFail), Fault::Dns);
        assert_eq!(of(ResponseCode::Refused), Fault::Dns);
        assert_eq!(of_dns(&NetError::Timeout), Fault::Dns);
        assert_eq!(of_dns(&NetError::NoConnections), Fault::Dns);
    }
}
