use std::time::Duration;

use super::*;
use crate::{
    domain::{
        auth::Auth, endpoint::Rate, endpoint_url::EndpointUrl, headers::CustomHeaders, id::EndpointId,
        secret::SigningSecret, verification::Code,
    },
    wire::{encoding::Encoding, request::Signing, signature::Scheme},
};

const AT: Timestamp = Timestamp::from_millis(1_614_265_330_120);
const ENDPOINT: EndpointId = EndpointId::from_bytes([3; 16]);
const WHOLE: Proof = Proof::Whole {
    allowed_per_minute: None,
};

fn secret(text: &str) -> SigningSecret {
    SigningSecret::raw(text.to_owned()).unwrap()
}

fn request_of(
    challenge: &Challenge,
    (envelope, encoding): (Envelope, Encoding),
    signatures: &[Signing<'_>],
) -> OutboundRequest {
    let url: EndpointUrl = "https://h.test/hook?x=1".parse().unwrap();
    let own = [("X-Own".to_owned(), "1".to_owned())];
    let (headers, auth) = (
        CustomHeaders::new(own).unwrap(),
        Auth::bearer("token".to_owned()).unwrap(),
    );
    let endpoint = EndpointParts {
        url: &url,
        headers: &headers,
        auth: Some(&auth),
        envelope,
        encoding,
        encoded_limit: 1024,
        signatures,
    };
    challenge.request(&endpoint, "evt_1", "/test", AT).unwrap()
}

fn request(challenge: &Challenge, envelope: Envelope) -> OutboundRequest {
    let request = request_of(challenge, (envelope, Encoding::Json), &[]);
    assert_eq!(
        (
            &request.headers["authorization"],
            &request.headers["x-own"],
            &request.headers["webhook-id"]
        ),
        (
            &HeaderValue::from_static("Bearer token"),
            &HeaderValue::from_static("1"),
            &HeaderValue::from_static("evt_1")
        )
    );
    request
}

fn text(request: &OutboundRequest) -> &str {
    std::str::from_utf8(&request.body).unwrap()
}

fn answered(challenge: &Challenge, status: u16, body: &str) -> Result<Proof, Unproven> {
    challenge.judge(&Answer {
        status,
        content_type: Some("text/plain; charset=utf-8"),
        body: body.as_bytes(),
        ..Answer::default()
    })
}

#[test]
fn a_ping_is_an_event_in_the_endpoint_s_envelope_and_any_2xx_proves_it() {
    let ping = Challenge::ping(ENDPOINT);
    let sent = request(&ping, Envelope::Standard);
    assert_eq!(
        text(&sent),
        format!(r#"{{"type":"endpoint.ping","timestamp":"{AT}","data":{{"endpoint_id":"{ENDPOINT}"}}}}"#)
    );
    assert_eq!(sent.method, Method::POST);
    for status in [200, 204, 299] {
        assert_eq!(answered(&ping, status, ""), Ok(WHOLE));
    }
    for status in [199, 301, 401, 500] {
        assert_eq!(answered(&ping, status, ""), Err(Unproven::Status("2xx")));
    }
}

#[test]
fn ziggeo_asks_in_two_steps_and_only_both_values_prove_it_at_once() {
    let reach = Challenge::ziggeo_reach();
    assert_eq!(
        text(&request(&reach, Envelope::Ziggeo)),
        r#"{"ziggeo_validation":true,"message":"Hi! We're just verifying that the url exists."}"#
    );
    assert_eq!(answered(&reach, 200, ""), Ok(Proof::Reached));
    assert_eq!(answered(&reach, 204, ""), Err(Unproven::Status("200")));
    let code = Code::from_random([23_456]).unwrap();
    let challenge = Challenge::ziggeo_code(&code, ENDPOINT);
    assert_eq!(
        text(&request(&challenge, Envelope::Ziggeo)),
        format!(r#"{{"ziggeo_validation":true,"validation_code":123456,"webhook_id":"{ENDPOINT}"}}"#)
    );
    let form = request_of(&challenge, (Envelope::Ziggeo, Encoding::Form), &[]);
    assert_eq!(
        text(&form),
        format!("ziggeo_validation=true&validation_code=123456&webhook_id={ENDPOINT}")
    );
    assert_eq!(form.headers["content-type"], "application/x-www-form-urlencoded");
    for proof in [
        format!(r#"{{"webhook_id":"{ENDPOINT}","validation_code":123456}}"#),
        format!(r#"{{"validation_code":"123456","webhook_id":"{ENDPOINT}","more":1}}"#),
        format!("webhook_id={ENDPOINT}&validation_code=123456\n"),
    ] {
        assert_eq!(answered(&challenge, 200, &proof), Ok(WHOLE), "{proof}");
        assert_eq!(answered(&challenge, 500, &proof), Err(Unproven::Status("2xx")));
    }
    for less in [
        String::new(),
        "ok".to_owned(),
        r#"{"validation_code":123456}"#.to_owned(),
        format!("webhook_id={ENDPOINT}&validation_code=123457"),
        format!(r#"{{"webhook_id":"{ENDPOINT}","validation_code":true}}"#),
        format!(r#"[{{"webhook_id":"{ENDPOINT}","validation_code":123456}}]"#),
    ] {
        assert_eq!(answered(&challenge, 200, &less), Ok(Proof::Reached), "{less}");
    }
}

#[test]
fn zoom_s_token_has_to_come_back_with_its_digest_under_any_secret_of_the_endpoint() {
    let (new, old) = (secret("new"), secret("secret"));
    // The random bytes of the vector's plainToken.
    let random = [
        0xaa, 0x08, 0x3c, 0xbe, 0x5b, 0xd9, 0x45, 0x2e, 0x94, 0x62, 0x8a, 0x1a, 0xb4, 0x52, 0xfc, 0x03,
    ];
    let challenge = Challenge::zoom(random, [&new, &old], AT);
    let signing = [Signing {
        scheme: Scheme::Zoom,
        secrets: std::slice::from_ref(&old),
    }];
    let sent = request_of(&challenge, (Envelope::Zoom, Encoding::Json), &signing);
    assert_eq!(
        text(&sent),
        r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1614265330120}"#
    );
    let verified = Scheme::Zoom.verify(
        std::slice::from_ref(&old),
        &sent.headers,
        &sent.body,
        AT,
        Duration::from_secs(300),
    );
    assert_eq!(verified, Ok(()));
    let Expected::Tokens { plain, encrypted } = &challenge.expected else {
        panic!("another expectation");
    };
    assert_eq!(
        encrypted[1],
        "72cef096bfd47c0b8664df30d07721641e4abd7e885ba432204260db477a9a3e"
    );
    let answer = |plain: &str, encrypted: &str| {
        serde_json::json!({"plainToken": plain, "encryptedToken": encrypted}).to_string()
    };
    for right in encrypted {
        assert_eq!(answered(&challenge, 200, &answer(plain, right)), Ok(WHOLE));
        assert_eq!(
            answered(&challenge, 204, &answer(plain, right)),
            Err(Unproven::Status("200"))
        );
    }
    let wrong = "0".repeat(64);
    for (body, why) in [
        ("", Unproven::NoTokens),
        ("[]", Unproven::NoTokens),
        (r#"{"plainToken":1,"encryptedToken":2}"#, Unproven::NoTokens),
        (&answer("other", &encrypted[0]), Unproven::PlainToken),
        (&answer(plain, &wrong), Unproven::EncryptedToken),
        (
            &answer(plain, &encrypted[0].to_uppercase()),
            Unproven::EncryptedToken,
        ),
    ] {
        assert_eq!(answered(&challenge, 200, body), Err(why), "{body}");
    }
}

#[test]
fn slack_s_challenge_may_come_back_in_three_forms() {
    let challenge = Challenge::slack([1; 32], [2; 16]);
    let Expected::Challenge(sent) = &challenge.expected else {
        panic!("another expectation");
    };
    let document: Value = serde_json::from_str(text(&request(&challenge, Envelope::Bare))).unwrap();
    assert_eq!(
        (&document["challenge"], &document["type"]),
        (&Value::from(sent.as_str()), &Value::from("url_verification"))
    );
    assert!(document["token"].is_string());
    for body in [
        sent.clone(),
        format!("{sent}\n"),
        format!("challenge={sent}"),
        serde_json::json!({ "challenge": sent }).to_string(),
    ] {
        assert_eq!(answered(&challenge, 200, &body), Ok(WHOLE), "{body}");
    }
    for body in ["", "challenge", "challenge=x", r#"{"challenge":"x"}"#] {
        assert_eq!(
            answered(&challenge, 200, body),
            Err(Unproven::Challenge),
            "{body}"
        );
    }
    assert_eq!(answered(&challenge, 404, sent), Err(Unproven::Status("2xx")));
}

#[test]
fn a_granted_origin_proves_whatever_the_status_and_a_status_alone_proves_nothing() {
    let rate = Rate {
        per_second: 2.0,
        burst: 1,
    };
    let challenge = Challenge::cloudevents("posthaste.test", Some(rate)).unwrap();
    let sent = request(&challenge, Envelope::Standard);
    assert_eq!(
        (
            &sent.method,
            &sent.body[..],
            sent.headers.contains_key("content-type")
        ),
        (&Method::OPTIONS, &b""[..], false)
    );
    assert_eq!(
        (
            &sent.headers["webhook-request-origin"],
            &sent.headers["webhook-request-rate"]
        ),
        (
            &HeaderValue::from_static("posthaste.test"),
            &HeaderValue::from_static("120")
        )
    );
    let judge = |status, origin, rate| {
        challenge.judge(&Answer {
            status,
            allowed_origin: origin,
            allowed_rate: rate,
            ..Answer::default()
        })
    };
    for (origin, rate, granted) in [
        ("posthaste.test", None, None),
        ("*", Some("*"), None),
        (" Posthaste.Test ", Some(" 100 "), Some(100)),
        ("*", Some("0"), None),
        ("*", Some("-1"), None),
    ] {
        for status in [200, 204, 405, 500] {
            let proof = Proof::Whole {
                allowed_per_minute: granted,
            };
            assert_eq!(judge(status, Some(origin), rate), Ok(proof), "{origin} {rate:?}");
        }
    }
    for origin in [None, Some(""), Some("other.test"), Some("posthaste.test, *")] {
        assert_eq!(
            judge(200, origin, Some("10")),
            Err(Unproven::Origin),
            "{origin:?}"
        );
    }
    assert!(Challenge::cloudevents("a\nb", None).is_err());
}

#[test]
fn the_validation_token_has_to_come_back_decoded_as_plain_text() {
    let challenge = Challenge::microsoft_graph([7; 16]);
    let sent = request(&challenge, Envelope::Standard);
    assert_eq!((&sent.method, &sent.body[..]), (&Method::POST, &b""[..]));
    assert_eq!(sent.headers["content-type"], "text/plain; charset=utf-8");
    let (path, token) = sent.url.path_and_query().split_once("&validationToken=").unwrap();
    assert_eq!(path, "/hook?x=1");
    let Expected::PlainText(decoded) = &challenge.expected else {
        panic!("another expectation");
    };
    assert_ne!(token, decoded, "nothing to decode");
    assert_eq!(answered(&challenge, 200, decoded), Ok(WHOLE));
    assert_eq!(answered(&challenge, 202, decoded), Err(Unproven::Status("200")));
    assert_eq!(answered(&challenge, 200, token), Err(Unproven::ValidationToken));
    let html = Answer {
        status: 200,
        content_type: Some("text/html"),
        body: decoded.as_bytes(),
        ..Answer::default()
    };
    assert_eq!(challenge.judge(&html), Err(Unproven::ContentType));
}

#[test]
fn why_an_answer_proves_nothing_holds_nothing_of_what_was_sent() {
    let challenge = Challenge::microsoft_graph([7; 16]);
    let error = answered(&challenge, 200, "Validation: other").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("Validation: "));
}
