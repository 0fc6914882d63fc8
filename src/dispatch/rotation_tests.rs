use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    domain::{
        endpoint::{Standing, StateChange},
        profile::Profiles,
    },
    wire::signature::Signable,
};

const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn endpoint(signatures: &Value) -> Result<Endpoint, EngineError> {
    let document = json!({"url": "https://h.test/", "signatures": signatures});
    let spec = document::read(&Profiles::default(), document.as_object().unwrap().clone())?;
    Ok(Endpoint {
        id: EndpointId::from_bytes([1; 16]),
        created_at: START,
        updated_at: START,
        standing: Standing::new(&StateChange::Enable { discard: false }, START),
        spec,
        notes: Notes::default(),
    })
}

/// Rotates an endpoint as the API would.
fn rotated(endpoint: &mut Endpoint, rotation: Rotation, seed: u8, now: Timestamp) -> Result<(), EngineError> {
    let (spec, notes, _) = rotate(endpoint, rotation, [seed; 32], now)?;
    (endpoint.spec, endpoint.notes) = (spec, notes);
    Ok(())
}

/// The headers of a request at `now`.
fn headers(endpoint: &Endpoint, now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let what = Signable {
        id: "evt_1",
        event_type: "a",
        at: now,
        body: b"{}",
    };
    for (scheme, secrets) in endpoint.signing(now) {
        scheme.sign(&secrets, &what, &mut headers).unwrap();
    }
    headers
}

fn believes(scheme: Scheme, secret: &SigningSecret, headers: &HeaderMap, now: Timestamp) -> bool {
    let secrets = std::slice::from_ref(secret);
    scheme
        .verify(secrets, headers, b"{}", now, Duration::ZERO)
        .is_ok()
}

fn current(endpoint: &Endpoint) -> SigningSecret {
    endpoint.spec.signatures[0].secret.clone().unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    /// With a grace of so many hours; with a new secret, one of ed25519, or the oldest again.
    Rotate(u64, New),
    /// So many hours pass.
    Pass(u64),
    /// The secret is replaced by a patch.
    Replace,
}

#[derive(Clone, Copy, Debug)]
enum New {
    Hmac,
    Pair,
    First,
}

fn step() -> impl Strategy<Value = Step> {
    let new = prop_oneof![4 => Just(New::Hmac), 2 => Just(New::Pair), 1 => Just(New::First)];
    prop_oneof![
        5 => (0_u64..=168, new).prop_map(|(grace, new)| Step::Rotate(grace, new)),
        5 => (0_u64..=60).prop_map(Step::Pass),
        1 => Just(Step::Replace),
    ]
}

/// Every secret that there was, and until when it verifies; the present one has no end.
struct Receivers(Vec<(SigningSecret, Option<Timestamp>)>);

impl Receivers {
    fn take_over(&mut self, new: SigningSecret, until: Timestamp) {
        for (_, end) in self.0.iter_mut().filter(|(_, end)| end.is_none()) {
            *end = Some(until);
        }
        self.0.retain(|(secret, _)| *secret != new);
        self.0.push((new, None));
    }
}

