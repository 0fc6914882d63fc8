//! Who is there: the verification of a receiver's certificate.
//!
//! It is webpki's, with one addition. What an operator or a person has put into `delivery.ca_file` or `tls.ca_pem` is there
//! because it is to be believed; where a receiver shows that very certificate, byte for byte, nobody needs to have signed
//! it. webpki alone would refuse one that is marked as an authority's, which is what `openssl req -x509` makes. Its name
//! and its dates are checked, and the signature in the handshake as ever, so that who shows it has its key. A common name
//! counts for such a certificate alone, and only where it has no subjectAltName.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use webpki::EndEntityCert;

use super::certificate::Certificate;
use crate::domain::outcome::Fault;

/// What a certificate was refused for where rustls has no word of its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate was refused: {}", .0.as_str())]
pub(super) struct Refused(pub(super) Fault);

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

#[derive(Debug)]
pub(super) struct Verifier {
    by_authorities: Arc<WebPkiServerVerifier>,
    /// Certificates that are believed as they are.
    pinned: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// Believes these authorities, and these certificates as they are.
    ///
    /// # Errors
    /// There is no authority.
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        pinned: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        Ok(Self {
            by_authorities: WebPkiServerVerifier::builder_with_provider(roots, provider).build()?,
            pinned,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.by_authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Ok(verified) => Ok(verified),
            Err(_) if self.pinned.contains(end_entity) => {
                check_pinned(end_entity, server_name, now)?;
                Ok(ServerCertVerified::assertion())
            }
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !has_names(end_entity) => Err(Refused(Fault::TlsNoName).into()),
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authorities
            .verify_tls12_signature(message, cert, dss)
            .map_err(of_signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authorities
            .verify_tls13_signature(message, cert, dss)
            .map_err(of_signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authorities.supported_verify_schemes()
    }
}

/// A bad signature of the handshake is told from one of the chain.
fn of_signature(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => Refused(Fault::TlsWrongKey).into(),
        other => other,
    }
}

fn has_names(certificate: &CertificateDer<'_>) -> bool {
    Certificate::read(certificate).is_none_or(|read| read.has_names)
}

/// Checks dates and name of a certificate that is believed as it is.
fn check_pinned(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Refused> {
    let read = Certificate::read(certificate).ok_or(Refused(Fault::TlsCertificateInvalid))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < read.not_before {
        return Err(Refused(Fault::TlsNotYetValid));
    }
    if now > read.not_after {
        return Err(Refused(Fault::TlsExpired));
    }
    if is_for(certificate, &read, server_name) {
        Ok(())
    } else {
        Err(Refused(Fault::TlsWrongName))
    }
}

/// Whether a certificate that is believed as it is may stand for this server.
pub(super) fn is_for(
    certificate: &CertificateDer<'_>,
    read: &Certificate,
    server_name: &ServerName<'_>,
) -> bool {
    if !read.has_names {
        return read.has_common_name(server_name);
    }
    EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(server_name).is_ok())
}
