//! Signature schemes: one table, and one way to sign and to verify by it.
//!
//! A row says which headers a scheme sends, how a secret's text becomes a key, which bytes are signed, how the
//! digest is written and how several signatures are joined. The algorithm is HMAC-SHA256, or, in the rows of the
//! standard form, ed25519 when the secret is a key pair (`whsk_`). The formats: Standard Webhooks 1.0 and the vendors'
//! own documentation.
//!
//! When a secret is rotated, the old one signs as well until its grace ends: schemes that can carry several
//! signatures carry one for each secret, newest first; the others carry the newest secret's alone.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    ed25519::KeyPair,
    key::Key,
    scheme_table::{
        Digest, KeyForm,
        Part::{self, Body, EventType, Id, Seconds, Text},
        Row, TABLE,
    },
};
pub use crate::domain::format::{Algorithm, Scheme};
use crate::domain::{
    secret::{InvalidSecret, SigningSecret},
    time::Timestamp,
};

/// What a signature covers besides the scheme's own text.
#[derive(Copy, Clone, Debug)]
pub struct Signable<'a> {
    pub id: &'a str,
    pub event_type: &'a str,
    /// The attempt's time.
    pub at: Timestamp,
    pub body: &'a [u8],
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("no secret to sign with")]
    NoSecret,
    #[error("the secret does not fit the scheme")]
    Secret(#[from] InvalidSecret),
    #[error("an id or event type that no header can carry")]
    Header(#[from] http::header::InvalidHeaderValue),
}

/// Why a request is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {0} is malformed")]
    Malformed(&'static str),
    #[error("the timestamp is too far from the present")]
    Stale,
    #[error("no signature fits")]
    Mismatch,
    #[error("the secret does not fit the scheme")]
    Secret(#[from] InvalidSecret),
}

impl Scheme {
    /// Every scheme, in the order of the table.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        TABLE.iter().map(|row| row.scheme)
    }

    /// The name in configuration and API.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The header that carries the event's id, where the scheme has one.
    pub fn id_header(self) -> Option<&'static str> {
        let headers = self.row().headers.iter();
        let mut ids = headers.filter(|(_, part)| matches!(part, Id));
        ids.next().map(|&(name, _)| name)
    }

    /// Takes a secret's text, as this scheme wants it, to sign with.
    ///
    /// # Errors
    /// The form expected.
    pub fn secret(self, text: String) -> Result<SigningSecret, InvalidSecret> {
        let secret = self.verifier(text)?;
        match self.row().key(&secret)? {
            Key::Public(..) => Err(InvalidSecret::OnlyVerifies),
            Key::Hmac(_) | Key::Pair(..) => Ok(secret),
        }
    }

    /// Takes what a receiver verifies with: a secret, or an ed25519 public key (`whpk_`).
    ///
    /// # Errors
    /// The form expected.
    pub fn verifier(self, text: String) -> Result<SigningSecret, InvalidSecret> {
        let secret = SigningSecret::raw(text).map_err(|error| match self.row().key {
            KeyForm::Standard { .. } => InvalidSecret::Standard,
            KeyForm::Raw => error,
        })?;
        self.row().key(&secret)?;
        Ok(secret)
    }

    /// A new HMAC secret of the form this scheme wants.
    pub fn generate(self, random: [u8; 32]) -> SigningSecret {
        match self.row().key {
            KeyForm::Standard { .. } => SigningSecret::generate(random),
            KeyForm::Raw => SigningSecret::generate_raw(&hex(&random)),
        }
    }

    /// A new ed25519 key pair, out of its seed; none where the scheme knows no ed25519.
    pub fn generate_ed25519(self, seed: [u8; 32]) -> Option<SigningSecret> {
        let seed = Zeroizing::new(seed);
        SigningSecret::raw(KeyPair::of_seed(&seed).text())
            .ok()
            .filter(|_| self.knows(Algorithm::Ed25519))
    }

    pub fn knows(self, algorithm: Algorithm) -> bool {
        match (algorithm, &self.row().key) {
            (Algorithm::Hmac, _) | (_, KeyForm::Standard { .. }) => true,
            (Algorithm::Ed25519, KeyForm::Raw) => false,
        }
    }

    /// What this scheme takes a secret for.
    ///
    /// # Errors
    /// A secret that does not fit the scheme.
    pub fn algorithm_of(self, secret: &SigningSecret) -> Result<Algorithm, InvalidSecret> {
        Ok(match self.row().key(secret)? {
            Key::Hmac(_) => Algorithm::Hmac,
            Key::Pair(..) | Key::Public(..) => Algorithm::Ed25519,
        })
    }

    /// The public key (`whpk_…`) of what this scheme signs with; none for an HMAC secret.
    pub fn public_key(self, secret: &SigningSecret) -> Option<String> {
        match self.row().key(secret).ok()? {
            Key::Hmac(_) => None,
            Key::Pair(pair, _) => Some(pair.public().text()),
            Key::Public(public, _) => Some(public.text()),
        }
    }

    /// Whether a request cannot carry signatures of both schemes: they would stand in one header.
    pub fn shares_header(self, other: Self) -> bool {
        self.row().signature == other.row().signature
    }

    /// Whether one request can carry several signatures, as a rotation with grace wants it.
    pub fn carries_several(self) -> bool {
        self.row().join.is_some()
    }

    /// Adds this scheme's headers, signed with each of `secrets`, newest first.
    ///
    /// # Errors
    /// No secret, one that does not fit the scheme, or an id that no header can carry.
    pub fn sign(
        self,
        secrets: &[SigningSecret],
        what: &Signable<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), SignError> {
        let row = self.row();
        for &(name, part) in row.headers {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::try_from(row.text(&[part], what))?,
            );
        }
        let count = if self.carries_several() {
            secrets.len()
        } else {
            secrets.len().min(1)
        };
        if count == 0 {
            return Err(SignError::NoSecret);
        }
        let signatures = secrets[..count]
            .iter()
            .map(|secret| row.sign(secret, what))
            .collect::<Result<Vec<_>, InvalidSecret>>()?;
        let value = row.text(row.lead, what) + &signatures.join(row.join.unwrap_or_default());
        headers.insert(
            HeaderName::from_static(row.signature),
            HeaderValue::try_from(value)?,
        );
        Ok(())
    }

    /// Checks a received request: any of its signatures may fit any of `secrets`, each a secret or a public key. Where
    /// the scheme signs a timestamp it has to be within `tolerance` of `now`, before or after. Digests are compared in
    /// constant time.
    ///
    /// # Errors
    /// Why the request is not to be believed.
    pub fn verify(
        self,
        secrets: &[SigningSecret],
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<(), VerifyError> {
        let row = self.row();
        let received = row.received(headers)?;
        let at = match received.seconds {
            Some(seconds) => Timestamp::from_millis(seconds.saturating_mul(1000)),
            None => Timestamp::EPOCH,
        };
        // Whole seconds: the sender's clock is cut down to them, so ours is too.
        if received
            .seconds
            .is_some_and(|seconds| seconds.abs_diff(now.as_secs()) > tolerance.as_secs())
        {
            return Err(VerifyError::Stale);
        }
        let what = Signable {
            id: received.id,
            event_type: "",
            at,
            body,
        };
        let mut fits = false;
        for secret in secrets {
            fits |= row.fits(row.key(secret)?, &received, &what);
        }
        if fits { Ok(()) } else { Err(VerifyError::Mismatch) }
    }

    /// Whether receivers compute the signature over the document as JavaScript writes it.
    pub fn is_stringified(self) -> bool {
        self.row().stringified
    }

    fn row(self) -> &'static Row {
        // The table has a row for every scheme, in their order; a test holds it to that.
        &TABLE[self as usize]
    }
}