proptest! {
    /// Whoever holds a secret whose grace has not ended believes each request; whoever holds one that has ended, none.
    #[test]
    fn whoever_holds_a_secret_in_grace_verifies_and_nobody_else(steps in proptest::collection::vec(step(), 1..40)) {
        let mut endpoint = endpoint(&json!([{"scheme": "standard"}])).unwrap();
        let (mut now, first) = (START, current(&endpoint));
        let mut receivers = Receivers(vec![(first.clone(), None)]);
        for (step, seed) in steps.into_iter().zip(1..) {
            match step {
                Step::Pass(hours) => now = now.plus(HOUR * u32::try_from(hours).unwrap()),
                Step::Replace => {
                    let patch = json!({"signatures": [{"scheme": "standard", "secret": SigningSecret::generate([seed; 32])}]});
                    let spec = document::patch(&Profiles::default(), &endpoint.spec, &patch).unwrap();
                    endpoint.notes = endpoint.notes.kept(&endpoint.spec.signatures, &spec.signatures, now);
                    endpoint.spec = spec;
                    receivers = Receivers(vec![(current(&endpoint), None)]);
                }
                Step::Rotate(hours, new) => {
                    let rotation = Rotation {
                        algorithm: match new { New::Hmac => Some(Algorithm::Hmac), New::Pair => Some(Algorithm::Ed25519), New::First => None },
                        secret: matches!(new, New::First).then(|| first.clone()),
                        grace: Some(Span::from_secs(hours * 3600)),
                        ..Rotation::default()
                    };
                    let before = endpoint.clone();
                    match rotated(&mut endpoint, rotation, seed, now) {
                        Ok(()) => receivers.take_over(current(&endpoint), now.plus(HOUR * u32::try_from(hours).unwrap())),
                        Err(EngineError::NotNow(_)) => {
                            let in_grace = receivers.0.iter().filter(|(_, end)| end.is_some_and(|end| end > now));
                            prop_assert!(in_grace.count() >= limits::RETIRED_SECRETS);
                            prop_assert_eq!(&endpoint, &before);
                        }
                        Err(EngineError::Invalid { field, .. }) => {
                            prop_assert_eq!(field, "secret");
                            prop_assert_eq!(current(&endpoint), first.clone());
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            let headers = headers(&endpoint, now);
            for (secret, end) in &receivers.0 {
                let expected = end.is_none_or(|end| end > now);
                prop_assert_eq!(believes(Scheme::Standard, secret, &headers, now), expected, "{:?} at {}", end, now);
            }
        }
    }
}

#[test]
fn every_scheme_rotates_and_carries_the_old_secret_where_it_can() {
    for scheme in Scheme::all() {
        let mut endpoint = endpoint(&json!([{ "scheme": scheme }])).unwrap();
        let old = current(&endpoint);
        rotated(&mut endpoint, Rotation::default(), 5, START).unwrap();
        let new = current(&endpoint);
        assert_ne!(old, new);
        let believed = |secret: &SigningSecret, hours: u32| {
            let now = START.plus(HOUR * hours);
            believes(scheme, secret, &headers(&endpoint, now), now)
        };
        assert!(believed(&new, 0) && believed(&new, 24), "{scheme:?}");
        assert_eq!(believed(&old, 23), scheme.carries_several(), "{scheme:?}");
        assert!(!believed(&old, 24), "{scheme:?}");
    }
}

#[test]
fn a_rotation_at_fault_names_the_member() {
    let field = |signatures: &Value, rotation: Value| {
        let mut endpoint = endpoint(signatures).unwrap();
        let rotation = serde_json::from_value(rotation).unwrap();
        match rotated(&mut endpoint, rotation, 5, START) {
            Err(EngineError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    let one = json!([{"scheme": "standard"}]);
    let two = json!([{"scheme": "standard"}, {"scheme": "github", "secret": "good enough"}]);
    assert_eq!(field(&one, json!({"grace": "8d"})), "grace");
    assert_eq!(field(&one, json!({"scheme": "github"})), "scheme");
    assert_eq!(field(&two, json!({})), "scheme");
    assert_eq!(field(&one, json!({"secret": "short"})), "secret");
    assert_eq!(field(&one, json!({"secret": "***"})), "secret");
    assert_eq!(
        field(&two, json!({"scheme": "github", "secret": "a b c"})),
        "secret"
    );
    assert_eq!(
        field(&two, json!({"scheme": "github", "secret": "good enough"})),
        "secret"
    );
    assert_eq!(
        field(&two, json!({"scheme": "github", "algorithm": "ed25519"})),
        "algorithm"
    );
    let pair = Scheme::Standard.generate_ed25519([1; 32]).unwrap();
    assert_eq!(
        field(&one, json!({"secret": pair, "algorithm": "hmac"})),
        "algorithm"
    );
    let unsigned = rotate(
        &endpoint(&json!([])).unwrap(),
        Rotation::default(),
        [0; 32],
        START,
    );
    assert!(matches!(unsigned, Err(EngineError::NotNow(_))));
}

#[test]
fn only_the_rotated_secret_is_shown() {
    let mut endpoint =
        endpoint(&json!([{"scheme": "stripe", "secret": "keep-me-too"}, {"scheme": "standard"}])).unwrap();
    let old = endpoint.spec.signatures[1].secret.clone().unwrap();
    let rotation = || Rotation {
        scheme: Some(Scheme::Standard),
        algorithm: Some(Algorithm::Ed25519),
        ..Rotation::default()
    };
    let (spec, notes, place) = rotate(&endpoint, rotation(), [5; 32], START).unwrap();
    (endpoint.spec, endpoint.notes) = (spec, notes);
    let view = serde_json::to_value(shown(&endpoint, place, START, |old| old)).unwrap();
    let new = &endpoint.spec.signatures[1].secret.clone().unwrap();
    assert_eq!(
        view,
        json!({
            "scheme": "standard", "secret": new.expose(), "public_key": Scheme::Standard.public_key(new),
            "signatures": [
                {"scheme": "stripe", "secret": "***"},
                {"scheme": "standard", "algorithm": "ed25519", "secret": new.expose()},
            ],
            "retired": [{"scheme": "standard", "secret": "***", "until": START.plus(HOUR * 24)}],
        })
    );
    assert!(!view.to_string().contains(old.expose()));
    let keys = public_keys(&endpoint, START);
    assert_eq!((keys.len(), keys[0].until), (1, None));
}

#[test]
fn the_kind_of_a_new_secret_is_the_old_one_s_unless_it_is_said() {
    let mut endpoint = endpoint(&json!([{"scheme": "svix", "algorithm": "ed25519"}])).unwrap();
    let algorithm = |endpoint: &Endpoint| Scheme::Svix.algorithm_of(&current(endpoint)).unwrap();
    assert_eq!(algorithm(&endpoint), Algorithm::Ed25519);
    rotated(&mut endpoint, Rotation::default(), 5, START).unwrap();
    assert_eq!(algorithm(&endpoint), Algorithm::Ed25519);
    let keys = public_keys(&endpoint, START);
    assert_eq!(
        keys.iter().map(|key| key.until).collect::<Vec<_>>(),
        [None, Some(START.plus(HOUR * 24))]
    );
    let hmac = Rotation {
        algorithm: Some(Algorithm::Hmac),
        ..Rotation::default()
    };
    rotated(&mut endpoint, hmac, 6, START).unwrap();
    assert_eq!(
        (algorithm(&endpoint), endpoint.spec.signatures[0].algorithm),
        (Algorithm::Hmac, None)
    );
    assert_eq!(public_keys(&endpoint, START).len(), 2, "both old ones still sign");
}
