use super::*;

const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const BODY: &[u8] = b"{\"test\": 2432232314}";
const AT: Timestamp = Timestamp::from_millis(1_614_265_330_000);
const TOLERANCE: Duration = Duration::from_secs(300);
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn secret_for(scheme: Scheme, text: &str) -> SigningSecret {
    scheme.secret(text.to_owned()).unwrap()
}

fn any_secret(scheme: Scheme, seed: u8) -> SigningSecret {
    secret_for(scheme, SigningSecret::generate([seed; 32]).expose())
}

fn signed(scheme: Scheme, secrets: &[SigningSecret], body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let what = Signable {
        id: ID,
        event_type: "push",
        at: AT,
        body,
    };
    scheme.sign(secrets, &what, &mut headers).unwrap();
    headers
}

fn value(scheme: Scheme, secret: &str, body: &[u8]) -> String {
    let headers = signed(scheme, &[secret_for(scheme, secret)], body);
    headers[scheme.row().signature].to_str().unwrap().to_owned()
}

#[test]
fn every_scheme_has_its_own_row() {
    for (index, scheme) in Scheme::all().enumerate() {
        assert_eq!(scheme as usize, index);
        assert_eq!(serde_json::to_value(scheme).unwrap(), scheme.as_str());
    }
}

#[test]
fn the_published_and_computed_vectors_come_out() {
    let standard = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let zoom = "v0=22c0add565c53351fd2c8c52e0c3005fac61e83a5cc232394d41b70d5c4c7e51";
    let stripe = "t=1614265330,v1=10c96c6fd3f320fcfc264cdc4f476c15060ede8e8a08404cea2ddf3b72544a9c";
    let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(value(Scheme::Standard, WHSEC, BODY), standard);
    assert_eq!(value(Scheme::Svix, WHSEC, BODY), standard);
    assert_eq!(value(Scheme::Stripe, "whsec_test_secret", BODY), stripe);
    assert_eq!(value(Scheme::Zoom, "secret", BODY), zoom);
    assert_eq!(value(Scheme::Slack, "secret", BODY), zoom);
    assert_eq!(
        value(Scheme::Flowplayer, "secret", BODY),
        "c4be5c092d907fa240f2da524c1fd82913705379274d113cacd5ec3a667ad4d4"
    );
    assert_eq!(
        value(Scheme::Shopify, "secret", BODY),
        "xL5cCS2Qf6JA8tpSTB/YKRNwU3knTRE8rNXsOmZ61NQ="
    );
    assert_eq!(
        value(Scheme::Github, "It's a Secret to Everybody", b"Hello, World!"),
        github
    );
}

const WHSK: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const WHPK: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

#[test]
fn the_published_ed25519_vector_comes_out_and_verifies_by_either_key() {
    let published =
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    for scheme in [Scheme::Standard, Scheme::Svix] {
        assert_eq!(value(scheme, WHSK, BODY), published);
        let headers = signed(scheme, &[secret_for(scheme, WHSK)], BODY);
        for text in [WHSK, WHPK] {
            let keys = [scheme.verifier(text.to_owned()).unwrap()];
            assert_eq!(scheme.verify(&keys, &headers, BODY, AT, TOLERANCE), Ok(()));
            let changed = scheme.verify(&keys, &headers, b"{}", AT, TOLERANCE);
            assert_eq!(changed, Err(VerifyError::Mismatch));
        }
    }
    let secret = secret_for(Scheme::Standard, WHSK);
    assert_eq!(Scheme::Standard.public_key(&secret).as_deref(), Some(WHPK));
    assert_eq!(
        Scheme::Standard.public_key(&secret_for(Scheme::Standard, WHSEC)),
        None
    );
}

#[test]
fn an_hmac_secret_and_a_key_pair_sign_side_by_side_and_neither_stands_in_for_the_other() {
    let (hmac, pair) = (
        secret_for(Scheme::Standard, WHSEC),
        secret_for(Scheme::Standard, WHSK),
    );
    let both = signed(Scheme::Standard, &[pair.clone(), hmac.clone()], BODY);
    let verify = |secret: &SigningSecret, headers: &HeaderMap| {
        Scheme::Standard.verify(std::slice::from_ref(secret), headers, BODY, AT, TOLERANCE)
    };
    assert_eq!((verify(&hmac, &both), verify(&pair, &both)), (Ok(()), Ok(())));
    let of_the_pair = signed(Scheme::Standard, std::slice::from_ref(&pair), BODY);
    assert_eq!(verify(&hmac, &of_the_pair), Err(VerifyError::Mismatch));
    // The digest of HMAC under the mark of ed25519, and the other way round.
    let swapped = both["webhook-signature"]
        .to_str()
        .unwrap()
        .replace("v1a,", "v0,")
        .replace("v1,", "v1a,")
        .replace("v0,", "v1,");
    let mut headers = both.clone();
    headers.insert("webhook-signature", HeaderValue::try_from(swapped).unwrap());
    for secret in [&hmac, &pair] {
        assert_eq!(verify(secret, &headers), Err(VerifyError::Mismatch));
    }
}

