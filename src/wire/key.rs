//! A secret's text as the key that a scheme makes of it.

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

use super::{
    ed25519::{KeyPair, PublicKey},
    scheme_table::{KeyForm, Row},
};
use crate::domain::secret::{InvalidSecret, SigningSecret};

/// A key; what is not HMAC with the mark of its signatures.
pub(super) enum Key {
    Hmac(Hmac<Sha256>),
    Pair(KeyPair, &'static str),
    Public(PublicKey, &'static str),
}

impl Row {
    /// # Errors
    /// The form expected.
    pub(super) fn key(&self, secret: &SigningSecret) -> Result<Key, InvalidSecret> {
        let text = secret.expose();
        let hmac = |key: &[u8]| {
            // HMAC takes a key of any length.
            let mac = Hmac::new_from_slice(key).map_err(|_| InvalidSecret::Raw)?;
            Ok(Key::Hmac(mac))
        };
        let mark = match self.key {
            KeyForm::Raw => return hmac(text.as_bytes()),
            KeyForm::Standard { ed25519 } => ed25519,
        };
        if let Some(pair) = KeyPair::read(text) {
            return Ok(Key::Pair(pair?, mark));
        }
        match PublicKey::read(text) {
            Some(public) => Ok(Key::Public(public?, mark)),
            None => hmac(&secret.standard_key()?),
        }
    }
}
