//! The parts without a disk: what is read of an event, who wants it, what is sent of it, what an answer means.

use std::{collections::BTreeMap, hint::black_box};

use bytes::Bytes;

use super::{Once, Part, Work, repeated, samples};
use crate::{
    api,
    dispatch::{self, measured::Matcher},
    domain::{
        delivery::Progress,
        endpoint::Endpoint,
        health::Health,
        outcome::{Fault, Observation, classify},
        record::{EventAccepted, Record},
        settle::settle,
    },
    storage::local::journal::{Draft, Entry, Location},
    wire::{
        envelope::{EventParts, Payload},
        request::{EndpointParts, OutboundRequest, Signing},
        signature::{Scheme, Signable},
    },
};

/// On the way in.
pub const ARRIVING: &[Part] = &[
    counted("read an event's document", 100, |_| {
        let document = samples::document();
        every(100, move || api::read_event(&document).is_ok())
    }),
    counted("match among 10 endpoints", 100, |_| matching(10)),
    counted("match among 1,000 endpoints", 100, |_| matching(1000)),
    counted("match among 10,000 endpoints", 100, |_| matching(10_000)),
    counted("encode an accepted event", 100, |_| {
        let record = Record::EventAccepted(samples::accepted(1));
        every(100, move || encoded(&record).body.len())
    }),
    counted("encode a verdict", 100, |_| {
        let record = Record::AttemptSettled(samples::delivered(1));
        every(100, move || encoded(&record).body.len())
    }),
    counted("decode an accepted event", 100, |_| {
        let entry = entry(encoded(&Record::EventAccepted(samples::accepted(1))));
        every(100, move || dispatch::decode_record(&entry).is_ok())
    }),
    counted("decode a verdict", 100, |_| {
        let entry = entry(encoded(&Record::AttemptSettled(samples::delivered(1))));
        every(100, move || dispatch::decode_record(&entry).is_ok())
    }),
];

/// On the way out.
pub const LEAVING: &[Part] = &[
    counted("build a request", 100, |_| building(Scheme::Standard)),
    counted("sign: standard", 100, |_| signing(Scheme::Standard)),
    counted("sign: standard, ed25519", 10, |_| signing_ed25519()),
    counted("sign: svix", 100, |_| signing(Scheme::Svix)),
    counted("sign: flowplayer", 100, |_| signing(Scheme::Flowplayer)),
    counted("sign: github", 100, |_| signing(Scheme::Github)),
    counted("sign: stripe", 100, |_| signing(Scheme::Stripe)),
    counted("sign: zoom", 100, |_| signing(Scheme::Zoom)),
    counted("sign: slack", 100, |_| signing(Scheme::Slack)),
    counted("sign: shopify", 100, |_| signing(Scheme::Shopify)),
    counted("sign: convoy", 100, |_| signing(Scheme::Convoy)),
    counted("sign: convoy_advanced", 100, |_| signing(Scheme::ConvoyAdvanced)),
    counted("classify and settle an answer", 1000, |_| judging()),
];

const fn counted(name: &'static str, items: u32, prepare: fn(super::Room<'_>) -> Work) -> Part {
    Part {
        name,
        items,
        tolerance: Some(0.05),
        prepare,
    }
}

/// The same execution again and again.
fn every<T: 'static>(items: u32, work: impl FnMut() -> T + Clone + 'static) -> Work {
    Box::new(move || repeated(items, work.clone()))
}

fn matching(endpoints: u32) -> Work {
    let matcher = std::rc::Rc::new(Matcher::among((0..endpoints).map(samples::endpoint)));
    let event = samples::accepted(1);
    every(100, move || matcher.matching(&event).len())
}

#[allow(clippy::expect_used, reason = "a record of our own")]
pub(super) fn encoded(record: &Record) -> Draft {
    dispatch::encode_record(record).expect("a record that fits")
}

fn entry(draft: Draft) -> Entry {
    Entry {
        lsn: 1,
        kind: draft.kind,
        version: draft.version,
        flags: draft.flags,
        body: draft.body,
        location: Location {
            segment: 1,
            offset: 64,
            len: 0,
        },
    }
}

fn building(scheme: Scheme) -> Work {
    let endpoint = samples::endpoint(0);
    let secrets = [scheme.generate([9; 32])];
    let event = samples::accepted(1);
    every(100, move || {
        let signatures = [Signing {
            scheme,
            secrets: &secrets,
        }];
        built(&endpoint, &event, &signatures).headers.len()
    })
}

#[allow(clippy::expect_used, reason = "a request of our own")]
fn built(endpoint: &Endpoint, event: &EventAccepted, signatures: &[Signing<'_>]) -> OutboundRequest {
    let payload = Payload::Json(event.payload.bytes.clone());
    let parts = EventParts {
        id: event.id.as_str(),
        event_type: event.event_type.as_str(),
        occurred_at: event.occurred_at,
        attributes: &event.attributes,
        default_source: "/posthaste",
        payload: &payload,
    };
    let spec = &endpoint.spec;
    let wants = EndpointParts {
        url: &spec.url,
        headers: &spec.headers,
        auth: spec.auth.as_ref(),
        envelope: spec.envelope,
        encoding: spec.encoding,
        encoded_limit: 4 * 1024 * 1024,
        signatures,
    };
    OutboundRequest::build(&parts, &wants, samples::NOW).expect("a request")
}

fn signing(scheme: Scheme) -> Work {
    signed(scheme, 100, [scheme.generate([9; 32])])
}

#[allow(clippy::expect_used, reason = "the scheme knows it")]
fn signing_ed25519() -> Work {
    let pair = Scheme::Standard.generate_ed25519([9; 32]);
    signed(Scheme::Standard, 10, [pair.expect("a key pair")])
}

fn signed(scheme: Scheme, items: u32, secrets: [crate::domain::secret::SigningSecret; 1]) -> Work {
    let body: Bytes = samples::document();
    every(items, move || {
        let what = Signable {
            id: "evt_1",
            event_type: "order.line.added",
            at: samples::NOW,
            body: &body,
        };
        let mut headers = http::HeaderMap::new();
        let signed = scheme.sign(&secrets, &what, &mut headers);
        (signed.is_ok(), headers)
    })
}

/// Answers as a lane gets them, one after the other.
fn judging() -> Work {
    let policy = samples::endpoint(0).spec.policy();
    let treat_as = BTreeMap::from([(404, crate::domain::outcome::Treatment::Transient)]);
    let answer = |status| Observation::Response {
        status,
        directive: None,
        retry_after: None,
        body_broken: false,
    };
    let answers = [
        answer(200),
        answer(503),
        answer(404),
        answer(410),
        Observation::Fault(Fault::Refused),
        Observation::Fault(Fault::TimeoutTotal),
    ];
    Box::new(move || -> Once {
        let (policy, treat_as, answers) = (policy.clone(), treat_as.clone(), answers);
        Box::new(move || {
            let (mut progress, mut health) = (Progress::default(), Health::default());
            for turn in 0..1000 {
                let outcome = classify(black_box(answers[turn % answers.len()]), &treat_as);
                let verdict = settle(progress, health, &outcome, &policy, samples::NOW, 0.5);
                (progress, health) = (verdict.progress, verdict.health);
                black_box(verdict);
            }
        })
    })
}
