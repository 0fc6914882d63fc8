//! What an endpoint's TLS texts hold: read when the endpoint is saved, and again when a connection is made.

use rustls::{
    Error as TlsError, InconsistentKeys, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};

use super::{certificate::Certificate, tls::server_name, verify::is_for};
use crate::domain::{
    endpoint_url::EndpointUrl,
    time::Timestamp,
    tls::{CertificatesPem, TlsSpec},
};

/// Why TLS settings are of no use; `field` is the member to change. Never shows what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidTls {
    pub field: &'static str,
    pub rule: &'static str,
}

/// What the texts hold.
pub(super) struct Identity {
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

const CA: &str = "tls.ca_pem";
const CERTIFICATE: &str = "tls.client_cert_pem";
const KEY: &str = "tls.client_key_pem";

/// Checks that the texts can be read and that the key is the certificate's.
///
/// # Errors
/// Names the member at fault.
pub fn check_tls(spec: &TlsSpec) -> Result<(), InvalidTls> {
    let identity = read(spec)?;
    let mut roots = RootCertStore::empty();
    for root in identity.roots {
        roots.add(root).map_err(|_| InvalidTls {
            field: CA,
            rule: "holds something that is no X.509 certificate; give those of authorities",
        })?;
    }
    let Some((chain, key)) = identity.client else {
        return Ok(());
    };
    let provider = rustls::crypto::ring::default_provider();
    check_pair(chain, key, &provider)
}

/// What is to be known of certificates in `ca_pem` that will not do for every receiver, or not for long. For people; each
/// begins with the member.
pub fn tls_warnings(spec: &TlsSpec, url: &EndpointUrl, now: Timestamp) -> Vec<String> {
    let (Ok(Identity { roots, .. }), Some(host)) = (read(spec), server_name(&url.host_name())) else {
        return Vec::new();
    };
    let warnings = roots.iter().zip(1_usize..).flat_map(|(der, number)| {
        let read = Certificate::read(der);
        let found = read.map(|read| flaws(der, &read, &host, now)).unwrap_or_default();
        found
            .into_iter()
            .map(move |flaw| format!("{CA}: certificate {number} {flaw}"))
    });
    warnings.collect()
}

fn flaws(der: &CertificateDer<'_>, read: &Certificate, host: &ServerName<'_>, now: Timestamp) -> Vec<String> {
    let mut flaws = Vec::new();
    if let Some(kind) = read.unsupported_key {
        flaws.push(format!(
            "has a key of a kind that is not supported ({kind}): what it signs, and a receiver that shows it, are refused \
             (tls_unsupported_key); use RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519"
        ));
    }
    let is_host_s = is_for(der, read, host);
    let host = host.to_str();
    // One that is for no host is an authority's, whose dates are not looked at.
    if !is_host_s && read.is_ca {
        return flaws;
    }
    if read.version < 3 {
        flaws.push(format!(
            "is of X.509 version {}: a receiver that shows it is refused (tls_certificate_invalid); make it with version 3",
            read.version
        ));
    }
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if seconds > read.not_after {
        flaws.push("has expired: a receiver that shows it is refused (tls_expired)".to_owned());
    } else if seconds < read.not_before {
        flaws.push(
            "is not valid yet: a receiver that shows it is refused until then (tls_not_yet_valid)".to_owned(),
        );
    }
    flaws.push(match (is_host_s, read.is_ca) {
        (false, _) => format!(
            "is neither an authority's (CA:TRUE) nor for the host {host}: a receiver that shows it is refused (tls_wrong_name); \
             give the authority's certificate, or one for this host"
        ),
        (true, true) => format!(
            "is for {host} itself and marked as an authority's (CA:TRUE): it is accepted from the receiver as it is, byte for \
             byte; when the receiver gets another, replace it here too"
        ),
        (true, false) => format!(
            "is that of {host} itself rather than an authority's: it is accepted from the receiver as it is, byte for byte; \
             when the receiver gets another, replace it here too"
        ),
    });
    if is_host_s && !read.has_names {
        flaws.push(
            "has no subjectAltName: its common name counts only because the certificate itself is given here"
                .to_owned(),
        );
    }
    flaws
}

fn check_pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<(), InvalidTls> {
    let invalid = |field, rule| Err(InvalidTls { field, rule });
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(_) => Ok(()),
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => invalid(
            KEY,
            "is not the key of the first certificate in client_cert_pem; give the one it was made with",
        ),
        Err(TlsError::InvalidCertificate(_)) => {
            invalid(CERTIFICATE, "begins with something that is no X.509 certificate")
        }
        Err(_) => invalid(
            KEY,
            "is of a kind that is not known here; use RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519",
        ),
    }
}