#[test]
fn a_public_key_verifies_and_does_not_sign() {
    let refused = Scheme::Standard.secret(WHPK.to_owned());
    assert_eq!(refused.unwrap_err(), InvalidSecret::OnlyVerifies);
    let public = [Scheme::Standard.verifier(WHPK.to_owned()).unwrap()];
    let what = Signable {
        id: ID,
        event_type: "push",
        at: AT,
        body: BODY,
    };
    let result = Scheme::Standard.sign(&public, &what, &mut HeaderMap::new());
    assert!(matches!(
        result,
        Err(SignError::Secret(InvalidSecret::OnlyVerifies))
    ));
}

#[test]
fn a_generated_key_pair_fits_its_scheme_and_no_vendor_has_one() {
    for scheme in Scheme::all() {
        let made = scheme.generate_ed25519([3; 32]);
        assert_eq!(made.is_some(), scheme.knows(Algorithm::Ed25519), "{scheme:?}");
        assert_eq!(
            made.is_some(),
            matches!(scheme, Scheme::Standard | Scheme::Svix),
            "{scheme:?}"
        );
        if let Some(made) = made {
            assert_eq!(scheme.algorithm_of(&made), Ok(Algorithm::Ed25519));
            assert!(scheme.secret(made.expose().to_owned()).is_ok());
        }
        let hmac = scheme.generate([3; 32]);
        assert_eq!(scheme.algorithm_of(&hmac), Ok(Algorithm::Hmac), "{scheme:?}");
        assert!(scheme.secret(hmac.expose().to_owned()).is_ok(), "{scheme:?}");
    }
    // Elsewhere such a text is a text like any other.
    assert!(Scheme::Github.secret("whsk_x".to_owned()).is_ok());
    assert_eq!(
        Scheme::Standard.secret("whsk_x".to_owned()).unwrap_err(),
        InvalidSecret::KeyPair
    );
}

