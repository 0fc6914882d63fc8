//! Secrets: made, checked, rotated, shown.
//!
//! A rotation is saved at once: the endpoint with its new secret, the old one in its grace, and the state that follows. A
//! crash leaves all of that, or the endpoint as it was. The rules of grace are in `domain::signing`.

use serde_json::Value;

use super::{
    document,
    edit::Edit,
    endpoints::{NO_SECRET, lacks_a_secret},
    engine::Engine,
    error::EngineError,
    view::{PublicKeyView, RotatedView, Rotation, SecretsView},
};
use crate::{
    domain::{
        duration::Span,
        endpoint::{Endpoint, EndpointSpec, Notes},
        format::{Algorithm, Scheme},
        id::EndpointId,
        limits,
        secret::{InvalidSecret, SigningSecret},
        signing::{Retired, SignatureSpec},
        text,
        time::Timestamp,
    },
    runtime::random,
};

/// A member of a signature that is at fault, and what is wanted of it.
type Fault = (&'static str, String);

impl Engine {
    /// Gives one of an endpoint's schemes a new secret, shown this once; the old one signs beside it until its grace
    /// ends, where the scheme can carry both.
    ///
    /// # Errors
    /// `Invalid` names the member at fault; `NotNow` when nothing is signed, or too many secrets are in grace.
    pub async fn rotate_secret(
        &self,
        id: EndpointId,
        rotation: Rotation,
    ) -> Result<RotatedView, EngineError> {
        let shared = &self.0;
        let one_at_a_time = shared.configuring_of(id).await;
        shared.storage.get()?;
        let endpoint = shared.endpoint(id)?;
        let now = self.now();
        let (spec, notes, place) = rotate(&endpoint, rotation, random::secure(), now)?;
        let mut edit = Edit::of(&endpoint, now);
        edit.save(spec, notes);
        let got_its_secret = endpoint.standing.disabled == Some(NO_SECRET);
        if got_its_secret && !lacks_a_secret(&edit.endpoint.spec) {
            edit.resume()?;
        }
        let _held = shared.save(one_at_a_time, edit.into_changes(shared)?).await?;
        Ok(shown(&*shared.endpoint(id)?, place, now, |old| {
            shared.clock.show(old)
        }))
    }

    /// The `signatures` member with its secrets, and the old secrets that still sign.
    pub async fn endpoint_secrets(&self, id: EndpointId) -> Result<SecretsView, EngineError> {
        let (endpoint, now) = (self.0.endpoint(id)?, self.now());
        let retired = endpoint.notes.retired.iter().filter(|old| old.until > now);
        Ok(SecretsView {
            signatures: endpoint.spec.signatures.clone(),
            retired: self.0.clock.show(retired.cloned().collect::<Vec<_>>()),
        })
    }

    /// The public keys that verify what an endpoint is sent now, newest first.
    ///
    /// # Errors
    /// `NotFound` when nothing that signs has one.
    pub async fn endpoint_public_keys(&self, id: EndpointId) -> Result<Vec<PublicKeyView>, EngineError> {
        let keys = public_keys(&*self.0.endpoint(id)?, self.now());
        if keys.is_empty() {
            return Err(EngineError::NotFound(
                "public key: the endpoint signs with no ed25519 secret",
            ));
        }
        Ok(self.0.clock.show(keys))
    }
}

/// The configuration and notes after a rotation, and the place of the signature that was rotated.
fn rotate(
    endpoint: &Endpoint,
    rotation: Rotation,
    random: [u8; 32],
    now: Timestamp,
) -> Result<(EndpointSpec, Notes, usize), EngineError> {
    let place = chosen(&endpoint.spec.signatures, rotation.scheme)?;
    let mut spec = endpoint.spec.clone();
    let signature = &mut spec.signatures[place];
    let scheme = signature.scheme;
    let grace = rotation
        .grace
        .map_or(limits::ROTATION_GRACE_DEFAULT, Span::as_duration);
    if grace > limits::ROTATION_GRACE {
        return Err(invalid("grace", "the range is 0s to 7d"));
    }
    let old = signature.secret.take();
    if rotation.secret.is_some() && rotation.secret == old {
        return Err(invalid(
            "secret",
            "is the one the endpoint has; give another, or leave it out",
        ));
    }
    if let Some(secret) = &rotation.secret {
        text::check_seen(secret.expose()).map_err(|rule| invalid("secret", rule))?;
    }
    // What neither says nor gives anything else stays with the algorithm that it has.
    signature.algorithm = match &rotation.secret {
        Some(_) => rotation.algorithm,
        None => rotation.algorithm.or(signature.algorithm),
    };
    signature.secret = rotation.secret;
    let new = completed(signature, random)
        .and_then(|new| check_length(Some(&new)).map(|()| new))
        .map_err(|(member, rule)| invalid(member, rule))?;
    let old = old
        .filter(|_| scheme.carries_several())
        .map(|old| (old, now.plus(grace)));
    let notes = endpoint.notes.rotated(scheme, &new, old, now).map_err(|_| {
        EngineError::NotNow(
            "four older secrets of the scheme are still in their grace; wait until one ends, or replace the secret by PATCH, which ends them all",
        )
    })?;
    Ok((spec, notes, place))
}

/// The place of the signature that a rotation is of.
fn chosen(signatures: &[SignatureSpec], scheme: Option<Scheme>) -> Result<usize, EngineError> {
    let names: Vec<_> = signatures
        .iter()
        .map(|signature| signature.scheme.as_str())
        .collect();
    let place = scheme.and_then(|scheme| signatures.iter().position(|one| one.scheme == scheme));
    match (signatures, scheme, place) {
        ([], ..) => Err(EngineError::NotNow(
            "nothing is signed for the endpoint; set its signatures first",
        )),
        (_, _, Some(place)) => Ok(place),
        ([_], None, _) => Ok(0),
        (_, None, _) => Err(invalid(
            "scheme",
            format!("is missing; say which of {} is rotated", names.join(", ")),
        )),
        (_, Some(scheme), None) => Err(invalid(
            "scheme",
            format!(
                "{} is none of the endpoint's; those are {}",
                scheme.as_str(),
                names.join(", ")
            ),
        )),
    }
}

fn invalid(field: impl Into<String>, rule: impl Into<String>) -> EngineError {
    EngineError::Invalid {
        field: field.into(),
        rule: rule.into(),
    }
}

/// Gives every signature without a secret one, unless a person has to, and checks those that are given. One that is `saved`
/// may be as short as it is: what was allowed once goes on signing.
///
/// # Errors
/// `Invalid` names the member at fault.
pub(super) fn complete(
    signatures: &mut [SignatureSpec],
    saved: &[SignatureSpec],
    secret_required: bool,
) -> Result<(), EngineError> {
    for place in 0..signatures.len() {
        let (before, rest) = signatures.split_at_mut(place);
        let signature = &mut rest[0];
        let fault = |(member, rule): Fault| invalid(format!("signatures[{place}].{member}"), rule);
        let scheme = signature.scheme;
        if let Some(other) = before.iter().find(|other| other.scheme.shares_header(scheme)) {
            let rule = match other.scheme {
                same if same == scheme => {
                    format!("{} is there twice; give each scheme once", scheme.as_str())
                }
                other => format!("its header is that of {}; give one of the two", other.as_str()),
            };
            return Err(fault(("scheme", rule)));
        }
        let is_new = signature.secret.is_some() && !saved.iter().any(|saved| saved == signature);
        if signature.secret.is_some() || !secret_required {
            let secret = completed(signature, random::secure()).map_err(fault)?;
            check_length(Some(&secret).filter(|_| is_new)).map_err(fault)?;
        }
    }
    Ok(())
}

/// Checks that a new secret that was given is long enough.
fn check_length(given: Option<&SigningSecret>) -> Result<(), Fault> {
    match given.filter(|secret| secret.is_too_short()) {
        Some(_) => Err(("secret", InvalidSecret::Short.to_string())),
        None => Ok(()),
    }
}

/// Makes the secret of a signature if it has none; answers the secret.
fn completed(signature: &mut SignatureSpec, random: [u8; 32]) -> Result<SigningSecret, Fault> {
    let scheme = signature.scheme;
    let wanted = signature.algorithm;
    let unknown = || {
        let rule = format!("{} signs by hmac alone; leave it out", scheme.as_str());
        ("algorithm", rule)
    };
    if wanted.is_some_and(|algorithm| !scheme.knows(algorithm)) {
        return Err(unknown());
    }
    let unfit = |error: InvalidSecret| ("secret", error.to_string());
    let secret = match (signature.secret.take(), wanted) {
        (Some(secret), _) if secret.expose() == document::HIDDEN => {
            let rule =
                "is the text that hides a secret; give the secret itself, or leave it out to have one made";
            return Err(("secret", rule.to_owned()));
        }
        (Some(secret), _) => scheme.secret(secret.expose().to_owned()).map_err(unfit)?,
        (None, None | Some(Algorithm::Hmac)) => scheme.generate(random),
        (None, Some(Algorithm::Ed25519)) => scheme.generate_ed25519(random).ok_or_else(unknown)?,
    };
    let algorithm = scheme.algorithm_of(&secret).map_err(unfit)?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != algorithm) {
        let (wanted, is) = (wanted.as_str(), algorithm.as_str());
        let rule = format!("is {wanted}, and the secret is of {is}; leave one of the two out");
        return Err(("algorithm", rule));
    }
    signature.algorithm = (algorithm != Algorithm::Hmac).then_some(algorithm);
    signature.secret = Some(secret.clone());
    Ok(secret)
}

