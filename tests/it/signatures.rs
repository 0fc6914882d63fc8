//! What requests are signed with, over the API: schemes side by side, key pairs, rotation, and what is refused.

use std::{slice, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use posthaste::{
    domain::{secret::SigningSecret, time::Timestamp},
    wire::signature::{Scheme, VerifyError},
};
use serde_json::{Value, json};

use crate::support::{
    server::{Answer, Server, wait_for},
    sink::{Received, Sink},
};

const TOLERANCE: Duration = Duration::from_secs(300);
const WHSK: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const WHPK: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

/// A server, a receiver, and one endpoint between them.
struct Pair {
    dir: tempfile::TempDir,
    server: Server,
    sink: Sink,
    path: String,
}

impl Pair {
    fn new(signatures: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(&dir.path().join("data"));
        let sink = Sink::accepting();
        let id = server.endpoint(&json!({"url": sink.url(), "signatures": signatures}));
        Self {
            dir,
            server,
            sink,
            path: format!("/v1/endpoints/{id}"),
        }
    }

    /// The request of a new event.
    fn sent(&self) -> Received {
        let before = self.sink.count();
        self.server
            .event(&json!({"type": "user.created", "data": {"n": 1}}));
        wait_for("the request", || self.sink.received().get(before).cloned())
    }

    fn rotate(&self, rotation: &Value) -> Answer {
        self.server
            .post(&format!("{}/secret/rotate", self.path), rotation)
    }

    /// The new secret of a rotation that must succeed.
    fn rotated(&self, rotation: &Value) -> String {
        let answer = self.rotate(rotation);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["secret"].as_str().unwrap().to_owned()
    }

    fn secrets(&self) -> Value {
        self.server.get(&format!("{}/secret", self.path))
    }

    /// The present secret of the first scheme.
    fn secret(&self) -> String {
        let secrets = self.secrets();
        secrets["signatures"][0]["secret"].as_str().unwrap().to_owned()
    }

    fn patch(&self, document: &Value) -> Answer {
        let kind = Some("application/merge-patch+json");
        self.server
            .request("PATCH", &self.path, kind, document.to_string().as_bytes())
    }
}

/// Whether a request is believed by who holds this secret, or public key, of a scheme.
fn verified(scheme: Scheme, secret: &str, request: &Received) -> Result<(), VerifyError> {
    let headers: HeaderMap = request
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::try_from(value).unwrap(),
            )
        })
        .collect();
    let secret: SigningSecret = scheme.verifier(secret.to_owned()).unwrap();
    let now = Timestamp::from_millis(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap());
    scheme.verify(slice::from_ref(&secret), &headers, &request.body, now, TOLERANCE)
}

fn believes(secret: &str, request: &Received) -> bool {
    verified(Scheme::Standard, secret, request).is_ok()
}

#[test]
fn four_schemes_sign_one_request_each_with_its_own_headers() {
    let pair = Pair::new(&json!([
        {"scheme": "standard"}, {"scheme": "github", "secret": "It's a Secret"},
        {"scheme": "stripe", "secret": "whsec_test_secret"}, {"scheme": "zoom"},
    ]));
    let request = pair.sent();
    let secrets = pair.secrets();
    for (signature, scheme) in secrets["signatures"].as_array().unwrap().iter().zip([
        Scheme::Standard,
        Scheme::Github,
        Scheme::Stripe,
        Scheme::Zoom,
    ]) {
        assert_eq!(signature["scheme"], scheme.as_str());
        let secret = signature["secret"].as_str().unwrap();
        assert_eq!(verified(scheme, secret, &request), Ok(()), "{scheme:?}");
        let changed = Received {
            body: b"{}".to_vec(),
            ..request.clone()
        };
        assert_eq!(
            verified(scheme, secret, &changed),
            Err(VerifyError::Mismatch),
            "{scheme:?}"
        );
    }
    let header = |name: &str| request.headers[name].as_str();
    assert_eq!(header("x-github-event"), "user.created");
    assert_eq!(header("x-github-delivery"), header("webhook-id"));
    let hidden = json!([
        {"scheme": "standard", "secret": "***"}, {"scheme": "github", "secret": "***"},
        {"scheme": "stripe", "secret": "***"}, {"scheme": "zoom", "secret": "***"},
    ]);
    assert_eq!(pair.server.get(&pair.path)["signatures"], hidden);
}