impl Row {
    /// One signature, with what marks it.
    fn sign(&self, secret: &SigningSecret, what: &Signable<'_>) -> Result<String, InvalidSecret> {
        match self.key(secret)? {
            Key::Hmac(mac) => Ok(format!("{}{}", self.each, self.digest(mac, what))),
            Key::Pair(pair, mark) => Ok(format!("{mark}{}", pair.sign(&self.bytes(self.signed, what)))),
            Key::Public(..) => Err(InvalidSecret::OnlyVerifies),
        }
    }

    /// Whether any received signature is this key's.
    fn fits(&'static self, key: Key, received: &Received<'_>, what: &Signable<'_>) -> bool {
        let (public, mark) = match key {
            Key::Hmac(mac) => {
                let expected = self.digest(mac, what);
                let fits = received
                    .signatures(self, self.each)
                    .map(|signature| signature.as_bytes().ct_eq(expected.as_bytes()))
                    .fold(subtle::Choice::from(0), |any, one| any | one);
                return fits.into();
            }
            Key::Pair(pair, mark) => (pair.public(), mark),
            Key::Public(public, mark) => (public, mark),
        };
        let message = self.bytes(self.signed, what);
        received
            .signatures(self, mark)
            .any(|signature| public.fits(&message, signature))
    }

