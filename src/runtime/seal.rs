//! Sealing of secrets at rest: XChaCha20-Poly1305 under a key of 32 bytes.
//!
//! A sealed value is a version byte (1), a random nonce of 24 bytes, and the ciphertext with its tag. The owner's id
//! is authenticated with it, so that one endpoint's secrets cannot be put in another's place.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};

use super::random;

const VERSION: u8 = 1;
const NONCE_LEN: usize = 24;

/// Why sealed bytes did not open.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("sealed with another key, or damaged")]
    WrongKey,
    #[error("sealed in an unknown form")]
    Form,
}

/// Seals and opens.
#[derive(Clone)]
pub struct Sealer(XChaCha20Poly1305);

impl Sealer {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&(*key).into()))
    }

    pub fn seal(&self, owner: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce = random::secure::<NONCE_LEN>();
        let payload = Payload {
            msg: plain,
            aad: owner,
        };
        #[expect(
            clippy::expect_used,
            reason = "fails only past 256 GiB, far above every bound here"
        )]
        let sealed = self
            .0
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a bounded value seals");
        let mut bytes = vec![VERSION];
        bytes.extend(nonce);
        bytes.extend(sealed);
        bytes
    }

    /// # Errors
    /// When the bytes were sealed with another key or for another owner, or were damaged.
    pub fn open(&self, owner: &[u8], bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        let (&version, rest) = bytes.split_first().ok_or(SealError::Form)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Form)?;
        if version != VERSION {
            return Err(SealError::Form);
        }
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| SealError::Form)?;
        let payload = Payload {
            msg: sealed,
            aad: owner,
        };
        self.0
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError::WrongKey)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_owner_open_it() {
        let sealer = Sealer::new(&[1; 32]);
        let sealed = sealer.seal(b"ep_1", b"secret");
        assert_eq!(sealer.open(b"ep_1", &sealed).unwrap(), b"secret");
        assert!(matches!(sealer.open(b"ep_2", &sealed), Err(SealError::WrongKey)));
        assert!(matches!(
            Sealer::new(&[2; 32]).open(b"ep_1", &sealed),
            Err(SealError::WrongKey)
        ));
        assert!(matches!(
            sealer.open(b"ep_1", &sealed[..20]),
            Err(SealError::Form)
        ));
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(sealer.open(b"ep_1", &damaged).is_err());
    }
}