#[test]
fn none_is_no_signature_and_a_repeat_can_still_be_told() {
    for signatures in [json!([]), json!([{"scheme": "none"}])] {
        let pair = Pair::new(&signatures);
        assert_eq!(pair.server.get(&pair.path)["signatures"], json!([]));
        let request = pair.sent();
        assert!(request.headers.contains_key("webhook-id"));
        assert!(request.headers.contains_key("webhook-timestamp"));
        let signed = |name: &String| name.contains("signature") || name.contains("hmac");
        assert!(!request.headers.keys().any(signed), "{request:?}");
        assert_eq!(pair.rotate(&json!({})).problem().0, 409);
        let patched = pair.patch(&json!({"signatures": [{"scheme": "shopify"}]}));
        assert_eq!(patched.status, 200, "{}", patched.text());
        assert_eq!(verified(Scheme::Shopify, &pair.secret(), &pair.sent()), Ok(()));
        let patched = pair.patch(&json!({"signatures": [{"scheme": "none"}]}));
        assert_eq!(patched.json()["signatures"], json!([]));
    }
}

#[test]
fn what_does_not_fit_a_scheme_is_refused_by_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let mut other_half = WHSK.to_owned();
    other_half.replace_range(60..61, "A");
    let long = "x".repeat(513);
    let secret_of =
        |scheme: &str, secret: &str| json!([{"scheme": "slack"}, {"scheme": scheme, "secret": secret}]);
    let mut cases = vec![
        (
            json!([{"scheme": "github"}, {"scheme": "stripe"}, {"scheme": "github"}]),
            "signatures[2].scheme",
        ),
        (
            json!([{"scheme": "standard"}, {"scheme": "standard", "secret": WHSK}]),
            "signatures[1].scheme",
        ),
        (
            json!([{"scheme": "convoy"}, {"scheme": "convoy_advanced"}]),
            "signatures[1].scheme",
        ),
        (json!([{"scheme": "none"}, {"scheme": "github"}]), "signatures"),
        (json!([{"scheme": "none", "secret": "s"}]), "signatures"),
        (json!([{"scheme": "rsa"}]), "signatures[0].scheme"),
        (json!([{"secret": "s"}]), "signatures[0]"),
        (json!([{"scheme": "github", "key": "s"}]), "signatures[0].key"),
        (
            json!(["standard", "svix", "github", "stripe", "zoom"].map(|scheme| json!({ "scheme": scheme }))),
            "signatures",
        ),
        (
            json!([{"scheme": "standard", "algorithm": "rsa"}]),
            "signatures[0].algorithm",
        ),
        (
            json!([{"scheme": "github", "algorithm": "ed25519"}]),
            "signatures[0].algorithm",
        ),
        (
            json!([{"scheme": "standard", "algorithm": "hmac", "secret": WHSK}]),
            "signatures[0].algorithm",
        ),
        (
            json!([{"scheme": "svix", "algorithm": "ed25519", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]),
            "signatures[0].algorithm",
        ),
    ];
    for scheme in ["standard", "svix"] {
        for secret in [
            "k7",
            "whsec_",
            "whsec_k7==",
            "whsec_azc=",
            "whsk_",
            "whsk_azc=",
            other_half.as_str(),
            WHPK,
            &long,
        ] {
            cases.push((secret_of(scheme, secret), "signatures[1].secret"));
        }
    }
    for scheme in ["flowplayer", "github", "stripe", "zoom", "shopify", "convoy"] {
        for secret in ["", "k7\nx", "k7\0", "***", &long] {
            cases.push((secret_of(scheme, secret), "signatures[1].secret"));
        }
    }
    for (signatures, field) in cases {
        let answer = server.post(
            "/v1/endpoints",
            &json!({"url": "http://127.0.0.1:9/", "signatures": signatures}),
        );
        let (status, fields) = answer.problem();
        assert_eq!((status, fields), (422, vec![field.to_owned()]), "{signatures}");
        let told = answer.text();
        assert!(
            !told.contains("k7") && !told.contains("xxx") && !told.contains(&WHSK[5..20]),
            "{told}"
        );
    }
    assert_eq!(server.list("/v1/endpoints").len(), 0);
}

