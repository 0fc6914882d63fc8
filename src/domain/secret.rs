//! What requests to an endpoint are signed with.
//!
//! A secret is kept as the text that both sides know. How its bytes become a key is the scheme's affair
//! ([`crate::wire::signature`]): `standard` decodes base64 after `whsec_` (HMAC) or `whsk_` (ed25519), most vendors take
//! the text as it is.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A signing secret; wiped when dropped, never shown by `Debug`.
///
/// `FromStr` takes the `standard` form for HMAC only: `whsec_` and base64 of 24 to 64 bytes. A document takes any text that some
/// scheme takes; whether it fits its own scheme is checked where the two meet.
#[derive(Clone)]
pub struct SigningSecret(String);

/// Why a text is not a secret. Never shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("not a secret of the standard form; write whsec_ and base64 of 24 to 64 bytes")]
    Standard,
    #[error("not an ed25519 key pair; write whsk_ and base64 of 64 bytes, the seed and then its public key")]
    KeyPair,
    #[error(
        "the public half of the ed25519 key pair does not belong to its seed; give the pair as it was made"
    )]
    PublicHalf,
    #[error("not an ed25519 public key; write whpk_ and base64 of its 32 bytes")]
    PublicKey,
    #[error("a public key only verifies; give the secret, which begins with whsk_")]
    OnlyVerifies,
    #[error("not a secret; use 1 to 512 characters without controls")]
    Raw,
    #[error(
        "too short to keep anybody from guessing it; use at least {SHORTEST} characters that are no spaces, or leave it out to have one made"
    )]
    Short,
}

const PREFIX: &str = "whsec_";
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const RAW_BYTES: usize = 512;
/// Characters of a new secret that is used as it is. Vendors give 20 and more; people who choose one should not be able to
/// choose a letter or a word of four.
const SHORTEST: usize = 8;

impl SigningSecret {
    /// A new secret of the `standard` form.
    pub fn generate(random: [u8; 32]) -> Self {
        Self(format!("{PREFIX}{}", STANDARD.encode(random)))
    }

    /// A new secret of a scheme that takes its text as the key, out of hexadecimal digits.
    pub fn generate_raw(digits: &str) -> Self {
        Self(digits.to_owned())
    }

    /// A secret of a scheme that takes its text as the key.
    ///
    /// # Errors
    /// An empty or over-long text, or one with control characters.
    pub fn raw(text: String) -> Result<Self, InvalidSecret> {
        if text.is_empty() || text.len() > RAW_BYTES || text.chars().any(char::is_control) {
            return Err(InvalidSecret::Raw);
        }
        Ok(Self(text))
    }

    /// Whether a new endpoint or rotation may not have it. What was saved before stays, and a receiver takes what its sender
    /// has.
    pub fn is_too_short(&self) -> bool {
        self.0.chars().filter(|letter| !letter.is_whitespace()).count() < SHORTEST
    }

    /// The text itself. For signing, for storing sealed, and for showing it once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key that the `standard` form holds.
    ///
    /// # Errors
    /// A text that is not of that form.
    pub fn standard_key(&self) -> Result<Zeroizing<Vec<u8>>, InvalidSecret> {
        let encoded = self.0.strip_prefix(PREFIX).ok_or(InvalidSecret::Standard)?;
        let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| InvalidSecret::Standard)?);
        if KEY_BYTES.contains(&key.len()) {
            Ok(key)
        } else {
            Err(InvalidSecret::Standard)
        }
    }
}

impl TryFrom<String> for SigningSecret {
    type Error = InvalidSecret;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let secret = Self(text);
        secret.standard_key()?;
        Ok(secret)
    }
}

impl std::str::FromStr for SigningSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

impl PartialEq for SigningSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SigningSecret {}

impl Drop for SigningSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Serialize for SigningSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::raw(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_reads_back_and_holds_its_bytes() {
        let secret = SigningSecret::generate([7; 32]);
        let again: SigningSecret = secret.expose().parse().unwrap();
        assert_eq!(again, secret);
        assert_eq!(*again.standard_key().unwrap(), vec![7; 32]);
    }

    #[test]
    fn only_24_to_64_bytes_after_the_prefix_are_a_standard_secret() {
        let of = |len: usize| format!("whsec_{}", STANDARD.encode(vec![1; len])).parse::<SigningSecret>();
        for len in [24, 32, 64] {
            assert!(of(len).is_ok(), "{len}");
        }
        for len in [0, 1, 23, 65, 128] {
            assert_eq!(of(len).unwrap_err(), InvalidSecret::Standard, "{len}");
        }
        for text in [
            "",
            "whsec_",
            "secret",
            "whsec_!!!!",
            "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsk_AAAA",
        ] {
            assert!(text.parse::<SigningSecret>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_of_few_letters_or_of_spaces_is_too_short() {
        let short = |text: &str| SigningSecret::raw(text.to_owned()).unwrap().is_too_short();
        for text in [
            "s",
            " ",
            "        ",
            "seven_7",
            "a b c d e f g",
            "\u{2003}\u{2003}\u{2003}\u{2003}\u{2003}\u{2003}\u{2003}\u{2003}",
        ] {
            assert!(short(text), "{text:?}");
        }
        for text in ["eight__8", "a shared secret", "пароль-пароль", "12345678"] {
            assert!(!short(text), "{text:?}");
        }
    }

    #[test]
    fn neither_debug_nor_an_error_shows_the_secret() {
        let secret = SigningSecret::raw("hunter2".to_owned()).unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
        let error = "hunter2".parse::<SigningSecret>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn a_document_takes_either_form_and_reads_back_what_it_wrote() {
        let raw = SigningSecret::raw("It's a Secret to Everybody".to_owned()).unwrap();
        for secret in [raw, SigningSecret::generate([9; 32])] {
            let text = serde_json::to_string(&secret).unwrap();
            assert_eq!(serde_json::from_str::<SigningSecret>(&text).unwrap(), secret);
            let bytes = bincode::serialize(&secret).unwrap();
            assert_eq!(bincode::deserialize::<SigningSecret>(&bytes).unwrap(), secret);
        }
        assert!(serde_json::from_str::<SigningSecret>(r#""""#).is_err());
        assert_eq!(
            SigningSecret::raw("a\nb".to_owned()).unwrap_err(),
            InvalidSecret::Raw
        );
        assert_eq!(SigningSecret::raw(String::new()).unwrap_err(), InvalidSecret::Raw);
    }
}
