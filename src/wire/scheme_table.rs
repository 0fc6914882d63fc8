//! The table of signature schemes; what a row means is said in [`super::signature`].

use super::signature::Scheme;

pub(super) struct Row {
    pub(super) scheme: Scheme,
    pub(super) name: &'static str,
    pub(super) key: KeyForm,
    pub(super) signed: &'static [Part],
    /// Headers beside the signature's own.
    pub(super) headers: &'static [(&'static str, Part)],
    pub(super) signature: &'static str,
    /// What stands before the signatures in their header.
    pub(super) lead: &'static [Part],
    /// What stands before each digest.
    pub(super) each: &'static str,
    pub(super) digest: Digest,
    /// What joins several signatures; without it there is only one.
    pub(super) join: Option<&'static str>,
    /// Whether receivers compute the signature over the document as JavaScript writes it, so that a JSON body has to be
    /// written like that.
    pub(super) stringified: bool,
}

pub(super) enum KeyForm {
    /// `whsec_` and base64 for HMAC; `whsk_` and base64 for ed25519, whose signatures are marked by `ed25519` in place of
    /// [`Row::each`].
    Standard { ed25519: &'static str },
    /// The text as it is.
    Raw,
}

pub(super) enum Digest {
    Hex,
    Base64,
}

#[derive(Clone, Copy)]
pub(super) enum Part {
    Text(&'static str),
    Id,
    EventType,
    /// Unix seconds.
    Seconds,
    Body,
}

use Part::{Body, EventType, Id, Seconds, Text};

const STANDARD_KEY: KeyForm = KeyForm::Standard { ed25519: "v1a," };
const STANDARD_SIGNED: &[Part] = &[Id, Text("."), Seconds, Text("."), Body];

pub(super) static TABLE: [Row; 10] = [
    Row {
        scheme: Scheme::Standard,
        name: "standard",
        key: STANDARD_KEY,
        signed: STANDARD_SIGNED,
        headers: &[("webhook-id", Id), ("webhook-timestamp", Seconds)],
        signature: "webhook-signature",
        lead: &[],
        each: "v1,",
        digest: Digest::Base64,
        join: Some(" "),
        stringified: false,
    },
    Row {
        scheme: Scheme::Svix,
        name: "svix",
        key: STANDARD_KEY,
        signed: STANDARD_SIGNED,
        headers: &[("svix-id", Id), ("svix-timestamp", Seconds)],
        signature: "svix-signature",
        lead: &[],
        each: "v1,",
        digest: Digest::Base64,
        join: Some(" "),
        stringified: false,
    },
    Row {
        scheme: Scheme::Flowplayer,
        name: "flowplayer",
        key: KeyForm::Raw,
        signed: &[Body],
        headers: &[],
        signature: "x-fp-webhook-signature-hmac-sha-256",
        lead: &[],
        each: "",
        digest: Digest::Hex,
        join: None,
        stringified: false,
    },
    Row {
        scheme: Scheme::Github,
        name: "github",
        key: KeyForm::Raw,
        signed: &[Body],
        headers: &[("x-github-event", EventType), ("x-github-delivery", Id)],
        signature: "x-hub-signature-256",
        lead: &[],
        each: "sha256=",
        digest: Digest::Hex,
        join: None,
        stringified: false,
    },
    Row {
        scheme: Scheme::Stripe,
        name: "stripe",
        key: KeyForm::Raw,
        signed: &[Seconds, Text("."), Body],
        headers: &[],
        signature: "stripe-signature",
        lead: &[Text("t="), Seconds, Text(",")],
        each: "v1=",
        digest: Digest::Hex,
        join: Some(","),
        stringified: false,
    },
    Row {
        scheme: Scheme::Zoom,
        name: "zoom",
        key: KeyForm::Raw,
        signed: &[Text("v0:"), Seconds, Text(":"), Body],
        headers: &[("x-zm-request-timestamp", Seconds)],
        signature: "x-zm-signature",
        lead: &[],
        each: "v0=",
        digest: Digest::Hex,
        join: None,
        stringified: true,
    },
    Row {
        scheme: Scheme::Slack,
        name: "slack",
        key: KeyForm::Raw,
        signed: &[Text("v0:"), Seconds, Text(":"), Body],
        headers: &[("x-slack-request-timestamp", Seconds)],
        signature: "x-slack-signature",
        lead: &[],
        each: "v0=",
        digest: Digest::Hex,
        join: None,
        stringified: false,
    },
    Row {
        scheme: Scheme::Shopify,
        name: "shopify",
        key: KeyForm::Raw,
        signed: &[Body],
        headers: &[],
        signature: "x-shopify-hmac-sha256",
        lead: &[],
        each: "",
        digest: Digest::Base64,
        join: None,
        stringified: false,
    },
    Row {
        scheme: Scheme::Convoy,
        name: "convoy",
        key: KeyForm::Raw,
        signed: &[Body],
        headers: &[],
        signature: "x-convoy-signature",
        lead: &[],
        each: "",
        digest: Digest::Hex,
        join: None,
        stringified: false,
    },
    Row {
        scheme: Scheme::ConvoyAdvanced,
        name: "convoy_advanced",
        key: KeyForm::Raw,
        signed: &[Seconds, Text(","), Body],
        headers: &[],
        signature: "x-convoy-signature",
        lead: &[Text("t="), Seconds, Text(",")],
        each: "v1=",
        digest: Digest::Hex,
        join: Some(","),
        stringified: false,
    },
];