    fn digest(&self, mut mac: Hmac<Sha256>, what: &Signable<'_>) -> String {
        let seconds = what.at.as_secs().to_string();
        for part in self.signed {
            mac.update(part.bytes(what, &seconds));
        }
        let digest = mac.finalize().into_bytes();
        match self.digest {
            Digest::Base64 => STANDARD.encode(digest),
            Digest::Hex => hex(&digest),
        }
    }

    fn bytes(&self, parts: &[Part], what: &Signable<'_>) -> Vec<u8> {
        let seconds = what.at.as_secs().to_string();
        parts
            .iter()
            .flat_map(|part| part.bytes(what, &seconds))
            .copied()
            .collect()
    }

    fn text(&self, parts: &[Part], what: &Signable<'_>) -> String {
        let bytes = self.bytes(parts, what);
        // Only ids, types and numbers make a header, never the body; all of them are text.
        String::from_utf8(bytes).unwrap_or_default()
    }

    fn received<'a>(&self, headers: &'a HeaderMap) -> Result<Received<'a>, VerifyError> {
        let mut received = Received {
            id: "",
            seconds: None,
            signatures: "",
        };
        for &(name, part) in self.headers {
            let value = header(headers, name)?;
            match part {
                Id => received.id = value,
                Seconds => received.seconds = Some(seconds(value).ok_or(VerifyError::Malformed(name))?),
                Text(_) | EventType | Body => {}
            }
        }
        let mut rest = header(headers, self.signature)?;
        let malformed = VerifyError::Malformed(self.signature);
        for part in self.lead {
            match part {
                Text(text) => rest = rest.strip_prefix(text).ok_or(malformed)?,
                Seconds => {
                    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                    received.seconds = Some(seconds(&rest[..digits]).ok_or(malformed)?);
                    rest = &rest[digits..];
                }
                Id | EventType | Body => return Err(malformed),
            }
        }
        received.signatures = rest;
        Ok(received)
    }
}

impl Part {
    fn bytes<'a>(self, what: &Signable<'a>, seconds: &'a str) -> &'a [u8] {
        match self {
            Text(text) => text.as_bytes(),
            Id => what.id.as_bytes(),
            EventType => what.event_type.as_bytes(),
            Seconds => seconds.as_bytes(),
            Body => what.body,
        }
    }
}

struct Received<'a> {
    id: &'a str,
    seconds: Option<u64>,
    signatures: &'a str,
}

impl<'a> Received<'a> {
    /// The signatures that are marked so, without the mark; those of versions we do not know are passed over.
    fn signatures(&self, row: &'static Row, mark: &'static str) -> impl Iterator<Item = &'a str> {
        // A separator that no header value holds leaves a single signature whole.
        self.signatures
            .split(row.join.unwrap_or("\n"))
            .filter_map(move |one| one.strip_prefix(mark))
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, VerifyError> {
    let value = headers.get(name).ok_or(VerifyError::Missing(name))?;
    value.to_str().map_err(|_| VerifyError::Malformed(name))
}

/// Unix seconds in their one spelling: what is signed is the number written again.
fn seconds(text: &str) -> Option<u64> {
    let seconds: u64 = text.parse().ok()?;
    (seconds.to_string() == text && seconds < 253_402_214_400).then_some(seconds)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| b"0123456789abcdef"[digit as usize] as char)
        .collect()
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
