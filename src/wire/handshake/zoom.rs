//! Zoom's challenge: the receiver shows that it knows the secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Answer, Challenge, Content, Expected, Unproven, equal};
use crate::domain::{secret::SigningSecret, time::Timestamp};

impl Challenge {
    /// An `endpoint.url_validation` event; any of the secrets may be the one that the receiver knows.
    pub fn zoom<'a>(
        random: [u8; 16],
        secrets: impl IntoIterator<Item = &'a SigningSecret>,
        at: Timestamp,
    ) -> Self {
        let plain = URL_SAFE_NO_PAD.encode(random);
        // In the order of the documented bytes, which a map would not keep.
        let document = format!(
            r#"{{"event":"endpoint.url_validation","payload":{{"plainToken":{}}},"event_ts":{}}}"#,
            json!(plain),
            at.as_millis()
        );
        let encrypted = secrets
            .into_iter()
            .filter_map(|secret| encrypt(secret, &plain))
            .collect();
        Self {
            event_type: "endpoint.url_validation",
            method: Method::POST,
            content: Content::Document(Bytes::from(document)),
            query: None,
            headers: Vec::new(),
            expected: Expected::Tokens { plain, encrypted },
        }
    }
}

/// Lowercase hexadecimal of HMAC-SHA256, the secret's text being the key.
fn encrypt(secret: &SigningSecret, plain: &str) -> Option<String> {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(plain.as_bytes());
    let digest = mac.finalize().into_bytes();
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn judge(answer: &Answer<'_>, plain: &str, encrypted: &[String]) -> Result<(), Unproven> {
    if answer.status != 200 {
        return Err(Unproven::Status("200"));
    }
    let document: Value = serde_json::from_slice(answer.body).map_err(|_| Unproven::NoTokens)?;
    let text = |name: &str| document[name].as_str().ok_or(Unproven::NoTokens);
    let (given_plain, given_encrypted) = (text("plainToken")?, text("encryptedToken")?);
    if !equal(given_plain.as_bytes(), plain) {
        return Err(Unproven::PlainToken);
    }
    if encrypted
        .iter()
        .any(|wanted| equal(given_encrypted.as_bytes(), wanted))
    {
        Ok(())
    } else {
        Err(Unproven::EncryptedToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_formats_is_met() {
        let secret = SigningSecret::raw("secret".to_owned()).unwrap();
        assert_eq!(
            encrypt(&secret, "qgg8vlvZRS6UYooatFL8Aw").unwrap(),
            "72cef096bfd47c0b8664df30d07721641e4abd7e885ba432204260db477a9a3e"
        );
    }
}
