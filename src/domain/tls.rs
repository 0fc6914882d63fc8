//! Whom an endpoint's connections believe, and who they say they are.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::limits;

/// What an endpoint's TLS has beyond everyone's: authorities of its own beside the system's, a client certificate.
///
/// That the texts hold what they should, and the key fits the certificate, is checked by those who can read them, when
/// the endpoint is saved (`sender::check_tls`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSpec {
    /// Certificates of authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<CertificatesPem>,
    /// The client's certificate first, then those that lead to its authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_pem: Option<CertificatesPem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_pem: Option<KeyPem>,
}

/// A text too long, or of no characters that PEM has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPem {
    #[error("longer than {0} bytes; leave out what is not needed")]
    TooLong(usize),
    #[error("not text in pem form; give the file's whole content, with its BEGIN and END lines")]
    Form,
}

/// Certificates in PEM form: text of a bounded length.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct CertificatesPem(String);

/// A private key in PEM form; wiped when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyPem(String);

impl CertificatesPem {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl KeyPem {
    /// The text itself: a secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CertificatesPem {
    type Error = InvalidPem;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        check(&text, limits::CERTIFICATES_PEM_BYTES)?;
        Ok(Self(text))
    }
}

impl TryFrom<String> for KeyPem {
    type Error = InvalidPem;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        check(&text, limits::KEY_PEM_BYTES)?;
        Ok(Self(text))
    }
}

fn check(text: &str, most: usize) -> Result<(), InvalidPem> {
    if text.len() > most {
        return Err(InvalidPem::TooLong(most));
    }
    if text.contains('\0') || !text.contains("-----BEGIN ") {
        return Err(InvalidPem::Form);
    }
    Ok(())
}

impl fmt::Debug for CertificatesPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificatesPem(…)")
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPem(…)")
    }
}

impl Drop for KeyPem {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_pem_is_refused_and_a_key_is_never_shown() {
        assert!(serde_json::from_str::<TlsSpec>(r#"{"ca_pem":"hello"}"#).is_err());
        assert!(serde_json::from_str::<TlsSpec>(r#"{"ca":"x"}"#).is_err());
        let long = "-----BEGIN CERTIFICATE-----".repeat(4000);
        assert!(CertificatesPem::try_from(long).is_err());
        let key = KeyPem::try_from("-----BEGIN PRIVATE KEY-----\nhunter2".to_owned()).unwrap();
        assert!(!format!("{key:?}").contains("hunter"));
        assert_eq!(serde_json::from_str::<TlsSpec>("{}").unwrap(), TlsSpec::default());
    }
}