#[test]
fn a_key_pair_signs_and_its_public_key_is_given_out() {
    let pair = Pair::new(&json!([{"scheme": "standard", "secret": WHSK}, {"scheme": "github"}]));
    let shown = pair.server.get(&pair.path);
    assert_eq!(
        shown["signatures"][0],
        json!({"scheme": "standard", "algorithm": "ed25519", "secret": "***"})
    );
    let keys = format!("{}/public-key", pair.path);
    assert_eq!(
        pair.server.get(&keys),
        json!({"keys": [{"scheme": "standard", "public_key": WHPK}]})
    );
    let request = pair.sent();
    assert!(request.headers["webhook-signature"].starts_with("v1a,"));
    assert!(believes(WHPK, &request) && believes(WHSK, &request));
    // What is shown may be patched back; another algorithm is another secret.
    let same = pair.patch(&json!({"signatures": shown["signatures"]}));
    assert_eq!((same.status, pair.secret().as_str()), (200, WHSK));
    let hmac = json!({"signatures": [{"scheme": "standard", "algorithm": "hmac"}, {"scheme": "github"}]});
    assert_eq!(pair.patch(&hmac).status, 200);
    assert!(pair.secret().starts_with("whsec_"));
    let none = pair.server.request("GET", &keys, None, b"");
    assert_eq!(none.problem().0, 404);
    let made = json!({"signatures": [{"scheme": "standard", "algorithm": "ed25519"}, {"scheme": "github"}]});
    assert_eq!(pair.patch(&made).status, 200);
    let made = pair.secret();
    assert!(made.starts_with("whsk_") && made != WHSK);
    let public = pair.server.get(&keys)["keys"][0]["public_key"].clone();
    assert!(believes(public.as_str().unwrap(), &pair.sent()));
}

#[test]
fn a_rotated_secret_signs_beside_the_old_one_also_after_a_crash() {
    let mut pair = Pair::new(&json!([{"scheme": "standard"}]));
    let old = pair.secret();
    let answer = pair.rotate(&json!({})).json();
    let new = answer["secret"].as_str().unwrap().to_owned();
    let until = answer["retired"][0]["until"].clone();
    assert_eq!(
        answer,
        json!({
            "scheme": "standard", "secret": new, "signatures": [{"scheme": "standard", "secret": new}],
            "retired": [{"scheme": "standard", "secret": "***", "until": until}],
        })
    );
    let given = json!({"grace": "7d", "secret": format!("whsec_{}", "A".repeat(32)), "scheme": "standard"});
    let newest = pair.rotated(&given);
    let check = |pair: &Pair| {
        let secrets = pair.secrets();
        assert_eq!(
            secrets["signatures"],
            json!([{"scheme": "standard", "secret": newest}])
        );
        let retired = &secrets["retired"];
        assert_eq!(
            (&retired[0]["secret"], &retired[1]),
            (
                &json!(new),
                &json!({"scheme": "standard", "secret": old, "until": until})
            )
        );
        let request = pair.sent();
        let signatures = request.headers["webhook-signature"].split(' ').count();
        assert_eq!(signatures, 3);
        for secret in [&newest, &new, &old] {
            assert!(believes(secret, &request), "{request:?}");
        }
    };
    check(&pair);
    pair.server.kill();
    pair.server.restart();
    check(&pair);
    assert!(pair.server.stop().success());
    pair.server.restart();
    check(&pair);
    // A change of something else keeps them; the log and the disk do not show them.
    assert_eq!(pair.patch(&json!({"name": "n"})).status, 200);
    check(&pair);
    assert!(!pair.server.log().contains(&new) && !pair.server.log().contains(&old));
    assert!(pair.dir.path().exists());
}

