//! What an endpoint's requests are signed with: a secret for each of its schemes, and old secrets in their grace.
//!
//! A rotation gives a scheme a new secret. The old one goes on signing beside it until its grace ends, so that a receiver
//! changes over when it likes within that time. Old secrets are kept with the endpoint's [`Notes`], newest first, and
//! forgotten at the first save after their grace. Replacing a secret without a rotation, or giving up its scheme, ends
//! what was in grace at once: that is how a secret that has leaked is got rid of.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _, de::IntoDeserializer};

use super::{
    endpoint::{Endpoint, Notes},
    format::{Algorithm, Scheme},
    limits,
    secret::SigningSecret,
    time::Timestamp,
};

/// One signature that every request carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureSpec {
    pub scheme: Scheme,
    /// Says what secret to make; shown when it is not HMAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Generated when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SigningSecret>,
}

/// A secret that was rotated out and still signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    pub scheme: Scheme,
    pub secret: SigningSecret,
    /// From then on it does not sign.
    pub until: Timestamp,
}

/// As many secrets of one scheme are in their grace as may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many older secrets as may be are still in their grace")]
pub struct TooManyRetired;

impl SignatureSpec {
    /// The scheme with a secret to be made.
    pub const fn of(scheme: Scheme) -> Self {
        Self {
            scheme,
            algorithm: None,
            secret: None,
        }
    }
}

impl Notes {
    /// The old secrets of a scheme that still sign at `now`, newest first.
    pub fn in_grace(&self, scheme: Scheme, now: Timestamp) -> impl Iterator<Item = &Retired> {
        self.retired
            .iter()
            .filter(move |old| old.scheme == scheme && old.until > now)
    }

    /// Notes that `new` signs for a scheme from `now` on, and `old` beside it until `until`. What was in grace before
    /// keeps its own end; a secret that comes back is old no more.
    ///
    /// # Errors
    /// [`limits::RETIRED_SECRETS`] of the scheme are in their grace already.
    pub fn rotated(
        &self,
        scheme: Scheme,
        new: &SigningSecret,
        old: Option<(SigningSecret, Timestamp)>,
        now: Timestamp,
    ) -> Result<Self, TooManyRetired> {
        let old = old.filter(|(_, until)| *until > now);
        let first = old.map(|(secret, until)| Retired {
            scheme,
            secret,
            until,
        });
        let rest = self.retired.iter().filter(|retired| retired.until > now);
        let rest = rest.filter(|retired| !(retired.scheme == scheme && retired.secret == *new));
        let retired: Vec<_> = first.into_iter().chain(rest.cloned()).collect();
        if retired.iter().filter(|old| old.scheme == scheme).count() > limits::RETIRED_SECRETS {
            return Err(TooManyRetired);
        }
        let mut notes = self.clone();
        notes.retired = retired;
        Ok(notes)
    }

    /// What is left of these notes when an endpoint's signatures are saved anew at `now`: of old secrets, those whose
    /// grace has not ended and whose scheme has the secret it had.
    #[must_use]
    pub fn kept(&self, before: &[SignatureSpec], after: &[SignatureSpec], now: Timestamp) -> Self {
        let secret = |list: &[SignatureSpec], scheme| {
            let found = list.iter().find(|signature| signature.scheme == scheme);
            found.and_then(|signature| signature.secret.clone())
        };
        let stays = |old: &&Retired| {
            let present = secret(after, old.scheme);
            old.until > now && present.is_some() && present == secret(before, old.scheme)
        };
        let mut notes = self.clone();
        notes.retired = self.retired.iter().filter(stays).cloned().collect();
        notes
    }
}

impl Endpoint {
    /// What a request at `now` is signed with: for each scheme its secrets, newest first; none where one is missing.
    pub fn signing(&self, now: Timestamp) -> Vec<(Scheme, Vec<SigningSecret>)> {
        let secrets = |signature: &SignatureSpec| {
            let old = self.notes.in_grace(signature.scheme, now);
            let current = signature.secret.iter();
            current.chain(old.map(|old| &old.secret)).cloned().collect()
        };
        let signatures = self.spec.signatures.iter();
        signatures
            .map(|signature| (signature.scheme, secrets(signature)))
            .collect()
    }
}

/// A scheme, or the word for no signature at all.
enum Named {
    Scheme(Scheme),
    Nothing,
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == "none" {
            return Ok(Self::Nothing);
        }
        Scheme::deserialize(name.as_str().into_deserializer()).map(Self::Scheme)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    scheme: Named,
    algorithm: Option<Algorithm>,
    secret: Option<SigningSecret>,
}