/// Takes the texts apart.
pub(super) fn read(spec: &TlsSpec) -> Result<Identity, InvalidTls> {
    let roots = spec
        .ca_pem
        .as_ref()
        .map(|pem| certificates(pem, CA))
        .transpose()?;
    let client = match (&spec.client_cert_pem, &spec.client_key_pem) {
        (None, None) => None,
        (Some(_), None) => {
            return Err(InvalidTls {
                field: KEY,
                rule: "is missing; give the private key of client_cert_pem",
            });
        }
        (None, Some(_)) => {
            return Err(InvalidTls {
                field: CERTIFICATE,
                rule: "is missing; give the certificate of client_key_pem",
            });
        }
        (Some(chain), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| InvalidTls {
                field: KEY,
                rule: "holds no private key in pem form; decrypt it first if it is encrypted",
            })?;
            Some((certificates(chain, CERTIFICATE)?, key))
        }
    };
    Ok(Identity {
        roots: roots.unwrap_or_default(),
        client,
    })
}

fn certificates(
    pem: &CertificatesPem,
    field: &'static str,
) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_str().as_bytes()).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(InvalidTls {
            field,
            rule: "holds no certificate in pem form, or a damaged one; give the file's whole content",
        }),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["c.test".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn checked(ca: Option<&str>, certificate: Option<&str>, key: Option<&str>) -> Option<&'static str> {
        let spec = TlsSpec {
            ca_pem: ca.map(|text| text.to_owned().try_into().unwrap()),
            client_cert_pem: certificate.map(|text| text.to_owned().try_into().unwrap()),
            client_key_pem: key.map(|text| text.to_owned().try_into().unwrap()),
        };
        check_tls(&spec).err().map(|error| error.field)
    }

    #[test]
    fn a_key_fits_its_certificate_and_no_other() {
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        let both = format!("{certificate}\n{other}");
        for (ca, certificate, key, at) in [
            (None, None, None, None),
            (Some(&both), None, None, None),
            (Some(&other), Some(&certificate), Some(&key), None),
            (None, Some(&both), Some(&key), None),
            (None, Some(&both), Some(&other_key), Some(KEY)),
            (None, Some(&certificate), None, Some(KEY)),
            (None, None, Some(&key), Some(CERTIFICATE)),
            (Some(&key), None, None, Some(CA)),
            (None, Some(&key), Some(&key), Some(CERTIFICATE)),
            (None, Some(&certificate), Some(&certificate), Some(KEY)),
        ] {
            let text = |text: Option<&String>| text.map(String::as_str).map(ToOwned::to_owned);
            let (ca, certificate, key) = (text(ca), text(certificate), text(key));
            assert_eq!(checked(ca.as_deref(), certificate.as_deref(), key.as_deref()), at);
        }
    }

    #[test]
    fn damaged_and_encrypted_texts_are_refused_by_the_member() {
        let (certificate, key) = pair();
        let damaged = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let short = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(checked(Some(damaged), None, None), Some(CA));
        assert_eq!(checked(Some(no_certificate), None, None), Some(CA));
        assert_eq!(checked(None, Some(no_certificate), Some(&key)), Some(CERTIFICATE));
        assert_eq!(checked(None, Some(&certificate), Some(&encrypted)), Some(KEY));
        assert_eq!(checked(None, Some(&certificate), Some(short)), Some(KEY));
    }
}
