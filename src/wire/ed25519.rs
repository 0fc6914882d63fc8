//! Ed25519 keys as Standard Webhooks 1.0 writes them: `whsk_` and base64 of the seed and the public key, `whpk_` and base64
//! of the public key alone. The one place that names the library.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::domain::secret::InvalidSecret;

const SECRET_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// What signs, and knows its public key. Wiped when dropped.
pub(super) struct KeyPair(SigningKey);

/// What verifies.
pub(super) struct PublicKey(VerifyingKey);

impl KeyPair {
    pub(super) fn of_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads `whsk_…`; `None` when the text does not begin so.
    pub(super) fn read(text: &str) -> Option<Result<Self, InvalidSecret>> {
        let encoded = text.strip_prefix(SECRET_PREFIX)?;
        Some(Self::decode(encoded))
    }

    fn decode(encoded: &str) -> Result<Self, InvalidSecret> {
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| InvalidSecret::KeyPair)?);
        let (seed, public) = bytes.split_first_chunk().ok_or(InvalidSecret::KeyPair)?;
        if public.len() != 32 {
            return Err(InvalidSecret::KeyPair);
        }
        let pair = Self::of_seed(seed);
        // A receiver with the written public key would refuse what the seed signs.
        if pair.0.verifying_key().as_bytes() == public {
            Ok(pair)
        } else {
            Err(InvalidSecret::PublicHalf)
        }
    }

    /// `whsk_…`.
    pub(super) fn text(&self) -> String {
        let bytes = Zeroizing::new(self.0.to_keypair_bytes());
        format!("{SECRET_PREFIX}{}", STANDARD.encode(*bytes))
    }

    pub(super) fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The signature of a message, in base64.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.0.sign(message).to_bytes())
    }
}

impl PublicKey {
    /// Reads `whpk_…`; `None` when the text does not begin so.
    pub(super) fn read(text: &str) -> Option<Result<Self, InvalidSecret>> {
        let encoded = text.strip_prefix(PUBLIC_PREFIX)?;
        Some(Self::decode(encoded))
    }

    fn decode(encoded: &str) -> Result<Self, InvalidSecret> {
        let bytes = STANDARD.decode(encoded).ok();
        let bytes = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(InvalidSecret::PublicKey)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidSecret::PublicKey)?;
        // Under a key of small order a signature fits messages that nobody signed.
        if key.is_weak() {
            return Err(InvalidSecret::PublicKey);
        }
        Ok(Self(key))
    }

    /// `whpk_…`.
    pub(super) fn text(&self) -> String {
        format!("{PUBLIC_PREFIX}{}", STANDARD.encode(self.0.as_bytes()))
    }

    /// Whether a signature, in base64, is this key's of this message.
    pub(super) fn fits(&self, message: &[u8], signature: &str) -> bool {
        let signature = STANDARD.decode(signature).ok();
        let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
        signature.is_some_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<InvalidSecret> {
        KeyPair::read(text).unwrap().err()
    }

    #[test]
    fn a_pair_reads_back_and_its_public_half_has_to_fit() {
        let pair = KeyPair::of_seed(&[7; 32]);
        let text = pair.text();
        assert_eq!(KeyPair::read(&text).unwrap().ok().unwrap().text(), text);
        let mut bytes = STANDARD.decode(&text["whsk_".len()..]).unwrap();
        bytes[63] ^= 1;
        assert_eq!(
            refusal(&format!("whsk_{}", STANDARD.encode(&bytes))),
            Some(InvalidSecret::PublicHalf)
        );
        for len in [0, 31, 32, 63, 65] {
            let text = format!("whsk_{}", STANDARD.encode(vec![1; len]));
            assert_eq!(refusal(&text), Some(InvalidSecret::KeyPair), "{len}");
        }
        assert_eq!(refusal("whsk_!!!!"), Some(InvalidSecret::KeyPair));
        assert!(KeyPair::read("whsec_AAAA").is_none());
    }

    #[test]
    fn a_public_key_reads_back_and_a_weak_one_is_refused() {
        let public = KeyPair::of_seed(&[7; 32]).public().text();
        assert_eq!(PublicKey::read(&public).unwrap().ok().unwrap().text(), public);
        let mut one = [0; 32];
        one[0] = 1;
        for bytes in [&one[..], &[0; 32], &[2; 31], &[]] {
            let text = format!("whpk_{}", STANDARD.encode(bytes));
            assert_eq!(
                PublicKey::read(&text).unwrap().err(),
                Some(InvalidSecret::PublicKey)
            );
        }
        assert!(PublicKey::read("whsk_AAAA").is_none());
    }

    #[test]
    fn only_the_signed_message_fits() {
        let pair = KeyPair::of_seed(&[7; 32]);
        let signature = pair.sign(b"a");
        assert!(pair.public().fits(b"a", &signature));
        assert!(!pair.public().fits(b"b", &signature));
        assert!(!KeyPair::of_seed(&[8; 32]).public().fits(b"a", &signature));
        for bad in ["", "AAAA", "!", &signature[..80]] {
            assert!(!pair.public().fits(b"a", bad), "{bad}");
        }
    }
}