/// Reads an endpoint's `signatures`; `[{"scheme": "none"}]` is the empty list.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SignatureSpec>, D::Error> {
    let entries = Vec::<Entry>::deserialize(deserializer)?;
    if let [
        Entry {
            scheme: Named::Nothing,
            algorithm: None,
            secret: None,
        },
    ] = entries[..]
    {
        return Ok(Vec::new());
    }
    let read = |entry: Entry| match entry.scheme {
        Named::Scheme(scheme) => Ok(SignatureSpec {
            scheme,
            algorithm: entry.algorithm,
            secret: entry.secret,
        }),
        Named::Nothing => Err(D::Error::custom(
            "the scheme none stands alone, without a secret; leave it out, or leave out the others",
        )),
    };
    entries.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::raw(text.to_owned()).unwrap()
    }

    fn signature(scheme: Scheme, text: &str) -> SignatureSpec {
        SignatureSpec {
            secret: Some(secret(text)),
            ..SignatureSpec::of(scheme)
        }
    }

    fn at(day: u64) -> Timestamp {
        Timestamp::from_millis(day * DAY)
    }

    /// Notes of these secrets of one scheme, oldest first, each in grace until its day.
    fn retired(old: &[(&str, u64)]) -> Notes {
        let rotate = |notes: Notes, &(text, day): &(&str, u64)| {
            notes
                .rotated(
                    Scheme::Standard,
                    &secret("new"),
                    Some((secret(text), at(day))),
                    at(0),
                )
                .unwrap()
        };
        old.iter().fold(Notes::default(), rotate)
    }

    fn in_grace(notes: &Notes, day: u64) -> Vec<String> {
        let old = notes.in_grace(Scheme::Standard, at(day));
        old.map(|old| old.secret.expose().to_owned()).collect()
    }

    #[test]
    fn an_old_secret_signs_until_its_own_end_and_no_longer() {
        let notes = retired(&[("a", 9), ("b", 5)]);
        assert_eq!(in_grace(&notes, 4), ["b", "a"]);
        assert_eq!(in_grace(&notes, 5), ["a"]);
        assert_eq!(in_grace(&notes, 9), [""; 0]);
        assert_eq!(notes.in_grace(Scheme::Svix, at(0)).count(), 0);
        assert_eq!(in_grace(&retired(&[("a", 0)]), 0), [""; 0]);
    }

    #[test]
    fn a_secret_that_comes_back_is_old_no_more() {
        let back = retired(&[("a", 9), ("b", 9)])
            .rotated(Scheme::Standard, &secret("a"), Some((secret("c"), at(9))), at(1))
            .unwrap();
        assert_eq!(in_grace(&back, 1), ["c", "b"]);
    }

    #[test]
    fn so_many_are_in_grace_and_no_more_and_the_ended_do_not_count() {
        let full: Vec<_> = ["a", "b", "c", "d"][..limits::RETIRED_SECRETS]
            .iter()
            .map(|&text| (text, 9))
            .collect();
        let notes = retired(&full);
        let more =
            |day, scheme| notes.rotated(scheme, &secret("z"), Some((secret("y"), at(day + 1))), at(day));
        assert_eq!(more(8, Scheme::Standard), Err(TooManyRetired));
        assert_eq!(more(9, Scheme::Standard).unwrap().retired.len(), 1);
        assert_eq!(more(8, Scheme::Svix).unwrap().retired.len(), full.len() + 1);
    }

    #[test]
    fn a_replaced_secret_and_a_scheme_given_up_end_what_was_in_grace() {
        let notes = retired(&[("a", 9)]);
        let before = [signature(Scheme::Standard, "new"), signature(Scheme::Github, "x")];
        let kept = |after: &[SignatureSpec], day| notes.kept(&before, after, at(day)).retired.len();
        assert_eq!(kept(&before, 1), 1);
        assert_eq!(kept(&before[..1], 1), 1);
        assert_eq!(kept(&before, 9), 0, "its grace has ended");
        assert_eq!(kept(&[signature(Scheme::Standard, "other")], 1), 0);
        assert_eq!(kept(&[SignatureSpec::of(Scheme::Standard)], 1), 0);
        assert_eq!(kept(&before[1..], 1), 0);
    }

    #[test]
    fn none_alone_is_the_empty_list_and_beside_others_is_refused() {
        let read = |document: serde_json::Value| list(document);
        assert_eq!(read(json!([{"scheme": "none"}])).unwrap(), []);
        assert_eq!(read(json!([])).unwrap(), []);
        let one = read(json!([{"scheme": "svix", "algorithm": "ed25519"}])).unwrap();
        assert_eq!(
            (one[0].scheme, one[0].algorithm),
            (Scheme::Svix, Some(Algorithm::Ed25519))
        );
        for bad in [
            json!([{"scheme": "none"}, {"scheme": "github"}]),
            json!([{"scheme": "none"}, {"scheme": "none"}]),
            json!([{"scheme": "none", "secret": "s"}]),
            json!([{"scheme": "none", "algorithm": "hmac"}]),
            json!([{"scheme": "md5"}]),
            json!([{"scheme": "github", "key": "s"}]),
            json!([{"secret": "s"}]),
            json!({"scheme": "none"}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn notes_read_back_and_old_ones_hold_no_secrets() {
        let notes = retired(&[("a", 9)]);
        let text = serde_json::to_string(&notes).unwrap();
        assert_eq!(serde_json::from_str::<Notes>(&text).unwrap(), notes);
        assert_eq!(serde_json::from_str::<Notes>("{}").unwrap(), Notes::default());
        assert_eq!(serde_json::to_string(&Notes::default()).unwrap(), "{}");
    }
}