/// What a rotation answers: its new secret, and all others hidden.
fn shown(
    endpoint: &Endpoint,
    place: usize,
    now: Timestamp,
    show: impl Fn(Retired) -> Retired,
) -> RotatedView {
    let rotated = &endpoint.spec.signatures[place];
    let mut signatures = document::secrets(&endpoint.spec);
    let mut retired: Vec<Value> = endpoint
        .notes
        .in_grace(rotated.scheme, now)
        .filter_map(|old| serde_json::to_value(show(old.clone())).ok())
        .collect();
    let others = signatures.iter_mut().enumerate();
    let others = others.filter(|(at, _)| *at != place).map(|(_, other)| other);
    for other in others.chain(&mut retired) {
        document::conceal(&mut other["secret"]);
    }
    let secret = rotated.secret.as_ref();
    RotatedView {
        scheme: rotated.scheme,
        secret: secret
            .map(|secret| secret.expose().to_owned())
            .unwrap_or_default(),
        public_key: secret.and_then(|secret| rotated.scheme.public_key(secret)),
        signatures,
        retired,
    }
}

fn public_keys(endpoint: &Endpoint, now: Timestamp) -> Vec<PublicKeyView> {
    let mut keys = Vec::new();
    for signature in &endpoint.spec.signatures {
        let scheme = signature.scheme;
        let old = endpoint.notes.in_grace(scheme, now);
        let present = signature.secret.iter().map(|secret| (secret, None));
        for (secret, until) in present.chain(old.map(|old| (&old.secret, Some(old.until)))) {
            keys.extend(scheme.public_key(secret).map(|public_key| PublicKeyView {
                scheme,
                public_key,
                until,
            }));
        }
    }
    keys
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