#[test]
fn a_scheme_sends_its_other_headers() {
    let names = |scheme: Scheme| {
        let headers = signed(scheme, &[any_secret(scheme, 1)], BODY);
        let pairs = headers.iter().filter(|(name, _)| *name != scheme.row().signature);
        pairs
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let id = "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek";
    assert_eq!(names(Scheme::Standard), [id, "webhook-timestamp: 1614265330"]);
    assert_eq!(names(Scheme::Zoom), ["x-zm-request-timestamp: 1614265330"]);
    let delivery = "x-github-delivery: msg_p5jXN8AQM9LWM0D4loKWxJek";
    assert_eq!(names(Scheme::Github), ["x-github-event: push", delivery]);
}

#[test]
fn what_is_signed_verifies_and_what_is_changed_does_not() {
    for scheme in Scheme::all() {
        let secrets = [any_secret(scheme, 1)];
        let headers = signed(scheme, &secrets, BODY);
        assert_eq!(
            scheme.verify(&secrets, &headers, BODY, AT, TOLERANCE),
            Ok(()),
            "{scheme:?}"
        );
        let other_body = scheme.verify(&secrets, &headers, b"{}", AT, TOLERANCE);
        assert_eq!(other_body, Err(VerifyError::Mismatch), "{scheme:?}");
        let other_secret = scheme.verify(&[any_secret(scheme, 2)], &headers, BODY, AT, TOLERANCE);
        assert_eq!(other_secret, Err(VerifyError::Mismatch), "{scheme:?}");
        assert_eq!(
            scheme.verify(&[], &headers, BODY, AT, TOLERANCE),
            Err(VerifyError::Mismatch)
        );
        let nothing = scheme.verify(&secrets, &HeaderMap::new(), BODY, AT, TOLERANCE);
        assert!(matches!(nothing, Err(VerifyError::Missing(_))), "{scheme:?}");
    }
}

#[test]
fn a_changed_id_or_timestamp_breaks_the_signature() {
    let secrets = [any_secret(Scheme::Standard, 1)];
    for (name, value) in [("webhook-id", "other"), ("webhook-timestamp", "1614265331")] {
        let mut headers = signed(Scheme::Standard, &secrets, BODY);
        headers.insert(name, HeaderValue::from_static(value));
        let result = Scheme::Standard.verify(&secrets, &headers, BODY, AT, TOLERANCE);
        assert_eq!(result, Err(VerifyError::Mismatch), "{name}");
    }
    for value in [
        "",
        "-1",
        "+1614265330",
        "01614265330",
        "1e9",
        "99999999999999999999",
    ] {
        let mut headers = signed(Scheme::Standard, &secrets, BODY);
        headers.insert("webhook-timestamp", HeaderValue::from_static(value));
        let result = Scheme::Standard.verify(&secrets, &headers, BODY, AT, TOLERANCE);
        assert_eq!(
            result,
            Err(VerifyError::Malformed("webhook-timestamp")),
            "{value}"
        );
    }
}

#[test]
fn a_timestamp_outside_the_tolerance_is_stale_either_way() {
    for scheme in [Scheme::Standard, Scheme::Stripe, Scheme::Zoom] {
        let secrets = [any_secret(scheme, 1)];
        let headers = signed(scheme, &secrets, BODY);
        let verify = |now: Timestamp| scheme.verify(&secrets, &headers, BODY, now, TOLERANCE);
        assert_eq!(verify(AT.plus(TOLERANCE)), Ok(()));
        assert_eq!(verify(AT.minus(TOLERANCE)), Ok(()));
        let past = TOLERANCE + Duration::from_secs(1);
        assert_eq!(verify(AT.plus(past)), Err(VerifyError::Stale));
        assert_eq!(verify(AT.minus(past)), Err(VerifyError::Stale));
    }
}

#[test]
fn during_a_rotation_either_secret_verifies_where_the_scheme_can_carry_both() {
    for scheme in Scheme::all() {
        let (new, old) = (any_secret(scheme, 2), any_secret(scheme, 1));
        let headers = signed(scheme, &[new.clone(), old.clone()], BODY);
        let verify = |secret| scheme.verify(&[secret], &headers, BODY, AT, TOLERANCE);
        assert_eq!(verify(new), Ok(()), "{scheme:?}");
        assert_eq!(verify(old).is_ok(), scheme.row().join.is_some(), "{scheme:?}");
    }
}

#[test]
fn signatures_of_unknown_versions_are_passed_over() {
    let secrets = [any_secret(Scheme::Standard, 1)];
    let mut headers = signed(Scheme::Standard, &secrets, BODY);
    let with_more = format!("v1a,abc {} v9,x", headers["webhook-signature"].to_str().unwrap());
    headers.insert("webhook-signature", HeaderValue::try_from(with_more).unwrap());
    assert_eq!(
        Scheme::Standard.verify(&secrets, &headers, BODY, AT, TOLERANCE),
        Ok(())
    );
}

#[test]
fn a_secret_of_another_form_and_no_secret_do_not_sign() {
    let raw = SigningSecret::raw("secret".to_owned()).unwrap();
    let what = Signable {
        id: ID,
        event_type: "push",
        at: AT,
        body: BODY,
    };
    let sign = |secrets: &[SigningSecret]| Scheme::Standard.sign(secrets, &what, &mut HeaderMap::new());
    assert!(matches!(sign(&[raw]), Err(SignError::Secret(_))));
    assert!(matches!(sign(&[]), Err(SignError::NoSecret)));
    assert!(Scheme::Standard.secret("secret".to_owned()).is_err());
    assert!(Scheme::Github.secret("secret".to_owned()).is_ok());
}

/// The vectors of frain-dev/convoy, `pkg/signature/testdata/signature-vectors.json`.
#[test]
fn the_published_vectors_of_convoy_come_out() {
    let body = br#"{"event":"charge.success","amount":1000,"currency":"NGN"}"#;
    let secret = [secret_for(Scheme::Convoy, "convoy-webhook-secret")];
    let what = Signable {
        id: ID,
        event_type: "push",
        at: Timestamp::from_millis(1_700_000_000_000),
        body,
    };
    let signed = |scheme: Scheme| {
        let mut headers = HeaderMap::new();
        scheme.sign(&secret, &what, &mut headers).unwrap();
        headers["x-convoy-signature"].to_str().unwrap().to_owned()
    };
    assert_eq!(
        signed(Scheme::Convoy),
        "244449b7f48cbc2709060c9dcdc2b3aa47a78f540430579015c579fb12defbb4"
    );
    assert_eq!(
        signed(Scheme::ConvoyAdvanced),
        "t=1700000000,v1=77b8b9269f25a199846a55a2bd25b3fba151c70fdae60bb1dcd87fbbc943c55c"
    );
}