#[test]
fn grace_ends_by_itself_at_once_or_with_a_patch() {
    let pair = Pair::new(&json!([{"scheme": "standard"}]));
    let first = pair.secret();
    let second = pair.rotated(&json!({"grace": "0s"}));
    let request = pair.sent();
    assert!(believes(&second, &request) && !believes(&first, &request));
    assert_eq!(pair.secrets()["retired"], json!([]));

    let third = pair.rotated(&json!({"grace": "300ms"}));
    wait_for("the end of the grace", || {
        (pair.secrets()["retired"] == json!([])).then_some(())
    });
    let request = pair.sent();
    assert!(believes(&third, &request) && !believes(&second, &request));

    pair.rotated(&json!({}));
    let fifth = format!("whsec_{}", "B".repeat(32));
    let patched = pair.patch(&json!({"signatures": [{"scheme": "standard", "secret": fifth}]}));
    assert_eq!(patched.status, 200);
    assert_eq!(pair.secrets()["retired"], json!([]));
    let request = pair.sent();
    assert!(believes(&fifth, &request) && !believes(&third, &request));
}

#[test]
fn a_rotation_says_which_scheme_and_refuses_what_it_cannot_do() {
    let pair = Pair::new(&json!([{"scheme": "standard"}, {"scheme": "github", "secret": "an old secret"}]));
    let before = pair.secrets();
    for (rotation, field) in [
        (json!({}), "scheme"),
        (json!({"scheme": "stripe"}), "scheme"),
        (json!({"scheme": "none"}), "scheme"),
        (json!({"scheme": "standard", "grace": "8d"}), "grace"),
        (json!({"scheme": "standard", "grace": 5}), "grace"),
        (json!({"scheme": "standard", "secret": "old"}), "secret"),
        (json!({"scheme": "github", "secret": "an old secret"}), "secret"),
        (json!({"scheme": "github", "algorithm": "ed25519"}), "algorithm"),
        (json!({"scheme": "github", "secrets": "x"}), "secrets"),
    ] {
        let (status, fields) = pair.rotate(&rotation).problem();
        assert_eq!((status, fields), (422, vec![field.to_owned()]), "{rotation}");
    }
    assert_eq!(pair.secrets(), before);

    // GitHub's header carries one signature, so it changes over at once.
    let new = pair.rotated(&json!({"scheme": "github"}));
    let request = pair.sent();
    assert_eq!(verified(Scheme::Github, &new, &request), Ok(()));
    assert_eq!(
        verified(Scheme::Github, "old", &request),
        Err(VerifyError::Mismatch)
    );
    assert_eq!(pair.secrets()["retired"], json!([]));

    let standard = json!({"scheme": "standard"});
    for _ in 0..4 {
        pair.rotated(&standard);
    }
    let answer = pair.rotate(&standard);
    assert_eq!(answer.problem().0, 409);
    assert!(answer.text().contains("PATCH"), "{}", answer.text());
    assert_eq!(pair.secrets()["retired"].as_array().unwrap().len(), 4);
    assert_eq!(pair.server.request("DELETE", &pair.path, None, b"").status, 204);
    assert_eq!(pair.rotate(&standard).problem().0, 410);
}

#[test]
fn a_rotation_gives_an_endpoint_that_waits_for_a_secret_its_first() {
    let pair = Pair::new(&json!([]));
    let waiting = pair
        .server
        .endpoint(&json!({"url": pair.sink.url(), "profile": "flowplayer"}));
    let path = format!("/v1/endpoints/{waiting}");
    assert_eq!(pair.server.get(&path)["disabled_reason"]["why"], "no_secret");
    let answer = pair.server.post(&format!("{path}/secret/rotate"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        (&answer.json()["retired"], &pair.server.get(&path)["state"]),
        (&json!([]), &json!("active"))
    );
}
